package cilium

// An endpoint (struct endpoint_key and endpoint_info): the key is
//
//	address (16, of which IPv4 takes the first 4), family (1: IPv4 is 1, IPv6 2),
//	key (1), cluster (2)
//
// and the value
//
//	interface (4), nothing (2), number (2), flags (4), nothing (4), address of
//	the link of the endpoint (8) and of the node's end of it (8), identity (4,
//	since 1.14), parent interface (4, since 1.17), nothing
var endpointLayouts = []layout{{key: 20, value: 48}}

// An address and what is behind it (struct ipcache_key and remote_endpoint_info):
//
//	length of the prefix with the 32 bits before the address (4), cluster (2)
//	and nothing (1), up to 1.13 the other way around, family (1), address (16)
//
//	identity (4), the node (4, or 16 in the second kind of map), the node's
//	number, or nothing (2), key of encryption (1), flags (1)
var ipcacheLayouts = []layout{{key: 24, value: 12}, {key: 24, value: 24, v6: true}}

const (
	familyIPv4 = 1
	familyIPv6 = 2

	ofHost = 1 // flag of an endpoint
)

// byFamily cuts an address to the length of its family; nil when that is none.
func byFamily(ip []byte, family byte) []byte {
	switch family {
	case familyIPv4:
		return ip[:4]
	case familyIPv6:
		return ip
	}
	return nil
}

func appendEndpointKey(dst, key []byte) []byte {
	ip := byFamily(key[:16], key[16])
	if ip == nil {
		return append(dst, "nil"...)
	}
	return appendAddress(dst, ip, uint16(key[17]))
}

func (f format) appendEndpoint(dst, v []byte) []byte {
	if u32(v[8:])&ofHost != 0 {
		return append(dst, "(localhost)"...)
	}
	dst = padded(dst, "id=", uint64(u16(v[6:])), 5)
	if f.release >= 14 {
		dst = padded(dst, " sec_id=", uint64(u32(v[32:])), 5)
	}
	dst = upper(append(dst, " flags=0x"...), uint64(u32(v[8:])), 4)
	dst = padded(dst, " ifindex=", uint64(u32(v)), 3)
	dst = appendMAC(append(dst, " mac="...), v[16:22])
	dst = appendMAC(append(dst, " nodemac="...), v[24:30])
	if f.release >= 17 {
		dst = padded(dst, " parent_ifindex=", uint64(u32(v[36:])), 3)
	}
	return dst
}

// padded appends a name and a number that is filled up with blanks.
func padded(dst []byte, name string, n uint64, width int) []byte {
	dst = append(dst, name...)
	end := len(dst) + width
	dst = word(dst, "", n)
	for len(dst) < end {
		dst = append(dst, ' ')
	}
	return dst
}

// upper appends so many digits at least, in upper case.
func upper(dst []byte, n uint64, digits int) []byte {
	for digits < 16 && n>>(4*digits) != 0 {
		digits++
	}
	for d := digits - 1; d >= 0; d-- {
		dst = append(dst, "0123456789ABCDEF"[n>>(4*d)&15])
	}
	return dst
}

func appendMAC(dst, mac []byte) []byte {
	for i, b := range mac {
		if i > 0 {
			dst = append(dst, ':')
		}
		dst = upper(dst, uint64(b), 2)
	}
	return dst
}

func appendIPCacheKey(dst, key []byte) []byte {
	ip := byFamily(key[8:24], key[7])
	bits := u32(key)
	if ip == nil || bits < 32 {
		return append(dst, "<unknown>"...)
	}
	dst = word(append(appendIP(dst, ip), '/'), "", uint64(bits-32))
	// Of both fields that can hold the cluster one is nothing.
	if cluster := uint64(u16(key[4:])); cluster != 0 {
		return word(dst, "@", cluster)
	}
	if key[6] != 0 {
		dst = word(dst, "@", uint64(key[6]))
	}
	return dst
}

func (f format) appendIPCache(dst []byte, l layout, v []byte) []byte {
	node, rest, flags := v[4:8], v[8:], ipcacheFlags(v[l.value-1])
	if l.v6 {
		rest = v[20:]
		if v[23]&4 != 0 {
			node = v[4:20]
		}
	}
	identity, key := uint64(u32(v)), uint64(rest[2])
	if f.release < 12 {
		dst = append(word(word(dst, "", identity), " ", key), ' ')
		return appendIP(dst, node)
	}
	dst = word(word(dst, "identity=", identity), " encryptkey=", key)
	dst = appendIP(append(dst, " tunnelendpoint="...), node)
	switch {
	case f.release >= 17:
		dst = append(append(dst, " flags="...), flags...)
	case f.release == 16:
		dst = append(append(dst, ", flags="...), flags...)
	case f.release == 13:
		dst = word(dst, " nodeid=", uint64(u16(rest)))
	}
	return dst
}

func ipcacheFlags(b byte) string {
	s := ""
	for i, name := range []string{"skiptunnel", "hastunnel", "ipv6tunnel", "remotecluster"} {
		if b&(1<<i) == 0 {
			continue
		}
		if s != "" {
			s += ","
		}
		s += name
	}
	if s == "" {
		return "<none>"
	}
	return s
}
