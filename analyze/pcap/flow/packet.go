package flow

import (
	"whichbackend/analyze/pcap"
	"whichbackend/analyze/pcap/decode"
)

// packet is one packet on its way into the table.
type packet struct {
	*pcap.Packet
	d      decode.Packet
	key    key // but for fragments, which wait for their ports
	hash   uint32
	number uint32
	from   int    // the end that sent it
	sum    uint64 // hash of the payload, as far as it is compared
	print  uint64 // see twice
	within int64  // see twice
	back   uint8  // layers that run from b to a
	placed bool   // key.place, key.base and back are true
}

// fromUs is how SLL says that the capturing host sent a packet.
const fromUs = 4

// prepare decodes a packet and finds its place.
func (q *packet) prepare(p *pcap.Packet, at *places, seed *seeds) {
	q.Packet, q.number = p, uint32(p.Number)
	decode.Decode(p.LinkType, p.Data, p.Length, &q.d)
	q.placed = false
	if q.d.Status == decode.Flow || q.d.Status == decode.ICMPError {
		q.placed = at.find(seed, q)
		q.sum = hashBytes(head(q.d.Payload))
		q.fingerprint()
	}
}

// find sets the key of a packet that has a place.
func (q *packet) find(seed *seeds) {
	q.from = q.key.set(&q.d)
	if q.LinkType == decode.LinkSLL && q.d.HasPassed {
		// An ICMP error passes as an answer to the packet inside would.
		forth := (q.from == 0) != (q.d.Status == decode.ICMPError)
		if (q.d.Passed == fromUs) == forth {
			q.key.bits |= keyLeg
		}
	}
	q.hash = seed.key(&q.key)
}
