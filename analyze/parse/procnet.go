package parse

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strconv"

	"whichbackend/analyze/record"
)

// /proc/net/tcp, tcp6, udp and udp6 (kernel net/ipv4/tcp_ipv4.c, udp.c and
// their likes for IPv6).
//
//	 0: 0A01F40A:1F90 25336060:0050 01 00000000:00000000 00:00000000 00000000     0        0 93210 ...     (kernel 6.1)
//
// Addresses are words of 32 bits in the host's byte order, printed as hex;
// ports are plain hex. The byte order is told by the loopback address.

func procNetHead(b []byte) bool {
	if b[0] == 's' {
		return bytes.HasPrefix(b, []byte("sl ")) && bytes.Contains(b, []byte("local_address"))
	}
	return b[0] >= '0' && b[0] <= '9' && procNetRow(b)
}

// procNetRow tells a row by its shape: N: HEX:HEX HEX:HEX HEX.
func procNetRow(b []byte) bool {
	var buf [4][]byte
	f := netstatFields(b, buf[:0])
	if len(f) < 4 || f[0][len(f[0])-1] != ':' || len(f[3]) != 2 {
		return false
	}
	return (len(f[1]) == 13 || len(f[1]) == 37) && len(f[2]) == len(f[1]) && f[1][len(f[1])-5] == ':' && socketDigits(f[0][:len(f[0])-1])
}

// procNetStates are the kernel's states (include/net/tcp_states.h).
var procNetStates = [...]string{1: "ESTABLISHED", 2: "SYN_SENT", 3: "SYN_RECV", 4: "FIN_WAIT1", 5: "FIN_WAIT2", 6: "TIME_WAIT", 7: "CLOSE",
	8: "CLOSE_WAIT", 9: "LAST_ACK", 10: "LISTEN", 11: "CLOSING", 12: "SYN_RECV"}

// procNetKept bounds the rows that wait for the byte order to be known.
const procNetKept = 20000

type procNetReader struct {
	out     *Out
	udp     bool
	order   binary.ByteOrder // nil: not known yet
	waiting []procNetSocket
	buf     [][]byte
}

// procNetSocket is a row whose addresses are still words.
type procNetSocket struct {
	s             record.Socket
	local, remote [16]byte
	length        int
}

func procNetOpen(out *Out) (line func([]byte), end func()) {
	r := &procNetReader{out: out}
	return r.line, r.finish
}

func (r *procNetReader) line(b []byte) {
	t := bytes.TrimSpace(b)
	if len(t) == 0 {
		return
	}
	if t[0] == 's' && procNetHead(t) {
		r.udp = bytes.Contains(t, []byte("ref pointer drops"))
		r.out.Understood()
		return
	}
	if !procNetRow(t) {
		r.out.Problem("expected a row: number, two addresses in hex, state")
		return
	}
	r.buf = fields(t, r.buf)
	row, why := r.row(r.buf)
	if why != "" {
		r.out.Problem(why)
		return
	}
	r.out.Understood()
	r.waiting = append(r.waiting, row)
	if r.order == nil {
		r.judge(&r.waiting[len(r.waiting)-1])
	}
	if r.order != nil || len(r.waiting) >= procNetKept {
		r.emit()
	}
}

func (r *procNetReader) row(f [][]byte) (row procNetSocket, why string) {
	row.s = record.Socket{Protocol: record.TCP, UID: -1}
	if r.udp {
		row.s.Protocol = record.UDP
	}
	var local, remote uint16
	var ok1, ok2 bool
	row.length, local, ok1 = procNetEnd(f[1], row.local[:])
	_, remote, ok2 = procNetEnd(f[2], row.remote[:])
	state, err := strconv.ParseUint(string(f[3]), 16, 8)
	if !ok1 || !ok2 || err != nil || state == 0 || int(state) >= len(procNetStates) {
		return row, "expected addresses and state in hex"
	}
	row.s.State = procNetStates[state]
	if r.udp && state == 7 {
		row.s.State = "UNCONN"
	}
	row.s.Local = netip.AddrPortFrom(netip.Addr{}, local)
	row.s.Remote = netip.AddrPortFrom(netip.Addr{}, remote)
	row.s.Pos.Line = r.out.Line()
	if len(f) > 4 {
		tx, rx, ok := bytes.Cut(f[4], []byte(":"))
		if ok {
			send, _ := strconv.ParseUint(string(tx), 16, 32)
			recv, _ := strconv.ParseUint(string(rx), 16, 32)
			row.s.SendQ, row.s.RecvQ = int64(send), int64(recv)
		}
	}
	if len(f) > 9 {
		if uid, ok := number(f[7]); ok && uid < 1<<32 {
			row.s.UID = int(uid)
		}
		row.s.Inode, _ = number(f[9])
	}
	return row, ""
}

// procNetEnd reads HEX:PORT; the bytes are in the order in which they are printed.
func procNetEnd(b []byte, out []byte) (length int, port uint16, ok bool) {
	host := b[:len(b)-5]
	length = len(host) / 2
	if _, err := hex.Decode(out[:length], host); err != nil {
		return 0, 0, false
	}
	p, err := strconv.ParseUint(string(b[len(b)-4:]), 16, 16)
	return length, uint16(p), err == nil
}

// judge looks for the loopback address, which tells the host's byte order.
func (r *procNetReader) judge(row *procNetSocket) {
	for _, a := range [][16]byte{row.local, row.remote} {
		if row.length == 4 {
			switch [4]byte(a[:4]) {
			case [4]byte{1, 0, 0, 127}:
				r.order = binary.LittleEndian
			case [4]byte{127, 0, 0, 1}:
				r.order = binary.BigEndian
			}
			continue
		}
		switch { // ::1, and the word of ::ffff:a.b.c.d
		case [12]byte(a[:12]) == [12]byte{} && [4]byte(a[12:]) == [4]byte{1, 0, 0, 0}, [4]byte(a[8:12]) == [4]byte{255, 255, 0, 0}:
			r.order = binary.LittleEndian
		case [12]byte(a[:12]) == [12]byte{} && [4]byte(a[12:]) == [4]byte{0, 0, 0, 1}, [4]byte(a[8:12]) == [4]byte{0, 0, 255, 255}:
			r.order = binary.BigEndian
		}
	}
}

// finish emits what still waits: without a loopback address the host is taken
// for little-endian, as nearly all are.
func (r *procNetReader) finish() { r.emit() }

func (r *procNetReader) emit() {
	for i := range r.waiting {
		w := &r.waiting[i]
		w.s.Local = netip.AddrPortFrom(r.address(w.local, w.length), w.s.Local.Port())
		w.s.Remote = netip.AddrPortFrom(r.address(w.remote, w.length), w.s.Remote.Port())
		r.out.Socket(w.s)
	}
	r.waiting = r.waiting[:0]
}

func (r *procNetReader) address(b [16]byte, length int) netip.Addr {
	if r.order != binary.BigEndian {
		for i := 0; i < length; i += 4 {
			b[i], b[i+1], b[i+2], b[i+3] = b[i+3], b[i+2], b[i+1], b[i]
		}
	}
	if length == 4 {
		return netip.AddrFrom4([4]byte(b[:4]))
	}
	return netip.AddrFrom16(b).Unmap()
}
