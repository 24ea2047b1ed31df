package match

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"net/netip"
	"time"

	"whichbackend/analyze/record"
)

// view is the digest of a flow: what one place knows of a connection.
type view struct {
	first, last int64 // ns since 1970, by its own clock
	source      end
	destination end
	half        [2]half // 0 the client's, 1 the server's
	id, capture int32
	section     int32
	packet      int32 // of the SYN, else the first
	clock       uint16
	protocol    record.Protocol
	guessed     bool
}

// end is an address and port: IPv4 as mapped IPv6.
type end struct {
	addr [16]byte
	port uint16
}

func (e end) compare(o end) int {
	if c := bytes.Compare(e.addr[:], o.addr[:]); c != 0 {
		return c
	}
	return cmp.Compare(e.port, o.port)
}

// four is true for an IPv4 address.
func (e end) four() bool { return netip.AddrFrom16(e.addr).Is4In6() }

func (e end) addrPort() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(e.addr).Unmap(), e.port)
}

// half is what one end sent, as one place knows it. Times are 0 when unknown.
type half struct {
	synTime, dataTime int64
	begin             uint64
	segments          [3]uint64 // each a mix of sequence, length, hash and stamp; 0: none
	stamps            [4]uint32
	isn               uint32
	mss, ipid         uint16
	ttl               uint8
	beginLength       uint8
	scale             int8
	syns              uint8
	stamped           uint8 // how many of stamps are set
	flags             uint8
}

const (
	spoke   = 1 << iota // it sent anything at all
	begun               // it sent a SYN: isn is known
	carried             // it sent more than SYNs
	reset               // it sent RST
)

func (h *half) has(flag uint8) bool { return h.flags&flag != 0 }

func (v *view) digest(f *record.Flow, capture int, clock uint16) {
	v.first, v.last = nanoseconds(f.First), nanoseconds(f.Last)
	v.source, v.destination = endOf(f.Tuple.Source), endOf(f.Tuple.Destination)
	v.id, v.capture, v.section = int32(f.ID), int32(capture), int32(f.Section)
	v.packet = int32(f.Packet)
	if f.Client.SYN != 0 {
		v.packet = int32(f.Client.SYN)
	}
	v.clock, v.protocol, v.guessed = clock, f.Protocol, f.Guessed
	v.half[0].digest(&f.Client, f.Protocol)
	v.half[1].digest(&f.Server, f.Protocol)
}

func (h *half) digest(f *record.Half, protocol record.Protocol) {
	h.synTime, h.dataTime = nanoseconds(f.SYNTime), nanoseconds(f.DataTime)
	h.begin, h.beginLength = f.Begin, uint8(min(f.BeginLength, 255))
	h.isn, h.mss, h.scale, h.ttl, h.ipid = f.ISN, f.MSS, f.Scale, f.TTL, f.IPID
	h.syns = uint8(min(f.SYNs, 255))
	h.stamped = uint8(copy(h.stamps[:], f.Stamps))
	for i, s := range f.Segments[:min(len(f.Segments), len(h.segments))] {
		n := mix(uint64(s.Sequence)<<32|uint64(s.Stamp), s.Hash)
		h.segments[i] = mix(n, uint64(s.Length)<<8|uint64(protocol)) | 1
	}
	h.set(spoke, f.Packets > 0)
	h.set(begun, f.SYN != 0)
	h.set(carried, f.Packets > uint64(f.SYNs))
	h.set(reset, f.RST != 0)
}

func (h *half) set(flag uint8, on bool) {
	if on {
		h.flags |= flag
	}
}

// side returns what the client (0) or the server (1) sent, in a view that may
// have mistaken the one for the other.
func (v *view) side(n int, flipped bool) *half {
	if flipped {
		n = 1 - n
	}
	return &v.half[n]
}

// ends returns the two ends in an order that does not depend on who is client,
// and whether that is the other way round.
func (v *view) ends() (low, high end, swapped bool) {
	if v.source.compare(v.destination) > 0 {
		return v.destination, v.source, true
	}
	return v.source, v.destination, false
}

// place orders views by section and packet.
func (v *view) place() int { return int(v.section)<<32 | int(v.packet) }

// compareViews is the order of views that nothing else orders.
func compareViews(a, b *view) int {
	return cmp.Or(cmp.Compare(a.capture, b.capture), cmp.Compare(a.section, b.section),
		cmp.Compare(a.packet, b.packet), cmp.Compare(a.id, b.id))
}

func endOf(a netip.AddrPort) end {
	return end{a.Addr().As16(), a.Port()}
}

func nanoseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// mix hashes two numbers into one. It only has to spread: tuples of equal keys
// are compared in full, and who can forge segments can forge equal ones as well.
func mix(a, b uint64) uint64 {
	a = (a ^ b*0x9e3779b97f4a7c15) * 0xbf58476d1ce4e5b9
	a = (a ^ a>>29) * 0x94d049bb133111eb
	return a ^ a>>32
}

// key hashes the protocol and both ends, whoever is the client.
func (v *view) key() uint64 {
	low, high, _ := v.ends()
	k := uint64(v.protocol)<<32 | uint64(low.port)<<16 | uint64(high.port)
	for _, a := range [2]*[16]byte{&low.addr, &high.addr} {
		k = mix(k, binary.LittleEndian.Uint64(a[:8]))
		k = mix(k, binary.LittleEndian.Uint64(a[8:]))
	}
	return k
}

// chunks hold views without ever moving them, so that a growing list costs no
// more than its content.
type chunks struct {
	list [][]view
}

const chunkSize = 1024

func (c *chunks) next() *view {
	n := len(c.list)
	if n == 0 || len(c.list[n-1]) == chunkSize {
		c.list = append(c.list, make([]view, 0, chunkSize))
		n++
	}
	last := &c.list[n-1]
	*last = append(*last, view{})
	return &(*last)[len(*last)-1]
}

func (c *chunks) len() int {
	n := len(c.list)
	if n == 0 {
		return 0
	}
	return (n-1)*chunkSize + len(c.list[n-1])
}

func (c *chunks) at(i int32) *view {
	return &c.list[i/chunkSize][i%chunkSize]
}
