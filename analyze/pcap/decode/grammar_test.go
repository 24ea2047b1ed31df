package decode

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"reflect"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// built is a packet and what Decode must say of it. While it grows it begins
// with what the EtherType says.
type built struct {
	etherType uint16
	link      uint16
	data      []byte
	want      Packet
	// outer are the UDP packets that it is in: what is left of a tunnel that
	// was cut.
	outer []tuple
}

type tuple struct {
	v6                          bool
	source, destination         Addr
	protocol                    uint8
	sourcePort, destinationPort uint16
}

func tupleOf(p *Packet) tuple {
	return tuple{p.V6, p.Source, p.Destination, p.Protocol, p.SourcePort, p.DestinationPort}
}

// TestGrammar decodes packets of a random grammar of links, tunnels and
// transports, whole, and cut after every byte.
func TestGrammar(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	seen := map[Kind]int{}
	for i := range 3000 {
		g := builder{t: t, r: r}
		b := g.packet()
		for _, l := range b.want.Layers[:b.want.Depth] {
			seen[l.Kind]++
		}
		check(t, fmt.Sprintf("packet %d", i), b)
		checkCut(t, fmt.Sprintf("packet %d", i), b)
		if t.Failed() {
			t.Logf("link %d: %x", b.link, b.data)
			return
		}
	}
	for k := VLAN; k <= Geneve; k++ {
		if seen[k] < 100 {
			t.Errorf("only %d packets in %s: the grammar is lame", seen[k], k)
		}
	}
}

func check(t *testing.T, name string, b *built) {
	t.Helper()
	got := junk()
	Decode(b.link, b.data, len(b.data), got)
	forget(got)
	if !reflect.DeepEqual(*got, b.want) {
		t.Errorf("%s:\ngot  %+v\nwant %+v", name, *got, b.want)
	}
}

// checkCut cuts the packet: what is left has the same tuple, or none.
func checkCut(t *testing.T, name string, b *built) {
	t.Helper()
	flows := 0
	for n := range b.data {
		p := junk()
		Decode(b.link, b.data[:n:n], len(b.data), p)
		if p.Status.Known() || p.Status == Malformed || p.Status == TooDeep {
			t.Errorf("%s cut to %d of %d bytes: %s", name, n, len(b.data), Reason(p.Status, p.Detail))
		}
		if p.Status != Flow {
			if p.SourcePort != 0 || p.Payload != nil || p.PayloadLength != 0 {
				t.Errorf("%s cut to %d of %d bytes: %s, and ports or payload", name, n, len(b.data), Reason(p.Status, p.Detail))
			}
			continue
		}
		got, want := tupleOf(p), tupleOf(&b.want)
		if got != want {
			if !contains(b.outer, got) {
				t.Errorf("%s cut to %d of %d bytes: %+v, want %+v", name, n, len(b.data), got, want)
			}
			continue
		}
		flows++
		if p.Seq != b.want.Seq || !bytes.HasPrefix(b.want.Payload, p.Payload) {
			t.Errorf("%s cut to %d of %d bytes: seq %d, payload %x", name, n, len(b.data), p.Seq, p.Payload)
		}
		// Where less is known than the whole header, nothing is told of the payload.
		if p.PayloadLength != b.want.PayloadLength && (p.PayloadLength != 0 || p.Payload != nil || p.Protocol != protoTCP) {
			t.Errorf("%s cut to %d of %d bytes: payload of %d bytes, want %d", name, n, len(b.data), p.PayloadLength, b.want.PayloadLength)
		}
	}
	if len(b.data) > 0 && flows < len(b.want.Payload) {
		t.Errorf("%s: only %d of the cuts show the tuple, with a payload of %d bytes", name, flows, len(b.want.Payload))
	}
}

func contains(list []tuple, t tuple) bool {
	for _, other := range list {
		if other == t {
			return true
		}
	}
	return false
}

// junk is a packet that still holds what an earlier one said.
func junk() *Packet {
	p := &Packet{
		Status: Malformed, Detail: 99, HasPassed: true, Passed: 9, IfIndex: 9, Depth: 3,
		V6: true, Source: Addr{15: 1}, Destination: Addr{15: 2}, Protocol: 9, TTL: 9, IPID: 9,
		Fragment: true, FragmentID: 9, FragmentOffset: 9, SourcePort: 9, DestinationPort: 9,
		Seq: 9, Ack: 9, Flags: 9, Window: 9, MSS: 9, Scale: 9, SACK: true, HasStamp: true, Stamp: 9, Echo: 9,
		PayloadLength: 9, Payload: []byte{9}, ICMPSource: Addr{9}, ICMPType: 9, ICMPCode: 9,
	}
	for i := range p.Layers {
		p.Layers[i] = Layer{Kind: 99, V6: true, ID: 99, Source: Addr{15: 9}, Destination: Addr{15: 9}}
	}
	return p
}

// forget clears what Decode leaves undefined, so that packets can be compared.
func forget(p *Packet) {
	clear(p.Layers[p.Depth:])
	if len(p.Payload) == 0 {
		p.Payload = nil
	}
}

// builder makes one packet, from the inside out.
type builder struct {
	t testing.TB
	r *rand.Rand
}

func (g builder) chance(n int) bool { return g.r.IntN(n) == 0 }

func (g builder) packet() *built {
	b := g.conversation()
	tunnels := g.r.IntN(3)
	for range tunnels {
		g.tags(b, MaxLayers-tunnels-len(layersOf(b)))
		g.tunnel(b)
	}
	g.linked(b)
	return b
}

func layersOf(b *built) []Layer { return b.want.Layers[:b.want.Depth] }

// wrap puts a layer around those that the packet has.
func (b *built) wrap(l Layer) {
	copy(b.want.Layers[1:], layersOf(b))
	b.want.Layers[0] = l
	b.want.Depth++
}

func (g builder) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(g.r.Uint32())
	}
	return b
}

func (g builder) addr(v6 bool) (a Addr) {
	n := 4
	if v6 {
		n = 16
	}
	copy(a[:n], g.bytes(n))
	return a
}

func netIP(a Addr, v6 bool) net.IP { return net.IP(a.Netip(v6).AsSlice()) }

// conversation is an IP packet of TCP, UDP, UDP-Lite, SCTP or DCCP.
func (g builder) conversation() *built {
	b := &built{want: Packet{Status: Flow, Scale: -1}}
	w := &b.want
	w.V6 = g.chance(2)
	w.Source, w.Destination, w.TTL = g.addr(w.V6), g.addr(w.V6), uint8(1+g.r.IntN(255))
	// No port of a tunnel: those are for tunnel.
	w.SourcePort, w.DestinationPort = uint16(1+g.r.IntN(65535)), uint16(10000+g.r.IntN(50000))
	w.PayloadLength = g.r.IntN(200)
	payload := g.bytes(w.PayloadLength)
	if w.PayloadLength > 0 {
		w.Payload = payload
	}
	var segment []byte
	switch g.r.IntN(8) {
	case 0, 1:
		w.Protocol = protoUDP
		segment = serialize(g.t, g.udp(w.SourcePort, w.DestinationPort), gopacket.Payload(payload))
	case 2:
		w.Protocol = protoSCTP
		segment = serialize(g.t, &layers.SCTP{SrcPort: layers.SCTPPort(w.SourcePort), DstPort: layers.SCTPPort(w.DestinationPort)}, gopacket.Payload(payload))
	case 3:
		w.Protocol = protoUDPLite
		// The field of the length is that of the checksum's coverage here.
		segment = binary.BigEndian.AppendUint32(nil, uint32(w.SourcePort)<<16|uint32(w.DestinationPort))
		segment = append(append(segment, 0, 8, 0, 0), payload...)
	default:
		w.Protocol = protoTCP
		segment = serialize(g.t, g.tcp(w), gopacket.Payload(payload))
	}
	g.ip(b, w.Protocol, segment)
	return b
}

func (g builder) udp(source, destination uint16) *layers.UDP {
	u := &layers.UDP{SrcPort: layers.UDPPort(source), DstPort: layers.UDPPort(destination)}
	ip := &layers.IPv4{SrcIP: address(1, 1, 1, 1), DstIP: address(2, 2, 2, 2), Protocol: layers.IPProtocolUDP}
	return checksummed(u, ip)
}

func (g builder) tcp(w *Packet) *layers.TCP {
	w.Seq, w.Ack, w.Window = g.r.Uint32(), g.r.Uint32(), uint16(g.r.Uint32())
	w.Flags = uint16(g.r.IntN(512))
	t := &layers.TCP{
		SrcPort: layers.TCPPort(w.SourcePort), DstPort: layers.TCPPort(w.DestinationPort),
		Seq: w.Seq, Ack: w.Ack, Window: w.Window, FIN: w.Flags&1 != 0, SYN: w.Flags&2 != 0, RST: w.Flags&4 != 0,
		PSH: w.Flags&8 != 0, ACK: w.Flags&16 != 0, URG: w.Flags&32 != 0, ECE: w.Flags&64 != 0, CWR: w.Flags&128 != 0,
		NS: w.Flags&256 != 0,
	}
	if g.chance(2) {
		w.HasStamp, w.Stamp, w.Echo = true, g.r.Uint32(), g.r.Uint32()
		t.Options = append(t.Options, stamp(w.Stamp, w.Echo)...)
	}
	if g.chance(3) {
		w.MSS = uint16(1 + g.r.IntN(65535))
		t.Options = append(t.Options, layers.TCPOption{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: binary.BigEndian.AppendUint16(nil, w.MSS)})
	}
	if g.chance(3) {
		w.Scale = int8(g.r.IntN(15))
		t.Options = append(t.Options, layers.TCPOption{OptionType: layers.TCPOptionKindWindowScale, OptionLength: 3, OptionData: []byte{byte(w.Scale)}})
	}
	if g.chance(3) {
		w.SACK = true
		t.Options = append(t.Options, layers.TCPOption{OptionType: layers.TCPOptionKindSACKPermitted, OptionLength: 2})
	}
	if g.chance(4) {
		t.Options = append(t.Options, layers.TCPOption{OptionType: 254, OptionLength: 6, OptionData: g.bytes(4)})
	}
	ip := &layers.IPv4{SrcIP: address(1, 1, 1, 1), DstIP: address(2, 2, 2, 2), Protocol: layers.IPProtocolTCP}
	return checksummed(t, ip)
}

// ip puts the innermost IP header before a segment, with its ways to be longer.
func (g builder) ip(b *built, protocol uint8, segment []byte) {
	w := &b.want
	if !w.V6 {
		w.IPID = uint16(g.r.Uint32())
		ip := &layers.IPv4{Version: 4, TTL: w.TTL, Id: w.IPID, Protocol: layers.IPProtocol(protocol), SrcIP: netIP(w.Source, false), DstIP: netIP(w.Destination, false)}
		if g.chance(3) {
			ip.Options = []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}}
		}
		if g.chance(4) {
			ip.Flags, w.Fragment, w.FragmentID = layers.IPv4MoreFragments, true, uint32(w.IPID)
		}
		b.etherType, b.data = typeIPv4, serialize(g.t, ip, gopacket.Payload(segment))
		return
	}
	next, extended := g.extended(w, protocol, segment)
	ip := &layers.IPv6{Version: 6, HopLimit: w.TTL, NextHeader: layers.IPProtocol(next), SrcIP: netIP(w.Source, true), DstIP: netIP(w.Destination, true)}
	b.etherType, b.data = typeIPv6, serialize(g.t, ip, gopacket.Payload(extended))
}

// extended puts extension headers before a segment: written by hand, because
// gopacket writes few of them.
func (g builder) extended(w *Packet, next uint8, b []byte) (uint8, []byte) {
	add := func(number uint8, header ...byte) {
		header[0] = next
		b, next = append(header, b...), number
	}
	if g.chance(4) {
		add(protoOptions, 0, 0, 1, 4, 0, 0, 0, 0)
	}
	if g.chance(6) {
		add(protoAH, append([]byte{0, 4, 0, 0}, g.bytes(20)...)...)
	}
	if g.chance(6) { // an atomic fragment is whole
		add(protoFragment, append([]byte{0, 0, 0, 0}, g.bytes(4)...)...)
	} else if g.chance(6) {
		w.Fragment, w.FragmentID = true, g.r.Uint32()
		add(protoFragment, binary.BigEndian.AppendUint32([]byte{0, 0, 0, 1}, w.FragmentID)...)
	}
	if g.chance(6) { // segments, none left
		add(protoRouting, append([]byte{0, 2, 4, 0, 0, 0, 0, 0}, g.bytes(16)...)...)
	}
	if g.chance(4) {
		add(protoHopByHop, append([]byte{0, 1, 1, 12}, make([]byte, 12)...)...)
	}
	return next, b
}

// tags puts up to room VLANs or labels, or PPPoE, before the packet.
func (g builder) tags(b *built, room int) {
	isIP := b.etherType == typeIPv4 || b.etherType == typeIPv6
	if room > 0 && isIP && g.chance(4) {
		id, t := uint16(g.r.Uint32()), layers.PPPTypeIPv4
		if b.etherType == typeIPv6 {
			t = layers.PPPTypeIPv6
		}
		b.data = serialize(g.t, &layers.PPPoE{Version: 1, Type: 1, SessionId: id}, &layers.PPP{PPPType: t}, gopacket.Payload(b.data))
		b.wrap(Layer{Kind: PPPoE, ID: uint32(id)})
		b.etherType, isIP, room = typePPPoE, false, room-1
	}
	if room > 0 && isIP && g.chance(4) {
		label := uint32(g.r.IntN(1 << 20))
		b.data = serialize(g.t, &layers.MPLS{Label: label, StackBottom: true, TTL: 9}, gopacket.Payload(b.data))
		b.wrap(Layer{Kind: MPLS, ID: label})
		b.etherType, room = typeMPLS, room-1
	}
	for ; room > 0 && g.chance(3); room-- {
		id := uint16(g.r.IntN(4096))
		b.data = serialize(g.t, &layers.Dot1Q{VLANIdentifier: id, Type: layers.EthernetType(b.etherType)}, gopacket.Payload(b.data))
		b.etherType = []uint16{typeVLAN, typeQinQ, typeOldQinQ}[g.r.IntN(3)]
		if id != 0 {
			b.wrap(Layer{Kind: VLAN, ID: uint32(id)})
		}
	}
}

// tunnel puts the packet into a tunnel between IP addresses.
func (g builder) tunnel(b *built) {
	l := Layer{V6: g.chance(2)}
	l.Source, l.Destination = g.addr(l.V6), g.addr(l.V6)
	id := g.r.Uint32() >> 8
	frame := serialize(g.t, frameOf(layers.EthernetType(b.etherType)), gopacket.Payload(b.data))
	isIP := b.etherType == typeIPv4 || b.etherType == typeIPv6
	protocol := uint8(protoUDP)
	port := uint16(0)
	var inner []byte
	switch n := g.r.IntN(7); {
	case n == 0 && isIP:
		l.Kind, inner, protocol = IPIP, b.data, protoIPv4
		if b.etherType == typeIPv6 {
			protocol = protoIPv6
		}
	case n <= 1:
		h := &layers.GRE{Protocol: layers.EthernetType(b.etherType), ChecksumPresent: g.chance(2), KeyPresent: g.chance(2), SeqPresent: g.chance(2)}
		if h.KeyPresent {
			h.Key = g.r.Uint32()
		}
		l.Kind, l.ID, protocol = GRE, h.Key, protoGRE
		inner = serialize(g.t, h, gopacket.Payload(b.data))
	case n == 2:
		l.Kind, l.ID, protocol = GRE, id, protoGRE
		inner = serialize(g.t, &layers.GRE{Protocol: typeEthernet, KeyPresent: true, Key: id}, gopacket.Payload(frame))
	case n == 3:
		l.Kind, l.ID, protocol = ERSPAN, id&0x3ff, protoGRE
		inner = serialize(g.t, &layers.GRE{Protocol: typeERSPAN, SeqPresent: true}, &layers.ERSPANII{Version: 1, SessionID: uint16(l.ID)}, gopacket.Payload(frame))
	case n == 4:
		l.Kind, l.ID, port = Geneve, id, portGeneve
		// An option of 8 bytes; gopacket writes no Geneve.
		inner = append([]byte{2, 0, typeEthernet >> 8, typeEthernet & 0xff}, binary.BigEndian.AppendUint32(nil, id<<8)...)
		inner = append(append(inner, g.bytes(8)...), frame...)
	default:
		l.Kind, l.ID, port = VXLAN, id, []uint16{portVXLAN, portVXLANLinux}[g.r.IntN(2)]
		inner = serialize(g.t, &layers.VXLAN{ValidIDFlag: true, VNI: id}, gopacket.Payload(frame))
	}
	if port != 0 {
		source := uint16(1 + g.r.IntN(65535))
		inner = serialize(g.t, g.udp(source, port), gopacket.Payload(inner))
		b.outer = append(b.outer, tuple{l.V6, l.Source, l.Destination, protoUDP, source, port})
	}
	b.wrap(l)
	if l.V6 {
		ip := &layers.IPv6{Version: 6, HopLimit: 9, NextHeader: layers.IPProtocol(protocol), SrcIP: netIP(l.Source, true), DstIP: netIP(l.Destination, true)}
		b.etherType, b.data = typeIPv6, serialize(g.t, ip, gopacket.Payload(inner))
		return
	}
	ip := &layers.IPv4{Version: 4, TTL: 9, Protocol: layers.IPProtocol(protocol), SrcIP: netIP(l.Source, false), DstIP: netIP(l.Destination, false)}
	b.etherType, b.data = typeIPv4, serialize(g.t, ip, gopacket.Payload(inner))
}

// linked puts a link's header before the packet.
func (g builder) linked(b *built) {
	isIP := b.etherType == typeIPv4 || b.etherType == typeIPv6
	v6 := b.etherType == typeIPv6
	family := uint32(layers.ProtocolFamilyIPv4)
	if v6 {
		family = uint32([]layers.ProtocolFamily{layers.ProtocolFamilyIPv6BSD, layers.ProtocolFamilyIPv6FreeBSD, layers.ProtocolFamilyIPv6Darwin}[g.r.IntN(3)])
	}
	n := g.r.IntN(10)
	if !isIP {
		n %= 5
	}
	switch n {
	case 3: // packet type, hardware Ethernet, address, protocol
		passed := g.r.IntN(5)
		b.link, b.want.HasPassed, b.want.Passed = LinkSLL, true, uint8(passed)
		header := append([]byte{0, byte(passed), 0, 1, 0, 6}, g.bytes(8)...)
		b.data = append(binary.BigEndian.AppendUint16(header, b.etherType), b.data...)
	case 4:
		passed := g.r.IntN(5)
		b.link, b.want.HasPassed, b.want.Passed, b.want.IfIndex = LinkSLL2, true, uint8(passed), g.r.Uint32()
		header := binary.BigEndian.AppendUint32([]byte{byte(b.etherType >> 8), byte(b.etherType), 0, 0}, b.want.IfIndex)
		header = append(append(header, 0, 1, byte(passed), 6), g.bytes(8)...)
		b.data = append(header, b.data...)
	case 5:
		b.link = []uint16{LinkRaw, linkRawBSD, linkRawOpenBSD}[g.r.IntN(3)]
	case 6:
		b.link, b.data = LinkNull, serialize(g.t, &layers.Loopback{Family: layers.ProtocolFamily(family)}, gopacket.Payload(b.data))
	case 7:
		b.link, b.data = LinkLoop, append(binary.BigEndian.AppendUint32(nil, family), b.data...)
	case 8:
		b.link = LinkIPv4
		if v6 {
			b.link = LinkIPv6
		}
	case 9:
		g.nflog(b)
	default:
		g.tags(b, MaxLayers-b.want.Depth)
		b.link = LinkEthernet
		b.data = serialize(g.t, frameOf(layers.EthernetType(b.etherType)), gopacket.Payload(b.data))
	}
}

func (g builder) nflog(b *built) {
	b.link = LinkNFLog
	var order binary.AppendByteOrder = binary.LittleEndian
	if g.chance(2) {
		order = binary.BigEndian
	}
	// Family, version, group; the header of the packet; a prefix with padding.
	h := []byte{2, 0, 0, 5}
	h = append(order.AppendUint16(order.AppendUint16(h, 8), 1), 8, 0, 1, 0)
	h = append(order.AppendUint16(order.AppendUint16(h, 5), 10), 0, 0, 0, 0)
	h = order.AppendUint16(order.AppendUint16(h, uint16(4+len(b.data))), 9)
	b.data = append(h, b.data...)
}
