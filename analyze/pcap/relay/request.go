package relay

import "whichbackend/analyze/record"

// matchIDs answers requests with an id that is the same on both sides. The
// first line must be the same too: applications hand ids on to what they ask.
func (l *level) matchIDs() []pair {
	var all []pair
	for i := range l.outs {
		out := &l.outs[i]
		if out.done || out.id == 0 {
			continue
		}
		in := l.onlyID(out, l.insByID, l.ins, func(a *item) bool { return l.announces(a, out) })
		if in == nil || l.onlyID(in, l.outsByID, l.outs, func(b *item) bool { return l.announces(in, b) }) != out {
			continue
		}
		all = append(all, pair{in, out, record.TierAnnounced})
	}
	l.settle(all)
	return all
}

func (l *level) onlyID(it *item, x index, items []item, suits func(*item) bool) *item {
	var found *item
	for _, e := range x.run(it.id) {
		if other := &items[e.item]; suits(other) {
			if found != nil {
				return nil
			}
			found = other
		}
	}
	return found
}

func (l *level) announces(in, out *item) bool {
	equal, known := sameBegin(in, out)
	return known && equal && !in.done && !out.done && l.inside(in, out)
}
