package parse

import (
	"bytes"
	"net/netip"

	"whichbackend/analyze/record"
)

// Windows 10, netstat -aon:
//
//	Proto  Local Address          Foreign Address        State           PID
//	TCP    127.0.0.1:1031         127.0.0.1:1032         ESTABLISHED     10644
//	UDP    0.0.0.0:5353           *:*                                    2764

// netstatIsWindowsRow tells whether a line is a row of Windows: a protocol in
// capitals and two numeric addresses.
func netstatIsWindowsRow(t []byte) bool {
	if len(t) < 5 || t[3] != ' ' || string(t[:3]) != "TCP" && string(t[:3]) != "UDP" {
		return false
	}
	local, rest := socketWord(t[3:])
	remote, rest := socketWord(rest)
	if bytes.IndexByte(local, ':') < 0 || bytes.IndexByte(remote, ':') < 0 {
		return false
	}
	if _, ok := netstatWindowsAddress(local, netip.Addr{}); !ok {
		return false
	}
	if string(remote) == "*:*" {
		return true
	}
	word, _ := socketWord(rest)
	_, ok := netstatWindowsAddress(remote, netip.Addr{})
	return ok && len(word) > 0
}

// netstatWindowsAddress reads an address; any stands for *, if it is valid.
func netstatWindowsAddress(b []byte, any netip.Addr) (netip.AddrPort, bool) {
	if string(b) == "*:*" {
		return netip.AddrPortFrom(any, 0), any.IsValid()
	}
	i := bytes.LastIndexByte(b, ':')
	if i < 0 {
		return netip.AddrPort{}, false
	}
	p, ok := port(b[i+1:])
	if !ok {
		return netip.AddrPort{}, false
	}
	a, ok := socketHost(b[:i])
	return netip.AddrPortFrom(a, p), ok
}

// windows reads a row that netstatIsWindowsRow knows.
func (r *netstatReader) windows(t []byte) {
	local, rest := socketWord(t[3:])
	remote, rest := socketWord(rest)
	s := record.Socket{Protocol: record.UDP, UID: -1, Device: netstatDevice(local, r.names)}
	s.Local, _ = netstatWindowsAddress(local, netip.Addr{})
	any := netip.IPv4Unspecified()
	if s.Local.Addr().Is6() {
		any = netip.IPv6Unspecified()
	}
	s.Remote, _ = netstatWindowsAddress(remote, any)
	known := true
	if t[0] == 'T' {
		s.Protocol = record.TCP
		var word []byte
		word, rest = socketWord(rest)
		s.State, known = socketState(word)
	}
	word, _ := socketWord(rest)
	if pid, ok := number(word); ok && pid < 1<<32 {
		s.PID = int(pid)
	}
	r.out.Socket(s)
	if !known {
		r.out.Problem("the state is in a language that is not known; the socket is kept without one")
	}
}
