package bundle

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Writer writes a bundle.tar.gz. The manifest stands first in it but is known
// last, so the entries wait in a spool: a compressed temporary file that has no
// name any more. It is for one goroutine, and ends with Close or Abort.
type Writer struct {
	path   string // "-" for stdout
	stdout io.Writer
	top    string
	spool  *os.File
	named  string // the spool, where a file that is open cannot be removed
	zst    *zstd.Encoder
	added  []added
	names  map[string]bool
	err    error // sticky: of the spool
	done   bool
}

// added is a piece of the spool. One that broke is no entry.
type added struct {
	name string
	size int64
	at   time.Time
	ok   bool
}

// Create prepares a bundle with one top folder. Nothing appears at path before
// Close, but a place that cannot be written to is reported now. With "-" the
// bundle goes to stdout.
func Create(path string, stdout io.Writer, top string) (*Writer, error) {
	if clean, unsafe := cleanName(top, true); unsafe != "" || clean != top || top == "." || strings.Contains(top, "/") {
		return nil, fmt.Errorf("%q: is no name for a folder", top)
	}
	w := &Writer{path: path, stdout: stdout, top: top, names: map[string]bool{}}
	dir := os.TempDir()
	if path != "-" {
		// A rename would replace a device such as /dev/stdout with a file.
		if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%s: is no regular file; name a file, or - for standard output", path)
		}
		dir = filepath.Dir(path)
	}
	var err error
	if w.spool, w.named, err = createUnnamed(dir); err != nil {
		return nil, err
	}
	if w.named != "" && os.Remove(w.named) == nil {
		w.named = ""
	}
	w.zst, err = zstd.NewWriter(w.spool, zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
	if err != nil {
		w.Abort()
		return nil, err
	}
	return w, nil
}

// Add adds an entry, with a path below the top folder, and gives what the
// manifest says about it. An error of r leaves the entry out of the bundle, and
// the next can still be added; so let r end with io.EOF to keep a part.
func (w *Writer) Add(name string, r io.Reader) (size int64, sum string, err error) {
	switch clean, unsafe := cleanName(name, true); {
	case w.done:
		return 0, "", os.ErrClosed
	case w.err != nil:
		return 0, "", w.err
	case unsafe != "":
		return 0, "", fmt.Errorf("%q: %s", name, unsafe)
	case clean != name || name == "." || name == manifestName || isNoise(name):
		return 0, "", fmt.Errorf("%s: is no path for an entry of a bundle", name)
	case w.names[name]:
		return 0, "", fmt.Errorf("%s: is in the bundle already", name)
	}
	h := sha256.New()
	at := time.Now()
	src := &sourceError{in: r}
	size, err = io.Copy(io.MultiWriter(w.zst, h), src)
	if err != nil && src.err == nil {
		w.err = fmt.Errorf("%s: %w", w.path, err)
		return size, "", w.err
	}
	w.added = append(w.added, added{name, size, at, err == nil})
	if err != nil {
		return size, "", fmt.Errorf("%s: %w", name, err)
	}
	w.names[name] = true
	return size, fmt.Sprintf("%x", h.Sum(nil)), nil
}

// sourceError tells an error of reading from one of writing.
type sourceError struct {
	in  io.Reader
	err error
}

func (s *sourceError) Read(p []byte) (int, error) {
	n, err := s.in.Read(p)
	if err != io.EOF {
		s.err = err
	}
	return n, err
}

// Close writes the bundle: whole and with mode 0600, or not at all.
func (w *Writer) Close(m *Manifest) error {
	if w.done {
		return os.ErrClosed
	}
	defer w.Abort()
	if w.err != nil {
		return w.err
	}
	text, err := m.encode()
	if err != nil {
		return fmt.Errorf("%s: %w", manifestName, err)
	}
	if err := w.zst.Close(); err != nil {
		return fmt.Errorf("%s: %w", w.path, err)
	}
	if w.path == "-" {
		return w.write(w.stdout, m, text)
	}
	out, named, err := createUnnamed(filepath.Dir(w.path))
	if err != nil {
		return err
	}
	defer out.Close()
	if err = w.write(out, m, text); err == nil {
		err = out.Sync()
	}
	if err == nil {
		named, err = giveName(out, named, filepath.Dir(w.path))
	}
	if err == nil {
		err = os.Rename(named, w.path)
	}
	if err != nil && named != "" {
		os.Remove(named)
	}
	return err
}

// write copies the spool behind the manifest.
func (w *Writer) write(out io.Writer, m *Manifest, text []byte) error {
	if _, err := w.spool.Seek(0, io.SeekStart); err != nil {
		return err
	}
	spool, err := zstd.NewReader(w.spool, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
	if err != nil {
		return err
	}
	defer spool.Close()
	started := map[string]time.Time{}
	for _, a := range m.Artifacts {
		started[a.Path] = a.Started
	}
	gz := gzip.NewWriter(out)
	tw := tar.NewWriter(gz)
	if err := w.header(tw, manifestName, int64(len(text)), m.Created); err != nil {
		return err
	}
	if _, err := tw.Write(text); err != nil {
		return err
	}
	for _, a := range w.added {
		if !a.ok {
			if _, err := io.CopyN(io.Discard, spool, a.size); err != nil {
				return err
			}
			continue
		}
		if t := started[a.name]; !t.IsZero() {
			a.at = t
		}
		if err := w.header(tw, a.name, a.size, a.at); err != nil {
			return err
		}
		if _, err := io.CopyN(tw, spool, a.size); err != nil {
			return err
		}
	}
	return errors.Join(tw.Close(), gz.Close())
}

func (w *Writer) header(tw *tar.Writer, name string, size int64, at time.Time) error {
	return tw.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: path.Join(w.top, name), Size: size, Mode: 0o600, ModTime: at,
	})
}

// Abort drops the bundle. After Close it does nothing.
func (w *Writer) Abort() error {
	if w.done {
		return nil
	}
	w.done = true
	err := w.spool.Close()
	if w.named != "" {
		os.Remove(w.named)
	}
	return err
}
