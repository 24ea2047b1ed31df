package parse

import (
	"bytes"
	"math"
	"net/netip"
	"strconv"
	"strings"

	"whichbackend/analyze/record"
)

// fields splits a line at runs of blanks and tabs, into buf.
func fields(line []byte, buf [][]byte) [][]byte {
	buf = buf[:0]
	for i := 0; i < len(line); {
		for i < len(line) && (line[i] == ' ' || line[i] == '\t') {
			i++
		}
		start := i
		for i < len(line) && line[i] != ' ' && line[i] != '\t' {
			i++
		}
		if i > start {
			buf = append(buf, line[start:i])
		}
	}
	return buf
}

// number reads an unsigned decimal number of at most 64 bits.
func number(b []byte) (uint64, bool) {
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		d := uint64(c - '0')
		if c < '0' || c > '9' || n > (math.MaxUint64-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}

// port reads a port number, or * for 0.
func port(b []byte) (uint16, bool) {
	if len(b) == 1 && b[0] == '*' {
		return 0, true
	}
	n, ok := number(b)
	return uint16(n), ok && n <= math.MaxUint16
}

// addressPort reads address:port, [v6]:port or v6:port (the port is what
// follows the last colon). The port may be *, read as 0.
func addressPort(b []byte) (netip.AddrPort, bool) {
	i := bytes.LastIndexByte(b, ':')
	if i < 0 {
		return netip.AddrPort{}, false
	}
	p, ok := port(b[i+1:])
	if !ok {
		return netip.AddrPort{}, false
	}
	a, ok := address(b[:i])
	return netip.AddrPortFrom(a, p), ok
}

// protocolNumber reads a protocol by its name, in either case, or its number.
func protocolNumber(name string) (record.Protocol, bool) {
	switch strings.ToLower(name) {
	case "tcp", "tcp6":
		return record.TCP, true
	case "udp", "udp6":
		return record.UDP, true
	case "sctp":
		return record.SCTP, true
	case "icmp":
		return record.ICMP, true
	case "icmpv6", "ipv6-icmp":
		return record.ICMPv6, true
	case "dccp":
		return record.DCCP, true
	case "gre":
		return record.GRE, true
	case "udplite":
		return record.UDPLite, true
	}
	n, err := strconv.ParseUint(name, 10, 8)
	return record.Protocol(n), err == nil
}

// pointerToken escapes one token of a JSON pointer (RFC 6901).
func pointerToken(s string) string {
	if !strings.ContainsAny(s, "~/") {
		return s
	}
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(s)
}
