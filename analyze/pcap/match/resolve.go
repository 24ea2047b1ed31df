package match

import (
	"cmp"
	"slices"
	"time"

	"whichbackend/analyze/record"
)

// resolve makes connections of the bonds, the whole way where it holds
// together and else what is sure of it, and translations of each step.
func (j *join) resolve() []record.Translation {
	slices.SortFunc(j.bonds, func(x, y bond) int {
		return cmp.Or(cmp.Compare(x.a, y.a), cmp.Compare(x.b, y.b), cmp.Compare(x.rank, y.rank))
	})
	for i := range j.parent {
		j.parent[i] = int32(i)
	}
	j.components(j.bonds, against, func(c component) { j.solve(c, against) })
	return j.translations()
}

// component is legs that bonds tie together.
type component struct {
	legs  []int32 // ascending
	bonds []bond  // all between them
}

func (j *join) root(i int32) int32 {
	for j.parent[i] != i {
		j.parent[i] = j.parent[j.parent[i]]
		i = j.parent[i]
	}
	return i
}

// components divides legs by bonds of at least a rank, and calls f for each
// part once all are known.
func (j *join) components(bonds []bond, least rank, f func(component)) {
	for _, b := range bonds {
		j.parent[b.a], j.parent[b.b] = b.a, b.b
	}
	for _, b := range bonds {
		if x, y := j.root(b.a), j.root(b.b); b.rank >= least && x != y {
			j.parent[max(x, y)] = min(x, y)
		}
	}
	var inside []entry
	for i, b := range bonds {
		if x, y := j.root(b.a), j.root(b.b); x == y {
			inside = append(inside, entry{uint64(x), int32(i)})
		}
	}
	var c component
	runs(inside, func(run []entry) {
		c.legs, c.bonds = c.legs[:0], c.bonds[:0]
		for _, e := range run {
			b := bonds[e.i]
			c.bonds = append(c.bonds, b)
			c.legs = append(c.legs, b.a, b.b)
		}
		slices.Sort(c.legs)
		c.legs = slices.Compact(c.legs)
		f(c)
	})
}

// solve adds the way of a component. Where it does not hold together as a
// whole, weaker bonds are left out until it does.
func (j *join) solve(c component, least rank) (found bool) {
	why := j.way(c)
	if why == "" {
		return true
	}
	used := map[int32]bool{}
	if least < exact {
		j.components(c.bonds, least+1, func(part component) {
			if j.solve(part, least+1) {
				for _, i := range part.legs {
					used[i] = true
				}
			}
		})
	}
	// The outermost call tells of what was left.
	if least == against {
		left := slices.DeleteFunc(slices.Clone(c.legs), func(i int32) bool { return used[i] })
		j.doubts.add(why, j.world, left...)
	}
	return len(used) > 0
}

// step is one translation on a way: from one leg to the next.
type step struct {
	before, after   int32
	turned          [2]bool // whether client and server of the leg change places
	rank            rank
	way             int32    // the first step of its way, in join.steps
	shown           [2]int32 // the members that show both legs, once it is told
	answered, reset bool
}

// way orders the legs of a component from the client on, or says why it cannot.
func (j *join) way(c component) string {
	if len(c.legs) > maxLegs {
		return WhyCrowd
	}
	var ranks [maxLegs][maxLegs]rank
	var proxied [maxLegs][maxLegs]bool
	for _, b := range c.bonds {
		if b.rank == against || b.why == WhyOrder {
			return b.why
		}
		x, _ := slices.BinarySearch(c.legs, b.a)
		y, _ := slices.BinarySearch(c.legs, b.b)
		ranks[x][y] = max(ranks[x][y], b.rank)
		ranks[y][x] = ranks[x][y]
		proxied[x][y] = proxied[x][y] || b.proxied
		proxied[y][x] = proxied[x][y]
	}
	for n, i := range c.legs {
		j.learn(&j.facts[n], i)
	}
	if why := j.turn(c); why != "" {
		return why
	}
	n := len(c.legs)
	if strongest(&ranks, n) == none {
		return WhyThin
	}
	line, verdicts, why := j.line(n, &proxied)
	if why != "" {
		return why
	}
	first := len(j.steps)
	for k := range n - 1 {
		x, y := line[k], line[k+1]
		a, b := &j.facts[x], &j.facts[y]
		most, why := verdicts[x][y].trust(a, b, proxied[x][y])
		if why != "" {
			j.steps = j.steps[:first]
			return why
		}
		j.steps = append(j.steps, step{before: a.index, after: b.index, turned: [2]bool{a.turned, b.turned}, rank: min(most, ranks[x][y]), way: int32(first)})
	}
	j.outcome(j.steps[first:], n)
	return ""
}

// outcome sets what the facts of all legs of a way say of its end.
func (j *join) outcome(steps []step, n int) {
	answered, reset := false, false
	for i := range j.facts[:n] {
		f := &j.facts[i]
		answered = answered || f.side[1].spoke || f.leg.protocol == record.TCP && f.side[0].carried && !f.reset
		reset = reset || f.reset
	}
	for i := range steps {
		steps[i].answered, steps[i].reset = answered, reset
	}
}

// turn gives legs whose client is guessed the client of those that saw a SYN.
func (j *join) turn(c component) string {
	for _, b := range c.bonds {
		if !b.turned {
			continue
		}
		x, _ := slices.BinarySearch(c.legs, b.a)
		y, _ := slices.BinarySearch(c.legs, b.b)
		f := &j.facts[x]
		if !f.leg.guessed {
			f = &j.facts[y]
		}
		if len(c.legs) > 2 {
			return WhyOrder // the other bonds of the leg were judged unturned
		}
		f.turned = true
		f.source, f.to = f.to, f.source
		f.side[0], f.side[1] = f.side[1], f.side[0]
		for i := range f.moments {
			e := &f.moments[i].events
			e[eventSYN], e[eventAnswer] = e[eventAnswer], e[eventSYN]
			e[eventData], e[eventReply] = e[eventReply], e[eventData]
		}
	}
	return ""
}

// strongest gives legs that are tied through a third one the weaker of the two
// bonds, and returns the weakest of all.
func strongest(ranks *[maxLegs][maxLegs]rank, n int) rank {
	for k := range n {
		for x := range n {
			for y := range n {
				ranks[x][y] = max(ranks[x][y], min(ranks[x][k], ranks[k][y]))
			}
		}
	}
	least := exact
	for x := range n {
		for y := range x {
			least = min(least, ranks[x][y])
		}
	}
	return least
}

// line puts n legs in the one order that all verdicts allow.
func (j *join) line(n int, proxied *[maxLegs][maxLegs]bool) ([]int, [maxLegs][maxLegs]verdict, string) {
	var verdicts [maxLegs][maxLegs]verdict
	var ahead [maxLegs][maxLegs]bool
	for x := range n {
		for y := range x {
			v := j.order(&j.facts[x], &j.facts[y], proxied[x][y])
			if v.why != "" {
				return nil, verdicts, v.why
			}
			ahead[x][y], ahead[y][x] = v.first > 0, v.first < 0
			verdicts[x][y] = v
			v.first = -v.first
			verdicts[y][x] = v
		}
	}
	line := make([]int, 0, n)
	for len(line) < n {
		next := -1
		for x := range n {
			if slices.Contains(line, x) {
				continue
			}
			free := true
			for y := range n {
				free = free && (slices.Contains(line, y) || !ahead[y][x])
			}
			switch {
			case !free:
			case next >= 0:
				if v := verdicts[x][next]; v.first == 0 && !v.passed {
					return nil, verdicts, WhyCopy
				}
				return nil, verdicts, WhyOrder
			default:
				next = x
			}
		}
		if next < 0 {
			return nil, verdicts, WhyContradict // a circle
		}
		line = append(line, next)
	}
	return line, verdicts, ""
}

// trust says how far a step may be trusted, or why not at all.
func (v verdict) trust(a, b *facts, proxied bool) (rank, string) {
	if !proxied {
		// A hop may lower the segment size that an end names, never raise it.
		for _, x := range [2][2]uint16{{a.side[0].mss, b.side[0].mss}, {b.side[1].mss, a.side[1].mss}} {
			if x[0] != 0 && x[1] > x[0] {
				return none, WhyContradict
			}
		}
	}
	shared := a.source == b.source || a.to == b.to
	oneWay := v.oneWay && meet(a.side[0].ipids, b.side[0].ipids)
	switch {
	case v.passed && a.side[1].spoke && !b.side[1].spoke && a.leg.protocol == record.TCP:
		return weak, "" // traffic mirrored to another host looks like this as well
	case v.passed:
		return exact, ""
	case shared && (oneWay || v.near):
		return strong, ""
	}
	return none, WhyCopy
}

// translations tells the steps, way after way in the order of their places.
func (j *join) translations() []record.Translation {
	type place struct{ before, after, step int }
	order := make([]place, len(j.steps))
	for i := range j.steps {
		s := &j.steps[i]
		s.shown = [2]int32{j.shows(s.before, s.turned[0]), j.shows(s.after, s.turned[1])}
		first := &j.steps[s.way]
		order[i] = place{j.views.at(j.members[first.shown[0]].view).place(), j.views.at(j.members[first.shown[1]].view).place(), i}
	}
	slices.SortFunc(order, func(x, y place) int {
		return cmp.Or(cmp.Compare(x.before, y.before), cmp.Compare(x.after, y.after), cmp.Compare(x.step, y.step))
	})
	out := make([]record.Translation, len(order))
	for i, p := range order {
		j.translate(&out[i], &j.steps[p.step])
	}
	return out
}

func (j *join) translate(t *record.Translation, s *step) {
	t.Protocol, t.Via, t.Tier = j.legs[s.before].protocol, record.ViaCapture, tiers[s.rank]
	t.Unreplied, t.Timeout = !s.answered, -1
	if t.Protocol == record.TCP {
		t.State = state(s.answered, s.reset)
	}
	start := int64(0)
	t.Pos, t.Before, start = j.shown(s.shown[0], s.turned[0])
	t.Behind, t.After, _ = j.shown(s.shown[1], s.turned[1])
	t.Start = time.Unix(0, start).UTC()
}

func state(answered, reset bool) string {
	switch {
	case reset:
		return "CLOSE"
	case !answered:
		return "SYN_SENT"
	}
	return "ESTABLISHED"
}

// shows picks the member whose packet shows a leg: one that saw a SYN.
func (j *join) shows(i int32, turned bool) int32 {
	l := &j.legs[i]
	for n := l.lo; n < l.hi; n++ {
		m := j.members[n]
		if j.views.at(m.view).side(0, m.flipped != turned).has(begun) {
			return n
		}
	}
	return l.lo
}

// shown tells of a member the packet, the tuple and the time.
func (j *join) shown(member int32, turned bool) (record.Pos, record.Tuple, int64) {
	m := j.members[member]
	v := j.views.at(m.view)
	flipped := m.flipped != turned
	start := v.first
	if t := v.side(0, flipped).synTime; t != 0 {
		start = t
	}
	t := record.Tuple{Source: v.source.addrPort(), Destination: v.destination.addrPort()}
	if flipped {
		t.Source, t.Destination = t.Destination, t.Source
	}
	return record.Pos{Section: int(v.section), Packet: int(v.packet)}, t, start
}
