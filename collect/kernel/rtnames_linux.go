package kernel

// The names that iproute2 6.1.0 has built in, and those of the files that it
// installs in /etc/iproute2.

func rtTable(out []byte, n uint32) []byte {
	switch n {
	case 253:
		return append(out, "default"...)
	case 254:
		return append(out, "main"...)
	case 255:
		return append(out, "local"...)
	}
	return rtNumber(out, "", n, "")
}

func rtScope(out []byte, n byte) []byte {
	switch n {
	case 0:
		return append(out, "global"...)
	case 200:
		return append(out, "site"...)
	case 253:
		return append(out, "link"...)
	case 254:
		return append(out, "host"...)
	case 255:
		return append(out, "nowhere"...)
	}
	return rtNumber(out, "", n, "")
}

func rtGroup(out []byte, n uint32) []byte {
	if n == 0 {
		return append(out, "default"...)
	}
	return rtNumber(out, "", n, "")
}

func rtRealm(out []byte, n uint32) []byte {
	if n == 0 {
		return append(out, "cosmos"...)
	}
	return rtNumber(out, "", n, "")
}

// rtProto names who put a route, a neighbour or a rule there.
func rtProto(out []byte, n byte) []byte {
	names := [...]string{"unspec", "redirect", "kernel", "boot", "static", 8: "gated", 9: "ra", 10: "mrt", 11: "zebra", 12: "bird",
		13: "dnrouted", 14: "xorp", 15: "ntk", 16: "dhcp", 18: "keepalived", 42: "babel", 99: "openr",
		186: "bgp", 187: "isis", 188: "ospf", 189: "rip", 192: "eigrp"}
	if int(n) < len(names) && names[n] != "" {
		return append(out, names[n]...)
	}
	return rtNumber(out, "", n, "")
}

func rtType(out []byte, n byte) []byte {
	names := [...]string{"none", "unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit",
		"throw", "nat", "xresolve"}
	if int(n) < len(names) {
		return append(out, names[n]...)
	}
	return rtNumber(out, "", n, "")
}

// rtField names a type of service.
func rtField(out []byte, n byte) []byte {
	class, drop := n>>5, n>>3&3
	switch {
	case n == 0:
		return append(out, "default"...)
	case n == 0xb8:
		return append(out, "EF"...)
	case n&7 == 0 && drop == 0:
		return append(out, 'C', 'S', '0'+class)
	case n&7 == 0 && class >= 1 && class <= 4:
		return append(out, 'A', 'F', '0'+class, '0'+drop)
	}
	const digits = "0123456789abcdef"
	return append(out, '0', 'x', digits[n>>4], digits[n&15])
}

// ipProtocol names a protocol of IP as /etc/protocols does. It has only those
// that rules are likely to ask for.
func ipProtocol(out []byte, n byte) []byte {
	switch n {
	case 1:
		return append(out, "icmp"...)
	case 6:
		return append(out, "tcp"...)
	case 17:
		return append(out, "udp"...)
	case 47:
		return append(out, "gre"...)
	case 50:
		return append(out, "esp"...)
	case 51:
		return append(out, "ah"...)
	case 58:
		return append(out, "ipv6-icmp"...)
	case 89:
		return append(out, "ospf"...)
	case 132:
		return append(out, "sctp"...)
	}
	return rtNumber(out, "ipproto-", n, "")
}
