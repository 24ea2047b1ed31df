package flow

import "whichbackend/analyze/record"

// datagram brings the flow up to date with a packet of UDP, SCTP or another
// protocol of which each packet stands for itself.
func (t *table) datagram(e *entry, q *packet) {
	d, h, c := q.d, &e.hot[q.from], &e.cold[q.from]
	if d.PayloadLength <= 0 {
		return
	}
	h.sent += uint64(d.PayloadLength)
	if c.data == 0 {
		c.data, c.dataTime = q.number, q.Time
	}
	if d.FragmentOffset > 0 {
		return // it goes on with what the first fragment began
	}
	c.sample(h, q)
	if h.flags&halfBegun == 0 {
		c.beginning(h, 0, q)
		h.flags |= halfBegun
	}
	if e.protocol != uint8(record.UDP) {
		return // SCTP acknowledges in packets of its own
	}
	t.turns(e, q, uint64(d.PayloadLength), d.Payload)
	if d.SourcePort == portDNS || d.SourcePort == portMDNS {
		t.answers.take(q.number, d.Payload)
	}
}
