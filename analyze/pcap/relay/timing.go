package relay

import (
	"slices"
	"time"

	"whichbackend/analyze/record"
)

const (
	// startGap and endGap are how soon a proxy opens its connection, and closes
	// it, where time is all that tells.
	startGap, endGap = int64(50 * time.Millisecond), int64(100 * time.Millisecond)
	// leastProven is how many surer answers must show that the route is a
	// proxy's: an application too opens connections while it serves others.
	leastProven = 3
	// leastGaps is how many answers tell what gaps are usual on a route, and
	// usual is how many times their median a gap may be, slight aside. Of fewer
	// answers a gap may be fewGap.
	leastGaps, usual = 5, 5
	slight           = int64(100 * time.Microsecond)
	fewGap           = int64(3 * time.Millisecond)
)

// whole says whether nothing of the route seems to have been missed: as many
// items on either side, each seen to its end and with one that may belong to it.
func (l *level) whole(t *terms) bool {
	if !t.weighed {
		t.weighed = true
		t.whole = !l.w.dropped && !l.dark() && l.byListener[t.route.listener] == l.byUpstream[t.route.upstream] && l.matched(t.route)
	}
	return t.whole
}

// matched says whether each item of the route was seen to its end and has a
// counterpart.
func (l *level) matched(r route) bool {
	for i := range l.ins {
		if in := &l.ins[i]; listenerOf(in) == r.listener && (!in.exact() || !l.hasOut(in, r)) {
			return false
		}
	}
	for i := range l.outs {
		if out := &l.outs[i]; out.c.destinationPort == r.upstream && (!out.exact() || !l.hasIn(out, r)) {
			return false
		}
	}
	return true
}

func (l *level) hasOut(in *item, r route) bool {
	found := false
	l.eachOut(in, func(out *item) bool {
		found = out.c.destinationPort == r.upstream && l.compare(in, out) != apart
		return !found
	})
	return found
}

func (l *level) hasIn(out *item, r route) bool {
	found := false
	l.eachIn(out, func(in *item) bool {
		found = listenerOf(in) == r.listener && l.compare(in, out) != apart
		return !found
	})
	return found
}

// matchTimes answers where nothing but one downstream and one upstream item
// were there at all. It does so only where nearly all have a counterpart and
// no capture tells of losses: what was missed leaves the wrong ones alone
// together.
func (l *level) matchTimes() []pair {
	if l.w.dropped || !l.anyProven() || l.dark() || l.orphaned() {
		return nil
	}
	var all []pair
	for i := range l.outs {
		out := &l.outs[i]
		if out.done {
			continue
		}
		in := l.loneIn(out)
		if in == nil || in.done || l.loneOut(in) != out {
			continue
		}
		if l.terms(in, out).proven >= leastProven && l.compare(in, out) != apart {
			all = append(all, pair{in, out, record.TierTiming})
		}
	}
	return all
}

// likely leaves out the answers by time whose gaps are not what is usual on
// their route: two strangers left alone together are rarely as close.
func (l *level) likely(found, sure []pair) []pair {
	starts, ends := map[*terms][]int64{}, map[*terms][]int64{}
	for _, pairs := range [][]pair{found, sure} {
		for _, p := range pairs {
			t := l.terms(p.in, p.out)
			start, end := p.gaps()
			starts[t], ends[t] = append(starts[t], start), append(ends[t], end)
		}
	}
	for t := range starts {
		slices.Sort(starts[t])
		slices.Sort(ends[t])
	}
	kept := found[:0]
	for _, p := range found {
		t := l.terms(p.in, p.out)
		start, end := p.gaps()
		near := start <= fewGap && end <= fewGap
		if n := len(starts[t]); n >= leastGaps {
			near = start <= min(startGap, usual*starts[t][n/2]+slight) && end <= min(endGap, usual*ends[t][n/2]+slight)
		}
		if near || p.tier != record.TierTiming {
			kept = append(kept, p)
		}
	}
	return kept
}

// gaps are how long after the downstream item the upstream one begins, and how
// far apart they end.
func (p *pair) gaps() (start, end int64) {
	end = p.in.last - p.out.last
	return p.out.first - p.in.first, max(end, -end)
}

func (l *level) anyProven() bool {
	for _, t := range l.routes {
		if t.proven >= leastProven {
			return true
		}
	}
	return false
}

// dark says whether some connection had more requests than were kept.
func (l *level) dark() bool {
	if !l.requests {
		return false
	}
	for _, items := range [][]item{l.ins, l.outs} {
		for i := range items {
			if c := items[i].c; c.exchanged > c.requestsEnd-c.requests {
				return true
			}
		}
	}
	return false
}

// orphaned says whether more than one in fifty has no counterpart by time.
func (l *level) orphaned() bool {
	orphans := 0
	for i := range l.outs {
		found := false
		l.eachIn(&l.outs[i], func(in *item) bool {
			found = l.inside(in, &l.outs[i])
			return !found
		})
		if !found {
			orphans++
		}
	}
	if orphans*50 > len(l.outs) {
		return true
	}
	orphans = 0
	for i := range l.ins {
		found := false
		l.eachOut(&l.ins[i], func(out *item) bool {
			found = l.inside(&l.ins[i], out)
			return !found
		})
		if !found {
			orphans++
		}
	}
	return orphans*50 > len(l.ins)
}

// loneIn is the only downstream item alive when out begins.
func (l *level) loneIn(out *item) *item {
	var found *item
	n := 0
	l.eachIn(out, func(in *item) bool {
		if in.c.wire == out.c.wire {
			return true
		}
		found = in
		n++
		return n < 2
	})
	if n != 1 {
		return nil
	}
	return found
}

// loneOut is the only upstream item that begins while in is alive.
func (l *level) loneOut(in *item) *item {
	var found *item
	n := 0
	l.eachOut(in, func(out *item) bool {
		if in.c.wire == out.c.wire {
			return true
		}
		found = out
		n++
		return n < 2
	})
	if n != 1 {
		return nil
	}
	return found
}
