package bundle

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// createUnnamed makes a file of mode 0600 that has no name, so that nothing of
// it is left when this process is killed. Where the file system cannot do that,
// named is the name that it has after all.
func createUnnamed(dir string) (f *os.File, named string, err error) {
	if fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600); err == nil {
		return os.NewFile(uintptr(fd), filepath.Join(dir, ".bundle")), "", nil
	}
	return createNamed(dir)
}

// giveName gives a file that has no name one in the folder, from which it can be
// renamed over another.
func giveName(f *os.File, named, dir string) (string, error) {
	if named != "" {
		return named, nil
	}
	name := filepath.Join(dir, ".bundle-"+rand.Text())
	from := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	if err := unix.Linkat(unix.AT_FDCWD, from, unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW); err != nil {
		return "", &os.LinkError{Op: "link", Old: from, New: name, Err: err}
	}
	return name, nil
}
