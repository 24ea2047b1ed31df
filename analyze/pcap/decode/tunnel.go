package decode

// UDP ports of tunnels.
const (
	portVXLAN      = 4789 // RFC 7348
	portVXLANGPE   = 4790 // draft-ietf-nvo3-vxlan-gpe
	portGeneve     = 6081 // RFC 8926
	portVXLANLinux = 8472 // what Linux took before there was a number
)

// udpTunnel decodes the payload of the UDP packet just read as a tunnel by its
// destination port. Other programs may use such a port: a payload that does not
// make sense as a tunnel leaves the UDP packet as it is.
func udpTunnel(p *Packet) {
	kind, id, t, size := udpTunnelHeader(p)
	if size == 0 || len(p.Payload) <= size {
		return
	}
	depth, ttl, ipid := p.Depth, p.TTL, p.IPID
	fragment, fragmentID := p.Fragment, p.FragmentID
	source, destination := p.SourcePort, p.DestinationPort
	payload, length := p.Payload, p.PayloadLength
	p.SourcePort, p.DestinationPort, p.Payload, p.PayloadLength = 0, 0, nil, 0
	if !p.pushTunnel(kind, id) {
		return
	}
	etherType(t, payload[size:], length-size, p)
	if p.Status.read() || p.Status == TooDeep {
		return
	}
	outer := &p.Layers[depth]
	p.V6, p.Source, p.Destination = outer.V6, outer.Source, outer.Destination
	p.Depth, p.Protocol, p.TTL, p.IPID = depth, protoUDP, ttl, ipid
	p.Fragment, p.FragmentID, p.FragmentOffset = fragment, fragmentID, 0
	p.SourcePort, p.DestinationPort = source, destination
	p.Payload, p.PayloadLength = payload, length
	p.end(Flow, 0)
}

// udpTunnelHeader reads the header of a tunnel: what it is, the EtherType of
// what follows, and its size, which is 0 when this is none.
func udpTunnelHeader(p *Packet) (kind Kind, id uint32, t uint16, size int) {
	b := p.Payload
	if len(b) < 8 || b[7] != 0 {
		return
	}
	id = be.Uint32(b[4:]) >> 8
	switch p.DestinationPort {
	case portGeneve:
		// Version 0; the options are counted in words.
		if b[0]>>6 == 0 {
			return Geneve, id, be.Uint16(b[2:]), 8 + int(b[0]&0x3f)*4
		}
	case portVXLANGPE:
		// Version 0, with identifier and next protocol.
		if b[0]&^0b11 == 0b1100 && b[1] == 0 && b[2] == 0 {
			return VXLAN, id, nextProtocol(b[3]), 8
		}
	default:
		// The group policy extension fills the reserved bytes, and says so by a bit.
		plain := be.Uint32(b) == 0x08000000
		policy := b[0] == 0x88 && b[1]&^0x48 == 0
		if plain || policy {
			return VXLAN, id, typeEthernet, 8
		}
	}
	return 0, 0, 0, 0
}

// nextProtocol is the EtherType for a next protocol of VXLAN-GPE and NSH; 0 is
// none.
func nextProtocol(n uint8) uint16 {
	switch n {
	case 1:
		return typeIPv4
	case 2:
		return typeIPv6
	case 3:
		return typeEthernet
	case 4:
		return typeNSH
	case 5:
		return typeMPLS
	}
	return 0
}

// nsh passes over a network service header (RFC 8300). One inside another is
// not decoded.
func nsh(b []byte, wire int, p *Packet) {
	if len(b) < 8 {
		p.short(wire, 8, inNSH)
		return
	}
	size := int(b[1]&0x3f) * 4
	if b[0]>>6 != 0 || size < 8 || size > wire {
		p.end(Malformed, inNSH)
		return
	}
	if size > len(b) {
		p.end(Cut, inNSH)
		return
	}
	t := nextProtocol(b[3])
	if t == 0 || t == typeNSH {
		p.end(UnknownInside, inNSH)
		return
	}
	etherType(t, b[size:], wire-size, p)
}

// Bits of the first two bytes of GRE: RFC 2784, 2890, 1701 and 2637.
const (
	greChecksum = 0x8000
	greRouting  = 0x4000
	greKey      = 0x2000
	greSequence = 0x1000
	greAck      = 0x0080
	greVersion  = 0x0007
)

// gre decodes GRE, PPTP's version of it, and ERSPAN.
func gre(b []byte, wire int, p *Packet) {
	if len(b) < 4 {
		p.short(wire, 4, inGRE)
		return
	}
	flags, t := be.Uint16(b), be.Uint16(b[2:])
	size, key := greHeader(b, flags)
	if size == 0 || len(b) < size {
		p.short(wire, max(size, 4), inGRE)
		return
	}
	b, wire = b[size:], wire-size
	switch {
	case flags&greVersion > 1 || flags&greVersion == 1 && t != typePPP:
		p.end(Malformed, inGRE)
	case t == typeERSPAN || t == typeERSPAN3:
		erspan(flags, t, b, wire, p)
	case !p.pushTunnel(GRE, key):
	case t < typeLeast:
		// Keepalives of Cisco have 0.
		p.end(UnknownType, uint32(t))
	default:
		etherType(t, b, wire, p)
	}
}

// greHeader is the size of a header and its key (of PPTP the call). The size is
// larger than b when b is too short to tell.
func greHeader(b []byte, flags uint16) (size int, key uint32) {
	size = 4
	if flags&(greChecksum|greRouting) != 0 {
		size += 4
	}
	if flags&greKey != 0 {
		size += 4
		if len(b) >= size {
			key = be.Uint32(b[size-4:])
		}
	}
	if flags&greVersion == 1 {
		key &= 0xffff // the upper half is a length
	}
	if flags&greSequence != 0 {
		size += 4
	}
	if flags&greVersion == 1 && flags&greAck != 0 {
		size += 4
	}
	if flags&greRouting == 0 {
		return size, key
	}
	// A list of routes; one of family and length 0 ends it.
	for len(b) >= size+4 {
		route := be.Uint32(b[size:])
		size += 4 + int(route&0xff)
		if route>>16 == 0 && route&0xff == 0 {
			return size, key
		}
	}
	return max(size, len(b)+1), key
}

// erspan decodes what is in draft-foschiano-erspan: a mirrored frame behind no
// header (type I, of GRE without a sequence number), one of 8 bytes (II), or one
// of 12 or 20 (III).
func erspan(flags, t uint16, b []byte, wire int, p *Packet) {
	if t == typeERSPAN && flags&greSequence == 0 {
		if p.pushTunnel(ERSPAN, 0) {
			ethernet(b, wire, p)
		}
		return
	}
	if len(b) < 8 {
		p.short(wire, 8, inERSPAN)
		return
	}
	size := 8
	switch b[0] >> 4 {
	case 1:
	case 2:
		size = 12
		if len(b) >= 12 && b[11]&1 != 0 {
			size = 20
		}
	default:
		p.end(Malformed, inERSPAN)
		return
	}
	if len(b) < size {
		p.short(wire, size, inERSPAN)
		return
	}
	if p.pushTunnel(ERSPAN, uint32(be.Uint16(b[2:])&0x3ff)) {
		ethernet(b[size:], wire-size, p)
	}
}
