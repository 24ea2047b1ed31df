package resolve

import (
	"net/netip"

	"whichbackend/analyze/record"
)

// chooseOrGuess lists the backends of a service, or, where none were recorded,
// the pods that are named after it.
func (r *resolver) chooseOrGuess(dst netip.AddrPort, p record.Protocol, from vantage) choices {
	set := r.choose(dst, p, from, 0)
	if len(set.list) == 0 && !set.empty {
		return r.byPodName(dst, p, false)
	}
	return set
}

// chooseAny lists what may stand behind an intermediate address.
func (r *resolver) chooseAny(dst netip.AddrPort, p record.Protocol, host string) choices {
	for _, q := range r.holders(dst.Addr(), host) {
		if q.kind == record.ScopeNetns {
			set := r.chooseIn(q, dst, p, 0)
			set.tidy()
			return set
		}
	}
	return r.choose(dst, p, vantage{}, 0)
}

// serviceUntranslated answers for a service address that no table rewrites for
// this connection: elimination may leave one backend.
func (r *resolver) serviceUntranslated(c *conn, from vantage) error {
	for _, s := range c.through {
		if s.order == hostPlace && s.t.Unreplied && s.t.Via == record.ViaConntrack {
			c.witnesses = []sighting{s}
			c.verdict, c.reason = None, "the table of "+nameOf(s.place)+" holds it untranslated and unanswered: it was sent to the service address itself"
			return nil
		}
	}
	if r.mayBeTaken(c) {
		set := r.proxyChoices(c.place, c.service, c)
		set.mech = r.captureMechanism(c.place)
		c.choices = set
		if set.http {
			c.requests = append(c.requests, record.Translation{})
		}
		r.setCandidates(c, set.list, "the client's pod has a sidecar proxy, and no log or table names where it went on")
		return nil
	}
	set := r.chooseOrGuess(c.service, c.protocol, from)
	c.choices = set
	if b, ev, ok := r.soleServer(c, set); ok {
		c.verdict = Deduced
		c.reason = "no table names this connection, but only one server socket has this client address and port as its peer, and it is a backend of the service"
		c.backends = []Backend{{Party: b, Evidence: ev}}
		c.deduced = true
		return nil
	}
	if v := r.soleFlow(c, set); v != nil {
		c.verdict = Deduced
		c.reason = "no table names this connection, but captures show one connection only from this client address and port, and it leads to a backend of the service"
		c.backends = []Backend{{Party: r.party(v.Tuple.Destination, ""), Evidence: r.packets(&v.Flow)}}
		c.deduced = true
		return nil
	}
	if len(set.live()) == 0 && set.empty && c.state != "ESTABLISHED" {
		c.verdict, c.reason = None, "the service has no backends"
		c.refused = r.saysEmpty(c, from)
		return nil
	}
	if len(set.list) == 1 && len(set.live()) == 1 && set.complete && !r.rivals(c, set, from) {
		c.verdict, c.reason = Deduced, "no table names this connection, but the service has one backend only"
		c.backends = []Backend{r.choiceBackend(set.list[0])}
		c.deduced = true
		return r.sees(c, set.list[0].address)
	}
	r.setCandidates(c, set.list, "no table in the bundle names this connection")
	return nil
}

// saysEmpty finds the listing that says that a service has no backends.
func (r *resolver) saysEmpty(c *conn, from vantage) service {
	for _, s := range r.servicesAt(c.service, c.protocol, from) {
		for _, half := range r.halves(s, c.service) {
			if half.Complete && len(half.Backends) == 0 {
				return half
			}
		}
	}
	return service{}
}

// sees adds the socket of the one backend that is left, where it has the
// client itself as its peer.
func (r *resolver) sees(c *conn, backend netip.AddrPort) error {
	c.final = record.Tuple{Source: c.client, Destination: backend}
	err := r.confirm(c)
	if len(c.servers) > 0 {
		c.reason += "; a socket of that backend has the client as its peer"
	}
	return err
}

// rivals tells whether any other listing names further backends of the service.
func (r *resolver) rivals(c *conn, set choices, from vantage) bool {
	for _, s := range r.servicesAt(c.service, c.protocol, vantage{outside: from.outside}) {
		if s.Local && (s.Source == record.FromKubernetes || s.place != nil && !from.sees(s.place.host)) {
			continue // each node has its own backends, and the API lists those of all
		}
		for _, half := range r.halves(s, c.service) {
			for _, b := range half.Backends {
				if b.Address.IsValid() && b.Address.Addr() != set.list[0].address.Addr() {
					return true
				}
			}
		}
	}
	return false
}

// soleServer finds the one backend whose own sockets name this client address
// and port as the peer. A client whose source may be rewritten on the way (a
// host, a balancer) or that uses the port twice cannot be told that way.
func (r *resolver) soleServer(c *conn, set choices) (Party, []Evidence, bool) {
	if c.place == nil || !c.place.workload() || len(set.list) == 0 {
		return Party{}, nil, false
	}
	same := map[netip.AddrPort]bool{}
	for _, k := range r.inPlace(c.place) {
		if k.Local == c.client && k.Protocol == c.protocol {
			same[k.Remote] = true
		}
	}
	list, err := r.socketsRemote(c.client)
	r.keep(err)
	if len(same) != 1 {
		return Party{}, nil, false
	}
	found := map[socketKey]record.Socket{}
	for _, k := range list {
		p := r.placeOf[k.Section]
		if k.Protocol == c.protocol && p != nil && r.current[k.Section] && k.Local != c.service {
			if key := (socketKey{p, k.Protocol, k.Local, k.Remote}); found[key].Line == 0 && found[key].Pointer == "" {
				found[key] = k
			}
		}
	}
	if len(found) != 1 {
		return Party{}, nil, false
	}
	for key, k := range found {
		for _, ch := range set.list {
			if ch.address == key.local {
				r.useSocket(key.place, key.protocol, key.local, key.remote)
				c.servers = []record.Socket{k}
				return r.partyIn(key.local, key.place), r.evidence(k.Pos), true
			}
		}
	}
	return Party{}, nil, false
}

// soleFlow finds the one conversation in captures that has the client's own
// address and port and leads to a backend, as soleServer does among sockets.
func (r *resolver) soleFlow(c *conn, set choices) *view {
	if !r.captured || c.place == nil || !c.place.workload() || len(set.list) == 0 {
		return nil
	}
	for _, k := range r.inPlace(c.place) {
		if k.Local == c.client && k.Protocol == c.protocol && k.Remote != c.service {
			return nil
		}
	}
	list, err := r.viewsFrom(c.client)
	r.keep(err)
	var found *view
	for i := range list {
		v := &list[i]
		if v.Protocol != c.protocol || v.Tuple.Destination == c.service || !r.sameTime(c, list[i:i+1]) {
			continue
		}
		if found != nil && found.Conversation != v.Conversation {
			return nil
		}
		if found == nil || answered(v.Flow) && !answered(found.Flow) {
			found = v
		}
	}
	if found == nil || !answered(found.Flow) {
		return nil
	}
	for _, ch := range set.list {
		if ch.address == found.Tuple.Destination {
			r.usedFlows[found.Conversation] = true
			c.views = append(c.views, *found)
			return found
		}
	}
	return nil
}

// fromChoices answers with candidates where a table is there but does not lead
// to a backend.
func (r *resolver) fromChoices(c *conn, why string) {
	if len(c.choices.list) == 0 {
		c.choices = r.chooseOrGuess(c.service, c.protocol, r.seenBy(c, c.service))
	}
	r.setCandidates(c, r.numberedAs(c, c.choices.list), why)
}

// setCandidates lists several possible backends. Where fewer than two are
// known the answer is unknown: one alone in a list that may lack others proves
// nothing, and is only mentioned.
func (r *resolver) setCandidates(c *conn, list []choice, why string) {
	if len(list) == 1 {
		c.verdict = Unknown
		c.reason = why + "; the only backend known to be possible is " + list[0].address.String()
		return
	}
	for _, ch := range list {
		c.backends = append(c.backends, r.choiceBackend(ch))
	}
	c.verdict, c.reason = Candidates, why
	if len(list) == 0 {
		c.verdict = Unknown
		if c.choices.empty {
			c.reason += "; the service lists no backends"
		}
	}
}

func (r *resolver) choiceBackend(ch choice) Backend {
	p := r.party(ch.address, "")
	if p.Name == "" && ch.name.Name != "" {
		ch.name.Address = p.Address
		p = ch.name
	}
	return Backend{Party: p, Reason: ch.reason, Evidence: r.evidence(ch.pos)}
}

// seenBy is the vantage from which a connection meets a service: the tables of
// the host that holds the address dialled decide, else those of the client's.
func (r *resolver) seenBy(c *conn, dst netip.AddrPort) vantage {
	v := vantage{hosts: map[string]bool{}, outside: r.isOutside(c)}
	if !dst.Addr().IsLoopback() {
		for _, p := range r.holders(dst.Addr(), "") {
			if p.kind == record.ScopeHost && p.host != "" {
				v.hosts[p.host] = true
			}
		}
		if o := r.ownerAt(dst.Addr(), c.host); o != nil && o.kind == "node" && o.host != "" {
			v.hosts[o.host] = true
		}
	}
	if len(v.hosts) == 0 && c.host != "" {
		v.hosts[c.host] = true
	}
	return v
}

// isOutside tells a client that is known to be none of the cluster's: its
// host's own sockets, on a host that neither is a node nor balances services.
func (r *resolver) isOutside(c *conn) bool {
	if c.place == nil || c.place.kind != record.ScopeHost || c.host == "" {
		return false
	}
	for _, s := range r.services {
		if s.place != nil && s.place.host == c.host && (s.Mechanism == "kube-proxy" || s.Mechanism == "cilium") {
			return false
		}
	}
	for i := range r.records {
		if o := &r.records[i]; o.Kind == record.OwnerNode && o.Name == c.host {
			return false
		}
	}
	return true
}

// served is the address that serves behind the ingress network: a Swarm task is
// reached there on the published port, and its own namespace turns that into
// the target port. Where that namespace was not recorded, the service tells, or
// another task of it. ok is false when nothing does.
func (w *world) served(a netip.AddrPort, p record.Protocol) (served netip.AddrPort, ok bool) {
	targets := map[uint16]bool{}
	for _, s := range w.services {
		if s.TargetPort == 0 || s.Protocol != 0 && s.Protocol != p || s.Address.Port() != a.Port() {
			continue
		}
		switch {
		case s.Type == "redirect" && s.Address == a:
			return netip.AddrPortFrom(a.Addr(), s.TargetPort), true
		case s.Type == "ingress", s.Type == "redirect" && s.Mechanism == "docker-swarm":
			targets[s.TargetPort] = true
		}
	}
	for port := range targets {
		if len(targets) == 1 {
			return netip.AddrPortFrom(a.Addr(), port), true
		}
	}
	return a, false
}
