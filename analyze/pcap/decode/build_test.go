package decode

import (
	"encoding/binary"
	"net"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

func address(a, b, c, d byte) net.IP { return net.IP{a, b, c, d} }

func frameOf(t layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, EthernetType: t}
}

func stamp(value, echo uint32) []layers.TCPOption {
	o := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, value), echo)
	return []layers.TCPOption{{OptionType: 1}, {OptionType: 1}, {OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: o}}
}

// checksummed tells a transport of the IP header that its checksum covers.
func checksummed[T interface {
	gopacket.SerializableLayer
	SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
}](l T, ip gopacket.NetworkLayer) T {
	if err := l.SetNetworkLayerForChecksum(ip); err != nil {
		panic(err)
	}
	return l
}

func serialize(t testing.TB, l ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, l...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
