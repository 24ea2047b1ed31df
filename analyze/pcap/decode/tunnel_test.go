package decode

import (
	"reflect"
	"strings"
	"testing"
)

func TestGRE(t *testing.T) {
	gre := func(parts ...any) []byte { return v4(protoGRE, join(parts...)) }
	frame := ether("0800", v4(protoUDP, dns))
	run(t, []odd{
		{"plain", LinkRaw, gre("0000 0800", v4(protoUDP, dns)), "gre" + ends + isDNS},
		{"checksum, key and sequence", LinkRaw, gre("b000 86dd 00000000 00000007 00000001", v6(protoUDP, dns)), "gre 7" + ends + isDNS6},
		{"routes", LinkRaw, gre("4000 0800 00000000 0800 00 04 0a000003 0000 00 00", v4(protoUDP, dns)), "gre" + ends + isDNS},
		{"routes without end", LinkRaw, gre("4000 0800 00000000 0800 00 04 0a000003 0800 00 ff"), "GRE header malformed"},
		{"Ethernet", LinkRaw, gre("2000 6558 00000100", frame), "gre 256" + ends + isDNS},
		{"in GRE", LinkRaw, gre("0000 0800", gre("0000 0800", v4(protoUDP, dns))), "gre" + ends + "gre" + ends + isDNS},
		{"a VLAN", LinkRaw, gre("0000 6558", ether("8100", join("0005 0800", v4(protoUDP, dns)))), "gre" + ends + "vlan 5: " + isDNS},
		{"of a version to come", LinkRaw, gre("0002 0800", v4(protoUDP, dns)), "GRE header malformed"},
		{"a keepalive", LinkRaw, gre("0000 0000"), "gre" + ends + "EtherType 0x0000"},
		{"PPTP", LinkRaw, gre("3081 880b 0023 0009 00000001 00000002 0021", v4(protoUDP, dns)), "gre 9" + ends + isDNS},
		{"PPTP, encrypted", LinkRaw, gre("3001 880b 0004 0009 00000001 00fd 9001"), "gre 9" + ends + "PPP protocol compressed (0x00fd)"},
		{"ERSPAN I", LinkRaw, gre("0000 88be", frame), "erspan 0" + ends + isDNS},
		{"ERSPAN II", LinkRaw, gre("1000 88be 00000001 1000 0005 00000000", frame), "erspan 5" + ends + isDNS},
		{"ERSPAN III", LinkRaw, gre("1000 22eb 00000001 2000 fc05 00000000 00000000", frame), "erspan 5" + ends + isDNS},
		{"ERSPAN III with a platform", LinkRaw, gre("1000 22eb 00000001 2000 0005 00000000 00000001 0000000000000000", frame), "erspan 5" + ends + isDNS},
		{"ERSPAN of a version to come", LinkRaw, gre("1000 22eb 00000001 3000 0005 00000000 00000000", frame), "ERSPAN header malformed"},
		{"4 in 6", LinkRaw, v6(protoIPv4, v4(protoUDP, dns)), "ipip from fd00::1 to fd00::2: " + isDNS},
		{"6 in 4", LinkRaw, v4(protoIPv6, v6(protoUDP, dns)), "ipip" + ends + isDNS6},
		{"4 in 4 that is 6", LinkRaw, v4(protoIPv4, v6(protoUDP, dns)), "ipip" + ends + "IPv4 header malformed"},
		{"segment routing", LinkRaw, v6(protoRouting, join("04 02 04 00 00 00 0000 fd0000000000000000000000000000aa", v4(protoUDP, dns))), "ipip from fd00::1 to fd00::2: " + isDNS},
	})
}

func TestUDPTunnels(t *testing.T) {
	const vni, plain = "08000000 00004d00", "udp 10.0.0.1:5000 > 10.0.0.2:"
	frame := ether("0800", v4(protoTCP, seg))
	arp := ether("0806", make([]byte, 28))
	cut := join(vni, frame)[:8+14+20+4]
	run(t, []odd{
		{"VXLAN", LinkRaw, udp4(4789, join(vni, frame)), "vxlan 77" + ends + isTCP},
		{"VXLAN of Linux", LinkRaw, udp4(8472, join(vni, frame)), "vxlan 77" + ends + isTCP},
		{"VXLAN, ARP", LinkRaw, udp4(8472, join(vni, arp)), "vxlan 77" + ends + "ARP"},
		{"VXLAN with a group", LinkRaw, udp4(4789, join("88000010 00004d00", frame)), "vxlan 77" + ends + isTCP},
		{"VXLAN on another port", LinkRaw, udp4(4788, join(vni, frame)), plain + "4788 64/64"},
		{"without the flag", LinkRaw, udp4(8472, join("00000000 00004d00", frame)), plain + "8472 64/64"},
		{"with a reserved bit", LinkRaw, udp4(8472, join("08000001 00004d00", frame)), plain + "8472 64/64"},
		{"with a reserved byte", LinkRaw, udp4(8472, join("08000000 00004d01", frame)), plain + "8472 64/64"},
		{"with nothing", LinkRaw, udp4(8472, join(vni)), plain + "8472 8/8"},
		{"of another program", LinkRaw, udp4(8472, join(vni, strings.Repeat("41", 60))), plain + "8472 68/68"},
		{"with zeros", LinkRaw, udp4(8472, join(vni, make([]byte, 60))), plain + "8472 68/68"},
		{"cut", LinkRaw, udp4(8472, cut), plain + "8472 46/46"},
		{"VXLAN in VXLAN", LinkRaw, udp4(8472, join(vni, ether("0800", udp4(4789, join("08000000 00000100", frame))))), "vxlan 77" + ends + "vxlan 1" + ends + isTCP},
		{"no VXLAN in VXLAN", LinkRaw, udp4(8472, join(vni, ether("0800", udp4(4789, join("01"))))), "vxlan 77" + ends + plain + "4789 1/1"},
		{"GPE, IPv4", LinkRaw, udp4(4790, join("0c000001 00004d00", v4(protoTCP, seg))), "vxlan 77" + ends + isTCP},
		{"GPE, NSH, Ethernet", LinkRaw, udp4(4790, join("0c000004 00004d00 00420203 00000000", frame)), "vxlan 77" + ends + isTCP},
		{"GPE, NSH, too long", LinkRaw, udp4(4790, join("0c000004 00004d00 007f0203 00000000", frame)), plain + "4790 72/72"},
		{"GPE, NSH in NSH", LinkRaw, udp4(4790, join("0c000004 00004d00 00420204 00000000 00420203 00000000", frame)), plain + "4790 80/80"},
		{"NSH, too long", LinkEthernet, ether("894f", join("007f0203 00000000", frame)), "NSH header malformed"},
		{"GPE is no VXLAN", LinkRaw, udp4(4789, join("0c000001 00004d00", v4(protoTCP, seg))), plain + "4789 50/50"},
		{"Geneve", LinkRaw, udp4(6081, join("0240 6558 00000500 0102 80 01 00000000", frame)), "geneve 5" + ends + isTCP},
		{"Geneve, IPv6", LinkRaw, udp4(6081, join("0000 86dd 00000500", v6(protoTCP, seg))), "geneve 5" + ends + isTCP6},
		{"Geneve, options beyond the packet", LinkRaw, udp4(6081, join("3f00 6558 00000500", frame)), plain + "6081 64/64"},
		{"Geneve of a version to come", LinkRaw, udp4(6081, join("4000 6558 00000500", frame)), plain + "6081 64/64"},
	})
}

// TestFallback restores all of the UDP packet that was no tunnel.
func TestFallback(t *testing.T) {
	data := set(udp4(8472, join("08000000 00004d00", ether("0800", v6(protoTCP, seg)))), 6, "2000")
	p, plain := junk(), junk()
	Decode(LinkRaw, data, len(data), p)
	Decode(LinkRaw, set(data, 22, "2119"), len(data), plain)
	plain.DestinationPort = 8472
	forget(p)
	forget(plain)
	if !p.Fragment || !reflect.DeepEqual(p, plain) {
		t.Errorf("got  %+v\nwant %+v", *p, *plain)
	}
}

// TestTooDeep bounds every way from one header to another of its kind.
func TestTooDeep(t *testing.T) {
	const deep = "in more than 6 wrappings"
	repeat := func(n int, b []byte, wrap func([]byte) []byte) []byte {
		for range n {
			b = wrap(b)
		}
		return b
	}
	ipip := func(b []byte) []byte { return v4(protoIPv4, b) }
	fabric := func(b []byte) []byte { return ether("8903", join("0000", b)) }
	bridge := func(b []byte) []byte { return ether("6558", b) }
	snap := func(b []byte) []byte { return join("aaaa03 000000 8100 0000 0008", b) }
	vxlan := func(b []byte) []byte { return ether("0800", udp4(4789, join("08000000 00004d00", b))) }
	run(t, []odd{
		{"six", LinkRaw, repeat(6, v4(protoUDP, dns), ipip), strings.Repeat("ipip"+ends, 6) + isDNS},
		{"seven", LinkRaw, repeat(7, v4(protoUDP, dns), ipip), strings.Repeat("ipip"+ends, 6) + deep},
		{"VXLAN", LinkEthernet, repeat(7, ether("0806", nil), vxlan), strings.Repeat("vxlan 77"+ends, 6) + deep},
		{"FabricPath", LinkEthernet, repeat(50, ether("0806", nil), fabric), deep},
		{"Ethernet in Ethernet", LinkEthernet, repeat(50, ether("0806", nil), bridge), deep},
		{"priorities in SNAP", LinkEthernet, ether("0100", repeat(50, nil, snap)), deep},
	})
}

func TestICMP(t *testing.T) {
	about := func(kind string, b []byte) []byte { return v4(protoICMP, join(kind, "0000 00000000", b)) }
	about6 := func(kind string, b []byte) []byte { return v6(protoICMPv6, join(kind, "0000 00000000", b)) }
	const isAbout = "10.0.0.1 says 3/1 of "
	run(t, []odd{
		{"unreachable", LinkRaw, about("0301", v4(protoTCP, seg)), isAbout + "tcp 10.0.0.1:49152 > 10.0.0.2:80"},
		{"unreachable, 8 bytes", LinkRaw, about("0301", v4(protoUDP, dns)[:28]), isAbout + "udp 10.0.0.1:49152 > 10.0.0.2:53"},
		{"unreachable, 3 bytes", LinkRaw, about("0301", v4(protoUDP, dns)[:23]), "cut before the ports"},
		{"unreachable, a tunnel", LinkRaw, about("0301", udp4(8472, join("08000000 00004d00", ether("0806", nil)))), isAbout + "udp 10.0.0.1:5000 > 10.0.0.2:8472"},
		{"unreachable, a later fragment", LinkRaw, about("0301", set(v4(protoUDP, dns), 6, "0010")), isAbout + "udp 10.0.0.1:0 > 10.0.0.2:0 fragment 7 at 128"},
		{"unreachable, a ping", LinkRaw, about("0301", about("0800", nil)), "other ICMP"},
		{"unreachable, an error", LinkRaw, about("0301", about("0301", v4(protoUDP, dns))), "other ICMP"},
		{"unreachable, ESP", LinkRaw, about("0301", v4(protoESP, dns)), "other ICMP"},
		{"unreachable, nothing", LinkRaw, about("0301", nil), "IPv4 header malformed"},
		{"time exceeded", LinkRaw, about("0b00", v4(protoUDP, dns)), "10.0.0.1 says 11/0 of udp 10.0.0.1:49152 > 10.0.0.2:53"},
		{"a redirect", LinkRaw, about("0501", v4(protoUDP, dns)), "other ICMP"},
		{"a ping", LinkRaw, about("0800", nil), "ICMP echo"},
		{"nothing", LinkRaw, v4(protoICMP, nil), "ICMP header malformed"},
		{"too big", LinkRaw, about6("0200", v6(protoTCP, seg)), "fd00::1 says 2/0 of tcp [fd00::1]:49152 > [fd00::2]:80"},
		{"too big, behind a fragment header", LinkRaw, about6("0200", v6(protoFragment, join("11 00 0000 00000009", dns))), "fd00::1 says 2/0 of udp [fd00::1]:49152 > [fd00::2]:53"},
		{"a ping of IPv6", LinkRaw, about6("8000", nil), "ICMP echo"},
		{"a neighbour", LinkRaw, about6("8700", nil), "neighbour discovery"},
		{"a redirect of IPv6", LinkRaw, about6("8900", nil), "neighbour discovery"},
		{"a listener", LinkRaw, about6("8f00", nil), "multicast groups (IGMP, MLD)"},
		{"an error in a tunnel", LinkRaw, v4(protoIPv4, about("0301", v4(protoTCP, seg))), "ipip" + ends + isAbout + "tcp 10.0.0.1:49152 > 10.0.0.2:80"},
	})
	p := junk()
	data := about("0301", v4(protoTCP, seg))
	Decode(LinkRaw, data, len(data), p)
	if p.Seq != 100 || p.IPID != 7 || p.Flags != 0 || p.PayloadLength != 0 {
		t.Errorf("seq %d, id %d, flags %d, %d bytes: want seq 100, id 7, and no more", p.Seq, p.IPID, p.Flags, p.PayloadLength)
	}
}
