package netns

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
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
)

// The test program is its own child: in new namespaces it makes names and
// processes, says so, and lives until its input ends.
const role = "WHICHBACKEND_NETNS_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "":
		os.Exit(m.Run())
	case "host":
		host()
	case "list":
		list1()
	}
}

// host makes namespaces with names, which only its own mounts keep, and some
// with a process that sleeps. It prints one line: a field kind=inode for each.
func host() {
	dir := os.Args[3] // of the test, which removes it
	check(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	check(unix.Mount("none", dir, "tmpfs", 0, ""))
	names, _ := strconv.Atoi(os.Args[1])
	processes, _ := strconv.Atoi(os.Args[2])
	fmt.Print("self=", own())
	for i := range names {
		done := make(chan uint64)
		go func() {
			runtime.LockOSThread() // and the thread ends with it
			check(unix.Unshare(unix.CLONE_NEWNET))
			name := filepath.Join(dir, fmt.Sprint("name", i))
			check(os.WriteFile(name, nil, 0o600))
			check(unix.Mount("/proc/thread-self/ns/net", name, "", unix.MS_BIND, ""))
			if i == 0 { // the test looks for this link
				out, err := exec.Command("ip", "link", "add", "mine0", "type", "veth", "peer", "name", "mine1").CombinedOutput()
				if err != nil {
					fmt.Fprintf(os.Stderr, "%s", out)
				}
				check(err)
			}
			done <- own()
		}()
		fmt.Printf(" name%d=%d", i, <-done)
	}
	if processes > 0 {
		inner := make(chan uint64)
		go func() {
			runtime.LockOSThread()
			check(unix.Unshare(unix.CLONE_NEWNET))
			sleep()
			inner <- own()
		}()
		fmt.Printf(" process=%d", <-inner)
	}
	for range processes - 1 {
		sleep()
	}
	threads()
	fmt.Println()
	bufio.NewReader(os.Stdin).ReadString('\n')
	os.Exit(0) // as process 1 it takes all others along
}

func sleep() { check(exec.Command("sleep", "1000").Start()) }

// threads has a thread in a namespace of its own.
func threads() {
	done := make(chan uint64)
	go func() {
		runtime.LockOSThread()
		check(unix.Unshare(unix.CLONE_NEWNET))
		done <- own()
		select {}
	}()
	fmt.Printf(" thread=%d", <-done)
}

func own() uint64 {
	link, err := os.Readlink("/proc/thread-self/ns/net")
	check(err)
	n, _ := inodeOf(link)
	return n
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// list1 lists as a user who may not look at others.
func list1() {
	f, err := List(context.Background(), Options{})
	check(err)
	defer f.Close()
	self := 0
	for _, n := range f.Namespaces {
		if n.Self && n.Host {
			self++
		}
	}
	err = f.Namespaces[0].Enter()
	fmt.Printf("namespaces=%d self=%d hidden=%v denied=%v\n", len(f.Namespaces), self, f.Hidden > 0, errors.Is(err, fs.ErrPermission))
}

// child is a running host.
type child struct {
	inodes map[string]uint64
	end    func() // and wait until it is gone
}

func start(t testing.TB, names, processes int) *child {
	t.Helper()
	needRoot(t)
	cmd := exec.Command("/proc/self/exe", fmt.Sprint(names), fmt.Sprint(processes), t.TempDir())
	cmd.Env = append(os.Environ(), role+"=host")
	cmd.Stderr = os.Stderr
	// It ends with its input. Pdeathsig would end it with the thread that
	// started it, and the tests use up threads.
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{inodes: map[string]uint64{}}
	over := false
	c.end = func() {
		if !over {
			over = true
			in.Close()
			cmd.Wait()
		}
	}
	t.Cleanup(c.end)
	watch := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer watch.Stop()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the child said %q: %v", line, err)
	}
	for _, f := range strings.Fields(line) {
		name, inode, _ := strings.Cut(f, "=")
		c.inodes[name], _ = strconv.ParseUint(inode, 10, 64)
	}
	return c
}

func needRoot(t testing.TB) {
	t.Helper()
	switch {
	case os.Geteuid() == 0:
	case os.Getenv("CI") == "true":
		t.Fatal("needs root")
	default:
		t.Skip("needs root")
	}
}

func listing(t testing.TB) *Found {
	t.Helper()
	f, err := List(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

func (f *Found) byInode(t testing.TB, inode uint64) *Namespace {
	t.Helper()
	var found *Namespace
	for _, n := range f.Namespaces {
		if n.inode == inode {
			if found != nil {
				t.Errorf("namespace %d was found twice", inode)
			}
			found = n
		}
	}
	if found == nil {
		t.Fatalf("namespace %d was not found", inode)
	}
	return found
}

// within reads the links of a namespace, and tells where the thread was before,
// in it, and after it went back.
func within(f *Found, n *Namespace) (links string, was [3]uint64, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread ends with the goroutine
		was[0] = own()
		if err = n.Enter(); err != nil {
			was[1] = own()
			return
		}
		was[1] = own()
		b, e := os.ReadFile("/proc/thread-self/net/dev")
		links, err = string(b), errors.Join(e, f.Return())
		was[2] = own()
	}()
	<-done
	return links, was, err
}

func TestRealNamespaces(t *testing.T) {
	c := start(t, 3, 1)
	f := listing(t)
	for name, inode := range c.inodes {
		n := f.byInode(t, inode)
		links, was, err := within(f, n)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if was[1] != inode || was[2] != was[0] || was[0] == inode {
			t.Errorf("%s: went from %d to %d and back to %d, want to %d and back", name, was[0], was[1], was[2], inode)
		}
		if strings.Contains(links, "mine0:") != (name == "name0") {
			t.Errorf("%s: has these links:\n%s", name, links)
		}
	}
	if o := f.byInode(t, c.inodes["name0"]).Owners; len(o) != 1 || text(o[0]) != "netns name0" {
		t.Errorf("name0 is owned by %v", o)
	}
	if o := f.byInode(t, c.inodes["self"]).Owners; len(o) != 1 || o[0].Kind != "process" || o[0].PID == 0 {
		t.Errorf("the child's own is owned by %v, want its process", o)
	}
	host := f.Namespaces[0]
	if link, err := os.Readlink("/proc/1/ns/net"); !host.Host || err == nil && link != "net:["+host.ID+"]" || len(host.Owners) == 0 || host.Owners[0].Kind != "host" {
		t.Errorf("the first is %+v, want the host's, %s", host, link)
	}
	hidden := 0
	all, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	for _, link := range all {
		if _, err := os.Readlink(link); errors.Is(err, fs.ErrPermission) {
			hidden++
		}
	}
	if f.Hidden != hidden {
		t.Errorf("%d processes were hidden, %d counted", hidden, f.Hidden)
	}
}

// TestVanished ends a host between listing and entering. What a process alone
// kept was held open, and is still there; what was not, is told to be gone.
func TestVanished(t *testing.T) {
	c := start(t, 2, 1)
	f := listing(t)
	named, self := f.byInode(t, c.inodes["name0"]), f.byInode(t, c.inodes["self"])
	c.end()
	if _, was, err := within(f, named); !errors.Is(err, fs.ErrNotExist) || was[1] != was[0] {
		t.Errorf("a name that is gone: %v, in %d after %d; want fs.ErrNotExist, and no move", err, was[1], was[0])
	}
	if _, was, err := within(f, self); err != nil || was[1] != self.inode {
		t.Errorf("one held open: %v, in %d, want %d", err, was[1], self.inode)
	}
	f.Close()
	if _, _, err := within(f, self); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("one held no more: %v, want fs.ErrNotExist", err)
	}
}

// TestWayOfAnother has ways that lead elsewhere meanwhile: to the namespace of
// another, to a pipe that would block, to a file.
func TestWayOfAnother(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	n := &Namespace{ID: "1", inode: 1, ways: []string{"/proc/self/ns/net", pipe, dir, filepath.Join(dir, "absent")}}
	if err := n.Enter(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
	var stat unix.Stat_t
	if err := unix.Stat(pipe, &stat); err != nil {
		t.Fatal(err)
	}
	n.inode = stat.Ino // another kind of file has the same number
	if err := n.Enter(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
}

func TestWithoutRoot(t *testing.T) {
	needRoot(t)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), role+"=list")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if want := "namespaces=1 self=1 hidden=true denied=true\n"; err != nil || string(out) != want {
		t.Errorf("got %q, %v; want %q", out, err, want)
	}
}

// TestManyNamespaces holds few files open, whatever the number.
func TestManyNamespaces(t *testing.T) {
	c := start(t, 320, 0)
	before := files(t)
	f := listing(t)
	for _, inode := range c.inodes {
		f.byInode(t, inode)
	}
	if now := files(t); now-before > hold+1 {
		t.Errorf("%d files are held open, at most %d should be", now-before, hold+1)
	}
	f.Close()
	if now := files(t); now > before {
		t.Errorf("%d files are open after Close, %d before", now, before)
	}
}

func files(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

// BenchmarkList lists a host with 300 namespaces and 2,000 processes.
func BenchmarkList(b *testing.B) {
	start(b, 300, 2000)
	for b.Loop() {
		f, err := List(b.Context(), Options{})
		if err != nil {
			b.Fatal(err)
		}
		if !slices.ContainsFunc(f.Namespaces, func(n *Namespace) bool { return n.kept }) || len(f.Namespaces) < 300 {
			b.Fatalf("%d namespaces", len(f.Namespaces))
		}
		f.Close()
	}
}
