package decode

// IP protocols, see https://www.iana.org/assignments/protocol-numbers.
const (
	protoHopByHop  = 0
	protoICMP      = 1
	protoIGMP      = 2
	protoIPv4      = 4
	protoTCP       = 6
	protoUDP       = 17
	protoDCCP      = 33
	protoIPv6      = 41
	protoRouting   = 43
	protoFragment  = 44
	protoGRE       = 47
	protoESP       = 50
	protoAH        = 51
	protoICMPv6    = 58
	protoOptions   = 60
	protoIPIP      = 94
	protoEtherIP   = 97
	protoL2TP      = 115
	protoSCTP      = 132
	protoMobility  = 135
	protoUDPLite   = 136
	protoMPLS      = 137
	protoHIP       = 139
	protoShim6     = 140
	maxExtensions  = 16 // headers between IP and the transport
	optionJumbo    = 0xc2
	moreFragments  = 0x2000
	fragmentOffset = 0x1fff
)

func ipv4(b []byte, wire int, p *Packet) {
	if b, wire, ok := ipv4Header(b, wire, p); ok {
		transport(b, wire, p)
	}
}

func ipv6(b []byte, wire int, p *Packet) {
	if b, wire, ok := ipv6Header(b, wire, p); ok {
		transport(b, wire, p)
	}
}

// ipv4Header reads RFC 791 and gives what follows the header, without padding.
// A total length of 0 is a segment that the card was to cut (BIG TCP writes it
// for what 16 bits can't hold): then the rest of the packet counts. A length
// beyond the packet is believed: mirrors cut packets and keep their headers.
func ipv4Header(b []byte, wire int, p *Packet) ([]byte, int, bool) {
	if len(b) < 20 {
		p.short(wire, 20, inIPv4)
		return nil, 0, false
	}
	size, total := int(b[0]&0xf)*4, int(be.Uint16(b[2:]))
	if total == 0 {
		total = wire
	}
	if b[0]>>4 != 4 || size < 20 || total < size {
		p.end(Malformed, inIPv4)
		return nil, 0, false
	}
	p.V6 = false
	p.Source, p.Destination = Addr{}, Addr{}
	copy(p.Source[:4], b[12:16])
	copy(p.Destination[:4], b[16:20])
	p.IPID, p.TTL, p.Protocol = be.Uint16(b[4:]), b[8], b[9]
	if fragment := be.Uint16(b[6:]); fragment&(moreFragments|fragmentOffset) != 0 {
		p.Fragment, p.FragmentID = true, uint32(p.IPID)
		p.FragmentOffset = int(fragment&fragmentOffset) * 8
	}
	if len(b) < size {
		p.end(Cut, inIPv4)
		return nil, 0, false
	}
	b, wire = b[size:min(total, len(b))], total-size
	if p.Protocol == protoAH {
		return extensions(b, wire, p)
	}
	return b, wire, true
}

// ipv6Header reads RFC 8200, the extension headers too, and gives what follows.
func ipv6Header(b []byte, wire int, p *Packet) ([]byte, int, bool) {
	if len(b) < 40 {
		p.short(wire, 40, inIPv6)
		return nil, 0, false
	}
	if b[0]>>4 != 6 {
		p.end(Malformed, inIPv6)
		return nil, 0, false
	}
	p.V6 = true
	copy(p.Source[:], b[8:24])
	copy(p.Destination[:], b[24:40])
	p.TTL, p.Protocol, p.IPID = b[7], b[6], 0
	total := int(be.Uint16(b[4:]))
	b, wire = b[40:], wire-40
	if total == 0 {
		total = jumbo(b, wire, p.Protocol)
	}
	return extensions(b[:min(total, len(b))], total, p)
}

// jumbo is the length of an IPv6 payload of which the header says 0: that of a
// jumbo payload option (RFC 2675), and else the rest of the packet, as for IPv4.
func jumbo(b []byte, wire int, protocol uint8) int {
	if protocol != protoHopByHop || len(b) < 8 {
		return wire
	}
	options := b[2:min((int(b[1])+1)*8, len(b))]
	for len(options) >= 2 {
		size := int(options[1]) + 2
		if options[0] == 0 { // one byte of padding
			size = 1
		}
		if size > len(options) {
			break
		}
		if options[0] == optionJumbo && size == 6 {
			if length := int(be.Uint32(options[2:])); length > 0xffff {
				return length
			}
		}
		options = options[size:]
	}
	return wire
}

// extensions passes over extension headers, of IPv6 and the authentication
// header of IPv4, up to the transport or what else is not one of them.
func extensions(b []byte, wire int, p *Packet) ([]byte, int, bool) {
	for range maxExtensions {
		if p.FragmentOffset > 0 {
			return b, wire, true
		}
		size := 0
		switch p.Protocol {
		case protoHopByHop, protoOptions, protoRouting, protoMobility, protoHIP, protoShim6:
			if len(b) >= 2 {
				size = (int(b[1]) + 1) * 8
			}
		case protoAH:
			// RFC 4302 counts in another way; a length of 0 is wrong, but leads on.
			if len(b) >= 2 {
				size = (int(b[1]) + 2) * 4
			}
		case protoFragment:
			size = 8
		default:
			return b, wire, true
		}
		if size == 0 || len(b) < size {
			p.short(wire, max(size, 2), inExtension)
			return nil, 0, false
		}
		switch p.Protocol {
		case protoFragment:
			fragmentHeader(b, p)
		case protoRouting:
			routing(b[:size], p)
		}
		p.Protocol = b[0]
		b, wire = b[size:], wire-size
	}
	p.end(Malformed, inExtension)
	return nil, 0, false
}

// fragmentHeader notes the fragment. An atomic one (RFC 6946: the first and the
// last at once) is a whole packet.
func fragmentHeader(b []byte, p *Packet) {
	fragment := be.Uint16(b[2:])
	if fragment&^0b110 == 0 {
		return
	}
	p.Fragment, p.FragmentID = true, be.Uint32(b[4:])
	p.FragmentOffset = int(fragment &^ 0b111)
}

// routing takes the last hop for the destination, as the transport does in its
// checksum, when a routing header (RFC 8200, 6275 and 8754) still leads there.
func routing(b []byte, p *Packet) {
	if b[3] == 0 || len(b) < 24 {
		return
	}
	switch b[2] {
	case 0: // in the order of the route
		copy(p.Destination[:], b[8+(len(b)-8)/16*16-16:])
	case 2: // one home address
		copy(p.Destination[:], b[8:24])
	case 4: // segments, the last one first
		copy(p.Destination[:], b[8:24])
	}
}

// transport decodes what the IP packet just read carries.
func transport(b []byte, wire int, p *Packet) {
	if p.FragmentOffset > 0 {
		laterFragment(b, wire, p)
		return
	}
	switch p.Protocol {
	case protoTCP:
		tcp(b, wire, p)
	case protoUDP, protoUDPLite:
		udp(b, wire, p)
	case protoSCTP:
		ports(b, wire, 12, inSCTP, p)
	case protoDCCP:
		dccp(b, wire, p)
	case protoICMP, protoICMPv6:
		switch {
		case p.V6 != (p.Protocol == protoICMPv6):
			otherProtocol(p)
		case p.V6:
			icmpv6(b, wire, p)
		default:
			icmp(b, wire, p)
		}
	case protoIPv4:
		if p.pushTunnel(IPIP, 0) {
			ipv4(b, wire, p)
		}
	case protoIPv6:
		if p.pushTunnel(IPIP, 0) {
			ipv6(b, wire, p)
		}
	case protoGRE:
		gre(b, wire, p)
	default:
		otherProtocol(p)
	}
}

func otherProtocol(p *Packet) {
	switch p.Protocol {
	case protoIGMP:
		p.end(Groups, 0)
	case protoESP:
		p.end(Encrypted, uint32(p.Protocol))
	case protoIPIP, protoEtherIP, protoL2TP, protoMPLS:
		p.end(UnknownTunnel, uint32(p.Protocol))
	default:
		p.end(NoPorts, uint32(p.Protocol))
	}
}

// laterFragment ends a fragment that is not the first of its packet: the ports
// were in the first.
func laterFragment(b []byte, wire int, p *Packet) {
	switch p.Protocol {
	case protoTCP, protoUDP, protoUDPLite, protoSCTP, protoDCCP:
		p.PayloadLength, p.Payload = wire, b
		p.end(Flow, 0)
	case protoICMP, protoICMPv6:
		p.end(ICMP, 0)
	case protoIPv4, protoIPv6, protoGRE,
		protoHopByHop, protoRouting, protoOptions, protoMobility, protoHIP, protoShim6, protoAH, protoFragment:
		p.end(LaterFragment, uint32(p.Protocol))
	default:
		otherProtocol(p)
	}
}
