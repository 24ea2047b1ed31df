package relay

import (
	"sort"
	"time"

	"whichbackend/analyze/record"
)

// group is one machine that takes connections and opens others.
type group struct {
	w         *world
	ins, outs []*conn
	abstained map[string]int
}

// groups returns the machines that both take and open connections.
func (w *world) groups() []*group {
	byMachine := map[uint32]*group{}
	at := func(address uint32) *group {
		m := w.machines.of(address)
		if byMachine[m] == nil {
			byMachine[m] = &group{w: w, abstained: w.abstained}
		}
		return byMachine[m]
	}
	for _, c := range w.ins {
		g := at(c.destination)
		g.ins = append(g.ins, c)
	}
	for _, c := range w.outs {
		g := at(c.source)
		g.outs = append(g.outs, c)
	}
	var all []*group
	for _, g := range byMachine {
		if len(g.ins) > 0 && len(g.outs) > 0 {
			all = append(all, g)
		}
	}
	// By the first connection of each, whatever the numbers of the addresses.
	sort.Slice(all, func(i, j int) bool { return w.timeBefore(all[i].ins[0], all[j].ins[0]) })
	return all
}

// find answers the connections of the machine: as a whole where it can, and
// else by their requests.
func (g *group) find() []record.Translation {
	var all []record.Translation
	conns := newLevel(g.w, false, g.w.connItems(g.ins, g.w.downDone), g.w.connItems(g.outs, g.w.upDone))
	for _, p := range conns.match() {
		all = append(all, g.w.translation(p.in.c, p.out.c, p.tier))
		g.w.downDone[p.in.c.wire], g.w.upDone[p.out.c.wire] = true, true
	}
	requests := newLevel(g.w, true, g.w.requestItems(g.ins, g.w.downDone), g.w.requestItems(g.outs, g.w.upDone))
	shares := map[*conn][]pair{}
	for _, p := range requests.match() {
		shares[p.in.c] = append(shares[p.in.c], p)
	}
	open := map[*conn]*item{} // the first request of each without an answer
	for i := range requests.ins {
		if it := &requests.ins[i]; !it.done && open[it.c] == nil {
			open[it.c] = it
		}
	}
	for i := range conns.ins {
		in := &conns.ins[i]
		switch {
		case in.done:
		case shares[in.c] != nil:
			all = append(all, g.share(in.c, shares[in.c])...)
		default:
			reason := conns.why(in)
			if q := open[in.c]; q != nil && reason == reasonNone {
				reason = requests.why(q)
			}
			g.abstained[reason]++
		}
	}
	return all
}

func (w *world) connItems(conns []*conn, done []bool) []item {
	turns := make([]turn, 0, len(conns))
	for _, c := range conns {
		turns = append(turns, turn{c.first, c, -1})
	}
	w.order(turns)
	items := make([]item, 0, len(turns))
	for _, t := range turns {
		items = append(items, connItem(t.c, done[t.c.wire]))
	}
	return items
}

func (w *world) requestItems(conns []*conn, done []bool) []item {
	n := 0
	for _, c := range conns {
		if !done[c.wire] {
			n += c.requestsEnd - c.requests
		}
	}
	turns := make([]turn, 0, n)
	for _, c := range conns {
		if done[c.wire] {
			continue
		}
		for i := c.requests; i < c.requestsEnd; i++ {
			turns = append(turns, turn{w.requests[i].start, c, int32(i)})
		}
	}
	w.order(turns)
	items := make([]item, 0, len(turns))
	for _, t := range turns {
		items = append(items, requestItem(t.c, &w.requests[t.request], int(t.request)))
	}
	return items
}

// share makes one translation for each upstream connection that carried
// requests of in.
func (g *group) share(in *conn, pairs []pair) []record.Translation {
	sort.Slice(pairs, func(i, j int) bool { return pairs[i].in.first < pairs[j].in.first })
	var all []record.Translation
	at := map[*conn]int{}
	for _, p := range pairs {
		n, ok := at[p.out.c]
		if !ok {
			n = len(all)
			at[p.out.c] = n
			t := g.w.translation(in, p.out.c, p.tier)
			t.Request = in.exchanged > 1
			t.Start = time.Unix(0, p.in.first).UTC()
			t.Packet, t.Behind.Packet = g.w.requests[p.in.request].packet, g.w.requests[p.out.request].packet
			all = append(all, t)
		}
		t := &all[n]
		t.Requests++
		t.Duration = time.Unix(0, p.in.last).Sub(t.Start)
		if rank(p.tier) < rank(t.Tier) {
			t.Tier = p.tier
		}
	}
	return all
}

// why says why a downstream connection has no answer.
func (l *level) why(in *item) string {
	if in.up == 0 && in.down == 0 {
		return reasonNothing
	}
	v := l.lookOut(in)
	switch {
	case v.only() != nil:
		return WhyDoubtful
	case v.manyBegun || v.manyOfSizes:
		return WhySeveral
	case !in.exact():
		return reasonCut
	}
	return reasonNone
}
