package kernel

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// encap appends the header that a route puts around its packets. Of the kinds
// that no overlay of containers uses it has the name alone.
func (p *routePrinter) encap(out []byte, a *rtAttrs) []byte {
	nested := a[unix.RTA_ENCAP]
	kind, ok := a.u16(unix.RTA_ENCAP_TYPE)
	if nested == nil || !ok {
		return out
	}
	names := [...]string{"unknown", "mpls", "ip", "ila", "ip6", "seg6", "bpf", "seg6local", "rpl", "ioam6", "xfrm"}
	if int(kind) >= len(names) {
		kind = 0
	}
	out = append(append(append(out, " encap "...), names[kind]...), ' ')
	var in rtAttrs
	in.read(nested)
	switch kind {
	case unix.LWTUNNEL_ENCAP_MPLS:
		out = encapMPLS(out, &in)
	case unix.LWTUNNEL_ENCAP_IP:
		out = encapIP(out, &in, "ttl ", "tos ")
	case unix.LWTUNNEL_ENCAP_IP6:
		out = encapIP(out, &in, "hoplimit ", "tc ")
	case unix.LWTUNNEL_ENCAP_SEG6:
		out = encapSegments(out, in[1])
	}
	return out
}

func encapMPLS(out []byte, in *rtAttrs) []byte {
	const destination, ttl = 1, 2
	out = append(out, ' ')
	for b := in[destination]; len(b) >= 4; b = b[4:] {
		entry := binary.BigEndian.Uint32(b)
		out = rtNumber(out, "", entry>>12, "")
		if bottom := entry&0x100 != 0; bottom || len(b) < 8 {
			break
		}
		out = append(out, '/')
	}
	out = append(out, ' ')
	if n, ok := in.u8(ttl); ok {
		out = rtNumber(out, "ttl ", n, " ")
	}
	return out
}

// encapIP is for both families, which differ in two words.
func encapIP(out []byte, in *rtAttrs, hops, class string) []byte {
	const id, destination, source, hopsAttr, classAttr, flagsAttr = 1, 2, 3, 4, 5, 6 // LWTUNNEL_IP_...
	if len(in[id]) >= 8 {
		out = rtNumber(out, "id ", binary.BigEndian.Uint64(in[id]), " ")
	}
	if in[source] != nil {
		out = append(rtHost(append(out, "src "...), in[source]), ' ')
	}
	if in[destination] != nil {
		out = append(rtHost(append(out, "dst "...), in[destination]), ' ')
	}
	if n, ok := in.u8(hopsAttr); ok {
		out = rtNumber(out, hops, n, " ")
	}
	if n, ok := in.u8(classAttr); ok {
		out = rtNumber(out, class, n, " ")
	}
	var flags uint16
	if b := in[flagsAttr]; len(b) >= 2 {
		flags = binary.BigEndian.Uint16(b)
	}
	for _, f := range [...]struct {
		bit  uint16
		word string
	}{{4, "key "}, {1, "csum "}, {8, "seq "}} {
		if flags&f.bit != 0 {
			out = append(out, f.word...)
		}
	}
	return out
}

// encapSegments reads a struct seg6_iptunnel_encap: a mode and a routing header.
func encapSegments(out, b []byte) []byte {
	if len(b) < 12 {
		return out
	}
	modes := [...]string{"inline", "encap", "l2encap", "encap.red", "l2encap.red"}
	mode, last := binary.NativeEndian.Uint32(b), int(b[8])
	if int64(mode) < int64(len(modes)) {
		out = append(append(append(out, "mode "...), modes[mode]...), ' ')
	} else {
		out = append(out, "mode <unknown> "...)
	}
	out = rtNumber(out, "segs ", uint32(last)+1, " [ ")
	for i := last; i >= 0; i-- {
		if at := 12 + 16*i; at+16 <= len(b) {
			out = append(rtHost(out, b[at:at+16]), ' ')
		}
	}
	return append(out, "] "...)
}
