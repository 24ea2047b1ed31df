package resolve

import (
	"sort"

	"whichbackend/analyze/record"
	"whichbackend/store"
)

// lookIntoCaptures holds a path against what captures saw: they agree with its
// end, contradict it, or tell how the handshake went.
func (r *resolver) lookIntoCaptures(c *conn) error {
	if !r.captured {
		return nil
	}
	path := []record.Tuple{{Source: c.client, Destination: c.service}}
	for _, s := range c.steps {
		if s.after.Destination.IsValid() {
			path = append(path, s.after)
		}
	}
	for i, cur := range path {
		for j := range path {
			if i != j {
				r.mixed[record.Tuple{Source: cur.Source, Destination: path[j].Destination}] = true
			}
		}
		group, err := r.views(c, cur, c.place)
		if err != nil {
			return err
		}
		if len(group) == 0 {
			continue
		}
		sort.SliceStable(group, func(a, b int) bool { return nearness(&group[a]) < nearness(&group[b]) })
		c.views = append(c.views, group...)
		for _, v := range group {
			r.usedFlows[v.Conversation] = true
		}
		nat, _, err := r.crossings(cur, group)
		if err != nil {
			return err
		}
		if nat != nil && (i+1 < len(path) && c.steps[i].via != record.ViaCapture || i+1 == len(path) && c.lost != "") {
			if err := r.compare(c, i, path, nat); err != nil {
				return err
			}
		}
	}
	r.readOutcome(c)
	return nil
}

// nearness orders the views of one tuple: those in a namespace that holds one of
// its ends say more than those that only saw it pass, or were flooded with it.
func nearness(v *view) int {
	switch {
	case v.place.addrs[v.Tuple.Source.Addr()]:
		return 0
	case v.place.addrs[v.Tuple.Destination.Addr()]:
		return 1
	case v.place.workload():
		return 3
	}
	return 2
}

// compare holds one crossing of captures against the rest of a path: the
// captures may see the connection before or behind any of its rewritings. What
// they lead to beyond its end goes on from there, unless the end is one.
func (r *resolver) compare(c *conn, i int, path []record.Tuple, t *record.Translation) error {
	for range maxHops {
		for _, next := range path[i+1:] {
			if next.Destination != t.After.Destination {
				continue
			}
			if next.Source == t.After.Source || !next.Source.IsValid() {
				c.crossed = append(c.crossed, *t)
			}
			return nil // between two rewritings it may have another source
		}
		group, err := r.viewsAt(t.Behind)
		if err != nil {
			return err
		}
		for _, v := range group {
			r.usedFlows[v.Conversation] = true
		}
		last := t
		if t, _, err = r.crossings(t.After, group); err != nil {
			return err
		}
		if t == nil {
			return r.beyond(c, i, last, group)
		}
	}
	return nil
}

// beyond takes a path on to where captures saw the connection behind its end,
// or notes that they contradict it: where nothing says that the table leads to
// something that carries on.
func (r *resolver) beyond(c *conn, i int, t *record.Translation, behind []view) error {
	if c.lost == "" && r.notABackend(c, hostOf(c.steps[len(c.steps)-1].place)) == "" {
		r.contradictedByCapture(c, c.steps[i], t)
		return nil
	}
	if c.conflict != nil || c.verdict != "" || c.beyond {
		return nil
	}
	c.beyond, c.lost, c.gone, c.leaves = true, "", false, false
	c.number = backendKey{}
	s := step{via: record.ViaCapture, before: c.final, after: t.After, ts: []record.Translation{*t}, state: t.State}
	if n := len(c.steps); n > 0 && !c.steps[n-1].after.Destination.IsValid() {
		// The table's own step names no address: the captures complete it.
		s.mechanism, s.place, s.before = c.steps[n-1].mechanism, c.steps[n-1].place, c.steps[n-1].before
		s.ts = append(append([]record.Translation{}, c.steps[n-1].ts...), s.ts...)
		c.steps = c.steps[:n-1]
	} else {
		s.mechanism = r.mechanism(s, s.before)
	}
	if t.Tier == record.TierWeak {
		c.weak = tierSays[t.Tier]
	}
	c.steps = append(c.steps, s)
	c.final, c.sourceUnsure = t.After, false
	for _, v := range behind {
		if order, _, ok := r.order(c, c.final, c.place, v.place); ok {
			v.order = order
		}
		c.views = append(c.views, v)
	}
	return r.confirm(c)
}

// contradictedByCapture notes that a table and captures name different ways.
func (r *resolver) contradictedByCapture(c *conn, s step, t *record.Translation) {
	if c.conflict != nil || t.Tier != record.TierExact && t.Tier != record.TierStrong {
		return
	}
	k := &Conflict{Reason: viaWord(s.via) + " and the captures name different ways on for this connection"}
	table, capture := r.evidenceOf(s.ts), r.evidenceOf([]record.Translation{*t})
	k.Claims = []Claim{{Backend: s.after.Destination.String(), Evidence: table}, {Backend: t.After.Destination.String(), Evidence: capture}}
	sort.SliceStable(k.Claims, func(i, j int) bool { return k.Claims[i].Backend < k.Claims[j].Backend })
	c.conflict = k
	c.backends = []Backend{{Party: r.party(s.after.Destination, hostOf(s.place)), Reason: "named by " + viaWord(s.via), Evidence: table},
		{Party: r.party(t.After.Destination, ""), Reason: "seen in captures, " + tierSays[t.Tier], Evidence: capture}}
	c.choices.mech = s.mechanism
}

// behindNAT finds the flow that proves the end of a path: one of the final
// addresses, answered by the backend itself. A capture that saw only what the
// client sent proves nothing, nor does one of the client's own side of the
// last rewriting.
func (r *resolver) behindNAT(c *conn) *view {
	for i := range c.views {
		v := &c.views[i]
		if v.Tuple == c.final && answered(v.Flow) && (len(c.steps) > 0 || v.order == endPlace) {
			return v
		}
	}
	return nil
}

// answered tells whether the server sent anything that is no refusal.
func answered(f store.Flow) bool {
	if f.Protocol == record.TCP {
		return f.Server.SYN > 0 || f.Server.Payload > 0 || f.Server.Packets > 0 && f.Server.RST == 0
	}
	return f.Server.Packets > 0
}

// captureWitness names the capture that agrees with the end of a path which a
// table, a log or other captures name.
func (r *resolver) captureWitness(c *conn, last step) string {
	if c.sourceUnsure || c.final.Destination != last.after.Destination {
		return ""
	}
	v := r.behindNAT(c)
	if v == nil {
		return ""
	}
	if last.via != record.ViaCapture {
		if len(c.crossed) > 0 && c.crossed[len(c.crossed)-1].Tier != record.TierWeak {
			return "a capture in " + nameOf(v.place) + " shows the same connection behind it, and the backend's answer"
		}
		return "a capture in " + nameOf(v.place) + " shows the backend's answer behind it"
	}
	// Two sides in captures are one statement; a third, in the backend's own
	// namespace, is another.
	for i := range c.views {
		v := &c.views[i]
		if v.Tuple == c.final && answered(v.Flow) && v.order == endPlace && v.place.addrs[c.final.Destination.Addr()] &&
			v.Section != last.crossing().Section && v.Section != last.crossing().Behind.Section {
			return "a capture in the backend's own namespace agrees"
		}
	}
	return ""
}

// arrivedInCapture answers for a connection that no table rewrites, where a
// capture in the namespace that holds the address saw it arrive and answered.
func (r *resolver) arrivedInCapture(c *conn) bool {
	v := r.behindNAT(c)
	if v == nil || r.carriesOn(c.service) {
		return false
	}
	near := false
	for _, s := range c.through {
		near = near || s.order == hostPlace || s.order == holderPlace || s.order == ownPlace
	}
	for i := range c.views {
		near = near || c.views[i].order == ownPlace && c.views[i].place != v.place
	}
	where := "a capture in " + nameOf(v.place) + " shows it arrive and answered"
	switch {
	case len(c.sockets) > 0 || near:
		c.direct = true
		c.verdict, c.reason = Observed, "the client dialled the backend itself: "+where
		if len(c.sockets) > 0 && near {
			c.verdict = Proven
		}
	default:
		c.verdict, c.reason = Observed, where+"; nothing in the bundle shows the client's side, so what the client dialled is not known"
	}
	c.backends = []Backend{{Party: r.partyIn(c.service, v.place)}}
	return true
}
