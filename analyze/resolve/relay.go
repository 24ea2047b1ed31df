package resolve

import (
	"fmt"
	"net/netip"

	"whichbackend/analyze/record"
	"whichbackend/store"
)

// relayStep makes a step of what captures show of a proxy: the connection, or
// the connections, that it opened for this one. What the proxy is known to
// choose from bounds it.
func (r *resolver) relayStep(c *conn, cur record.Tuple, at *place) (step, bool, error) {
	if c.verdict != "" {
		return step{}, false, nil
	}
	group, err := r.views(c, cur, at)
	if err != nil {
		return step{}, false, err
	}
	_, relays, err := r.crossings(cur, group)
	if err != nil || len(relays) == 0 {
		return step{}, false, err
	}
	first := relays[0]
	s := step{via: record.ViaCapture, place: r.placeOf[first.Behind.Section], before: cur, state: first.State}
	s.mechanism = r.relayMechanism(s.place, cur)
	var kept []record.Translation
	hosts := map[netip.AddrPort]int{}
	requests := false
	for _, t := range relays {
		if !r.mayChoose(c, t.After.Destination) {
			continue
		}
		kept = append(kept, t)
		hosts[t.After.Destination] += max(t.Requests, 1)
		requests = requests || t.Request
		if f := r.flowHolding(t.Behind, t.After); f != nil {
			r.usedFlows[f.Conversation] = true
		}
	}
	if len(kept) == 0 {
		return step{}, false, nil
	}
	r.acceptedByRelay(cur, c.protocol, s.place)
	c.between, c.note = nil, ""
	if requests {
		c.requests = append(c.requests, kept...)
	}
	s.ts = kept
	why := "captures show what the proxy carried on: " + tierSays[weakest(kept)]
	announced := weakest(kept) == record.TierAnnounced
	more := ""
	if n := unseenRequests(group, kept); requests && n > 0 {
		more = fmt.Sprintf("; where %d more requests went is not known", n)
	}
	if len(hosts) > 1 {
		r.relayedApart(c, kept, hosts, why, more, announced)
		return s, true, nil
	}
	why += more
	s.after = kept[0].After
	if !r.oneUpstream(kept) {
		s.after.Source = netip.AddrPort{}
	}
	if announced {
		c.note = why
	} else {
		c.deduced, c.note = true, why
	}
	return s, true, nil
}

// acceptedByRelay notes that the socket with which a proxy accepted a connection
// is no connection of its own.
func (r *resolver) acceptedByRelay(cur record.Tuple, protocol record.Protocol, proxy *place) {
	for _, p := range r.holders(cur.Destination.Addr(), hostOf(proxy)) {
		if k, ok := r.acceptedAs(p, cur.Destination, cur.Source); ok && k.Protocol == protocol {
			r.useSocket(p, k.Protocol, k.Local, k.Remote)
		}
	}
}

// mayChoose tells whether a proxy may lead a connection to a host: any, where
// the bundle does not tell all that it chooses from.
func (r *resolver) mayChoose(c *conn, host netip.AddrPort) bool {
	if !c.choices.complete || len(c.choices.list) == 0 {
		return true
	}
	for _, ch := range c.choices.list {
		if ch.address == host {
			return true
		}
	}
	return false
}

// relayMechanism tells whose proxy carried a connection on, "" when nothing
// tells.
func (r *resolver) relayMechanism(p *place, cur record.Tuple) string {
	for _, s := range r.services {
		if s.place == p && p != nil && (s.Source == record.FromEnvoyListener || s.Source == record.FromEnvoyCluster) {
			return r.captureMechanism(p)
		}
	}
	for _, q := range r.holders(cur.Destination.Addr(), hostOf(p)) {
		for _, l := range q.listeners[listenKey{record.TCP, cur.Destination.Port()}] {
			switch {
			case l.program == "docker-proxy":
				return "docker"
			case l.program == "envoy":
				return r.captureMechanism(q)
			}
		}
	}
	return "" // the number of a port alone makes nobody a mesh
}

// weakest is the least sure way in which several translations were recognised.
func weakest(list []record.Translation) record.Tier {
	order := map[record.Tier]int{record.TierAnnounced: 1, record.TierPayload: 2, record.TierSizes: 3, record.TierTiming: 4}
	if len(list) == 0 {
		return ""
	}
	out := list[0].Tier
	for _, t := range list {
		if order[t.Tier] > order[out] {
			out = t.Tier
		}
	}
	return out
}

// relayedApart answers for a connection whose requests a proxy sent to several
// hosts.
func (r *resolver) relayedApart(c *conn, list []record.Translation, hosts map[netip.AddrPort]int, why, more string, announced bool) {
	total := 0
	for _, n := range hosts {
		total += n
	}
	for _, a := range sortedEndpoints(hosts) {
		var ts []record.Translation
		for _, t := range list {
			if t.After.Destination == a {
				ts = append(ts, t)
			}
		}
		c.backends = append(c.backends, Backend{Party: r.party(a, ""), Reason: fmt.Sprintf("%d of %d requests", hosts[a], total), Evidence: r.evidenceOf(ts)})
	}
	c.verdict = Deduced
	if announced {
		c.verdict = Observed
	}
	c.reason = fmt.Sprintf("%s: %d requests over %d backends%s", why, total, len(hosts), more)
}

// unseenRequests is how many requests of a connection the proxy was not seen to
// carry on. A translation that counts none speaks for the whole connection.
func unseenRequests(group []view, list []record.Translation) int {
	sent, told := 0, 0
	for i := range group {
		sent = max(sent, group[i].Exchanged)
	}
	for _, t := range list {
		if t.Requests == 0 {
			return 0
		}
		told += t.Requests
	}
	return max(sent-told, 0)
}

// flowHolding is the flow of a tuple that holds a packet.
func (r *resolver) flowHolding(pos record.Pos, tuple record.Tuple) *store.Flow {
	list, err := r.viewsOf(tuple)
	r.keep(err)
	var found *store.Flow
	for i := range list {
		f := &list[i].Flow
		if f.Section == pos.Section && f.Packet <= pos.Packet && (found == nil || f.Packet > found.Packet) {
			found = f
		}
	}
	return found
}
