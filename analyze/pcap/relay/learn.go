package relay

import "sort"

const (
	// samples is how many upstream items of a level offsets are learned from,
	// and sampleWidth how many downstream ones are looked at for each.
	samples, sampleWidth = 512, 128
	// leastPairs is how many pairs must agree on an offset, leastAlike how many
	// of them must have sizes of their own, and leastVariety
	// how many different sizes they must have beyond the first of each
	// direction: flows that are all alike agree on anything.
	leastPairs, leastAlike, leastVariety = 5, 5, 4
	// leastLines is how many different first lines, equal on both sides, show
	// an offset as well.
	leastLines = 3
	// leastPlain is of how many upstream items one must have the sizes of one
	// that came in, for the proxy to be one that changes nothing.
	leastPlain = 4
	// maxOffsets bounds the offsets of a route.
	maxOffsets = 3
	// maxOffset is more than any proxy adds to a request in headers.
	maxOffset = 16384
)

// guess is an offset of a route that pairs may agree on.
type guess struct {
	terms *terms
	offset
}

// support is what speaks for a guess. Alike are the pairs of different sizes:
// many flows of one size agree on whatever one upstream connection has.
type support struct {
	guess
	pairs, same    int
	alike          int
	ups, downs, by variety
}

// sizesOf are the sizes of a pair: with the guess, those of one side tell both.
type sizesOf struct {
	guess
	up, down uint64
}

// variety counts different values, up to its size.
type variety struct {
	values [8]uint64
	n      int
}

func (v *variety) add(x uint64) {
	for _, y := range v.values[:v.n] {
		if x == y {
			return
		}
	}
	if v.n < len(v.values) {
		v.values[v.n] = x
		v.n++
	}
}

// learn finds what the proxy adds to the bytes: the difference that most pairs
// which might belong together agree on. Wrong pairs agree on nothing, unless
// all flows have one size, and then nothing is learned but from pairs with the
// same first bytes.
func (l *level) learn() {
	counts, lines, alike := map[guess]int{}, map[guess]int{}, map[guess]int{}
	seen := map[sizesOf]bool{}
	rough := new(sketch)
	l.sample(func(g guess, _, _ *item) { rough.add(g.offset) })
	l.sample(func(g guess, in, out *item) {
		if !rough.often(g.offset) {
			return
		}
		counts[g]++
		if k := (sizesOf{g, in.up, in.down}); !seen[k] {
			seen[k] = true
			alike[g]++
		}
		if equal, known := sameBegin(in, out); known && equal {
			lines[g]++
		}
	})
	byTerms, linesByTerms := byCount(counts), byCount(lines)
	watched := map[guess]*support{}
	for _, m := range []map[*terms][]guess{byTerms, linesByTerms} {
		for _, gs := range m {
			for _, g := range gs[:min(len(gs), maxOffsets+1)] {
				watched[g] = &support{guess: g, alike: alike[g]}
			}
		}
	}
	l.sample(func(g guess, in, out *item) {
		if s := watched[g]; s != nil {
			s.add(in, out)
		}
	})
	for t, gs := range linesByTerms {
		t.chooseByLines(gs, lines, watched)
	}
	for t, gs := range byTerms {
		if len(t.offsets) == 1 {
			t.choose(gs, watched)
		}
	}
	for t, gs := range linesByTerms {
		if len(t.offsets) == 1 {
			t.chooseByOneLine(gs, lines)
		}
	}
	l.doubtPlain()
}

// sketch tells which offsets occur too seldom to be a guess: nearly all that are
// sampled, and counting each of them by itself takes most of the time. Several
// may share a place, which makes them more and never fewer.
type sketch [1 << 17]uint8

func (s *sketch) place(o offset) *uint8 { return &s[mix(uint64(o.up), uint64(o.down))%uint64(len(s))] }

func (s *sketch) add(o offset) {
	if n := s.place(o); *n < leastLines {
		*n++
	}
}

func (s *sketch) often(o offset) bool { return *s.place(o) >= leastLines }

// doubtPlain finds the upstream ports to which proxies do not pass on what they
// get as it is, as with TLS: most of what goes there has the sizes of nothing
// that came in. What has them nevertheless has them by chance.
func (l *level) doubtPlain() {
	type count struct{ all, plain int }
	ports := map[uint16]*count{}
	step := max(1, len(l.outs)/samples)
	for i := 0; i < len(l.outs); i += step {
		out := &l.outs[i]
		if !out.exact() || out.done {
			continue
		}
		some, plain := false, false
		l.eachIn(out, func(in *item) bool {
			if in.exact() && l.inside(in, out) {
				some = true
				plain = in.up == out.up && in.down == out.down
			}
			return !plain
		})
		c := ports[out.c.destinationPort]
		if c == nil {
			c = &count{}
			ports[out.c.destinationPort] = c
		}
		if some {
			c.all++
		}
		if plain {
			c.plain++
		}
	}
	for port, c := range ports {
		for _, t := range l.byPort[port] {
			t.changed = c.all >= leastPairs && c.plain*leastPlain < c.all
		}
	}
}

// byCount sorts the guesses of each route, the most frequent first.
func byCount(counts map[guess]int) map[*terms][]guess {
	byTerms := map[*terms][]guess{}
	for g, n := range counts {
		if n >= leastLines {
			byTerms[g.terms] = append(byTerms[g.terms], g)
		}
	}
	for _, gs := range byTerms {
		sort.Slice(gs, func(i, j int) bool { return guessBefore(counts, gs[i], gs[j]) })
	}
	return byTerms
}

func guessBefore(counts map[guess]int, a, b guess) bool {
	if counts[a] != counts[b] {
		return counts[a] > counts[b]
	}
	if a.up != b.up {
		return a.up < b.up
	}
	return a.down < b.down
}

// sample visits pairs that may belong together.
func (l *level) sample(visit func(g guess, in, out *item)) {
	step := max(1, len(l.outs)/samples)
	for i := 0; i < len(l.outs); i += step {
		out := &l.outs[i]
		if !out.exact() || out.done {
			continue
		}
		n := 0
		l.eachIn(out, func(in *item) bool {
			n++
			up, down := int64(out.up-in.up), int64(out.down-in.down)
			if in.exact() && l.inside(in, out) && max(up, -up, down, -down) <= maxOffset {
				visit(guess{l.terms(in, out), offset{up, down}}, in, out)
			}
			return n < sampleWidth
		})
	}
}

func (s *support) add(in, out *item) {
	s.pairs++
	s.ups.add(in.up)
	s.downs.add(in.down)
	if equal, known := sameBegin(in, out); known && equal {
		s.same++
		s.by.add(in.upBegin)
	}
}

// chooseByLines takes the guess on which pairs with equal first bytes agree,
// when those bytes are many and nearly always give this guess.
func (t *terms) chooseByLines(gs []guess, lines map[guess]int, watched map[guess]*support) {
	if s := watched[gs[0]]; s.by.n >= leastLines && agree(gs, lines) {
		t.offsets = append(t.offsets, gs[0].offset)
	}
}

// chooseByOneLine takes the guess on which pairs agree that all have the same
// first bytes. It may be an application that asks others what it is asked
// itself, and so is good for an answer by time at most.
func (t *terms) chooseByOneLine(gs []guess, lines map[guess]int) {
	if lines[gs[0]] >= leastPairs && agree(gs, lines) {
		t.offsets = append(t.offsets, gs[0].offset)
		t.weak = true
	}
}

// agree says whether nearly all pairs are for the first guess.
func agree(gs []guess, lines map[guess]int) bool {
	all := 0
	for _, g := range gs {
		all += lines[g]
	}
	return lines[gs[0]]*5 >= all*4
}

// choose takes the guesses that stand out from the next, which are sorted by
// their number.
func (t *terms) choose(gs []guess, watched map[guess]*support) {
	for _, g := range gs[:standing(gs, watched)] {
		s := watched[g]
		if s.pairs < leastPairs || s.alike < leastAlike || s.ups.n+s.downs.n-2 < leastVariety {
			return
		}
		t.offsets = append(t.offsets, g.offset)
		// The first bytes stay as they are when they are nearly always equal.
		t.keepLine = t.keepLine || s.by.n >= leastLines && s.same*10 >= s.pairs*9
	}
}

// standing is how many of the guesses stand out from those behind them: behind
// the last of them the numbers fall by half or more.
func standing(gs []guess, watched map[guess]*support) int {
	best, fall := 0, 2.0
	for n := 1; n <= min(len(gs), maxOffsets); n++ {
		next := 1
		if n < len(gs) {
			next = watched[gs[n]].pairs
		}
		if f := float64(watched[gs[n-1]].pairs) / float64(max(next, 1)); f >= fall {
			best, fall = n, f
		}
	}
	return best
}
