package decode

import "encoding/binary"

var be = binary.BigEndian

// Decode takes one captured packet apart: linkType is its LINKTYPE, data what
// was captured and length what it had on the wire, in bytes. It fills p anew,
// but for the Layers beyond Depth, which are left as they were. Fields that the
// packet does not have are zero, and Scale is -1.
//
// It neither panics nor allocates, whatever the data. Payload is a part of data.
func Decode(linkType uint16, data []byte, length int, p *Packet) {
	p.reset()
	// A length below the captured one is a lie of the file's.
	link(linkType, data, max(length, len(data)), p)
}

// reset is spelled out, because assigning a Packet would clear all Layers.
func (p *Packet) reset() {
	p.Status, p.Detail = 0, 0
	p.HasPassed, p.Passed, p.IfIndex = false, 0, 0
	p.Depth = 0
	p.resetIP()
	p.SourcePort, p.DestinationPort = 0, 0
	p.Seq, p.Ack, p.Flags, p.Window = 0, 0, 0, 0
	p.MSS, p.Scale, p.SACK = 0, -1, false
	p.HasStamp, p.Stamp, p.Echo = false, 0, 0
	p.PayloadLength, p.Payload = 0, nil
	p.ICMPSource, p.ICMPType, p.ICMPCode = Addr{}, 0, 0
}

func (p *Packet) resetIP() {
	p.V6, p.Source, p.Destination = false, Addr{}, Addr{}
	p.Protocol, p.TTL, p.IPID = 0, 0, 0
	p.Fragment, p.FragmentID, p.FragmentOffset = false, 0, 0
}

// All decoders take what was captured of their part of the packet and how long
// that part is on the wire, which is never less. They end with a Status.

// end gives the packet its status.
func (p *Packet) end(s Status, detail uint32) {
	p.Status, p.Detail = s, detail
}

// short ends a packet of which less than need bytes were captured: either the
// capture kept no more, or there never was more.
func (p *Packet) short(wire, need int, where uint32) {
	if wire >= need {
		p.end(Cut, where)
		return
	}
	p.end(Malformed, where)
}

// push notes a wrapping without addresses. It is false, and the packet at its
// end, when there are too many.
func (p *Packet) push(kind Kind, id uint32) bool {
	if p.Depth == MaxLayers {
		p.resetIP()
		p.end(TooDeep, 0)
		return false
	}
	p.Layers[p.Depth] = Layer{Kind: kind, ID: id}
	p.Depth++
	return true
}

// pushTunnel notes a tunnel between the addresses of the IP packet just read,
// which is not the innermost one then.
func (p *Packet) pushTunnel(kind Kind, id uint32) bool {
	if p.Depth == MaxLayers {
		p.resetIP()
		p.end(TooDeep, 0)
		return false
	}
	p.Layers[p.Depth] = Layer{Kind: kind, V6: p.V6, ID: id, Source: p.Source, Destination: p.Destination}
	p.Depth++
	p.resetIP()
	return true
}
