package bundle

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/klauspost/compress/zstd"
)

// zipFile counts how often the file is read. Entries that share their bytes are
// a known bomb, so that re-reading must not pay for more output.
type zipFile struct {
	at     io.ReaderAt
	size   int64
	g      *guard
	read   int64
	budget int64 // of read, while the directory is read; 0 is none
}

func (z *zipFile) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > z.size { // the directory says where
		return 0, io.ErrUnexpectedEOF
	}
	n, err := z.at.ReadAt(p, off)
	z.read += int64(n)
	z.g.raw = min(z.read, z.size)
	if err != nil && err != io.EOF && z.g.err == nil {
		z.g.err = err
	}
	if z.budget > 0 && z.read > z.budget {
		return 0, z.g.fail(fmt.Sprintf("has a directory of more than %d bytes", z.budget), doPart)
	}
	return n, err
}

// finish hashes the file in a second pass: a zip is not read in order.
func (z *zipFile) finish(*Reader) string {
	sum := sha256.New()
	io.Copy(sum, &disk{in: io.NewSectionReader(z.at, 0, z.size), g: z.g})
	return hex.EncodeToString(sum.Sum(nil))
}

func (z *zipFile) close() {}

// zipSource is a zip with its directory.
type zipSource struct {
	zipFile
	zr *zip.Reader
	i  int
}

// openZip falls back to the headers before each entry when the directory, which
// stands at the end, is gone.
func (r *Reader) openZip(at io.ReaderAt, size int64) (source, error) {
	g := r.guard
	z := &zipSource{zipFile: zipFile{at: at, size: size, g: g}}
	// The library keeps the whole directory, some ten times its size. 128 bytes
	// for an entry are a usual name and what belongs to it.
	z.budget = 1<<20 + 128*int64(g.lim.Entries)
	var err error
	z.zr, err = zip.NewReader(&z.zipFile, size)
	z.budget = 0
	switch {
	case g.err != nil:
		return nil, g.err
	case errors.Is(err, zip.ErrInsecurePath): // GODEBUG; names are judged by cleanName
	case err != nil:
		r.damage("", errors.New("has no whole directory at its end, so it was cut"))
		return newZipScan(zipFile{at: at, size: size, g: g}), nil
	}
	z.zr.RegisterDecompressor(zstd.ZipMethodWinZip, zstd.ZipDecompressor(
		zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindow)))
	return z, nil
}

func (z *zipSource) next() (item, error) {
	if z.i == len(z.zr.File) {
		return item{}, io.EOF
	}
	f := z.zr.File[z.i]
	z.i++
	it := item{name: f.Name, mod: f.Modified.UTC(), zip: true}
	switch mode := f.Mode(); {
	case mode.IsDir():
		it.folder = true
	case mode&fs.ModeSymlink != 0:
		it.unsafe = "is a link"
	case !mode.IsRegular():
		it.unsafe = "is a device or a pipe"
	case f.Flags&1 != 0:
		it.skipped = "encrypted, so not read"
	}
	if it.folder || it.unsafe != "" || it.skipped != "" {
		return it, nil
	}
	body, err := f.Open()
	switch {
	case errors.Is(err, zip.ErrAlgorithm):
		it.skipped = fmt.Sprintf("compressed with method %d, so not read", f.Method)
	case err != nil:
		it.body = broken{noEOF(err)}
	default:
		it.body = &meter{in: body, add: z.g.addStream}
	}
	return it, nil
}
