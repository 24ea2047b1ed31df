package bundle

import (
	"archive/zip"
	"bufio"
	"compress/flate"
	"encoding/binary"
	"errors"
	"hash"
	"hash/crc32"
	"io"
)

// zipScan reads a zip that lost its directory, from one local header to the
// next. What only the directory tells, such as which entry is a link, is lost;
// a link then is a small file that holds its target.
type zipScan struct {
	zipFile
	in  *bufio.Reader
	cur *scanBody
	end bool
}

func newZipScan(f zipFile) *zipScan {
	z := &zipScan{zipFile: f}
	z.in = bufio.NewReaderSize(io.NewSectionReader(&z.zipFile, 0, f.size), 64<<10)
	return z
}

const (
	localSize = 30
	localSig  = "PK\x03\x04"
	descSig   = "PK\x07\x08"
)

// next never gives damage: that was noted when the directory was not found.
func (z *zipScan) next() (item, error) {
	if z.cur != nil {
		io.Copy(io.Discard, z.cur) // when it was skipped as a duplicate
		z.cur = nil
	}
	if z.end {
		return item{}, io.EOF
	}
	h := make([]byte, localSize)
	if _, err := io.ReadFull(z.in, h); err != nil || string(h[:4]) != localSig {
		z.end = true
		return item{}, io.EOF
	}
	le := binary.LittleEndian
	flags, method := le.Uint16(h[6:]), le.Uint16(h[8:])
	crc, size := le.Uint32(h[14:]), le.Uint32(h[18:])
	name := make([]byte, le.Uint16(h[26:]))
	_, err := io.ReadFull(z.in, name)
	if err == nil {
		_, err = z.in.Discard(int(le.Uint16(h[28:])))
	}
	if err != nil {
		z.end = true
		return item{}, io.EOF
	}
	it := item{name: string(name), zip: true}
	it.folder = len(name) > 0 && name[len(name)-1] == '/'
	b := &scanBody{z: z, want: crc, sum: crc32.NewIEEE(), desc: flags&8 != 0}
	switch {
	case flags&1 != 0 || method != zip.Store && method != zip.Deflate || method == zip.Store && b.desc:
		// Where it ends cannot be told, so nothing after it can be found.
		it.skipped = "encrypted or compressed in a way that cannot be read without the directory of the zip"
		z.end = true
		return it, nil
	case method == zip.Store:
		b.left = int64(size)
		b.in = io.LimitReader(z.in, b.left)
	default: // deflate knows its end, and reads no byte too many from a bufio.Reader
		b.in = flate.NewReader(z.in)
	}
	z.cur = b
	it.body = b
	return it, nil
}

// scanBody is the content behind one local header.
type scanBody struct {
	z    *zipScan
	in   io.Reader
	left int64 // of a stored entry
	want uint32
	sum  hash.Hash32
	desc bool // the checksum stands behind the content
	err  error
}

func (b *scanBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.in.Read(p)
	b.sum.Write(p[:n])
	b.left -= int64(n)
	if e := b.z.g.addStream(n); e != nil {
		err = e
	}
	if err == io.EOF {
		err = b.check()
	}
	if err != nil && err != io.EOF {
		b.z.end = true
	}
	b.err = err
	return n, err
}

// check gives io.EOF when the content was whole.
func (b *scanBody) check() error {
	if b.left > 0 {
		return io.ErrUnexpectedEOF
	}
	if b.desc {
		if err := b.descriptor(); err != nil {
			return err
		}
	}
	if b.want != b.sum.Sum32() {
		return zip.ErrChecksum
	}
	return io.EOF
}

// descriptor reads what follows content of a size unknown when it was written:
// a signature that may be absent, the checksum, and two sizes of 4 or, unsaid,
// 8 bytes.
func (b *scanBody) descriptor() error {
	p, _ := b.z.in.Peek(28)
	off := 0
	if len(p) >= 4 && string(p[:4]) == descSig {
		off = 4
	}
	if len(p) < off+12 {
		return io.ErrUnexpectedEOF
	}
	b.want = binary.LittleEndian.Uint32(p[off:])
	for _, n := range []int{off + 12, off + 20} {
		if len(p) < n+2 || string(p[n:n+2]) == "PK" {
			_, err := b.z.in.Discard(min(n, len(p)))
			return err
		}
	}
	return errors.New("the next entry was not found")
}
