package flow

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
)

// peek looks at the first bytes of the client, once, and returns the bytes of
// the packet without a PROXY header. seq is that of the first byte.
func (t *table) peek(e *entry, n uint32, q *packet, seq uint32, fresh uint64) []byte {
	body := q.d.Payload
	if q.from != e.client() {
		return body
	}
	if e.flags&flagPeeked != 0 {
		if e.flags&flagHello != 0 {
			t.helloGoesOn(e, n, q, seq)
		}
		return body
	}
	h, c := &e.hot[q.from], &e.cold[q.from]
	first := h.flags&halfISN != 0
	if first && seq != c.isn+1+uint32(e.prefix) || !first && fresh == 0 {
		return body
	}
	if first && e.prefix == 0 {
		p := readProxy(body)
		if p.length > 0 {
			body = t.proxied(e, p, body)
			if q.d.PayloadLength == p.length {
				return nil
			}
		}
	}
	e.flags |= flagPeeked
	if isRequest(body) {
		e.flags |= flagHTTP
		return body
	}
	t.helloBegins(e, n, q, body, seq+uint32(q.d.PayloadLength))
	return body
}

func (t *table) proxied(e *entry, p proxyHeader, body []byte) []byte {
	e.prefix = uint16(p.length)
	if p.from.IsValid() {
		e.announced = t.announce(p.from, p.to)
	}
	return body[min(p.length, len(body)):]
}

// proxyHeader is a PROXY header; length is 0 where there is none. from and to
// are not valid when it tells of no connection (UNKNOWN, LOCAL).
type proxyHeader struct {
	length   int
	from, to netip.AddrPort
}

const (
	// maxProxy1 and maxProxy2 bound a header: version 1 by its specification,
	// version 2 by what is plausible.
	maxProxy1  = 107
	maxProxy2  = 4096
	signature2 = "\r\n\r\n\x00\r\nQUIT\n"
)

// readProxy reads a PROXY header of version 1 or 2:
// https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt
func readProxy(b []byte) proxyHeader {
	switch {
	case bytes.HasPrefix(b, []byte("PROXY ")):
		return readProxy1(b[:min(len(b), maxProxy1)])
	case bytes.HasPrefix(b, []byte(signature2)):
		return readProxy2(b)
	}
	return proxyHeader{}
}

// readProxy1 reads a line such as "PROXY TCP4 10.0.0.1 10.0.0.2 40000 80\r\n".
func readProxy1(b []byte) (p proxyHeader) {
	line, _, ok := bytes.Cut(b, []byte("\r\n"))
	if !ok {
		return p
	}
	f := strings.Split(string(line), " ")
	if f[1] == "UNKNOWN" {
		p.length = len(line) + 2
		return p
	}
	if len(f) != 6 || f[1] != "TCP4" && f[1] != "TCP6" {
		return p
	}
	from, ok1 := addrPort(f[2], f[4])
	to, ok2 := addrPort(f[3], f[5])
	if !ok1 || !ok2 || from.Addr().Is4() != (f[1] == "TCP4") {
		return p
	}
	return proxyHeader{length: len(line) + 2, from: unmap(from), to: unmap(to)}
}

func addrPort(a, p string) (netip.AddrPort, bool) {
	ip, err := netip.ParseAddr(a)
	port, err2 := strconv.ParseUint(p, 10, 16)
	if err != nil || err2 != nil || ip.Zone() != "" {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(ip, uint16(port)), true
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// readProxy2 reads the binary form: the signature, version and command, family,
// a 16-bit length in network byte order, addresses and ports, and what else
// there is up to the length.
func readProxy2(b []byte) (p proxyHeader) {
	if len(b) < 16 || b[12]>>4 != 2 || b[12]&15 > 1 {
		return p
	}
	length := 16 + int(binary.BigEndian.Uint16(b[14:]))
	if length > maxProxy2 {
		return p
	}
	p.length = length
	body := b[16:min(length, len(b))]
	size := 0
	switch b[13] {
	case 0x11: // TCP over IPv4
		size = 4
	case 0x21: // TCP over IPv6
		size = 16
	}
	if b[12]&15 == 0 || size == 0 || len(body) < 2*size+4 {
		return p
	}
	from, _ := netip.AddrFromSlice(body[:size])
	to, _ := netip.AddrFromSlice(body[size : 2*size])
	ports := body[2*size:]
	p.from = unmap(netip.AddrPortFrom(from, binary.BigEndian.Uint16(ports)))
	p.to = unmap(netip.AddrPortFrom(to, binary.BigEndian.Uint16(ports[2:])))
	return p
}
