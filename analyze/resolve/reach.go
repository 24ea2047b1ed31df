package resolve

import (
	"net/netip"
	"sort"

	"whichbackend/analyze/record"
)

// sighting is a translation entry with how it lies towards the connection.
type sighting struct {
	t     record.Translation
	place *place
	order int // where on the way its place lies, from the client
	weak  bool
}

// Orders of places on the way of a packet.
const (
	ownPlace = iota
	holderPlace
	carrierPlace
	hostPlace
	routerPlace
	farPlace
	endPlace
	otherPlace
)

// reachable finds the entries for a tuple in the tables that its packets pass,
// in the order of the way; logs of proxies apart.
func (r *resolver) reachable(c *conn, cur record.Tuple, at *place) (table, logs []sighting, err error) {
	c.arrivals = nil
	list, err := r.from(cur.Source)
	if err != nil {
		return nil, nil, err
	}
	for _, t := range list {
		if t.Protocol != c.protocol || t.Before.Destination != cur.Destination && !(t.Via == record.ViaZtunnelLog && !t.Before.Destination.IsValid() && !t.Ingress) {
			continue
		}
		p := r.placeOf[t.Section]
		if !r.current[t.Section] || p == nil && !ofZtunnel(t) {
			continue
		}
		order, weak, ok := ownPlace, false, false
		if ofZtunnel(t) {
			ok = sameHost(hostOf(p), c.host) && r.ofService(t, cur.Destination)
		} else {
			order, weak, ok = r.order(c, cur, at, p)
		}
		if !ok {
			continue
		}
		s := sighting{t, p, order, weak}
		switch t.Via {
		case record.ViaAccessLog, record.ViaZtunnel, record.ViaZtunnelLog:
			if !t.Ingress {
				logs = append(logs, s)
			} else if t.Via == record.ViaAccessLog && (order == endPlace || order == ownPlace || order == holderPlace) {
				c.arrivals = append(c.arrivals, s)
			}
		default:
			table = append(table, s)
		}
		r.use(t.Pos)
	}
	table = r.lastEvents(table)
	less := func(list []sighting) func(i, j int) bool {
		return func(i, j int) bool {
			if list[i].order != list[j].order {
				return list[i].order < list[j].order
			}
			return r.less(list[i].t.Pos, list[j].t.Pos)
		}
	}
	sort.SliceStable(table, less(table))
	sort.SliceStable(logs, less(logs))
	return table, logs, nil
}

// lastEvents keeps, of a history of events, what it says last of each entry.
func (r *resolver) lastEvents(table []sighting) []sighting {
	type key struct {
		place  *place
		before record.Tuple
	}
	last := map[key]int{}
	var out []sighting
	for _, s := range table {
		k := key{s.place, s.t.Before}
		i, ok := last[k]
		switch {
		case s.t.Via != record.ViaEvent:
			out = append(out, s)
		case !ok:
			last[k] = len(out)
			out = append(out, s)
		case r.less(out[i].t.Pos, s.t.Pos):
			out[i] = s
		}
	}
	return out
}

// order tells where on the way of the packet a place lies. An entry in a place
// that the packet does not pass is another connection of the same addresses.
func (r *resolver) order(c *conn, cur record.Tuple, at, p *place) (order int, weak, ok bool) {
	dst := cur.Destination.Addr()
	holds := p.addrs[dst] && !dst.IsLoopback()
	switch {
	case at != nil && p == at:
		return ownPlace, false, true
	case dst.IsLoopback():
		return 0, false, at == nil && sameHost(p.host, c.host)
	case c.passes(p.host) && p.kind == record.ScopeNetns:
		if holds {
			return holderPlace, false, true
		}
		return carrierPlace, false, true
	case c.host == "" && holds && !p.workload():
		return holderPlace, false, true
	case c.passes(p.host) && p.kind == record.ScopeHost:
		return hostPlace, false, true
	case p.host != c.nearHost() && r.heldOn(dst, c.nearHost()):
		return 0, false, false // the other host has the address too, for another connection
	case holds && p.workload():
		return endPlace, false, true
	case holds:
		return farPlace, false, true
	case p.workload() && (c.place == nil && p.addrs[cur.Source.Addr()] && sameHost(p.host, c.host)):
		return ownPlace, false, true
	case p.workload():
		return 0, false, false
	}
	if p.kind == record.ScopeHost && c.place != nil && c.place.kind == record.ScopeHost && p.routes(cur.Source.Addr()) && !r.hasTables(c.host) {
		return routerPlace, false, true
	}
	// The tables of the host on which the destination lives see it arrive.
	for _, o := range r.owners[dst] {
		if o.host == p.host && p.host != "" {
			return farPlace, false, true
		}
	}
	for _, q := range r.holders(dst, "") {
		if q.host == p.host && p.host != "" {
			return farPlace, false, true
		}
	}
	// Nobody holds the address any more: the one host that routes to its network
	// saw the connection arrive there.
	if r.unheld(dst) && r.soleRouter(dst) == p {
		return otherPlace, true, true
	}
	// Another host, and nothing ties it to the connection. Where the client's
	// own host recorded its tables, theirs is the word.
	if r.hasTables(c.host) || len(r.owners[dst]) > 0 || len(r.holders(dst, "")) > 0 {
		return 0, false, false
	}
	return otherPlace, true, true
}

// soleRouter is the one host whose own network an address lies in, nil when
// there is none or more than one.
func (r *resolver) soleRouter(a netip.Addr) *place {
	if p, ok := r.routers[a]; ok {
		return p
	}
	var found []*place
	for _, p := range r.places {
		if p.kind == record.ScopeHost && p.routes(a) {
			found = append(found, p)
		}
	}
	r.routers[a] = nil
	if len(found) == 1 {
		r.routers[a] = found[0]
	}
	return r.routers[a]
}

// behind tells whether a table of another place than the one that rewrote the
// connection lies behind it. That may be the host of the client itself, to which
// it came back.
func (s sighting) behind() bool {
	return s.order == farPlace || s.order == endPlace || s.order == hostPlace || s.order == ownPlace && s.place.kind == record.ScopeHost
}

// nearHost is the host that last rewrote the connection, or the client's.
func (c *conn) nearHost() string {
	if n := len(c.steps); n > 0 {
		return hostOf(c.steps[n-1].place)
	}
	return c.host
}

// heldOn tells whether an address is in use on a host, so that what is sent to
// it from there does not leave the host.
func (r *resolver) heldOn(a netip.Addr, host string) bool {
	for _, p := range r.holders(a, "") {
		if p.host != "" && p.host == host {
			return true
		}
	}
	return false
}

// passes tells whether the connection is known to pass a host: the client's
// own, and those whose tables rewrote it.
func (c *conn) passes(host string) bool {
	if sameHost(host, c.host) {
		return true
	}
	for _, s := range c.steps {
		if s.place != nil && s.place.host == host {
			return true
		}
	}
	return false
}

// hasTables tells whether a connection table of a host was recorded.
func (r *resolver) hasTables(host string) bool {
	for _, p := range r.places {
		if p.host == host && !p.workload() && (p.formats["conntrack"] || p.formats["ipvs"] || p.formats["cilium-ct"]) {
			return true
		}
	}
	return false
}
