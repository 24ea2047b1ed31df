package flow

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"math/bits"

	"whichbackend/analyze/pcap/decode"
)

// key is what makes packets one conversation at one place. End a is the lesser
// of the two in address and port, so that both directions have one key.
type key struct {
	a, b     [2]uint64 // addresses, big endian
	ports    uint32    // a's in the upper half
	place    uint32    // number of a place
	base     uint32    // that of the place without the IDs of tunnels
	protocol uint8
	bits     uint8 // keyV6, keyLeg
}

const (
	keyV6  = 1 << iota // the addresses are IPv6
	keyLeg             // SLL: a's packets leave, b's come in
)

func words(a *decode.Addr) [2]uint64 {
	return [2]uint64{binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(a[8:])}
}

// after tells whether the first address is the greater.
func after(x, y [2]uint64) bool {
	return x[0] > y[0] || x[0] == y[0] && x[1] > y[1]
}

// set makes the key that of a packet, but for its place, and gives the end that
// sent it: 0 is a, 1 is b.
func (k *key) set(d *decode.Packet) (from int) {
	a, b := words(&d.Source), words(&d.Destination)
	s, t := uint32(d.SourcePort), uint32(d.DestinationPort)
	if after(a, b) || a == b && s > t {
		a, b = b, a
		s, t = t, s
		from = 1
	}
	k.a, k.b, k.ports = a, b, s<<16|t
	k.protocol, k.bits = d.Protocol, 0
	if d.V6 {
		k.bits = keyV6
	}
	return from
}

// seeds make the hashes of one run: who writes a capture chooses the tuples,
// and could else choose them to fall into one slot.
type seeds [4]uint64

func newSeeds() (seeds, error) {
	var b [32]byte
	if _, err := rand.Read(b[:]); err != nil {
		return seeds{}, fmt.Errorf("seed of the flow table: %w", err)
	}
	var s seeds
	for i := range s {
		s[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return s, nil
}

// mix folds the 128 bits of a product, as in wyhash.
func mix(x, y uint64) uint64 {
	hi, lo := bits.Mul64(x, y)
	return hi ^ lo
}

// key hashes all but the IDs of tunnels: see table.answered.
func (s *seeds) key(k *key) uint32 {
	h := mix(k.a[0]^s[0], k.b[0]^s[1])
	h ^= mix(k.a[1]^s[2], k.b[1]^s[3])
	h = mix(h^s[1], (uint64(k.ports)|uint64(k.base)<<32)^s[2])
	h = mix(h^s[3], (uint64(k.protocol)|uint64(k.bits)<<8)^s[0])
	return uint32(h ^ h>>32)
}

// index finds numbers by the hash of what they stand for: open addressing with
// linear probing. The hash stands beside the number, so that it grows without
// looking at what it points to.
type index struct {
	slots []slot
	used  int
}

// slot is free when ref is 0; else it stands for the number ref-1.
type slot struct{ hash, ref uint32 }

const firstSlots = 1 << 12

// add enters a number that is known not to be there.
func (x *index) add(hash, number uint32) {
	if 8*(x.used+1) > 5*len(x.slots) {
		x.grow()
	}
	x.put(slot{hash, number + 1})
	x.used++
}

func (x *index) put(s slot) {
	mask := uint32(len(x.slots) - 1)
	i := s.hash & mask
	for x.slots[i].ref != 0 {
		i = (i + 1) & mask
	}
	x.slots[i] = s
}

func (x *index) grow() {
	old := x.slots
	x.slots = make([]slot, max(firstSlots, 2*len(old)))
	for _, s := range old {
		if s.ref != 0 {
			x.put(s)
		}
	}
}
