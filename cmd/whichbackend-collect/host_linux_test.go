package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"whichbackend/collect"
	"whichbackend/collect/bundle"
)

// insideOf names the test that runs in namespaces of its own.
const insideOf = "WHICHBACKEND_TEST_INSIDE"

// TestMain lets the test binary be the program itself, so that it can be killed
// and looked at as a user's.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "the-program" {
		ctx, cancel := context.WithCancel(context.Background())
		code := run(ctx, os.Stdin, os.Stdout, os.Stderr, os.Args[2:])
		cancel()
		if os.Getenv("WHICHBACKEND_TEST_MEMORY") != "" {
			b, _ := os.ReadFile("/proc/self/status")
			for line := range strings.Lines(string(b)) {
				if peak, ok := strings.CutPrefix(line, "VmHWM:"); ok {
					fmt.Fprintln(os.Stderr, "peak", strings.TrimSpace(peak))
				}
			}
		}
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// ownHost runs the test again in mount, process and network namespaces of its
// own, with an empty /run, and says whether this is that run. All that the test
// makes there goes when it ends, however it ends.
func ownHost(t *testing.T) bool {
	t.Helper()
	if os.Getenv(insideOf) == t.Name() {
		for _, m := range []struct {
			kind, at string
			flags    uintptr
		}{{"", "/", unix.MS_REC | unix.MS_PRIVATE}, {"proc", "/proc", 0}, {"tmpfs", "/run", 0}} {
			if err := unix.Mount(m.kind, m.at, m.kind, m.flags, ""); err != nil {
				t.Fatalf("%s: %v", m.at, err)
			}
		}
		return true
	}
	lack := ""
	if os.Geteuid() != 0 {
		lack = "not root"
	}
	for _, tool := range []string{"ip", "nft", "conntrack", "tcpdump"} {
		if _, err := exec.LookPath(tool); err != nil {
			lack = err.Error()
		}
	}
	if lack != "" {
		if os.Getenv("CI") == "true" {
			t.Fatal(lack)
		}
		t.Skip(lack)
	}
	c := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=120s")
	c.Env = append(os.Environ(), insideOf+"="+t.Name())
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if out, err := c.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// loopback brings up that of the test's own network namespace.
func loopback(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// namespace makes a network namespace that a name below /run/netns keeps.
func namespace(t *testing.T, name string) {
	t.Helper()
	file := filepath.Join("/run/netns", name)
	if err := os.MkdirAll("/run/netns", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	var apart func()
	apart = func() {
		runtime.LockOSThread() // and the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() {
			go apart() // on another: the first thread is the process for all others
			select {}
		}
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = unix.Mount("/proc/thread-self/ns/net", file, "", unix.MS_BIND, "")
		}
		done <- err
	}
	go apart()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func missingOf(m *bundle.Manifest, what string) (found bundle.Missing) {
	for _, x := range m.Missing {
		if strings.HasPrefix(x.What, what) {
			return x
		}
	}
	return found
}

// bundleOf records into a file and reads it back.
func bundleOf(t *testing.T, want int, args ...string) (map[string]string, *bundle.Manifest, string) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "b.tar.gz")
	code, _, stderr := do(append([]string{"-o", name}, args...)...)
	if code != want {
		t.Fatalf("exit %d, not %d: %s", code, want, stderr)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	files, m := read(t, f)
	return files, m, stderr
}

func TestManyNamespaces(t *testing.T) {
	if !ownHost(t) {
		return
	}
	const many = 300
	for i := range many {
		namespace(t, "n"+strconv.Itoa(i))
	}
	_, m, stderr := bundleOf(t, exitDone)
	names := map[string]string{}
	for _, n := range m.Hosts[0].Namespaces {
		for _, o := range n.Owners {
			if o.Kind == "netns" {
				names[o.Name] = n.ID
			}
		}
	}
	listed := map[string]int{}
	for _, a := range m.Artifacts {
		if strings.HasSuffix(a.Path, "/ip-addr.txt") || strings.HasSuffix(a.Path, "/ss-tanpie.txt") || strings.HasSuffix(a.Path, "/conntrack-L.txt") {
			listed[a.NetNS]++
		}
	}
	for i := range many {
		if n := listed[names["n"+strconv.Itoa(i)]]; n != 3 {
			t.Errorf("n%d: %d of 3 listings; %s", i, n, stderr)
		}
	}
	if n := len(m.Hosts[0].Namespaces); n != many+1 {
		t.Errorf("%d namespaces", n)
	}
}

// TestNamespaceVanishes: one that is gone when its turn comes costs only itself.
func TestNamespaceVanishes(t *testing.T) {
	if !ownHost(t) {
		return
	}
	namespace(t, "stays")
	namespace(t, "goes")
	took := false
	o := collect.Options{Privileged: true, Timeout: time.Minute, Path: searchPath(""), Progress: func(done, _ int, _ string) {
		if !took {
			took = true
			if err := unix.Unmount("/run/netns/goes", unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		}
	}}
	r, err := collect.Record(t.Context(), filepath.Join(t.TempDir(), "b.tar.gz"), nil, o)
	if err != nil || !took {
		t.Fatal(err, took)
	}
	if m := missingOf(&r.Manifest, "network namespace "); m.Because != "not-found" || r.Partly() {
		t.Errorf("missing %+v, partly %v", r.Manifest.Missing, r.Partly())
	}
	if n := len(r.Manifest.Hosts[0].Namespaces); n != 3 {
		t.Errorf("%d namespaces", n)
	}
}

// TestHangingProxy: a proxy that takes the connection and never answers costs
// its own listings, and a few seconds.
func TestHangingProxy(t *testing.T) {
	if !ownHost(t) {
		return
	}
	loopback(t)
	l, err := net.Listen("tcp", "127.0.0.1:15000")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, m, stderr := bundleOf(t, exitPartly)
	if x := missingOf(m, "proxy at 127.0.0.1:15000"); x.Because != "timeout" || !strings.Contains(stderr, "proxy at 127.0.0.1:15000: timeout") {
		t.Errorf("missing %+v: %s", m.Missing, stderr)
	}
	for _, a := range m.Artifacts {
		if strings.HasSuffix(a.Path, "/ss-tanpie.end.txt") {
			return
		}
	}
	t.Error("recording did not go on after it")
}

// TestProxyHangsLater: a proxy that says who it is and then hangs is not waited
// for again and again.
func TestProxyHangsLater(t *testing.T) {
	if !ownHost(t) {
		return
	}
	loopback(t)
	l, err := net.Listen("tcp", "127.0.0.1:15000")
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan string, 100)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/server_info" {
			fmt.Fprint(w, `{"version":"abc/1.40.0/Clean/RELEASE/BoringSSL","state":"LIVE"}`)
			return
		}
		asked <- r.URL.Path
		<-r.Context().Done()
	})}
	go srv.Serve(l)
	defer srv.Close()
	_, m, stderr := bundleOf(t, exitPartly)
	for _, what := range []string{"envoy-clusters", "envoy-config_dump"} {
		if x := missingOf(m, what); x.Because != "timeout" {
			t.Errorf("%s: %+v: %s", what, x, stderr)
		}
	}
	if len(asked) != 1 {
		t.Errorf("asked %d times", len(asked))
	}
}

// TestFullDisk: there is no bundle, and nothing else in its folder.
func TestFullDisk(t *testing.T) {
	if !ownHost(t) {
		return
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=8k"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	for i := range 40 { // enough to fill it
		namespace(t, "n"+strconv.Itoa(i))
	}
	code, _, stderr := do("-o", filepath.Join(dir, "b.tar.gz"))
	if code != exitRuntime || !strings.Contains(stderr, "no space left on device") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	if left, err := os.ReadDir(dir); len(left) != 0 || err != nil {
		t.Errorf("left %v, %v", left, err)
	}
}

// TestKilled: a run that is killed leaves no file, and no process that it had
// started.
func TestKilled(t *testing.T) {
	if !ownHost(t) {
		return
	}
	dir, tools := t.TempDir(), t.TempDir()
	fifo := filepath.Join(tools, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\n[ \"$1\" = list ] || exit 0\necho $$ >" + fifo + "\nexec sleep 100\n"
	if err := os.WriteFile(filepath.Join(tools, "nft"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("/proc/self/exe", "the-program", "-o", filepath.Join(dir, "b.tar.gz"))
	c.Env = append(os.Environ(), "PATH="+tools+":"+os.Getenv("PATH"))
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(fifo) // until the tool has begun
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	c.Process.Kill()
	c.Wait()
	if left, err := os.ReadDir(dir); len(left) != 0 || err != nil {
		t.Errorf("left %v, %v", left, err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		var status unix.WaitStatus
		unix.Wait4(-1, &status, unix.WNOHANG, nil) // this process is the first of its namespace
		if unix.Kill(pid, 0) == unix.ESRCH {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("process %d still runs", pid)
		}
	}
}

// TestEmptyContainer: the program needs nothing around it, and sees its host
// where that is mounted.
func TestEmptyContainer(t *testing.T) {
	if !ownHost(t) {
		return
	}
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "collect"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, sub := range []string{"host", "proc", "tmp"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	defer unix.Unmount(filepath.Join(dir, "host"), unix.MNT_DETACH)
	defer unix.Unmount(filepath.Join(dir, "proc"), unix.MNT_DETACH)
	if err := errors.Join(unix.Mount("/", filepath.Join(dir, "host"), "", unix.MS_BIND|unix.MS_REC, ""), unix.Mount("proc", filepath.Join(dir, "proc"), "proc", 0, "")); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("nft", "add", "table", "inet", "lab").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for args, want := range map[string]bool{"": false, "--host-root /host": true} {
		c := exec.Command("/collect", append(strings.Fields(args), "-o", "-")...)
		c.Dir, c.SysProcAttr = "/", &syscall.SysProcAttr{Chroot: dir}
		var said bytes.Buffer
		c.Stderr = &said
		out, err := c.Output()
		if err != nil {
			t.Fatalf("%s: %v: %s", args, err, said.String())
		}
		files, m := read(t, bytes.NewReader(out))
		nft, sockets := false, false
		for path, text := range files {
			nft = nft || strings.HasSuffix(path, "/nft-list-ruleset.txt") && strings.Contains(text, "table inet lab")
			sockets = sockets || strings.HasSuffix(path, "/ss-tanpie.txt")
		}
		if nft != want || !sockets {
			t.Errorf("%q: the host's nft %v, sockets %v: missing %+v", args, nft, sockets, m.Missing)
		}
	}
}

// connections makes many entries in the table of the calling thread's namespace.
func connections(t testing.TB, many int) {
	t.Helper()
	if b, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_max"); err == nil {
		if n, _ := strconv.Atoi(strings.TrimSpace(string(b))); n > 0 && n <= many {
			if os.Getenv("CI") == "true" {
				t.Fatalf("this kernel tracks at most %d", n)
			}
			t.Skipf("this kernel tracks at most %d", n)
		}
	}
	list := filepath.Join(t.TempDir(), "list")
	f, err := os.Create(list)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	for i := range many {
		fmt.Fprintf(w, "-A -t 86400 -u SEEN_REPLY,ASSURED -s 10.%d.%d.%d -d 192.168.0.1 -r 10.244.0.%d -q 10.%[1]d.%d.%d -p tcp --sport 4000 --dport 80 --reply-port-src 8080 --reply-port-dst 4000 --state ESTABLISHED\n",
			i>>16, i>>8&255, i&255, i%250, i>>8&255, i&255)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("conntrack", "-R", list).CombinedOutput(); err != nil {
		t.Fatalf("%v: %.300s", err, out)
	}
}

// program runs the collector as a process of its own, and gives its largest
// memory in kB.
func program(t testing.TB, args ...string) (peak int) {
	t.Helper()
	c := exec.Command("/proc/self/exe", append([]string{"the-program"}, args...)...)
	c.Env = append(os.Environ(), "WHICHBACKEND_TEST_MEMORY=1")
	out, err := c.CombinedOutput()
	_, after, _ := strings.Cut(string(out), "peak ")
	if _, e := fmt.Sscan(after, &peak); e != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return peak
}

// TestManyConnections: a table of 200,000 is recorded whole, in little memory.
func TestManyConnections(t *testing.T) {
	if !ownHost(t) {
		return
	}
	const many = 200_000
	connections(t, many)
	name := filepath.Join(t.TempDir(), "b.tar.gz")
	if peak := program(t, "-o", name); peak > 64<<10 {
		t.Errorf("peak of %d kB", peak)
	}
	b, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	files, m := read(t, b)
	for path, text := range files {
		if strings.HasSuffix(path, "/conntrack-L.txt") {
			if n := strings.Count(text, "\n"); n != many {
				t.Errorf("%d of %d: missing %+v", n, many, m.Missing)
			}
			return
		}
	}
	t.Error("not recorded")
}

// BenchmarkManyConnections records a namespace with 200,000 connections, beside
// what a person would do: conntrack -L > file.
func BenchmarkManyConnections(b *testing.B) {
	runtime.LockOSThread() // and the thread ends with the benchmark
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		b.Skip(err)
	}
	connections(b, 200_000)
	id, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		b.Fatal(err)
	}
	name, peak := filepath.Join(b.TempDir(), "b.tar.gz"), 0
	var ours, tools time.Duration
	for b.Loop() {
		start := time.Now()
		peak = max(peak, program(b, "-o", name, "--netns", strings.Trim(id, "net:[]")))
		ours += time.Since(start)
		start = time.Now()
		if out, err := exec.Command("sh", "-c", "exec conntrack -L -o extended,id >"+name+".txt 2>/dev/null").CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		tools += time.Since(start)
	}
	b.ReportMetric(float64(ours)/float64(tools), "times-conntrack")
	b.ReportMetric(float64(peak)/1024, "MiB")
}

// TestPackets: what happens while the listings are recorded is captured, the
// handshake of a connection and not what was said in it.
func TestPackets(t *testing.T) {
	if !ownHost(t) {
		return
	}
	loopback(t)
	namespace(t, "other")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Write([]byte("hunter2"))
			c.Close()
		}
	}()
	stop, stopped := make(chan bool), make(chan bool)
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
				if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
					c.Read(make([]byte, 10))
					c.Close()
				}
			}
		}
	}()
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	files, m, _ := bundleOf(t, exitDone, "--pcap", "1s", "--pcap-filter", "tcp and port "+port)
	close(stop)
	<-stopped
	l.Close()
	var captures []string
	for path, text := range files {
		if strings.HasSuffix(path, "/packets.pcapng") {
			captures = append(captures, text)
		}
		if strings.Contains(text, "hunter2") {
			t.Errorf("%s: holds what was said", path)
		}
	}
	if len(captures) != 2 {
		t.Fatalf("%d captures, missing %+v", len(captures), m.Missing)
	}
	tcpdump := exec.Command("tcpdump", "-nr", "-")
	tcpdump.Stdin = strings.NewReader(slices.MaxFunc(captures, func(a, b string) int { return len(a) - len(b) }))
	out, err := tcpdump.Output()
	if err != nil || !bytes.Contains(out, []byte("Flags [S],")) || !bytes.Contains(out, []byte("Flags [S.],")) || !bytes.Contains(out, []byte(port)) {
		t.Errorf("%v: %.500s", err, out)
	}
}
