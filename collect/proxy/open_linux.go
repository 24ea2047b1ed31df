package proxy

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// errNoFile is about a name that leads to something else than a regular file.
var errNoFile = errors.New("is no regular file")

// openIn opens a path as it stands for a process whose root folder is root. A
// link there leads nowhere out of it: what a container may write decides the
// links. Nothing is opened to find out what it is: of a device or a pipe already
// that would be felt.
func openIn(root, name string) (*os.File, error) {
	fd, err := locate(root, name)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: name, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, &os.PathError{Op: "open", Path: name, Err: errNoFile}
	}
	return os.OpenFile("/proc/self/fd/"+strconv.Itoa(fd), os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
}

// locate finds a path below a root, without opening it.
func locate(root, name string) (int, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: root, Err: err}
	}
	defer unix.Close(dir)
	for range 8 { // EAGAIN: something was moved meanwhile
		fd, e := unix.Openat2(dir, name, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
		if e == nil {
			return fd, nil
		}
		if err = e; e != unix.EAGAIN && e != unix.EINTR {
			break
		}
	}
	if err == unix.ENOSYS || err == unix.EPERM { // before Linux 5.6, or kept from it
		return walk(dir, name)
	}
	return -1, &os.PathError{Op: "open", Path: name, Err: err}
}

// walk finds a path below a folder that has no link in it.
func walk(dir int, name string) (int, error) {
	at, err := unix.Dup(dir)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: name, Err: err}
	}
	unix.CloseOnExec(at)
	for _, part := range strings.Split(name, "/") {
		if part == "" || part == "." {
			continue
		}
		next, err := -1, error(unix.ELOOP)
		if part != ".." {
			next, err = unix.Openat(at, part, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		}
		unix.Close(at)
		if err != nil {
			return -1, &os.PathError{Op: "open", Path: name, Err: err}
		}
		at = next
		var st unix.Stat_t
		if unix.Fstat(at, &st) != nil || st.Mode&unix.S_IFMT == unix.S_IFLNK {
			unix.Close(at)
			return -1, &os.PathError{Op: "open", Path: name, Err: unix.ELOOP}
		}
	}
	return at, nil
}

// readIn reads a small file below a root.
func readIn(root, name string, most int64) ([]byte, error) {
	f, err := openIn(root, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s: has more than %d bytes", name, most)
	}
	return b, err
}
