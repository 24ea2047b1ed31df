package decode

import "encoding/binary"

// Numbers of BSDs for what LINKTYPE_RAW is.
const (
	linkRawBSD     = 12
	linkRawOpenBSD = 14
)

func link(linkType uint16, b []byte, wire int, p *Packet) {
	switch linkType {
	case LinkEthernet:
		ethernet(b, wire, p)
	case LinkSLL2:
		sll2(b, wire, p)
	case LinkSLL:
		sll(b, wire, p)
	case LinkRaw, linkRawBSD, linkRawOpenBSD:
		rawIP(b, wire, p)
	case LinkNull, LinkLoop:
		loopback(b, wire, p)
	case LinkIPv4:
		ipv4(b, wire, p)
	case LinkIPv6:
		ipv6(b, wire, p)
	case LinkNFLog:
		nflog(b, wire, p)
	case LinkPPP:
		ppp(b, wire, p)
	default:
		p.end(UnknownLink, uint32(linkType))
	}
}

// EtherTypes, see https://www.iana.org/assignments/ieee-802-numbers, and values
// that Linux puts in their place (linux/if_ether.h).
const (
	typeLinuxLLC = 0x0004 // ETH_P_802_2
	typeLeast    = 0x0600 // below it is the length of an IEEE 802.3 frame
	typeIPv4     = 0x0800
	typeARP      = 0x0806
	typeRARP     = 0x8035
	typeEthernet = 0x6558 // transparent Ethernet bridging
	typeVLAN     = 0x8100
	typeIPv6     = 0x86dd
	typePPP      = 0x880b
	typeMPLS     = 0x8847
	typeMPLSUp   = 0x8848 // upstream assigned, once multicast
	typePPPoE    = 0x8864
	typeQinQ     = 0x88a8
	typeERSPAN   = 0x88be // types I and II
	typeMACsec   = 0x88e5
	typeERSPAN3  = 0x22eb
	typeNSH      = 0x894f
	typeOldQinQ  = 0x9100
	typeFabric   = 0x8903 // Cisco FabricPath: two bytes and a frame
)

func ethernet(b []byte, wire int, p *Packet) {
	if len(b) < 14 {
		p.short(wire, 14, inEthernet)
		return
	}
	frame(be.Uint16(b[12:]), b[14:], wire-14, p)
}

// maxFrames bounds the frames in one packet: one in each tunnel, and some more
// in what is no wrapping of ours, such as FabricPath.
const maxFrames = MaxLayers + 4

// frame decodes what follows the type or length field of a frame. Whatever leads
// from one header to another of its kind without a wrapping comes by here, so
// that this is where an endless packet ends. Detail counts until it gets its
// meaning at the packet's end.
func frame(t uint16, b []byte, wire int, p *Packet) {
	if p.Detail++; p.Detail > maxFrames {
		p.end(TooDeep, 0)
		return
	}
	for t == typeVLAN || t == typeQinQ || t == typeOldQinQ {
		if len(b) < 4 {
			p.short(wire, 4, inVLAN)
			return
		}
		// VLAN 0 is none: such a tag is there for the priority.
		id := uint32(be.Uint16(b) & 0xfff)
		if id != 0 && !p.push(VLAN, id) {
			return
		}
		t = be.Uint16(b[2:])
		b, wire = b[4:], wire-4
	}
	switch {
	case t >= typeLeast:
		etherType(t, b, wire, p)
	case t < 3 || int(t) > wire:
		p.end(Malformed, inLLC)
	default:
		llc(b, wire, p)
	}
}

// etherType decodes what an EtherType announces.
func etherType(t uint16, b []byte, wire int, p *Packet) {
	switch t {
	case typeIPv4:
		ipv4(b, wire, p)
	case typeIPv6:
		ipv6(b, wire, p)
	case typeVLAN, typeQinQ, typeOldQinQ:
		frame(t, b, wire, p)
	case typeARP, typeRARP:
		p.end(ARP, uint32(t))
	case typeEthernet:
		ethernet(b, wire, p)
	case typeMPLS, typeMPLSUp:
		mpls(b, wire, p)
	case typePPPoE:
		pppoe(b, wire, p)
	case typePPP:
		ppp(b, wire, p)
	case typeNSH:
		nsh(b, wire, p)
	case typeFabric:
		if len(b) < 2 {
			p.short(wire, 2, inEthernet)
			return
		}
		ethernet(b[2:], wire-2, p)
	case typeMACsec:
		p.end(Encrypted, uint32(t))
	default:
		otherType(t, p)
	}
}

func otherType(t uint16, p *Packet) {
	if known := etherTypes[t]; known != "" {
		p.end(NoIP, uint32(t))
		return
	}
	p.end(UnknownType, uint32(t))
}

// llc decodes IEEE 802.2 with IP, mostly behind a SNAP header (RFC 1042).
func llc(b []byte, wire int, p *Packet) {
	if len(b) < 3 {
		p.short(wire, 3, inLLC)
		return
	}
	if b[0] == 6 && b[1] == 6 && b[2] == 3 {
		ipv4(b[3:], wire-3, p)
		return
	}
	if b[0] != 0xaa || b[1] != 0xaa || b[2] != 3 {
		p.end(LLC, uint32(b[0]))
		return
	}
	if len(b) < 8 {
		p.short(wire, 8, inLLC)
		return
	}
	t := be.Uint16(b[6:])
	if b[3] != 0 || b[4] != 0 || b[5] != 0 || t < typeLeast {
		p.end(LLC, uint32(b[0]))
		return
	}
	etherType(t, b[8:], wire-8, p)
}

// sll decodes https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL.html. The
// length of the address may be any number: 8 bytes of it are there.
func sll(b []byte, wire int, p *Packet) {
	if len(b) < 16 {
		p.short(wire, 16, inSLL)
		return
	}
	passed(be.Uint16(b), p)
	cooked(be.Uint16(b[2:]), be.Uint16(b[14:]), b[16:], wire-16, p)
}

// sll2 decodes https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html.
func sll2(b []byte, wire int, p *Packet) {
	if len(b) < 20 {
		p.short(wire, 20, inSLL)
		return
	}
	passed(uint16(b[10]), p)
	p.IfIndex = be.Uint32(b[4:])
	cooked(be.Uint16(b[8:]), be.Uint16(b), b[20:], wire-20, p)
}

// passed notes the packet type of Linux (linux/if_packet.h) where it is one
// that a capture can have.
func passed(t uint16, p *Packet) {
	if t <= 4 {
		p.HasPassed, p.Passed = true, uint8(t)
	}
}

// Hardware types of Linux (linux/if_arp.h) with which the protocol field of SLL
// and SLL2 is no EtherType.
const (
	hardwareCAN      = 280
	hardwareFRAD     = 770
	hardware80211    = 801
	hardwarePrism    = 802
	hardwareRadiotap = 803
	hardwareNetlink  = 824
)

func cooked(hardware, t uint16, b []byte, wire int, p *Packet) {
	switch hardware {
	case hardwareCAN, hardwareFRAD, hardware80211, hardwarePrism, hardwareRadiotap, hardwareNetlink:
		p.end(UnknownHardware, uint32(hardware))
		return
	}
	// GRE devices (778, 823) write the protocol of GRE, which is an EtherType.
	switch {
	case t == typeLinuxLLC:
		llc(b, wire, p)
	case t < typeLeast:
		p.end(UnknownType, uint32(t))
	default:
		etherType(t, b, wire, p)
	}
}

// rawIP decodes an IP packet that says its version itself.
func rawIP(b []byte, wire int, p *Packet) {
	switch {
	case len(b) == 0:
		p.short(wire, 1, inIP)
	case b[0]>>4 == 4:
		ipv4(b, wire, p)
	case b[0]>>4 == 6:
		ipv6(b, wire, p)
	default:
		p.end(Malformed, inIP)
	}
}

// loopback decodes the address family of BSDs, which is in the capturing host's
// byte order for LINKTYPE_NULL and in network byte order for LINKTYPE_LOOP. IPv6
// is 24 of NetBSD and OpenBSD, 28 of FreeBSD, 30 of macOS; 10 and 23 of Linux
// and Windows are seen as well.
func loopback(b []byte, wire int, p *Packet) {
	if len(b) < 4 {
		p.short(wire, 4, inLoopback)
		return
	}
	family := binary.LittleEndian.Uint32(b)
	if family > 0xffff {
		family = be.Uint32(b)
	}
	switch family {
	case 2:
		ipv4(b[4:], wire-4, p)
	case 10, 23, 24, 28, 30:
		ipv6(b[4:], wire-4, p)
	default:
		p.end(UnknownFamily, family)
	}
}

// nflog decodes https://www.tcpdump.org/linktypes/LINKTYPE_NFLOG.html: a header
// and attributes, of which number 9 is the packet. Length and number are in the
// byte order of the capturing host; the first number is small and not zero.
func nflog(b []byte, wire int, p *Packet) {
	if len(b) < 8 {
		p.short(wire, 8, inNFLog)
		return
	}
	if b[1] != 0 {
		p.end(Malformed, inNFLog)
		return
	}
	b, wire = b[4:], wire-4
	little := b[3] == 0
	for len(b) >= 4 {
		size, number := int(be.Uint16(b)), be.Uint16(b[2:])
		if little {
			size, number = int(binary.LittleEndian.Uint16(b)), binary.LittleEndian.Uint16(b[2:])
		}
		if size < 4 || size > wire {
			p.end(Malformed, inNFLog)
			return
		}
		if number&0x7fff == 9 {
			rawIP(b[4:min(size, len(b))], size-4, p)
			return
		}
		step := min((size+3)&^3, wire)
		if step > len(b) {
			p.end(Cut, inNFLog)
			return
		}
		b, wire = b[step:], wire-step
	}
	p.short(wire, 4, inNFLog)
}

// pppoe decodes RFC 2516, section 4.
func pppoe(b []byte, wire int, p *Packet) {
	if len(b) < 6 {
		p.short(wire, 6, inPPPoE)
		return
	}
	if b[0] != 0x11 || b[1] != 0 {
		p.end(Malformed, inPPPoE)
		return
	}
	if !p.push(PPPoE, uint32(be.Uint16(b[2:]))) {
		return
	}
	ppp(b[6:], wire-6, p)
}

// Protocols of PPP, see https://www.iana.org/assignments/ppp-numbers.
const (
	pppIPv4   = 0x0021
	pppIPv6   = 0x0057
	pppMPLS   = 0x0281
	pppMPLSUp = 0x0283
)

// ppp decodes RFC 1661 and the framing of RFC 1662, address and protocol
// compressed or not.
func ppp(b []byte, wire int, p *Packet) {
	if len(b) >= 2 && b[0] == 0xff && b[1] == 3 {
		b, wire = b[2:], wire-2
	}
	if len(b) < 2 {
		p.short(wire, 2, inPPP)
		return
	}
	t, size := uint16(b[0]), 1
	if t&1 == 0 {
		t, size = be.Uint16(b), 2
	}
	b, wire = b[size:], wire-size
	switch t {
	case pppIPv4:
		ipv4(b, wire, p)
	case pppIPv6:
		ipv6(b, wire, p)
	case pppMPLS, pppMPLSUp:
		mpls(b, wire, p)
	default:
		otherPPP(t, p)
	}
}

// otherPPP tells the protocols that control the link (0x8000 and above) from
// those that may carry something.
func otherPPP(t uint16, p *Packet) {
	if t >= 0x8000 {
		p.end(PPP, uint32(t))
		return
	}
	p.end(UnknownPPP, uint32(t))
}
