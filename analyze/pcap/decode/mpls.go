package decode

// mpls decodes a stack of labels (RFC 3032) and guesses what follows: nothing
// there says so.
func mpls(b []byte, wire int, p *Packet) {
	for {
		if len(b) < 4 {
			p.short(wire, 4, inMPLS)
			return
		}
		entry := be.Uint32(b)
		if !p.push(MPLS, entry>>12) {
			return
		}
		b, wire = b[4:], wire-4
		if entry&0x100 != 0 {
			break
		}
	}
	if len(b) == 0 {
		p.short(wire, 1, inMPLS)
		return
	}
	switch b[0] >> 4 {
	case 4:
		if !isFrame(b) || checksumFits(b) {
			ipv4(b, wire, p)
			return
		}
		ethernet(b, wire, p)
	case 6:
		if !isFrame(b) || len(b) >= 6 && int(be.Uint16(b[4:]))+40 == wire {
			ipv6(b, wire, p)
			return
		}
		ethernet(b, wire, p)
	default:
		pseudowire(b, wire, p)
	}
}

// pseudowire decodes Ethernet behind MPLS, with the control word of RFC 4385 or
// without, when there is something in it that we know.
func pseudowire(b []byte, wire int, p *Packet) {
	switch {
	case b[0]>>4 == 0 && len(b) > 4 && isFrame(b[4:]):
		ethernet(b[4:], wire-4, p)
	case isFrame(b):
		ethernet(b, wire, p)
	case wire > len(b) && len(b) < 4+15:
		p.end(Cut, inMPLS)
	default:
		p.end(UnknownInside, inMPLS)
	}
}

// isFrame tells whether b looks like an Ethernet frame with IP, ARP or a tag.
func isFrame(b []byte) bool {
	if len(b) < 15 {
		return false
	}
	switch be.Uint16(b[12:]) {
	case typeIPv4:
		return b[14]>>4 == 4
	case typeIPv6:
		return b[14]>>4 == 6
	case typeARP, typeVLAN, typeQinQ, typeMPLS, typePPPoE:
		return true
	}
	return false
}

// checksumFits tells whether b begins with a sound header of IPv4.
func checksumFits(b []byte) bool {
	size := int(b[0]&0xf) * 4
	if size < 20 || len(b) < size {
		return false
	}
	var sum uint32
	for i := 0; i < size; i += 2 {
		sum += uint32(be.Uint16(b[i:]))
	}
	sum = sum&0xffff + sum>>16
	return sum&0xffff+sum>>16 == 0xffff
}
