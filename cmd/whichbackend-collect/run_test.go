package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"whichbackend/collect"
	"whichbackend/collect/bundle"
)

func do(args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = run(context.Background(), strings.NewReader(""), &out, &err, args)
	return code, out.String(), err.String()
}

func TestUsage(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{nil, exitUsage, "-o bundle.tar.gz"},
		{[]string{"-o"}, exitUsage, "needs an argument"},
		{[]string{"--what"}, exitUsage, "unknown flag"},
		{[]string{"-o", "x", "extra"}, exitUsage, "takes no arguments"},
		{[]string{"-o", "x", "--timeout", "0s"}, exitUsage, "--timeout 0s"},
		{[]string{"-o", "x", "--timeout", "soon"}, exitUsage, "invalid argument"},
		{[]string{"-o", "x", "--note", strings.Repeat("n", 5000)}, exitUsage, "--note"},
		{[]string{"-o", "x", "--pcap", "2m"}, exitUsage, "shorter than --timeout"},
		{[]string{"-o", "x", "--pcap-filter", "port 80"}, exitUsage, "without --pcap"},
		{[]string{"-o", "x", "--pcap", "1s", "--pcap-filter", "portt 80"}, exitUsage, "portt"},
		{[]string{"-o", "x", "--pcap", "1s", "--pcap-payload", "-1"}, exitUsage, "--pcap-payload"},
		{[]string{"-o", "x", "--max-size", "much"}, exitUsage, "500M"},
		{[]string{"-o", "x", "--netns", "["}, exitUsage, "is no pattern"},
		{[]string{"-o", "x", "--pcap", "1s", "--pcap-netns", "a["}, exitUsage, "is no pattern"},
		{[]string{"-o", "x", "--host-root", "host"}, exitUsage, "absolute"},
		{[]string{"-o", dir}, exitRuntime, dir + ": "},
		{[]string{"-o", filepath.Join(dir, "absent", "b.tar.gz")}, exitRuntime, "no such file or directory; name a file"},
	} {
		code, stdout, stderr := do(c.args...)
		if code != c.code || stdout != "" || !strings.Contains(stderr, c.says) || strings.Count(stderr, "\n") != 1 || strings.Contains(stderr, ".bundle-") {
			t.Errorf("%.50q: exit %d, %q, %q", c.args, code, stdout, stderr)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if code, stdout, stderr := do("--version"); code != 0 || stdout != "whichbackend-collect "+version+"\n" || stderr != "" {
		t.Errorf("--version: %d %q %q", code, stdout, stderr)
	}
	if code, stdout, _ := do("--help"); code != 0 || !strings.Contains(stdout, "Exit status") {
		t.Errorf("--help: %d %q", code, stdout)
	}
}

func TestDryRun(t *testing.T) {
	code, stdout, stderr := do("--dry-run")
	if code != 0 || stderr != "" {
		t.Errorf("exit %d, %q", code, stderr)
	}
	for _, s := range plan().Steps {
		if !strings.Contains(stdout, "\n"+s.Name+"\n  what") || !strings.Contains(stdout, s.Why+"\n") {
			t.Errorf("%s is not listed", s.Name)
		}
	}
	for _, always := range []string{"/proc/thread-self/net/tcp, in each", "netlink, as conntrack -L -o extended,id prints it", "as ip route show table all prints it", "docker network inspect -v, on the host"} {
		if !strings.Contains(stdout, always) {
			t.Errorf("%q is not listed", always)
		}
	}
}

func plan() *collect.Plan {
	return collect.MakePlan(context.Background(), collect.Options{}, false)
}

func TestEstimate(t *testing.T) {
	code, stdout, stderr := do("--estimate")
	if code != 0 || stderr != "" || !strings.Contains(stdout, "\nss-tanpie ") || !strings.Contains(stdout, "compressed\n") {
		t.Errorf("exit %d, %q, %q", code, stdout, stderr)
	}
}

func TestSizeFlag(t *testing.T) {
	for text, want := range map[string]int64{"1": 1, "10k": 10 << 10, "500M": 500 << 20, "2G": 2 << 30, "2GiB": 2 << 30, "3MB": 3 << 20, "0": 0, "-1": 0, "x": 0, "": 0, "9999999999G": 0} {
		var s sizeFlag
		if err := s.Set(text); (err == nil) != (want > 0) || int64(s) != want {
			t.Errorf("%q: %d, %v", text, s, err)
		}
	}
}

// read reads a bundle back: what it holds, and its manifest.
func read(t *testing.T, in io.Reader) (map[string]string, *bundle.Manifest) {
	t.Helper()
	r, err := bundle.Open("-", in, bundle.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	files := map[string]string{}
	for {
		e, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(e)
		if err != nil {
			t.Fatal(err)
		}
		files[e.Path] = string(b)
	}
	m := r.Manifest()
	if r.Damaged() != nil || len(r.Warnings()) > 0 || m == nil || len(m.Artifacts) != len(files) {
		t.Fatalf("damaged %v, warnings %q, %d files, manifest %+v", r.Damaged(), r.Warnings(), len(files), m)
	}
	return files, m
}

// own is the network namespace of the test. Others on this machine are not its
// own: their proxies would be asked, by which other tests may be disturbed.
func own(t *testing.T) string {
	t.Helper()
	link, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Trim(link, "net:[]")
}

// TestThisHost records the machine that the test runs on.
func TestThisHost(t *testing.T) {
	t.Setenv("SECRET", "hunter2-of-the-test")
	name := filepath.Join(t.TempDir(), "bundle.tar.gz")
	code, stdout, stderr := do("-o", name, "--note", "a test", "--netns", own(t))
	if code != exitDone && code != exitPartly || stdout != "" || !strings.Contains(stderr, name+": ") || strings.Contains(stderr, "\033") {
		t.Fatalf("exit %d, %q, %q", code, stdout, stderr)
	}
	info, err := os.Stat(name)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	files, m := read(t, f)
	if m.Note != "a test" || len(m.Hosts) != 1 || m.Hosts[0].Kernel == "" || m.Hosts[0].Clock.Boot <= 0 || m.Collector.Version != version {
		t.Errorf("%+v", m)
	}
	for p, text := range files {
		if strings.Contains(text, "hunter2-of-the-test") {
			t.Errorf("%s holds the environment", p)
		}
	}
	found := slices.ContainsFunc(m.Artifacts, func(a bundle.Artifact) bool { return strings.HasSuffix(a.Path, "/ss-tanpie.txt") && a.Size > 0 })
	if !found {
		t.Errorf("no sockets: %+v", m.Missing)
	}
	said := map[string]bool{}
	for _, a := range m.Artifacts {
		said[strings.TrimSuffix(filepath.Base(a.Path), ".txt")] = true
	}
	for _, x := range m.Missing {
		said[x.What] = true
	}
	for _, s := range plan().Steps {
		if !said[s.Name] && !strings.HasPrefix(s.Name, "proc-net-") {
			t.Errorf("%s is neither recorded nor missing", s.Name)
		}
	}
}

func TestStandardOutput(t *testing.T) {
	code, stdout, stderr := do("-o", "-", "--netns", own(t))
	if code != exitDone && code != exitPartly || !strings.Contains(stderr, "standard output: ") {
		t.Errorf("exit %d, %q", code, stderr)
	}
	read(t, strings.NewReader(stdout))
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	name := filepath.Join(t.TempDir(), "b.tar.gz")
	var out, err bytes.Buffer
	if code := run(ctx, nil, &out, &err, []string{"-o", name}); code != exitRuntime || !strings.Contains(err.String(), "nothing was written") {
		t.Errorf("exit %d, %q", code, err.String())
	}
	if _, err := os.Stat(name); err == nil {
		t.Error("a bundle was written")
	}
}

func TestSearchPath(t *testing.T) {
	if got := searchPath("/opt/bin:/usr/bin"); got != "/opt/bin:/usr/bin:/usr/local/sbin:/usr/sbin:/sbin:/bin" {
		t.Error(got)
	}
}
