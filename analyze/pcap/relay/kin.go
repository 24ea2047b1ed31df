package relay

import "sort"

const (
	// kinAddresses is how many of the busiest addresses are compared by sizes
	// with each other, kinFlows what they must have at least.
	kinAddresses, kinFlows = 8, 20
	// kinLook is how many connections of each side are looked at.
	kinLook = 2000
	// kinShare is the part, in hundredths, of the flows of one side that must
	// have a counterpart. Clients in lockstep have equal sizes too, but half of
	// theirs lie the other way round, if they lie in each other at all.
	kinShare = 90
)

// joinBySizes joins a busy address that takes connections with one that opens
// connections when nearly all flows of one have a counterpart at the other,
// different by the same number of bytes.
func (w *world) joinBySizes(m machines) {
	ins, outs := map[uint32][]*conn{}, map[uint32][]*conn{}
	for _, c := range w.ins {
		ins[c.destination] = append(ins[c.destination], c)
	}
	for _, c := range w.outs {
		outs[c.source] = append(outs[c.source], c)
	}
	takers, openers := w.busiest(ins), w.busiest(outs)
	dials := map[link]bool{} // who opens connections to an address is not its machine
	for _, c := range w.ins {
		dials[link{in: c.destination, out: c.source}] = true
	}
	var won []link
	for _, in := range takers {
		for _, out := range openers {
			if m.of(in) != m.of(out) && !dials[link{in: in, out: out}] && w.kin(ins[in], outs[out]) {
				won = append(won, link{in: in, out: out})
			}
		}
	}
	for _, l := range won {
		m.join(l.in, l.out)
	}
}

// busiest returns the addresses with the most connections.
func (w *world) busiest(by map[uint32][]*conn) []uint32 {
	var all []uint32
	for a, conns := range by {
		requests := 0
		for _, c := range conns {
			requests += c.requestsEnd - c.requests
		}
		if max(len(conns), requests) >= kinFlows {
			all = append(all, a)
		}
	}
	sort.Slice(all, func(i, j int) bool {
		if x, y := len(by[all[i]]), len(by[all[j]]); x != y {
			return x > y
		}
		return w.addresses[all[i]].Less(w.addresses[all[j]])
	})
	return all[:min(len(all), kinAddresses)]
}

// kin says whether outs carry on ins, by connections or by requests.
func (w *world) kin(ins, outs []*conn) bool {
	ins, outs = together(ins, outs)
	if len(ins) == 0 || len(outs) == 0 {
		return false
	}
	conns := newLevel(w, false, w.connItems(ins, w.downDone), w.connItems(outs, w.upDone))
	if conns.related() {
		return true
	}
	requests := newLevel(w, true, w.requestItems(ins, w.downDone), w.requestItems(outs, w.upDone))
	return requests.related()
}

// together returns the first of the connections, which are sorted by time, from
// when there are some of both sides.
func together(ins, outs []*conn) ([]*conn, []*conn) {
	from := max(ins[0].first, outs[0].first)
	var a, b []*conn
	for _, c := range outs {
		if c.first >= from && len(b) < kinLook {
			b = append(b, c)
		}
	}
	for _, c := range ins {
		if c.last >= from && len(a) < 2*kinLook {
			a = append(a, c)
		}
	}
	return a, b
}

// related says whether an offset can be learned by which nearly all items of
// one side have a counterpart. An offset of nothing does not count: equal
// clients of equal servers have it.
func (l *level) related() bool {
	if len(l.ins) < kinFlows || len(l.outs) < kinFlows {
		return false
	}
	l.learn()
	learned := false
	for _, t := range l.routes {
		learned = learned || len(t.offsets) > 1 && !t.weak
	}
	return learned && (l.covered(l.outs, l.hasSizedIn) || l.covered(l.ins, l.hasSizedOut))
}

func (l *level) covered(items []item, has func(*item) bool) bool {
	seen, covered := 0, 0
	for i := 0; i < len(items); i += max(1, len(items)/samples) {
		if items[i].exact() {
			seen++
			if has(&items[i]) {
				covered++
			}
		}
	}
	return seen >= kinFlows && covered*100 >= seen*kinShare
}

func (l *level) hasSizedIn(out *item) bool {
	found := false
	l.eachIn(out, func(in *item) bool {
		found = l.inside(in, out) && l.differs(in, out)
		return !found
	})
	return found
}

func (l *level) hasSizedOut(in *item) bool {
	found := false
	l.eachOut(in, func(out *item) bool {
		found = l.inside(in, out) && l.differs(in, out)
		return !found
	})
	return found
}

// differs says whether the sizes differ by a learned offset.
func (l *level) differs(in, out *item) bool {
	for _, o := range l.terms(in, out).offsets[1:] {
		if o != (offset{}) && in.exact() && out.exact() && int64(out.up-in.up) == o.up && int64(out.down-in.down) == o.down {
			return true
		}
	}
	return false
}
