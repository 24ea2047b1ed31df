package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// fakeProc makes a folder like /proc. A process is its comm, its namespace and
// the targets of its open files.
func fakeProc(t *testing.T, processes map[string][]string) string {
	t.Helper()
	proc := t.TempDir()
	must(t, os.WriteFile(filepath.Join(proc, "uptime"), nil, 0o644))
	for pid, p := range processes {
		dir := filepath.Join(proc, pid)
		must(t, os.MkdirAll(filepath.Join(dir, "ns"), 0o755))
		must(t, os.MkdirAll(filepath.Join(dir, "fd"), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, "comm"), []byte(p[0]+"\n"), 0o644))
		must(t, os.Symlink(p[1], filepath.Join(dir, "ns/net")))
		for fd, target := range p[2:] {
			must(t, os.Symlink(target, filepath.Join(dir, "fd", fmt.Sprint(fd))))
		}
		for _, secret := range []string{"cmdline", "environ"} {
			must(t, os.WriteFile(filepath.Join(dir, secret), []byte("hunter2"), 0o644))
		}
	}
	return proc
}

func TestProcesses(t *testing.T) {
	proc := fakeProc(t, map[string][]string{
		"7":      {"nginx", "net:[4026531840]", "/dev/null", "socket:[100]", "pipe:[3]", "socket:[200]"},
		"8":      {"a\x1b[31m\\\tb", "net:[4026532301]", "socket:[4294967295]", "socket:[4294967296]", "socket:[x]", "socket:["},
		"9":      {"(sd-pam)", "net:[4026531840]"},
		"10":     {"na\xffme é", "net:[4026531840]"},
		"self":   {"no process", "net:[1]", "socket:[100]"},
		"0":      {"no process", "net:[1]", "socket:[100]"},
		"999999": {"odd", "mnt:[5]", "socket:[300]"},
	})
	must(t, os.MkdirAll(filepath.Join(proc, "11"), 0o755)) // it ended just now
	p, err := ReadProcesses(t.Context(), proc)
	must(t, err)
	for inode, want := range map[uint32]string{
		0: "", 3: "", 150: "",
		100:       ` users:(("nginx",pid=7,fd=1))`,
		200:       ` users:(("nginx",pid=7,fd=3))`,
		300:       ` users:(("odd",pid=999999,fd=0))`,
		1<<32 - 1: ` users:(("a?[31m\\?b",pid=8,fd=0))`,
	} {
		if got := string(p.appendUsers(nil, inode)); got != want {
			t.Errorf("%d: %q, want %q", inode, got, want)
		}
	}
	names := map[int]string{}
	for _, one := range p.InNamespace("4026531840") {
		names[one.PID] = one.Name
	}
	if got := fmt.Sprint(names); got != "map[7:nginx 9:(sd-pam 10:na?me é]" {
		t.Error(got)
	}
	namespaces := p.Namespaces()
	slices.Sort(namespaces)
	if !slices.Equal(namespaces, []string{"4026531840", "4026532301"}) || len(p.InNamespace("")) != 0 || p.Unreadable() != 0 || p.LeftOut() != 0 {
		t.Error(namespaces, p.InNamespace(""), p.Unreadable(), p.LeftOut())
	}
}

func TestProcessesEnd(t *testing.T) {
	proc := fakeProc(t, map[string][]string{"7": {"nginx", "net:[1]", "socket:[100]"}})
	why := errors.New("the time is over")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err := ReadProcesses(ctx, proc); !errors.Is(err, why) {
		t.Errorf("%v, want %v", err, why)
	}
	if _, err := ReadProcesses(t.Context(), proc+"/none"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	var none *Processes
	if none.Unreadable() != 0 || none.LeftOut() != 0 || none.Namespaces() != nil || none.InNamespace("1") != nil || none.appendUsers(nil, 1) != nil {
		t.Error("no processes are known, and some are told of")
	}
}

// TestUnreadable: what another user's processes hold is not known, and counted.
func TestUnreadable(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("not root, who alone can be someone else")
	}
	proc := fakeProc(t, map[string][]string{"7": {"mine", "net:[1]", "socket:[100]"}, "8": {"theirs", "net:[1]", "socket:[200]"}})
	must(t, os.Chmod(filepath.Join(proc, "8/fd"), 0o700))
	must(t, os.Chmod(proc, 0o755))
	must(t, os.Chmod(filepath.Dir(proc), 0o755))
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	must(t, unix.Setfsuid(65534))
	p, err := ReadProcesses(t.Context(), proc)
	must(t, unix.Setfsuid(0))
	must(t, err)
	if p.Unreadable() != 1 || len(p.InNamespace("1")) != 2 || len(p.appendUsers(nil, 100)) == 0 || len(p.appendUsers(nil, 200)) != 0 {
		t.Errorf("%d unreadable, %v", p.Unreadable(), p.InNamespace("1"))
	}
}

// TestThisProcess: a real /proc has this process, in its namespace.
func TestThisProcess(t *testing.T) {
	l := listen(t, "tcp4", "127.0.0.1:0")
	f, err := l.File()
	must(t, err)
	defer f.Close()
	link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	must(t, err)
	namespace, err := os.Readlink("/proc/self/ns/net")
	must(t, err)
	comm, err := os.ReadFile("/proc/self/comm")
	must(t, err)
	name := shownName(comm)
	p := processes(t)
	in := p.InNamespace(strings.Trim(namespace, "net:[]"))
	if !slices.ContainsFunc(in, func(one Process) bool { return one.PID == os.Getpid() && one.Name == name }) {
		t.Errorf("%v in %s", in, namespace)
	}
	var inode uint32
	_, err = fmt.Sscanf(link, "socket:[%d]", &inode)
	must(t, err)
	if got := string(p.appendUsers(nil, inode)); strings.Count(got, fmt.Sprintf(`("%s",pid=%d,fd=`, name, os.Getpid())) != 2 {
		t.Error(got)
	}
}
