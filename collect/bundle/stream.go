package bundle

import (
	"archive/zip"
	"bufio"
	"bytes"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// zstdWindow is what zstd itself accepts without being asked, and what
// --long uses. It is also the memory that a hostile file can claim.
const zstdWindow = 128 << 20

// inflater decompresses one thing after the other, and keeps the buffers.
type inflater struct {
	gz  *gzip.Reader
	zst *zstd.Decoder
}

// open tells by the content whether there is something to decompress.
func (i *inflater) open(in *bufio.Reader) (out io.Reader, packed bool, err error) {
	head, _ := in.Peek(4)
	switch {
	// The third byte is the only method there is; the fourth has reserved bits.
	case len(head) == 4 && bytes.HasPrefix(head, []byte("\x1f\x8b\x08")) && head[3]&0xe0 == 0:
		if i.gz == nil {
			i.gz = new(gzip.Reader)
		}
		if err := i.gz.Reset(in); err != nil {
			return nil, true, noEOF(err)
		}
		return i.gz, true, nil
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")), isSkippable(head):
		if i.zst == nil {
			// One at a time: more would decode ahead in goroutines, past what
			// the limits have judged.
			i.zst, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1),
				zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindow))
			if err != nil {
				return nil, true, err
			}
		}
		if err := i.zst.Reset(in); err != nil {
			return nil, true, noEOF(err)
		}
		return i.zst, true, nil
	}
	return in, false, nil
}

// isSkippable tells the frame that pzstd and others put before the first.
func isSkippable(head []byte) bool {
	return len(head) == 4 && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:], []byte("\x2a\x4d\x18"))
}

func (i *inflater) close() {
	if i.zst != nil {
		i.zst.Close()
	}
}

// noEOF is for places where an end is always too early.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// describe gives the words for what is wrong with a file.
func describe(err error) string {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "ends early"
	case errors.Is(err, gzip.ErrChecksum), errors.Is(err, zstd.ErrCRCMismatch), errors.Is(err, zip.ErrChecksum):
		return "the checksum does not match"
	}
	return err.Error()
}

// stream is a bundle that is read from its first byte to its last: counted and
// hashed as it is on disk, then decompressed and counted again.
type stream struct {
	sum    *digest
	raw    *bufio.Reader // as on disk
	out    *bufio.Reader // decompressed
	packed bool
	inflater
}

func newStream(in io.Reader, g *guard) *stream {
	s := &stream{sum: newDigest()}
	in = io.TeeReader(&disk{in: in, g: g}, s.sum)
	s.raw = bufio.NewReaderSize(&meter{in: in, add: g.addRaw}, 64<<10)
	return s
}

// decompress sets out.
func (s *stream) decompress(g *guard) error {
	in, packed, err := s.inflater.open(s.raw)
	if err != nil {
		return err
	}
	s.packed = packed
	s.out = bufio.NewReaderSize(&meter{in: in, add: g.addStream}, 64<<10)
	return nil
}

// finish reads what is left on disk and gives the hash of all of it.
func (s *stream) finish() string {
	io.Copy(io.Discard, s.raw) // an error is in the guard
	return s.sum.hex()
}
