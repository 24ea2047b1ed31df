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
	if c.lost == "" && (len(c.steps) == 0 || r.notABackend(c, hostOf(c.steps[len(c.steps)-1].place)) == "") {
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
