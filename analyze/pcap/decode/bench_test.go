package decode

import (
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// plainTCP is a segment of 100 bytes with timestamps in Ethernet.
func plainTCP(t testing.TB) []byte {
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: address(10, 0, 0, 1), DstIP: address(10, 0, 0, 2)}
	tcp := &layers.TCP{SrcPort: 40000, DstPort: 443, Seq: 7, Ack: 9, ACK: true, PSH: true, Window: 500, Options: stamp(1, 2)}
	return serialize(t, frameOf(layers.EthernetTypeIPv4), ip, checksummed(tcp, ip), gopacket.Payload(make([]byte, 100)))
}

// inVXLAN wraps a frame.
func inVXLAN(t testing.TB, frame []byte) []byte {
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: address(192, 168, 0, 1), DstIP: address(192, 168, 0, 2)}
	udp := &layers.UDP{SrcPort: 50000, DstPort: 8472}
	return serialize(t, frameOf(layers.EthernetTypeIPv4), ip, checksummed(udp, ip), &layers.VXLAN{ValidIDFlag: true, VNI: 77}, gopacket.Payload(frame))
}

func BenchmarkTCP(b *testing.B) { benchmark(b, plainTCP(b)) }

func BenchmarkVXLAN(b *testing.B) { benchmark(b, inVXLAN(b, plainTCP(b))) }

func benchmark(b *testing.B, data []byte) {
	var p Packet
	b.ReportAllocs()
	for b.Loop() {
		Decode(LinkEthernet, data, len(data), &p)
	}
	if p.Status != Flow || p.DestinationPort != 443 {
		b.Fatalf("not decoded: %s", Reason(p.Status, p.Detail))
	}
}
