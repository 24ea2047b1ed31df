package parse

import (
	"bytes"
	"encoding/hex"
	"math"
	"net/netip"

	"whichbackend/analyze/record"
)

// IPVS's connections, from ipvsadm 1.31 (ipvsadm -Lnc) and the kernel
// (/proc/net/ip_vs_conn, here 6.1):
//
//	TCP 12:44  ESTABLISHED 10.98.0.2:54494    172.18.0.2:80      10.0.0.5:80
//	TCP 0A620002 D4DE AC120002 0050 0A000005 0050 ESTABLISHED     764
//
// IPVS knows the client's source and the backend. Whether a later rule rewrites
// the source too is not in its table.

// ipvsIsConn tells a row of connections from one of services.
func ipvsIsConn(f [][]byte) bool {
	if _, ok := ipvsProtocol(f[0]); !ok {
		return false
	}
	if len(f) >= 6 && bytes.IndexByte(f[3], ':') > 0 && bytes.IndexByte(f[4], ':') > 0 {
		_, ok := ipvsExpire(f[1])
		return ok
	}
	return len(f) >= 9 && ipvsIsHex(f[1]) && len(f[2]) == 4 && ipvsIsHex(f[3]) && len(f[4]) == 4
}

// ipvsIsHex tells an address as /proc writes it: eight digits, or IPv6 with
// all its digits and colons.
func ipvsIsHex(b []byte) bool { return len(b) == 8 || len(b) == 39 && b[4] == ':' }

// ipvsConn is one row, either notation.
type ipvsConn struct {
	client, virtual, backend netip.AddrPort
	state                    []byte
	timeout                  int64
}

func (p *ipvsParser) conn(f [][]byte) {
	var c ipvsConn
	var ok bool
	if bytes.IndexByte(f[1], ':') > 0 && !ipvsIsHex(f[1]) {
		c, ok = ipvsReadConn(f)
	} else {
		c, ok = ipvsReadProcConn(f)
	}
	if !ok {
		p.out.Problem("expected addresses with ports, a state and the seconds left: names need -n")
		return
	}
	protocol, _ := ipvsProtocol(f[0])
	if protocol == 0 || c.client.Port() == 0 {
		// A persistence template: where the client's next connection goes.
		// It carries no packets.
		p.out.Understood()
		return
	}
	state := conntrackState(c.state)
	p.out.Translation(record.Translation{
		Protocol: protocol,
		Via:      record.ViaIPVS,
		Before:   record.Tuple{Source: c.client, Destination: c.virtual},
		After:    record.Tuple{Source: c.client, Destination: c.backend},
		State:    state,
		Closing:  conntrackClosing(state),
		Timeout:  c.timeout,
	})
}

func ipvsReadConn(f [][]byte) (c ipvsConn, ok bool) {
	var ok1, ok2, ok3, ok4 bool
	c.timeout, ok1 = ipvsExpire(f[1])
	c.state = f[2]
	c.client, ok2 = addressPort(f[3])
	c.virtual, ok3 = addressPort(f[4])
	c.backend, ok4 = addressPort(f[5])
	return c, ok1 && ok2 && ok3 && ok4
}

func ipvsReadProcConn(f [][]byte) (c ipvsConn, ok bool) {
	var ok1, ok2, ok3 bool
	c.client, ok1 = ipvsHex(f[1], f[2])
	c.virtual, ok2 = ipvsHex(f[3], f[4])
	c.backend, ok3 = ipvsHex(f[5], f[6])
	c.state = f[7]
	left := f[8]
	// /proc/net/ip_vs_conn_sync has one column more: LOCAL or SYNC.
	if len(f) > 9 && (string(left) == "LOCAL" || string(left) == "SYNC") {
		left = f[9]
	}
	n, ok4 := number(left)
	c.timeout = int64(n)
	return c, ok1 && ok2 && ok3 && ok4 && n <= math.MaxInt64
}

// ipvsExpire reads minutes and seconds. There may be more than 99 minutes.
func ipvsExpire(b []byte) (seconds int64, ok bool) {
	i := bytes.IndexByte(b, ':')
	if i < 1 || len(b)-i != 3 {
		return 0, false
	}
	m, ok1 := number(b[:i])
	s, ok2 := number(b[i+1:])
	return int64(m*60 + s), ok1 && ok2 && m < 1<<40
}

// ipvsHex reads an address and port as /proc writes them: hexadecimal, in the
// order in which they are spoken (unlike /proc/net/tcp).
func ipvsHex(addr, port []byte) (netip.AddrPort, bool) {
	var p [2]byte
	if len(port) != 4 {
		return netip.AddrPort{}, false
	}
	if _, err := hex.Decode(p[:], port); err != nil {
		return netip.AddrPort{}, false
	}
	number := uint16(p[0])<<8 | uint16(p[1])
	if len(addr) != 8 {
		a, ok := address(addr)
		return netip.AddrPortFrom(a, number), ok
	}
	var a [4]byte
	if _, err := hex.Decode(a[:], addr); err != nil {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(netip.AddrFrom4(a), number), true
}

// ipvsAddressPort reads ADDRESS:PORT of ipvsadm or of /proc/net/ip_vs, and
// tells which it was. An IPv6 address with all its digits may be either; then
// what the section is known to be decides.
func ipvsAddressPort(b []byte, proc bool) (a netip.AddrPort, isProc, ok bool) {
	i := bytes.LastIndexByte(b, ':')
	if i < 1 {
		return a, proc, false
	}
	addr, port := b[:i], b[i+1:]
	if len(addr) == 8 && len(port) == 4 && bytes.IndexByte(addr, '.') < 0 && addr[0] != '[' {
		a, ok = ipvsHex(addr, port)
		return a, true, ok
	}
	if len(addr) == 41 && addr[0] == '[' && len(port) == 4 && (proc || ipvsLeadingZero(addr[1:40])) {
		a, ok = ipvsHex(addr[1:40], port)
		return a, true, ok
	}
	a, ok = addressPort(b)
	return a, false, ok
}

// ipvsLeadingZero tells whether a group of an IPv6 address begins with a zero,
// which only /proc writes.
func ipvsLeadingZero(b []byte) bool {
	for i := 0; i+3 < len(b); i += 5 {
		if b[i] == '0' {
			return true
		}
	}
	return false
}

// ipvsMark reads a firewall mark: decimal, or eight hexadecimal digits in /proc.
func ipvsMark(b []byte, proc bool) (uint32, bool) {
	if len(b) == 8 && (proc || b[0] == '0' || bytes.ContainsAny(b, "ABCDEF")) {
		var m [4]byte
		_, err := hex.Decode(m[:], b)
		return uint32(m[0])<<24 | uint32(m[1])<<16 | uint32(m[2])<<8 | uint32(m[3]), err == nil
	}
	n, ok := number(b)
	return uint32(n), ok && n <= math.MaxUint32
}
