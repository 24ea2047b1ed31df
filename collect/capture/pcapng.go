package capture

import "encoding/binary"

// The blocks of pcapng that a capture has, in this machine's byte order. The
// frames are those of tcpdump -i any: behind a header (LINKTYPE_LINUX_SLL2) that
// tells the device, the direction and the sender's address, the packet of IP,
// the same for devices of every kind. A file with several link types could not
// be read with tcpdump.

const (
	linkTypeSLL2 = 276
	snaplen      = 262144 // what tcpdump writes
	sllSize      = 20

	optEnd     = 0
	optComment = 1
)

// block appends a block, whose body appends itself.
func block(out []byte, kind uint32, body func(out []byte) []byte) []byte {
	begin := len(out)
	out = binary.NativeEndian.AppendUint32(out, kind)
	out = binary.NativeEndian.AppendUint32(out, 0)
	out = body(out)
	size := uint32(len(out) - begin + 4)
	binary.NativeEndian.PutUint32(out[begin+4:], size)
	return binary.NativeEndian.AppendUint32(out, size)
}

// option appends an option; one that is longer than an option can be is cut.
func option[V string | []byte](out []byte, code uint16, value V) []byte {
	value = value[:min(len(value), 1<<16-1)]
	out = binary.NativeEndian.AppendUint16(out, code)
	out = binary.NativeEndian.AppendUint16(out, uint16(len(value)))
	return pad(append(out, value...), len(value))
}

func option64(out []byte, code uint16, value uint64) []byte {
	return option(out, code, binary.NativeEndian.AppendUint64(nil, value))
}

// pad fills up to four bytes after n.
func pad(out []byte, n int) []byte { return append(out, make([]byte, (4-n%4)%4)...) }

func appendSection(out []byte) []byte {
	return block(out, 0x0a0d0d0a, func(out []byte) []byte {
		out = binary.NativeEndian.AppendUint32(out, 0x1a2b3c4d)
		out = binary.NativeEndian.AppendUint16(out, 1)
		out = binary.NativeEndian.AppendUint16(out, 0)
		out = binary.NativeEndian.AppendUint64(out, 1<<64-1) // the size is not known yet
		out = option(out, 4, "whichbackend-collect")
		return binary.NativeEndian.AppendUint32(out, optEnd)
	})
}

func appendInterface(out []byte, name, filter string) []byte {
	return block(out, 1, func(out []byte) []byte {
		out = binary.NativeEndian.AppendUint16(out, linkTypeSLL2)
		out = binary.NativeEndian.AppendUint16(out, 0)
		out = binary.NativeEndian.AppendUint32(out, snaplen)
		out = option(out, 2, name)
		out = option(out, 9, []byte{9}) // times are in nanoseconds
		if filter != "" {
			out = option(out, 11, "\x00"+filter)
		}
		return binary.NativeEndian.AppendUint32(out, optEnd)
	})
}

// How a packet came, of linux/if_packet.h.
const (
	toHost = iota
	toAll
	toMany
	toOther
	outgoing
)

// frame is one packet and how it came.
type frame struct {
	nanoseconds uint64 // since 1970
	device      uint32
	kind        uint16 // of the device, ARPHRD_...
	how         byte
	sender      []byte // its address on the link, of up to 8 bytes
	protocol    uint16 // ETH_P_... of what follows
	inside      uint16 // ETH_P_... of the packet, which is another behind a tag
	vlan        []byte // the tag that the kernel took off, and the protocol behind it; or nil
	packet      []byte // what is kept
	size        int    // what it was
}

// appendPacket appends a frame; id is its device's number in the file.
func appendPacket(out []byte, id uint32, f *frame) []byte {
	kept := sllSize + len(f.vlan) + len(f.packet)
	return block(out, 6, func(out []byte) []byte {
		out = binary.NativeEndian.AppendUint32(out, id)
		out = binary.NativeEndian.AppendUint32(out, uint32(f.nanoseconds>>32))
		out = binary.NativeEndian.AppendUint32(out, uint32(f.nanoseconds))
		out = binary.NativeEndian.AppendUint32(out, uint32(kept))
		out = binary.NativeEndian.AppendUint32(out, uint32(sllSize+len(f.vlan)+f.size))
		out = appendSLL2(out, f)
		out = append(append(out, f.vlan...), f.packet...)
		out = pad(out, kept)
		out = binary.NativeEndian.AppendUint16(out, 2) // epb_flags
		out = binary.NativeEndian.AppendUint16(out, 4)
		out = binary.NativeEndian.AppendUint32(out, direction(f.how))
		return binary.NativeEndian.AppendUint32(out, optEnd)
	})
}

// appendSLL2 appends the header of a frame, which is in the order of the network.
func appendSLL2(out []byte, f *frame) []byte {
	var sender [8]byte
	n := copy(sender[:], f.sender)
	out = binary.BigEndian.AppendUint16(out, f.protocol)
	out = binary.BigEndian.AppendUint16(out, 0)
	out = binary.BigEndian.AppendUint32(out, f.device)
	out = binary.BigEndian.AppendUint16(out, f.kind)
	out = append(out, f.how, byte(n))
	return append(out, sender[:]...)
}

// direction is the value of epb_flags.
func direction(how byte) uint32 {
	const in, out = 1, 2
	switch how {
	case toHost:
		return in | 1<<2
	case toMany:
		return in | 2<<2
	case toAll:
		return in | 3<<2
	case toOther:
		return in | 4<<2
	case outgoing:
		return out
	}
	return 0
}

// appendStatistics appends what became of the packets of a device. Those that
// the kernel dropped it counts for all devices together.
func appendStatistics(out []byte, id uint32, nanoseconds, received uint64, dropped *uint64) []byte {
	return block(out, 5, func(out []byte) []byte {
		out = binary.NativeEndian.AppendUint32(out, id)
		out = binary.NativeEndian.AppendUint32(out, uint32(nanoseconds>>32))
		out = binary.NativeEndian.AppendUint32(out, uint32(nanoseconds))
		if dropped != nil {
			out = option(out, optComment, "isb_osdrop counts the packets of all interfaces")
		}
		out = option64(out, 4, received)
		if dropped != nil {
			out = option64(out, 7, *dropped)
		}
		out = option64(out, 8, received)
		return binary.NativeEndian.AppendUint32(out, optEnd)
	})
}
