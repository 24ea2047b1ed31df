package flow

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"whichbackend/analyze/pcap"
	"whichbackend/analyze/pcap/decode"
	"whichbackend/analyze/record"
)

// TestViews: one packet that a capture of all interfaces holds several times is
// several flows of one packet each, and both directions of one are one flow.
func TestViews(t *testing.T) {
	const toUs, fromUs = 0, 4
	type pass struct {
		link func([]byte) []byte
		back bool // the server's packet
	}
	for _, k := range []struct {
		name   string
		kind   uint16
		passes []pass
		want   []string // device, leg, packets of client and server, duplicates
	}{
		{"SLL2, a router", decode.LinkSLL2, []pass{
			{sll2(toUs, 3), false}, {sll2(fromUs, 5), false}, {sll2(toUs, 5), true}, {sll2(fromUs, 3), true},
		}, []string{`"ifindex 3" "" 1 1 0`, `"ifindex 5" "" 1 1 0`}},
		{"SLL, a router", decode.LinkSLL, []pass{
			{sll(toUs), false}, {sll(fromUs), false}, {sll(toUs), true}, {sll(fromUs), true},
		}, []string{`"eth0" "in" 1 1 0`, `"eth0" "out" 1 1 0`}},
		{"SLL, a client", decode.LinkSLL, []pass{{sll(fromUs), false}, {sll(toUs), true}}, []string{`"eth0" "out" 1 1 0`}},
		{"SLL, a server", decode.LinkSLL, []pass{{sll(toUs), false}, {sll(fromUs), true}}, []string{`"eth0" "in" 1 1 0`}},
		{"SLL, a client with the greater address", decode.LinkSLL, []pass{{sll(fromUs), false}, {sll(toUs), true}}, []string{`"eth0" "out" 1 1 0`}},
		{"SLL, a bridge and its port", decode.LinkSLL, []pass{{sll(toUs), false}, {sll(toUs), false}, {sll(fromUs), false}},
			[]string{`"eth0" "in" 1 0 1`, `"eth0" "out" 1 0 0`}},
		{"a mirror", decode.LinkEthernet, []pass{{ethernet, false}, {ethernet, false}, {ethernet, true}}, []string{`"eth0" "" 1 1 1`}},
	} {
		t.Run(k.name, func(t *testing.T) {
			c := newCapture(t, k.kind)
			client := client
			if strings.HasSuffix(k.name, "greater address") {
				client = "192.0.2.1:40000"
			}
			syn := c.segment(client, server, tcpPacket{seq: 5, flags: flagSYN})
			answer := c.segment(server, client, tcpPacket{seq: 9, ack: 6, flags: flagSYN | ack})
			for _, p := range k.passes {
				c.now += 20 * time.Microsecond
				ip := syn
				if p.back {
					ip = answer
				}
				c.frame(p.link(ip), 0)
			}
			var got []string
			for _, f := range c.read().flows {
				got = append(got, fmt.Sprintf("%q %q %d %d %d", f.Device, f.Leg, f.Client.Packets, f.Server.Packets, f.Duplicates))
				if f.Tuple.Source.String() != client || f.Guessed {
					t.Errorf("client %v", f.Tuple.Source)
				}
			}
			if !slices.Equal(got, k.want) {
				t.Errorf("flows %q, want %q", got, k.want)
			}
		})
	}
}

// TestDeviceOfItsOwn: where each device is an interface of the capture, as
// whichbackend-collect writes it, its name tells more than its index.
func TestDeviceOfItsOwn(t *testing.T) {
	c := newCapture(t, decode.LinkSLL2, decode.LinkSLL2)
	syn := c.segment(client, server, tcpPacket{seq: 5, flags: flagSYN})
	c.frame(sll2(0, 3)(syn), 0)
	c.on = 1
	c.frame(sll2(4, 5)(syn), 0)
	var got []string
	for _, f := range c.read().flows {
		got = append(got, f.Device)
	}
	if want := []string{"eth0", "eth1"}; !slices.Equal(got, want) {
		t.Errorf("devices %q, want %q", got, want)
	}
}

// TestEncapsulation: the same tuple in other wrappings is another flow, the
// answer in the same wrapping is not.
func TestEncapsulation(t *testing.T) {
	c := newCapture(t, decode.LinkEthernet)
	pass := func(there, back func([]byte) []byte) {
		c.link = there
		c.tcp(client, server, tcpPacket{seq: 5, flags: flagSYN})
		c.link = back
		c.tcp(server, client, tcpPacket{seq: 9, ack: 6, flags: flagSYN | ack})
	}
	pass(ethernet, ethernet)
	pass(vlan(12), vlan(12))
	pass(vxlan("192.168.0.2", "192.168.0.1", 7), vxlan("192.168.0.1", "192.168.0.2", 7))
	pass(vxlan("192.168.0.2", "192.168.0.1", 8), vxlan("192.168.0.1", "192.168.0.2", 8))
	want := []string{"", "vlan 12", "vxlan 7 from 192.168.0.2 to 192.168.0.1", "vxlan 8 from 192.168.0.2 to 192.168.0.1"}
	var got []string
	for _, f := range c.read().flows {
		got = append(got, f.Encapsulation)
		if f.Client.Packets != 1 || f.Server.Packets != 1 {
			t.Errorf("in %q %d and %d packets", f.Encapsulation, f.Client.Packets, f.Server.Packets)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("in %q, want %q", got, want)
	}
}

// TestEncapsulationOfAnswer: the tunnel is told as the client's packets go, even
// when the server's came first.
func TestEncapsulationOfAnswer(t *testing.T) {
	c := newCapture(t, decode.LinkEthernet)
	c.link = vxlan("192.168.0.1", "192.168.0.2", 7)
	c.tcp(server, client, tcpPacket{seq: 9, ack: 6, flags: flagSYN | ack})
	if f := c.one(); f.Encapsulation != "vxlan 7 from 192.168.0.2 to 192.168.0.1" {
		t.Error(f.Encapsulation)
	}
}

// TestTunnelIDs: Cilium's tunnels have the identity of who sends for an ID, and
// tenants the same tuple at the same time.
func TestTunnelIDs(t *testing.T) {
	there := func(id uint32) func([]byte) []byte { return vxlan("192.168.0.2", "192.168.0.1", id) }
	back := func(id uint32) func([]byte) []byte { return vxlan("192.168.0.1", "192.168.0.2", id) }
	syn := func(seq uint32) tcpPacket { return tcpPacket{seq: seq, flags: flagSYN} }
	answer := func(ack uint32) tcpPacket { return tcpPacket{seq: 9, ack: ack, flags: flagSYN | flagACK} }
	type step struct {
		link func([]byte) []byte
		p    tcpPacket
	}
	for _, k := range []struct {
		name  string
		steps []step
		want  []string // ID, packets of client and server
	}{
		{"identities", []step{{there(7), syn(5)}, {back(8), answer(6)}, {there(7), tcpPacket{seq: 6, flags: ack}}, {back(8), tcpPacket{seq: 10, flags: ack}}},
			[]string{"vxlan 7 2 2"}},
		{"identities, the answer first", []step{{back(8), answer(6)}, {there(7), tcpPacket{seq: 6, ack: 10, flags: ack}}}, []string{"vxlan 7 1 1"}},
		{"identities, the ports again", []step{{there(7), syn(5)}, {back(8), answer(6)}, {there(7), syn(5_000_000)}, {back(8), answer(5_000_001)}},
			[]string{"vxlan 7 1 1", "vxlan 7 1 1"}},
		{"an answer to another", []step{{there(7), syn(5)}, {back(8), answer(77)}}, []string{"vxlan 7 1 0", "vxlan 8 0 1"}},
		{"tenants", []step{{there(7), syn(5)}, {there(8), syn(500)}, {back(8), answer(501)}, {back(7), answer(6)}}, []string{"vxlan 7 1 1", "vxlan 8 1 1"}},
	} {
		t.Run(k.name, func(t *testing.T) {
			c := newCapture(t, decode.LinkEthernet)
			for _, s := range k.steps {
				c.link = s.link
				if s.p.seq == 9 || s.p.seq == 10 {
					c.tcp(server, client, s.p)
				} else {
					c.tcp(client, server, s.p)
				}
			}
			var got []string
			for _, f := range c.read().flows {
				id, way, _ := strings.Cut(f.Encapsulation, " from ")
				got = append(got, fmt.Sprint(id, " ", f.Client.Packets, " ", f.Server.Packets))
				if way != "192.168.0.2 to 192.168.0.1" || f.Tuple.Source.String() != client {
					t.Errorf("from %s, client %v", way, f.Tuple.Source)
				}
			}
			if !slices.Equal(got, k.want) {
				t.Errorf("flows %q, want %q", got, k.want)
			}
		})
	}
}

// TestInterfaces: two interfaces of a file are two places.
func TestInterfaces(t *testing.T) {
	c := newCapture(t, decode.LinkEthernet, decode.LinkEthernet)
	c.tcp(client, server, tcpPacket{seq: 5, flags: flagSYN})
	c.on = 1
	c.tcp(client, server, tcpPacket{seq: 5, flags: flagSYN})
	c.frame(ethernet(c.segment(client, server, tcpPacket{seq: 5, flags: flagSYN})), 10)
	f := c.read()
	if len(f.flows) != 2 || f.flows[0].Interface != 0 || f.flows[1].Interface != 1 || f.flows[1].Device != "eth1" {
		t.Errorf("flows %+v", f.flows)
	}
	if len(f.interfaces) != 2 || f.interfaces[1].Packets != 2 || f.interfaces[1].Cut != 1 || f.interfaces[0].Name != "eth0" {
		t.Errorf("interfaces %+v", f.interfaces)
	}
	if f.interfaces[0].First != start.Add(10*time.Millisecond) {
		t.Errorf("first packet at %v", f.interfaces[0].First)
	}
}

// fragmented cuts the payload of an IPv4 packet after n bytes.
func fragmented(ip []byte, n int) (first, second []byte) {
	put := func(b []byte, offset, more int) []byte {
		b[2], b[3] = byte(len(b)>>8), byte(len(b))
		b[6], b[7] = byte(more<<5|offset>>11), byte(offset>>3)
		return b
	}
	first = put(slices.Clone(ip[:20+n]), 0, 1)
	second = put(slices.Concat(ip[:20], ip[20+n:]), n, 0)
	return first, second
}

// TestFragments: a later fragment belongs to the flow of the first one.
func TestFragments(t *testing.T) {
	c := newCapture(t, decode.LinkEthernet)
	whole := udp("10.0.0.1:50000", "10.0.0.2:6000", strings.Repeat("x", 100), 77)
	first, second := fragmented(whole, 48)
	c.packet(first)
	c.packet(second)
	c.now += 2 * time.Minute
	late := c.packet(second)
	_, stray := fragmented(udp("10.0.0.1:50001", "10.0.0.2:6000", strings.Repeat("x", 100), 78), 48)
	c.packet(stray)
	f := c.read()
	if len(f.flows) != 1 || f.flows[0].Client.Packets != 2 || f.flows[0].Client.Payload != 100 || len(f.flows[0].Client.Segments) != 1 {
		t.Fatalf("flows %+v", f.flows)
	}
	want := []record.Undecoded{{Pos: record.Pos{Packet: late}, Reason: "fragment whose first part is missing", Packets: 2}}
	if !slices.Equal(f.undecoded, want) || f.sum.Unknown != 2 || f.sum.InFlows != 2 {
		t.Errorf("undecoded %+v, %+v", f.undecoded, f.sum)
	}

	c = newCapture(t, decode.LinkEthernet)
	c.tcp(client, server, tcpPacket{seq: 99, flags: flagSYN})
	first, second = fragmented(c.segment(client, server, tcpPacket{seq: 100, flags: push, payload: strings.Repeat("x", 100)}), 48)
	c.packet(first)
	middle, end := fragmented(second, 40)
	middle[7], end[7] = 48/8, (48+40)/8
	middle[6], end[6] = 1<<5, 0
	c.packet(middle)
	c.packet(end)
	if g := c.one(); g.Client.Payload != 100 || g.Client.Packets != 4 {
		t.Errorf("TCP %+v", g.Client)
	}
}

// icmp is a port-unreachable error about a packet.
func icmp(from, to string, about []byte) []byte {
	body := slices.Concat([]byte{3, 3, 0, 0, 0, 0, 0, 0}, about[:28])
	src, dst := netip.MustParseAddr(from).As4(), netip.MustParseAddr(to).As4()
	head := []byte{0x45, 0, 0, byte(20 + len(body)), 0, 1, 0, 0, 64, 1, 0, 0}
	return slices.Concat(head, src[:], dst[:], body)
}

// TestFault: an ICMP error belongs to the flow that it is about.
func TestFault(t *testing.T) {
	ask := udp("10.0.0.1:50000", "10.0.0.2:6000", "hello", 1)
	bad := icmp("10.0.0.2", "10.0.0.1", ask)
	want := func(packet int) record.Fault {
		return record.Fault{Packet: packet, Type: 3, Code: 3, From: netip.MustParseAddr("10.0.0.2")}
	}
	c := newCapture(t, decode.LinkEthernet)
	c.packet(ask)
	c.packet(bad)
	c.packet(bad)
	if f := c.one(); f.Fault != want(2) || f.Client.Packets != 1 || f.Server.Packets != 0 {
		t.Errorf("%+v", f)
	}
	c = newCapture(t, decode.LinkEthernet, decode.LinkEthernet)
	c.packet(ask)
	c.on = 1
	c.packet(bad)
	if f := c.one(); f.Fault != want(2) || f.Interface != 0 {
		t.Errorf("on another interface: %+v", f)
	}
	c = newCapture(t, decode.LinkEthernet, decode.LinkEthernet)
	c.link = vlan(5)
	c.packet(ask)
	c.link, c.on = ethernet, 1
	c.packet(ask)
	c.on = 0
	c.packet(bad) // in another wrapping, but on the interface of the first
	if f := c.read(); f.flows[0].Fault != want(3) || f.flows[1].Fault != (record.Fault{}) {
		t.Errorf("on the same interface: %+v", f.flows)
	}
	c = newCapture(t, decode.LinkEthernet)
	c.packet(bad)
	c.packet(icmp("10.0.0.2", "10.0.0.1", udp("10.0.0.1:50001", "10.0.0.2:6000", "hello", 1)))
	c.packet(ask)
	f := c.read()
	var got []string
	for _, x := range f.flows {
		got = append(got, fmt.Sprint(x.Packet, x.Tuple, x.Fault.Packet, x.Client.Packets))
	}
	if !slices.Equal(got, []string{
		"1 {10.0.0.1:50000 10.0.0.2:6000} 1 0", "2 {10.0.0.1:50001 10.0.0.2:6000} 2 0", "3 {10.0.0.1:50000 10.0.0.2:6000} 0 1",
	}) {
		t.Errorf("flows %q", got)
	}
	if lone := f.flows[0]; lone.First != start.Add(10*time.Millisecond) || lone.Last != lone.First || lone.Client.Scale != -1 {
		t.Errorf("%+v", lone)
	}
	if f.sum.Flows != uint64(len(f.flows)) || f.sum.InFlows != 3 {
		t.Errorf("%+v", f.sum)
	}
}

// TestFaultLeg: an error comes back on the leg on which the packet went out.
func TestFaultLeg(t *testing.T) {
	ask := udp("10.0.0.1:50000", "10.0.0.2:6000", "hello", 1)
	c := newCapture(t, decode.LinkSLL)
	c.frame(sll(0)(ask), 0) // in
	c.frame(sll(4)(ask), 0) // out
	c.frame(sll(0)(icmp("10.0.0.2", "10.0.0.1", ask)), 0)
	f := c.read()
	if len(f.flows) != 2 || f.flows[1].Leg != "out" || f.flows[1].Fault.Packet != 3 || f.flows[0].Fault.Packet != 0 {
		t.Errorf("%+v", f.flows)
	}
}

// TestSilence: UDP that was silent for long begins anew.
func TestSilence(t *testing.T) {
	for _, k := range []struct {
		gap   time.Duration
		flows int
	}{{4 * time.Minute, 1}, {6 * time.Minute, 2}} {
		c := newCapture(t, decode.LinkEthernet)
		c.packet(udp("10.0.0.1:50000", "10.0.0.2:53", "ask", 1))
		c.packet(udp("10.0.0.2:53", "10.0.0.1:50000", "answer", 1))
		c.now += k.gap
		c.packet(udp("10.0.0.1:50000", "10.0.0.2:53", "ask again", 2))
		f := c.read()
		if len(f.flows) != k.flows || f.flows[0].Tuple.Destination.Port() != 53 || !f.flows[0].Guessed {
			t.Errorf("after %v of silence: %+v", k.gap, f.flows)
		}
		if x := f.flows[0].Exchanges[0]; x.Up != 3 || x.Down != 6 {
			t.Errorf("exchange %+v", x)
		}
	}
}

// TestEqualDatagrams: without an identification nothing tells a copy from a
// datagram that says the same again.
func TestEqualDatagrams(t *testing.T) {
	for _, k := range []struct {
		from, to string
		id       uint16
		dups     uint64
	}{{"10.0.0.1:50000", "10.0.0.2:53", 7, 1}, {"10.0.0.1:50000", "10.0.0.2:53", 0, 0}, {"[fd00::1]:50000", "[fd00::2]:53", 0, 0}} {
		c := newCapture(t, decode.LinkEthernet)
		c.packet(udp(k.from, k.to, "x", k.id))
		c.frame(ethernet(udp(k.from, k.to, "x", k.id)), 0)
		if f := c.one(); f.Duplicates != k.dups || f.Client.Payload+f.Duplicates != 2 {
			t.Errorf("identification %d: %d duplicates, %d bytes", k.id, f.Duplicates, f.Client.Payload)
		}
	}
}

// TestNames: a DNS answer names the address by what was asked for.
func TestNames(t *testing.T) {
	name := dnsmessage.MustNewName
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 1, Response: true},
		Questions: []dnsmessage.Question{{Name: name("shop.example."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
		Answers: []dnsmessage.Resource{
			{Header: dnsmessage.ResourceHeader{Name: name("shop.example."), Class: dnsmessage.ClassINET}, Body: &dnsmessage.CNAMEResource{CNAME: name("lb.example.")}},
			{Header: dnsmessage.ResourceHeader{Name: name("lb.example."), Class: dnsmessage.ClassINET}, Body: &dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}}},
			{Header: dnsmessage.ResourceHeader{Name: name("lb.example."), Class: dnsmessage.ClassINET}, Body: &dnsmessage.AAAAResource{AAAA: [16]byte{0xfd, 15: 1}}},
		},
	}
	packed, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	c := newCapture(t, decode.LinkEthernet)
	c.w.Names([]pcap.Name{{Addr: netip.MustParseAddr("10.0.0.9"), Name: "nine"}})
	c.packet(udp("10.0.0.1:53", "10.0.0.2:5000", string(packed), 1))
	c.packet(udp("10.0.0.1:53", "10.0.0.2:5000", string(packed), 2))
	c.packet(udp("10.0.0.1:54", "10.0.0.2:5000", string(packed), 3))
	c.packet(udp("10.0.0.1:53", "10.0.0.2:5000", string(packed[:40]), 4))
	m.Response = false
	m.Questions[0].Name = name("asked.example.")
	if packed, err = m.Pack(); err != nil {
		t.Fatal(err)
	}
	c.packet(udp("10.0.0.1:53", "10.0.0.2:5000", string(packed), 5))
	want := []Name{
		{netip.MustParseAddr("10.0.0.9"), "nine", 0},
		{netip.MustParseAddr("192.0.2.1"), "shop.example", 1},
		{netip.MustParseAddr("fd00::1"), "shop.example", 1},
	}
	if f := c.read(); !slices.Equal(f.names, want) {
		t.Errorf("names %v", f.names)
	}
}

// TestUndecoded: every packet is counted, with a reason.
func TestUndecoded(t *testing.T) {
	c := newCapture(t, decode.LinkEthernet, 147)
	arp := slices.Concat(make([]byte, 12), []byte{8, 6}, make([]byte, 28))
	c.frame(arp, 0)
	c.tcp(client, server, tcpPacket{flags: flagSYN})
	c.frame(arp, 0)
	c.on = 1
	c.frame([]byte("who knows"), 0)
	f := c.read()
	if len(f.undecoded) != 2 || f.undecoded[0] != (record.Undecoded{Pos: record.Pos{Packet: 1}, Reason: "ARP", Packets: 2, Known: true}) ||
		f.undecoded[1].Packet != 4 || f.undecoded[1].Known {
		t.Errorf("undecoded %+v", f.undecoded)
	}
	if f.sum != (Summary{Packets: 4, InFlows: 1, Known: 2, Unknown: 1, Flows: 1}) {
		t.Errorf("%+v", f.sum)
	}
}

// TestFull: beyond the limit packets of new flows are counted, and those of the
// old ones go on.
func TestFull(t *testing.T) {
	c := newCapture(t, decode.LinkEthernet)
	for i := range 5 {
		c.packet(udp(fmt.Sprint("10.0.0.1:", 41000+i), "10.0.0.2:6000", "x", 1))
	}
	c.packet(udp("10.0.0.1:41000", "10.0.0.2:6000", "x", 2))
	if err := c.w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := pcap.Open(&c.buf)
	if err != nil {
		t.Fatal(err)
	}
	table, err := newTable()
	if err != nil {
		t.Fatal(err)
	}
	table.limit = 3
	if err := table.read(r); err != nil {
		t.Fatal(err)
	}
	var f found
	table.emit(r, &f)
	if len(f.flows) != 3 || f.flows[0].Client.Packets != 2 || table.sum.Full != 2 || table.sum.Unknown != 2 {
		t.Errorf("%d flows, %+v", len(f.flows), table.sum)
	}
	if len(f.undecoded) != 1 || f.undecoded[0].Reason != "flow table full" || f.undecoded[0].Packet != 4 {
		t.Errorf("%+v", f.undecoded)
	}
}

// TestReadError: what was read before an error is given, and the error too.
func TestReadError(t *testing.T) {
	var buf bytes.Buffer
	if _, err := generate(&buf, 50, 10); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("the disk is gone")
	r, err := pcap.Open(io.MultiReader(bytes.NewReader(buf.Bytes()[:buf.Len()/2]), fails{broken}))
	if err != nil {
		t.Fatal(err)
	}
	var f found
	sum, err := Read(r, &f)
	if !errors.Is(err, broken) || len(f.flows) == 0 || sum.Packets == 0 || len(f.interfaces) != 1 {
		t.Errorf("%v after %d packets, %d flows", err, sum.Packets, len(f.flows))
	}
}

type fails struct{ err error }

func (f fails) Read([]byte) (int, error) { return 0, f.err }
