package relay

import (
	"cmp"
	"slices"
	"time"
)

// machines tells which addresses are one machine: a set of disjoint sets.
type machines []uint32

func (m machines) of(a uint32) uint32 {
	for m[a] != a {
		m[a] = m[m[a]]
		a = m[a]
	}
	return a
}

func (m machines) join(a, b uint32) {
	// The lower number wins, so that the sets do not depend on the order.
	x, y := m.of(a), m.of(b)
	m[max(x, y)] = min(x, y)
}

// How many pairs of flows must show that one address takes connections which
// another carries on, before the two are held for one machine. A pair counts
// when two flows that begin within voteWindow share what is compared, with no
// third near, and one is nested in the other; lockstep clients of two servers
// share sizes too, but then as many pairs are not nested.
const (
	votesByBegin = 5
	votesBySize  = 8
	voteWindow   = time.Second
)

// findMachines says which addresses are one machine: as told, by loopback
// addresses, and by what the flows themselves show.
func (w *world) findMachines() machines {
	m := make(machines, len(w.addresses))
	for i := range m {
		m[i] = uint32(i)
	}
	for _, s := range w.same {
		m.join(s[0], s[1])
	}
	w.joinLocal(m)
	for _, c := range w.ins {
		if w.addresses[c.source].IsLoopback() || w.addresses[c.destination].IsLoopback() {
			m.join(c.source, c.destination)
		}
	}
	e := election{w: w, machines: m}
	e.gather()
	e.elect()
	w.joinBySizes(m)
	return m
}

// joinLocal joins the addresses that are the capturing machine's own: a capture
// of all its interfaces sees what it forwards come in and go out, what it takes
// itself only come in, and what it sends only go out.
func (w *world) joinLocal(m machines) {
	local := map[int]uint32{} // an address of each capture's machine
	for _, c := range w.ins {
		own := c.destination
		switch w.legs[c.wire] {
		case legIn:
		case legOut:
			own = c.source
		default:
			continue
		}
		if first, ok := local[c.capture]; ok {
			m.join(first, own)
		} else {
			local[c.capture] = own
		}
	}
}

// kind is what two flows share.
type kind uint8

const (
	byHello      kind = iota // the greeting of TLS
	byBegin                  // the first bytes of connections
	byLine                   // the first line of requests
	byID                     // the x-request-id and the first line
	bySizes                  // the sizes of connections
	byAnswer                 // what the servers sent
	byRequest                // the sizes of requests and answers
	byAnswerOnly             // the sizes of answers
)

// trait is something that two flows may share, and who shows it: a wire, or
// the request of one.
type trait struct {
	kind    kind
	value   uint64
	wire    int32
	request int32 // index in world.requests, -1 for the whole connection
}

// holder is a flow, or a request of one, that shows a trait.
type holder struct {
	wire        int32
	first, last int64
	up          uint64
}

// link is the guess that address in takes what address out carries on.
type link struct {
	in, out uint32
	kind    kind
}

// tally counts for and against a link. deltas are the differences of the
// bytes sent upstream, which of a proxy are few.
type tally struct {
	yes, no int
	deltas  map[int64]int
}

// election finds links between addresses that are not known to be one machine.
type election struct {
	w        *world
	machines machines
	in       []*conn // by wire
	traits   []trait
	tallies  map[link]*tally
}

// gather notes who shows which trait.
func (e *election) gather() {
	e.in = e.w.insByWire()
	for _, c := range e.w.ins {
		if c.hello && c.up.kept >= helloLength {
			e.note(byHello, mix(c.up.begin, uint64(c.up.kept)), c, -1)
		} else if c.up.kept >= leastBegin {
			e.note(byBegin, mix(c.up.begin, uint64(c.up.kept)), c, -1)
		}
		if c.up.exact && c.down.exact && c.down.bytes >= leastBytes {
			e.note(bySizes, mix(c.up.bytes, c.down.bytes), c, -1)
			e.note(byAnswer, c.down.bytes, c, -1)
		}
		for i := c.requests; i < c.requestsEnd; i++ {
			e.gatherRequest(c, i)
		}
	}
}

func (e *election) gatherRequest(c *conn, i int) {
	q := &e.w.requests[i]
	if q.answer == 0 {
		return
	}
	if q.begin != 0 {
		e.note(byLine, q.begin, c, i)
	}
	if q.id != 0 && q.begin != 0 {
		e.note(byID, mix(q.id, q.begin), c, i)
	}
	if q.down >= leastBytes {
		e.note(byRequest, mix(q.up, q.down), c, i)
		e.note(byAnswerOnly, q.down, c, i)
	}
}

func (e *election) note(k kind, value uint64, c *conn, request int) {
	e.traits = append(e.traits, trait{k, value, c.wire, int32(request)})
}

func (e *election) holder(t trait) holder {
	c := e.in[t.wire]
	if t.request < 0 {
		return holder{c.wire, c.first, c.last, c.up.bytes}
	}
	q := &e.w.requests[t.request]
	return holder{c.wire, q.start, q.end, q.up}
}

// elect joins the addresses that the flows show to be one machine.
func (e *election) elect() {
	slices.SortFunc(e.traits, func(a, b trait) int {
		if a.kind != b.kind {
			return cmp.Compare(a.kind, b.kind)
		}
		return cmp.Compare(a.value, b.value)
	})
	e.tallies = map[link]*tally{}
	for i, j := 0, 0; i < len(e.traits); i = j {
		for j = i; j < len(e.traits) && e.traits[j].kind == e.traits[i].kind && e.traits[j].value == e.traits[i].value; j++ {
		}
		if j-i > 1 {
			e.count(e.traits[i:j])
		}
	}
	var won []link
	for l, t := range e.tallies {
		if l.kind.enough(t) {
			won = append(won, l)
		}
	}
	// Which addresses become one does not depend on the order of joining.
	for _, l := range won {
		e.machines.join(l.in, l.out)
	}
}

// count lets the pairs of flows vote that share a trait with no third near.
func (e *election) count(run []trait) {
	all := make([]holder, len(run))
	for i, t := range run {
		all[i] = e.holder(t)
	}
	slices.SortFunc(all, func(a, b holder) int { return cmp.Compare(a.first, b.first) })
	apart := func(i, j int) bool {
		return i < 0 || j >= len(all) || all[j].first-all[i].first > int64(voteWindow)
	}
	for i := 0; i+1 < len(all); i++ {
		a, b := all[i], all[i+1]
		if a.wire == b.wire || apart(i, i+1) || !apart(i-1, i) || !apart(i+1, i+2) {
			continue
		}
		e.vote(run[0].kind, a, b, nested(a, b))
		e.vote(run[0].kind, b, a, nested(b, a))
	}
}

func nested(outer, inner holder) bool {
	return outer.first <= inner.first && inner.last <= outer.last+int64(requestSlack)
}

// vote counts a pair for or against the link between in's server and out's
// client.
func (e *election) vote(k kind, in, out holder, yes bool) {
	d, u := e.in[in.wire], e.w.outs[out.wire]
	if e.machines.of(d.destination) == e.machines.of(u.source) {
		return
	}
	// One client at two servers, or one server with two clients, is no proxy.
	// A greeting of TLS has a random part, and so needs no such doubt.
	if k != byHello && (d.source == u.source || d.destination == u.destination) {
		return
	}
	l := link{d.destination, u.source, k}
	t := e.tallies[l]
	if t == nil {
		t = &tally{deltas: map[int64]int{}}
		e.tallies[l] = t
	}
	if !yes {
		t.no++
		return
	}
	t.yes++
	t.deltas[int64(out.up)-int64(in.up)]++
}

// enough says whether the votes prove a link.
func (k kind) enough(t *tally) bool {
	if t.no*10 > t.yes {
		return false
	}
	switch k {
	case byHello, byID:
		return t.yes > 0 && t.no == 0
	case byBegin, byLine:
		return t.yes >= votesByBegin
	}
	var counts []int
	for _, n := range t.deltas {
		counts = append(counts, n)
	}
	slices.Sort(counts)
	most := 0
	for _, n := range counts[max(0, len(counts)-maxOffsets):] {
		most += n
	}
	return t.yes >= votesBySize && most*5 >= t.yes*4
}
