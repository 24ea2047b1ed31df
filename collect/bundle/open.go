package bundle

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// stdinZip bounds a zip that does not come from a file: its directory stands
// at its end, so that it must be kept whole.
const stdinZip = 256 << 20

// Open opens a bundle: an archive (.tar, .tar.gz, .tar.zst, .zip, told by the
// content), a folder, a single file, which may be compressed with gzip or zstd,
// or "-" for stdin. A path that cannot be opened gives the error of package os;
// a bundle that cannot be read gives an *Error.
func Open(path string, stdin io.Reader, lim Limits) (*Reader, error) {
	g := &guard{path: path, lim: lim.withDefaults()}
	r := &Reader{guard: g, seen: map[string]seen{}}
	var err error
	if path == "-" {
		g.path = "standard input"
		err = r.openStream(stdin, "stdin", time.Time{})
	} else {
		err = r.openPath(path)
	}
	if g.err != nil {
		err = g.err
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (r *Reader) openPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	r.file = f
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.IsDir() {
		r.src, err = openDir(path, r.guard)
		return err
	}
	mod := info.ModTime().UTC()
	if !info.Mode().IsRegular() { // a pipe, as from <(...)
		return r.openStream(f, filepath.Base(path), mod)
	}
	head := make([]byte, 4)
	n, err := f.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return err
	}
	if isZip(head[:n]) {
		r.src, err = r.openZip(f, info.Size())
		return err
	}
	return r.openStream(f, filepath.Base(path), mod)
}

func (r *Reader) openStream(in io.Reader, name string, mod time.Time) error {
	g := r.guard
	s := newStream(in, g)
	r.src = &singleSource{s: s} // so that Close finds the stream
	head, _ := s.raw.Peek(8)
	if g.err != nil {
		return g.err
	}
	if isZip(head) {
		return r.spoolZip(s)
	}
	if how := foreign(head); how != "" {
		return g.fail("is "+how+", which is not read", "unpack it first")
	}
	if err := s.decompress(g); err != nil {
		return g.fail(describe(err), doAgain)
	}
	head, err := s.out.Peek(512)
	if g.err != nil {
		return g.err
	}
	// What is left of a tar's header when the compressed stream broke in it
	// would pass for a file with NULs.
	if err != nil && err != io.EOF && (len(head) == 0 || bytes.IndexByte(head, 0) >= 0 && !isTar(head)) {
		return g.fail("nothing in it is readable: "+describe(err), doAgain)
	}
	if isTar(head) {
		r.src = newTar(s)
	} else {
		r.src = &singleSource{s: s, name: name, mod: mod}
	}
	return nil
}

// spoolZip keeps a zip from a pipe in memory.
func (r *Reader) spoolZip(s *stream) error {
	b, err := io.ReadAll(io.LimitReader(s.raw, stdinZip+1))
	if err != nil {
		return err
	}
	if len(b) > stdinZip {
		return r.guard.fail(fmt.Sprintf("is a zip of more than %d bytes from a pipe", stdinZip), "save it to a file and open that")
	}
	r.guard.raw = 0 // the zip counts its own reading
	r.src, err = r.openZip(bytes.NewReader(b), int64(len(b)))
	return err
}

func isZip(head []byte) bool {
	return bytes.HasPrefix(head, []byte("PK\x03\x04")) || bytes.HasPrefix(head, []byte("PK\x05\x06"))
}

// foreign names the containers that people do send, and that would otherwise
// pass for a single file that nobody understands.
func foreign(head []byte) string {
	for _, f := range []struct{ magic, name string }{
		{"\xfd7zXZ\x00", "compressed with xz"},
		{"BZh", "compressed with bzip2"},
		{"7z\xbc\xaf\x27\x1c", "a 7z archive"},
		{"Rar!\x1a\x07", "a RAR archive"},
	} {
		if bytes.HasPrefix(head, []byte(f.magic)) {
			return f.name
		}
	}
	return ""
}

// isTar looks for the mark of all tars since 1988, or for the checksum that
// the older have too.
func isTar(head []byte) bool {
	if len(head) >= 262 && bytes.Equal(head[257:262], []byte("ustar")) {
		return true
	}
	if len(head) < 512 || head[0] == 0 {
		return false
	}
	field := bytes.Trim(head[148:156], " \x00")
	want, err := strconv.ParseInt(string(field), 8, 32)
	if err != nil {
		return false
	}
	sum := int64(8 * ' ') // the field itself counts as blanks
	for i, c := range head[:512] {
		if i < 148 || i >= 156 {
			sum += int64(c)
		}
	}
	return sum == want
}

// singleSource is a bundle of one file.
type singleSource struct {
	s    *stream
	name string
	mod  time.Time
	done bool
}

func (f *singleSource) next() (item, error) {
	if f.done {
		return item{}, io.EOF
	}
	f.done = true
	it := item{name: f.name, mod: f.mod, body: f.s.out, plain: true}
	if !f.s.packed {
		it.sum = f.s.sum
	}
	return it, nil
}

func (f *singleSource) finish(*Reader) string { return f.s.finish() }
func (f *singleSource) close()                { f.s.close() }
