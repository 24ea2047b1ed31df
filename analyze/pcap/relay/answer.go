package relay

import (
	"slices"
	"sort"

	"whichbackend/analyze/record"
)

// pair is an answer: out carries on in.
type pair struct {
	in, out *item
	tier    record.Tier
}

// verdict is what a search for the other side came to: the item that fits, of
// each kind, and whether others of that kind do.
type verdict struct {
	begun, sized           *item
	manyBegun, manyOfSizes bool
}

// leastOnce is how many keys must occur once to know that they are many.
const leastOnce = 8

// rounds bounds how often the surely answered are put aside to look again.
const rounds = 4

// match answers what can be told of the items that are not done: the sure
// ones first, so that fewer are left for the others.
func (l *level) match() []pair {
	l.index()
	l.learn()
	l.variedSizes = l.varied(l.insBySize, l.ins) && l.varied(l.outsBySize, l.outs)
	l.variedBegins = l.varied(l.insByBegin, l.ins) && l.varied(l.outsByBegin, l.outs)
	var all []pair
	if l.requests {
		all = l.matchIDs()
	}
	for _, weigh := range []func(in, out *item, begins bool) record.Tier{l.weigh, l.weighWhole} {
		for n := 0; n < rounds; n++ {
			found := l.likely(l.matchOnce(weigh), all)
			l.settle(found)
			all = append(all, found...)
			if len(found) == 0 {
				break
			}
		}
	}
	found := l.likely(l.matchTimes(), all)
	l.settle(found)
	return append(all, found...)
}

// matchOnce answers where exactly one downstream and one upstream item suit
// each other, as surely as weigh says.
func (l *level) matchOnce(weigh func(in, out *item, begins bool) record.Tier) []pair {
	var all []pair
	for i := range l.outs {
		out := &l.outs[i]
		if out.done {
			continue
		}
		v := l.lookIn(out)
		in := v.only()
		if in == nil {
			continue
		}
		back := l.lookOut(in)
		if back.only() != out {
			continue
		}
		if tier := weigh(in, out, v.begun != nil); tier != "" {
			all = append(all, pair{in, out, tier})
		}
	}
	return all
}

// settle marks the items of answers as done.
func (l *level) settle(pairs []pair) {
	for _, p := range pairs {
		p.in.done, p.out.done = true, true
		l.terms(p.in, p.out).proven++
	}
}

// only is the item that fits, nil where none or several do. Equal first bytes
// count more than equal sizes.
func (v *verdict) only() *item {
	switch {
	case v.manyBegun:
		return nil
	case v.begun != nil:
		return v.begun
	case v.manyOfSizes:
		return nil
	}
	return v.sized
}

// note takes one more item and says whether to look on.
func (v *verdict) note(it *item, f fit) bool {
	switch {
	case f == begun && v.begun != nil && v.begun != it:
		v.manyBegun = true
	case f == begun:
		v.begun = it
	case f == sized && v.sized != nil && v.sized != it:
		v.manyOfSizes = true
	case f == sized:
		v.sized = it
	}
	return !v.manyBegun && !v.manyOfSizes
}

// lookIn finds the downstream items that out suits.
func (l *level) lookIn(out *item) verdict {
	var v verdict
	if out.upKept >= leastBegin {
		run := l.insByBegin.run(mix(out.upBegin, uint64(out.upKept)))
		l.scanIn(out, run, &v)
	}
	if v.manyBegun || v.manyOfSizes || !out.exact() {
		return v
	}
	for _, o := range l.offsets(l.byPort[out.c.destinationPort]) {
		if !v.manyBegun && !v.manyOfSizes {
			l.scanIn(out, l.insBySize.run(mix(out.up-uint64(o.up), out.down-uint64(o.down))), &v)
		}
	}
	return v
}

// offsets returns the different offsets of routes.
func (l *level) offsets(of []*terms) []offset {
	var all []offset
	for _, t := range of {
		for _, o := range t.offsets {
			if !slices.Contains(all, o) {
				all = append(all, o)
			}
		}
	}
	return all
}

// scanIn looks at the items of a run, or, where that is long, at those alive.
func (l *level) scanIn(out *item, run index, v *verdict) {
	if len(run) > 32 {
		if !l.eachIn(out, func(in *item) bool { return in.done || v.note(in, l.compare(in, out)) }) {
			v.manyBegun = true
		}
		return
	}
	for _, e := range run {
		in := &l.ins[e.item]
		if !in.done && !v.note(in, l.compare(in, out)) {
			return
		}
	}
}

// lookOut finds the upstream items that suit in.
func (l *level) lookOut(in *item) verdict {
	var v verdict
	if in.upKept >= leastBegin {
		l.scanOut(in, l.outsByBegin.run(mix(in.upBegin, uint64(in.upKept))), &v)
	}
	if v.manyBegun || v.manyOfSizes || !in.exact() {
		return v
	}
	for _, ts := range l.byPort {
		for _, o := range l.offsets(ts) {
			if !v.manyBegun && !v.manyOfSizes {
				l.scanOut(in, l.outsBySize.run(mix(in.up+uint64(o.up), in.down+uint64(o.down))), &v)
			}
		}
	}
	return v
}

// scanOut looks at the items of a run that begin while in is alive.
func (l *level) scanOut(in *item, run index, v *verdict) {
	from := sort.Search(len(run), func(i int) bool { return l.outs[run[i].item].first >= in.first })
	for n, e := range run[from:] {
		out := &l.outs[e.item]
		if out.first > in.until {
			return
		}
		if n >= crowd {
			v.manyBegun = true
			return
		}
		if !out.done && !v.note(out, l.compare(in, out)) {
			return
		}
	}
}

// weigh says how surely the only two that suit each other belong together: ""
// where others that were not captured might as well.
func (l *level) weigh(in, out *item, begins bool) record.Tier {
	tier := record.TierSizes
	if begins {
		tier = record.TierPayload
		if l.variedBegins && l.alone(l.insByBegin, l.ins, in, mix(in.upBegin, uint64(in.upKept))) &&
			l.alone(l.outsByBegin, l.outs, out, mix(out.upBegin, uint64(out.upKept))) && l.sameCourse(in, out) {
			return tier
		}
	}
	if l.variedSizes && l.compareSizes(in, out) && l.alone(l.insBySize, l.ins, in, mix(in.up, in.down)) &&
		l.alone(l.outsBySize, l.outs, out, mix(out.up, out.down)) {
		return tier
	}
	if l.w.complete && !l.terms(in, out).weak && !l.doubtful(in, out) && l.sameCourse(in, out) {
		return tier
	}
	return ""
}

// weighWhole is for captures that do not tell their losses, and for routes that
// may not be a proxy's. Sizes or begins that others share prove nothing where
// flows may be missing; where none seems to be, they are as good as times.
func (l *level) weighWhole(in, out *item, _ bool) record.Tier {
	if (l.w.complete || l.whole(l.terms(in, out))) && !l.doubtful(in, out) && l.sameCourse(in, out) {
		return record.TierTiming
	}
	return ""
}

// compareSizes says whether all sizes are known and equal.
func (l *level) compareSizes(in, out *item) bool {
	if !in.exact() || !out.exact() {
		return false
	}
	for _, o := range l.terms(in, out).offsets {
		if int64(out.up-in.up) == o.up && int64(out.down-in.down) == o.down {
			return true
		}
	}
	return false
}

// alone says whether no other item near in time has the key.
func (l *level) alone(x index, items []item, it *item, key uint64) bool {
	return others(x, items, it, key, 1) == 0
}

// others counts the items near in time that have the key too, up to limit.
func others(x index, items []item, it *item, key uint64, limit int) int {
	run := x.run(key)
	from := sort.Search(len(run), func(i int) bool { return items[run[i].item].first >= it.first-int64(near) })
	n := 0
	for _, e := range run[from:] {
		other := &items[e.item]
		if n == limit || other.first > it.until+int64(near) {
			break
		}
		if other != it {
			n++
		}
	}
	return n
}

// varied says whether the keys are so many that one which stands alone is
// unlikely to be that of an item which was not captured: those that occur once
// tell, with those that occur twice, how likely (I. J. Good and A. Turing).
func (l *level) varied(x index, items []item) bool {
	once, twice := 0, 0
	step := max(1, len(x)/samples)
	for i := 0; i < len(x); i += step {
		switch others(x, items, &items[x[i].item], x[i].key, 2) {
		case 0:
			once++
		case 1:
			twice++
		}
	}
	return once >= leastOnce && once >= 2*twice
}

// doubtful says whether an item that was seen in part might belong to one of
// the two.
func (l *level) doubtful(in, out *item) bool {
	found := false
	visited := l.eachIn(out, func(other *item) bool {
		found = other != in && !other.done && l.compare(other, out) != apart
		return !found
	})
	if found || !visited {
		return true
	}
	visited = l.eachOut(in, func(other *item) bool {
		found = other != out && !other.done && l.compare(in, other) != apart
		return !found
	})
	return found || !visited
}

// sameCourse says whether the requests of two connections lie in each other
// one by one and differ by the same bytes: a connection of a pool begins with a
// request of one and goes on with those of others, and its sums may be equal by
// chance.
func (l *level) sameCourse(in, out *item) bool {
	if l.requests {
		return true
	}
	n, m := in.c.requestsEnd-in.c.requests, out.c.requestsEnd-out.c.requests
	if n != m || in.c.exchanged != out.c.exchanged {
		return false
	}
	for i := 0; i < n; i++ {
		a, b := &l.w.requests[in.c.requests+i], &l.w.requests[out.c.requests+i]
		first, of := &l.w.requests[in.c.requests], &l.w.requests[out.c.requests]
		switch {
		case b.start < a.start || b.end > a.end+int64(requestSlack),
			b.up-a.up != of.up-first.up, b.down-a.down != of.down-first.down,
			a.begin != b.begin && a.begin != 0 && b.begin != 0:
			return false
		}
	}
	return true
}
