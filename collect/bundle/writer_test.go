package bundle

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
)

// writeAll writes the test's files and gives the manifest that lists them.
func writeAll(t *testing.T, w *Writer) *Manifest {
	m := &Manifest{Created: stamp, Note: "ticket"}
	for _, f := range pieces {
		size, sum, err := w.Add(f.name, strings.NewReader(f.text))
		must(t, err)
		m.Artifacts = append(m.Artifacts, Artifact{Path: f.name, Size: size, SHA256: sum, Started: stamp})
	}
	return m
}

func TestWriter(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "bundle.tar.gz")
	must(t, os.WriteFile(path, []byte("old"), 0o644))
	w, err := Create(path, nil, "bundle")
	must(t, err)
	m := writeAll(t, w)
	if b, _ := os.ReadFile(path); string(b) != "old" {
		t.Error("the file changed before Close")
	}
	if _, _, err := w.Add("n/part", io.MultiReader(strings.NewReader("lost"), failing{})); !errors.Is(err, errDisk) {
		t.Errorf("a reader that breaks: %v", err)
	}
	_, _, err = w.Add("n/part", strings.NewReader("second try"))
	must(t, err)
	for _, bad := range []string{"", ".", "../x", "/x", "a//b", "n/a.txt", "manifest.yaml", "a\nb", `a\b`, "._x"} {
		if _, _, err := w.Add(bad, strings.NewReader("")); err == nil {
			t.Errorf("%q was added", bad)
		}
	}
	must(t, w.Close(m))
	if err := w.Close(m); !errors.Is(err, os.ErrClosed) {
		t.Errorf("closed twice: %v", err)
	}
	must(t, w.Abort())

	info, err := os.Stat(path)
	must(t, err)
	if info.Mode() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("files left: %v", left)
	}
	res := read(path, nil, Limits{})
	if res.err != nil || res.damaged != nil || len(res.warnings) > 0 || res.wrapper != "bundle" || res.manifest.Note != "ticket" {
		t.Errorf("%+v", res)
	}
	var want []file
	for _, f := range append(slices.Clone(pieces), file{"n/part", "second try"}) {
		want = append(want, file{"bundle/" + f.name, f.text})
	}
	if !slices.Equal(res.files, want) {
		t.Errorf("files %q", res.files)
	}
	b, err := os.ReadFile(path)
	must(t, err)
	gz, err := gzip.NewReader(bytes.NewReader(b))
	must(t, err)
	gz.Multistream(false) // one member: some readers know no more
	h, err := tar.NewReader(gz).Next()
	must(t, err)
	if h.Name != "bundle/manifest.yaml" || !h.ModTime.Equal(stamp) {
		t.Errorf("first in the archive: %+v", h)
	}
}

func TestWriterToStdout(t *testing.T) {
	var one, two bytes.Buffer
	for _, b := range []*bytes.Buffer{&one, &two} {
		w, err := Create("-", b, "bundle")
		must(t, err)
		must(t, w.Close(writeAll(t, w)))
	}
	if !bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Error("the same bundle has other bytes")
	}
	if res := read("-", one.Bytes(), Limits{}); res.err != nil || len(res.files) != 3 || res.manifest == nil {
		t.Errorf("%+v", res)
	}
	w, err := Create("-", failing{}, "bundle")
	must(t, err)
	if err := w.Close(writeAll(t, w)); !errors.Is(err, errDisk) {
		t.Errorf("stdout broke: %v", err)
	}
}

func (failing) Write([]byte) (int, error) { return 0, errDisk }

func TestWriterRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{dir, filepath.Join(dir, "absent", "b.tar.gz"), os.DevNull} {
		if w, err := Create(path, nil, "bundle"); err == nil {
			w.Abort()
			t.Errorf("%s was created", path)
		}
	}
	for _, top := range []string{"", ".", "..", "a/b", "/a", "a/", "a\nb"} {
		if w, err := Create("-", io.Discard, top); err == nil {
			w.Abort()
			t.Errorf("top folder %q was taken", top)
		}
	}
	path := filepath.Join(dir, "b.tar.gz")
	w, err := Create(path, nil, "bundle")
	must(t, err)
	writeAll(t, w)
	must(t, w.Abort())
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("after Abort: %v", left)
	}
	if _, _, err := w.Add("x", strings.NewReader("")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("added after Abort: %v", err)
	}
}
