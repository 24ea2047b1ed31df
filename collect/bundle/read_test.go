package bundle

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var small = []file{
	{"node1/conntrack.txt", "tcp 6 86374 ESTABLISHED\n"},
	{"node1/empty.txt", ""},
	{"node1/pods/default/client/netstat.txt", strings.Repeat("tcp 0 0 10.244.0.13:52372\n", 100)},
}

func TestFormats(t *testing.T) {
	plain := tarOf(t, small...)
	gz := gzOf(t, plain)
	half := len(plain) / 2
	stored := storedZip(t, small)
	for name, b := range map[string][]byte{
		"tar": plain, "tar.gz": gz, "tar.zst": zstOf(t, plain), "zip": zipOf(t, small...), "stored zip": stored,
		"two gzip members":  append(gzOf(t, plain[:half]), gzOf(t, plain[half:])...),
		"two zstd frames":   append(zstOf(t, plain[:half]), zstOf(t, plain[half:])...),
		"skippable frame":   append([]byte("\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"), zstOf(t, plain)...),
		"padded tar":        append(slices.Clone(plain), make([]byte, 10240)...),
		"v7 tar":            v7(plain),
		"leading ./ in tar": tarOf(t, file{"./" + small[0].name, small[0].text}, file{".//" + small[1].name, ""}, file{"node1/./" + small[2].name[6:], small[2].text}),
	} {
		t.Run(name, func(t *testing.T) {
			path := fileOf(t, "any.name", b)
			fromFile, fromStdin := read(path, nil, Limits{}), read("-", b, Limits{})
			if !reflect.DeepEqual(fromFile, fromStdin) {
				t.Errorf("file and stdin differ:\n%+v\n%+v", fromFile, fromStdin)
			}
			res := fromFile
			if res.err != nil || res.damaged != nil || len(res.warnings) > 0 {
				t.Errorf("err %v, damaged %v, warnings %q", res.err, res.damaged, res.warnings)
			}
			if !slices.Equal(res.files, small) {
				t.Errorf("files %q", res.files)
			}
			if d, err := Digest(path); err != nil || d != res.sha {
				t.Errorf("Digest %s %v, SHA256 %s", d, err, res.sha)
			}
		})
	}
}

func storedZip(t *testing.T, files []file) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range files {
		// Raw, as the library writes sizes behind the content otherwise.
		n := uint64(len(f.text))
		e, err := w.CreateRaw(&zip.FileHeader{Name: f.name, CRC32: crc32.ChecksumIEEE([]byte(f.text)), CompressedSize64: n, UncompressedSize64: n})
		must(t, err)
		_, err = io.WriteString(e, f.text)
		must(t, err)
	}
	must(t, w.Close())
	return b.Bytes()
}

// v7 takes the mark of a modern tar out of all headers.
func v7(b []byte) []byte {
	b = slices.Clone(b)
	for i := 0; i+512 <= len(b); i += 512 {
		h := b[i : i+512]
		if string(h[257:262]) != "ustar" {
			continue
		}
		copy(h[257:265], make([]byte, 8))
		copy(h[148:156], "        ")
		sum := 0
		for _, c := range h {
			sum += int(c)
		}
		copy(h[148:156], []byte{byte('0' + sum>>15&7), byte('0' + sum>>12&7), byte('0' + sum>>9&7), byte('0' + sum>>6&7), byte('0' + sum>>3&7), byte('0' + sum&7), 0, ' '})
	}
	return b
}

func TestDirectory(t *testing.T) {
	dir := dirOf(t, append(small, file{"node1-b/x", "1"}, file{"node1.b", "2"}, file{"node1/.DS_Store", "n"}, file{"__MACOSX/x", "n"}, file{"node1/._x", "n"})...)
	must(t, os.Symlink("/etc/passwd", filepath.Join(dir, "node1", "link")))
	must(t, os.Symlink("node1", filepath.Join(dir, "again")))
	must(t, os.Symlink(dir, filepath.Join(dir, "node1", "loop")))
	link := filepath.Join(t.TempDir(), "root")
	must(t, os.Symlink(dir, link))

	res := read(link, nil, Limits{})
	if res.err != nil || res.damaged != nil {
		t.Fatal(res.err, res.damaged)
	}
	var names []string
	for _, f := range res.files {
		names = append(names, f.name)
	}
	if want := []string{"node1-b/x", "node1.b", small[0].name, small[1].name, small[2].name}; !slices.Equal(names, want) {
		t.Errorf("names %q, want %q", names, want)
	}
	want := []string{"again: a link, so not followed", "node1/link: a link, so not followed", "node1/loop: a link, so not followed"}
	if !slices.Equal(res.warnings, want) {
		t.Errorf("warnings %q", res.warnings)
	}
	if d, err := Digest(dir); err != nil || d != res.sha {
		t.Errorf("Digest %s %v, SHA256 %s", d, err, res.sha)
	}
	must(t, os.WriteFile(filepath.Join(dir, "node1.b"), []byte("3"), 0o644))
	if d, _ := Digest(dir); d == res.sha {
		t.Error("the hash does not tell a change")
	}
	if os.Getuid() != 0 {
		must(t, os.Chmod(filepath.Join(dir, "node1.b"), 0))
		if res := read(dir, nil, Limits{}); !slices.Contains(res.warnings, "node1.b: not read: permission denied") {
			t.Errorf("warnings %q", res.warnings)
		}
	}
}

func TestSHA256WhateverTheCallerReads(t *testing.T) {
	dir := dirOf(t, small...)
	for _, path := range []string{dir, fileOf(t, "b", gzOf(t, tarOf(t, small...))), fileOf(t, "b", zipOf(t, small...)), fileOf(t, "b", []byte("text"))} {
		want := read(path, nil, Limits{}).sha
		r, err := Open(path, nil, Limits{})
		must(t, err)
		var last *Entry
		for {
			e, err := r.Next()
			if err == io.EOF {
				break
			}
			must(t, err)
			if last != nil {
				if _, err := last.Read(make([]byte, 1)); err == nil || err == io.EOF {
					t.Errorf("%s: an old entry reads as %v", path, err)
				}
			}
			e.Read(make([]byte, 3))
			last = e
		}
		if got := r.SHA256(); got != want || len(got) != 64 {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
		must(t, r.Close())
	}
}

func TestSingleFile(t *testing.T) {
	text := "tcp 6 86374 ESTABLISHED\n"
	for name, b := range map[string][]byte{
		"a.txt": []byte(text), "a.gz": gzOf(t, []byte(text)), "a.zst": zstOf(t, []byte(text)),
		"empty": nil, "P": []byte("P"), "gz of nothing": gzOf(t, nil),
	} {
		want := text
		switch {
		case name == "gz of nothing":
			want = ""
		case len(b) < 2:
			want = string(b)
		}
		for _, path := range []string{fileOf(t, name, b), "-"} {
			res := read(path, b, Limits{})
			base := name
			if path == "-" {
				base = "stdin"
			}
			if res.err != nil || res.damaged != nil || !slices.Equal(res.files, []file{{base, want}}) {
				t.Errorf("%s: %+v", name, res)
			}
		}
	}
}

func TestOpenErrors(t *testing.T) {
	for _, f := range []func(string) error{
		func(p string) error { _, err := Open(p, nil, Limits{}); return err },
		func(p string) error { _, err := Digest(p); return err },
	} {
		if err := f(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("absent: %v", err)
		}
	}
	for _, text := range []string{"\xfd7zXZ\x00rest", "BZh91AY", "7z\xbc\xaf\x27\x1c..", "Rar!\x1a\x07\x01", "\x1f\x8b\x08\x00", "PK\x03\x04"} {
		var e *Error
		if res := read("-", []byte(text), Limits{}); !errors.As(res.err, &e) {
			t.Errorf("%q: %+v", text, res)
		}
	}
	if _, err := Open("-", io.MultiReader(strings.NewReader("abc"), failing{}), Limits{}); !errors.Is(err, errDisk) {
		t.Errorf("an error of the disk became %v", err)
	}
}

var errDisk = errors.New("disk on fire")

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errDisk }

func TestErrorOfTheDiskIsNoDamage(t *testing.T) {
	b := gzOf(t, tarOf(t, file{"a", random(1 << 20)}))
	r, err := Open("-", io.MultiReader(bytes.NewReader(b[:len(b)/2]), failing{}), Limits{})
	must(t, err)
	if res := drain(r); !errors.Is(res.err, errDisk) || res.damaged != nil {
		t.Errorf("err %v, damaged %v", res.err, res.damaged)
	}
}

func TestEntryCompression(t *testing.T) {
	text := strings.Repeat("line\n", 1000)
	gz := string(gzOf(t, []byte(text)))
	nested := string(tarOf(t, small...))
	in := []file{
		{"a.gz", gz},
		{"b.zst", string(zstOf(t, []byte(text)))},
		{"c", gz + gz},
		{"cut.gz", gz[:len(gz)-10]},
		{"header.gz", "\x1f\x8b\x08\x08name without end"},
		{"nested.tar", nested},
		{"nested.zip", string(zipOf(t, small...))},
		{"not.gz", "\x1f\x8b plain"},
		{"tail.gz", gz + "garbage that is no gzip member"},
	}
	for _, path := range []string{fileOf(t, "x", tarOf(t, in...)), fileOf(t, "x", zipOf(t, in...)), dirOf(t, in...)} {
		res := read(path, nil, Limits{})
		if res.err != nil || res.damaged != nil {
			t.Fatal(res.err, res.damaged)
		}
		for name, want := range map[string]string{"a.gz": text, "b.zst": text, "c": text + text, "nested.tar": nested, "not.gz": "\x1f\x8b plain", "tail.gz": text} {
			if got := res.text(name); got != want {
				t.Errorf("%s: %.60q", name, got)
			}
		}
		if got := res.text("cut.gz"); !strings.HasPrefix(text, got) {
			t.Errorf("cut.gz: %.60q", got)
		}
		if len(res.warnings) != 3 || !strings.HasPrefix(res.warnings[0], "cut.gz: cut after ") || !strings.HasPrefix(res.warnings[2], "tail.gz: cut after 5000 bytes: ") {
			t.Errorf("warnings %q", res.warnings)
		}
	}
}

func TestTarOddities(t *testing.T) {
	long := "node1/" + strings.Repeat("deep/", 40) + "x"
	files := []file{{"", ""}, {"", ""}, {long, "long"}, {"a", "first"}, {"./a", "second"}, {"node1/._a", "n"}, {"node1/\xfc.txt", "latin"}}
	hs := []tar.Header{
		{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: map[string]string{"comment": "abc"}},
		{Typeflag: tar.TypeDir, Name: "node1/"},
	}
	for _, f := range files[2:] {
		hs = append(hs, tar.Header{Typeflag: tar.TypeReg, Name: f.name, Size: int64(len(f.text)), ModTime: stamp, Format: tar.FormatGNU})
	}
	res := read("-", tarHeaders(t, hs, files), Limits{})
	want := []file{{long, "long"}, {"a", "first"}, {"node1/\uFFFD.txt", "latin"}}
	if res.err != nil || res.damaged != nil || !slices.Equal(res.files, want) {
		t.Errorf("%+v", res)
	}
	if !slices.Equal(res.warnings, []string{"a: is in the bundle more than once; the first is used"}) {
		t.Errorf("warnings %q", res.warnings)
	}
	two := append(tarOf(t, small[0]), tarOf(t, small[1])...)
	if res := read("-", two, Limits{}); len(res.warnings) != 1 || !strings.HasSuffix(res.warnings[0], "behind the end of the archive were not read") {
		t.Errorf("a second tar: %+v", res)
	}
	empty := read("-", gzOf(t, tarOf(t)), Limits{})
	if empty.err != nil || empty.damaged != nil {
		t.Errorf("an empty tar: %+v", empty)
	}
}

func TestZipOddities(t *testing.T) {
	in := []file{{"n/", ""}, {"n/a", "first"}, {"n/a", "second"}, {"__MACOSX/n/._a", "x"}}
	b := zipOf(t, in...)
	res := read("-", b, Limits{})
	if res.err != nil || !slices.Equal(res.files, []file{{"n/a", "first"}}) || len(res.warnings) != 1 {
		t.Errorf("%+v", res)
	}
	b = zipOf(t, file{"a", "text"}, file{"b", "more"})
	dir := bytes.Index(b, []byte("PK\x01\x02"))
	b[dir+8] |= 1 // encrypted
	if res := read("-", b, Limits{}); !slices.Equal(res.warnings, []string{"a: encrypted, so not read"}) || res.text("b") != "more" {
		t.Errorf("encrypted: %+v", res)
	}
	b[dir+8] &^= 1
	b[dir+10] = 12 // bzip2
	if res := read("-", b, Limits{}); !slices.Equal(res.warnings, []string{"a: compressed with method 12, so not read"}) {
		t.Errorf("bzip2: %+v", res)
	}
}

func TestModTime(t *testing.T) {
	for _, b := range [][]byte{tarOf(t, small...), zipOf(t, small...)} {
		r, err := Open("-", bytes.NewReader(b), Limits{})
		must(t, err)
		e, err := r.Next()
		must(t, err)
		if !e.ModTime.Equal(stamp) || e.ModTime.Location() != time.UTC {
			t.Errorf("%v", e.ModTime)
		}
	}
}
