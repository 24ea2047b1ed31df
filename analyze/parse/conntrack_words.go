package parse

import (
	"net/netip"

	"whichbackend/analyze/record"
)

// conntrackAddress reads an address without allocating, as /proc writes IPv6
// too (every digit of it). What is unusual goes to address.
func conntrackAddress(b []byte) (netip.Addr, bool) {
	var a [4]byte
	n, v, digits := 0, 0, 0
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9' && digits < 3:
			v = v*10 + int(c-'0')
			digits++
		case c == '.' && digits > 0 && v < 256 && n < 3:
			a[n] = byte(v)
			n++
			v, digits = 0, 0
		default:
			return conntrackIPv6(b)
		}
	}
	if n != 3 || digits == 0 || v > 255 {
		return netip.Addr{}, false
	}
	a[3] = byte(v)
	return netip.AddrFrom4(a), true
}

func conntrackIPv6(b []byte) (netip.Addr, bool) {
	var a [16]byte
	n, gap, i := 0, -1, 0
	if len(b) > 1 && b[0] == ':' && b[1] == ':' {
		gap, i = 0, 2
	}
	for i < len(b) {
		v, digits := 0, 0
		for ; i < len(b) && digits < 5; i++ {
			h, ok := conntrackHexDigit(b[i])
			if !ok {
				break
			}
			v = v<<4 | h
			digits++
		}
		if digits == 0 || digits > 4 || n == 16 || i < len(b) && b[i] != ':' {
			return address(b)
		}
		a[n], a[n+1] = byte(v>>8), byte(v)
		n += 2
		if i == len(b) {
			break
		}
		i++
		switch {
		case i == len(b):
			return netip.Addr{}, false
		case b[i] == ':' && gap >= 0:
			return netip.Addr{}, false
		case b[i] == ':':
			gap = n
			i++
		}
	}
	if gap < 0 && n != 16 || gap >= 0 && n == 16 {
		return netip.Addr{}, false
	}
	if gap >= 0 {
		moved := n - gap
		copy(a[16-moved:], a[gap:n])
		clear(a[gap : 16-moved])
	}
	return netip.AddrFrom16(a).Unmap(), true
}

func conntrackHexDigit(c byte) (int, bool) {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0'), true
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10, true
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10, true
	}
	return 0, false
}

func conntrackFamily(b []byte) bool { return string(b) == "ipv4" || string(b) == "ipv6" }

// conntrackProtocol reads the names that conntrack and the kernel print.
func conntrackProtocol(b []byte) record.Protocol {
	switch string(b) {
	case "tcp":
		return record.TCP
	case "udp":
		return record.UDP
	case "icmp":
		return record.ICMP
	case "icmpv6":
		return record.ICMPv6
	case "sctp":
		return record.SCTP
	case "dccp":
		return record.DCCP
	case "gre":
		return record.GRE
	case "udplite":
		return record.UDPLite
	}
	return 0
}

func conntrackEvent(b []byte) string {
	switch string(b) {
	case "[NEW]":
		return "NEW"
	case "[UPDATE]":
		return "UPDATE"
	case "[DESTROY]":
		return "DESTROY"
	}
	return ""
}

// conntrackState returns the state as a string that every row shares.
func conntrackState(b []byte) string {
	switch string(b) {
	case "ESTABLISHED":
		return "ESTABLISHED"
	case "TIME_WAIT":
		return "TIME_WAIT"
	case "SYN_SENT":
		return "SYN_SENT"
	case "SYN_RECV":
		return "SYN_RECV"
	case "FIN_WAIT":
		return "FIN_WAIT"
	case "CLOSE_WAIT":
		return "CLOSE_WAIT"
	case "LAST_ACK":
		return "LAST_ACK"
	case "CLOSE":
		return "CLOSE"
	case "NONE":
		return "NONE"
	}
	return string(b)
}
