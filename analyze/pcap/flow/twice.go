package flow

import "whichbackend/analyze/pcap/decode"

const (
	twiceSlots = 1 << 13
	// sameID and sameBytes are within how many nanoseconds an equal packet is
	// the same packet seen twice.
	sameID    = 1e6
	sameBytes = 1e5
)

// twice knows the packets that passed last, to find those that one place saw
// twice: a mirror port that copies both ways through a switch, or the bridge
// and its port in a capture of all interfaces that does not tell them apart.
//
// Two packets are one when everything is equal that a retransmission would
// change: Linux gives each new packet another IP identification, so with one
// that is not 0 they are the same when end, numbers, flags, lengths and
// timestamps are equal within 1 ms. Without one (IPv6, or 0 as in a SYN/ACK of
// Linux) only TCP packets that carry something count, within 0.1 ms, since
// that is less than any kernel waits for an answer; repeated pure
// acknowledgements and equal datagrams are ordinary there.
type twice struct {
	slots []twiceSlot
}

type twiceSlot struct {
	print uint64
	time  int64
}

// seen tells whether the packet of flow n passed before.
func (t *twice) seen(n uint32, q *packet) bool {
	if q.within == 0 {
		return false
	}
	if t.slots == nil {
		t.slots = make([]twiceSlot, twiceSlots)
	}
	print := max(mix(q.print^(uint64(n)<<1|uint64(q.from)), 0x8ebc6af09c88c6e3), 1)
	s := &t.slots[print%twiceSlots]
	gap := q.Time - s.time
	if s.print == print && gap <= q.within && gap >= -q.within {
		return true
	}
	*s = twiceSlot{print, q.Time}
	return false
}

// fingerprint sets within to how far apart in nanoseconds two copies of the
// packet may be, 0 when a copy could not be told, and print to a hash of what
// copies have in common. The hash is not seeded: which packets share a slot
// must not depend on the run.
func (q *packet) fingerprint() {
	d := &q.d
	q.within = limit(d)
	if q.within == 0 {
		return
	}
	h := mix(uint64(d.Seq)<<32|uint64(d.Ack)^0xa0761d6478bd642f, uint64(uint32(d.PayloadLength))<<32|uint64(d.Stamp)^0xe7037ed1a0b428db)
	h ^= uint64(d.IPID) | uint64(d.Flags)<<16 | uint64(d.Window)<<32
	if d.Protocol != protocolTCP || d.Fragment {
		h = mix(h^q.sum, uint64(d.FragmentOffset)^0x589965cc75374cc3)
	}
	q.print = h
}

func limit(d *decode.Packet) (nanos int64) {
	carries := d.PayloadLength > 0 || d.Flags&(flagSYN|flagFIN|flagRST) != 0
	switch {
	case !d.V6 && d.IPID != 0:
		return sameID
	case d.Protocol == protocolTCP && carries && !d.Fragment:
		return sameBytes
	}
	return 0
}
