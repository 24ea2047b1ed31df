package resolve

import (
	"net/netip"
	"strings"

	"whichbackend/analyze/record"
)

// ofZtunnel tells what a ztunnel says of the pods of its node. Its addresses
// are the pods' own, so that it does not matter where it was recorded.
func ofZtunnel(t record.Translation) bool {
	return t.Via == record.ViaZtunnel || t.Via == record.ViaZtunnelLog
}

// ofService tells whether a row that does not name the address that was
// dialled may be of a connection to it: the service that it names is the one
// behind the address.
func (r *resolver) ofService(t record.Translation, dst netip.AddrPort) bool {
	if t.Before.Destination.IsValid() || t.After.Destination == dst {
		return true
	}
	party, ok := r.serviceParty(dst, t.Protocol, vantage{})
	if !ok || party.Name == "" || t.Cluster == "" {
		return false
	}
	return strings.HasPrefix(t.Cluster, party.Name+"."+party.Namespace+".")
}

// dialledBy is the address that the client of a row dialled, where the row
// names only the service: its one address that leads to where the row does.
// Else the address that served.
func (r *resolver) dialledBy(t record.Translation) netip.AddrPort {
	found := map[netip.AddrPort]bool{}
	for _, s := range r.services {
		if s.Source == record.FromEnvoyListener || s.Name == "" || !s.Address.IsValid() || s.Address.Addr().IsUnspecified() || s.Address.Port() == 0 ||
			!strings.HasPrefix(t.Cluster, s.Name+"."+s.Namespace+".") {
			continue
		}
		for _, x := range r.choose(s.Address, t.Protocol, vantage{}, 0).list {
			if x.address == t.After.Destination {
				found[s.Address] = true
			}
		}
	}
	for a := range found {
		if len(found) == 1 {
			return a
		}
	}
	return t.After.Destination
}

// endOfTunnel completes a row that names the next proxy only: where that lies
// beside one of the service's endpoints, the endpoint is where it leads.
func (r *resolver) endOfTunnel(c *conn, cur record.Tuple, t record.Translation) record.Translation {
	if !ofZtunnel(t) || t.After.Destination.IsValid() || !t.Tunnel.IsValid() {
		return t
	}
	found := map[netip.AddrPort]bool{}
	for _, x := range r.choose(cur.Destination, c.protocol, vantage{}, 0).list {
		if x.address.Addr() == t.Tunnel.Addr() {
			found[x.address] = true
		}
	}
	for a := range found {
		if len(found) == 1 {
			t.After.Destination = a
		}
	}
	return t
}

// ownLeg finds the proxy's own connection where its table names only where it
// leads: the one that it holds there.
func (r *resolver) ownLeg(c *conn, cur record.Tuple, l legs, s *step) {
	if s.after.Source.IsValid() || s.after.Destination != cur.Destination || s.via != record.ViaZtunnel {
		return
	}
	var own []upstream
	for _, u := range l.ups {
		if u.remote == cur.Destination {
			own = append(own, u)
		}
	}
	if len(own) != 1 || len(l.downs) > 1 {
		return
	}
	s.after.Source, s.socket = own[0].local, own[0].pos()
	c.deduced, c.note = true, "ztunnel passes it through, and has one connection of its own to the address"
	r.legs[socketKey{c.place, c.protocol, own[0].local, own[0].remote}] = true
}

// sent tells whether the client's side of what a ztunnel beside the backend
// shows is known: a connection of the same pod that leads there. Which one
// does not matter, a tunnel carries many.
func (r *resolver) sent(list []*conn, t record.Translation) bool {
	for _, c := range list {
		if c.client.Addr() != t.Before.Source.Addr() {
			continue
		}
		for _, s := range c.steps {
			if s.after.Destination == t.After.Destination && len(s.ts) > 0 && ofZtunnel(s.ts[0]) {
				return true
			}
		}
	}
	return false
}

// throughTunnel answers for what only the ztunnel beside the backend shows.
func (r *resolver) throughTunnel(t record.Translation) *conn {
	p := r.placeOf[t.Section]
	c := &conn{protocol: t.Protocol, client: t.Before.Source, service: t.Before.Destination, verdict: Observed}
	c.final = t.After
	c.choices.mech = "istio"
	c.steps = append(c.steps, step{mechanism: "istio", via: t.Via, place: p, before: t.Before, after: t.After, ts: []record.Translation{t}})
	c.backends = []Backend{{Party: r.party(c.service, "")}}
	c.reason = "the ztunnel beside the backend names it; the client's port is the tunnel's, and what the client dialled is not known"
	c.gaps = append(c.gaps, Gap{Missing: "the connections of the ztunnel on the client's node", Effect: "the client's own port and the address that it dialled stay unknown", Command: "istioctl ztunnel-config connections --raw"})
	return c
}
