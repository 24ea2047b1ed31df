package bundle

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
)

const blockSize = 512

// tarSource is a tar, compressed or not.
type tarSource struct {
	s      *stream
	tr     *tar.Reader
	at     int64 // in the tar
	broken bool
	// endless: the tar stops at the end of an entry, but without the blocks of
	// zeros that end it. A plain tar that was cut between two entries, or a
	// program that forgot them.
	endless bool
}

func newTar(s *stream) *tarSource {
	t := &tarSource{s: s}
	t.tr = tar.NewReader(t)
	return t
}

// Read is for the tar reader.
func (t *tarSource) Read(p []byte) (int, error) {
	n, err := t.s.out.Read(p)
	t.at += int64(n)
	return n, err
}

func (t *tarSource) next() (item, error) {
	from := (t.at + blockSize - 1) / blockSize * blockSize
	h, err := t.tr.Next()
	if errors.Is(err, tar.ErrInsecurePath) { // GODEBUG; names are judged by cleanName
		err = nil
	}
	if err == io.EOF {
		t.endless = t.at-from < blockSize
	}
	if err != nil {
		t.broken = err != io.EOF
		return item{}, err
	}
	it := item{name: h.Name, mod: h.ModTime.UTC(), body: t.tr}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
	case tar.TypeDir, 'D': // D: a folder in an incremental backup of GNU tar
		it.folder = true
	case tar.TypeXGlobalHeader, 'V': // V: the label of a volume
		it.name, it.folder = ".", true
	case tar.TypeSymlink, tar.TypeLink:
		it.unsafe = "is a link"
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		it.unsafe = "is a device or a pipe"
	default:
		it.unsafe = fmt.Sprintf("has the unknown type %q", h.Typeflag)
	}
	return it, nil
}

func (t *tarSource) finish(r *Reader) string {
	if t.broken || r.guard.err != nil {
		return t.s.finish()
	}
	// The checksum of the compressor stands behind all this.
	var behind padding
	if _, err := io.Copy(&behind, t.s.out); err != nil {
		r.damage("", err)
	}
	switch {
	case behind.other > 0:
		r.warn("%d bytes behind the end of the archive were not read", behind.all)
	case t.endless && !t.s.packed:
		r.damage("", errors.New("has no end mark, so it may have been cut"))
	}
	return t.s.finish()
}

func (t *tarSource) close() { t.s.close() }

// padding counts what follows a tar, which should be zeros.
type padding struct{ all, other int64 }

func (c *padding) Write(p []byte) (int, error) {
	for _, b := range p {
		if b != 0 {
			c.other++
		}
	}
	c.all += int64(len(p))
	return len(p), nil
}
