package decode

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/gopacket/layers"
)

// tell is a packet in a line, for tables.
func tell(p *Packet) string {
	var s strings.Builder
	for _, l := range p.Layers[:p.Depth] {
		fmt.Fprintf(&s, "%s: ", l)
	}
	end := func(a Addr, port uint16) string { return netip.AddrPortFrom(a.Netip(p.V6), port).String() }
	protocol := map[uint8]string{protoTCP: "tcp", protoUDP: "udp", protoUDPLite: "udplite", protoSCTP: "sctp", protoDCCP: "dccp"}[p.Protocol]
	switch p.Status {
	case Flow:
		fmt.Fprintf(&s, "%s %s > %s", protocol, end(p.Source, p.SourcePort), end(p.Destination, p.DestinationPort))
		fmt.Fprintf(&s, " %d/%d", len(p.Payload), p.PayloadLength)
	case ICMPError:
		from := p.ICMPSource.Netip(p.V6)
		fmt.Fprintf(&s, "%s says %d/%d of %s %s > %s", from, p.ICMPType, p.ICMPCode, protocol, end(p.Source, p.SourcePort), end(p.Destination, p.DestinationPort))
	default:
		s.WriteString(Reason(p.Status, p.Detail))
	}
	if p.Fragment {
		fmt.Fprintf(&s, " fragment %d at %d", p.FragmentID, p.FragmentOffset)
	}
	return s.String()
}

// join makes bytes of hex digits, with blanks, and of bytes.
func join(parts ...any) []byte {
	var b []byte
	for _, part := range parts {
		switch part := part.(type) {
		case string:
			d, err := hex.DecodeString(strings.ReplaceAll(part, " ", ""))
			if err != nil {
				panic(err)
			}
			b = append(b, d...)
		case []byte:
			b = append(b, part...)
		}
	}
	return b
}

// v4 is an IPv4 packet from 10.0.0.1 to 10.0.0.2.
func v4(protocol byte, payload []byte) []byte {
	b := join("45000000 00070000 40000000 0a000001 0a000002", payload)
	b[9] = protocol
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	return summed(b)
}

// summed sets the checksum of an IPv4 header.
func summed(b []byte) []byte {
	b[10], b[11] = 0, 0
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	binary.BigEndian.PutUint16(b[10:], ^uint16(sum+sum>>16))
	return b
}

// v6 is an IPv6 packet from fd00::1 to fd00::2.
func v6(next byte, payload []byte) []byte {
	b := join("60000000 0000 00 40 fd000000000000000000000000000001 fd000000000000000000000000000002", payload)
	b[6] = next
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	return b
}

// set is a copy of b with other bytes from an offset on.
func set(b []byte, at int, digits string) []byte {
	b = append([]byte(nil), b...)
	copy(b[at:], join(digits))
	return b
}

func ether(t string, payload []byte) []byte {
	return join("020000000002 020000000001", t, payload)
}

func udp4(port uint16, payload []byte) []byte {
	b := join("1388 0000 0000 0000", payload)
	binary.BigEndian.PutUint16(b[2:], port)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
	return v4(protoUDP, b)
}

var (
	dns = join("c000 0035 000b 0000 010203")
	seg = join("c000 0050 00000064 000000c8 5010 0100 0000 0000 aabb")
)

const (
	isDNS  = "udp 10.0.0.1:49152 > 10.0.0.2:53 3/3"
	isDNS6 = "udp [fd00::1]:49152 > [fd00::2]:53 3/3"
	isTCP  = "tcp 10.0.0.1:49152 > 10.0.0.2:80 2/2"
	isTCP6 = "tcp [fd00::1]:49152 > [fd00::2]:80 2/2"
	ends   = " from 10.0.0.1 to 10.0.0.2: "
)

type odd struct {
	name string
	link uint16
	data []byte
	want string
}

func run(t *testing.T, table []odd) {
	t.Helper()
	for _, test := range table {
		t.Run(test.name, func(t *testing.T) {
			p := junk()
			Decode(test.link, test.data, len(test.data), p)
			if got := tell(p); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if p.Status != Flow && (p.PayloadLength != 0 || p.Payload != nil) {
				t.Errorf("%d of %d bytes of payload without a conversation", len(p.Payload), p.PayloadLength)
			}
		})
	}
}

func TestLinks(t *testing.T) {
	sll := func(hardware, protocol string, b []byte) []byte {
		return join("0004", hardware, "0006 020000000001 0000", protocol, b)
	}
	sll2 := func(hardware, protocol string, b []byte) []byte {
		return join(protocol, "0000 00000007", hardware, "00 06 020000000001 0000", b)
	}
	run(t, []odd{
		{"a link type of 16 bits is not one of 8", 257, ether("0800", v4(protoUDP, dns)), "link type 257"},
		{"SLL2 is no SLIP", LinkSLL2, sll2("0001", "0800", v4(protoUDP, dns)), isDNS},
		{"wireless", 105, join("0000"), "link type IEEE802_11 (105)"},
		{"SLL", LinkSLL, sll("0001", "0800", v4(protoTCP, seg)), isTCP},
		{"SLL with an address longer than its field", LinkSLL, set(sll("0001", "0800", v4(protoTCP, seg)), 4, "ffff"), isTCP},
		{"SLL2 with an address longer than its field", LinkSLL2, set(sll2("0001", "0800", v4(protoTCP, seg)), 11, "ff"), isTCP},
		{"SLL of netlink: 0800 is none of IP's", LinkSLL, sll("0338", "0800", v4(protoTCP, seg)), "hardware type netlink (824)"},
		{"SLL2 of radiotap", LinkSLL2, sll2("0323", "0800", v4(protoTCP, seg)), "hardware type radiotap (803)"},
		{"SLL of a GRE device", LinkSLL, sll("030a", "86dd", v6(protoTCP, seg)), isTCP6},
		{"SLL2 of a tun device", LinkSLL2, sll2("fffe", "0800", v4(protoTCP, seg)), isTCP},
		{"SLL with a VLAN", LinkSLL, sll("0001", "8100", join("000c 0800", v4(protoTCP, seg))), "vlan 12: " + isTCP},
		{"SLL with LLC", LinkSLL, sll("0001", "0004", join("424203 0000")), "LLC STP (0x42)"},
		{"SLL with a frame of Novell", LinkSLL, sll("0001", "0001", join("ffff 0000")), "EtherType 0x0001"},
		{"SLL cut", LinkSLL, sll("0001", "0800", nil)[:15], "SLL header malformed"},
		{"loopback, little endian", LinkNull, join("02000000", v4(protoUDP, dns)), isDNS},
		{"loopback, big endian", LinkNull, join("0000001e", v6(protoUDP, dns)), isDNS6},
		{"loopback of OpenBSD", LinkLoop, join("00000018", v6(protoUDP, dns)), isDNS6},
		{"loopback, AppleTalk", LinkLoop, join("00000010", v6(protoUDP, dns)), "address family 16"},
		{"PPP in HDLC", LinkPPP, join("ff03 0021", v4(protoUDP, dns)), isDNS},
		{"PPP, protocol compressed", LinkPPP, join("57", v6(protoUDP, dns)), isDNS6},
		{"PPP, LCP", LinkPPP, join("ff03 c021 0101"), "PPP protocol LCP (0xc021)"},
		{"PPP, compressed", LinkPPP, join("ff03 00fd 0101"), "PPP protocol compressed (0x00fd)"},
		{"raw, neither 4 nor 6", LinkRaw, join("5500"), "IP header malformed"},
		{"raw, nothing", LinkRaw, nil, "IP header malformed"},
		{"NFLOG without a packet", LinkNFLog, join("02000005 0800 0100 08000100"), "NFLOG header malformed"},
		{"NFLOG, an attribute of length 0", LinkNFLog, join("02000005 0000 0100 08000100"), "NFLOG header malformed"},
		{"NFLOG, an attribute too long", LinkNFLog, join("02000005 0801 0100 08000100"), "NFLOG header malformed"},
		{"NFLOG of a version to come", LinkNFLog, join("02010005 0800 0100 08000100"), "NFLOG header malformed"},
		{"LLC, spanning tree", LinkEthernet, ether("0026", join("424203", make([]byte, 43))), "LLC STP (0x42)"},
		{"LLC, SNAP with IP", LinkEthernet, ether("0027", join("aaaa03 000000 0800", v4(protoUDP, dns))), isDNS},
		{"LLC, SNAP of Cisco", LinkEthernet, ether("0008", join("aaaa03 00000c 2000")), "LLC SNAP (0xaa)"},
		{"LLC, IP", LinkEthernet, ether("0022", join("060603", v4(protoUDP, dns))), isDNS},
		{"a length beyond the frame", LinkEthernet, ether("05dc", join("424203")), "LLC header malformed"},
		{"ARP", LinkEthernet, ether("0806", nil), "ARP"},
		{"LLDP", LinkEthernet, ether("88cc", nil), "EtherType LLDP (0x88cc)"},
		{"an EtherType without a name", LinkEthernet, ether("1234", nil), "EtherType 0x1234"},
		{"MACsec", LinkEthernet, ether("88e5", nil), "encrypted (MACsec)"},
		{"FabricPath", LinkEthernet, ether("8903", join("0041", ether("0800", v4(protoUDP, dns)))), isDNS},
		{"QinQ of both kinds", LinkEthernet, ether("88a8", join("0064 9100 e001 8100 0002 0800", v4(protoUDP, dns))), "vlan 100: vlan 1: vlan 2: " + isDNS},
		{"a priority is no VLAN", LinkEthernet, ether("8100", join("e000 0800", v4(protoUDP, dns))), isDNS},
		{"PPPoE", LinkEthernet, ether("8864", join("1100 0003 0021 0021", v4(protoUDP, dns))), "pppoe 3: " + isDNS},
		{"PPPoE discovery", LinkEthernet, ether("8863", join("1109 0000 0000")), "EtherType PPPoE discovery (0x8863)"},
		{"PPPoE, no session", LinkEthernet, ether("8864", join("1109 0000 0000")), "PPPoE header malformed"},
	})
}

func TestMPLS(t *testing.T) {
	const label = "00010140" // 16, the last
	frame := func(destination string, b []byte) []byte { return join(destination, "020000000001 0800", b) }
	run(t, []odd{
		{"labels", LinkEthernet, ether("8847", join("00011040 00010140", v4(protoUDP, dns))), "mpls 17: mpls 16: " + isDNS},
		{"IPv6", LinkEthernet, ether("8847", join(label, v6(protoUDP, dns))), "mpls 16: " + isDNS6},
		{"a control word", LinkEthernet, ether("8847", join(label, "00000000", frame("020000000002", v4(protoUDP, dns)))), "mpls 16: " + isDNS},
		{"none", LinkEthernet, ether("8847", join(label, frame("020000000002", v4(protoUDP, dns)))), "mpls 16: " + isDNS},
		{"none, and an address like IPv4", LinkEthernet, ether("8847", join(label, frame("460000000002", v4(protoUDP, dns)))), "mpls 16: " + isDNS},
		{"none, and an address like IPv6", LinkEthernet, ether("8847", join(label, frame("620000000002", v4(protoUDP, dns)))), "mpls 16: " + isDNS},
		{"IPv4 like a frame", LinkEthernet, ether("8847", join(label, summed(set(v4(protoUDP, dns), 12, "08004501")))), "mpls 16: udp 8.0.69.1:49152 > 10.0.0.2:53 3/3"},
		{"IPv6 like a frame", LinkEthernet, ether("8847", join(label, set(v6(protoUDP, dns), 12, "08004500"))), "mpls 16: udp [fd00:0:800:4500::1]:49152 > [fd00::2]:53 3/3"},
		{"something else", LinkEthernet, ether("8847", join(label, "1000 0007", make([]byte, 40))), "mpls 16: unknown packet inside MPLS"},
		{"no last label", LinkEthernet, ether("8847", join("00010040 00010040")), "mpls 16: mpls 16: MPLS header malformed"},
		{"too many labels", LinkEthernet, ether("8847", join(strings.Repeat("00010040", 7), v4(protoUDP, dns))), strings.Repeat("mpls 16: ", 6) + "in more than 6 wrappings"},
	})
}

func TestIP(t *testing.T) {
	ah := join("11 00 0000 00000000") // a length of 0: 8 bytes
	var chain []byte
	for range 30 {
		chain = append(chain, join("3c 00 0104 00000000")...)
	}
	chain = append(chain, join("11 00 0104 00000000", dns)...)
	segments := join("11 04 04 01 01 00 0000 fd0000000000000000000000000000aa fd000000000000000000000000000002", dns)
	route := join("11 04 00 02 00000000 fd0000000000000000000000000000bb fd0000000000000000000000000000cc", dns)
	run(t, []odd{
		{"padding", LinkEthernet, ether("0800", join(v4(protoTCP, seg), "000000000000")), isTCP},
		{"a total length of 0", LinkEthernet, ether("0800", set(v4(protoTCP, seg), 2, "0000")), isTCP},
		{"a total length beyond the packet", LinkRaw, set(v4(protoTCP, seg), 2, "0100"), "tcp 10.0.0.1:49152 > 10.0.0.2:80 2/216"},
		{"a total length below the header", LinkRaw, set(v4(protoTCP, seg), 2, "0013"), "IPv4 header malformed"},
		{"a header of 16 bytes", LinkRaw, set(v4(protoTCP, seg), 0, "44"), "IPv4 header malformed"},
		{"IPv6 where IPv4 is said", LinkEthernet, ether("0800", v6(protoTCP, seg)), "IPv4 header malformed"},
		{"IPv4 where IPv6 is said", LinkIPv6, v4(protoTCP, join(seg, make([]byte, 20))), "IPv6 header malformed"},
		{"the authentication header", LinkRaw, v4(protoAH, join("11 04", make([]byte, 22), dns)), isDNS},
		{"ESP", LinkRaw, v4(protoESP, dns), "encrypted (ESP)"},
		{"OSPF", LinkRaw, v4(89, dns), "IP protocol OSPF (89)"},
		{"VRRP", LinkRaw, v4(112, dns), "IP protocol VRRP (112)"},
		{"an IP protocol without a name", LinkRaw, v4(253, dns), "IP protocol 253"},
		{"L2TP", LinkRaw, v4(protoL2TP, dns), "IP protocol L2TP (115)"},
		{"ICMPv6 in IPv4", LinkRaw, v4(protoICMPv6, join("03000000 00000000", v6(protoUDP, dns))), "IP protocol ICMPv6 (58)"},
		{"IGMP", LinkRaw, v4(protoIGMP, dns), "multicast groups (IGMP, MLD)"},
		{"IPv6, a payload length of 0", LinkRaw, set(v6(protoTCP, seg), 4, "0000"), isTCP6},
		{"IPv6, a payload length beyond the packet", LinkRaw, set(v6(protoTCP, seg), 4, "0100"), "tcp [fd00::1]:49152 > [fd00::2]:80 2/236"},
		{"a jumbo payload", LinkRaw, set(v6(0, join("06 00 c2 04 00011170", seg)), 4, "0000"), "tcp [fd00::1]:49152 > [fd00::2]:80 2/69972"},
		{"a jumbo payload option broken", LinkRaw, set(v6(0, join("06 00 c2 ff 00011170", seg)), 4, "0000"), isTCP6},
		{"a jumbo payload that is none", LinkRaw, set(v6(0, join("06 00 c2 04 00000070", seg)), 4, "0000"), isTCP6},
		{"an authentication header without length", LinkRaw, v6(protoAH, join(ah, dns)), isDNS6},
		{"headers without end", LinkRaw, v6(protoOptions, chain), "IPv6 extension header malformed"},
		{"a header beyond the packet", LinkRaw, v6(protoOptions, join("11 ff 0104 00000000")), "IPv6 extension header malformed"},
		{"nothing", LinkRaw, v6(59, nil), "IP protocol no next header (59)"},
		{"segments to go", LinkRaw, v6(protoRouting, segments), "udp [fd00::1]:49152 > [fd00::aa]:53 3/3"},
		{"a route to go", LinkRaw, v6(protoRouting, route), "udp [fd00::1]:49152 > [fd00::cc]:53 3/3"},
		{"no route left", LinkRaw, v6(protoRouting, set(route, 3, "00")), isDNS6},
	})
}

func TestFragments(t *testing.T) {
	first := set(v4(protoUDP, set(dns, 4, "0400")), 6, "2000")
	run(t, []odd{
		{"the first", LinkRaw, first, isDNS + " fragment 7 at 0"},
		{"a later one", LinkRaw, set(first, 6, "2010"), "udp 10.0.0.1:0 > 10.0.0.2:0 11/11 fragment 7 at 128"},
		{"the last", LinkRaw, set(first, 6, "0010"), "udp 10.0.0.1:0 > 10.0.0.2:0 11/11 fragment 7 at 128"},
		{"do not fragment is none", LinkRaw, set(first, 6, "4000"), isDNS},
		{"the first of a SYN, in the header", LinkRaw, set(v4(protoTCP, set(seg, 12, "a002")), 6, "2000"), "tcp 10.0.0.1:49152 > 10.0.0.2:80 0/0 fragment 7 at 0"},
		{"the first, without ports", LinkRaw, set(v4(protoTCP, seg[:2]), 6, "2000"), "TCP header malformed fragment 7 at 0"},
		{"a later one of GRE", LinkRaw, set(v4(protoGRE, dns), 6, "0010"), "fragment without its begin fragment 7 at 128"},
		{"a later one of a ping", LinkRaw, set(v4(protoICMP, dns), 6, "0010"), "other ICMP fragment 7 at 128"},
		{"IPv6, atomic", LinkRaw, v6(protoFragment, join("11 00 0000 00000009", dns)), isDNS6},
		{"IPv6, the first", LinkRaw, v6(protoFragment, join("11 00 0001 00000009", dns)), isDNS6 + " fragment 9 at 0"},
		{"IPv6, a later one", LinkRaw, v6(protoFragment, join("11 00 0101 00000009", dns)), "udp [fd00::1]:0 > [fd00::2]:0 11/11 fragment 9 at 256"},
		{"IPv6, reserved bits", LinkRaw, v6(protoFragment, join("11 00 0107 00000009", dns)), "udp [fd00::1]:0 > [fd00::2]:0 11/11 fragment 9 at 256"},
		{"IPv6, a later one of options", LinkRaw, v6(protoFragment, join("3c 00 0101 00000009", dns)), "fragment without its begin fragment 9 at 256"},
	})
}

func TestTransport(t *testing.T) {
	run(t, []odd{
		{"TCP, a header of 16 bytes", LinkRaw, v4(protoTCP, set(seg, 12, "40")), "TCP header malformed"},
		{"TCP, a header beyond the packet", LinkRaw, v4(protoTCP, set(seg, 12, "f0")), "TCP header malformed"},
		{"TCP, nothing", LinkRaw, v4(protoTCP, nil), "TCP header malformed"},
		{"UDP, a length of 0", LinkRaw, v4(protoUDP, set(dns, 4, "0000")), isDNS},
		{"UDP, a length beyond the packet", LinkRaw, v4(protoUDP, set(dns, 4, "ffff")), isDNS},
		{"UDP, a length within the packet", LinkRaw, v4(protoUDP, set(dns, 4, "0009")), "udp 10.0.0.1:49152 > 10.0.0.2:53 1/1"},
		{"UDP, cut by its sender", LinkRaw, v4(protoUDP, dns[:6]), "UDP header malformed"},
		{"UDP-Lite", LinkRaw, v4(protoUDPLite, set(dns, 4, "0008")), "udplite 10.0.0.1:49152 > 10.0.0.2:53 3/3"},
		{"SCTP", LinkRaw, v4(protoSCTP, join("1388 0b59 00000000 00000000 00")), "sctp 10.0.0.1:5000 > 10.0.0.2:2905 1/1"},
		{"DCCP", LinkRaw, v4(protoDCCP, join("1388 0b59 04 000000 00000000 00000000 aabb")), "dccp 10.0.0.1:5000 > 10.0.0.2:2905 2/2"},
		{"DCCP, a header beyond the packet", LinkRaw, v4(protoDCCP, join("1388 0b59 ff 000000 00000000")), "DCCP header malformed"},
	})
}

// TestOptions reads the options of TCP up to the first broken one.
func TestOptions(t *testing.T) {
	for _, test := range []struct{ name, options, want string }{
		{"of a SYN of Linux", "020405b4 0402 080a 00000001 00000002 01 030307", "1460 7 true 1 2"},
		{"none", "", "0 -1 false 0 0"},
		{"a length of 0", "020405b4 0800 0000", "1460 -1 false 0 0"},
		{"a length of 1", "0301 020405b4 0000", "0 -1 false 0 0"},
		{"a length beyond the header", "020405b4 080a 0000", "1460 -1 false 0 0"},
		{"behind the end", "00 030307", "0 -1 false 0 0"},
		{"a kind in the last byte", "010101 08", "0 -1 false 0 0"},
		{"known kinds of other lengths", "0403ff 0803ff 0203ff 0302 030307 0000", "0 7 false 0 0"},
		{"an unknown kind", "fe04ffff 020405b4", "1460 -1 false 0 0"},
	} {
		options := join(test.options)
		header := set(seg[:20], 12, fmt.Sprintf("%02x", 16*(5+len(options)/4)))
		data := v4(protoTCP, join(header, options, "aabb"))
		p := junk()
		Decode(LinkRaw, data, len(data), p)
		got := fmt.Sprint(p.MSS, p.Scale, p.SACK, p.Stamp, p.Echo)
		if got != test.want || tell(p) != isTCP || p.HasStamp != (p.Stamp != 0) {
			t.Errorf("%s: got %s: %s; want %s", test.name, tell(p), got, test.want)
		}
	}
}

// TestCutTCP keeps ever less of a header.
func TestCutTCP(t *testing.T) {
	data := v4(protoTCP, set(seg, 12, "5012"))
	for n, want := range map[int]string{
		22: "100 200 18 256 2", 20: "100 200 18 256 2", 16: "100 200 18 256 2", 14: "100 200 18 0 2",
		13: "100 200 0 0 2", 12: "100 200 0 0 0", 8: "100 0 0 0 0",
	} {
		p := junk()
		Decode(LinkRaw, data[:20+n], len(data), p)
		got := fmt.Sprint(p.Seq, p.Ack, p.Flags, p.Window, p.PayloadLength)
		if got != want || p.SourcePort != 49152 || p.DestinationPort != 80 {
			t.Errorf("%d bytes of TCP: %s: %s, want %s", n, tell(p), got, want)
		}
	}
	p := junk()
	Decode(LinkRaw, data[:27], len(data), p)
	if got, want := tell(p), "cut before the ports"; got != want {
		t.Errorf("7 bytes of TCP: %s, want %s", got, want)
	}
}

// TestWireLength knows a payload that the capture does not have.
func TestWireLength(t *testing.T) {
	big := set(v4(protoTCP, seg), 2, "0000") // a segment of BIG TCP
	p := junk()
	Decode(LinkEthernet, ether("0800", big), 14+40+70000, p)
	if p.PayloadLength != 70000 || len(p.Payload) != 2 {
		t.Errorf("%s, want 70000 bytes of payload", tell(p))
	}
	// A record that claims less than it has.
	Decode(LinkEthernet, ether("0800", big), 20, p)
	if got := tell(p); got != isTCP {
		t.Errorf("%s, want %s", got, isTCP)
	}
}

func TestKnown(t *testing.T) {
	for _, s := range []Status{ARP, Echo, ICMP, Neighbour, Groups, NoIP, LLC, PPP, NoPorts} {
		if !s.Known() {
			t.Errorf("%s is missed", Reason(s, 0))
		}
	}
	for _, s := range []Status{0, Flow, ICMPError, UnknownLink, UnknownHardware, UnknownFamily, UnknownType, UnknownPPP, UnknownTunnel,
		UnknownInside, Encrypted, LaterFragment, Cut, Malformed, TooDeep} {
		if s.Known() {
			t.Errorf("%s is missed by nobody", Reason(s, 0))
		}
	}
}

// TestReason has other words for every status.
func TestReason(t *testing.T) {
	seen := map[string]Status{}
	for s := Flow; s <= TooDeep; s++ {
		// Two pairs differ in what we know of the number.
		detail := map[Status]uint32{UnknownType: 0x1234, NoIP: 0x88cc, UnknownPPP: 0xfd, PPP: 0xc021, UnknownTunnel: protoL2TP}[s]
		reason := Reason(s, detail)
		if other, ok := seen[reason]; ok || reason == "" || strings.HasPrefix(reason, "status") {
			t.Errorf("status %d is %q, as is %d", s, reason, other)
		}
		seen[reason] = s
	}
	if got := Reason(Malformed, 1<<31); got != "unknown header malformed" {
		t.Errorf("a detail that is none: %q", got)
	}
}

// TestNames has a name for every protocol that gopacket has one for.
func TestNames(t *testing.T) {
	decoded := map[uint32]bool{protoTCP: true, protoUDP: true, protoUDPLite: true, protoSCTP: true,
		protoHopByHop: true, protoRouting: true, protoFragment: true, protoOptions: true}
	for n := range uint32(256) {
		theirs := layers.IPProtocol(n).String()
		if theirs != "UnknownIPProtocol" && !decoded[n] && ipProtocols[n] == "" {
			t.Errorf("IP protocol %d has no name, but is %s", n, theirs)
		}
	}
	for n := range uint32(0x10000) {
		p := junk()
		Decode(LinkSLL, join("0000 0001 0006 020000000001 0000", []byte{byte(n >> 8), byte(n)}), 16, p)
		theirs := layers.EthernetType(n).String()
		if theirs != "UnknownEthernetType" && n > typeLeast && n != typeEthernet && n != typeERSPAN && p.Status == UnknownType {
			t.Errorf("EtherType %#04x is unknown, but is %s", n, theirs)
		}
	}
}

func TestLayerString(t *testing.T) {
	a, b := Addr{192, 168, 0, 1}, Addr{192, 168, 0, 2}
	for _, test := range []struct {
		l    Layer
		want string
	}{
		{Layer{Kind: VLAN, ID: 12}, "vlan 12"},
		{Layer{Kind: MPLS, ID: 16}, "mpls 16"},
		{Layer{Kind: PPPoE, ID: 3}, "pppoe 3"},
		{Layer{Kind: IPIP, Source: a, Destination: b}, "ipip from 192.168.0.1 to 192.168.0.2"},
		{Layer{Kind: GRE, ID: 7, Source: a, Destination: b}, "gre 7 from 192.168.0.1 to 192.168.0.2"},
		{Layer{Kind: GRE, Source: a, Destination: b}, "gre from 192.168.0.1 to 192.168.0.2"},
		{Layer{Kind: ERSPAN, ID: 0, Source: a, Destination: b}, "erspan 0 from 192.168.0.1 to 192.168.0.2"},
		{Layer{Kind: VXLAN, ID: 1, Source: a, Destination: b}, "vxlan 1 from 192.168.0.1 to 192.168.0.2"},
		{Layer{Kind: Geneve, ID: 5, V6: true, Source: Addr{0xfd, 15: 1}, Destination: Addr{0xfd, 15: 2}}, "geneve 5 from fd00::1 to fd00::2"},
	} {
		if got := test.l.String(); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

// TestNoAllocation decodes a packet in a tunnel, one that is none, and an error.
func TestNoAllocation(t *testing.T) {
	vxlan := inVXLAN(t, plainTCP(t))
	for name, data := range map[string][]byte{
		"vxlan": vxlan, "cut": vxlan[:60], "icmp": ether("0800", v4(protoICMP, join("03010000 00000000", v4(protoTCP, seg)))),
		"labels": ether("8847", join(strings.Repeat("00010040", 20))),
	} {
		var p Packet
		if n := testing.AllocsPerRun(100, func() { Decode(LinkEthernet, data, len(data), &p) }); n != 0 {
			t.Errorf("%s: %v allocations for a packet", name, n)
		}
	}
}
