package cilium

// An entry of a table of connections (struct ipv4_ct_tuple, struct ct_entry of
// bpf/lib/common.h). The key is packed:
//
//	destination, source (4 or 16 bytes each), destination port, source port
//	(network byte order), protocol, flags
//
// The value has had 56 bytes since 1.8, with four words of 8 bytes first:
//
//	up to 1.15   packets and bytes received, packets and bytes sent; for the
//	             entry of a service the second is the number of the backend
//	1.16 to 1.18 nothing, the number of the backend, packets, bytes
//	since 1.19   an address, or nothing and the number of the backend; packets, bytes
//
// then lifetime (4), flags (2), service (2, network byte order), interface or,
// since 1.19, port in network byte order (2), TCP flags sent and received (1
// each), identity, time of the last packet sent and received (4 each).
var ctLayouts = []layout{{key: 14, value: 56}, {key: 38, value: 56, v6: true}}

// The flags of a tuple.
const (
	tupleIn      = 1
	tupleRelated = 2
	tupleService = 4
)

var ctFlags = []string{"RxClosing", "TxClosing", "Nat64", "LBLoopback", "SeenNonSyn", "NodePort", "ProxyRedirect", "DSRInternal", "FromL7LB", "AuthRequired", "FromTunnel"}

// tuple is the key of a table of connections, or of one of NAT.
type tuple struct {
	dst, src        []byte
	dport, sport    uint16
	protocol, flags byte
}

func readTuple(key []byte, l layout) tuple {
	n := 4
	if l.v6 {
		n = 16
	}
	return tuple{key[:n], key[n : 2*n], port(key[2*n:]), port(key[2*n+2:]), key[2*n+4], key[2*n+5]}
}

// appendCT appends an entry as cilium-dbg bpf ct list prints it. The addresses
// lie in a table as an answer has them, and are exchanged in print, but the ports
// are not.
func (f format) appendCT(dst []byte, l layout, key, v []byte) []byte {
	t := readTuple(key, l)
	if t.protocol == 0 {
		return dst // an entry that is not used
	}
	from, fromPort, to, toPort := t.dst, t.sport, t.src, t.dport
	direction := " OUT "
	switch {
	case t.flags&tupleService != 0 && f.release >= 15:
		direction = " SVC "
		from, fromPort, to, toPort = t.src, t.dport, t.dst, t.sport
	case t.flags&tupleIn != 0:
		direction = " IN "
	}
	dst = appendProtocol(dst, f.release, t.protocol)
	dst = append(dst, direction...)
	dst = word(append(appendIP(dst, from), ':'), "", uint64(fromPort))
	dst = append(dst, " -> "...)
	dst = word(append(appendIP(dst, to), ':'), "", uint64(toPort))
	dst = append(dst, ' ')
	if t.flags&tupleRelated != 0 {
		dst = append(dst, "related "...)
	}
	if t.flags&tupleService != 0 && f.release < 15 {
		dst = append(dst, "service "...)
	}
	return f.appendCTValue(dst, v)
}

func (f format) appendCTValue(dst, v []byte) []byte {
	words := [4]uint64{u64(v), u64(v[8:]), u64(v[16:]), u64(v[24:])}
	merged := f.release >= 16
	dst = word(dst, "expires=", uint64(u32(v[32:])))
	if merged {
		dst = word(dst, " Packets=", words[2])
		dst = word(dst, " Bytes=", words[3])
	} else {
		dst = word(dst, " RxPackets=", words[0])
		dst = word(dst, " RxBytes=", words[1])
	}
	dst = hexadecimal(dst, " RxFlagsSeen=", uint64(v[43]), 2)
	dst = word(dst, " LastRxReport=", uint64(u32(v[52:])))
	if !merged {
		dst = word(dst, " TxPackets=", words[2])
		dst = word(dst, " TxBytes=", words[3])
	}
	dst = hexadecimal(dst, " TxFlagsSeen=", uint64(v[42]), 2)
	dst = word(dst, " LastTxReport=", uint64(u32(v[48:])))
	dst = f.appendCTFlags(dst, u16(v[36:]))
	dst = word(dst, " RevNAT=", uint64(port(v[38:])))
	dst = word(dst, " SourceSecurityID=", uint64(u32(v[44:])))
	if f.release < 18 {
		dst = word(dst, " IfIndex=", uint64(u16(v[40:])))
	}
	if merged {
		dst = word(dst, " BackendID=", words[1])
	}
	if f.release >= 19 {
		dst = word(dst, " NatPort=", uint64(port(v[40:])))
	}
	return append(dst, " \n"...)
}

func (f format) appendCTFlags(dst []byte, flags uint16) []byte {
	dst = append(hexadecimal(dst, " Flags=", uint64(flags), 4), " [ "...)
	for i, name := range ctFlags {
		switch {
		case flags&(1<<i) == 0, name == "AuthRequired" && f.release < 14:
			continue
		case name == "DSRInternal" && f.release < 14:
			name = "DSR"
		}
		dst = append(append(dst, name...), ' ')
	}
	if rest := flags >> len(ctFlags) << len(ctFlags); rest != 0 {
		dst = append(hexadecimal(dst, "Unknown=", uint64(rest), 4), ' ')
	}
	return append(dst, ']')
}

// ctRelease tells from an entry on which side of 1.16 it was made, where neither
// agent nor names did: up to 1.15 one that entered an endpoint counts the packets
// received in its first word, at least the one that made it, and since then that
// word is nothing, but for an address beside a port.
func ctRelease(l layout, key, v []byte) (release, bool) {
	t := readTuple(key, l)
	switch {
	case t.protocol == 0, t.flags&tupleService != 0, u16(v[40:]) != 0:
		return 0, false
	case u64(v) != 0:
		return 15, true
	case t.flags&tupleIn != 0:
		return 16, true
	}
	return 0, false
}
