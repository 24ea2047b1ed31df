package bundle

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func TestUnsafeNames(t *testing.T) {
	everywhere := []string{"/etc/passwd", "../x", "a/../../x", "a/..", "a/../b", "..", "a\nb", "a\x1b[31m", "a\x7f", "a\u009b1m", "a\u202eb"}
	zipOnly := []string{`a\b`, `..\x`, `C:\x`, "C:/x", "c:x", `\\server\share`, "a\x00b"}
	for _, name := range append(everywhere, zipOnly...) {
		wantRefused(t, fmt.Sprintf("zip with %q", name), zipOf(t, file{"ok", "x"}, file{name, "x"}), "entry ")
	}
	for _, name := range everywhere {
		wantRefused(t, fmt.Sprintf("tar with %q", name), tarOf(t, file{"ok", "x"}, file{name, "x"}), "entry ")
	}
	// A folder, and what is skipped, are judged like a file.
	hs := []tar.Header{{Typeflag: tar.TypeDir, Name: "../x/"}}
	wantRefused(t, "folder", tarHeaders(t, hs, nil), "leads out")
	wantRefused(t, "noise", tarOf(t, file{"../._x", "x"}), "leads out")
	for _, name := range []string{`unit\x2dname.service`, "a..b", "...", "C:/x", "a:b"} {
		if res := read("-", tarOf(t, file{name, "x"}), Limits{}); res.err != nil || res.text(name) != "x" {
			t.Errorf("tar with %q: %+v", name, res)
		}
	}
}

func wantRefused(t *testing.T, what string, b []byte, why string) {
	t.Helper()
	var e *Error
	res := read("-", b, Limits{})
	if !errors.As(res.err, &e) || !strings.Contains(e.Why, why) {
		t.Errorf("%s: %v", what, res.err)
		return
	}
	if s := res.err.Error(); s != printable(s) || e.Do == "" || !strings.HasPrefix(s, "standard input: ") {
		t.Errorf("%s: text %q", what, s)
	}
}

func TestUnsafeTypes(t *testing.T) {
	for _, h := range []tar.Header{
		{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "/etc/passwd"},
		{Typeflag: tar.TypeLink, Name: "l", Linkname: "ok"},
		{Typeflag: tar.TypeChar, Name: "l"},
		{Typeflag: tar.TypeBlock, Name: "l"},
		{Typeflag: tar.TypeFifo, Name: "l"},
		{Typeflag: 'M', Name: "l"},
	} {
		wantRefused(t, fmt.Sprintf("tar type %q", h.Typeflag), tarHeaders(t, []tar.Header{h}, nil), `entry "l"`)
	}
	for _, mode := range []fs.FileMode{fs.ModeSymlink, fs.ModeNamedPipe, fs.ModeDevice} {
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		h := &zip.FileHeader{Name: "l"}
		h.SetMode(mode | 0o777)
		_, err := w.CreateHeader(h)
		must(t, err)
		must(t, w.Close())
		wantRefused(t, mode.String(), b.Bytes(), `entry "l"`)
	}
	dir := dirOf(t, file{"ok", "x"})
	if err := os.WriteFile(filepath.Join(dir, "a\nb"), nil, 0o644); err == nil {
		var e *Error
		if res := read(dir, nil, Limits{}); !errors.As(res.err, &e) {
			t.Errorf("control character in a folder: %v", res.err)
		}
	}
}

func TestLimits(t *testing.T) {
	text := strings.Repeat("x", 1000)
	in := []file{{"a", text}, {"b/c", text}, {"d", text}}
	for _, c := range []struct {
		lim Limits
		why string
	}{
		{Limits{Entries: 2}, "has more than 2 entries"},
		{Limits{EntrySize: 999}, `entry "a" has more than 999 bytes`},
		{Limits{TotalSize: 2999}, "has more than 2999 bytes in all"},
		{Limits{NameLength: 2}, "an entry has a name of 3 bytes, more than 2"},
	} {
		for kind, path := range map[string]string{
			"tar": fileOf(t, "b", tarOf(t, in...)), "tar.gz": fileOf(t, "b", gzOf(t, tarOf(t, in...))),
			"zip": fileOf(t, "b", zipOf(t, in...)), "folder": dirOf(t, in...),
		} {
			var e *Error
			if res := read(path, nil, c.lim); !errors.As(res.err, &e) || e.Why != c.why || e.Path != path {
				t.Errorf("%s, %+v: %v", kind, c.lim, res.err)
			}
		}
	}
	exact := Limits{Entries: 4, EntrySize: 1000, NameLength: 3}
	if res := read("-", tarOf(t, in...), exact); res.err != nil {
		t.Error(res.err)
	}
	// The limit is exceeded in an entry: its reader must say so.
	r, err := Open("-", bytes.NewReader(tarOf(t, in...)), Limits{EntrySize: 10})
	must(t, err)
	entry, err := r.Next()
	must(t, err)
	var e *Error
	if _, err := io.ReadAll(entry); !errors.As(err, &e) {
		t.Errorf("body: %v", err)
	}
	if _, err := r.Next(); !errors.As(err, &e) {
		t.Errorf("next: %v", err)
	}
}

// zeros gives n zeros without holding them.
func zeros(n int64) io.Reader { return io.LimitReader(zero{}, n) }

type zero struct{}

func (zero) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestBombs(t *testing.T) {
	const size = 512 << 20
	var zst bytes.Buffer
	zw, err := zstd.NewWriter(&zst, zstd.WithEncoderConcurrency(1))
	must(t, err)
	_, err = io.Copy(zw, zeros(size))
	must(t, err)
	must(t, zw.Close())

	// One member of a gzip repeats: as good as a long one, and quick to make.
	gz := bytes.Repeat(gzOf(t, make([]byte, 1<<20)), size>>20)

	var zipped bytes.Buffer
	w := zip.NewWriter(&zipped)
	e, err := w.Create("bomb")
	must(t, err)
	_, err = io.Copy(e, zeros(size/2))
	must(t, err)
	must(t, w.Close())

	var sparse bytes.Buffer
	sparse.Write(sparseHeader(t, 1<<40))

	for name, b := range map[string][]byte{
		"gz": gz, "zst": zst.Bytes(), "zip": zipped.Bytes(),
		"gz in a tar":     tarOf(t, file{"ok", "x"}, file{"bomb.gz", string(gz)}),
		"zst in a tar.gz": gzOf(t, tarOf(t, file{"bomb.zst", zst.String()})),
		"sparse tar":      sparse.Bytes(),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r, err := Open("-", bytes.NewReader(b), Limits{Ratio: 200})
		must(t, err)
		out := int64(0)
		for err == nil {
			var e *Entry
			if e, err = r.Next(); err == nil {
				n, _ := io.Copy(io.Discard, e)
				out += n
			}
		}
		runtime.ReadMemStats(&after)
		var bad *Error
		if !errors.As(err, &bad) || !strings.Contains(bad.Why, "unpacks to more than 200 times its size") {
			t.Errorf("%s: %v after %d bytes", name, err, out)
		}
		if out > size/2 {
			t.Errorf("%s: stopped only after %d bytes", name, out)
		}
		if mem := after.TotalAlloc - before.TotalAlloc; mem > 64<<20 {
			t.Errorf("%s: took %d bytes of memory", name, mem)
		}
		r.Close()
	}
}

// sparseHeader is a GNU sparse file that is one hole.
func sparseHeader(t *testing.T, size int64) []byte {
	b := tarHeaders(t, []tar.Header{{
		Typeflag: tar.TypeReg, Name: "hole", Size: 512, Format: tar.FormatPAX,
		PAXRecords: map[string]string{"WB.x": "y"},
	}}, []file{{"", strings.Repeat("\x00", 512)}})
	// The library writes no GNU.sparse records, so they are patched in.
	record := func(k, v string) string {
		s := " " + k + "=" + v + "\n"
		n := len(s) + 2
		return fmt.Sprint(n) + s
	}
	recs := record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0") +
		record("GNU.sparse.name", "hole") + record("GNU.sparse.realsize", fmt.Sprint(size))
	copy(b[512:1024], make([]byte, 512))
	copy(b[512:], recs)
	copy(b[124:136], fmt.Sprintf("%011o\x00", len(recs)))
	resum(b[:512])
	copy(b[1536:], "1\n0\n0\n")
	return b
}

func resum(h []byte) {
	copy(h[148:156], "        ")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:156], fmt.Sprintf("%06o\x00 ", sum))
}

// TestSharedBytes is the bomb of entries that share one compressed body: no
// entry alone is out of proportion.
func TestSharedBytes(t *testing.T) {
	const body = 8 << 20
	b := zipOf(t, file{"a", strings.Repeat(random(1<<16), body>>16)})
	dir := bytes.Index(b, []byte("PK\x01\x02"))
	end := bytes.Index(b, []byte("PK\x05\x06"))
	head, tail := b[dir:end], bytes.Clone(b[end:])
	const n = 200
	out := bytes.Clone(b[:dir])
	for i := range n {
		h := bytes.Clone(head)
		h[46] = byte('0' + i%10)
		out = append(out, h...)
	}
	tail[8], tail[10] = n, n
	size := n * len(head)
	tail[12], tail[13], tail[14] = byte(size), byte(size>>8), byte(size>>16)
	out = append(out, tail...)
	for _, c := range []struct {
		ratio int64
		ok    bool
	}{{500, true}, {2, false}} {
		r, err := Open("-", bytes.NewReader(out), Limits{Ratio: c.ratio})
		must(t, err)
		for err == nil { // unread entries are read and checked all the same
			_, err = r.Next()
		}
		var e *Error
		if c.ok && err != io.EOF || !c.ok && (!errors.As(err, &e) || !strings.Contains(e.Why, "unpacks to")) {
			t.Errorf("ratio %d: %v", c.ratio, err)
		}
	}
}
