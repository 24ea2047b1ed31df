package flow

import (
	"net/netip"

	"whichbackend/analyze/pcap"
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
	places    places
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
}

func newTable() (*table, error) {
	seed, err := newSeeds()
	if err != nil {
		return nil, err
	}
	return &table{seed: seed, limit: maxFlows}, nil
}

// packet is one packet on its way through the table.
type packet struct {
	*pcap.Packet
	d      *decode.Packet
	number uint32
	from   int // the end that sent it
}

// add takes one packet and what it was decoded to.
func (t *table) add(p *pcap.Packet, d *decode.Packet) {
	t.sum.Packets++
	switch d.Status {
	case decode.Flow:
		t.conversation(p, d)
	case decode.ICMPError:
		t.icmp(p, d)
	default:
		t.skip(uint32(p.Number), reason{status: d.Status, detail: d.Detail})
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

func (t *table) conversation(p *pcap.Packet, d *decode.Packet) {
	q := packet{Packet: p, d: d, number: uint32(p.Number)}
	at, back, ok := t.places.find(&t.seed, p, d)
	if !ok {
		t.full(q.number)
		return
	}
	if d.Fragment && !t.fragments.complete(at, p, d) {
		t.skip(q.number, reason{own: lostFragment})
		return
	}
	k, from := keyOf(d)
	k.place = at
	if p.LinkType == decode.LinkSLL && d.HasPassed && (d.Passed == fromUs) == (from == 0) {
		k.bits |= keyLeg
	}
	q.from = from
	e, n := t.entry(&k, &q, back)
	if e == nil {
		t.full(q.number)
		return
	}
	t.sum.InFlows++
	if t.twice.seen(n, &q) {
		e.dups++
		return
	}
	t.count(e, &q)
	if d.Protocol == protocolTCP {
		t.tcp(e, n, &q)
	} else {
		t.datagram(e, &q)
	}
}

// fromUs is how SLL says that the capturing host sent a packet.
const fromUs = 4

func (t *table) full(number uint32) {
	t.sum.Full++
	t.skip(number, reason{own: tableFull})
}

// entry finds the flow of a packet, or begins it. It is nil when the table is
// full.
func (t *table) entry(k *key, q *packet, back uint8) (*entry, uint32) {
	hash := t.seed.key(k)
	s := t.slot(k, hash)
	if s != nil {
		e := t.flows.at(s.ref - 1)
		if !t.renewed(e, q) {
			return e, s.ref - 1
		}
	}
	if t.flows.n >= t.limit {
		return nil, 0
	}
	e, n := t.flows.add()
	if s != nil {
		s.ref = n + 1
	} else {
		t.index.add(hash, n)
	}
	t.begin(e, k, q, back)
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

func (t *table) begin(e *entry, k *key, q *packet, back uint8) {
	e.a, e.b, e.ports, e.place = k.a, k.b, k.ports, k.place
	e.protocol, e.bits = k.protocol, k.bits
	e.back = back
	if q.from == 1 {
		e.back = ^back
	}
	e.first, e.last, e.number = q.Time, q.Time, q.number
	e.cold[0].scale, e.cold[1].scale = -1, -1
	e.setClient(guessClient(e.ports, q.from), false)
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
