package cilium

// An entry of a table of NAT (struct ipv4_nat_entry, ipv6_nat_entry): the key as
// in a table of connections, and a value of
//
//	time of creation (8), needs connection tracking or, up to 1.12, is of this
//	host (8), nothing (16), the address (4 or 16), the port (2, network byte
//	order), and nothing up to a multiple of 8 bytes
var natLayouts = []layout{{key: 14, value: 40}, {key: 38, value: 56, v6: true}}

// nanoseconds divides times of creation: up to 1.13 they are in nanoseconds since
// the host started, and since then in seconds, or in units of a clock that the
// agent knows. No host runs for a billion seconds, and none starts a datapath
// within one.
const nanoseconds = 1e9

func (f format) appendNAT(dst []byte, l layout, key, v []byte) []byte {
	t := readTuple(key, l)
	if t.protocol == 0 {
		return dst
	}
	direction, kind, n := " OUT ", " XLATE_SRC ", 4
	if t.flags&tupleIn != 0 {
		direction, kind = " IN ", " XLATE_DST "
	}
	if l.v6 {
		n = 16
	}
	dst = append(appendProtocol(dst, f.release, t.protocol), direction...)
	dst = append(appendAddress(dst, t.src, t.sport), " -> "...)
	dst = append(appendAddress(dst, t.dst, t.dport), ' ')
	if t.flags&tupleRelated != 0 {
		dst = append(dst, "related "...)
	}
	dst = append(dst[:len(dst)-1], kind...)
	dst = appendAddress(dst, v[32:32+n], port(v[32+n:]))
	dst = f.appendCreated(append(dst, " Created="...), u64(v))
	if f.release <= 12 {
		return append(word(dst, " HostLocal=", u64(v[8:])), '\n')
	}
	return append(word(dst, " NeedsCT=", u64(v[8:])), '\n')
}

// appendCreated appends how long ago an entry was made, or the bare time when it
// is not known which clock it is of.
func (f format) appendCreated(dst []byte, created uint64) []byte {
	now, seconds := f.now, created
	if created >= nanoseconds {
		now, seconds = f.uptime, created/nanoseconds
	}
	if now < seconds {
		return append(word(append(dst, '?'), " (raw ", created), ')')
	}
	dst = append(word(dst, "", now-seconds), "sec"...)
	if f.release >= 14 {
		dst = append(dst, " ago"...)
	}
	return dst
}
