//go:build linux

package capture

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// place is a thread in a network namespace of its own, which does what it is
// given. It ends with the test, and the namespace with it.
type place chan func()

func newPlace(t *testing.T) place {
	t.Helper()
	p := make(place)
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		failed <- unix.Unshare(unix.CLONE_NEWNET)
		for f := range p {
			f()
		}
	}()
	t.Cleanup(func() { close(p) })
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	return p
}

func (p place) do(f func()) {
	done := make(chan struct{})
	p <- func() { f(); close(done) }
	<-done
}

func (p place) ip(t *testing.T, lines string) {
	t.Helper()
	p.do(func() {
		for _, line := range strings.Split(strings.TrimSpace(lines), "\n") {
			if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
				t.Errorf("ip %s: %v: %s", strings.TrimSpace(line), err, out)
			}
		}
	})
}

func needs(t *testing.T, tools ...string) {
	t.Helper()
	missing := os.Geteuid() != 0
	for _, tool := range tools {
		_, err := exec.LookPath(tool)
		missing = missing || err != nil
	}
	switch {
	case missing && os.Getenv("CI") == "true":
		t.Fatalf("CI runs this as root, with %v", tools)
	case missing:
		t.Skipf("needs root and %v", tools)
	}
}

// pair makes two namespaces with a link between them, and over it a VXLAN.
func pair(t *testing.T) (a, b place) {
	t.Helper()
	needs(t, "ip", "tcpdump")
	a, b = newPlace(t), newPlace(t)
	thread := 0
	b.do(func() { thread = unix.Gettid() })
	a.ip(t, fmt.Sprintf("link add a0 type veth peer name b0 netns %d", thread))
	for i, p := range []place{a, b} {
		dev := [...]string{"a0", "b0"}[i]
		p.ip(t, fmt.Sprintf(`
			link set lo up
			addr add 10.1.0.%[1]d/24 dev %[2]s
			addr add fd01::%[1]d/64 dev %[2]s nodad
			link set %[2]s up
			link add vx0 type vxlan id 42 dstport 4789 remote 10.1.0.%[3]d local 10.1.0.%[1]d
			addr add 10.2.0.%[1]d/24 dev vx0
			link set vx0 up`, i+1, dev, 2-i))
	}
	return a, b
}

// talk sends the secret over TCP and UDP, forth and back, and waits for it.
func talk(t *testing.T, a, b place, host string, number int) {
	t.Helper()
	address := net.JoinHostPort(host, fmt.Sprint(number))
	var l net.Listener
	var u net.PacketConn
	var err, err2 error
	b.do(func() {
		l, err = net.Listen("tcp", address)
		u, err2 = net.ListenPacket("udp", address)
	})
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	defer l.Close()
	defer u.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			io.Copy(c, c)
			c.Close()
		}
	}()
	go func() {
		buf := make([]byte, 100)
		if n, from, err := u.ReadFrom(buf); err == nil {
			u.WriteTo(buf[:n], from)
		}
	}()
	for _, network := range []string{"tcp", "udp"} {
		var c net.Conn
		a.do(func() { c, err = net.DialTimeout(network, address, 5*time.Second) })
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(5 * time.Second))
		got := make([]byte, len(secret))
		if _, err = c.Write([]byte(secret)); err == nil {
			_, err = io.ReadFull(c, got)
		}
		if err == nil && network == "tcp" { // until both sides have closed
			c.(*net.TCPConn).CloseWrite()
			_, err = io.ReadAll(c)
		}
		c.Close()
		if err != nil || string(got) != secret {
			t.Fatal(network, address, err, string(got))
		}
	}
}

func begin(t *testing.T, p place, o Options) *Capture {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	var c *Capture
	var err error
	p.do(func() { c, err = Open(context.Background(), o) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func stop(t *testing.T, c *Capture) ([]byte, Stats) {
	t.Helper()
	r, stats, err := c.Stop()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil || int64(len(b)) != stats.Bytes {
		t.Fatal(len(b), stats, err)
	}
	return b, stats
}

// dumped is what tcpdump reads in a capture, a line for each packet. It takes the
// names of devices not from the file, but from the namespace that it runs in.
func (p place) dumped(t *testing.T, file []byte, words ...string) (lines []string) {
	t.Helper()
	p.do(func() { lines = dumped(t, file, words...) })
	return lines
}

func dumped(t *testing.T, file []byte, words ...string) []string {
	t.Helper()
	cmd := exec.Command("tcpdump", append([]string{"-nn", "-tt", "-r", "-"}, words...)...)
	cmd.Stdin = bytes.NewReader(file)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil || strings.Contains(said.String(), "truncated") {
		t.Errorf("tcpdump %v: %v: %s", words, err, said.String())
	}
	var lines []string
	for line := range strings.Lines(string(out)) {
		if n := len(lines); n > 0 && (len(line) < 11 || line[10] != '.') {
			lines[n-1] += line // of a packet in a packet
		} else {
			lines = append(lines, line)
		}
	}
	return lines
}

func has(lines []string, words ...string) bool {
	return slices.ContainsFunc(lines, func(line string) bool {
		for _, w := range words {
			if !strings.Contains(line, w) {
				return false
			}
		}
		return true
	})
}

func TestCaptureKeepsHeadersAndNoPayload(t *testing.T) {
	a, b := pair(t)
	dir := t.TempDir()
	c := begin(t, a, Options{Dir: dir})
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("a file is there: %v", left)
	}
	talk(t, a, b, "10.1.0.2", 8080)
	talk(t, a, b, "fd01::2", 8080)
	talk(t, a, b, "10.2.0.2", 9090) // over VXLAN
	talk(t, a, a, "127.0.0.1", 7070)
	a.do(func() {
		out, err := exec.Command("ip", "-d", "link").Output()
		if n := strings.Count(string(out), "promiscuity 0 "); err != nil || n != 3 {
			t.Errorf("%d of 3 devices are not promiscuous: %v\n%s", n, err, out)
		}
	})
	file, stats := stop(t, c)
	if bytes.Contains(file, []byte(secret[:4])) {
		t.Error("payload was recorded")
	}
	lines := a.dumped(t, file)
	if uint64(len(lines)) != stats.Packets || stats.Dropped != 0 || stats.Full {
		t.Errorf("tcpdump reads %d packets, we said %+v", len(lines), stats)
	}
	for _, want := range [][]string{
		{"a0 ", "Out IP 10.1.0.1.", "> 10.1.0.2.8080: Flags [S],", "mss"},
		{"a0 ", "In ", "IP 10.1.0.2.8080 >", "Flags [S.],", "mss"},
		{"IP 10.1.0.2.8080 >", "Flags [P.]", fmt.Sprintf("length %d", len(secret))},
		{"IP6 fd01::1.", "fd01::2.8080: Flags [S],"},
		{"a0 ", "VXLAN, flags [I] (0x08), vni 42"},
		{"vx0", "IP 10.2.0.1.", "10.2.0.2.9090: Flags [S],"},
		{"lo ", "127.0.0.1.7070: Flags [S],"},
		{"10.1.0.2.8080: UDP", fmt.Sprintf("length %d", len(secret))},
	} {
		if !has(lines, want...) {
			t.Errorf("no packet with %q in\n%s", want, strings.Join(lines, ""))
		}
	}
	inner := slices.DeleteFunc(a.dumped(t, file, "udp port 4789"), func(l string) bool { return !strings.Contains(l, "VXLAN") })
	if len(inner) == 0 {
		t.Error("no VXLAN")
	}
	for _, line := range lines { // on the loopback each packet is there once
		if strings.Contains(line, "lo ") && strings.Contains(line, "Out ") {
			t.Errorf("twice: %s", line)
		}
	}
	checkBlocks(t, file, stats)
}

// checkBlocks walks through the file, whose every block says its size twice.
func checkBlocks(t *testing.T, file []byte, stats Stats) {
	t.Helper()
	u32 := func(i int) uint32 { return binary.NativeEndian.Uint32(file[i:]) }
	devices, packets, statistics := 0, uint64(0), 0
	var last, newest uint64
	for at := 0; at < len(file); {
		kind, size := u32(at), int(u32(at+4))
		if size < 12 || size%4 != 0 || at+size > len(file) || int(u32(at+size-4)) != size {
			t.Fatalf("a block of %d bytes at %d", size, at)
		}
		switch kind {
		case 1:
			devices++
		case 5:
			statistics++
		case 6:
			packets++
			last = uint64(u32(at+12))<<32 | uint64(u32(at+16))
			// The kernel stamps before it queues, on any processor.
			if last+uint64(time.Millisecond) < newest {
				t.Errorf("packet %d is %d ns older than one before it", packets, newest-last)
			}
			newest = max(newest, last)
			begun, finished := uint64(stats.Begun.UnixNano()), uint64(stats.Finished.UnixNano())
			if last < begun-1e9 || last > finished+1e9 {
				t.Errorf("packet %d is of %d, not between %d and %d", packets, last, begun, finished)
			}
			if flags := u32(at + size - 12); flags&3 == 0 {
				t.Errorf("packet %d has no direction", packets)
			}
		}
		at += size
	}
	if packets != stats.Packets || statistics != devices || devices == 0 {
		t.Errorf("%d packets, %d devices, %d statistics, for %+v", packets, devices, statistics, stats)
	}
}

func TestCaptureKeepsAsMuchPayloadAsAsked(t *testing.T) {
	a, b := pair(t)
	c := begin(t, a, Options{Payload: 6, Filter: "tcp port 8080"})
	talk(t, a, b, "10.1.0.2", 8080)
	file, _ := stop(t, c)
	if !bytes.Contains(file, []byte(secret[:6])) || bytes.Contains(file, []byte(secret[:7])) {
		t.Error("want six bytes of payload")
	}
}

func TestFiltersAgreeWithTcpdump(t *testing.T) {
	a, b := pair(t)
	all := begin(t, a, Options{})
	some := make([]*Capture, len(expressions))
	for i, e := range expressions {
		some[i] = begin(t, a, Options{Filter: e, Ring: 1 << 20})
	}
	a.ip(t, "neigh flush all")
	from := time.Now()
	talk(t, a, b, "10.1.0.2", 8080)
	talk(t, a, b, "fd01::2", 8080)
	talk(t, a, b, "10.1.0.2", 9090)
	talk(t, a, b, "10.2.0.2", 8050)
	talk(t, a, a, "10.1.0.1", 8080)
	for _, to := range []string{"10.1.0.2:8080", "[fd01::2]:8080"} {
		refused(t, a, to)
	}
	to := time.Now()
	file, _ := stop(t, all)
	for i, e := range expressions {
		want := between(dumped(t, file, e), from, to)
		mine, stats := stop(t, some[i])
		if stats.Dropped != 0 {
			t.Errorf("%s: %+v", e, stats)
		}
		got := between(dumped(t, mine), from, to)
		if !slices.Equal(want, got) {
			t.Errorf("%s: tcpdump keeps %d packets, we keep %d (-tcpdump +we):\n%s", e, len(want), len(got), cmp.Diff(want, got))
		}
		if len(want) == 0 && !strings.HasPrefix(e, "sctp") {
			t.Errorf("%s: nothing to compare", e)
		}
	}
}

// refused sends fragments, of which only the first has ports, to where nobody
// listens, and waits for the answer that says so.
func refused(t *testing.T, p place, to string) {
	t.Helper()
	p.do(func() {
		c, err := net.Dial("udp", to)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		c.Write(make([]byte, 4000))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("%s: %v", to, err)
		}
	})
}

// between are the packets of a time, sorted, without the chatter that comes when
// it likes, and without their times: each socket has a clock reading of its own.
func between(lines []string, from, to time.Time) []string {
	var kept []string
	for _, line := range lines {
		when, rest, _ := strings.Cut(line, " ")
		seconds, err := strconv.ParseFloat(when, 64)
		if err != nil || strings.Contains(rest, "ff02::") || strings.Contains(rest, "fe80::") {
			continue
		}
		if at := time.UnixMicro(int64(seconds * 1e6)); !at.Before(from.Add(-time.Microsecond)) && !at.After(to) {
			kept = append(kept, rest)
		}
	}
	slices.Sort(kept)
	return kept
}

func TestCaptureEndsAtItsLimit(t *testing.T) {
	a, b := pair(t)
	c := begin(t, a, Options{Limit: 4 << 10})
	talk(t, a, b, "10.1.0.2", 8080)
	talk(t, a, b, "10.1.0.2", 8081)
	talk(t, a, b, "10.2.0.2", 8082)
	<-c.done // by itself
	file, stats := stop(t, c)
	if !stats.Full || stats.Packets == 0 || len(file) > 4<<10 {
		t.Errorf("%d bytes, %+v", len(file), stats)
	}
	if n := len(dumped(t, file)); uint64(n) != stats.Packets {
		t.Errorf("tcpdump reads %d packets, of %d", n, stats.Packets)
	}
	checkBlocks(t, file, stats)
	var err error
	a.do(func() { _, err = Open(context.Background(), Options{Dir: t.TempDir(), Limit: 100}) })
	if err == nil {
		t.Error("a limit that has no room for a packet was taken")
	}
}

func TestCaptureEndsWithItsContext(t *testing.T) {
	a, b := pair(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var c *Capture
	var err error
	a.do(func() { c, err = Open(ctx, Options{Dir: t.TempDir()}) })
	if err != nil {
		t.Fatal(err)
	}
	talk(t, a, b, "10.1.0.2", 8080)
	cancel()
	<-c.done
	talk(t, a, b, "10.1.0.2", 9090)
	file, _ := stop(t, c)
	if lines := dumped(t, file); !has(lines, ".8080: Flags [S]") || has(lines, ".9090") {
		t.Errorf("got\n%s", strings.Join(lines, ""))
	}
	if _, _, err := c.Stop(); err != ErrStopped {
		t.Error(err)
	}
}

// TestCaptureOutlivesItsNamespace ends the only thread of a namespace, and
// takes a device away.
func TestCaptureOutlivesItsNamespace(t *testing.T) {
	needs(t, "ip", "tcpdump")
	type opened struct {
		c   *Capture
		err error
	}
	result := make(chan opened)
	dir := t.TempDir()
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends here
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			result <- opened{err: err}
			return
		}
		exec.Command("ip", "link", "add", "gone0", "type", "veth", "peer", "name", "gone1").Run()
		c, err := Open(context.Background(), Options{Dir: dir})
		exec.Command("ip", "link", "set", "gone0", "up").Run()
		exec.Command("ip", "link", "del", "gone0").Run()
		result <- opened{c, err}
	}()
	o := <-result
	if o.err != nil {
		t.Fatal(o.err)
	}
	file, stats := stop(t, o.c)
	checkBlocks(t, file, stats)
}

func TestDropsAreReported(t *testing.T) {
	a, _ := pair(t)
	var c *Capture
	var err error
	a.do(func() { c, err = prepare(Options{Dir: t.TempDir(), Ring: 1}) })
	if err != nil {
		t.Fatal(err)
	}
	const sent = 20000 // which nobody reads, and have no room
	a.do(func() {
		u, err := net.Dial("udp", "127.0.0.1:9")
		if err != nil {
			t.Error(err)
			return
		}
		defer u.Close()
		for range sent {
			u.Write([]byte(secret)) // some tell that nobody listens
		}
	})
	c.unctx = func() bool { return true }
	go c.run()
	file, stats := stop(t, c)
	if stats.Dropped < sent/2 || stats.Packets == 0 {
		t.Errorf("%+v", stats)
	}
	checkBlocks(t, file, stats)
	if !bytes.Contains(file, binary.NativeEndian.AppendUint64(nil, stats.Dropped)) {
		t.Error("the file does not say how many were dropped")
	}
}

// TestNewDevices is about devices that come after the capture began: one that
// has no header of a link.
func TestNewDevices(t *testing.T) {
	a, _ := pair(t)
	c := begin(t, a, Options{})
	var tun *os.File
	a.do(func() { tun = openTun(t, "tun7") })
	if tun == nil {
		return
	}
	defer tun.Close()
	a.ip(t, `
		addr add 10.7.0.1 peer 10.7.0.2 dev tun7
		link set tun7 up`)
	a.do(func() {
		if u, err := net.Dial("udp", "10.7.0.2:5353"); err == nil {
			u.Write([]byte(secret))
			u.Close()
		}
	})
	file, _ := stop(t, c)
	if lines := dumped(t, file); !has(lines, "IP 10.7.0.1.", "> 10.7.0.2.5353: ") {
		t.Errorf("got\n%s", strings.Join(lines, ""))
	}
	if !bytes.Contains(file, []byte("tun7")) {
		t.Error("the device has no name in the file")
	}
	if bytes.Contains(file, []byte(secret[:4])) {
		t.Error("payload was recorded")
	}
}

// openTun makes a tun device, which is there while a program has it.
func openTun(t *testing.T, name string) *os.File {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatal(err)
	} else if err != nil {
		t.Skip(err)
	}
	q, err := unix.NewIfreq(name)
	if err == nil {
		q.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, q)
	}
	if err != nil {
		t.Error(err)
		unix.Close(fd)
		return nil
	}
	return os.NewFile(uintptr(fd), name)
}

func TestFullDisk(t *testing.T) {
	needs(t, "ip")
	s, err := newSpool(t.TempDir(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	record := bytes.Repeat([]byte("x"), 40<<10)
	add := func() error { return s.add(0, func(out []byte) []byte { return append(out, record...) }) }
	if err := errorsOf(add(), add()); err != nil || s.size != 80<<10 {
		t.Fatal(err, s.size)
	}
	s.f.Close() // as good as a disk that takes no more
	if err := errorsOf(add(), add()); err == nil || s.size != 80<<10 {
		t.Errorf("%v, and %d bytes", err, s.size)
	}
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
