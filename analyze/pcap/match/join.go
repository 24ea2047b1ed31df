package match

import (
	"cmp"
	"slices"

	"whichbackend/analyze/record"
)

// maxLegs is how many tuples one connection has at most.
const maxLegs = 4

// bond is what two legs have in common.
type bond struct {
	a, b int32 // legs, a before b in the list
	rank rank
	why  string // why it cannot be used, of ranks none and against
	// proxied: the server's sequence numbers differ.
	proxied bool
	// turned: the client of one is the server of the other.
	turned bool
}

// rank orders the strength of bonds.
type rank int

const (
	against rank = iota - 1 // they cannot be one connection
	none                    // they look alike and share too little
	weak
	strong
	exact
)

var tiers = map[rank]record.Tier{weak: record.TierWeak, strong: record.TierStrong, exact: record.TierExact}

// join looks for legs that are one connection under different tuples.
type join struct {
	*world
	bonds  []bond
	steps  []step
	doubts doubts
	// Memory that is used again for each group.
	facts  [maxLegs]facts
	run    []int32
	found  [][]int32
	parent []int32
}

func newJoin(w *world) *join {
	return &join{world: w, doubts: doubts{}, parent: make([]int32, len(w.legs))}
}

// sequences bonds legs whose clients have the same initial sequence number at
// the same time.
func (j *join) sequences() {
	j.constants()
	list := make([]entry, 0, len(j.legs))
	for i := range j.legs {
		if l := &j.legs[i]; l.hasC && l.c > smallISN {
			list = append(list, entry{uint64(l.c), int32(i)})
		}
	}
	runs(list, func(run []entry) {
		if len(run) > 1 {
			j.clusters(run, sameTime, j.sequenceCluster)
		}
	})
}

// constants marks server's numbers that come with three or more numbers of
// clients: chance does not do that, a constant does.
func (j *join) constants() {
	list := make([]entry, 0, len(j.legs))
	for i := range j.legs {
		if l := &j.legs[i]; l.hasS && l.hasC {
			list = append(list, entry{uint64(l.s), int32(i)})
		}
	}
	runs(list, func(run []entry) {
		if len(run) < 3 {
			return
		}
		var clients []uint32
		for _, e := range run {
			if c := j.legs[e.i].c; !slices.Contains(clients, c) && len(clients) < 3 {
				clients = append(clients, c)
			}
		}
		if len(clients) < 3 {
			return
		}
		for _, e := range run {
			j.legs[e.i].constant = true
		}
	})
}

// clusters divides legs of one mark by time, and hands on those that are
// neither a crowd nor repeated.
func (j *join) clusters(run []entry, within int64, use func([]int32)) {
	if len(run) == 2 && abs(j.legs[run[0].i].start-j.legs[run[1].i].start) > within {
		return
	}
	legs := j.run[:0]
	for _, e := range run {
		legs = append(legs, e.i)
	}
	j.run = legs
	slices.SortFunc(legs, func(a, b int32) int {
		return cmp.Or(cmp.Compare(j.legs[a].start, j.legs[b].start), cmp.Compare(a, b))
	})
	found := j.found[:0]
	lo := 0
	for i := range legs {
		if i+1 == len(legs) || j.legs[legs[i+1]].start-j.legs[legs[i]].start > within {
			found = append(found, legs[lo:i+1])
			lo = i + 1
		}
	}
	j.found = found
	for _, c := range found {
		switch {
		case len(c) < 2:
		case len(c) > maxLegs:
			j.doubts.add(WhyCrowd, j.world, c...)
		case len(found) > 2:
			j.doubts.add(WhyRepeated, j.world, c...)
		default:
			slices.Sort(c)
			use(c)
		}
	}
}

func (j *join) sequenceCluster(legs []int32) {
	var room [maxLegs]uint32
	servers := room[:0]
	for n, i := range legs {
		j.learn(&j.facts[n], i)
		if l := &j.legs[i]; l.hasS && !l.constant {
			servers = addOnce(servers, l.s)
		}
	}
	if len(servers) > 2 {
		j.doubts.add(WhyCrowd, j.world, legs...)
		return
	}
	for b := range legs {
		for a := range b {
			j.bonds = append(j.bonds, j.sequenceBond(&j.facts[a], &j.facts[b]))
		}
	}
}

// sequenceBond judges two legs whose clients have the same number.
func (j *join) sequenceBond(a, b *facts) bond {
	x := bond{a: a.index, b: b.index, rank: against, why: WhyContradict}
	known := a.leg.hasS && b.leg.hasS && !a.leg.constant && !b.leg.constant
	x.proxied = known && a.leg.s != b.leg.s
	c, d := &a.side[0], &b.side[0]
	stamped := len(c.stamps) > 0 && len(d.stamps) > 0
	stamps := stamped && meet(c.stamps, d.stamps)
	soon := abs(a.leg.start-b.leg.start) <= maxDelay
	switch {
	case sameTuple(a, b),
		stamped && !stamps,
		beginsDiffer(c.begins, d.begins), beginsDiffer(a.side[1].begins, b.side[1].begins),
		!x.proxied && (c.scalesDiffer(d) || a.side[1].scalesDiffer(&b.side[1])):
		return x
	case known && !x.proxied && a.leg.s > smallISN:
		x.rank = exact
	case stamps:
		x.rank = strong
	case soon && (meet(c.begins, d.begins) || !x.proxied && meet(c.ipids, d.ipids)):
		x.rank = weak
	default:
		x.rank, x.why = none, WhyThin
	}
	return x
}

func (f *sideFacts) scalesDiffer(o *sideFacts) bool {
	return f.mss != 0 && o.mss != 0 && f.scale != o.scale
}

// sameTuple is true for one tuple, in whatever direction.
func sameTuple(a, b *facts) bool {
	return a.source == b.source && a.to == b.to || a.source == b.to && a.to == b.source
}

// sharing is a pair of legs that sampled the same segment, of which half.
type sharing struct {
	a, b   int32
	turned bool
}

// segments bonds legs of which one at least saw no SYN, when both sampled two
// segments alike.
func (j *join) segments() {
	wanted := map[uint64]bool{}
	j.eachSegment(func(_ int32, l *leg, _ int, s uint64) {
		if !l.hasC {
			wanted[s] = true
		}
	})
	if len(wanted) == 0 {
		return
	}
	list := make([]entry, 0, len(j.legs))
	j.eachSegment(func(i int32, _ *leg, side int, s uint64) {
		if wanted[s] {
			list = append(list, entry{s, i<<1 | int32(side)})
		}
	})
	counts := map[sharing]int{}
	runs(list, func(run []entry) { j.share(run, counts) })
	pairs := make([]sharing, 0, len(counts))
	for s := range counts {
		pairs = append(pairs, s)
	}
	slices.SortFunc(pairs, func(x, y sharing) int {
		return cmp.Or(cmp.Compare(x.a, y.a), cmp.Compare(x.b, y.b), rankOf(x.turned)-rankOf(y.turned))
	})
	for _, s := range pairs {
		j.bonds = append(j.bonds, j.segmentBond(s, counts))
	}
}

func rankOf(b bool) int {
	if b {
		return 1
	}
	return 0
}

// eachSegment calls f for each segment of TCP that a view of a leg sampled.
func (j *join) eachSegment(f func(i int32, l *leg, side int, segment uint64)) {
	for i := range j.legs {
		l := &j.legs[i]
		if l.protocol != record.TCP {
			continue
		}
		for _, m := range j.members[l.lo:l.hi] {
			for side := range 2 {
				for _, s := range j.views.at(m.view).side(side, m.flipped).segments {
					if s != 0 {
						f(int32(i), l, side, s)
					}
				}
			}
		}
	}
}

// share counts the pairs of legs with one segment.
func (j *join) share(run []entry, counts map[sharing]int) {
	run = slices.CompactFunc(run, func(a, b entry) bool { return a.i == b.i })
	legs := make([]int32, 0, len(run))
	for _, e := range run {
		if n := len(legs); n == 0 || legs[n-1] != e.i>>1 {
			legs = append(legs, e.i>>1)
		}
	}
	if len(legs) < 2 {
		return
	}
	if len(legs) > maxLegs {
		j.doubts.add(WhyCrowd, j.world, legs...)
		return
	}
	for y := range run {
		for x := range y {
			a, b := run[x].i>>1, run[y].i>>1
			if l, m := &j.legs[a], &j.legs[b]; a != b && !(l.hasC && m.hasC) {
				counts[sharing{a, b, (run[x].i^run[y].i)&1 == 1}]++
			}
		}
	}
}

func (j *join) segmentBond(s sharing, counts map[sharing]int) bond {
	x := bond{a: s.a, b: s.b, rank: against, why: WhyContradict, turned: s.turned}
	a, b := &j.facts[0], &j.facts[1]
	j.learn(a, s.a)
	j.learn(b, s.b)
	overlap := a.leg.first <= b.leg.last+sameTime && b.leg.first <= a.leg.last+sameTime
	other := s
	other.turned = !s.turned
	switch {
	case sameTuple(a, b), !overlap, counts[other] > 0:
	case a.leg.hasS && b.leg.hasS && a.leg.s != b.leg.s:
	case s.turned && !a.leg.guessed && !b.leg.guessed:
	case s.turned && a.leg.guessed && b.leg.guessed, a.leg.unsure, b.leg.unsure:
		x.rank, x.why = none, WhyOrder // who is the client?
	case counts[s] < 2:
		x.rank, x.why = none, WhyThin
	default:
		x.rank = strong
	}
	return x
}
