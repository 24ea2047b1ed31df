package kernel

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// lively puts the test into a network namespace of its own, with a pair of veths
// on which a neighbour never answers, and a link-local address on lo.
func lively(t testing.TB) {
	t.Helper()
	ownNamespace(t, "ss")
	for _, line := range []string{
		"link add v0 type veth peer name v1", "link set v1 up", "link set v0 up",
		"addr add 10.99.0.1/24 dev v0", "addr add fe80::99:1/64 dev lo nodad",
		"neigh add 10.99.0.2 lladdr 02:00:00:00:00:02 nud permanent dev v0",
	} {
		command(t, append([]string{"ip"}, strings.Fields(line)...)...)
	}
	// The kernel makes the route to an IPv6 address a while after the address.
	for deadline := time.Now().Add(10 * time.Second); ; {
		routes := command(t, "ip", "-6", "route", "show", "table", "local")
		if strings.Contains(routes, "fe80::99:1 ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no route to fe80::99:1:\n%s", routes)
		}
	}
}

// sock makes a socket by hand, which the test closes.
func sock(t testing.TB, family, kind int) int {
	t.Helper()
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func listen(t testing.TB, network, address string) *net.TCPListener {
	t.Helper()
	l, err := net.Listen(network, address)
	must(t, err)
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

// pair gives both ends of a connection to a listener.
func pair(t testing.TB, l *net.TCPListener, to string) (client, server *net.TCPConn) {
	t.Helper()
	_, port, err := net.SplitHostPort(l.Addr().String())
	must(t, err)
	must(t, l.SetDeadline(time.Now().Add(5*time.Second)))
	c, err := net.Dial("tcp", net.JoinHostPort(to, port))
	must(t, err)
	t.Cleanup(func() { c.Close() })
	s, err := l.AcceptTCP()
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return c.(*net.TCPConn), s
}

// send sends n bytes, and awaits them.
func send(t testing.TB, from, to *net.TCPConn, n int) {
	t.Helper()
	must(t, to.SetDeadline(time.Now().Add(5*time.Second)))
	_, err := from.Write(make([]byte, n))
	must(t, err)
	_, err = io.ReadFull(to, make([]byte, n))
	must(t, err)
}

func awaitEOF(t testing.TB, c *net.TCPConn) {
	t.Helper()
	must(t, c.SetDeadline(time.Now().Add(5*time.Second)))
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("%v, want EOF", err)
	}
}

func processes(t testing.TB) *Processes {
	t.Helper()
	p, err := ReadProcesses(t.Context(), "/proc")
	must(t, err)
	return p
}

var (
	// What another moment changes, and what one version prints and not another.
	ssPassing = regexp.MustCompile(` (last(snd|rcv|ack)|cgroup|rcv_wnd|rehash):\S+| usec_ts\b`)
	ssTimer   = regexp.MustCompile(`timer:\((\w+),[^,)]*,`)
)

// ssRows gives the rows of a listing, each with its line of details, without
// what may differ between two listings of the same sockets.
func ssRows(text string) []string {
	text = strings.ReplaceAll(text, "PortProcess", "Port Process") // ss sets no blank there when it has no room
	var rows []string
	for line := range strings.Lines(text) {
		line = ssTimer.ReplaceAllString(ssPassing.ReplaceAllString(line, ""), "timer:($1,")
		words := strings.Join(strings.Fields(line), " ")
		if line[0] == '\t' && len(rows) > 0 {
			rows[len(rows)-1] += " | " + words
			continue
		}
		rows = append(rows, words)
	}
	return rows
}

// sameAsSS holds a listing against that of ss, at a moment at which ss says the
// same before and after, and gives the rows.
func sameAsSS(t *testing.T, args string, list func(*Processes) (io.ReadCloser, error)) []string {
	t.Helper()
	ss := func() []string { return ssRows(command(t, "ss", args)) }
	for deadline := time.Now().Add(20 * time.Second); ; {
		before := ss()
		r, err := list(processes(t))
		ours := ssRows(all(t, r, err))
		if after := ss(); slices.Equal(before, after) {
			if !slices.Equal(ours, before) {
				t.Errorf("ours:\n%s\nss %s:\n%s", strings.Join(ours, "\n"), args, strings.Join(before, "\n"))
			}
			return ours
		}
		if time.Now().After(deadline) {
			t.Fatal("the sockets never rest")
		}
	}
}

// wantRows: the listing has for each text a row that matches it.
func wantRows(t *testing.T, rows []string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !slices.ContainsFunc(rows, regexp.MustCompile(w).MatchString) {
			t.Errorf("no row %q", w)
		}
	}
	if t.Failed() {
		t.Log(strings.Join(rows, "\n"))
	}
}

func TestTCPSocketsAsSS(t *testing.T) {
	lively(t)
	four, both, six := listen(t, "tcp4", "127.0.0.1:7001"), listen(t, "tcp", ":7002"), listen(t, "tcp6", "[::1]:7003")
	local := listen(t, "tcp6", "[fe80::99:1%lo]:7004")

	c, s := pair(t, four, "127.0.0.1")
	send(t, c, s, 1234)
	send(t, s, c, 77)
	c, s = pair(t, both, "127.0.0.1")
	send(t, s, c, 100000)
	c, _ = pair(t, six, "::1")
	_, err := c.Write(make([]byte, 55)) // which nobody reads
	must(t, err)
	pair(t, local, "fe80::99:1%lo")
	c, s = pair(t, four, "127.0.0.1")
	must(t, c.CloseWrite())
	awaitEOF(t, s)
	c, s = pair(t, both, "::1")
	must(t, c.Close())
	awaitEOF(t, s)
	must(t, s.Close())

	makeHalfConnections(t)
	makeMarked(t)
	heldByAnother(t, four)

	rows := sameAsSS(t, "-tanpie", TCPSockets)
	wantRows(t, rows,
		`^State Recv-Q Send-Q Local Address:Port Peer Address:Port Process$`,
		`^LISTEN 1 \d+ 127\.0\.0\.1:7001 0\.0\.0\.0:\* users:\(\("sleep",pid=\d+,fd=3\),\(".*",pid=\d+,fd=\d+\)\) ino:\d+ sk:[0-9a-f]+ <->`,
		`^LISTEN 0 \d+ \*:7002 \*:\* .* v6only:0 <->`,
		`^LISTEN 1 3 \[::\]:7005 \[::\]:\* .* v6only:1 <->`,
		`^LISTEN 0 \d+ \[fe80::99:1\]%lo:7004 \[::\]:\* `,
		`^ESTAB 0 0 \[fe80::99:1\]%lo:7004 \[fe80::99:1\]:\d+ `,
		`^ESTAB 0 0 127\.0\.0\.1:7001 127\.0\.0\.1:\d+ users:.* bytes_sent:77 bytes_acked:77 bytes_received:1234 `,
		`^ESTAB 0 0 \[::ffff:127\.0\.0\.1\]:7002 \[::ffff:127\.0\.0\.1\]:\d+ .* bytes_sent:100000 bytes_acked:100000 `,
		`^ESTAB 55 0 \[::1\]:7003 \[::1\]:\d+ .* bytes_received:55 `,
		`^FIN-WAIT-2 0 0 127\.0\.0\.1:\d+ 127\.0\.0\.1:7001 .* <-- `,
		`^CLOSE-WAIT 0 0 127\.0\.0\.1:7001 127\.0\.0\.1:\d+ .* --> `,
		`^TIME-WAIT 0 0 \[::1\]:\d+ \[::1\]:7002 timer:\(timewait,\S+ ino:0 sk:\w+ \| $`,
		`^SYN-SENT 0 1 10\.99\.0\.1:\d+ 10\.99\.0\.2:7006 users:.* timer:\(on,`,
		`^SYN-RECV 0 0 127\.0\.0\.1:7007 127\.0\.0\.1:\d+ timer:\(on,\S+ ino:0 sk:`,
		`uid:1234 ino:\d+ sk:\w+ fwmark:0xab <-> \| .*\breno\b`,
	)
}

// makeHalfConnections makes a connection that waits to be accepted, one whose
// first SYN nobody answers, and one that is not accepted before it sends data.
func makeHalfConnections(t *testing.T) {
	t.Helper()
	only := sock(t, unix.AF_INET6, unix.SOCK_STREAM)
	must(t, unix.SetsockoptInt(only, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1))
	must(t, unix.Bind(only, &unix.SockaddrInet6{Port: 7005}))
	must(t, unix.Listen(only, 3))
	waiting := sock(t, unix.AF_INET6, unix.SOCK_STREAM)
	must(t, unix.Connect(waiting, &unix.SockaddrInet6{Port: 7005, Addr: [16]byte{15: 1}}))
	hole := sock(t, unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK)
	if err := unix.Connect(hole, &unix.SockaddrInet4{Port: 7006, Addr: [4]byte{10, 99, 0, 2}}); err != unix.EINPROGRESS {
		t.Fatal(err)
	}
	lazy := sock(t, unix.AF_INET, unix.SOCK_STREAM)
	must(t, unix.SetsockoptInt(lazy, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 60))
	must(t, unix.Bind(lazy, &unix.SockaddrInet4{Port: 7007, Addr: [4]byte{127, 0, 0, 1}}))
	must(t, unix.Listen(lazy, 9))
	silent := sock(t, unix.AF_INET, unix.SOCK_STREAM)
	must(t, unix.Connect(silent, &unix.SockaddrInet4{Port: 7007, Addr: [4]byte{127, 0, 0, 1}}))
}

// makeMarked makes a connection of another user, with a mark, and with another
// congestion control.
func makeMarked(t *testing.T) {
	t.Helper()
	marked := sock(t, unix.AF_INET, unix.SOCK_STREAM)
	must(t, unix.SetsockoptInt(marked, unix.SOL_SOCKET, unix.SO_MARK, 0xab))
	must(t, unix.SetsockoptString(marked, unix.IPPROTO_TCP, unix.TCP_CONGESTION, "reno"))
	must(t, unix.Fchown(marked, 1234, 0))
	must(t, unix.Connect(marked, &unix.SockaddrInet4{Port: 7001, Addr: [4]byte{127, 0, 0, 1}}))
}

// heldByAnother hands a listener to another process as well.
func heldByAnother(t *testing.T, l *net.TCPListener) {
	t.Helper()
	f, err := l.File()
	must(t, err)
	defer f.Close()
	child := exec.Command("sleep", "300")
	child.ExtraFiles = []*os.File{f}
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(t, child.Start())
	t.Cleanup(func() { child.Process.Kill(); child.Wait() })
}

func TestUDPSocketsAsSS(t *testing.T) {
	lively(t)
	for _, address := range []string{"127.0.0.1:7101", "0.0.0.0:7102", "[::]:7103", "[::1]:7104", "[fe80::99:1%lo]:7105"} {
		network := "udp"
		if strings.HasPrefix(address, "0.") {
			network = "udp4"
		}
		c, err := net.ListenPacket(network, address)
		must(t, err)
		t.Cleanup(func() { c.Close() })
	}
	for _, address := range []string{"127.0.0.1:7101", "[::1]:7104", "[::ffff:127.0.0.1]:7103"} {
		c, err := net.Dial("udp", address)
		must(t, err)
		t.Cleanup(func() { c.Close() })
		_, err = c.Write(make([]byte, 300)) // which nobody reads
		must(t, err)
	}
	bound := sock(t, unix.AF_INET, unix.SOCK_DGRAM)
	must(t, unix.BindToDevice(bound, "lo"))
	must(t, unix.Bind(bound, &unix.SockaddrInet4{Port: 53, Addr: [4]byte{127, 0, 0, 53}}))

	rows := sameAsSS(t, "-uanpe", UDPSockets)
	wantRows(t, rows,
		`^UNCONN [1-9]\d* 0 127\.0\.0\.1:7101 0\.0\.0\.0:\* users:\(\(".*",pid=\d+,fd=\d+\)\) ino:\d+ sk:\w+ <->$`,
		`^UNCONN 0 0 127\.0\.0\.53%lo:53 0\.0\.0\.0:\* `,
		`^UNCONN [1-9]\d* 0 \*:7103 \*:\* .* v6only:0 <->$`,
		`^ESTAB 0 0 127\.0\.0\.1:\d+ 127\.0\.0\.1:7101 users:.* <->$`,
		`^ESTAB 0 0 \[::1\]:\d+ \[::1\]:7104 users:`,
		`^UNCONN 0 0 \[fe80::99:1\]%lo:7105 \[::\]:\* `,
	)
}

// TestSocketsStayInTheirNamespace: a listing may be read on another thread.
func TestSocketsStayInTheirNamespace(t *testing.T) {
	lively(t)
	listen(t, "tcp4", "127.0.0.1:7201")
	bound := sock(t, unix.AF_INET, unix.SOCK_STREAM)
	must(t, unix.BindToDevice(bound, "v0"))
	must(t, unix.Bind(bound, &unix.SockaddrInet4{Port: 7202, Addr: [4]byte{10, 99, 0, 1}}))
	must(t, unix.Listen(bound, 1))
	r, err := TCPSockets(nil)
	text := all(t, r, err)
	if !strings.Contains(text, " 127.0.0.1:7201 ") || !strings.Contains(text, " 10.99.0.1%v0:7202 ") || strings.Contains(text, "users:") {
		t.Error(text)
	}
}

func TestTime(t *testing.T) {
	for ms, want := range map[uint32]string{0: "", 29: "029ms", 1000: "1sec", 1005: "1.005sec", 9999: "9.999sec", 59999: "59sec", 60000: "1min", 598000: "9min58sec", 659000: "10min"} {
		if got := string(appendTime(nil, ms)); got != want {
			t.Errorf("%d: %q, want %q", ms, got, want)
		}
	}
}

// message is an inet_diag_msg of an established IPv4 connection.
func message(attrs ...[]byte) []byte {
	m := make([]byte, diagMessage)
	m[0], m[1] = unix.AF_INET, 1
	copy(m[4:], []byte{0x1f, 0x90, 0xc0, 0x00})
	copy(m[8:], []byte{10, 0, 0, 1})
	copy(m[24:], []byte{10, 0, 0, 2})
	binary.NativeEndian.PutUint32(m[68:], 77)
	return append(m, bytes.Join(attrs, nil)...)
}

func row(t testing.TB, body []byte) string {
	t.Helper()
	s := sockets{protocol: unix.IPPROTO_TCP, devices: map[uint32]string{7: "eth7"}}
	out, err := s.socket(nil, unix.SOCK_DIAG_BY_FAMILY, body)
	must(t, err)
	return string(out)
}

// TestOldKernel: tcp_info was 104 bytes long once.
func TestOldKernel(t *testing.T) {
	info := make([]byte, 104)
	info[5], info[6] = optTimestamps|optSACK|optWindowScale, 7|9<<4
	binary.NativeEndian.PutUint32(info[8:], 204000)
	binary.NativeEndian.PutUint32(info[16:], 1448)
	binary.NativeEndian.PutUint32(info[68:], 1500)
	binary.NativeEndian.PutUint32(info[72:], 750)
	binary.NativeEndian.PutUint32(info[80:], 10)
	binary.NativeEndian.PutUint32(info[88:], 3)
	got := strings.Join(strings.Fields(row(t, message(part(diagInfo, info...), part(diagCong, []byte("cubic\x00")...)))), " ")
	want := "ESTAB 0 0 10.0.0.1:8080 10.0.0.2:49152 ino:77 sk:0 ts sack cubic wscale:7,9 rto:204 rtt:1.5/0.75 mss:1448 cwnd:10 send 77226667bps"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestAboveTCP: kernel TLS is told of, and TCP-MD5's keys are not.
func TestAboveTCP(t *testing.T) {
	word := func(n uint16) []byte { return binary.NativeEndian.AppendUint16(nil, n) }
	tls := bytes.Join([][]byte{part(tlsVersion, word(0x304)...), part(tlsCipher, word(52)...), part(tlsReceive, word(2)...), part(tlsSends, word(9)...)}, nil)
	ulp := append(part(ulpName, []byte("tls\x00")...), nest(ulpTLS, tls)...)
	got := row(t, message(part(18, []byte("hunter2")...), nest(diagULP, ulp)))
	if !strings.HasSuffix(got, "\n\t tcp-ulp-tls version: 1.3 cipher: aes-gcm-256 rxconf: sw txconf: unknown(9)\n") || strings.Contains(got, "hunter2") {
		t.Errorf("%q", got)
	}
}

// FuzzSocket: whatever the kernel gives is at most a wrong row, of two lines
// without control characters.
func FuzzSocket(f *testing.F) {
	whole := message(part(diagInfo, make([]byte, 248)...), part(diagCong, []byte("cu\x1bbic\x00")...), part(diagBBR, make([]byte, 20)...), part(diagDCTCP, make([]byte, 16)...),
		part(diagVegas, make([]byte, 16)...), part(diagV6Only, 1), part(diagShutdown, 3), part(diagMark, 1, 0, 0, 0), nest(diagULP, part(ulpName, 'x')))
	for n := range whole {
		f.Add(whole[:n])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) >= diagMessage {
			binary.NativeEndian.PutUint32(body[40:], 7*(uint32(body[40])&1)) // no question to the kernel
		}
		got := row(t, body)
		if len(body) < diagMessage {
			if got != "" {
				t.Errorf("%q of nothing", got)
			}
			return
		}
		if strings.Count(got, "\n") != 2 || strings.ContainsFunc(strings.NewReplacer("\n", "", "\t", "").Replace(got), func(c rune) bool { return c < ' ' || c == 0x7f }) {
			t.Errorf("%q", got)
		}
	})
}

// BenchmarkSockets lists some 20,000 sockets, and has ss do the same.
func BenchmarkSockets(b *testing.B) {
	ownNamespace(b, "ss")
	const connections = 9900
	var files unix.Rlimit // which Go has raised to the most that is allowed
	must(b, unix.Getrlimit(unix.RLIMIT_NOFILE, &files))
	if files.Cur < 2*connections+50 {
		b.Skipf("%d open files are allowed", files.Cur)
	}
	l := listen(b, "tcp4", "127.0.0.1:7301")
	for range connections {
		c, s := pair(b, l, "127.0.0.1")
		send(b, c, s, 100)
	}
	file := b.TempDir() + "/ss.txt"
	var ours, theirs time.Duration
	var memory, of uint64
	for b.Loop() {
		start := time.Now()
		n, peak := listTo(b, file)
		ours += time.Since(start)
		memory = max(memory, peak)
		start = time.Now()
		cmd := exec.Command("sh", "-c", "ss -tanpie >"+file)
		must(b, cmd.Run())
		theirs += time.Since(start)
		of = max(of, uint64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)<<10)
		text, err := os.ReadFile(file)
		must(b, err)
		if want := bytes.Count(text, []byte("\n")); n != want || n < 4*connections {
			b.Fatalf("%d lines, ss has %d", n, want)
		}
	}
	b.ReportMetric(float64(ours)/float64(theirs), "of-ss-time")
	b.ReportMetric(float64(memory)/(1<<20), "MB")
	b.ReportMetric(float64(of)/(1<<20), "ss-MB")
}

// listTo lists all into a file, and gives the number of lines, and how much more
// memory was in use at most.
func listTo(b *testing.B, name string) (lines int, peak uint64) {
	f, err := os.Create(name)
	must(b, err)
	defer f.Close()
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	before := m.HeapInuse
	p, err := ReadProcesses(context.Background(), "/proc")
	must(b, err)
	r, err := TCPSockets(p)
	must(b, err)
	defer r.Close()
	buf := make([]byte, 64<<10)
	for i := 0; ; i++ {
		n, err := r.Read(buf)
		lines += bytes.Count(buf[:n], []byte("\n"))
		if _, err := f.Write(buf[:n]); err != nil {
			b.Fatal(err)
		}
		if i%16 == 0 {
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapInuse-min(before, m.HeapInuse))
		}
		if err == io.EOF {
			return lines, peak
		}
		if err != nil {
			b.Fatal(fmt.Errorf("after %d lines: %w", lines, err))
		}
	}
}
