package relay

import (
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
	// leastWhole is how many items of a route, all with counterparts, show that
	// nothing of it was missed.
	leastWhole = 20
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
		if l.terms(in, out).proven >= leastProven && l.closeBy(in, out) && l.compare(in, out) != apart {
			all = append(all, pair{in, out, record.TierTiming})
		}
	}
	for _, p := range all {
		p.in.done, p.out.done = true, true
	}
	return all
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

func (l *level) closeBy(in, out *item) bool {
	gap := in.last - out.last
	return out.first-in.first <= startGap && max(gap, -gap) <= endGap
}
