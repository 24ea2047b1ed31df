package main

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"whichbackend/analyze/pcap"
)

// tape is a capture that a test writes: raw IP on interfaces of its own, one
// packet each millisecond.
type tape struct {
	t     testing.TB
	b     bytes.Buffer
	w     *pcap.Writer
	names map[string]int
	at    time.Time
	id    uint16 // of the next IP packet: a packet sent again gets a new one
}

func newTape(t testing.TB) *tape {
	p := &tape{t: t, names: map[string]int{}, at: time.Date(2026, 11, 23, 8, 14, 0, 0, time.UTC)}
	p.w = pcap.NewWriter(&p.b)
	return p
}

// on gives the number of an interface.
func (p *tape) on(device string) int {
	n, ok := p.names[device]
	if !ok {
		n = p.w.Interface(pcap.WriterInterface{Name: device, LinkType: 101})
		p.names[device] = n
	}
	return n
}

// packet writes one IP packet.
func (p *tape) packet(device string, ttl uint8, from, to netip.Addr, protocol layers.IPProtocol, l gopacket.SerializableLayer, payload []byte) {
	p.t.Helper()
	b := gopacket.NewSerializeBuffer()
	ip := &layers.IPv4{Version: 4, TTL: ttl, Protocol: protocol, Id: p.id, Flags: layers.IPv4DontFragment, SrcIP: net.IP(from.AsSlice()), DstIP: net.IP(to.AsSlice())}
	if s, ok := l.(interface {
		SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
	}); ok {
		noError(p.t, s.SetNetworkLayerForChecksum(ip))
	}
	noError(p.t, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ip, l, gopacket.Payload(payload)))
	p.w.Packet(p.on(device), pcap.Packet{Time: p.at.UnixNano(), Length: len(b.Bytes()), Data: b.Bytes()})
	p.at = p.at.Add(100 * time.Microsecond)
}

// seen is one TCP packet as one place saw it. The flags are letters: S, A, F, R.
type seen struct {
	device, from, to string
	ttl              uint8
	flags            string
	seq, ack         uint32
	payload          string
}

func (p *tape) tcp(s seen) {
	p.t.Helper()
	from, to := netip.MustParseAddrPort(s.from), netip.MustParseAddrPort(s.to)
	l := &layers.TCP{SrcPort: layers.TCPPort(from.Port()), DstPort: layers.TCPPort(to.Port()), Seq: s.seq, Ack: s.ack, Window: 1000}
	for _, f := range s.flags {
		switch f {
		case 'S':
			l.SYN = true
			stamp := binary.BigEndian.AppendUint32(nil, s.seq/3)
			l.Options = append(l.Options, layers.TCPOption{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{5, 180}},
				layers.TCPOption{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: append(stamp, 0, 0, 0, 0)})
		case 'A':
			l.ACK = true
		case 'F':
			l.FIN = true
		case 'R':
			l.RST = true
		}
	}
	p.packet(s.device, s.ttl, from.Addr(), to.Addr(), layers.IPProtocolTCP, l, []byte(s.payload))
}

// pass writes a packet of the client, or of the server, as it passes a NAT:
// first as one side has it, then as the other.
func (p *tape) pass(client, vip, masked, backend, flags string, seq, ack uint32, back bool, payload string) {
	p.id++
	if back {
		p.tcp(seen{"eth1", backend, masked, 64, flags, seq, ack, payload})
		p.tcp(seen{"eth0", vip, client, 63, flags, seq, ack, payload})
		return
	}
	p.tcp(seen{"eth0", client, vip, 64, flags, seq, ack, payload})
	p.tcp(seen{"eth1", masked, backend, 63, flags, seq, ack, payload})
}

// The addresses of the small case, as a node's NAT has them.
const (
	theClient  = "10.244.0.13:52372"
	theVIP     = "10.96.72.53:80"
	theBackend = "10.244.0.6:80"
)

// connect writes a connection through a NAT: handshake, a request, an answer.
func (p *tape) connect(backend string) {
	const x, y = 3000000001, 2000000001
	p.pass(theClient, theVIP, theClient, backend, "S", x, 0, false, "")
	p.pass(theClient, theVIP, theClient, backend, "SA", y, x+1, true, "")
	p.pass(theClient, theVIP, theClient, backend, "A", x+1, y+1, false, "")
	p.pass(theClient, theVIP, theClient, backend, "A", x+1, y+1, false, "GET / HTTP/1.1\r\n\r\n")
	p.pass(theClient, theVIP, theClient, backend, "A", y+1, x+19, true, "HTTP/1.1 200 OK\r\n\r\n")
}

// close ends what connect began.
func (p *tape) close(backend string) {
	const x, y = 3000000001, 2000000001
	p.pass(theClient, theVIP, theClient, backend, "FA", x+19, y+20, false, "")
	p.pass(theClient, theVIP, theClient, backend, "FA", y+20, x+20, true, "")
	p.pass(theClient, theVIP, theClient, backend, "A", x+20, y+21, false, "")
}

func (p *tape) bytes() string {
	p.t.Helper()
	noError(p.t, p.w.Close())
	return p.b.String()
}
