package collect

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// gone waits until a process whose id a script wrote has ended; a zombie that
// nobody reaps has.
func gone(t *testing.T, pidFile string) {
	t.Helper()
	b, err := os.ReadFile(pidFile)
	must(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	must(t, err)
	for range 100 {
		stat, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if syscall.Kill(pid, 0) == syscall.ESRCH || bytes.Contains(stat, []byte(") Z ")) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	syscall.Kill(pid, syscall.SIGKILL)
	t.Errorf("process %d still runs", pid)
}

func TestDeadlineKillsGroup(t *testing.T) {
	pid := filepath.Join(t.TempDir(), "pid")
	tools := fakeTools(t, map[string]string{"slow": "/bin/sleep 60 & echo $! >" + pid + "; wait"})
	slow := command("slow")
	slow.deadline = 800 * time.Millisecond
	start := time.Now()
	g := record(t, Options{Root: fakeRoot(t, host1()), Path: tools, table: []item{slow}})
	if g.missing("slow").Because != timedOut || time.Since(start) > 5*time.Second {
		t.Errorf("after %v: %+v", time.Since(start), g.Manifest.Missing)
	}
	gone(t, pid)
}

// TestNothingLeftBehind: a command that ends well may leave a process in the
// background, which would hold its output open.
func TestNothingLeftBehind(t *testing.T) {
	pid := filepath.Join(t.TempDir(), "pid")
	tools := fakeTools(t, map[string]string{"forks": "/bin/sleep 60 & echo $! >" + pid + "; echo said"})
	start := time.Now()
	g := record(t, Options{Root: fakeRoot(t, host1()), Path: tools, Privileged: true, table: []item{command("forks")}})
	if g.files["node-1/forks.txt"] != "said\n" || g.Partly() || time.Since(start) > 5*time.Second {
		t.Errorf("after %v: %q %+v", time.Since(start), g.files, g.Manifest.Missing)
	}
	gone(t, pid)
}

// TestEscaped: a process that left the group cannot hold up the collector.
func TestEscaped(t *testing.T) {
	if _, err := os.Stat("/usr/bin/setsid"); err != nil {
		t.Fatal("setsid is missing; it comes with util-linux")
	}
	defer func(d time.Duration) { leftovers = d }(leftovers)
	leftovers = 100 * time.Millisecond
	tools := fakeTools(t, map[string]string{"escapes": "/usr/bin/setsid /bin/sleep 3 & echo said; /bin/sleep 0.2"})
	start := time.Now()
	g := record(t, Options{Root: fakeRoot(t, host1()), Path: tools, table: []item{command("escapes")}})
	if g.missing("escapes").Because != failed || g.files["node-1/escapes.txt"] != "said\n" || !g.artifact(t, "node-1/escapes.txt").Truncated || time.Since(start) > 2500*time.Millisecond {
		t.Errorf("after %v: %q %+v", time.Since(start), g.files, g.Manifest.Missing)
	}
}

func TestNoEnvironment(t *testing.T) {
	t.Setenv("SECRET", "hunter2")
	t.Setenv("LC_ALL", "de_DE.UTF-8")
	tools := fakeTools(t, map[string]string{
		"prints": "/usr/bin/env", "fails": "/usr/bin/env >&2; exit 1", "warns": "echo x; /usr/bin/env >&2", "input": "/bin/cat; pwd"})
	v := command("prints")
	v.version = "-V"
	o := Options{Root: fakeRoot(t, host1()), Path: tools, table: []item{v, command("fails"), command("warns"), command("input")}}
	g := record(t, o)
	all := string(g.raw)
	for _, m := range g.Manifest.Missing {
		all += m.Detail
	}
	for _, a := range g.Manifest.Artifacts {
		all += a.Tool
	}
	if all += strings.Join(g.Warnings, ""); strings.Contains(all, "hunter2") || strings.Contains(all, "SECRET") {
		t.Errorf("the environment leaks: %s", all)
	}
	var names []string
	for line := range strings.Lines(g.files["node-1/prints.txt"]) {
		name, _, _ := strings.Cut(line, "=")
		if name != "PWD" && name != "_" && name != "SHLVL" { // the shell's own
			names = append(names, strings.TrimSpace(line))
		}
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"LC_ALL=C", "PATH=" + tools}) {
		t.Errorf("environment %q", names)
	}
	if g.files["node-1/input.txt"] != "/\n" {
		t.Errorf("input and folder: %q", g.files["node-1/input.txt"])
	}
}

func TestLowPriority(t *testing.T) {
	tools := fakeTools(t, map[string]string{"stat": "/bin/cat /proc/self/stat"})
	g := record(t, Options{Root: fakeRoot(t, host1()), Path: tools, table: []item{command("stat")}})
	_, rest, _ := strings.Cut(g.files["node-1/stat.txt"], ") ")
	fields := strings.Fields(rest)
	if nice, err := strconv.Atoi(fields[16]); err != nil || nice < 10 {
		t.Errorf("nice %v", fields[16])
	}
	if p, err := syscall.Getpriority(syscall.PRIO_PROCESS, os.Getpid()); err != nil || 20-p >= 10 && p != 10 {
		t.Logf("the test itself runs at %d", 20-p)
	}
}

func TestLookup(t *testing.T) {
	dir := fakeTools(t, map[string]string{"ss": ""})
	must(t, os.Mkdir(filepath.Join(dir, "folder"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "text"), nil, 0o644))
	t.Chdir(dir)
	for path, want := range map[string]string{dir: filepath.Join(dir, "ss"), ".:": "", "/absent:" + dir: filepath.Join(dir, "ss"), "": ""} {
		if got := (&host{path: path}).lookup("ss"); got != want {
			t.Errorf("PATH=%s: %q", path, got)
		}
	}
	for _, name := range []string{"folder", "text", "absent"} {
		if got := (&host{path: dir}).lookup(name); got != "" {
			t.Errorf("%s: %q", name, got)
		}
	}
}
