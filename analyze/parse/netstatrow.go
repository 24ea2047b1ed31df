package parse

import (
	"bytes"
	"net/netip"

	"whichbackend/analyze/record"
)

// netstatCut is the width of an address column of net-tools. What is longer
// is cut in the address, the port is kept; so a column that is exactly as
// wide may be cut or not.
const netstatCut = 23

// row reads one socket of net-tools, busybox, BSD or macOS.
func (r *netstatReader) row(t []byte) {
	proto, rest := socketWord(t)
	rx, rest := socketWord(rest)
	tx, rest := socketWord(rest)
	local, rest := socketWord(rest)
	remote, rest := socketWord(rest)
	p, _ := netstatProtocol(proto)
	if p == 0 {
		r.out.Ignore()
		return
	}
	s := record.Socket{Protocol: p, UID: -1}
	var ok1, ok2 bool
	s.RecvQ, ok1 = socketQueue(rx)
	s.SendQ, ok2 = socketQueue(tx)
	if !ok1 || !ok2 {
		r.out.Problem("queue out of range")
		return
	}
	six := proto[len(proto)-1] == '6'
	var why, why2 string
	s.Local, s.LocalCut, why = r.address(local, six)
	s.Remote, s.RemoteCut, why2 = r.address(remote, six)
	if why == "" {
		why = why2
	}
	if why != "" {
		r.out.Problem(why)
		return
	}
	s.Device = netstatDevice(local, r.names)
	r.sctp = p == record.SCTP
	rest, ok := r.state(rest, &s)
	if ssIsTail(rest) {
		(&ssReader{names: r.names}).tail(rest, &s)
	} else {
		r.tail(rest, &s)
	}
	r.out.Socket(s)
	if !ok {
		// The connection exists, only its state cannot be told.
		r.out.Problem("the state is in a language that is not known; the socket is kept without one")
	}
}

// state takes the state off the rest of a row. Only UDP goes without one.
func (r *netstatReader) state(rest []byte, s *record.Socket) (tail []byte, ok bool) {
	word, after := socketWord(rest)
	if state, known := socketState(word); known {
		s.State = state
		if string(word) == "POSLEDNÍ" {
			_, after = socketWord(after)
		}
		return after, true
	}
	next, _ := socketWord(after)
	switch {
	case len(word) == 0, word[0] == '-', socketDigits(word), ssIsTail(word), bytes.IndexByte(word, '/') >= 0, len(next) > 0 && next[0] == '(':
		return rest, true
	case s.Protocol != record.TCP && (socketDigits(next) || len(next) == 0):
		return rest, true // user and inode, or a program
	}
	return after, false
}

// tail reads what follows the state: user and inode (-e), process (-p), timer
// (-o). They are told by their shape, as headers are translated or missing.
func (r *netstatReader) tail(t []byte, s *record.Socket) {
	t = bytes.TrimSpace(t)
	word, after := socketWord(t)
	if len(word) == 0 || len(word) == 1 && word[0] == '-' && len(after) == 0 {
		return
	}
	if next, rest := socketWord(after); socketDigits(next) && word[0] != '-' && bytes.IndexByte(word, '/') < 0 {
		s.Inode, _ = number(next)
		if uid, ok := number(word); ok && uid < 1<<32 {
			s.UID = int(uid)
		} else if string(word) == "root" {
			s.UID = 0
		}
		if s.Inode == 0 {
			s.UID = -1 // no file behind it: the kernel prints 0 for want of an owner
		}
		t = bytes.TrimSpace(rest)
	}
	t = r.timer(t, s)
	r.process(t, s)
}

// timer takes a timer off the end: "keepalive (6.75/0/0)".
func (r *netstatReader) timer(t []byte, s *record.Socket) []byte {
	n := len(t)
	if n < 8 || t[n-1] != ')' {
		return t
	}
	open := bytes.LastIndexByte(t, '(')
	if open < 2 {
		return t
	}
	slashes := 0
	for _, c := range t[open+1 : n-1] {
		switch {
		case c == '/':
			slashes++
		case c != '.' && c != ',' && c != '-' && c != ' ' && (c < '0' || c > '9'):
			return t
		}
	}
	if slashes != 2 {
		return t
	}
	before := bytes.TrimRight(t[:open], " ")
	word := bytes.LastIndexByte(before, ' ') + 1
	s.Timer = r.names.get(t[word:])
	return bytes.TrimSpace(t[:word])
}

// process reads PID/Program name, where the name may hold anything and is cut
// to what fits 19 characters.
func (r *netstatReader) process(t []byte, s *record.Socket) {
	if i := bytes.LastIndexByte(t, ' '); i > 0 && bytes.Contains(t[i:], []byte("_u:")) {
		t = bytes.TrimSpace(t[:i]) // SELinux context (-Z)
	}
	slash := bytes.IndexByte(t, '/')
	pid := t
	if slash > 0 {
		pid = t[:slash]
	}
	if n, ok := number(pid); ok && n < 1<<31 {
		s.PID = int(n)
		if slash > 0 {
			s.Program = r.names.get(t[slash+1:])
		}
		return
	}
	if r.pidColumn && slash < 0 && len(t) > 1 && bytes.IndexByte(t, ' ') < 0 {
		s.Program = r.names.get(t)
	}
}

const netstatWantNumbers = "expected addresses and ports in numbers, as -n prints them"

// address reads an address column. cut is set instead of the address where
// net-tools cut it short.
func (r *netstatReader) address(b []byte, six bool) (a netip.AddrPort, cut, why string) {
	colon, dot := bytes.LastIndexByte(b, ':'), bytes.LastIndexByte(b, '.')
	sep := colon
	if dot > colon {
		sep = dot // BSD and macOS
		if why := r.filled(b); why != "" {
			return a, "", why
		}
	}
	if sep < 0 {
		return a, "", "expected address and port"
	}
	p, ok := port(b[sep+1:])
	host := b[:sep]
	if !ok {
		return a, "", netstatWantNumbers
	}
	if sep == colon && len(b) > netstatCut && bytes.IndexByte(host, ':') >= 0 {
		r.wide = true
	}
	if len(b) == netstatCut && sep == colon && !r.wide && netstatSixText(host) {
		return netip.AddrPortFrom(netip.Addr{}, p), netstatCutText(host), ""
	}
	if len(host) == 1 && host[0] == '*' {
		if six {
			return netip.AddrPortFrom(netip.IPv6Unspecified(), p), "", ""
		}
		return netip.AddrPortFrom(netip.IPv4Unspecified(), p), "", ""
	}
	addr, ok := socketHost(host)
	if !ok {
		return a, "", netstatWantNumbers
	}
	return netip.AddrPortFrom(addr, p), "", ""
}

// filled tells whether BSD or macOS may have cut a column, of which then not
// even the port is right. IPv4 fits 22 characters.
func (r *netstatReader) filled(b []byte) string {
	six := bytes.IndexByte(b, ':') >= 0
	if r.width > 0 && len(b) < r.width || r.width == 0 && len(b) != 18 && (!six || len(b) < 22) || !six && len(b) > 18 {
		return ""
	}
	return "address and port fill their column and may be cut: record with -W, or -l on macOS"
}

// netstatSixText tells whether b is made of what IPv6 addresses are made of.
func netstatSixText(b []byte) bool {
	colon := false
	for _, c := range b {
		switch {
		case c == ':':
			colon = true
		case c >= '0' && c <= '9', c >= 'a' && c <= 'f', c == '.':
		default:
			return false
		}
	}
	return colon
}

// netstatCutText is the text to compare with: an IPv4-mapped address is known
// without its prefix.
func netstatCutText(host []byte) string {
	if rest, ok := bytes.CutPrefix(host, []byte("::ffff:")); ok && bytes.IndexByte(rest, '.') > 0 {
		return string(rest)
	}
	return string(host)
}

// netstatDevice is the zone of a link-local address.
func netstatDevice(b []byte, names socketNames) string {
	i := bytes.IndexByte(b, '%')
	if i < 0 {
		return ""
	}
	zone := b[i+1:]
	if j := bytes.IndexAny(zone, "]:."); j >= 0 {
		zone = zone[:j]
	}
	return names.get(zone)
}
