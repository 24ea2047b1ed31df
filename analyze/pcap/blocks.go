package pcap

import (
	"encoding/binary"
	"math/bits"
)

// The blocks of pcapng, of draft-ietf-opsawg-pcapng: a type and a length of 32
// bits, a body, and the length again, in the order of the section.

const (
	blockInterface  = 1
	blockOldPacket  = 2
	blockSimple     = 3
	blockNames      = 4
	blockStatistics = 5
	blockPacket     = 6
	blockJournal    = 9 // of systemd
	blockSecrets    = 10
	blockCustom     = 0xbad
	blockCustomOnly = 0x40000bad // not to be copied

	blockHead  = 8
	blockLeast = 12 // bytes of a block without a body
	packetHead = 20 // fields of an enhanced, and of an old packet block
	// maxBlock is the largest block that is looked at.
	maxBlock = batchSize
)

func isPacketBlock(kind uint32) bool {
	return kind == blockPacket || kind == blockOldPacket || kind == blockSimple
}

// blocks appends the packets whose blocks are whole, and gives the number of
// bytes parsed.
func (r *Reader) blocks(b *Batch, data []byte) int {
	at := 0
	for len(data)-at >= blockLeast && !r.done {
		head := data[at:]
		kind, size := binary.LittleEndian.Uint32(head), binary.LittleEndian.Uint32(head[4:])
		swap := r.swap
		if kind == magicSection {
			var ok bool
			if swap, ok = sectionOrder(head); !ok {
				r.stopAt(at, "a section whose byte order is told by neither 1a2b3c4d nor 4d3c2b1a")
				break
			}
		}
		if swap {
			kind, size = bits.ReverseBytes32(kind), bits.ReverseBytes32(size)
		}
		// Some writers leave the padding out of the length.
		padded := (uint64(size) + 3) &^ 3
		if size < blockLeast || padded > maxBlock {
			if !r.oddSize(at, kind, size, padded, len(head)) {
				break
			}
			return len(data)
		}
		if uint64(len(head)) < padded {
			break
		}
		block := head[:padded:padded]
		again := binary.LittleEndian.Uint32(block[padded-4:])
		if swap {
			again = bits.ReverseBytes32(again)
		}
		if again != size {
			r.stopAt(at, "a block that gives its length as %d and again as %d", size, again)
			break
		}
		if kind == blockPacket {
			r.packet(b, block[blockHead:padded-4], at)
		} else {
			r.block(b, kind, block[blockHead:padded-4], at, swap)
		}
		at += int(padded)
	}
	return at
}

// stopAt ends the packets at a block that cannot be right.
func (r *Reader) stopAt(at int, what string, args ...any) {
	offset := r.offset + int64(at)
	r.note(badBlock, offset, "has, after packet %d, at byte %d, "+what+": the file is damaged there, and what follows cannot be read", append([]any{r.number, offset}, args...)...)
	r.done = true
}

// oddSize tells of a block that is too small, or too large to be looked at, of
// which there are have bytes. It is true when the block can be skipped.
func (r *Reader) oddSize(at int, kind, size uint32, padded uint64, have int) bool {
	switch {
	case size < blockLeast:
		r.stopAt(at, "a block of %d bytes, less than any block has", size)
		return false
	case kind == magicSection:
		r.stopAt(at, "a section header of %d bytes, more than %d", size, maxBlock)
		return false
	}
	offset := r.offset + int64(at)
	r.note(bigBlock, offset, "has, after packet %d, at byte %d, a block of type 0x%08x with %d bytes, more than %d: it was skipped", r.number, offset, kind, size, maxBlock)
	if isPacketBlock(kind) {
		r.number++
	}
	r.skip = padded - uint64(have) // no buffer holds the block
	return true
}

// block parses a block that is no enhanced packet.
func (r *Reader) block(b *Batch, kind uint32, body []byte, at int, swap bool) {
	offset := r.offset + int64(at)
	switch kind {
	case magicSection:
		r.swap = swap
		r.sectionBlock(body, offset)
	case blockInterface:
		r.interfaceBlock(body, offset)
	case blockSimple:
		r.simplePacket(b, body, at)
	case blockOldPacket:
		r.oldPacket(b, body, at)
	case blockNames:
		r.namesBlock(body, offset)
	case blockStatistics:
		r.statisticsBlock(body, offset)
	case blockJournal:
		r.skipped(journal, offset, "an entry of the systemd journal"+counted)
	case blockSecrets:
		r.skipped(secrets, offset, "secrets for decryption")
	case blockCustom, blockCustomOnly:
		r.skipped(custom, offset, "a custom block"+counted)
	default:
		if !r.again(unknownBlock) {
			r.note(unknownBlock, offset, "has at byte %d a block of the unknown type 0x%08x, which was skipped", offset, kind)
		}
	}
}

// counted warns of the numbers of packets, which else are those of Wireshark.
const counted = ", which Wireshark counts as a packet and we do not"

func (r *Reader) skipped(p problem, offset int64, what string) {
	if !r.again(p) {
		r.note(p, offset, "has at byte %d %s: it was skipped", offset, what)
	}
}

// packet parses an enhanced packet block.
func (r *Reader) packet(b *Batch, body []byte, at int) {
	if len(body) < packetHead {
		r.badPacket(at, "%d bytes, less than its fields need", len(body))
		return
	}
	h := body[:packetHead:packetHead]
	id, high, low := binary.LittleEndian.Uint32(h), binary.LittleEndian.Uint32(h[4:]), binary.LittleEndian.Uint32(h[8:])
	kept, length := binary.LittleEndian.Uint32(h[12:]), binary.LittleEndian.Uint32(h[16:])
	if r.swap {
		id, high, low = bits.ReverseBytes32(id), bits.ReverseBytes32(high), bits.ReverseBytes32(low)
		kept, length = bits.ReverseBytes32(kept), bits.ReverseBytes32(length)
	}
	r.add(b, at, block{
		id: id, ticks: uint64(high)<<32 | uint64(low),
		kept: kept, length: length, data: body[packetHead:], timed: true, flags: packetFlags, drops: packetDrops,
	})
}

// oldPacket parses a packet block, which Wireshark wrote before 2011.
func (r *Reader) oldPacket(b *Batch, body []byte, at int) {
	if len(body) < packetHead {
		r.badPacket(at, "%d bytes, less than its fields need", len(body))
		return
	}
	p := block{
		id: uint32(r.u16(body)), ticks: uint64(r.u32(body[4:]))<<32 | uint64(r.u32(body[8:])),
		kept: r.u32(body[12:]), length: r.u32(body[16:]), data: body[packetHead:], timed: true, flags: packetFlags,
	}
	const unknown = 0xffff
	if drops := r.u16(body[2:]); drops != unknown && int(p.id) < len(r.interfaces)-r.base {
		d := &r.interfaces[r.base+int(p.id)]
		d.Lossy = true
		d.lost = add(d.lost, uint64(drops))
	}
	r.add(b, at, p)
}

// simplePacket parses a simple packet block: of the first interface, without a
// time, and cut at its snaplen.
func (r *Reader) simplePacket(b *Batch, body []byte, at int) {
	if len(body) < 4 {
		r.badPacket(at, "%d bytes, less than its fields need", len(body))
		return
	}
	p := block{length: r.u32(body), data: body[4:]}
	p.kept = p.length
	if r.base < len(r.interfaces) {
		if most := r.interfaces[r.base].Snaplen; most > 0 {
			p.kept = min(p.kept, most)
		}
	}
	p.kept = min(p.kept, uint32(len(p.data)))
	if !r.again(noTime) {
		r.note(noTime, r.offset+int64(at), "keeps no time of packet %d (a simple packet block)", r.number+1)
	}
	r.add(b, at, p)
}

// block is what the packet blocks tell, each in its way.
type block struct {
	id           uint32
	ticks        uint64
	kept, length uint32
	data         []byte // and the options behind it
	timed        bool
	flags, drops uint16 // codes of options, 0 for none
}

// add appends a packet to the batch.
func (r *Reader) add(b *Batch, at int, p block) {
	number := r.base + int(p.id)
	switch {
	case int64(p.id) >= int64(len(r.interfaces)-r.base):
		r.strayPacket(at, p.id)
		return
	case p.kept > MaxPacket:
		r.badPacket(at, "%d captured bytes, more than any packet has (%d)", p.kept, MaxPacket)
		return
	case int64(p.kept) > int64(len(p.data)):
		r.badPacket(at, "%d captured bytes in a block that has room for %d", p.kept, len(p.data))
		return
	}
	d := &r.interfaces[number]
	if p.length < p.kept {
		p.length = r.least(r.offset+int64(at), p.kept, p.length)
	}
	r.number++
	out := Packet{
		Number: r.number, Interface: number, LinkType: d.LinkType,
		Length: int(p.length), Data: p.data[:p.kept:p.kept],
	}
	if p.timed && !d.clockBad {
		out.Time = r.time(d, p.ticks, at)
		d.count(out.Time, p.length > p.kept)
	} else {
		d.Packets++
		if p.length > p.kept {
			d.Cut++
		}
	}
	if behind := (int(p.kept) + 3) &^ 3; p.flags > 0 && behind < len(p.data) {
		r.packetOptions(d, &out, &p, p.data[behind:], at)
	}
	b.Packets = append(b.Packets, out)
}

func (r *Reader) time(d *device, ticks uint64, at int) int64 {
	t, ok := d.clock.time(ticks)
	if !ok && !r.again(timeOutOfRange) {
		r.note(timeOutOfRange, r.offset+int64(at), "gives packet %d a time out of the range of years 1678 to 2262: the nearest was taken", r.number)
	}
	return t
}

// packetOptions reads the options of a packet.
func (r *Reader) packetOptions(d *device, out *Packet, p *block, options []byte, at int) {
	whole := r.options(options, func(code uint16, value []byte) {
		switch {
		case code == optComment:
			r.comment(out.Number, r.offset+int64(at), value)
		case code == p.flags && len(value) == 4:
			if way := r.u32(value) & 3; way < 3 {
				out.Direction = uint8(way)
			}
		case code == p.drops && p.drops > 0 && len(value) == 8:
			d.Lossy = true
			d.lost = add(d.lost, r.u64(value))
		}
	})
	if !whole {
		r.badOptions(r.offset + int64(at))
	}
}

// badPacket tells of a packet whose block has a length that can be right, and
// nothing else. It is counted, so that the numbers stay those of the file.
func (r *Reader) badPacket(at int, what string, args ...any) {
	if !r.again(badPacket) {
		r.note(badPacket, r.offset+int64(at), "has at byte %d a packet %d of "+what+": it was skipped", append([]any{r.offset + int64(at), r.number + 1}, args...)...)
	}
	r.number++
}

func (r *Reader) strayPacket(at int, id uint32) {
	if !r.again(noInterface) {
		r.note(noInterface, r.offset+int64(at), "has at byte %d a packet %d of interface %d, which the section does not describe (it has %d): it was skipped", r.offset+int64(at), r.number+1, id, len(r.interfaces)-r.base)
	}
	r.number++
}
