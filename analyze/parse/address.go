package parse

import (
	"bytes"
	"net/netip"
)

// address reads an IP address. An IPv4-mapped one is unmapped; brackets and a
// zone (%eth0) are taken off.
func address(b []byte) (netip.Addr, bool) {
	if n := len(b); n > 1 && b[0] == '[' && b[n-1] == ']' {
		b = b[1 : n-1]
	}
	if i := bytes.IndexByte(b, '%'); i >= 0 {
		b = b[:i]
	}
	if len(b) < 2 || len(b) > 45 {
		return netip.Addr{}, false
	}
	return plainAddress(b)
}

// otherAddress reads whatever else netip takes for an address.
func otherAddress(b []byte) (netip.Addr, bool) {
	if len(b) > 45 {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(string(b))
	return a.Unmap().WithZone(""), err == nil
}

// plainAddress reads an address without brackets and zone, and without
// allocating: listings hold millions. What is unusual goes to netip.
func plainAddress(b []byte) (netip.Addr, bool) {
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
			return plainIPv6(b)
		}
	}
	if n != 3 || digits == 0 || v > 255 {
		return netip.Addr{}, false
	}
	a[3] = byte(v)
	return netip.AddrFrom4(a), true
}

func plainIPv6(b []byte) (netip.Addr, bool) {
	var a [16]byte
	n, gap, i := 0, -1, 0
	if len(b) > 1 && b[0] == ':' && b[1] == ':' {
		gap, i = 0, 2
	}
	for i < len(b) {
		v, digits := 0, 0
		for ; i < len(b) && digits < 5; i++ {
			h, ok := hexDigit(b[i])
			if !ok {
				break
			}
			v = v<<4 | h
			digits++
		}
		if digits == 0 || digits > 4 || n == 16 || i < len(b) && b[i] != ':' {
			return otherAddress(b)
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

func hexDigit(c byte) (int, bool) {
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
