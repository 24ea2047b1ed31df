package proxy

import (
	"io"
	"net"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// inNamespace runs f in a network namespace of its own, on a thread that ends
// with it.
func inNamespace(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("not root: namespaces cannot be made")
		}
		t.Skip("needs root, to make a network namespace")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("unshare: %v", err)
			return
		}
		if err := loopbackUp(); err != nil {
			t.Errorf("lo: %v", err)
			return
		}
		f()
	}()
	<-done
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r)
}

// serve listens in the namespace of the calling thread and hands each
// connection to handle.
func serve(t *testing.T, address string, handle func(net.Conn)) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			go handle(c)
		}
	}()
}

// readAll reads an artifact to its end.
func readAll(t *testing.T, a *Artifact) (string, error) {
	t.Helper()
	r, err := a.Open(t.Context())
	if err != nil {
		return "", err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	return string(b), err
}

// pick finds the artifact of a path.
func pick(t *testing.T, a *Admin, path string) *Artifact {
	t.Helper()
	list := a.Artifacts()
	for i := range list {
		if len(list[i].Path) >= len(path) && list[i].Path[:len(path)] == path {
			return &list[i]
		}
	}
	t.Fatalf("%s is not among the artifacts", path)
	return nil
}
