package flow

import (
	"bytes"
	"encoding/binary"
)

// sampled is how many bytes of a payload are hashed.
const sampled = 64

// hashBytes hashes a payload, or as much of it as is compared. It is the same
// in every run, so that captures can be compared, and not 0 unless b is empty.
func hashBytes(b []byte) uint64 {
	if len(b) == 0 {
		return 0
	}
	h := uint64(len(b)) ^ 0x9e3779b97f4a7c15
	for len(b) >= 8 {
		h = mix(h^binary.LittleEndian.Uint64(b), 0xd6e8feb86659fd93)
		b = b[8:]
	}
	var rest uint64
	for i, c := range b {
		rest |= uint64(c) << (8 * i)
	}
	h = mix(h^rest, 0xa0761d6478bd642f) ^ 0xe7037ed1a0b428db
	return max(h^h>>32, 1)
}

func head(b []byte) []byte { return b[:min(len(b), sampled)] }

// factors are those of the bytes in the hash of a beginning: splitmix64.
var factors = func() (f [sampled]uint64) {
	for i := range f {
		x := uint64(i+1) * 0x9e3779b97f4a7c15
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		f[i] = x ^ x>>31 | 1
	}
	return f
}()

// beginning hashes the first bytes that an end sent, across segments: a sum in
// which every place has a factor of its own, so that it can be continued. seq
// is that of the first byte of the payload; of a datagram it is not looked at.
func (c *cold) beginning(h *hot, seq uint32, q *packet) {
	payload := q.d.Payload
	if h.flags&halfISN != 0 {
		skip := c.isn + 1 + uint32(h.begin) - seq // bytes that are known
		if skip >= uint32(len(payload)) {
			return
		}
		payload = payload[skip:]
	}
	payload = payload[:min(len(payload), sampled-int(h.begin))]
	sum := c.begin
	part := factors[h.begin:][:len(payload)]
	for i, b := range payload {
		sum += (uint64(b) + 1) * part[i]
	}
	c.begin = sum
	h.begin += uint8(len(payload))
	if h.begin == sampled || len(q.d.Payload) < q.d.PayloadLength {
		h.flags |= halfBegun
	}
}

// sample keeps the segment when its rank is among the least. A repetition has
// the rank of what it repeats.
func (c *cold) sample(h *hot, q *packet) {
	d := &q.d
	s := segment{sequence: d.Seq, length: uint32(d.PayloadLength), hash: q.sum, number: q.number}
	if d.Protocol != protocolTCP {
		s.sequence = uint32(d.IPID)
	}
	if d.HasStamp {
		s.stamp = d.Stamp
	}
	rank, n := s.rank(), int(h.samples)
	at := n
	for i := range n {
		other := c.segments[i].rank()
		if other == rank {
			return
		}
		if rank < other && at == n {
			at = i
		}
	}
	if at == maxSegments {
		return
	}
	copy(c.segments[at+1:], c.segments[at:])
	c.segments[at] = s
	h.samples = uint8(min(n+1, maxSegments))
}

// rank is the same wherever the segment is seen, before and behind a NAT.
func (s *segment) rank() uint64 {
	return mix(s.hash^0x8ebc6af09c88c6e3, uint64(s.sequence)<<32|uint64(s.length)^0x589965cc75374cc3)
}

// cutLine is the first line of b without its end, and whether the end is there.
func cutLine(b []byte) (line, rest []byte, whole bool) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		return b, nil, false
	}
	return bytes.TrimSuffix(b[:i], []byte("\r")), b[i+1:], true
}
