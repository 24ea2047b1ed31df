package flow

import (
	"encoding/binary"
	"net/netip"

	"whichbackend/analyze/pcap/decode"
	"whichbackend/analyze/record"
)

// entry is a flow in the table: 448 bytes without pointers, what every packet
// touches in the first two cache lines. Packet numbers are 32 bits, and those
// of side tables are one more than the place in them; 0 is none.
type entry struct {
	a, b     [2]uint64
	ports    uint32
	place    uint32 // of the first packet
	peer     uint32 // of the other end's packets where it differs, number from 1
	protocol uint8
	bits     uint8
	flags    uint8
	back     uint8 // layers that run from b to a when a sends
	turn     uint8
	prefix   uint16 // length of the client's PROXY header
	last     int64
	hot      [2]hot // what a and b sent
	first    int64
	number   uint32 // of the first packet
	dups     uint32

	exchange, tail, exchanged uint32
	name, announced, fault    uint32
	cold                      [2]cold
}

// Flags of an entry.
const (
	flagClientB  = 1 << iota // b is the client
	flagCertain              // a SYN or SYN/ACK said so
	flagHTTP                 // the client's first bytes are HTTP/1
	flagPeeked               // the client's first bytes were looked at
	flagKept                 // the current exchange is kept
	flagFinished             // FIN or RST was seen
	flagHello                // a ClientHello goes on in the next segment
	flagFirstB               // b sent the first packet
)

// hot is what changes with every packet of one end.
type hot struct {
	bytes   uint64
	sent    uint64 // payload: next less the lowest number
	packets uint32
	next    uint32 // TCP: one beyond the highest byte
	stray   uint32 // end of a segment far away from next
	flags   uint8
	begin   uint8 // bytes in cold.begin
	stamps  uint8
	samples uint8
}

// Flags of a half.
const (
	halfISN    = 1 << iota // isn is true
	halfPlaced             // next is true
	halfBare               // next comes from a packet without payload
	halfStray              // stray is true
	halfFIN
	halfBegun // begin is complete
)

// cold is what changes seldom.
type cold struct {
	dataTime, synTime              int64
	begin                          uint64
	isn, syn, fin, rst, data, syns uint32
	stamp                          [maxStamps]uint32
	segments                       [maxSegments]segment
	ipid, mss                      uint16
	ttl                            uint8
	scale                          int8
}

type segment struct {
	hash                            uint64
	sequence, length, stamp, number uint32
}

const (
	maxStamps   = 4
	maxSegments = 3
)

func (e *entry) is(k *key) bool {
	return e.place == k.place && e.same(k) || e.peer == k.place+1 && e.same(k)
}

// same tells whether the tuple is the same, wherever.
func (e *entry) same(k *key) bool {
	return e.ports == k.ports && e.a == k.a && e.b == k.b && e.protocol == k.protocol && e.bits == k.bits
}

// placeOf is the place of an end's packets.
func (e *entry) placeOf(end int) uint32 {
	if e.peer > 0 && (e.flags&flagFirstB != 0) != (end == 1) {
		return e.peer - 1
	}
	return e.place
}

// client is the client's end: 0 is a, 1 is b.
func (e *entry) client() int { return int(e.flags & flagClientB) }

// finished tells that the connection was closed or reset.
func (e *entry) finished() bool { return e.flags&flagFinished != 0 }

// setClient decides which end asks.
func (e *entry) setClient(end int, certain bool) {
	e.flags &^= flagClientB
	if end == 1 {
		e.flags |= flagClientB
	}
	if certain {
		e.flags |= flagCertain
	}
}

func addr(w [2]uint64) (a decode.Addr) {
	binary.BigEndian.PutUint64(a[:8], w[0])
	binary.BigEndian.PutUint64(a[8:], w[1])
	return a
}

func netAddr(a decode.Addr, v6 bool) netip.Addr {
	if v6 {
		return netip.AddrFrom16(a)
	}
	return netip.AddrFrom4([4]byte(a[:4]))
}

// end is the address and port of an end.
func (e *entry) end(i int) netip.AddrPort {
	w, port := e.a, uint16(e.ports>>16)
	if i == 1 {
		w, port = e.b, uint16(e.ports)
	}
	return netip.AddrPortFrom(netAddr(addr(w), e.bits&keyV6 != 0), port)
}

// guessClient is the client where no SYN tells: a well-known port serves, and
// else the lower one where it is below the range that clients get theirs from
// on Linux (32768). Equal, or both above: who sent first asks. So it is with
// datagrams between two registered ports, of which a NAT may have made one: they
// need no handshake that the capture might have missed.
func guessClient(protocol uint8, ports uint32, from int) int {
	a, b := ports>>16, ports&0xffff
	switch {
	case a == b, a >= 32768 && b >= 32768:
		return from
	case protocol != uint8(record.TCP) && a >= 1024 && b >= 1024 && a < 32768 && b < 32768:
		return from
	case a < b:
		return 1
	}
	return 0
}

// chunked is a list that grows without moving what it holds.
type chunked[T any] struct {
	chunks []*[chunkSize]T
	n      uint32
}

const chunkSize = 1024

func (c *chunked[T]) at(i uint32) *T { return &c.chunks[i/chunkSize][i%chunkSize] }

// done gives the memory of element i and those before it back, a chunk at a time.
func (c *chunked[T]) done(i uint32) {
	if i%chunkSize == chunkSize-1 {
		c.chunks[i/chunkSize] = nil
	}
}

func (c *chunked[T]) add() (*T, uint32) {
	if c.n%chunkSize == 0 {
		c.chunks = append(c.chunks, new([chunkSize]T))
	}
	i := c.n
	c.n++
	return c.at(i), i
}
