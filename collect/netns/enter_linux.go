package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Enter moves the calling thread into the namespace. Lock the goroutine to its
// thread first, and let both end together or go back with Found.Return. A
// namespace that is gone gives an error that is fs.ErrNotExist; then the thread
// is where it was.
func (n *Namespace) Enter() error {
	if n.held != nil {
		return n.set(int(n.held.Fd()))
	}
	var failed error
	for _, way := range n.ways {
		fd, err := n.open(way)
		if err != nil {
			if !gone(err) {
				failed = err
			}
			continue
		}
		err = n.set(fd)
		unix.Close(fd)
		return err
	}
	switch {
	case failed == nil:
		return fmt.Errorf("network namespace %s is gone: %w", n.ID, fs.ErrNotExist)
	case errors.Is(failed, fs.ErrPermission):
		return fmt.Errorf("network namespace %s: %w; run as root", n.ID, failed)
	}
	return fmt.Errorf("network namespace %s: %w", n.ID, failed)
}

// gone tells of an error that a way leads nowhere any more.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOTDIR)
}

func (n *Namespace) set(fd int) error {
	err := unix.Setns(fd, unix.CLONE_NEWNET)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("network namespace %s: entering: %w; run as root", n.ID, err)
	case err != nil:
		return fmt.Errorf("network namespace %s: entering: %w", n.ID, err)
	}
	return nil
}

// open opens a way into the namespace, if it still leads there: the number of
// a process, and a name, may be another's meanwhile. What it finds is looked at
// before it is opened, since a path through the root of a container may lead to
// anything, also to a device that minds being opened.
func (n *Namespace) open(way string) (int, error) {
	path, err := unix.Open(way, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("open", err)
	}
	defer unix.Close(path)
	var stat unix.Stat_t
	var in unix.Statfs_t
	if err := unix.Fstat(path, &stat); err != nil {
		return -1, os.NewSyscallError("fstat", err)
	}
	if err := unix.Fstatfs(path, &in); err != nil {
		return -1, os.NewSyscallError("fstatfs", err)
	}
	if stat.Ino != n.inode || int64(in.Type) != unix.NSFS_MAGIC {
		return -1, fs.ErrNotExist
	}
	fd, err := unix.Open("/proc/self/fd/"+strconv.Itoa(path), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	return fd, os.NewSyscallError("open", err)
}

// Return moves the calling thread back to where the collector started.
func (f *Found) Return() error {
	if f.first == nil {
		return errors.New("no way back to the first network namespace: /proc/thread-self/ns/net could not be opened")
	}
	if err := unix.Setns(int(f.first.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("back to the first network namespace: %w", err)
	}
	return nil
}

// hold opens namespaces that end with their processes.
func (f *Found) hold() {
	left := hold
	for _, n := range f.Namespaces {
		if left == 0 {
			return
		}
		if n.Host || n.Self || n.kept {
			continue
		}
		for _, way := range n.ways {
			if fd, err := n.open(way); err == nil {
				n.held = os.NewFile(uintptr(fd), way)
				left--
				break
			}
		}
	}
}

// many tells whether a process has more than one thread, by the links of its
// task folder, which costs less than listing it.
func many(task string) bool {
	info, err := os.Stat(task)
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return !ok || stat.Nlink != 3
}
