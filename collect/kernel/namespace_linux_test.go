package kernel

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// lack skips a test that cannot run here; in CI it must.
func lack(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// ownNamespace puts the test, with what it starts, into a network namespace of
// its own, where loopback is up. The thread ends with the test, and with it the
// namespace.
func ownNamespace(t testing.TB, tools ...string) {
	t.Helper()
	for _, tool := range append(tools, "ip") {
		if _, err := exec.LookPath(tool); err != nil {
			lack(t, tool+": not installed")
		}
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		lack(t, "unshare: "+err.Error())
	}
	command(t, "ip", "link", "set", "lo", "up")
}

// command runs a tool and gives what it prints.
func command(t testing.TB, args ...string) string {
	t.Helper()
	var out, said bytes.Buffer
	c := exec.Command(args[0], args[1:]...)
	c.Stdout, c.Stderr = &out, &said
	if err := c.Run(); err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, said.String())
	}
	return out.String()
}

// all reads a listing to its end, on whatever thread.
func all(t testing.TB, r io.ReadCloser, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	type answer struct {
		text []byte
		err  error
	}
	c := make(chan answer)
	go func() {
		text, err := io.ReadAll(r)
		c <- answer{text, err}
	}()
	a := <-c
	if a.err != nil {
		t.Fatal(a.err)
	}
	return string(a.text)
}
