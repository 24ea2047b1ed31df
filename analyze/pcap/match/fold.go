package match

import (
	"cmp"
	"slices"
	"time"

	"whichbackend/analyze/record"
)

// leg is one connection under one tuple, in all places that saw it.
type leg struct {
	lo, hi      int32 // its members
	c, s        uint32
	first, last int64 // corrected
	start       int64 // corrected time of its first SYN, else first
	protocol    record.Protocol
	// hasC and hasS: c and s are known. constant: s belongs to many
	// connections and says nothing.
	hasC, hasS, constant bool
	// swapped: the client is the higher end. guessed: no view saw who began.
	// unsure: the guesses contradict each other.
	swapped, guessed, unsure bool
}

// member is a view of a leg; flipped when it takes the server for the client.
type member struct {
	view    int32
	flipped bool
}

const (
	// sameTime is how far apart the views of one handshake may lie.
	sameTime = int64(3 * time.Second)
	// slack is how far apart views of one tuple may lie that no sequence number
	// ties together.
	slack = int64(time.Second)
	// maxShared is how many views of a leg are asked for a segment.
	maxShared = 16
)

// fold gathers the views of each tuple into legs.
func (w *world) fold() {
	list := make([]entry, w.views.len())
	for i := range list {
		list[i] = entry{w.views.at(int32(i)).key(), int32(i)}
	}
	w.members, w.legs = make([]member, 0, len(list)), make([]leg, 0, len(list))
	f := folder{world: w}
	var group []int32
	runs(list, func(run []entry) {
		if len(run) == 1 {
			f.open = f.open[:0]
			f.begin(run[0].i)
			f.close()
			return
		}
		group = group[:0]
		for _, e := range run {
			group = append(group, e.i)
		}
		f.tuples(group)
	})
}

// folder makes legs of the views of one tuple.
type folder struct {
	*world
	open []draft
}

// draft is a leg that views still join.
type draft struct {
	leg
	views []int32
}

// begin opens a draft with one view. It reuses the memory of earlier ones.
func (f *folder) begin(i int32) {
	n := len(f.open)
	f.open = slices.Grow(f.open, 1)[:n+1]
	d := &f.open[n]
	v := f.views.at(i)
	*d = draft{leg: leg{first: f.at(v, v.first), last: f.at(v, v.last), protocol: v.protocol}, views: d.views[:0]}
	d.join(i, v, f.world)
}

func (d *draft) join(i int32, v *view, w *world) {
	d.views = append(d.views, i)
	d.first, d.last = min(d.first, w.at(v, v.first)), max(d.last, w.at(v, v.last))
	if v.protocol != record.TCP {
		return
	}
	if h := &v.half[0]; h.has(begun) {
		d.c, d.hasC = h.isn, true
	}
	if h := &v.half[1]; h.has(begun) {
		d.s, d.hasS = h.isn, true
	}
}

// fits is true when the view lies in the time of the draft and knows no other
// server's number.
func (d *draft) fits(v *view, w *world, within int64) bool {
	h := &v.half[1]
	return w.at(v, v.first) <= d.last+within && w.at(v, v.last) >= d.first-within &&
		(!d.hasS || !h.has(begun) || h.isn == d.s)
}

// tuples divides views of one key, which may be of several tuples when hashes
// collide.
func (f *folder) tuples(group []int32) {
	slices.SortFunc(group, func(a, b int32) int {
		x, y := f.views.at(a), f.views.at(b)
		xl, xh, _ := x.ends()
		yl, yh, _ := y.ends()
		return cmp.Or(cmp.Compare(x.protocol, y.protocol), xl.compare(yl), xh.compare(yh),
			cmp.Compare(f.at(x, x.first), f.at(y, y.first)), compareViews(x, y))
	})
	for lo := 0; lo < len(group); {
		v := f.views.at(group[lo])
		l, h, _ := v.ends()
		hi := lo + 1
		for ; hi < len(group); hi++ {
			o := f.views.at(group[hi])
			ol, oh, _ := o.ends()
			if o.protocol != v.protocol || ol != l || oh != h {
				break
			}
		}
		f.tuple(group[lo:hi], v.protocol)
		lo = hi
	}
}

// tuple makes the legs of one tuple, whose views come in order of time.
func (f *folder) tuple(group []int32, protocol record.Protocol) {
	var rest []int32
	f.open = f.open[:0]
	if protocol == record.TCP {
		rest = f.numbered(group)
	} else {
		rest = group
	}
	f.unnumbered(rest)
	f.close()
}

// numbered makes a leg of all views with one client's number, and returns the
// views that know none.
func (f *folder) numbered(group []int32) (rest []int32) {
	var known, half []int32
	for _, i := range group {
		v := f.views.at(i)
		switch {
		case !v.half[0].has(begun):
			rest = append(rest, i)
		case v.half[1].has(begun):
			known = append(known, i)
		default:
			half = append(half, i)
		}
	}
	byNumber := map[uint32][]int{} // to the latest legs of a number
	for _, i := range append(known, half...) {
		v := f.views.at(i)
		isn := v.half[0].isn
		var fitting []int
		for _, n := range byNumber[isn] {
			if f.open[n].fits(v, f.world, sameTime) {
				fitting = append(fitting, n)
			}
		}
		if len(fitting) == 1 {
			f.open[fitting[0]].join(i, v, f.world)
			continue
		}
		f.begin(i)
		latest := append(byNumber[isn], len(f.open)-1)
		byNumber[isn] = latest[max(0, len(latest)-maxLegs):]
	}
	return rest
}

// unnumbered joins views that saw no SYN to the one leg of their time, and
// makes legs of the others by time alone.
func (f *folder) unnumbered(rest []int32) {
	slices.SortFunc(f.open, func(a, b draft) int {
		return cmp.Or(cmp.Compare(a.first, b.first), compareViews(f.views.at(a.views[0]), f.views.at(b.views[0])))
	})
	numbered := len(f.open)
	for _, i := range rest {
		v := f.views.at(i)
		if n := f.only(v, numbered); n >= 0 {
			f.open[n].join(i, v, f.world)
			continue
		}
		if last := len(f.open) - 1; last >= numbered && f.open[last].fits(v, f.world, slack) {
			f.open[last].join(i, v, f.world)
			continue
		}
		f.begin(i)
	}
}

// only returns the leg with known numbers that alone is of the view's time, or
// that alone shares a segment with it; -1 when there is none.
func (f *folder) only(v *view, numbered int) int {
	after, _ := slices.BinarySearchFunc(f.open[:numbered], f.at(v, v.last)+slack+1, func(d draft, t int64) int { return cmp.Compare(d.first, t) })
	var fitting, sharing []int
	for n := after - 1; n >= max(0, after-maxRun); n-- {
		if f.open[n].fits(v, f.world, slack) {
			fitting = append(fitting, n)
		}
	}
	if len(fitting) == 1 {
		return fitting[0]
	}
	if len(fitting) <= maxLegs {
		for _, n := range fitting {
			if f.shares(&f.open[n], v) {
				sharing = append(sharing, n)
			}
		}
	}
	if len(sharing) == 1 {
		return sharing[0]
	}
	return -1
}

// shares is true when a segment of the view is one of the draft's.
func (f *folder) shares(d *draft, v *view) bool {
	for _, i := range d.views[:min(len(d.views), maxShared)] {
		o := f.views.at(i)
		for a := range o.half {
			for b := range v.half {
				if common(&o.half[a], &v.half[b]) > 0 {
					return true
				}
			}
		}
	}
	return false
}

// common counts the segments that both sampled.
func common(a, b *half) (n int) {
	for _, s := range a.segments {
		if s != 0 && slices.Contains(b.segments[:], s) {
			n++
		}
	}
	return n
}

// close turns the drafts into legs.
func (f *folder) close() {
	for i := range f.open {
		f.finish(&f.open[i])
	}
}

func (f *folder) finish(d *draft) {
	slices.SortFunc(d.views, func(a, b int32) int { return compareViews(f.views.at(a), f.views.at(b)) })
	swapped := [2]int{} // how many guess so
	d.guessed = true
	for _, i := range d.views {
		v := f.views.at(i)
		_, _, s := v.ends()
		if !v.guessed {
			d.guessed, d.swapped = false, s
			break
		}
		if s {
			swapped[1]++
		} else {
			swapped[0]++
		}
	}
	if d.guessed {
		d.unsure = swapped[0] > 0 && swapped[1] > 0
		d.swapped = swapped[1] > swapped[0]
	}
	d.lo = int32(len(f.members))
	d.start = d.first
	started := false
	for _, i := range d.views {
		v := f.views.at(i)
		_, _, s := v.ends()
		m := member{i, s != d.swapped}
		f.members = append(f.members, m)
		if t := v.side(0, m.flipped).synTime; t != 0 && (!started || f.at(v, t) < d.start) {
			d.start, started = f.at(v, t), true
		}
	}
	d.hi = int32(len(f.members))
	f.legs = append(f.legs, d.leg)
}

// conversations lists the flows of legs that have several.
func (w *world) conversations() [][]int {
	var out [][]int
	for i := range w.legs {
		l := &w.legs[i]
		if l.hi-l.lo < 2 {
			continue
		}
		ids := make([]int, 0, l.hi-l.lo)
		for _, m := range w.members[l.lo:l.hi] {
			ids = append(ids, int(w.views.at(m.view).id))
		}
		slices.Sort(ids)
		out = append(out, ids)
	}
	slices.SortFunc(out, func(a, b []int) int { return cmp.Compare(a[0], b[0]) })
	return out
}
