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
	for _, c := range j.components(j.bonds, against) {
		j.solve(c, against)
	}
	slices.SortFunc(j.ways, func(a, b []record.Translation) int {
		return cmp.Or(comparePos(a[0].Pos, b[0].Pos), comparePos(a[0].Behind, b[0].Behind))
	})
	return slices.Concat(j.ways...)
}

func comparePos(a, b record.Pos) int {
	return cmp.Or(cmp.Compare(a.Section, b.Section), cmp.Compare(a.Packet, b.Packet))
}

// component is legs that bonds tie together.
type component struct {
	legs  []int32 // ascending
	bonds []bond  // all between them
}

// components divides legs by bonds of at least a rank.
func (j *join) components(bonds []bond, least rank) []component {
	parent := map[int32]int32{}
	var root func(int32) int32
	root = func(i int32) int32 {
		p, ok := parent[i]
		if !ok || p == i {
			return i
		}
		r := root(p)
		parent[i] = r
		return r
	}
	for _, b := range bonds {
		if b.rank >= least {
			x, y := root(b.a), root(b.b)
			parent[max(x, y)] = min(x, y)
			parent[min(x, y)] = min(x, y)
		}
	}
	at := map[int32]int{}
	var out []component
	for _, b := range bonds {
		r := root(b.a)
		if r != root(b.b) {
			continue
		}
		n, ok := at[r]
		if !ok {
			n = len(out)
			at[r] = n
			out = append(out, component{})
		}
		c := &out[n]
		c.bonds = append(c.bonds, b)
		c.legs = append(c.legs, b.a, b.b)
	}
	for i := range out {
		slices.Sort(out[i].legs)
		out[i].legs = slices.Compact(out[i].legs)
	}
	return out
}

// solve adds the way of a component. Where it does not hold together as a
// whole, weaker bonds are left out until it does.
func (j *join) solve(c component, least rank) (found bool) {
	way, why := j.way(c)
	if why == "" {
		j.ways = append(j.ways, j.steps(way))
		return true
	}
	used := map[int32]bool{}
	if least < exact {
		for _, part := range j.components(c.bonds, least+1) {
			if !j.solve(part, least+1) {
				continue
			}
			for _, i := range part.legs {
				used[i] = true
			}
		}
	}
	// The outermost call tells of what was left.
	if least == against {
		left := slices.DeleteFunc(slices.Clone(c.legs), func(i int32) bool { return used[i] })
		j.doubts.add(why, j.world, left...)
	}
	return len(used) > 0
}

// step is one translation on a way.
type step struct {
	before, after *facts
	rank          rank
}

// way orders the legs of a component from the client on, or says why it cannot.
func (j *join) way(c component) ([]step, string) {
	if len(c.legs) > maxLegs {
		return nil, WhyCrowd
	}
	var ranks [maxLegs][maxLegs]rank
	var proxied [maxLegs][maxLegs]bool
	for _, b := range c.bonds {
		if b.rank == against || b.why == WhyOrder {
			return nil, b.why
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
		return nil, why
	}
	n := len(c.legs)
	if strongest(&ranks, n) == none {
		return nil, WhyThin
	}
	line, verdicts, why := j.line(n, &proxied)
	if why != "" {
		return nil, why
	}
	var steps []step
	for k := range n - 1 {
		x, y := line[k], line[k+1]
		s := step{&j.facts[x], &j.facts[y], ranks[x][y]}
		if why := verdicts[x][y].doubt(s, proxied[x][y]); why != "" {
			return nil, why
		}
		steps = append(steps, s)
	}
	return steps, ""
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

// doubt says why a step is not to be believed, "" when it is.
func (v verdict) doubt(s step, proxied bool) string {
	a, b := s.before, s.after
	if !proxied {
		// A hop may lower the segment size that an end names, never raise it.
		for _, x := range [2][2]uint16{{a.side[0].mss, b.side[0].mss}, {b.side[1].mss, a.side[1].mss}} {
			if x[0] != 0 && x[1] > x[0] {
				return WhyContradict
			}
		}
	}
	shared := a.source == b.source || a.to == b.to
	oneWay := v.oneWay && shared && meet(a.side[0].ipids, b.side[0].ipids)
	if !v.passed && !oneWay {
		return WhyCopy
	}
	return ""
}

// steps turns a way into translations.
func (j *join) steps(way []step) []record.Translation {
	var out []record.Translation
	answered, reset := false, false
	for _, s := range way {
		for _, f := range [2]*facts{s.before, s.after} {
			answered = answered || f.side[1].spoke || f.leg.protocol == record.TCP && f.side[0].carried && !f.reset
			reset = reset || f.reset
		}
	}
	for _, s := range way {
		before, start := j.shown(s.before)
		after, _ := j.shown(s.after)
		t := record.Translation{Pos: before, Behind: after, Protocol: s.before.leg.protocol, Via: record.ViaCapture,
			Before:    record.Tuple{Source: s.before.source.addrPort(), Destination: s.before.to.addrPort()},
			After:     record.Tuple{Source: s.after.source.addrPort(), Destination: s.after.to.addrPort()},
			Unreplied: !answered, Start: start, Timeout: -1, Tier: tiers[s.rank]}
		if t.Protocol == record.TCP {
			t.State = state(answered, reset)
		}
		out = append(out, t)
	}
	return out
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

// shown picks the packet that shows a leg: a SYN where one was seen.
func (j *join) shown(f *facts) (record.Pos, time.Time) {
	members := j.members[f.leg.lo:f.leg.hi]
	n := slices.IndexFunc(members, func(m member) bool { return j.views.at(m.view).side(0, m.flipped).has(begun) })
	m := members[max(n, 0)]
	v := j.views.at(m.view)
	start := v.first
	if t := v.side(0, m.flipped).synTime; t != 0 {
		start = t
	}
	return record.Pos{Section: int(v.section), Packet: int(v.packet)}, time.Unix(0, start).UTC()
}
