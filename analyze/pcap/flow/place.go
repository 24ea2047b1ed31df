package flow

import (
	"strconv"
	"strings"

	"whichbackend/analyze/pcap"
	"whichbackend/analyze/pcap/decode"
)

// maxPlaces bounds the places, so that a capture that invents an encapsulation
// for every packet does not fill the memory.
const maxPlaces = 1 << 18

// place is where a packet was seen: an interface, and what it was wrapped in.
type place struct {
	device device
	wraps  uint32 // number of its first wrap
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

type places struct {
	list  []place
	wraps []wrap
	index index
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

// find returns the number of the packet's place, which it makes when it is new,
// and which of the layers run from b to a, a bit for each. It is not ok when
// there are too many places.
func (s *places) find(seed *seeds, p *pcap.Packet, d *decode.Packet) (number uint32, back uint8, ok bool) {
	dev := device{number: uint32(p.Interface), link: p.LinkType}
	if p.LinkType == decode.LinkSLL2 {
		dev.ifIndex = d.IfIndex
	}
	depth := min(max(d.Depth, 0), decode.MaxLayers)
	var wraps [decode.MaxLayers]wrap
	h := mix(uint64(dev.number)^seed[0], (uint64(dev.ifIndex)|uint64(dev.link)<<32|uint64(depth)<<48)^seed[1])
	for i := range depth {
		w, b := wrapOf(&d.Layers[i])
		if b {
			back |= 1 << i
		}
		h = mix(h^w.head^seed[2], w.a[0]^seed[3])
		h = mix(h^w.a[1]^seed[0], w.b[0]^seed[1])
		h = mix(h^w.b[1]^seed[2], seed[1])
		wraps[i] = w
	}
	hash := uint32(h ^ h>>32)
	if n, found := s.look(hash, dev, wraps[:depth]); found {
		return n, back, true
	}
	if len(s.list) >= maxPlaces {
		return 0, 0, false
	}
	number = uint32(len(s.list))
	s.list = append(s.list, place{device: dev, wraps: uint32(len(s.wraps)), depth: uint8(depth)})
	s.wraps = append(s.wraps, wraps[:depth]...)
	s.index.add(hash, number)
	return number, back, true
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
			Kind: decode.Kind(w.head >> 40), V6: w.head>>32&1 == 1, ID: uint32(w.head),
			Source: addr(w.a), Destination: addr(w.b),
		}
		parts = append(parts, l.String())
	}
	return strings.Join(parts, ", ")
}

// deviceName is the device that the packets passed: by the capture's name, or
// by the index that SLL2 tells.
func deviceName(d device, name string) string {
	if d.ifIndex != 0 {
		return "ifindex " + strconv.FormatUint(uint64(d.ifIndex), 10)
	}
	return name
}
