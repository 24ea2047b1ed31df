package resolve

import (
	"net/netip"

	"whichbackend/analyze/record"
)

// partyFor names the backend of a direct connection.
func (r *resolver) partyFor(c *conn) Party {
	return r.partyAtEnd(c, c.service, c.place)
}

// partyAtEnd names the end of a path, as seen from a place: by the namespace of
// its own socket, or by the host whose table saw it arrive, where one did. The
// same addresses may be in use on other hosts.
func (r *resolver) partyAtEnd(c *conn, dst netip.AddrPort, from *place) Party {
	if len(c.servers) > 0 && c.servers[0].Local == dst {
		return r.partyIn(dst, r.placeOf[c.servers[0].Section])
	}
	for _, s := range c.through {
		if s.place == from || !s.behind() || s.place.host == "" || len(r.holders(dst.Addr(), s.place.host)) == 0 {
			continue
		}
		if p := r.party(dst, s.place.host); p.Name != "" && p.Host == s.place.host {
			return p
		}
	}
	p := r.partyAt(dst, from)
	if p.Host != "" && p.Host != hostOf(from) && r.doubled(c.final.Source.Addr()) {
		return Party{Address: p.Address}
	}
	return p
}

// doubled tells whether an address is in use on several hosts. Where a
// connection with such a source goes to another host, it is not known in which
// of the networks that lies.
func (w *world) doubled(a netip.Addr) bool {
	first := ""
	for _, p := range w.holders(a, "") {
		switch {
		case p.host == "" || p.host == first:
		case first == "":
			first = p.host
		default:
			return true
		}
	}
	return false
}

// partyAt names an address as seen from a place: a loopback address is the
// place's own.
func (r *resolver) partyAt(a netip.AddrPort, p *place) Party {
	if a.Addr().IsLoopback() {
		return r.partyIn(a, p)
	}
	return r.party(a, hostOf(p))
}

// unserved is the namespace that holds the end of a UDP path, when its recorded
// sockets have none that takes what is sent there: tables keep entries, and
// renew them with each datagram, also when nobody answers any more.
func (r *resolver) unserved(c *conn) *place {
	if c.protocol != record.UDP || len(c.servers) > 0 {
		return nil
	}
	list := r.holders(c.final.Destination.Addr(), hostOf(c.place))
	if len(list) == 0 {
		list = r.holders(c.final.Destination.Addr(), "")
	}
	if len(list) != 1 || list[0].listens(record.UDP, c.final.Destination) {
		return nil
	}
	for _, format := range []string{"netstat", "ss", "proc-net-tcp"} {
		if list[0].formats[format] {
			return list[0]
		}
	}
	return nil
}
