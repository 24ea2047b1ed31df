package decode

import (
	"net/netip"
	"strconv"
)

// Netip is the address for net/netip; v6 tells which of the two a is.
func (a Addr) Netip(v6 bool) netip.Addr {
	if v6 {
		return netip.AddrFrom16(a)
	}
	return netip.AddrFrom4([4]byte(a[:4]))
}

// kinds are the words for the kinds of wrapping.
var kinds = [...]string{
	VLAN: "vlan", MPLS: "mpls", PPPoE: "pppoe", IPIP: "ipip",
	GRE: "gre", ERSPAN: "erspan", VXLAN: "vxlan", Geneve: "geneve",
}

// String is the word for a kind: "vxlan".
func (k Kind) String() string {
	if int(k) < len(kinds) {
		return kinds[k]
	}
	return ""
}

// String tells the wrapping: "vlan 12", "vxlan 1 from 192.168.0.1 to
// 192.168.0.2", "gre from 192.168.0.1 to 192.168.0.2".
func (l Layer) String() string {
	return string(l.Append(nil))
}

// Append appends what String tells.
func (l Layer) Append(b []byte) []byte {
	b = append(b, l.Kind.String()...)
	if l.Kind != IPIP && (l.Kind != GRE || l.ID != 0) {
		b = append(b, ' ')
		b = strconv.AppendUint(b, uint64(l.ID), 10)
	}
	switch l.Kind {
	case VLAN, MPLS, PPPoE:
		return b
	}
	b = append(b, " from "...)
	b = l.Source.Netip(l.V6).AppendTo(b)
	b = append(b, " to "...)
	return l.Destination.Netip(l.V6).AppendTo(b)
}
