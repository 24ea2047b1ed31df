package bundle

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

type file struct{ name, text string }

var stamp = time.Date(2026, 11, 23, 8, 14, 0, 0, time.UTC)

func tarOf(t testing.TB, files ...file) []byte {
	t.Helper()
	var hs []tar.Header
	for _, f := range files {
		hs = append(hs, tar.Header{Typeflag: tar.TypeReg, Name: f.name, Size: int64(len(f.text)), Mode: 0o644, ModTime: stamp})
	}
	return tarHeaders(t, hs, files)
}

func tarHeaders(t testing.TB, hs []tar.Header, files []file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := range hs {
		must(t, w.WriteHeader(&hs[i]))
		if i < len(files) {
			_, err := io.WriteString(w, files[i].text)
			must(t, err)
		}
	}
	must(t, w.Close())
	return b.Bytes()
}

func gzOf(t testing.TB, in []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(in)
	must(t, err)
	must(t, w.Close())
	return b.Bytes()
}

// zstOf puts each part in a block of its own.
func zstOf(t testing.TB, parts ...[]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1))
	must(t, err)
	for _, p := range parts {
		_, err = w.Write(p)
		must(t, err)
		must(t, w.Flush())
	}
	must(t, w.Close())
	return b.Bytes()
}

func zipOf(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range files {
		e, err := w.CreateHeader(&zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: stamp})
		must(t, err)
		if f.text != "" || f.name[len(f.name)-1] != '/' {
			_, err = io.WriteString(e, f.text)
			must(t, err)
		}
	}
	must(t, w.Close())
	return b.Bytes()
}

func dirOf(t testing.TB, files ...file) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		p := filepath.Join(dir, filepath.FromSlash(f.name))
		must(t, os.MkdirAll(filepath.Dir(p), 0o755))
		must(t, os.WriteFile(p, []byte(f.text), 0o644))
	}
	return dir
}

func fileOf(t testing.TB, name string, b []byte) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	must(t, os.WriteFile(p, b, 0o644))
	return p
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// result is all that a bundle gives.
type result struct {
	files    []file
	manifest *Manifest
	wrapper  string
	warnings []string
	damaged  error
	sha      string
	err      error // nil for io.EOF
}

func (r result) text(name string) string {
	for _, f := range r.files {
		if f.name == name {
			return f.text
		}
	}
	return "(absent)"
}

func read(path string, stdin []byte, lim Limits) (res result) {
	r, err := Open(path, bytes.NewReader(stdin), lim)
	if err != nil {
		return result{err: err}
	}
	defer r.Close()
	return drain(r)
}

func drain(r *Reader) (res result) {
	for {
		e, err := r.Next()
		if err != nil {
			if err != io.EOF {
				res.err = err
			}
			break
		}
		text, _ := io.ReadAll(e)
		res.files = append(res.files, file{e.Path, string(text)})
	}
	res.manifest, res.wrapper, res.warnings = r.Manifest(), r.Wrapper(), r.Warnings()
	res.damaged, res.sha = r.Damaged(), r.SHA256()
	return res
}
