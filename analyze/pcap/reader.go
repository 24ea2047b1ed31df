package pcap

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
)

const (
	// MaxPacket is the most that is taken for the captured bytes of a packet:
	// the snaplen that tcpdump and Wireshark use when none is asked for.
	MaxPacket = 256 << 10
	// batchSize is the largest buffer of a batch: any packet fits it. Where none
	// of the packets is large, usualBatch is faster by a fifth, since several of
	// it fit the cache of a core; smallBatch is that of the first one, since most
	// captures of a bundle are small.
	batchSize  = 1 << 20
	usualBatch = 320 << 10
	smallBatch = 64 << 10
)

// Interface is an interface of a capture, and what became of its packets. Times
// are in nanoseconds since 1970 UTC.
type Interface struct {
	// Section counts the sections of pcapng from 0, and Number the interfaces
	// of the section.
	Section, Number int
	// What the file tells of it, "" for nothing, as pcap does. OS, Hardware and
	// Application of the section count where the interface has none.
	Name, Description, Filter string
	OS, Hardware, Application string
	LinkType                  uint16 // LINKTYPE_ of tcpdump.org
	Snaplen                   uint32 // bytes kept of each packet at most, 0: no limit
	// Resolution is that of its times, in the notation of if_tsresol: 6 and 9
	// are micro- and nanoseconds; with bit 7 it is a power of two.
	Resolution uint8
	// FCS is the number of bytes of a frame check sequence behind each packet,
	// where the file tells.
	FCS     uint8
	Packets uint64 // in the file
	Cut     uint64 // packets of which the file keeps less than passed
	// Received is what the interface received by its own count, 0 when not told.
	Received uint64
	// Dropped are packets that the capture lost, and Lossy whether the file
	// tells that at all. DroppedOfAll is set when the file says that it counts
	// the packets of all interfaces of the section; the others tell nothing
	// then, unless it is 0.
	Dropped      uint64
	Lossy        bool
	DroppedOfAll bool
	// First and Last are the least and greatest time, 0 when there is none.
	First, Last int64
}

// Name is a name that the file gives to an address.
type Name struct {
	Addr netip.Addr
	Name string
}

// Comment is a comment of the file. Packet is the packet that it is about, 0
// for the file as a whole.
type Comment struct {
	Packet int
	Text   string
}

// Reader reads the packets of one capture, in the order of the file. It reads
// a damaged or truncated file as far as it goes, and tells in Remarks what was
// wrong. The time of a packet is 0 where the file tells none.
type Reader struct {
	source source
	in     io.Reader // what is in source, unpacked
	ended  bool      // in has no more
	failed error     // of source, which ends the packets
	done   bool      // nothing more can be read
	ng     bool
	classic

	rest   []byte // read and not yet parsed
	skip   uint64 // bytes of a block too large, not yet read
	offset int64  // of rest in the file
	number int    // of the last packet
	swap   bool   // the file or the section is big-endian

	section    int // of pcapng, from 1
	base       int // number in interfaces of the section's first
	own        sectionText
	interfaces []device
	names      names
	comments   []Comment
	text       int // bytes in comments
	remarks    []Remark
	noted      [problems]int // number from 1 in remarks
	truncated  bool
	damage     string // why no more can be unpacked

	batch Batch // for Next
	next  int
}

// Fill reads as many packets as fit the batch, and at least one. After the last
// it gives io.EOF; another error is one of reading, and what was read before it
// has been given.
func (r *Reader) Fill(b *Batch) error {
	b.Packets = b.Packets[:0]
	for len(b.Packets) == 0 {
		if r.done {
			return r.stop()
		}
		r.take(b, r.load(b))
	}
	return nil
}

// Next reads one packet. Its data is valid until the next call. Packets that
// Fill gave are not given again, nor the other way round.
func (r *Reader) Next() (Packet, error) {
	if r.next == len(r.batch.Packets) {
		r.next = 0
		if err := r.Fill(&r.batch); err != nil {
			return Packet{}, err
		}
	}
	r.next++
	return r.batch.Packets[r.next-1], nil
}

func (r *Reader) stop() error {
	if r.failed != nil {
		return r.failed
	}
	return io.EOF
}

// load fills the buffer of the batch: with the rest, and with what can be read.
func (r *Reader) load(b *Batch) int {
	if need := r.size(); cap(b.buffer) < need {
		b.buffer = make([]byte, need)
	} else {
		b.buffer = b.buffer[:need]
	}
	for r.skip > 0 && !r.ended {
		n := r.read(b.buffer[:min(r.skip, uint64(len(b.buffer)))])
		r.skip -= uint64(n)
		r.offset += int64(n)
	}
	n := copy(b.buffer, r.rest)
	return n + r.read(b.buffer[n:])
}

// size is that of the buffer to read into: more than usual when what is left
// did not get a packet done.
func (r *Reader) size() int {
	switch {
	case r.offset == 0 && len(r.rest) <= headSize:
		return smallBatch
	case len(r.rest) < smallBatch:
		return usualBatch
	}
	return batchSize
}

// read fills p, unless there is no more to read.
func (r *Reader) read(p []byte) int {
	n, empty := 0, 0
	for n < len(p) && !r.ended {
		m, err := r.in.Read(p[n:])
		n += m
		empty++
		if m > 0 {
			empty = 0
		}
		if err == nil && empty == 100 {
			r.source.err = io.ErrNoProgress
			err = io.ErrNoProgress
		}
		if err != nil {
			r.end(err)
		}
	}
	return n
}

// end keeps in mind that there is no more to read, and why.
func (r *Reader) end(err error) {
	r.ended = true
	from := r.source.err
	switch {
	case from != nil && from != io.EOF && !errors.Is(from, io.ErrUnexpectedEOF):
		r.failed = fmt.Errorf("reading a capture after packet %d, byte %d: %w", r.number, r.offset, from)
	case errors.Is(err, io.ErrUnexpectedEOF):
		r.truncated = true
	case err != io.EOF:
		r.damage = err.Error()
	}
}

// take parses what is in the buffer and keeps the rest.
func (r *Reader) take(b *Batch, n int) {
	parse := r.records
	if r.ng {
		parse = r.blocks
	}
	used := parse(b, b.buffer[:n])
	r.offset += int64(used)
	r.rest = append(r.rest[:0], b.buffer[used:n]...)
	if r.ended && !r.done {
		r.finish()
	}
}

// finish tells of what is left when the file has ended.
func (r *Reader) finish() {
	r.done = true
	at := r.offset + int64(len(r.rest))
	switch {
	case r.failed != nil:
	case r.damage != "":
		r.note(notUnpacked, at, "cannot be unpacked after byte %d (%s): what follows packet %d is lost", at, r.damage, r.number)
	case r.skip > 0:
		r.truncated = true
		r.note(cutOff, r.offset, "ends at byte %d, in the middle of a block that should have %d bytes more: the capture was cut off", r.offset, r.skip)
	case len(r.rest) > 0:
		r.truncated = true
		r.note(cutOff, r.offset, "ends at byte %d in the middle of %s, which begins at byte %d: the capture was cut off", at, r.unfinished(), r.offset)
	case r.truncated:
		r.note(cutOff, r.offset, "the packed file ends early, after packet %d: the capture was cut off", r.number)
	}
}

// unfinished says what the rest of a file is the begin of.
func (r *Reader) unfinished() string {
	switch {
	case r.offset == 0:
		return "the file header"
	case r.ng && (len(r.rest) < 4 || !isPacketBlock(r.u32(r.rest))):
		return "a block"
	}
	return fmt.Sprintf("packet %d", r.number+1)
}

// Interfaces are those of the file so far; after the last packet they are all.
func (r *Reader) Interfaces() []Interface {
	out := make([]Interface, len(r.interfaces))
	for i := range r.interfaces {
		out[i] = r.interfaces[i].summary()
	}
	r.share(out)
	return out
}

// Names are the addresses that name resolution blocks name, each pair once.
func (r *Reader) Names() []Name { return slices.Clone(r.names.list) }

// Comments are those of sections and packets.
func (r *Reader) Comments() []Comment { return slices.Clone(r.comments) }

// Remarks are what was wrong or skipped so far, the first of each kind in words.
func (r *Reader) Remarks() []Remark { return slices.Clone(r.remarks) }

// Truncated tells whether the file ends in the middle of something.
func (r *Reader) Truncated() bool { return r.truncated }
