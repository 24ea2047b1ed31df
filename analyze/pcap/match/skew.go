package match

import (
	"cmp"
	"slices"
	"time"

	"whichbackend/analyze/record"
)

// world is a case under comparison: the views, the clocks in the order of
// their names, and what becomes of them.
type world struct {
	views  *chunks
	names  []string // of clocks, sorted
	rank   []uint16 // from the number of a clock to its place in names
	clocks []clock  // as names
	// reference is the clock with the most certain pairs.
	reference int
	// legs are connections under one tuple; members are their views.
	legs    []leg
	members []member
}

// clock is what is known of a clock against the root of its tree. Two clocks
// without a common root know nothing of each other.
type clock struct {
	offset, spread int64
	pairs          int
	root           int
	certain        bool
}

func (m *Matcher) world() *world {
	w := &world{views: &m.views, names: slices.Clone(m.clocks), rank: make([]uint16, len(m.clocks))}
	slices.Sort(w.names)
	w.names = slices.Compact(w.names)
	for i, name := range m.clocks {
		n, _ := slices.BinarySearch(w.names, name)
		w.rank[i] = uint16(n)
	}
	w.clocks = make([]clock, len(w.names))
	return w
}

func (w *world) clockOf(v *view) int { return int(w.rank[v.clock]) }

// at turns a time of a view into the time of the reference.
func (w *world) at(v *view, t int64) int64 { return t - w.clocks[w.clockOf(v)].offset }

// agreed returns how far corrected times of two clocks may be wrong, and false
// when they cannot be compared at all.
func (w *world) agreed(a, b int) (int64, bool) {
	if a == b {
		return 0, true
	}
	x, y := &w.clocks[a], &w.clocks[b]
	return x.spread + y.spread, x.root == y.root && x.certain && y.certain
}

const (
	smallISN   = 65536 // hand-made captures count from small numbers
	maxRun     = 64    // views of one mark: more are no single connection
	maxSamples = 4096  // of a pair of clocks
	// maxDistrust is how far clocks may be apart when few pairs say so: a replay
	// on another host looks like a clock that is late.
	maxDistrust = int64(10 * time.Minute)
	maxSpread   = int64(100 * time.Millisecond)
)

// quality is how well a pair of views tells the skew between their clocks.
type quality int

const (
	byDatagram quality = iota // equal datagrams, which may be sent again and again
	oneWay                    // the delay between the places is in it
	byData                    // both directions, of the first data
	byNumbers                 // both directions, both sequence numbers equal
	byTuple                   // and the same tuple: surely one connection
	qualities
)

// sample is one estimate of how much the clock b shows more than a.
type sample struct {
	a, b    int
	quality quality
	offset  int64
}

type pairOfClocks struct{ a, b int }

// estimate finds the skews from views on different clocks that carry the same
// marks. A packet that goes there and one that comes back are late by the same
// delay with opposite signs, so that their mean is free of it.
func (w *world) estimate() {
	for i := range w.clocks {
		w.clocks[i] = clock{root: i, certain: true}
	}
	if len(w.clocks) < 2 {
		return
	}
	list := make([]entry, 0, w.views.len())
	for i := range int32(w.views.len()) {
		if key, ok := w.views.at(i).mark(); ok {
			list = append(list, entry{key, i})
		}
	}
	found := map[pairOfClocks]*[qualities][]int64{}
	var local []sample
	runs(list, func(run []entry) {
		if len(run) < 2 || len(run) > maxRun {
			return
		}
		local = w.sample(local[:0], run)
		for _, s := range local {
			p := found[pairOfClocks{s.a, s.b}]
			if p == nil {
				p = new([qualities][]int64)
				found[pairOfClocks{s.a, s.b}] = p
			}
			if len(p[s.quality]) < maxSamples {
				p[s.quality] = append(p[s.quality], s.offset)
			}
		}
	})
	w.settle(found)
}

// mark is what views of one connection have in common whatever the tuple.
func (v *view) mark() (uint64, bool) {
	h := &v.half[0]
	switch v.protocol {
	case record.TCP:
		return uint64(h.isn), h.has(begun) && h.isn > smallISN
	case record.UDP:
		return mix(h.begin, uint64(h.beginLength)<<16|uint64(h.ipid)) | 1<<63, h.beginLength > 0
	}
	return 0, false
}

// sample takes the best sample of each pair of clocks in a run.
func (w *world) sample(out []sample, run []entry) []sample {
	for i := range run {
		for j := range i {
			a, b := w.views.at(run[i].i), w.views.at(run[j].i)
			if w.clockOf(a) == w.clockOf(b) {
				continue
			}
			if w.clockOf(a) > w.clockOf(b) {
				a, b = b, a
			}
			if a.protocol == record.UDP && (w.again(run, a) || w.again(run, b)) {
				continue
			}
			if s, ok := measure(a, b); ok {
				s.a, s.b = w.clockOf(a), w.clockOf(b)
				out = append(out, s)
			}
		}
	}
	slices.SortFunc(out, func(x, y sample) int {
		return cmp.Or(cmp.Compare(x.a, y.a), cmp.Compare(x.b, y.b), cmp.Compare(y.quality, x.quality), cmp.Compare(x.offset, y.offset))
	})
	return slices.CompactFunc(out, func(x, y sample) bool { return x.a == y.a && x.b == y.b })
}

// again is true when a datagram was sent a second time, by the view's clock.
func (w *world) again(run []entry, v *view) bool {
	return slices.ContainsFunc(run, func(e entry) bool {
		o := w.views.at(e.i)
		return o.clock == v.clock && abs(o.half[0].dataTime-v.half[0].dataTime) > sameMoment
	})
}

func measure(a, b *view) (sample, bool) {
	ac, as, bc, bs := &a.half[0], &a.half[1], &b.half[0], &b.half[1]
	there, thereOK := between(ac.synTime, bc.synTime, ac.sameSYN(bc))
	back, backOK := between(as.synTime, bs.synTime, as.isn == bs.isn && as.isn > smallISN && as.sameSYN(bs))
	same := a.source == b.source && a.destination == b.destination
	if thereOK && backOK {
		s := sample{quality: byNumbers, offset: mean(there, back)}
		if same {
			s.quality = byTuple
		}
		return s, true
	}
	data, dataOK := between(ac.dataTime, bc.dataTime, ac.sameBegin(bc))
	answer, answerOK := between(as.dataTime, bs.dataTime, as.sameBegin(bs))
	sure := stampsMeet(ac, bc) || ac.ipid == bc.ipid && ac.ipid != 0
	switch {
	case dataOK && answerOK && a.protocol == record.UDP && !same:
		return sample{quality: byDatagram, offset: mean(data, answer)}, true
	case dataOK && sure && a.protocol == record.UDP:
		return sample{quality: byDatagram, offset: data}, true
	case dataOK && answerOK:
		return sample{quality: byData, offset: mean(data, answer)}, true
	case thereOK && sure:
		return sample{quality: oneWay, offset: there}, true
	case dataOK && sure:
		return sample{quality: oneWay, offset: data}, true
	}
	return sample{}, false
}

// between returns how much later b is than a, if both are known and the same
// packet.
func between(a, b int64, same bool) (int64, bool) {
	return b - a, same && a != 0 && b != 0
}

func mean(a, b int64) int64 { return a + (b-a)/2 }

// sameSYN is true when the first SYN that each saw is the same packet and not
// a repetition of it, as far as both tell.
func (h *half) sameSYN(o *half) bool {
	if !h.has(begun) || !o.has(begun) || h.isn != o.isn {
		return false
	}
	if h.stamped > 0 && o.stamped > 0 {
		return h.stamps[0] == o.stamps[0]
	}
	return h.syns == o.syns && h.ipid == o.ipid
}

// sameBegin is true when both know the same first bytes.
func (h *half) sameBegin(o *half) bool {
	return h.beginLength > 0 && h.beginLength == o.beginLength && h.begin == o.begin
}

// stampsMeet is true when a timestamp of a SYN is among those of both.
func stampsMeet(a, b *half) bool {
	for _, s := range a.stamps[:a.stamped] {
		if slices.Contains(b.stamps[:b.stamped], s) {
			return true
		}
	}
	return false
}

// link is what all samples of a pair of clocks say together.
type link struct {
	pairOfClocks
	quality                quality
	median, spread         int64
	pairs                  int
	certain, hasSameTuples bool
}

func linkOf(p pairOfClocks, samples *[qualities][]int64) (link, bool) {
	l := link{pairOfClocks: p, hasSameTuples: len(samples[byTuple]) > 0}
	list := slices.Concat(samples[byNumbers], samples[byTuple])
	l.quality = byNumbers
	for len(list) == 0 && l.quality > byDatagram {
		l.quality--
		list = slices.Clone(samples[l.quality])
	}
	slices.Sort(list)
	l.pairs, l.median = len(list), list[len(list)/2]
	l.spread = list[len(list)-1-len(list)/10] - list[len(list)/10]
	enough := l.pairs >= 3 || l.hasSameTuples
	l.certain = l.quality >= byNumbers && l.spread <= maxSpread && enough
	if l.quality == byDatagram && (l.pairs < 3 || l.spread > maxSpread) {
		return l, false
	}
	return l, l.certain || abs(l.median) <= maxDistrust
}

// settle makes one offset for each clock of the links between them: the best
// links first, from the clock with the most certain pairs.
func (w *world) settle(found map[pairOfClocks]*[qualities][]int64) {
	var links []link
	weight := make([]int, len(w.clocks))
	for p, samples := range found {
		l, ok := linkOf(p, samples)
		if !ok {
			continue
		}
		links = append(links, l)
		if l.certain {
			weight[p.a] += l.pairs
			weight[p.b] += l.pairs
		}
	}
	rank := func(certain bool) int {
		if certain {
			return 1
		}
		return 0
	}
	slices.SortFunc(links, func(x, y link) int {
		return cmp.Or(cmp.Compare(rank(y.certain), rank(x.certain)), cmp.Compare(y.quality, x.quality),
			cmp.Compare(y.pairs, x.pairs), cmp.Compare(x.a, y.a), cmp.Compare(x.b, y.b))
	})
	order := make([]int, len(w.clocks))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(x, y int) int { return cmp.Compare(weight[y], weight[x]) })
	w.reference = order[0]
	done := make([]bool, len(w.clocks))
	for _, root := range order {
		if !done[root] {
			w.grow(root, done, links)
		}
	}
}

// grow reaches every clock that links lead to from the root.
func (w *world) grow(root int, done []bool, links []link) {
	done[root] = true
	for again := true; again; {
		again = false
		for _, l := range links {
			if done[l.a] == done[l.b] {
				continue
			}
			from, to, offset := l.a, l.b, l.median
			if done[l.b] {
				from, to, offset = l.b, l.a, -l.median
			}
			base := w.clocks[from]
			w.clocks[to] = clock{offset: base.offset + offset, spread: base.spread + l.spread, pairs: l.pairs,
				root: root, certain: base.certain && l.certain}
			done[to], again = true, true
			break
		}
	}
}

// skews tells each clock against the root of its tree, and the root of another
// tree than the reference's against the reference: unknown.
func (w *world) skews() []Skew {
	out := make([]Skew, len(w.clocks))
	for i, c := range w.clocks {
		out[i] = Skew{Clock: w.names[i], Reference: w.names[c.root], Offset: time.Duration(c.offset),
			Pairs: c.pairs, Spread: time.Duration(c.spread), Certain: c.certain}
		if c.root == i && i != w.reference {
			out[i].Reference, out[i].Certain = w.names[w.reference], false
		}
	}
	return out
}
