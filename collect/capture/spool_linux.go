package capture

import (
	"os"

	"golang.org/x/sys/unix"
)

// unnamed makes a file in a folder that never has a name, or, where the file
// system has no such files, not for long.
func unnamed(dir string) (*os.File, error) {
	if f, err := os.OpenFile(dir, os.O_RDWR|unix.O_TMPFILE, 0o600); err == nil {
		return f, nil
	}
	f, err := os.CreateTemp(dir, ".whichbackend-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
