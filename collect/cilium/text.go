package cilium

import (
	"encoding/binary"
	"net/netip"
	"strconv"
)

func u16(b []byte) uint16 { return binary.NativeEndian.Uint16(b) }
func u32(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }
func u64(b []byte) uint64 { return binary.NativeEndian.Uint64(b) }

// port is a number that lies in a map in network byte order.
func port(b []byte) uint16 { return binary.BigEndian.Uint16(b) }

// word appends a name and a number.
func word(dst []byte, name string, n uint64) []byte {
	return strconv.AppendUint(append(dst, name...), n, 10)
}

// hexadecimal appends a number as %#02x or %#04x does: so many digits at least.
func hexadecimal(dst []byte, name string, n uint64, digits int) []byte {
	dst = append(append(dst, name...), "0x"...)
	for d := digits - 1; d > 0 && n>>(4*d) == 0; d-- {
		dst = append(dst, '0')
	}
	return strconv.AppendUint(dst, n, 16)
}

// appendIP appends an address of 4 or 16 bytes. An IPv4 address in a map of IPv6
// stands there as such.
func appendIP(dst, b []byte) []byte {
	a, _ := netip.AddrFromSlice(b)
	return a.Unmap().AppendTo(dst)
}

// appendAddress appends address:port, an IPv6 address in brackets.
func appendAddress(dst, ip []byte, p uint16) []byte {
	v6 := len(ip) == 16
	if v6 {
		dst = append(dst, '[')
	}
	dst = appendIP(dst, ip)
	if v6 {
		dst = append(dst, ']')
	}
	return word(dst, ":", uint64(p))
}

var protocols = map[byte]string{0: "ANY", 1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6", 132: "SCTP"}

// laterProtocols have names since 1.17.
var laterProtocols = map[byte]string{2: "IGMP", 4: "IPIP", 41: "IPv6", 47: "GRE", 50: "ESP", 51: "AH", 112: "VRRP"}

func appendProtocol(dst []byte, r release, p byte) []byte {
	name, ok := protocols[p]
	if !ok && r >= 17 {
		name, ok = laterProtocols[p]
	}
	if !ok {
		return strconv.AppendUint(dst, uint64(p), 10)
	}
	return append(dst, name...)
}
