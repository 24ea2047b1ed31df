package parse

import (
	"bytes"
	"net/netip"
	"strings"

	"whichbackend/analyze/record"
)

// Linux 6.18, /proc/net/tcp:
//
//	sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
//	 1: 0A01F40A:9EA0 0A32A8C0:7580 01 00000000:00000000 00:00000000 00000000     0        0 123093 1 000000002786c3d5 20 4 30 11 -1
//
// Addresses are words of 32 bits in the order of the host that printed them,
// ports are plain numbers. udp, udp6 and raw look the same but for the end of
// header and rows (ref pointer drops).

// procNetHead claims headers and rows.
func procNetHead(t []byte) bool {
	if len(t) < 30 {
		return false
	}
	if t[0] == 's' {
		return procNetIsHeader(t)
	}
	return t[0] >= '0' && t[0] <= '9' && procNetIsRow(t)
}

func procNetIsHeader(t []byte) bool {
	return bytes.HasPrefix(t, []byte("sl ")) && bytes.Contains(t, []byte("local_address")) && bytes.Contains(t, []byte("tm->when"))
}

// procNetIsRow tells whether a line is a row: "N: HEX:PORT HEX:PORT ST ".
func procNetIsRow(t []byte) bool {
	w, rest := socketWord(t)
	if len(w) < 2 || w[len(w)-1] != ':' || !socketDigits(w[:len(w)-1]) {
		return false
	}
	local, rest := socketWord(rest)
	remote, rest := socketWord(rest)
	st, rest := socketWord(rest)
	queues, _ := socketWord(rest)
	return len(local) == len(remote) && (len(local) == 13 || len(local) == 37) && local[len(local)-5] == ':' &&
		remote[len(remote)-5] == ':' && len(st) == 2 && len(queues) == 17 && queues[8] == ':'
}

// procNetMaxHeld bounds the rows kept until one tells the order of bytes.
const procNetMaxHeld = 4096

type procNetOrder uint8

const (
	procNetUnknown procNetOrder = iota
	procNetLittle
	procNetBig
)

// procNetRow is a row with its addresses as printed.
type procNetRow struct {
	socket        record.Socket
	local, remote [16]byte
	six           bool
}

// procNetReader reads one section.
type procNetReader struct {
	out     *Out
	order   procNetOrder
	held    []procNetRow
	names   socketNames
	udp     bool // the header ends in "ref pointer drops"
	udplite bool // as the command says
	ignore  bool // raw and icmp sockets, as the command says
}

func procNetOpen(out *Out) (line func([]byte), end func()) {
	command := out.Command()
	r := &procNetReader{out: out, names: socketNames{}}
	r.udplite = strings.Contains(command, "/net/udplite")
	r.ignore = strings.Contains(command, "/net/raw") || strings.Contains(command, "/net/icmp")
	return r.line, r.flush
}

func (r *procNetReader) line(b []byte) {
	t := bytes.TrimSpace(b)
	switch {
	case len(t) == 0, r.ignore:
		r.out.Ignore()
	case procNetIsHeader(t):
		r.udp = bytes.Contains(t, []byte("drops"))
		r.out.Understood()
	case procNetIsRow(t):
		r.row(t)
	default:
		r.out.Problem("expected a row of /proc/net/tcp or udp")
	}
}

// row reads a row that procNetIsRow knows.
func (r *procNetReader) row(t []byte) {
	var f [9][]byte // up to retrnsmt; then uid, timeout, inode
	n := 0
	rest := t
	for ; n < len(f); n++ {
		f[n], rest = socketWord(rest)
	}
	var row procNetRow
	s := &row.socket
	s.UID, s.Line = -1, r.out.Line()
	lp, ok1 := procNetAddress(f[1], &row.local)
	rp, ok2 := procNetAddress(f[2], &row.remote)
	st, ok3 := procNetHex(f[3])
	tx, ok4 := procNetHex(f[4][:8])
	rx, ok5 := procNetHex(f[4][9:])
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 {
		r.out.Problem("expected hexadecimal addresses, state and queues")
		return
	}
	row.six = len(f[1]) > 13
	s.SendQ, s.RecvQ = int64(tx), int64(rx)
	if len(f[5]) > 2 && string(f[5]) != "00:00000000" {
		s.Timer = r.names.get(f[5])
	}
	inode, rest := socketWord(rest)
	s.Inode, _ = number(inode)
	if uid, ok := number(f[7]); ok && uid < 1<<32 && s.Inode != 0 {
		s.UID = int(uid) // without an inode the kernel prints 0 for want of an owner
	}
	more := 0
	for w, rest := socketWord(rest); len(w) > 0; w, rest = socketWord(rest) {
		more++
	}
	// Of TCP, 7 words follow the inode, or 2 for TIME_WAIT; of UDP, 3 (2 in
	// kernels before 2.6.27, whose header is that of TCP).
	s.Protocol = record.TCP
	if r.udp || more == 3 || st == 7 && more < 3 {
		if s.Protocol = record.UDP; r.udplite {
			s.Protocol = record.UDPLite
		}
	}
	state, known := procNetState(st, s.Protocol)
	s.State = state
	s.Local = netip.AddrPortFrom(netip.Addr{}, lp)
	s.Remote = netip.AddrPortFrom(netip.Addr{}, rp)
	r.emit(&row)
	if !known {
		r.out.Problem("a state that is not known; the socket is kept without one")
	}
}

// procNetState turns the kernel's number of a state into netstat's word.
func procNetState(st uint64, p record.Protocol) (string, bool) {
	if st == 7 && p != record.TCP {
		return "UNCONN", true
	}
	states := [...]string{"", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT",
		"CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING", "SYN_RECV", "CLOSE"}
	if st == 0 || st >= uint64(len(states)) {
		return "", false
	}
	return states[st], true
}

// emit emits a row, or keeps it while the order of bytes is not known. Most
// machines are little-endian; that is assumed when nothing tells.
func (r *procNetReader) emit(row *procNetRow) {
	if r.order == procNetUnknown {
		if r.order = procNetClue(row.local[:], row.six); r.order == procNetUnknown {
			r.order = procNetClue(row.remote[:], row.six)
		}
		if r.order == procNetUnknown && len(r.held) < procNetMaxHeld {
			r.held = append(r.held, *row)
			r.out.Understood()
			return
		}
		r.flush()
	}
	r.send(row)
}

func (r *procNetReader) flush() {
	for i := range r.held {
		r.send(&r.held[i])
	}
	r.held = nil
}

func (r *procNetReader) send(row *procNetRow) {
	s := row.socket
	big := r.order == procNetBig
	s.Local = netip.AddrPortFrom(procNetAddr(row.local, row.six, big), s.Local.Port())
	s.Remote = netip.AddrPortFrom(procNetAddr(row.remote, row.six, big), s.Remote.Port())
	r.out.Socket(s)
}

// procNetAddr puts the bytes of an address in order.
func procNetAddr(b [16]byte, six, big bool) netip.Addr {
	if !big {
		for i := 0; i < 16; i += 4 {
			b[i], b[i+1], b[i+2], b[i+3] = b[i+3], b[i+2], b[i+1], b[i]
		}
	}
	if six {
		return netip.AddrFrom16(b).Unmap()
	}
	return netip.AddrFrom4([4]byte(b[:4]))
}

// procNetClue tells the order of bytes from an address that makes sense in one
// order only: loopback, IPv4-mapped, or an IPv6 prefix in use (2000::/3,
// fc00::/7, fe80::/10, ff00::/8).
func procNetClue(b []byte, six bool) procNetOrder {
	little, big := false, false
	switch {
	case !six:
		// Not the whole of 127/8: 10.0.0.127 reads as 127.0.0.10 the other
		// way. 127.0.0.11 is Docker's name server, 127.0.0.53 systemd's.
		switch string(b[:4]) {
		case "\x01\x00\x00\x7f", "\x35\x00\x00\x7f", "\x0b\x00\x00\x7f":
			little = true
		case "\x7f\x00\x00\x01", "\x7f\x00\x00\x35":
			big = true
		}
	case bytes.Equal(b[:8], make([]byte, 8)):
		little = bytes.Equal(b[8:12], []byte{0xff, 0xff, 0, 0}) || bytes.Equal(b[8:], []byte{0, 0, 0, 0, 1, 0, 0, 0})
		big = bytes.Equal(b[8:12], []byte{0, 0, 0xff, 0xff}) || bytes.Equal(b[8:], []byte{0, 0, 0, 0, 0, 0, 0, 1})
	default:
		little, big = procNetPrefix(b[3]), procNetPrefix(b[0])
	}
	switch {
	case little && !big:
		return procNetLittle
	case big && !little:
		return procNetBig
	}
	return procNetUnknown
}

func procNetPrefix(b byte) bool { return b&0xe0 == 0x20 || b >= 0xfc }

// procNetAddress reads HEX:PORT into the bytes of the address as printed.
func procNetAddress(w []byte, to *[16]byte) (uint16, bool) {
	n := len(w) - 5
	for i := 0; i < n; i += 2 {
		v, ok := procNetHex(w[i : i+2])
		if !ok {
			return 0, false
		}
		to[i/2] = byte(v)
	}
	p, ok := procNetHex(w[n+1:])
	return uint16(p), ok
}

// procNetHex reads a short hexadecimal number.
func procNetHex(w []byte) (uint64, bool) {
	var n uint64
	for _, c := range w {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		default:
			return 0, false
		}
		n = n<<4 | uint64(c)
	}
	return n, len(w) > 0
}
