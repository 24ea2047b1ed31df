package parse

import (
	"bytes"
	"net/netip"

	"whichbackend/analyze/record"
)

// net-tools 2.10, netstat -anp:
//
//	Active Internet connections (servers and established)
//	Proto Recv-Q Send-Q Local Address           Foreign Address         State       PID/Program name
//	tcp        0      0 10.244.1.10:58572       10.96.0.100:80          ESTABLISHED 17303/python3
//
// The netstat of busybox prints nearly the same, those of BSD, macOS and
// Windows something like it. Columns drift, so rows are read word by word.
// The other tables of the same command are known and not needed.

// netstatHead claims titles, headers and rows.
func netstatHead(t []byte) bool {
	if len(t) == 0 {
		return false
	}
	switch t[0] {
	case 't', 'u', 'r', 's', 'i', 'd':
		return netstatIsRow(t) || netstatIsUnixRow(t)
	case 'T', 'U':
		if netstatIsWindowsRow(t) {
			return true
		}
	case 'n':
		return bytes.HasPrefix(t, []byte("netstat: "))
	case '(', "（"[0]:
		return netstatIsNote(t)
	}
	_, ok := netstatTitleOf(t)
	return ok
}

// netstatProtocol reads the Proto column. 0: a protocol without ports that
// can be followed (raw, icmp).
func netstatProtocol(w []byte) (record.Protocol, bool) {
	switch string(w) {
	case "tcp", "tcp6", "tcp4", "tcp46":
		return record.TCP, true
	case "udp", "udp6", "udp4", "udp46":
		return record.UDP, true
	case "udpl", "udpl6", "udplite", "udplite6":
		return record.UDPLite, true
	case "sctp", "sctp6", "sctp4":
		return record.SCTP, true
	case "dccp", "dccp6":
		return record.DCCP, true
	case "raw", "raw6", "icmp", "icmp6", "icm4", "icm6", "icm46", "ip4", "ip6", "ip46", "igmp", "div4", "div":
		return 0, true
	}
	return 0, false
}

// netstatIsRow tells whether a line is a row: a protocol, two queues, two
// addresses. A conntrack entry has a state or src= where the addresses are.
func netstatIsRow(t []byte) bool {
	w, rest := socketWord(t)
	if len(w) > 8 {
		return false
	}
	if _, ok := netstatProtocol(w); !ok {
		return false
	}
	for i := 0; i < 2; i++ {
		if w, rest = socketWord(rest); !socketDigits(w) {
			return false
		}
	}
	w, rest = socketWord(rest)
	if !socketAddressLike(w) {
		return false
	}
	w, _ = socketWord(rest)
	return socketAddressLike(w)
}

func netstatIsUnixRow(t []byte) bool {
	if !bytes.HasPrefix(t, []byte("unix ")) {
		return false
	}
	w, rest := socketWord(t[5:])
	flags, _ := socketWord(rest)
	return socketDigits(w) && len(flags) > 0 && flags[0] == '['
}

// netstatIsNote knows the translations of "(Not all processes could be
// identified" and "(No info could be read".
func netstatIsNote(t []byte) bool {
	for _, n := range netstatNotes {
		if len(t) >= len(n) && string(t[:len(n)]) == n {
			return true
		}
	}
	return false
}

// netstatReader reads one section.
type netstatReader struct {
	out   *Out
	mode  netstatMode
	names socketNames
	// wide: addresses are never cut in this section.
	wide bool
	// pidColumn: the header names PID/Program name.
	pidColumn bool
	// width is that of an address column of BSD and macOS, which cut what is
	// longer at its end, port and all. 0: not known.
	width int
	note  int  // lines that a note in parentheses may still go on
	sctp  bool // the row before was SCTP, which continues on further lines
}

func netstatOpen(out *Out) (line func([]byte), end func()) {
	// Rows of ss without State, which it leaves out when one state was asked
	// for, look like rows of netstat.
	if s := (&ssReader{out: out, names: socketNames{}, noState: true}); s.command(out.Command()) {
		return s.line, s.flush
	}
	r := &netstatReader{out: out, names: socketNames{}}
	for _, w := range shellWords(out.Command()) {
		flags := len(w) > 1 && w[0] == '-' && w[1] != '-'
		if w == "--wide" || w == "busybox" || flags && bytes.IndexByte([]byte(w), 'W') > 0 {
			r.wide = true
		}
	}
	return r.line, nil
}

func (r *netstatReader) line(b []byte) {
	t := bytes.TrimSpace(b)
	if len(t) == 0 {
		r.out.Ignore()
		return
	}
	sctp, note := r.sctp, r.note
	r.sctp, r.note = false, 0
	if mode, ok := netstatTitleOf(t); ok {
		r.title(b, t, mode)
		return
	}
	switch {
	case netstatIsRow(t):
		r.mode = netstatSockets
		r.row(t)
	case netstatIsWindowsRow(t):
		r.mode = netstatSockets
		r.windows(t)
	case netstatIsUnixRow(t), sctp && b[0] == ' ':
		r.out.Ignore()
	case bytes.HasPrefix(t, []byte("netstat: ")):
		r.message(t)
	case t[0] == '(', netstatIsNote(t), note > 0:
		r.remark(t, note)
	case r.mode != netstatSockets:
		r.other(b, t)
	default:
		r.unusual(t)
	}
}

// remark reads a note on which processes were visible, of one or a few lines.
func (r *netstatReader) remark(t []byte, note int) {
	switch {
	case bytes.HasSuffix(t, []byte(")")), bytes.HasSuffix(t, []byte("）")):
	case note > 0:
		r.note = note - 1
	default:
		r.note = 2
	}
	r.out.Ignore()
}

// title reads a line that begins or heads a table.
func (r *netstatReader) title(b, t []byte, mode netstatMode) {
	r.mode = mode
	if mode != netstatSockets {
		r.out.Ignore()
		return
	}
	r.out.Understood()
	r.pidColumn = r.pidColumn || bytes.Contains(t, []byte("PID"))
	// Busybox pads the last column to 12 where net-tools pads it to 11, and
	// never cuts an address.
	if bytes.HasPrefix(b, []byte("Proto Recv-Q")) && bytes.HasSuffix(b, []byte("State       ")) {
		r.wide = true
		r.out.Tool("busybox netstat")
	}
	if bytes.Contains(t, []byte("(state)")) {
		local, foreign := bytes.Index(t, []byte("Local Address")), bytes.Index(t, []byte("Foreign Address"))
		if r.width = 0; foreign-local > 16 {
			r.width = foreign - local - 1
		}
	}
}

// message reads what netstat itself says on standard error.
func (r *netstatReader) message(t []byte) {
	for _, known := range []string{"No such file", "no support for", "showing only processes", "can't scan /proc"} {
		if bytes.Contains(t, []byte(known)) {
			r.out.Ignore() // a kernel without IPv6, a user who is not root
			return
		}
	}
	r.out.Problem("netstat could not read a table")
}

// other reads lines of the tables that are not needed.
func (r *netstatReader) other(b, t []byte) {
	blanks := 0
	for w, rest := socketWord(t); len(w) > 0; w, rest = socketWord(rest) {
		blanks++
	}
	known := true
	switch r.mode {
	case netstatRoutes, netstatInterfaces:
		known = blanks >= 6
	case netstatStatistics:
		known = b[0] == ' ' || b[0] == '\t' || t[len(t)-1] == ':' || bytes.ContainsAny(t, "0123456789")
	case netstatUnix, netstatOther:
		known = blanks >= 2
	}
	if known {
		r.out.Ignore()
		return
	}
	r.out.Problem("expected a row of the table above")
}

// unusual reads lines of a table of sockets that are no plain rows.
func (r *netstatReader) unusual(t []byte) {
	w, rest := socketWord(t)
	if p, ok := netstatProtocol(w); ok && p == record.SCTP {
		r.sctpListener(rest)
		return
	}
	// BSD and macOS with -A: the socket's address and perhaps a hash first.
	for i := 0; i < 2 && netstatHex(w); i++ {
		if netstatIsRow(bytes.TrimSpace(rest)) {
			r.row(bytes.TrimSpace(rest))
			return
		}
		w, rest = socketWord(rest)
	}
	switch {
	case socketIsWatch(t), t[0] == '[' && t[len(t)-1] == ']', bytes.HasPrefix(t, []byte("Can not obtain ownership")):
		r.out.Ignore() // Windows -b: the program, on a line of its own
	default:
		r.out.Problem("expected protocol, queues, local and foreign address")
	}
}

func netstatHex(w []byte) bool {
	for _, c := range w {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(w) > 0 && len(w) <= 16
}

// sctpListener reads a listening SCTP endpoint, which has no queues and no
// foreign address.
func (r *netstatReader) sctpListener(rest []byte) {
	w, rest := socketWord(rest)
	state, _ := socketWord(rest)
	local, cut, why := r.address(w, false)
	if s, ok := socketState(state); ok && why == "" {
		r.sctp = true
		any := netip.IPv4Unspecified()
		if local.Addr().Is6() {
			any = netip.IPv6Unspecified()
		}
		r.out.Socket(record.Socket{Protocol: record.SCTP, State: s, Local: local, LocalCut: cut, Remote: netip.AddrPortFrom(any, 0), UID: -1})
		return
	}
	r.out.Problem("expected local address and state of an SCTP endpoint")
}
