package capture

import (
	"bytes"
	"strings"
	"testing"
)

const secret = "hunter2-is-the-password"

// Headers of packets, each with what its own length must say left at zero.
var (
	tcp = append([]byte{0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x80, 0x18, 0, 9, 0, 0, 0, 0}, make([]byte, 12)...) // with options
	udp = []byte{0x9c, 0x40, 0, 53, 0, 0, 0, 0}
	ip4 = func(protocol byte) []byte {
		return append([]byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0}, 10, 0, 0, 1, 10, 0, 0, 2)
	}
	ip4o = func(protocol byte) []byte {
		return append([]byte{0x47, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0}, make([]byte, 16)...)
	}
	ip6  = func(next byte) []byte { return append([]byte{0x60, 0, 0, 0, 0, 0, next, 64}, make([]byte, 32)...) }
	eth  = func(hi, lo byte) []byte { return append(make([]byte, 12), hi, lo) }
	port = func(n uint16) []byte { return []byte{0x9c, 0x40, byte(n >> 8), byte(n), 0, 0, 0, 0} }
	vni  = []byte{8, 0, 0, 0, 0, 0, 42, 0}
)

func TestHeaders(t *testing.T) {
	later := ip4(protoUDP)
	later[7] = 9 // of a fragment
	for _, c := range []struct {
		name     string
		protocol uint16
		parts    [][]byte
	}{
		{"tcp", linkIPv4, [][]byte{ip4(6), tcp}},
		{"tcp behind options", linkIPv4, [][]byte{ip4o(6), tcp}},
		{"tcp over IPv6", linkIPv6, [][]byte{ip6(6), tcp}},
		{"udp", linkIPv4, [][]byte{ip4(17), udp}},
		{"a later fragment", linkIPv4, [][]byte{later}},
		{"a first fragment of IPv6", linkIPv6, [][]byte{ip6(44), {17, 0, 0, 1, 0, 0, 0, 0}, udp}},
		{"a later fragment of IPv6", linkIPv6, [][]byte{ip6(44), {17, 0, 0, 9, 0, 0, 0, 0}}},
		{"extensions", linkIPv6, [][]byte{ip6(0), {60, 0, 0, 0, 0, 0, 0, 0}, {43, 1, 0, 0, 0, 0, 0, 0}, make([]byte, 8), {6, 0, 0, 0, 0, 0, 0, 0}, tcp}},
		{"vlan", linkVLAN, [][]byte{{0, 5, 8, 0}, ip4(6), tcp}},
		{"two vlans", linkQinQ, [][]byte{{0, 5, 0x81, 0}, {0, 6, 0x86, 0xdd}, ip6(17), udp}},
		{"mpls", linkMPLS, [][]byte{{0, 0, 0, 9}, {0, 0, 1, 9}, ip4(6), tcp}},
		{"arp", linkARP, [][]byte{make([]byte, 28)}},
		{"vxlan", linkIPv4, [][]byte{ip4(17), port(4789), vni, eth(8, 0), ip4(6), tcp}},
		{"vxlan of flannel, IPv6 inside", linkIPv4, [][]byte{ip4(17), port(8472), vni, eth(0x86, 0xdd), ip6(6), tcp}},
		{"no vxlan, at its port", linkIPv4, [][]byte{ip4(17), port(8472)}},
		{"geneve with options", linkIPv6, [][]byte{ip6(17), port(6081), {2, 0, 0x65, 0x58, 0, 0, 7, 0}, make([]byte, 8), eth(8, 0), ip4(17), udp}},
		{"gre with a key", linkIPv4, [][]byte{ip4(47), {0x20, 0, 8, 0}, {0, 0, 0, 1}, ip4(6), tcp}},
		{"ethernet over gre", linkIPv4, [][]byte{ip4(47), {0, 0, 0x65, 0x58}, eth(8, 0), ip4(6), tcp}},
		{"erspan", linkIPv4, [][]byte{ip4(47), {0x10, 0, 0x88, 0xbe}, {0, 0, 0, 1}, make([]byte, 8), eth(8, 0), ip4(6), tcp}},
		{"ip in ip", linkIPv4, [][]byte{ip4(4), ip4(6), tcp}},
		{"IPv6 in ip", linkIPv4, [][]byte{ip4(41), ip6(17), udp}},
		{"esp", linkIPv4, [][]byte{ip4(50), make([]byte, 8)}},
		{"ah", linkIPv4, [][]byte{ip4(51), {6, 4, 0, 0, 0, 0, 0, 0}, make([]byte, 16), tcp}},
		{"echo", linkIPv4, [][]byte{ip4(1), {8, 0, 0, 0, 0, 1, 0, 1}}},
		{"unreachable", linkIPv4, [][]byte{ip4(1), {3, 3, 0, 0, 0, 0, 0, 0}, ip4(17), udp}},
		{"unreachable over IPv6", linkIPv6, [][]byte{ip6(58), {1, 3, 0, 0, 0, 0, 0, 0}, ip6(6), tcp}},
		{"sctp", linkIPv4, [][]byte{ip4(132), make([]byte, 12)}},
		{"another protocol", linkIPv4, [][]byte{ip4(200)}},
		{"another link protocol", 0x88cc, nil},
	} {
		head := bytes.Join(c.parts, nil)
		packet := append(bytes.Clone(head), strings.Repeat(secret, 4)...)
		if n := headers(packet, c.protocol); n != len(head) {
			t.Errorf("%s: %d bytes of headers, want %d", c.name, n, len(head))
		}
		for i := range packet { // cut anywhere
			if n := headers(packet[:i], c.protocol); n > i || i >= len(head) && n != len(head) {
				t.Errorf("%s: %d bytes of headers in the first %d, of %d", c.name, n, i, len(head))
			}
		}
	}
}

func TestHeadersOfWhatIsNotWhatItIsCalled(t *testing.T) {
	if n := headers(append(ip4(6), tcp...), linkIPv6); n != 0 {
		t.Errorf("%d bytes of headers of IPv6 in a packet of IPv4", n)
	}
	if n := headers([]byte(strings.Repeat("E", 80)), linkIPv6); n != 0 {
		t.Errorf("%d bytes of headers in text", n)
	}
}

func FuzzHeaders(f *testing.F) {
	f.Add(append(ip4(6), tcp...), uint16(linkIPv4))
	f.Add(append(ip4(17), append(port(4789), append(vni, eth(8, 0)...)...)...), uint16(linkIPv4))
	f.Add(append(ip6(0), 60, 255), uint16(linkIPv6))
	f.Fuzz(func(t *testing.T, packet []byte, protocol uint16) {
		if n := headers(packet, protocol); n < 0 || n > len(packet) {
			t.Errorf("%d bytes of %d", n, len(packet))
		}
	})
}
