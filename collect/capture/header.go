package capture

import "encoding/binary"

// Protocols of a link (ETH_P_...) and of IP (IPPROTO_...).
const (
	linkIPv4   = 0x0800
	linkARP    = 0x0806
	linkBridge = 0x6558 // a whole Ethernet frame
	linkVLAN   = 0x8100
	linkIPv6   = 0x86dd
	linkMPLS   = 0x8847
	linkQinQ   = 0x88a8
	linkERSPAN = 0x88be

	protoHopByHop = 0
	protoICMP     = 1
	protoIPv4     = 4
	protoTCP      = 6
	protoUDP      = 17
	protoIPv6     = 41
	protoRouting  = 43
	protoFragment = 44
	protoGRE      = 47
	protoESP      = 50
	protoAH       = 51
	protoICMPv6   = 58
	protoOptions  = 60
	protoSCTP     = 132
)

// deepest is how many headers may stand in one another before what follows is
// called payload.
const deepest = 24

// headers tells how many bytes of a packet are headers: those of IP, and of the
// protocol that it carries; in a tunnel (VXLAN, Geneve, GRE, IP in IP) also
// those of the packet inside, and in an ICMP error those of the packet that it
// is about. What it does not know is payload. The packet begins with the header
// that protocol, an ETH_P_..., names.
func headers(packet []byte, protocol uint16) int {
	w := walk{packet: packet}
	w.link(protocol)
	return min(w.at, len(packet))
}

// walk goes through the headers of a packet.
type walk struct {
	packet []byte
	at     int // where the next header begins: all before it is headers
	steps  int
}

// header gives the first n bytes of the next header, or nil where the packet
// ends before, or has gone on for too long.
func (w *walk) header(n int) []byte {
	w.steps++
	if w.steps > deepest || w.at+n > len(w.packet) {
		return nil
	}
	return w.packet[w.at : w.at+n]
}

func (w *walk) link(protocol uint16) {
	switch protocol {
	case linkIPv4:
		w.ipv4()
	case linkIPv6:
		w.ipv6()
	case linkARP:
		w.at += 28
	case linkBridge:
		if h := w.header(14); h != nil {
			w.at += 14
			w.link(binary.BigEndian.Uint16(h[12:]))
		}
	case linkVLAN, linkQinQ:
		if h := w.header(4); h != nil {
			w.at += 4
			w.link(binary.BigEndian.Uint16(h[2:]))
		}
	case linkMPLS:
		w.mpls()
	}
}

func (w *walk) mpls() {
	for {
		h := w.header(4)
		if h == nil {
			return
		}
		w.at += 4
		if h[2]&1 != 0 { // the bottom of the stack
			break
		}
	}
	h := w.header(1)
	switch {
	case h == nil:
	case h[0]>>4 == 4:
		w.ipv4()
	case h[0]>>4 == 6:
		w.ipv6()
	}
}

func (w *walk) ipv4() {
	h := w.header(20)
	if h == nil || h[0]>>4 != 4 {
		return
	}
	w.at += max(20, 4*int(h[0]&15))
	if binary.BigEndian.Uint16(h[6:])&0x1fff == 0 { // later fragments have no header
		w.carried(h[9])
	}
}

func (w *walk) ipv6() {
	h := w.header(40)
	if h == nil || h[0]>>4 != 6 {
		return
	}
	w.at += 40
	next := h[6]
	for {
		switch next {
		case protoHopByHop, protoRouting, protoOptions, protoAH, protoFragment:
		default:
			w.carried(next)
			return
		}
		h := w.header(8)
		if h == nil {
			return
		}
		switch next {
		case protoFragment:
			w.at += 8
			if binary.BigEndian.Uint16(h[2:])&0xfff8 != 0 {
				return
			}
		case protoAH:
			w.at += 4 * (int(h[1]) + 2)
		default:
			w.at += 8 * (int(h[1]) + 1)
		}
		next = h[0]
	}
}

// carried goes on behind the headers of IP.
func (w *walk) carried(protocol byte) {
	switch protocol {
	case protoTCP:
		if h := w.header(20); h != nil {
			w.at += max(20, 4*int(h[12]>>4))
		}
	case protoUDP:
		w.udp()
	case protoSCTP:
		w.at += 12
	case protoICMP, protoICMPv6:
		w.icmp(protocol)
	case protoIPv4:
		w.ipv4()
	case protoIPv6:
		w.ipv6()
	case protoGRE:
		w.gre()
	case protoESP:
		w.at += 8
	case protoAH: // over IPv4
		if h := w.header(8); h != nil {
			w.at += 4 * (int(h[1]) + 2)
			w.carried(h[0])
		}
	}
}

// udp goes on into a tunnel, when the port is one's and the header looks like one's.
func (w *walk) udp() {
	h := w.header(8)
	if h == nil {
		return
	}
	w.at += 8
	port := binary.BigEndian.Uint16(h[2:])
	inner := w.header(8)
	switch {
	case inner == nil:
	case port == 4789 || port == 8472: // VXLAN, and Linux's older port for it
		if inner[0]&0x08 != 0 && inner[7] == 0 {
			w.at += 8
			w.link(linkBridge)
		}
	case port == 6081: // Geneve
		if inner[0]>>6 == 0 && inner[7] == 0 {
			w.at += 8 + 4*int(inner[0]&0x3f)
			w.link(binary.BigEndian.Uint16(inner[2:]))
		}
	}
}

func (w *walk) gre() {
	h := w.header(4)
	if h == nil || h[1]&7 != 0 {
		return
	}
	w.at += 4
	for _, bit := range []byte{0x80, 0x20, 0x10} { // a checksum, a key, a number
		if h[0]&bit != 0 {
			w.at += 4
		}
	}
	protocol := binary.BigEndian.Uint16(h[2:])
	if protocol == linkERSPAN {
		if h[0]&0x10 != 0 { // of type II, which has a header of its own
			w.at += 8
		}
		protocol = linkBridge
	}
	w.link(protocol)
}

// icmp keeps what an error or a neighbour is about, and nothing of an echo.
func (w *walk) icmp(protocol byte) {
	h := w.header(8)
	if h == nil {
		return
	}
	w.at += 8
	kind := h[0]
	switch {
	case protocol == protoICMP && (kind == 3 || kind == 4 || kind == 5 || kind == 11 || kind == 12):
		w.ipv4()
	case protocol == protoICMPv6 && kind >= 1 && kind <= 4:
		w.ipv6()
	case protocol == protoICMPv6 && (kind == 135 || kind == 136):
		w.at += 24 // an address, and one of a link
	}
}
