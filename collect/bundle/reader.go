package bundle

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"time"
)

const doAgain = "copy or record it again"

// Reader gives the entries of a bundle one after the other. It is for one
// goroutine.
type Reader struct {
	guard *guard
	file  *os.File
	src   source
	err   error // sticky, io.EOF at the end
	given int

	seen     map[string]seen
	body     *body // of the current entry
	buf      *bufio.Reader
	inflater inflater

	manifest     *Manifest
	manifestPath string
	manifests    []string // all that are ours
	wrapper      string
	warnings     []string
	damaged      error
	sha          string
}

// source is a kind of bundle.
type source interface {
	// next gives io.EOF at the end; another error is damage, and also the end.
	next() (item, error)
	// finish reads and checks what stands behind the last entry, and gives the
	// hash of the bundle.
	finish(r *Reader) string
	close()
}

// item is something that stands in a bundle.
type item struct {
	name    string
	mod     time.Time
	body    io.Reader
	zip     bool    // names follow the rules for a zip
	plain   bool    // is decompressed already
	sum     *digest // of the body where the source makes it, else nil
	folder  bool
	skipped string // why it is no artifact; the bundle is still good
	unsafe  string // why the bundle is refused
}

// seen is what was read of an entry, as it is in the archive.
type seen struct {
	size  int64
	sum   [sha256.Size]byte
	whole bool
}

// Next gives the next entry: in the order of the archive, or sorted by path in
// a folder. It returns io.EOF at the end, also of a bundle that was cut, and an
// *Error when the bundle is unsafe, exceeds a limit, or holds nothing readable:
// then nothing of what was given before should be used.
func (r *Reader) Next() (*Entry, error) {
	for r.err == nil {
		if r.body != nil {
			r.body.finish()
			r.body = nil
		}
		it, err := r.src.next()
		switch {
		case r.guard.err != nil:
			r.err = r.guard.err
		case err != nil:
			if err != io.EOF {
				r.damage("", err)
			}
			r.err = r.end()
		default:
			e, err := r.accept(it)
			if err != nil {
				r.err = err
			} else if e != nil {
				r.given++
				return e, nil
			}
		}
	}
	return nil, r.err
}

// accept gives nil for what is no artifact.
func (r *Reader) accept(it item) (*Entry, error) {
	if err := r.guard.addEntry(it.name); err != nil {
		return nil, err
	}
	p, unsafe := cleanName(it.name, it.zip)
	if unsafe == "" {
		if isNoise(p) {
			return nil, nil
		}
		unsafe = it.unsafe
	}
	if unsafe == "" && p == "." && !it.folder {
		unsafe = "has no name"
	}
	if unsafe != "" {
		return nil, r.guard.fail(fmt.Sprintf("entry %q %s", it.name, unsafe), doCheck)
	}
	if it.folder {
		return nil, nil
	}
	if it.skipped != "" {
		r.warn("%s: %s", p, it.skipped)
		return nil, nil
	}
	if _, dup := r.seen[p]; dup {
		r.warn("%s: is in the bundle more than once; the first is used", p)
		return nil, nil
	}
	r.seen[p] = seen{}
	b := r.open(p, it)
	e := &Entry{Path: p, ModTime: it.mod, Reader: b}
	if !b.packed {
		e.SHA256 = b.sum.hex
	}
	if path.Base(p) == manifestName {
		ours, err := r.takeManifest(e)
		if ours || err != nil {
			return nil, err
		}
	}
	return e, nil
}

// end is the error that Next gives from here on.
func (r *Reader) end() error {
	r.sha = r.src.finish(r)
	if r.guard.err != nil {
		return r.guard.err
	}
	if r.damaged != nil && r.given == 0 && r.manifest == nil {
		var e *Error
		errors.As(r.damaged, &e)
		return r.guard.fail("nothing in it is readable: "+e.Why, doAgain)
	}
	for _, m := range r.manifests {
		delete(r.seen, m)
	}
	r.wrapper = wrapper(slices.Collect(maps.Keys(r.seen)), r.manifests)
	r.judge()
	return io.EOF
}

// damage keeps the first. The entry is empty when the archive itself broke.
func (r *Reader) damage(entry string, err error) {
	if r.damaged != nil {
		return
	}
	why := describe(err)
	if entry != "" {
		why = entry + ": " + why
	} else {
		r.warn("%s; what was readable is used", why)
	}
	r.damaged = &Error{Path: r.guard.path, Why: why, Do: doAgain + "; what was readable is used"}
}

func (r *Reader) warn(format string, args ...any) {
	r.warnings = append(r.warnings, printable(fmt.Sprintf(format, args...)))
}

// Manifest is nil when there is none. It is read wherever it stands, and Next
// does not return it. Only after io.EOF is it certain: a manifest that turns out
// to belong to one of several folders is dropped then.
func (r *Reader) Manifest() *Manifest { return r.manifest }

// Wrapper gives, after io.EOF, the folder or folders that wrap everything and
// name no host, without a trailing slash, and "" when there are none. Files
// about the bundle, such as a README, may stand outside of it.
func (r *Reader) Wrapper() string { return r.wrapper }

// Warnings tells what was refused, cut, twice there, or not as the manifest
// says. It is complete after io.EOF, sorted, and safe to print.
func (r *Reader) Warnings() []string {
	w := slices.Clone(r.warnings)
	slices.Sort(w)
	return slices.Compact(w)
}

// Damaged is not nil when the archive ended early or a checksum did not match.
// Next still gave what was readable.
func (r *Reader) Damaged() error { return r.damaged }

// SHA256 gives, after io.EOF, the hex hash of the bundle: of the file as it is,
// or of the sorted list of the files of a folder and their hashes.
func (r *Reader) SHA256() string { return r.sha }

// Close closes what Open opened.
func (r *Reader) Close() error {
	if r.src != nil {
		r.src.close()
	}
	r.inflater.close()
	if r.err == nil {
		r.err = os.ErrClosed
	}
	if r.file != nil {
		return r.file.Close()
	}
	return nil
}

// body is the content of the current entry on its way to the caller.
type body struct {
	r        *Reader
	path     string
	in       io.Reader // as in the archive
	sum      *digest   // of in
	summed   bool      // by the source
	size     int64     // of in
	archived error     // the archive broke inside this entry
	top      io.Reader // for the caller
	packed   bool      // top decompresses
	out      int64
	cut      bool
	err      error
}

var errStale = errors.New("bundle: an entry was read after the next one was asked for")

func (r *Reader) open(p string, it item) *body {
	b := &body{r: r, path: p, in: it.body, sum: it.sum, summed: it.sum != nil}
	if b.sum == nil {
		b.sum = newDigest()
	}
	r.body = b
	if r.buf == nil {
		r.buf = bufio.NewReaderSize(nil, 32<<10)
	}
	r.buf.Reset(archived{b})
	b.top = r.buf
	if !it.plain {
		top, packed, err := r.inflater.open(r.buf)
		if err != nil {
			top = broken{err}
		}
		b.top, b.packed = top, packed
	}
	return b
}

// Read ends with io.EOF also where the content was cut.
func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.top.Read(p)
	b.out += int64(n)
	g := b.r.guard
	if e := g.addOut(n, b.path, b.size, b.out); e != nil {
		b.err = e
		return 0, e
	}
	if err != nil && err != io.EOF {
		b.broke(err)
		err = io.EOF
	}
	b.err = err
	return n, err
}

func (b *body) broke(err error) {
	b.cut = true
	b.r.warn("%s: cut after %d bytes: %s", b.path, b.out, describe(err))
	if b.archived != nil {
		b.r.damage(b.path, b.archived)
	}
}

// finish reads the rest, so that all is checked whatever the caller read.
func (b *body) finish() {
	io.Copy(io.Discard, b)
	io.Copy(io.Discard, archived{b}) // what stands behind a compressed stream
	if b.archived != nil && !b.cut && b.r.guard.err == nil {
		b.broke(b.archived)
	}
	b.err = errStale
	s := seen{size: b.size, whole: b.archived == nil}
	s.sum = b.sum.sum()
	b.r.seen[b.path] = s
}

// archived is the side of a body that faces the archive.
type archived struct{ b *body }

func (a archived) Read(p []byte) (int, error) {
	n, err := a.b.in.Read(p)
	if !a.b.summed {
		a.b.sum.Write(p[:n])
	}
	a.b.size += int64(n)
	if e := a.b.r.guard.addPacked(n, a.b.path, a.b.size); e != nil {
		return 0, e
	}
	if err != nil && err != io.EOF {
		a.b.archived = err
	}
	return n, err
}

// broken is a compressed stream with a bad first header.
type broken struct{ err error }

func (e broken) Read([]byte) (int, error) { return 0, e.err }
