package flow

import (
	"bytes"
	"encoding/binary"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"whichbackend/analyze/pcap"
	"whichbackend/analyze/record"
	"whichbackend/fixtures/traffic"
)

// found keeps what Read gives.
type found struct {
	sum        Summary
	interfaces []record.Interface
	flows      []record.Flow
	undecoded  []record.Undecoded
	names      []Name
}

func (f *found) Interface(i *record.Interface) { f.interfaces = append(f.interfaces, *i) }
func (f *found) Undecoded(u *record.Undecoded) { f.undecoded = append(f.undecoded, *u) }
func (f *found) Name(n *Name)                  { f.names = append(f.names, *n) }

func (f *found) Flow(in *record.Flow) {
	out := *in
	out.Exchanges = slices.Clone(in.Exchanges)
	for _, h := range []*record.Half{&out.Client, &out.Server} {
		h.Stamps, h.Segments = slices.Clone(h.Stamps), slices.Clone(h.Segments)
	}
	f.flows = append(f.flows, out)
}

func readAll(t testing.TB, file []byte) *found {
	t.Helper()
	r, err := pcap.Open(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	var f found
	if f.sum, err = Read(r, &f); err != nil {
		t.Fatal(err)
	}
	return &f
}

// capture is a capture that a test writes. Its clock goes on by 10 ms with each
// packet.
type capture struct {
	t   testing.TB
	buf bytes.Buffer
	w   *pcap.Writer
	now time.Duration
	n   int
	id  uint16
	// link wraps an IP packet for the link.
	link func(ip []byte) []byte
	on   int // interface
}

var start = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

// newCapture begins a capture of interfaces with the link types.
func newCapture(t testing.TB, kinds ...uint16) *capture {
	c := &capture{t: t, link: ethernet, id: 100}
	c.w = pcap.NewWriter(&c.buf)
	for i, k := range kinds {
		c.w.Interface(pcap.WriterInterface{Name: "eth" + strconv.Itoa(i), LinkType: k})
	}
	return c
}

// packet writes an IP packet and returns its number.
func (c *capture) packet(ip []byte) int {
	c.now += 10 * time.Millisecond
	return c.frame(c.link(ip), 0)
}

// frame writes a packet of the link, of which the last cut bytes are missing.
func (c *capture) frame(b []byte, cut int) int {
	c.n++
	c.w.Packet(c.on, pcap.Packet{Time: start.Add(c.now).UnixNano(), Length: len(b), Data: b[:len(b)-cut]})
	return c.n
}

func (c *capture) read() *found {
	c.t.Helper()
	if err := c.w.Close(); err != nil {
		c.t.Fatal(err)
	}
	return readAll(c.t, c.buf.Bytes())
}

// one reads a capture that holds one flow.
func (c *capture) one() *record.Flow {
	c.t.Helper()
	f := c.read()
	if len(f.flows) != 1 {
		c.t.Fatalf("%d flows, want 1: %+v", len(f.flows), f.flows)
	}
	return &f.flows[0]
}

func ethernet(ip []byte) []byte {
	kind := []byte{8, 0}
	if ip[0]>>4 == 6 {
		kind = []byte{0x86, 0xdd}
	}
	return slices.Concat([]byte("\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02"), kind, ip)
}

// sll and sll2 are the links of captures of all interfaces.
func sll(passed byte) func([]byte) []byte {
	return func(ip []byte) []byte {
		return slices.Concat([]byte{0, passed, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 8, 0}, ip)
	}
}

func sll2(passed, index byte) func([]byte) []byte {
	return func(ip []byte) []byte {
		return slices.Concat([]byte{8, 0, 0, 0, 0, 0, 0, index, 0, 1, passed, 6, 2, 0, 0, 0, 0, 1, 0, 0}, ip)
	}
}

func vlan(id uint16) func([]byte) []byte {
	return func(ip []byte) []byte {
		e := ethernet(ip)
		return slices.Concat(e[:12], []byte{0x81, 0, byte(id >> 8), byte(id)}, e[12:])
	}
}

// vxlan wraps an IP packet as one of the two ends of a tunnel sends it.
func vxlan(from, to string, vni uint32) func([]byte) []byte {
	return func(ip []byte) []byte {
		inner := ethernet(ip)
		b := binary.BigEndian.AppendUint32([]byte{8, 0, 0, 0}, vni<<8)
		return ethernet(udp(from+":45000", to+":4789", string(b)+string(inner), 1))
	}
}

// tcpPacket is a TCP packet to be written.
type tcpPacket struct {
	seq, ack uint32
	flags    uint16
	payload  string
	id       uint16 // 0: the next one
	stamp    uint32
	mss      uint16
	scale    uint8
	ttl      uint8
}

func (c *capture) tcp(from, to string, s tcpPacket) int { return c.packet(c.segment(from, to, s)) }

func (c *capture) segment(from, to string, s tcpPacket) []byte {
	c.t.Helper()
	c.id++
	if s.id == 0 {
		s.id = c.id
	}
	if s.ttl == 0 {
		s.ttl = 64
	}
	src, dst := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	l := &layers.TCP{
		SrcPort: layers.TCPPort(src.Port()), DstPort: layers.TCPPort(dst.Port()), Seq: s.seq, Ack: s.ack, Window: 1000,
		FIN: s.flags&flagFIN != 0, SYN: s.flags&flagSYN != 0, RST: s.flags&flagRST != 0,
		PSH: s.flags&flagPSH != 0, ACK: s.flags&flagACK != 0,
	}
	if s.mss > 0 {
		l.Options = append(l.Options, layers.TCPOption{OptionType: 2, OptionLength: 4, OptionData: binary.BigEndian.AppendUint16(nil, s.mss)},
			layers.TCPOption{OptionType: 3, OptionLength: 3, OptionData: []byte{s.scale}})
	}
	if s.stamp > 0 {
		l.Options = append(l.Options, layers.TCPOption{OptionType: 8, OptionLength: 10,
			OptionData: binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, s.stamp), 0)})
	}
	return packetOf(src.Addr(), dst.Addr(), s.id, s.ttl, layers.IPProtocolTCP, l, s.payload)
}

func udp(from, to, payload string, id uint16) []byte {
	src, dst := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	l := &layers.UDP{SrcPort: layers.UDPPort(src.Port()), DstPort: layers.UDPPort(dst.Port())}
	return packetOf(src.Addr(), dst.Addr(), id, 64, layers.IPProtocolUDP, l, payload)
}

func packetOf(src, dst netip.Addr, id uint16, ttl uint8, kind layers.IPProtocol, l gopacket.SerializableLayer, payload string) []byte {
	var ip gopacket.SerializableLayer
	if src.Is4() {
		ip = &layers.IPv4{Version: 4, Id: id, TTL: ttl, Protocol: kind, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	} else {
		ip = &layers.IPv6{Version: 6, HopLimit: ttl, NextHeader: kind, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	}
	b := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true}, ip, l, gopacket.Payload(payload))
	if err != nil {
		panic(err)
	}
	return b.Bytes()
}

// handshake writes SYN, SYN/ACK and ACK.
func (c *capture) handshake(client, server string, x, y uint32) {
	c.tcp(client, server, tcpPacket{seq: x, flags: flagSYN, mss: 1460, scale: 7, stamp: 1000})
	c.tcp(server, client, tcpPacket{seq: y, ack: x + 1, flags: flagSYN | flagACK, mss: 1400, scale: 8, stamp: 2000})
	c.tcp(client, server, tcpPacket{seq: x + 1, ack: y + 1, flags: flagACK, stamp: 1001})
}

const (
	client = "10.0.0.1:40000"
	server = "10.96.0.1:80"
	ack    = flagACK
	push   = flagACK | flagPSH
)

// generate writes a capture of many connections at once, and returns the number
// of packets.
func generate(w io.Writer, flows, live int) (packets int, err error) {
	m, err := traffic.Shape{Size: int64(flows) * 6000, Flows: flows, Live: live, Snaplen: 262144, Seed: 1, HTTP: true}.Write(w)
	return m.Packets, err
}
