package resolve

import (
	"net/netip"
	"sort"
	"time"

	"whichbackend/analyze/record"
	"whichbackend/store"
)

// view is one flow of a capture with how its place lies towards the connection.
type view struct {
	store.Flow
	place *place
	order int
}

// farApart is how long after the last packet of a flow a listing may be
// recorded and still be taken to show the same connection: the same addresses
// and ports come back after a while.
const farApart = 10 * time.Minute

// viewsFrom returns the current flows of one client, remembering the last ones
// asked.
func (r *resolver) viewsFrom(client netip.AddrPort) ([]view, error) {
	if list, ok := r.seenFrom[client]; ok {
		return list, nil
	}
	if len(r.seenFrom) > 64 {
		clear(r.seenFrom)
	}
	list, err := r.st.FlowsFrom(client)
	if err != nil {
		return nil, err
	}
	var out []view
	for _, f := range list {
		if p := r.placeOf[f.Section]; p != nil && r.current[f.Section] {
			out = append(out, view{Flow: f, place: p})
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return r.less(out[i].Pos, out[j].Pos) })
	r.seenFrom[client] = out
	return out, nil
}

// viewsOf are the current flows of a tuple. Where a capture began later than the
// connection, the ports tell which end is the client, and may tell it wrong:
// such flows are turned round where they have the tuple so.
func (r *resolver) viewsOf(cur record.Tuple) ([]view, error) {
	straight, err := r.viewsFrom(cur.Source)
	if err != nil {
		return nil, err
	}
	var out []view
	for _, v := range straight {
		if v.Tuple == cur {
			out = append(out, v)
		}
	}
	if !cur.Destination.IsValid() {
		return out, nil
	}
	back, err := r.viewsFrom(cur.Destination)
	if err != nil {
		return nil, err
	}
	for _, v := range back {
		if v.Guessed && v.Tuple == (record.Tuple{Source: cur.Destination, Destination: cur.Source}) {
			v.Tuple = cur
			v.Client, v.Server = v.Server, v.Client
			out = append(out, v)
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return r.less(out[i].Pos, out[j].Pos) })
	return out, nil
}

// views are the flows that show a connection as cur: those of one conversation
// that passed a place on its way. None where several conversations remain, of
// which nothing tells which is meant.
func (r *resolver) views(c *conn, cur record.Tuple, at *place) ([]view, error) {
	if !r.captured || !cur.Source.IsValid() {
		return nil, nil
	}
	list, err := r.viewsOf(cur)
	if err != nil {
		return nil, err
	}
	groups := map[int][]view{}
	near, tied := map[int]bool{}, map[int]bool{}
	for _, v := range list {
		if v.Protocol != c.protocol {
			continue
		}
		order, weak, ok := r.order(c, cur, at, v.place)
		v.order = order
		groups[v.Conversation] = append(groups[v.Conversation], v)
		near[v.Conversation] = near[v.Conversation] || ok && !weak || c.conversations[v.Conversation]
		tied[v.Conversation] = tied[v.Conversation] || ok
	}
	var found []view
	several := false
	for id, g := range groups {
		if !tied[id] && !near[id] || c.head != 0 && id != c.head && cur.Source == c.client && cur.Destination == c.service || !r.sameTime(c, g) {
			continue
		}
		r.usedFlows[id] = true // what is tied weakly is no connection of its own either
		if near[id] {
			found, several = g, several || found != nil
		}
	}
	if several {
		return nil, nil
	}
	return found, nil
}

// sameTime tells whether flows may be the connection that a listing shows: not
// over by the time that the listing was recorded.
func (r *resolver) sameTime(c *conn, group []view) bool {
	last, open := time.Time{}, false
	for _, v := range group {
		if v.Last.After(last) {
			last = v.Last
		}
		open = open || !ended(&v.Flow)
	}
	if c.state == "ESTABLISHED" && !open {
		return false
	}
	if len(c.sockets) == 0 {
		return true
	}
	recorded := r.artifacts[r.sections[c.sockets[0].Section].Artifact].Recorded
	return recorded.IsZero() || recorded.Sub(last) < farApart
}

// ended tells whether a flow saw its connection come to its end.
func ended(f *store.Flow) bool {
	return f.Client.RST > 0 || f.Server.RST > 0 || f.Client.FIN > 0 && f.Server.FIN > 0
}

// crossings are the translations of captures that take a conversation on: those
// of a NAT and those of a proxy. A NAT leads to one address; where the captures
// name several, none counts.
func (r *resolver) crossings(cur record.Tuple, group []view) (nat *record.Translation, relays []record.Translation, err error) {
	if len(group) == 0 {
		return nil, nil, nil
	}
	list, err := r.crossingsFrom(cur.Source)
	if err != nil || len(list) == 0 {
		return nil, nil, err
	}
	member := map[int]bool{}
	for _, v := range group {
		member[v.Conversation] = true
	}
	several := false
	for i := range list {
		t := &list[i]
		if t.Before != cur || t.Protocol != group[0].Protocol || !r.current[t.Section] || !r.current[t.Behind.Section] {
			continue
		}
		f := r.flowHolding(t.Pos, t.Before)
		switch {
		case f == nil || !member[f.Conversation]:
		case t.Relay:
			relays = append(relays, *t)
		case nat != nil && nat.After != t.After:
			several = true
		case nat == nil || r.less(t.Pos, nat.Pos):
			nat = t
		}
	}
	sort.SliceStable(relays, func(i, j int) bool { return r.less(relays[i].Behind, relays[j].Behind) })
	if several {
		nat = nil
	}
	return nat, relays, nil
}

// crossingsFrom returns the translations of captures that a connection of this
// source enters, remembering the last ones asked.
func (r *resolver) crossingsFrom(source netip.AddrPort) ([]record.Translation, error) {
	if list, ok := r.crossingMemo[source]; ok || !r.crossed {
		return list, nil
	}
	if len(r.crossingMemo) > 64 {
		clear(r.crossingMemo)
	}
	list, err := r.st.CrossingsFrom(source)
	if err == nil {
		r.crossingMemo[source] = list
	}
	return list, err
}

// captureStep makes a step of what captures show: the same connection behind a
// NAT.
func (r *resolver) captureStep(c *conn, cur record.Tuple, at *place) (step, bool, error) {
	group, err := r.views(c, cur, at)
	if err != nil {
		return step{}, false, err
	}
	t, _, err := r.crossings(cur, group)
	if err != nil || t == nil {
		return step{}, false, err
	}
	behind, err := r.viewsAt(t.Behind)
	if err != nil {
		return step{}, false, err
	}
	for _, v := range behind {
		if c.conversations == nil {
			c.conversations = map[int]bool{}
		}
		c.conversations[v.Conversation] = true
		r.usedFlows[v.Conversation] = true
	}
	s := step{via: record.ViaCapture, place: r.between(t, group, behind), before: cur, after: t.After, ts: []record.Translation{*t}, state: t.State}
	s.mechanism = r.mechanism(s, cur)
	if t.Tier == record.TierWeak {
		c.weak = tierSays[t.Tier]
	}
	return s, true, nil
}

// crossing is the translation of captures that a step rests on, the least sure
// of several.
func (s *step) crossing() *record.Translation {
	var of []record.Translation
	for _, t := range s.ts {
		if t.Via == record.ViaCapture {
			of = append(of, t)
		}
	}
	tier := weakest(of)
	for i := range of {
		if of[i].Tier == tier {
			return &of[i]
		}
	}
	return &record.Translation{}
}

// viewsAt are all current views of the conversation whose flow begins at a
// position.
func (r *resolver) viewsAt(pos record.Pos) ([]view, error) {
	f, err := r.st.FlowAt(pos.Section, pos.Packet)
	if err != nil || f == nil {
		return nil, err
	}
	list, err := r.st.FlowsOf(f.Conversation)
	var out []view
	for _, f := range list {
		if p := r.placeOf[f.Section]; p != nil && r.current[f.Section] {
			out = append(out, view{Flow: f, place: p})
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return r.less(out[i].Pos, out[j].Pos) })
	return out, err
}

// between is the place where a translation of captures happened: one in which
// both sides were seen, first of all a balancer's. It is nil where it is not
// known.
func (r *resolver) between(t *record.Translation, before, behind []view) *place {
	var found *place
	in := map[*place]bool{}
	for _, v := range behind {
		in[v.place] = true
	}
	for _, v := range before {
		switch {
		case !in[v.place]:
		case swarmPlace(v.place):
			return v.place
		case found == nil:
			found = v.place
		}
	}
	a, b := r.placeOf[t.Section], r.placeOf[t.Behind.Section]
	switch {
	case found != nil:
		return found
	case a == nil || b == nil || a.host != b.host:
		return nil
	case a.kind == record.ScopeHost:
		return a
	case b.kind == record.ScopeHost:
		return b
	}
	return nil
}

// tierSays is how a reason tells the way in which captures were put together.
var tierSays = map[record.Tier]string{
	record.TierExact:     "the same initial sequence numbers on both sides",
	record.TierStrong:    "the same client's sequence numbers and timestamps on both sides",
	record.TierWeak:      "captures show a connection behind it that begins alike, and no other that does",
	record.TierAnnounced: "the proxy announces the client to it",
	record.TierPayload:   "the proxy passes on the same first bytes, and no other connection has them",
	record.TierSizes:     "it lies inside this one in time and carries the same amounts, and no other does",
	record.TierTiming:    "it lies inside this one in time, and no other does",
}
