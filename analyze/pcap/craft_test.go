package pcap

import (
	"encoding/binary"
	"slices"
)

// What tests build captures of: all of pcap and pcapng, in both orders.

type bothOrders interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

var orders = []struct {
	name string
	bothOrders
}{{"little", binary.LittleEndian}, {"big", binary.BigEndian}}

func classicHead(o bothOrders, magic uint32, major, minor uint16, snaplen, link uint32) []byte {
	out := o.AppendUint32(nil, magic)
	out = o.AppendUint16(out, major)
	out = o.AppendUint16(out, minor)
	out = append(out, make([]byte, 8)...)
	out = o.AppendUint32(out, snaplen)
	return o.AppendUint32(out, link)
}

func classicRecord(o bothOrders, seconds, part, kept, length uint32, data []byte) []byte {
	out := make([]byte, 0, recordHeader+len(data))
	for _, v := range []uint32{seconds, part, kept, length} {
		out = o.AppendUint32(out, v)
	}
	return append(out, data...)
}

// modifiedRecord is one of Kuznetsov's libpcap.
func modifiedRecord(o bothOrders, seconds, part uint32, how byte, data []byte) []byte {
	out := classicRecord(o, seconds, part, uint32(len(data)), uint32(len(data)), nil)
	out = o.AppendUint32(out, 2)     // interface
	out = o.AppendUint16(out, 0x800) // protocol
	out = append(out, how, 0)
	return append(out, data...)
}

func padded(b []byte) []byte {
	return append(slices.Clone(b), make([]byte, -len(b)&3)...)
}

func ngBlock(o bothOrders, kind uint32, body ...[]byte) []byte {
	whole := padded(slices.Concat(body...))
	out := o.AppendUint32(nil, kind)
	out = o.AppendUint32(out, uint32(len(whole)+blockLeast))
	out = append(out, whole...)
	return o.AppendUint32(out, uint32(len(whole)+blockLeast))
}

func ngOption[V string | []byte](o bothOrders, code uint16, value V) []byte {
	out := o.AppendUint16(nil, code)
	out = o.AppendUint16(out, uint16(len(value)))
	return append(out, padded([]byte(value))...)
}

func ngOption64(o bothOrders, code uint16, value uint64) []byte {
	return ngOption(o, code, o.AppendUint64(nil, value))
}

func ngSection(o bothOrders, options ...[]byte) []byte {
	out := o.AppendUint32(nil, magicOrder)
	out = o.AppendUint16(out, 1)
	out = o.AppendUint16(out, 0)
	out = o.AppendUint64(out, 1<<64-1)
	return ngBlock(o, magicSection, append([][]byte{out}, options...)...)
}

func ngInterface(o bothOrders, link uint16, snaplen uint32, options ...[]byte) []byte {
	out := o.AppendUint16(nil, link)
	out = o.AppendUint16(out, 0)
	out = o.AppendUint32(out, snaplen)
	return ngBlock(o, blockInterface, append([][]byte{out}, options...)...)
}

// ngPacket is an enhanced packet block.
func ngPacket(o bothOrders, id uint32, ticks uint64, length uint32, data []byte, options ...[]byte) []byte {
	return ngBlock(o, blockPacket, append([][]byte{packetFields(o, id, ticks, uint32(len(data)), length), padded(data)}, options...)...)
}

func packetFields(o bothOrders, id uint32, ticks uint64, kept, length uint32) []byte {
	out := o.AppendUint32(nil, id)
	for _, v := range []uint32{uint32(ticks >> 32), uint32(ticks), kept, length} {
		out = o.AppendUint32(out, v)
	}
	return out
}

// ngOldPacket is a packet block of before 2011.
func ngOldPacket(o bothOrders, id, drops uint16, ticks uint64, data []byte, options ...[]byte) []byte {
	out := o.AppendUint16(nil, id)
	out = o.AppendUint16(out, drops)
	for _, v := range []uint32{uint32(ticks >> 32), uint32(ticks), uint32(len(data)), uint32(len(data))} {
		out = o.AppendUint32(out, v)
	}
	return ngBlock(o, blockOldPacket, append([][]byte{out, padded(data)}, options...)...)
}

func ngStatistics(o bothOrders, id uint32, options ...[]byte) []byte {
	out := append(o.AppendUint32(nil, id), make([]byte, 8)...)
	return ngBlock(o, blockStatistics, append([][]byte{out}, options...)...)
}
