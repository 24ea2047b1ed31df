package flow

import (
	"cmp"
	"slices"
	"sort"

	"whichbackend/analyze/record"
)

// maxFaults bounds the ICMP errors that are kept because their flow was not
// there when they came.
const maxFaults = 1 << 16

// faults are the ICMP errors about flows.
type faults struct {
	list    []record.Fault // number from 1
	waiting []waiting
	// alone are flows that nothing but an ICMP error speaks of.
	alone []entry
}

// waiting is an ICMP error whose flow was not seen in its own place.
type waiting struct {
	key   key
	back  uint8
	from  int
	fault uint32
	time  int64
}

// icmp attaches an error to the flow that the packet inside it names, unless an
// earlier one told already. The flow's packets went the other way.
func (t *table) icmp(q *packet) {
	if !q.placed {
		t.full(q.number)
		return
	}
	if q.d.FragmentOffset > 0 {
		if !t.fragments.complete(q) {
			t.skip(q.number, reason{own: lostFragment})
			return
		}
		q.find(&t.seed)
	}
	k := q.key
	s := t.slot(&k, q.hash)
	if s != nil {
		if e := t.flows.at(s.ref - 1); e.fault == 0 {
			e.fault = t.fault(q)
		}
		t.sum.InFlows++
		return
	}
	if len(t.faults.waiting) >= maxFaults {
		t.skip(q.number, reason{own: lostFault})
		return
	}
	back := q.back
	if q.from == 0 {
		back = ^back // the error came from b
	}
	t.sum.InFlows++
	t.faults.waiting = append(t.faults.waiting, waiting{key: k, back: back, from: q.from, fault: t.fault(q), time: q.Time})
}

func (t *table) fault(q *packet) uint32 {
	d := &q.d
	t.faults.list = append(t.faults.list, record.Fault{
		Packet: q.Number, Type: d.ICMPType, Code: d.ICMPCode,
		From: d.ICMPSource.Netip(d.V6), Six: d.V6,
	})
	return uint32(len(t.faults.list))
}

// tuple is a key without its place.
func (k key) tuple() key {
	k.place, k.base, k.bits = 0, 0, k.bits&keyV6
	return k
}

// settle attaches the errors that wait: to the flow with their tuple that began
// last before them, on the same interface if there is one, else on any. Where
// there is none, a flow without packets carries the error.
func (t *table) settle() {
	if len(t.faults.waiting) == 0 {
		return
	}
	began := t.candidates()
	alone := map[key]bool{}
	for i := range t.faults.waiting {
		w := &t.faults.waiting[i]
		near := w.key.tuple()
		near.place = t.places.list[w.key.place].device.number + 1
		e := t.before(began[near], w.time)
		if e == nil {
			e = t.before(began[w.key.tuple()], w.time)
		}
		switch {
		case e == nil && !alone[w.key]:
			alone[w.key] = true
			t.faults.alone = append(t.faults.alone, t.lone(w))
		case e != nil && (e.fault == 0 || t.faults.list[w.fault-1].Packet < t.faults.list[e.fault-1].Packet):
			e.fault = w.fault
		}
	}
}

// candidates are the flows with the tuples that errors wait for, by their begin:
// of any interface, and of each one, whose number from 1 stands for the place.
func (t *table) candidates() map[key][]uint32 {
	began := map[key][]uint32{}
	for i := range t.faults.waiting {
		began[t.faults.waiting[i].key.tuple()] = nil
	}
	for n := range t.flows.n {
		e := t.flows.at(n)
		k := key{a: e.a, b: e.b, ports: e.ports, protocol: e.protocol, bits: e.bits & keyV6}
		if _, ok := began[k]; !ok {
			continue
		}
		began[k] = append(began[k], n)
		k.place = t.places.list[e.place].device.number + 1
		began[k] = append(began[k], n)
	}
	for _, list := range began {
		slices.SortStableFunc(list, func(x, y uint32) int {
			return cmp.Compare(t.flows.at(x).first, t.flows.at(y).first)
		})
	}
	return began
}

// before is the flow of a list that began last before the time, nil for none.
func (t *table) before(list []uint32, time int64) *entry {
	i := sort.Search(len(list), func(i int) bool { return t.flows.at(list[i]).first > time })
	if i == 0 {
		return nil
	}
	return t.flows.at(list[i-1])
}

// lone makes the flow of an error about a packet that was not captured.
func (t *table) lone(w *waiting) (e entry) {
	e.a, e.b, e.ports, e.place = w.key.a, w.key.b, w.key.ports, w.key.place
	e.protocol, e.bits, e.back = w.key.protocol, w.key.bits, w.back
	e.first, e.last = w.time, w.time
	e.number = uint32(t.faults.list[w.fault-1].Packet)
	e.fault = w.fault
	e.cold[0].scale, e.cold[1].scale = -1, -1
	e.setClient(guessClient(e.protocol, e.ports, w.from), false)
	return e
}
