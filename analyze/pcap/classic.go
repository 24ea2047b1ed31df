package pcap

import (
	"encoding/binary"
	"math/bits"
)

// The format of pcap, of draft-ietf-opsawg-pcap and libpcap's sf-pcap.c: a file
// header of 24 bytes, and for each packet seconds, micro- or nanoseconds, the
// captured length and the length on the wire, of 32 bits each.

const (
	fileHeader     = 24
	recordHeader   = 16
	modifiedHeader = 24 // and the interface's index, the protocol, how it passed
)

// classic is what the header of a pcap file says.
type classic struct {
	known   bool
	header  int   // bytes of the header of a record
	nanos   int64 // in a unit of a record's second field of time
	lengths order
}

// order is that of the two lengths of a record, which old versions swapped.
type order uint8

const (
	capturedFirst order = iota
	wireFirst           // versions 2.0 to 2.2, and 543.0 of DG/UX
	largerIsWire        // version 2.3: both kinds exist
)

// u32 reads 32 bits in the order of the file or section.
func (r *Reader) u32(b []byte) uint32 {
	if r.swap {
		return binary.BigEndian.Uint32(b)
	}
	return binary.LittleEndian.Uint32(b)
}

func (r *Reader) u16(b []byte) uint16 {
	if r.swap {
		return binary.BigEndian.Uint16(b)
	}
	return binary.LittleEndian.Uint16(b)
}

// fileHead reads the file header. It is 0 when there is not enough of it.
func (r *Reader) fileHead(data []byte) int {
	if len(data) < fileHeader {
		return 0
	}
	size := fileHeader
	r.swap = !isClassic(binary.LittleEndian.Uint32(data))
	r.classic = classic{header: recordHeader, nanos: 1}
	resolution := uint8(9)
	switch r.u32(data) {
	case magicMicro:
		r.nanos, resolution = 1000, 6
	case magicModified:
		r.nanos, resolution, r.header = 1000, 6, modifiedHeader
	case magicIxiaHard, magicIxiaSoft:
		size += 4 // the size of all records
	}
	if len(data) < size {
		return 0
	}
	r.known = true
	r.version(r.u16(data[4:]), r.u16(data[6:]))
	link := r.u32(data[20:])
	r.interfaces = append(r.interfaces, device{Interface: Interface{
		LinkType:   r.linkType(link),
		Snaplen:    r.u32(data[16:]),
		Resolution: resolution,
		FCS:        fcs(link),
	}})
	return size
}

// version knows the order of the lengths, as libpcap does.
func (r *Reader) version(major, minor uint16) {
	switch {
	case major == 543 && minor == 0, major == 2 && minor < 3:
		r.lengths = wireFirst
	case major == 2 && minor == 3:
		r.lengths = largerIsWire
	case major == 2 && minor > 4:
		r.note(newVersion, 0, "is of version %d.%d of pcap, newer than 2.4, and was read like it", major, minor)
	case major != 2:
		r.note(badVersion, 0, "is of version %d.%d of pcap, which nothing is known about: no packet was read", major, minor)
		r.done = true
	}
}

// linkType is the low 16 bits of the field. Above them are whether the bits 28
// to 31 tell the length of the frame check sequence in units of 16 bits (bit
// 26), and bits that nobody uses.
func (r *Reader) linkType(field uint32) uint16 {
	if field&0x03ff0000 != 0 {
		r.note(badLink, 20, "has a link type of more than 16 bits, 0x%08x: the low 16 were taken", field)
	}
	return standard(uint16(field))
}

// standard replaces the numbers by which BSDs know the type RAW.
func standard(link uint16) uint16 {
	if link == 12 || link == 14 {
		return 101
	}
	return link
}

func fcs(field uint32) uint8 {
	if field&(1<<26) == 0 {
		return 0
	}
	return uint8(field >> 28 * 2)
}

// records appends the packets whose records are whole, and gives the number of
// bytes parsed.
func (r *Reader) records(b *Batch, data []byte) int {
	at := 0
	if !r.known {
		if at = r.fileHead(data); at == 0 || r.done {
			return at
		}
	}
	d, packets, number := &r.interfaces[0], b.Packets, r.number
	header, swap, usual := r.header, r.swap, r.lengths == capturedFirst && r.header == recordHeader
	link, unit := d.LinkType, r.nanos
	for len(data)-at >= header {
		h := data[at : at+recordHeader : at+recordHeader]
		seconds, part := binary.LittleEndian.Uint32(h), binary.LittleEndian.Uint32(h[4:])
		kept, length := binary.LittleEndian.Uint32(h[8:]), binary.LittleEndian.Uint32(h[12:])
		if swap {
			seconds, part = bits.ReverseBytes32(seconds), bits.ReverseBytes32(part)
			kept, length = bits.ReverseBytes32(kept), bits.ReverseBytes32(length)
		}
		var way uint8
		if !usual {
			kept, length = r.lengths.sort(kept, length)
			way = r.way(data[at:])
		}
		if kept > MaxPacket {
			r.number = number
			r.tooLong(at, kept)
			break
		}
		begin, end := at+header, at+header+int(kept)
		if end > len(data) {
			break
		}
		number++
		nanos := int64(part) * unit
		t := int64(seconds)*second + nanos
		if length < kept || nanos >= second {
			r.number = number - 1
			length = r.odd(at, kept, length, nanos)
		}
		packets = append(packets, Packet{
			Number: number, Time: t, LinkType: link, Direction: way,
			Length: int(length), Data: data[begin:end:end],
		})
		d.count(t, length > kept)
		at = end
	}
	r.number, b.Packets = number, packets
	return at
}

// tooLong ends the packets at one that cannot be: nothing tells where the next
// record begins.
func (r *Reader) tooLong(at int, kept uint32) {
	offset := r.offset + int64(at)
	r.note(badRecord, offset, "packet %d, at byte %d, says that it holds %d bytes, more than any packet does (%d): the file is damaged there, and what follows cannot be read", r.number+1, offset, kept, MaxPacket)
	r.done = true
}

// odd tells of a packet that says strange things, and gives its length.
func (r *Reader) odd(at int, kept, length uint32, nanos int64) uint32 {
	offset := r.offset + int64(at)
	if nanos >= second && !r.again(carried) {
		r.note(carried, offset, "packet %d, at byte %d, counts %d ns in its second: the seconds in them were carried", r.number+1, offset, nanos)
	}
	return r.least(offset, kept, length)
}

// least is the length on the wire, which cannot be less than what was kept.
func (r *Reader) least(offset int64, kept, length uint32) uint32 {
	if length >= kept {
		return length
	}
	if !r.again(longerThanSent) {
		r.note(longerThanSent, offset, "packet %d, at byte %d, holds %d bytes of %d: it was taken to have had all that it holds", r.number+1, offset, kept, length)
	}
	return kept
}

// sort gives the captured length first.
func (o order) sort(kept, length uint32) (uint32, uint32) {
	if o == wireFirst || o == largerIsWire && kept > length {
		return length, kept
	}
	return kept, length
}

// way is the direction of a record of Kuznetsov's format, which tells it by the
// kinds of linux/if_packet.h: 4 was sent, 0 to 3 were received.
func (r *Reader) way(record []byte) uint8 {
	const kind = 22
	switch {
	case r.header != modifiedHeader:
		return 0
	case record[kind] < 4:
		return 1
	case record[kind] == 4:
		return 2
	}
	return 0
}
