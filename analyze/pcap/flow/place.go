package flow

import (
	"slices"
	"strconv"
	"strings"

	"whichbackend/analyze/pcap/decode"
)

// maxPlaces bounds the places, so that a capture that invents an encapsulation
// for every packet does not fill the memory.
const maxPlaces = 1 << 18

// place is where a packet was seen: an interface, and what it was wrapped in.
type place struct {
	device device
	wraps  uint32 // number of its first wrap
	base   uint32 // number of the place with 0 for the IDs of VXLAN and Geneve
	depth  uint8
}

type device struct {
	number  uint32 // of the interface in the file
	ifIndex uint32 // SLL2
	link    uint16
}

// wrap is one layer without direction: a is the lesser outer address.
type wrap struct {
	head uint64 // kind, IPv6 or not, ID
	a, b [2]uint64
}

func (w *wrap) kind() decode.Kind { return decode.Kind(w.head >> 40) }

type places struct {
	list  []place
	wraps []wrap
	index index
	mixed map[uint32]bool // interfaces with packets of several devices, made by alone
	// recent are the places found last, number from 1, by depth and kind of the
	// outermost layer: nearly always it is one of these.
	recent [(decode.MaxLayers + 1) * 16]uint32
}

// wrapOf says too whether the packet goes from b to a.
func wrapOf(l *decode.Layer) (w wrap, back bool) {
	w.head = uint64(l.Kind)<<40 | uint64(l.ID)
	if l.V6 {
		w.head |= 1 << 32
	}
	w.a, w.b = words(&l.Source), words(&l.Destination)
	if after(w.a, w.b) {
		w.a, w.b = w.b, w.a
		back = true
	}
	return w, back
}

// find sets the place of the packet, which it makes when it is new. It is false
// when there are too many.
func (s *places) find(seed *seeds, q *packet) bool {
	d := &q.d
	dev := device{number: uint32(q.Interface), link: q.LinkType}
	if q.LinkType == decode.LinkSLL2 {
		dev.ifIndex = d.IfIndex
	}
	depth := min(max(d.Depth, 0), decode.MaxLayers)
	var wraps [decode.MaxLayers]wrap
	q.back = 0
	for i := range depth {
		w, b := wrapOf(&d.Layers[i])
		if b {
			q.back |= 1 << i
		}
		wraps[i] = w
	}
	recent := &s.recent[depth*16]
	if depth > 0 {
		recent = &s.recent[depth*16+int(d.Layers[0].Kind&15)]
	}
	if n := *recent; n == 0 || !s.is(&s.list[n-1], dev, wraps[:depth]) {
		n, ok := s.number(seed, dev, wraps[:depth])
		if !ok {
			return false
		}
		*recent = n + 1
	}
	q.key.place = *recent - 1
	q.key.base = s.list[q.key.place].base
	return true
}

// number looks a place up, or makes it.
func (s *places) number(seed *seeds, dev device, wraps []wrap) (uint32, bool) {
	hash := seed.place(dev, wraps)
	if n, found := s.look(hash, dev, wraps); found {
		return n, true
	}
	base, ok := uint32(0), true
	plain := withoutIDs(wraps)
	if !slices.Equal(plain, wraps) {
		if base, ok = s.number(seed, dev, plain); !ok {
			return 0, false
		}
	}
	number := uint32(len(s.list))
	if number >= maxPlaces {
		return 0, false
	}
	if slices.Equal(plain, wraps) {
		base = number
	}
	s.list = append(s.list, place{device: dev, wraps: uint32(len(s.wraps)), base: base, depth: uint8(len(wraps))})
	s.wraps = append(s.wraps, wraps...)
	s.index.add(hash, number)
	return number, true
}

func withoutIDs(wraps []wrap) []wrap {
	plain := slices.Clone(wraps)
	for i := range plain {
		switch w := &plain[i]; w.kind() {
		case decode.VXLAN, decode.Geneve:
			w.head &^= 1<<32 - 1
		}
	}
	return plain
}

func (s *seeds) place(dev device, wraps []wrap) uint32 {
	h := mix(uint64(dev.number)^s[0], (uint64(dev.ifIndex)|uint64(dev.link)<<32)^s[1])
	for i := range wraps {
		w := &wraps[i]
		h = mix(h^w.head^s[2], w.a[0]^s[3])
		h = mix(h^w.a[1]^s[0], w.b[0]^s[1])
		h = mix(h^w.b[1]^s[2], s[1])
	}
	return uint32(h ^ h>>32)
}

func (s *places) look(hash uint32, dev device, wraps []wrap) (uint32, bool) {
	if len(s.index.slots) == 0 {
		return 0, false
	}
	mask := uint32(len(s.index.slots) - 1)
	for i := hash & mask; s.index.slots[i].ref != 0; i = (i + 1) & mask {
		if s.index.slots[i].hash != hash {
			continue
		}
		n := s.index.slots[i].ref - 1
		if s.is(&s.list[n], dev, wraps) {
			return n, true
		}
	}
	return 0, false
}

func (s *places) is(p *place, dev device, wraps []wrap) bool {
	if p.device != dev || int(p.depth) != len(wraps) {
		return false
	}
	for i := range wraps {
		if s.wraps[int(p.wraps)+i] != wraps[i] {
			return false
		}
	}
	return true
}

// text writes what packets of the place are wrapped in. back says which layers
// run from b to a.
func (s *places) text(number uint32, back uint8) string {
	p := &s.list[number]
	var parts []string
	for i, w := range s.wraps[p.wraps : int(p.wraps)+int(p.depth)] {
		if back>>i&1 == 1 {
			w.a, w.b = w.b, w.a
		}
		l := decode.Layer{
			Kind: w.kind(), V6: w.head>>32&1 == 1, ID: uint32(w.head),
			Source: addr(w.a), Destination: addr(w.b),
		}
		parts = append(parts, l.String())
	}
	return strings.Join(parts, ", ")
}

// deviceName is the device that packets passed: the interface by the capture's
// name, where one device's packets alone are on it, and else the index that SLL2
// tells.
func (s *places) deviceName(d device, name string) string {
	if d.ifIndex == 0 || s.alone(d.number) && name != "" && name != "any" {
		return name
	}
	return "ifindex " + strconv.FormatUint(uint64(d.ifIndex), 10)
}

// alone tells whether all packets of an interface passed one device. It is known
// when all packets were read.
func (s *places) alone(number uint32) bool {
	if s.mixed == nil {
		s.mixed = map[uint32]bool{}
		first := map[uint32]uint32{}
		for i := range s.list {
			d := s.list[i].device
			if n, ok := first[d.number]; ok && n != d.ifIndex {
				s.mixed[d.number] = true
			}
			first[d.number] = d.ifIndex
		}
	}
	return !s.mixed[number]
}
