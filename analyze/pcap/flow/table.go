package flow

import (
	"net/netip"

	"whichbackend/analyze/pcap/decode"
	"whichbackend/analyze/record"
)

const (
	// maxFlows bounds the flows of a capture; packets of further ones are
	// counted as undecoded.
	maxFlows = 2_000_000
	// maxExchanges bounds those kept of one flow, and keptExchanges those of
	// all, but for the first one of each flow.
	maxExchanges  = 256
	keptExchanges = 640 << 10
	// quiet is how long UDP may be silent within one flow, in nanoseconds. By
	// then conntrack has forgotten it (120 s by default), and the next datagram
	// may be led elsewhere. Both sides of a NAT see the same silence.
	quiet = 5 * 60 * 1e9
)

// table turns packets into flows.
type table struct {
	seed      seeds
	limit     uint32 // flows at most
	index     index
	flows     chunked[entry]
	places    *places
	exchanges chunked[exchange]
	marks     []mark         // of exchanges, number from 1
	announced []record.Tuple // number from 1
	names     interned       // server names
	fragments fragments
	twice     twice
	faults    faults
	hello     hellos
	answers   answers
	undecoded undecoded
	sum       Summary
	touched   uint64 // see touch
}

func newTable() (*table, error) {
	seed, err := newSeeds()
	if err != nil {
		return nil, err
	}
	return &table{seed: seed, limit: maxFlows, places: new(places)}, nil
}

// add takes one packet, in the order of the file.
func (t *table) add(q *packet) {
	t.sum.Packets++
	switch q.d.Status {
	case decode.Flow:
		t.conversation(q)
	case decode.ICMPError:
		t.icmp(q)
	default:
		t.skip(q.number, reason{status: q.d.Status, detail: q.d.Detail})
	}
}

// skip counts a packet of which no flow is made.
func (t *table) skip(number uint32, why reason) {
	if t.undecoded.count(number, why) {
		t.sum.Known++
	} else {
		t.sum.Unknown++
	}
}

func (t *table) conversation(q *packet) {
	if !q.placed {
		t.full(q.number)
		return
	}
	if q.d.Fragment {
		if !t.fragments.complete(q) {
			t.skip(q.number, reason{own: lostFragment})
			return
		}
		q.find(&t.seed)
	}
	e, n := t.entry(q)
	if e == nil {
		t.full(q.number)
		return
	}
	t.sum.InFlows++
	if t.twice.seen(n, q) {
		e.dups++
		return
	}
	t.count(e, q)
	if q.d.Protocol == protocolTCP {
		t.tcp(e, n, q)
	} else {
		t.datagram(e, q)
	}
}

func (t *table) full(number uint32) {
	t.sum.Full++
	t.skip(number, reason{own: tableFull})
}

// entry finds the flow of a packet, or begins it. It is nil when the table is
// full.
func (t *table) entry(q *packet) (*entry, uint32) {
	s := t.slot(&q.key, q.hash)
	if s != nil {
		e := t.flows.at(s.ref - 1)
		if !t.renewed(e, q) {
			return e, s.ref - 1
		}
	}
	if s == nil && q.key.place != q.key.base {
		if e, n := t.answered(q); e != nil {
			return e, n
		}
	}
	if t.flows.n >= t.limit {
		return nil, 0
	}
	e, n := t.flows.add()
	if s != nil {
		s.ref = n + 1
	} else {
		t.index.add(q.hash, n)
	}
	t.begin(e, q)
	return e, n
}

// slot is that of the newest flow with the key.
func (t *table) slot(k *key, hash uint32) *slot {
	slots := t.index.slots
	if len(slots) == 0 {
		return nil
	}
	mask := uint32(len(slots) - 1)
	for i := hash & mask; slots[i].ref != 0; i = (i + 1) & mask {
		if slots[i].hash == hash && t.flows.at(slots[i].ref-1).is(k) {
			return &slots[i]
		}
	}
	return nil
}

// answerTime is within how many nanoseconds a datagram in a tunnel of another ID
// is an answer.
const answerTime = 5e9

// answered finds the flow that a packet in a tunnel answers to although the ID
// is another one: Cilium writes the identity of the sending workload there, so
// that the two directions of one connection differ. All else is the same, no
// answer was seen yet, and a segment of TCP acknowledges what the other sent.
func (t *table) answered(q *packet) (*entry, uint32) {
	slots := t.index.slots
	if len(slots) == 0 {
		return nil, 0
	}
	mask := uint32(len(slots) - 1)
	for i := q.hash & mask; slots[i].ref != 0; i = (i + 1) & mask {
		if slots[i].hash != q.hash {
			continue
		}
		n := slots[i].ref - 1
		e := t.flows.at(n)
		if e.same(&q.key) && t.places.list[e.place].base == q.key.base && e.answeredBy(q) {
			e.peer = q.key.place + 1
			return e, n
		}
	}
	return nil, 0
}

func (e *entry) answeredBy(q *packet) bool {
	h := &e.hot[1-q.from]
	if e.peer > 0 || e.hot[q.from].packets > 0 || h.packets == 0 {
		return false
	}
	if e.protocol != protocolTCP {
		return q.Time-e.last <= answerTime
	}
	low := h.next - uint32(h.sent)
	return q.d.Flags&flagACK != 0 && h.flags&halfPlaced != 0 && q.d.Ack-low <= h.next+1-low
}

func (t *table) begin(e *entry, q *packet) {
	k := &q.key
	e.a, e.b, e.ports, e.place = k.a, k.b, k.ports, k.place
	e.protocol, e.bits = k.protocol, k.bits
	e.back = q.back
	if q.from == 1 {
		e.back = ^q.back
		e.flags |= flagFirstB
	}
	e.first, e.last, e.number = q.Time, q.Time, q.number
	e.cold[0].scale, e.cold[1].scale = -1, -1
	e.setClient(guessClient(e.protocol, e.ports, q.from), false)
}

// count counts a packet of an end, and keeps what its first one says.
func (t *table) count(e *entry, q *packet) {
	h := &e.hot[q.from]
	if h.packets == 0 {
		c := &e.cold[q.from]
		c.ttl, c.ipid = q.d.TTL, q.d.IPID
	}
	h.packets++
	h.bytes += uint64(max(q.Length, 0))
	e.last = max(e.last, q.Time)
}

// renewed tells whether the packet begins a new flow on the tuple of an old one.
func (t *table) renewed(e *entry, q *packet) bool {
	switch record.Protocol(e.protocol) {
	case record.TCP:
		return reused(e, q)
	case record.UDP:
		return q.Time-e.last > quiet
	}
	return false
}

// interned keeps each text once.
type interned struct {
	list []string
	at   map[string]uint32 // number from 1
}

func (s *interned) number(text []byte) uint32 {
	if n, ok := s.at[string(text)]; ok {
		return n
	}
	if s.at == nil {
		s.at = map[string]uint32{}
	}
	kept := string(text)
	s.list = append(s.list, kept)
	n := uint32(len(s.list))
	s.at[kept] = n
	return n
}

// announce keeps what a PROXY header says.
func (t *table) announce(from, to netip.AddrPort) uint32 {
	t.announced = append(t.announced, record.Tuple{Source: from, Destination: to})
	return uint32(len(t.announced))
}
