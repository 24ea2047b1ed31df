package parse

import (
	"bytes"
	"net/netip"
	"strings"

	"whichbackend/analyze/record"
)

// netstat: net-tools 1.60 to 2.10, busybox, and the like of BSD and Windows.
//
//	tcp        0      0 10.244.1.10:34248       10.96.51.37:80          ESTABLISHED 26231/nc             (net-tools 2.10, netstat -anp)
//
// Rows are split at blanks, never at the header's offsets: long addresses push
// the columns. Only the words of the header matter, which tell which of the
// optional columns are there.

func netstatHead(b []byte) bool {
	switch b[0] {
	case 't', 'u', 'T', 'U', 's', 'r':
		return netstatRow(b)
	case 'A', 'C':
		return bytes.HasPrefix(b, []byte("Active ")) || bytes.HasPrefix(b, []byte("Aktive ")) || bytes.HasPrefix(b, []byte("Connexions Internet")) || bytes.HasPrefix(b, []byte("Conex"))
	case 'P':
		return bytes.HasPrefix(b, []byte("Proto ")) && (bytes.Contains(b, []byte("Recv-Q")) || bytes.Contains(b, []byte("RefCnt")) || bytes.Contains(b, []byte("Local Address")))
	case 'K':
		return bytes.HasPrefix(b, []byte("Kernel Interface table")) || bytes.HasPrefix(b, []byte("Kernel IP routing table"))
	}
	return false
}

// netstatRow tells a row of sockets: a protocol, two numbers and an address;
// on Windows the address follows the protocol.
func netstatRow(b []byte) bool {
	if bytes.HasPrefix(b, []byte("unix ")) {
		return bytes.IndexByte(b, '[') > 0
	}
	var buf [5][]byte
	f := netstatFields(b, buf[:0])
	if len(f) < 3 {
		return false
	}
	if _, ok := socketProtocol(f[0]); !ok && !bytes.HasPrefix(f[0], []byte("raw")) {
		return false
	}
	if f[0][0] == 'T' || f[0][0] == 'U' {
		return bytes.IndexByte(f[1], ':') > 0 && bytes.IndexByte(f[2], ':') > 0
	}
	if len(f) < 5 || !socketDigits(f[1]) || !socketDigits(f[2]) {
		return false
	}
	return bytes.IndexByte(f[3], '=') < 0 && (bytes.IndexByte(f[3], ':') >= 0 || bytes.IndexByte(f[3], '.') > 0) && bytes.ContainsAny(f[4], ":.*")
}

// netstatFields splits the first words of a line, as many as buf has room for.
func netstatFields(b []byte, buf [][]byte) [][]byte {
	for i := 0; i < len(b) && len(buf) < cap(buf); {
		for i < len(b) && (b[i] == ' ' || b[i] == '\t') {
			i++
		}
		start := i
		for i < len(b) && b[i] != ' ' && b[i] != '\t' {
			i++
		}
		if i > start {
			buf = append(buf, b[start:i])
		}
	}
	return buf
}

// netstatReader is the state of one listing: the optional columns that its
// header names.
type netstatReader struct {
	out            *Out
	header         bool
	inode, program bool
	skip           bool // in a section of other things: unix sockets, routes, interfaces
	buf            [][]byte
}

func netstatOpen(out *Out) (line func([]byte), end func()) {
	r := &netstatReader{out: out}
	return r.line, nil
}

func (r *netstatReader) line(b []byte) {
	t := bytes.TrimSpace(b)
	if len(t) == 0 {
		return
	}
	if r.heading(t) {
		return
	}
	r.buf = fields(t, r.buf)
	f := r.buf
	switch {
	case bytes.HasPrefix(t, []byte("unix ")), bytes.HasPrefix(t, []byte("raw")):
		r.out.Ignore()
	case r.skip && !netstatRow(t):
		r.out.Ignore()
	case f[0][0] == 'T' || f[0][0] == 'U':
		r.windows(f)
	case len(f) > 1 && bytes.IndexByte(f[0], 'x') < 0 && netstatRow(t):
		r.row(f)
	case len(f) > 5 && netstatRow(bytes.Join(f[1:], []byte(" "))):
		r.withPointer(f[1:]) // BSD netstat -A begins with a pointer
	case len(f) > 6 && netstatRow(bytes.Join(f[2:], []byte(" "))):
		r.withPointer(f[2:]) // macOS puts a flow hash behind it
	case bytes.HasPrefix(t, []byte("Socket ")) && bytes.Contains(t, []byte(" Proto Recv-Q")):
		r.header = true
		r.out.Understood()
	default:
		r.out.Problem("expected a row of sockets: protocol, queues, local and foreign address")
	}
}

// heading reads the lines above a table.
func (r *netstatReader) heading(t []byte) bool {
	switch {
	case bytes.HasPrefix(t, []byte("Proto ")):
		r.skip = bytes.Contains(t, []byte("RefCnt"))
		r.header = !r.skip
		r.inode = bytes.Contains(t, []byte("Inode"))
		r.program = bytes.Contains(t, []byte("PID/"))
	case bytes.HasPrefix(t, []byte("Active UNIX")), bytes.HasPrefix(t, []byte("Active Bluetooth")), bytes.HasPrefix(t, []byte("Active IPX")),
		bytes.HasPrefix(t, []byte("Active LOCAL")), bytes.HasPrefix(t, []byte("Active X.25")), bytes.HasPrefix(t, []byte("Kernel I")):
		r.skip = true
	case bytes.HasPrefix(t, []byte("Active ")), bytes.HasPrefix(t, []byte("Aktive ")), bytes.HasPrefix(t, []byte("Conex")), bytes.HasPrefix(t, []byte("Connexions")):
		r.skip = false
	default:
		return false
	}
	r.out.Understood()
	return true
}

// withPointer reads a row of BSD's netstat -A, whose columns are so narrow
// that they cut addresses of 18 characters and more, the port included.
func (r *netstatReader) withPointer(f [][]byte) {
	if len(f[3]) >= 18 || len(f[4]) >= 18 {
		r.out.Problem("the columns of netstat -A cut long addresses; record it without -A")
		return
	}
	r.row(f)
}

// row reads a row of net-tools, busybox or BSD.
func (r *netstatReader) row(f [][]byte) {
	proto, _ := socketProtocol(f[0])
	s := record.Socket{Protocol: proto, UID: -1}
	recv, _ := number(f[1])
	send, _ := number(f[2])
	s.RecvQ, s.SendQ = int64(min(recv, 1<<62)), int64(min(send, 1<<62))
	bsd := bytes.IndexByte(f[3], ':') < 0 || len(f[0]) > 3 && f[0][3] == '4' || bytes.IndexByte(f[3], '%') > 0 && bytes.LastIndexByte(f[3], '.') > bytes.LastIndexByte(f[3], ':')
	local, ok := r.end(f[3], bsd, &s.LocalCut, &s.Device)
	remote, ok2 := r.end(f[4], bsd, &s.RemoteCut, new(string))
	if !ok || !ok2 {
		r.out.Problem("expected numeric addresses; record it with -n")
		return
	}
	s.Local, s.Remote = local, remote
	rest := f[5:]
	if len(rest) > 0 {
		if state, ok := socketState(rest[0]); ok {
			s.State, rest = state, rest[1:]
		} else if proto == record.TCP && !bsd {
			r.foreignState(s, rest)
			return
		}
	} else if proto == record.TCP && r.header && !bsd {
		r.out.Problem("the row ends before its state")
		return
	}
	r.tail(&s, rest)
	r.out.Socket(s)
}

// foreignState keeps a row whose state is a word that no table knows, as in a
// listing in another language: the addresses are plain all the same. The word
// is reported.
func (r *netstatReader) foreignState(s record.Socket, rest [][]byte) {
	word := string(rest[0])
	if len(word) < 4 || strings.ToUpper(word) != word || strings.ContainsAny(word, "/(:.") || socketDigits(rest[0]) {
		r.out.Problem("expected a state after the addresses")
		return
	}
	if s.Remote.Port() == 0 && s.RemoteCut == "" {
		s.State = "LISTEN"
	}
	r.tail(&s, rest[1:])
	r.out.Socket(s)
	r.out.Problem("an unknown word for the state; the addresses were read")
}

// end reads one address. net-tools cuts an IPv6 address so that the field has
// 23 characters: a field of that width may be the begin of a longer address.
func (r *netstatReader) end(b []byte, bsd bool, cut, device *string) (netip.AddrPort, bool) {
	if bsd {
		return netstatBSD(b)
	}
	a, dev, ok := socketEnd(b)
	if ok {
		*device = dev
	}
	i := bytes.LastIndexByte(b, ':')
	if len(b) != 23 || i < 0 || bytes.IndexByte(b[:i], ':') < 0 || dev != "" {
		return a, ok
	}
	p, okPort := port(b[i+1:])
	if !okPort || strings.Trim(string(b[:i]), "0123456789abcdef:.") != "" {
		return a, ok
	}
	*cut = strings.TrimPrefix(string(b[:i]), "::ffff:")
	return netip.AddrPortFrom(netip.Addr{}, p), true
}

// netstatBSD reads address.port, *.* and address.*.
func netstatBSD(b []byte) (netip.AddrPort, bool) {
	i := bytes.LastIndexByte(b, '.')
	if i <= 0 {
		return netip.AddrPort{}, false
	}
	p, ok := port(b[i+1:])
	if !ok {
		return netip.AddrPort{}, false
	}
	if string(b[:i]) == "*" {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), p), true
	}
	a, ok := address(b[:i])
	return netip.AddrPortFrom(a, p), ok
}

// tail reads the optional columns: user and inode (-e), process (-p, whose
// name may hold blanks), timer (-o).
func (r *netstatReader) tail(s *record.Socket, rest [][]byte) {
	hasInode := r.inode
	if !r.header && len(rest) >= 2 && socketDigits(rest[1]) && bytes.IndexByte(rest[0], '/') < 0 && string(rest[0]) != "-" {
		hasInode = true
	}
	if hasInode && len(rest) >= 2 && socketDigits(rest[1]) {
		if uid, ok := number(rest[0]); ok && uid < 1<<32 {
			s.UID = int(uid)
		}
		s.Inode, _ = number(rest[1])
		rest = rest[2:]
	}
	for i := range rest {
		if i+1 < len(rest) && rest[i+1][0] == '(' && netstatTimer(rest[i]) {
			s.Timer = string(rest[i]) + " " + string(rest[i+1])
			rest = rest[:i]
			break
		}
	}
	if len(rest) == 0 || !r.program && r.header {
		return
	}
	pid, name, ok := bytes.Cut(rest[0], []byte("/"))
	n, isNumber := number(pid)
	if !ok || !isNumber || n > 1<<31-1 {
		return
	}
	s.PID, s.Program = int(n), string(name)
	for _, w := range rest[1:] {
		s.Program += " " + string(w)
	}
}

func netstatTimer(b []byte) bool {
	switch string(b) {
	case "off", "on", "keepalive", "timewait", "probe":
		return true
	}
	return bytes.HasPrefix(b, []byte("unkn-"))
}

// windows reads a row of Windows' netstat -ano.
func (r *netstatReader) windows(f [][]byte) {
	proto, ok := socketProtocol(f[0])
	if !ok || len(f) < 3 {
		r.out.Problem("expected a row of sockets: protocol, local and foreign address")
		return
	}
	s := record.Socket{Protocol: proto, UID: -1}
	var okLocal, okRemote bool
	s.Local, s.Device, okLocal = socketEnd(f[1])
	s.Remote, _, okRemote = socketEnd(f[2])
	if !okLocal || !okRemote {
		r.out.Problem("expected numeric addresses; record it with -n")
		return
	}
	for _, w := range f[3:] {
		if state, ok := socketState(w); ok {
			s.State = state
		} else if pid, ok := number(w); ok && pid < 1<<31 {
			s.PID = int(pid)
		}
	}
	r.out.Socket(s)
}
