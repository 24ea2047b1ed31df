package check

import (
	"net/netip"
	"slices"
	"strings"

	"whichbackend/analyze/record"
)

// lacking are the backends that take new connections in one listing, and that
// another has in no state.
func lacking(in, from []record.Backend) []netip.AddrPort {
	var out []netip.AddrPort
	known := map[netip.AddrPort]bool{}
	for _, b := range from {
		known[b.Address] = true
	}
	for _, b := range in {
		if b.State == "" && !known[b.Address] {
			out = append(out, b.Address)
		}
	}
	return out
}

// addressed tells that a listing gives backends by their addresses.
func addressed(list []record.Backend) bool {
	return !slices.ContainsFunc(list, func(b record.Backend) bool { return !b.Address.IsValid() })
}

// addresses joins addresses for a title.
func addresses(list []netip.AddrPort) string {
	var names []string
	for _, a := range list {
		names = append(names, strings.TrimSuffix(a.String(), ":0"))
	}
	return listed(names)
}

// orTCP is the protocol of a listing that does not tell it: services are
// of TCP unless they say something else.
func orTCP(p record.Protocol) record.Protocol {
	if p == 0 {
		return record.TCP
	}
	return p
}
