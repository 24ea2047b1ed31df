package pcap

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Magic numbers of pcap, in the order of the host that wrote the file; and of
// pcapng, which reads the same in both orders.
const (
	magicMicro    = 0xa1b2c3d4
	magicNano     = 0xa1b23c4d
	magicModified = 0xa1b2cd34 // Alexey Kuznetsov's libpcap: longer record headers
	magicIxiaHard = 0x1c0001ac // Ixia's lcap: nanoseconds, a longer file header
	magicIxiaSoft = 0x1c0001ab
	magicSection  = 0x0a0d0d0a // Section Header Block
	magicOrder    = 0x1a2b3c4d // stands in it
)

const (
	// zstdWindow is what zstd itself accepts without being asked, and what
	// --long uses. It is also the memory that a hostile file can claim.
	zstdWindow   = 128 << 20
	packedBuffer = 64 << 10
	// headSize is read before anything is known. No magic is longer.
	headSize = 12
)

// SniffSize is the number of bytes that Sniff needs to be sure of every stream.
// A block of zstd is unpacked as a whole or not at all, and has up to 128 KiB.
const SniffSize = 132 << 10

// ErrNotCapture says that a stream is neither pcap nor pcapng, not even packed.
var ErrNotCapture = errors.New("not a packet capture (neither pcap nor pcapng)")

// Is tells whether a file that begins with these bytes, four or more, is pcap
// or pcapng.
func Is(magic []byte) bool {
	if len(magic) < 4 {
		return false
	}
	m := binary.LittleEndian.Uint32(magic)
	if m == magicSection {
		if len(magic) < 12 {
			return true
		}
		_, ok := sectionOrder(magic)
		return ok
	}
	return isClassic(m) || isClassic(bits.ReverseBytes32(m))
}

func isClassic(m uint32) bool {
	switch m {
	case magicMicro, magicNano, magicModified, magicIxiaHard, magicIxiaSoft:
		return true
	}
	return false
}

// sectionOrder tells by the magic inside a section header, of which there are
// twelve bytes, whether the section is big-endian.
func sectionOrder(head []byte) (swap, ok bool) {
	switch binary.LittleEndian.Uint32(head[8:]) {
	case magicOrder:
		return false, true
	case bits.ReverseBytes32(magicOrder):
		return true, true
	}
	return false, false
}

type packing uint8

const (
	plain packing = iota
	gzipped
	zstandard
)

func packingOf(head []byte) packing {
	switch {
	case len(head) < 4:
		return plain
	// The third byte is the only method there is; the fourth has reserved bits.
	case bytes.HasPrefix(head, []byte("\x1f\x8b\x08")) && head[3]&0xe0 == 0:
		return gzipped
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")):
		return zstandard
	// A frame to be skipped, which pzstd and others put before the first.
	case head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], []byte("\x2a\x4d\x18")):
		return zstandard
	}
	return plain
}

// unpack gives a reader of what is inside a packed stream.
func unpack(in io.Reader, p packing) (io.Reader, error) {
	switch p {
	case gzipped:
		return gzip.NewReader(in)
	case zstandard:
		// One at a time: more would decode ahead in goroutines.
		d, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return nil, err
		}
		return d, nil
	}
	return in, nil
}

// Sniff tells whether a stream that begins with these bytes is a capture, or
// one that was packed with gzip or zstd. The bytes may end anywhere. Four are
// enough for what is not packed, and some hundred for gzip; of zstd the answer
// is false as long as the first block, of up to SniffSize, is not whole. A stream
// of zstd may take as much memory as the window that it asks for, up to 128 MiB.
func Sniff(prefix []byte) bool {
	p := packingOf(prefix)
	if p == plain {
		return Is(prefix)
	}
	in, err := unpack(bytes.NewReader(prefix), p)
	if err != nil {
		return false
	}
	head := make([]byte, headSize)
	n, _ := io.ReadFull(in, head) // that it ends early says nothing
	if d, ok := in.(*zstd.Decoder); ok {
		d.Close()
	}
	return Is(head[:n])
}

// source remembers the error of what is read from, since those of a broken
// packing mean something else.
type source struct {
	in  io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.in.Read(p)
	if err != nil {
		s.err = err
	}
	return n, err
}

// Open reads the begin of a capture, packed with gzip or zstd or not. It never
// seeks. The error wraps ErrNotCapture, or it is one of in; what else is wrong
// is told by Remarks. A file that is broken before its first packet is one
// without packets.
func Open(in io.Reader) (*Reader, error) {
	r := &Reader{source: source{in: in}}
	r.in = &r.source
	head := make([]byte, headSize)
	n := r.read(head)
	if p := packingOf(head[:n]); p != plain && r.failed == nil {
		packed := io.MultiReader(bytes.NewReader(head[:n]), &r.source)
		inside, err := unpack(bufio.NewReaderSize(packed, packedBuffer), p)
		if err != nil {
			if r.end(err); r.failed != nil {
				return nil, r.failed
			}
			return nil, fmt.Errorf("%w: it begins with % x and cannot be unpacked: %v", ErrNotCapture, head[:n], err)
		}
		r.in, r.ended, head = inside, false, make([]byte, headSize)
		n = r.read(head)
	}
	switch r.rest = head[:n]; {
	case r.failed != nil:
		return nil, r.failed
	case Is(r.rest):
		r.ng = binary.LittleEndian.Uint32(head) == magicSection
		return r, nil
	case r.damage != "":
		return nil, fmt.Errorf("%w: it cannot be unpacked: %s", ErrNotCapture, r.damage)
	case r.truncated:
		return nil, fmt.Errorf("%w: it was packed, and ends before it can be known", ErrNotCapture)
	case n == 0:
		return nil, fmt.Errorf("%w: it is empty", ErrNotCapture)
	}
	return nil, fmt.Errorf("%w: it begins with % x", ErrNotCapture, r.rest)
}
