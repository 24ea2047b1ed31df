package parse

import (
	"bytes"
	"net/netip"
	"slices"

	"whichbackend/analyze/record"
)

// What the formats of Cilium's agent command have in common. The command is
// called cilium up to 1.14 and cilium-dbg since 1.15.

// ciliumProtocol reads a protocol as Cilium names it. ANY is 0.
func ciliumProtocol(b []byte) (record.Protocol, bool) {
	switch string(b) {
	case "TCP":
		return record.TCP, true
	case "UDP":
		return record.UDP, true
	case "SCTP":
		return record.SCTP, true
	case "ICMP":
		return record.ICMP, true
	case "ICMPv6":
		return record.ICMPv6, true
	case "ANY":
		return 0, true
	case "IGMP":
		return 2, true
	case "IPIP":
		return 4, true
	case "IPv6":
		return 41, true
	case "GRE":
		return record.GRE, true
	case "ESP":
		return 50, true
	case "AH":
		return 51, true
	case "VRRP":
		return 112, true
	}
	n, ok := number(b)
	return record.Protocol(n), ok && n <= 255
}

// ciliumAddrPort reads address:port. IPv6 comes with brackets or without, so
// the port is what follows the last colon. The common case, IPv4, takes no
// memory.
func ciliumAddrPort(b []byte) (netip.AddrPort, bool) {
	i := bytes.LastIndexByte(b, ':')
	if i < 0 {
		return netip.AddrPort{}, false
	}
	n, ok := number(b[i+1:])
	if !ok || n > 65535 {
		return netip.AddrPort{}, false
	}
	a, ok := ciliumIPv4(b[:i])
	if !ok {
		a, ok = address(ciliumNoCluster(b[:i]))
	}
	return netip.AddrPortFrom(a, uint16(n)), ok
}

// ciliumNoCluster takes the cluster off an address of a mesh: 10.0.0.1@2.
func ciliumNoCluster(b []byte) []byte {
	if i := bytes.IndexByte(b, '@'); i >= 0 {
		return b[:i]
	}
	return b
}

func ciliumIPv4(b []byte) (netip.Addr, bool) {
	var a [4]byte
	part, n, digits := 0, 0, 0
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			n = n*10 + int(c-'0')
			if digits++; n > 255 || digits > 3 {
				return netip.Addr{}, false
			}
		case c == '.' && digits > 0 && part < 3:
			a[part] = byte(n)
			part, n, digits = part+1, 0, 0
		default:
			return netip.Addr{}, false
		}
	}
	if part != 3 || digits == 0 {
		return netip.Addr{}, false
	}
	a[3] = byte(n)
	return netip.AddrFrom4(a), true
}

// ciliumFrontend reads an address of the load-balancing listings:
// 10.96.0.10:53, 10.96.0.10:53/UDP, 10.0.0.1:80/i, [fd00::1]:80/TCP/i. The
// suffix /i is the internal scope, the variant for clients inside the cluster.
func ciliumFrontend(b []byte) (f ciliumVIPKey, ok bool) {
	if n := len(b); n < 5 || n > 80 {
		return f, false
	}
	if bytes.HasSuffix(b, []byte("/i")) {
		f.internal = true
		b = b[:len(b)-2]
	}
	if i := bytes.LastIndexByte(b, '/'); i >= 0 {
		if f.protocol, ok = ciliumProtocol(b[i+1:]); !ok {
			return f, false
		}
		b = b[:i]
	}
	if bytes.IndexByte(b, '@') >= 0 {
		colon := bytes.LastIndexByte(b, ':')
		if colon < 0 {
			return f, false
		}
		b = slices.Concat(ciliumNoCluster(b), b[colon:])
	}
	f.address, ok = ciliumAddrPort(b)
	return f, ok
}

// ciliumVIPKey tells the entries of the load-balancing tables apart.
type ciliumVIPKey struct {
	address  netip.AddrPort
	protocol record.Protocol
	internal bool
	// orphan is the RevNAT of rows whose own address was cut off.
	orphan uint32
}

// ciliumTypes are the service types that the listings print.
var ciliumTypes = map[string]bool{
	"ClusterIP": true, "NodePort": true, "LoadBalancer": true, "ExternalIPs": true, "HostPort": true, "LocalRedirect": true,
}

// ciliumState turns the agent's word for a backend's state into record's.
func ciliumState(word string) string {
	if word == "active" {
		return ""
	}
	return word
}

// ciliumAside gives the verdict on lines that stand between the rows of a
// listing: blank ones, elisions, log lines of the command itself. It tells
// false for anything else.
func ciliumAside(out *Out, b []byte) bool {
	switch {
	case len(b) == 0, ciliumElision(b):
		out.Ignore()
	case bytes.HasPrefix(b, []byte("Unable to open ")), bytes.HasPrefix(b, []byte("Error: Unable to open ")):
		// Without IPv6 the maps of IPv6 do not exist, which says nothing.
		if i := bytes.Index(b, []byte("/cilium_")); i < 0 || !bytes.Contains(b[i:], []byte("6")) {
			out.Problem("a table could not be opened")
		} else {
			out.Ignore()
		}
	case bytes.HasPrefix(b, []byte("level=")), bytes.HasPrefix(b, []byte("time=")), bytes.HasPrefix(b, []byte("Failed to get clocksource")):
		out.Ignore()
	default:
		return false
	}
	return true
}

// ciliumElision tells the marks by which people leave rows out.
func ciliumElision(b []byte) bool {
	return len(b) > 1 && len(bytes.Trim(b, ".[] ")) == 0
}

// ciliumTableRow tells the rows of the connection table and of the NAT table,
// which begin alike: PROTO DIRECTION address:port -> address:port.
func ciliumTableRow(b []byte) (ct, nat bool) {
	if len(b) < 24 || b[0] > 'Z' || b[0] < '0' {
		return false, false
	}
	i := bytes.IndexByte(b[:8], ' ')
	if i < 1 {
		return false, false
	}
	rest := b[i+1:]
	switch {
	case bytes.HasPrefix(rest, []byte("OUT ")), bytes.HasPrefix(rest, []byte("SVC ")):
		rest = rest[4:]
	case bytes.HasPrefix(rest, []byte("IN ")):
		rest = rest[3:]
	default:
		return false, false
	}
	if _, ok := ciliumProtocol(b[:i]); !ok {
		return false, false
	}
	rest = rest[:min(len(rest), 160)]
	i = bytes.Index(rest, []byte(" -> "))
	if i < 0 {
		return bytes.Contains(rest, []byte(" expires=")), false
	}
	rest = rest[i+4:]
	if i = bytes.IndexByte(rest, ' '); i < 0 {
		return false, false
	}
	rest = bytes.TrimLeft(rest[i:], " ")
	ct = bytes.HasPrefix(rest, []byte("expires=")) || bytes.HasPrefix(rest, []byte("service")) || bytes.HasPrefix(rest, []byte("related"))
	return ct, bytes.HasPrefix(rest, []byte("XLATE_"))
}

// ciliumWord cuts the first word off a line.
func ciliumWord(b []byte) (word, rest []byte) {
	i := 0
	for i < len(b) && (b[i] == ' ' || b[i] == '\t') {
		i++
	}
	start := i
	for i < len(b) && b[i] != ' ' && b[i] != '\t' {
		i++
	}
	return b[start:i], b[i:]
}

// ciliumTuple reads "PROTO DIRECTION address:port -> address:port", as printed.
func ciliumTuple(b []byte) (protocol record.Protocol, direction []byte, t record.Tuple, rest []byte, ok bool) {
	word, rest := ciliumWord(b)
	if protocol, ok = ciliumProtocol(word); !ok {
		return protocol, nil, t, b, false
	}
	direction, rest = ciliumWord(rest)
	word, rest = ciliumWord(rest)
	t.Source, ok = ciliumAddrPort(word)
	if word, rest = ciliumWord(rest); !ok || string(word) != "->" {
		return protocol, direction, t, rest, false
	}
	word, rest = ciliumWord(rest)
	t.Destination, ok = ciliumAddrPort(word)
	return protocol, direction, t, rest, ok
}

// ciliumElementProblem is a problem of a JSON element, with the element's own text.
func ciliumElementProblem(out *Out, raw []byte, why string) {
	out.problem(record.Pos{Line: out.line, Pointer: out.pointer}, string(clip(raw)), why)
}
