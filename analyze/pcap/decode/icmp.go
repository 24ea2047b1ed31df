package decode

// icmp decodes RFC 792: errors with the packet that they are about.
func icmp(b []byte, wire int, p *Packet) {
	if len(b) < 2 || wire < 8 {
		p.short(wire, 8, inICMP)
		return
	}
	switch b[0] {
	case 3, 11, 12: // unreachable, time exceeded, parameter problem
		icmpError(b, wire, p)
	case 0, 8:
		p.end(Echo, uint32(b[0]))
	default:
		p.end(ICMP, uint32(b[0]))
	}
}

// icmpv6 decodes RFC 4443, and tells RFC 4861 (neighbours) and RFC 3810 (groups)
// from the rest.
func icmpv6(b []byte, wire int, p *Packet) {
	if len(b) < 2 || wire < 4 {
		p.short(wire, 4, inICMP)
		return
	}
	switch t := b[0]; {
	case t >= 1 && t <= 4: // unreachable, too big, time exceeded, parameter problem
		icmpError(b, wire, p)
	case t == 128 || t == 129:
		p.end(Echo, uint32(t))
	case t >= 130 && t <= 132 || t == 143:
		p.end(Groups, uint32(t))
	case t >= 133 && t <= 137:
		p.end(Neighbour, uint32(t))
	default:
		p.end(ICMP, uint32(t))
	}
}

// icmpError reads the packet that the error repeats, as far as its ports and its
// sequence number; it is about that packet, not about what may be inside it.
func icmpError(b []byte, wire int, p *Packet) {
	if len(b) < 8 {
		p.short(wire, 8, inICMP)
		return
	}
	from, v6, t, code := p.Source, p.V6, b[0], b[1]
	b, wire = b[8:], wire-8
	p.resetIP()
	ok := false
	if v6 {
		b, wire, ok = ipv6Header(b, wire, p)
	} else {
		b, wire, ok = ipv4Header(b, wire, p)
	}
	if !ok || !quoted(b, wire, uint32(t), p) {
		return
	}
	p.ICMPSource, p.ICMPType, p.ICMPCode = from, t, code
	p.end(ICMPError, uint32(t))
}

// quoted reads ports and sequence number of the packet inside an error of type
// t. It is false when the error is about no conversation or can't be read.
func quoted(b []byte, wire int, t uint32, p *Packet) bool {
	where := uint32(inUDP)
	switch p.Protocol {
	case protoTCP:
		where = inTCP
	case protoUDP, protoUDPLite, protoSCTP, protoDCCP:
	default:
		p.end(ICMP, t)
		return false
	}
	if p.FragmentOffset > 0 {
		return true
	}
	if len(b) < 4 {
		p.short(wire, 4, where)
		return false
	}
	p.SourcePort, p.DestinationPort = be.Uint16(b), be.Uint16(b[2:])
	if p.Protocol == protoTCP && len(b) >= leastTCP {
		p.Seq = be.Uint32(b[4:])
	}
	return true
}
