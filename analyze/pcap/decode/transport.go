package decode

// leastTCP are the bytes of a TCP header with ports and sequence number: what
// an ICMP error repeats, and a short snaplen may leave.
const leastTCP = 8

// tcp decodes RFC 9293. Of a header that was cut it reads what is there; where
// its length was cut off, nothing is known of the payload. The first fragment
// of a packet may end in the header too.
func tcp(b []byte, wire int, p *Packet) {
	if len(b) < leastTCP || wire < 20 && !p.Fragment {
		p.short(wire, 20, inTCP)
		return
	}
	size := 20
	if len(b) >= 13 {
		size = int(b[12]>>4) * 4
	}
	if size < 20 || size > wire && !p.Fragment {
		p.end(Malformed, inTCP)
		return
	}
	p.end(Flow, 0)
	p.SourcePort, p.DestinationPort = be.Uint16(b), be.Uint16(b[2:])
	p.Seq = be.Uint32(b[4:])
	if len(b) < 20 {
		cutTCP(b, max(wire-size, 0), p)
		return
	}
	p.Ack, p.Window = be.Uint32(b[8:]), be.Uint16(b[14:])
	p.Flags = be.Uint16(b[12:]) & 0x1ff
	p.PayloadLength = max(wire-size, 0)
	if len(b) < size {
		tcpOptions(b[20:], p)
		return
	}
	p.Payload = b[size:]
	// Of nearly every packet the options are a timestamp behind two of padding.
	if o := b[20:size]; len(o) == 12 && be.Uint32(o) == 0x0101080a {
		p.HasStamp, p.Stamp, p.Echo = true, be.Uint32(o[4:]), be.Uint32(o[8:])
	} else if len(o) > 0 {
		tcpOptions(o, p)
	}
}

// cutTCP reads the fields of a header of less than 20 bytes.
func cutTCP(b []byte, payload int, p *Packet) {
	if len(b) >= 12 {
		p.Ack = be.Uint32(b[8:])
	}
	if len(b) >= 13 {
		p.PayloadLength = payload
	}
	if len(b) >= 14 {
		p.Flags = be.Uint16(b[12:]) & 0x1ff
	}
	if len(b) >= 16 {
		p.Window = be.Uint16(b[14:])
	}
}

// Options of TCP: RFC 9293, 7323 and 2018.
const (
	optionEnd   = 0
	optionNone  = 1
	optionMSS   = 2
	optionScale = 3
	optionSACK  = 4
	optionStamp = 8
)

// tcpOptions reads options up to the first that is not well formed.
func tcpOptions(b []byte, p *Packet) {
	for len(b) > 0 && b[0] != optionEnd {
		if b[0] == optionNone {
			b = b[1:]
			continue
		}
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			return
		}
		size := b[1]
		switch {
		case b[0] == optionMSS && size == 4:
			p.MSS = be.Uint16(b[2:])
		case b[0] == optionScale && size == 3:
			p.Scale = int8(b[2] & 0x7f)
		case b[0] == optionSACK && size == 2:
			p.SACK = true
		case b[0] == optionStamp && size == 10:
			p.HasStamp, p.Stamp, p.Echo = true, be.Uint32(b[2:]), be.Uint32(b[6:])
		}
		b = b[size:]
	}
}

// udp decodes RFC 768 and UDP-Lite (RFC 3828, whose length field means
// something else), and the tunnels in it.
func udp(b []byte, wire int, p *Packet) {
	// A fragment carries a part only; offloading writes 0.
	if p.Protocol == protoUDP && len(b) >= 6 {
		if length := int(be.Uint16(b[4:])); length >= 8 && length < wire {
			wire = length
			b = b[:min(length, len(b))]
		}
	}
	if !ports(b, wire, 8, inUDP, p) || p.Protocol != protoUDP {
		return
	}
	switch p.DestinationPort {
	case portVXLAN, portVXLANLinux, portVXLANGPE, portGeneve:
		udpTunnel(p)
	}
}

// ports reads the ports of a transport whose header has size bytes, of which
// the ports are the first four.
func ports(b []byte, wire, size int, where uint32, p *Packet) bool {
	if len(b) < 4 || wire < size {
		p.short(wire, size, where)
		return false
	}
	p.end(Flow, 0)
	p.SourcePort, p.DestinationPort = be.Uint16(b), be.Uint16(b[2:])
	p.PayloadLength = wire - size
	if len(b) > size {
		p.Payload = b[size:]
	}
	return true
}

// dccp decodes RFC 4340, section 5.1: its header says how long it is.
func dccp(b []byte, wire int, p *Packet) {
	if len(b) < 5 {
		p.short(wire, 12, inDCCP)
		return
	}
	size := int(b[4]) * 4
	if size < 12 || size > wire {
		p.end(Malformed, inDCCP)
		return
	}
	ports(b, wire, size, inDCCP, p)
}
