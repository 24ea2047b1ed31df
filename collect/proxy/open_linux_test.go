package proxy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWalk: on a kernel that cannot keep a path below a root, no link is
// followed at all.
func TestWalk(t *testing.T) {
	top := t.TempDir()
	writeLog(t, top, "outside", "SECRET")
	writeLog(t, top, "root/a/b", "fine")
	for link, to := range map[string]string{"a/up": "../../outside", "down": "a/b", "dir": "a"} {
		must(t, os.Symlink(to, filepath.Join(top, "root", link)))
	}
	dir, err := unix.Open(filepath.Join(top, "root"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(dir)
	for name, good := range map[string]bool{"/a/b": true, "a//./b": true, "/a/up": false, "/down": false, "/dir/b": false, "/../outside": false, "/none": false, "/a/b/c": false} {
		fd, err := walk(dir, name)
		if err == nil {
			unix.Close(fd)
		}
		if (err == nil) != good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReadIn(t *testing.T) {
	root := t.TempDir()
	writeLog(t, root, "config", strings.Repeat("x", 100))
	if b, err := readIn(root, "/config", 100); err != nil || len(b) != 100 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if _, err := readIn(root, "/config", 99); err == nil || !strings.Contains(err.Error(), "/config: has more than 99 bytes") {
		t.Error(err)
	}
}
