package resolve

import (
	"net/netip"

	"whichbackend/analyze/record"
)

// inboundPort tells whether the proxy in a place takes connections to its
// workload at a port.
func (r *resolver) inboundPort(p *place, port uint16) bool {
	if port == 15006 || port == 4143 {
		return true
	}
	for _, s := range r.services {
		if s.place == p && p != nil && s.Type == "capture-inbound" && s.TargetPort == port && port != 0 {
			return true
		}
	}
	return false
}

// fromProxy tells an address that sidecars connect from to their workload.
func fromProxy(a netip.Addr) bool {
	return a == netip.AddrFrom4([4]byte{127, 0, 0, 6}) || a == netip.AddrFrom16([16]byte{15: 6})
}

// acceptedBeside makes a step of the proxy's own socket where no table shows
// that it took the connection.
func (r *resolver) acceptedBeside(c *conn, cur record.Tuple) (step, bool) {
	if len(c.steps) > 0 || c.place == nil || !c.place.workload() || len(c.sockets) == 0 || ofProxy(c) {
		return step{}, false
	}
	for _, k := range r.inPlace(c.place) {
		if k.Protocol != c.protocol || k.Remote != cur.Source || !k.Local.Addr().IsLoopback() || !r.proxyPort(c.place, k.Local.Port()) {
			continue
		}
		s := step{mechanism: r.captureMechanism(c.place), via: viaAccepted, place: c.place, before: cur, state: k.State, socket: k.Pos}
		s.after = record.Tuple{Source: cur.Source, Destination: k.Local}
		if len(r.dialledFrom(c.place, cur.Source)) > 1 {
			// Its redirection kept the port of one of them, and no table tells
			// of which.
			s.after.Source, s.socket = netip.AddrPort{}, record.Pos{}
		}
		return s, true
	}
	return step{}, false
}

// noteLegs notes the connections of proxies that are part of a path, so that
// they do not stand as connections of their own.
func (r *resolver) noteLegs(c *conn) {
	if c.captured > 0 {
		s := c.steps[c.captured-1]
		r.useSocket(s.place, c.protocol, s.after.Destination, s.after.Source)
	}
	for i := range c.steps {
		s := c.steps[i]
		if s.via == record.ViaAccessLog {
			if k, ok := r.acceptedAs(s.place, s.before.Destination, s.before.Source); ok {
				r.useSocket(s.place, c.protocol, k.Local, k.Remote)
				c.steps[i].socket = k.Pos
			}
		}
		if s.place == nil || s.via != viaUpstream && s.via != record.ViaAccessLog {
			continue
		}
		for _, t := range append([]record.Translation{{After: s.after}}, s.ts...) {
			if s.via == viaUpstream {
				t.After = s.after
			}
			if t.After.Source.IsValid() && t.After.Destination.IsValid() {
				r.legs[socketKey{s.place, c.protocol, t.After.Source, t.After.Destination}] = true
			}
		}
	}
	if c.arrived > 0 {
		r.inbound[c.steps[c.arrived-1].place] = true
	}
	for _, k := range c.servers {
		if p := r.placeOf[k.Section]; r.inboundPort(p, k.Local.Port()) {
			r.inbound[p] = true
		}
	}
}

// withoutLegs leaves out the connections that proxies made for others.
func (r *resolver) withoutLegs(list []*conn) []*conn {
	var out []*conn
	for _, c := range list {
		if c.place != nil && len(c.sockets) > 0 && r.borrowed(c.place, c.client.Addr()) && c.place.addrs[c.service.Addr()] {
			continue // a transparent proxy's, to its own workload
		}
		if r.legs[socketKey{c.place, c.protocol, c.client, c.service}] || fromProxy(c.client.Addr()) && r.inbound[c.place] {
			continue
		}
		out = append(out, c)
	}
	return out
}

// arrive makes a step of the log of the proxy beside the backend, where its
// table does not show that it took the connection.
func (r *resolver) arrive(c *conn, cur record.Tuple) {
	if c.arrived > 0 || len(c.arrivals) == 0 {
		return
	}
	var rows []record.Translation
	for _, a := range c.arrivals {
		if a.place == c.arrivals[0].place && !unserved(a.t) {
			rows = append(rows, a.t)
		}
	}
	s := step{via: record.ViaAccessLog, place: c.arrivals[0].place, before: cur, after: cur, ts: rows}
	if len(rows) == 0 {
		t := c.arrivals[0].t
		s.ts = []record.Translation{t}
		c.verdict, c.reason = None, "the proxy beside the backend took it and could not connect to its workload, response flags "+t.Flags
	}
	s.ts = s.ts[:1]
	s.mechanism = r.meshName(s.ts[0].Cluster)
	c.steps = append(c.steps, s)
	c.arrived = len(c.steps)
}

// arrivedOnly answers for a connection that nothing rewrote before the proxy
// beside the backend took it.
func (r *resolver) arrivedOnly(c *conn) {
	c.verdict, c.reason = Observed, "the "+viaWord(c.steps[0].via)+" of "+nameOf(c.steps[0].place)+" shows it arrive at the proxy beside the backend"
	if len(c.sockets) > 0 || len(c.through) > 0 {
		c.reason = "the client dialled the backend itself: " + c.reason
	}
	switch {
	case len(c.servers) > 0:
		c.verdict, c.reason = Proven, c.reason+"; that proxy's socket agrees"
	case len(c.sockets) > 0:
		c.verdict, c.reason = Proven, c.reason+"; the client's own socket agrees"
	}
}

// inboundOnly answers for the accepted socket of a sidecar whose client's side
// nothing shows: the port that was dialled is the sidecar's own connections'
// to its workload, where all lead to one.
func (r *resolver) inboundOnly(c *conn, g group) {
	p := g.key.place
	r.inbound[p] = true
	ports := map[netip.AddrPort]record.Pos{}
	for _, k := range r.inPlace(p) {
		if k.Protocol == c.protocol && fromProxy(k.Local.Addr()) {
			if _, ok := ports[k.Remote]; !ok {
				ports[k.Remote] = k.Pos
			}
		}
	}
	mechanism := r.captureMechanism(p)
	c.choices.mech, c.direct = mechanism, false
	c.reason = "the proxy beside the backend accepted it; nothing in the bundle shows the client's side, so what the client dialled is not known"
	if len(ports) != 1 {
		return
	}
	for a, pos := range ports {
		c.service, c.final.Destination = a, a
		c.verdict = Deduced
		c.reason = "the proxy beside the backend accepted it, and all its connections to the workload lead to one port; nothing in the bundle shows the client's side"
		c.backends = []Backend{{Party: r.partyIn(a, p), Evidence: r.evidence(pos)}}
	}
}
