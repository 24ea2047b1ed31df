package bundle

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func random(n int) string {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = "0123456789abcdef"[r.IntN(16)]
	}
	return string(b)
}

var pieces = []file{{"n/a.txt", random(300)}, {"n/b.txt", random(700)}, {"n/c.txt", "end\n"}}

// outcome checks that what a damaged bundle gives is a beginning of what it
// held, and that it says so.
func outcome(t *testing.T, what string, res result) (whole bool) {
	t.Helper()
	if res.err != nil {
		var e *Error
		if !errors.As(res.err, &e) {
			t.Errorf("%s: error %v", what, res.err)
		}
		return false
	}
	if res.sha == "" {
		t.Errorf("%s: no hash", what)
	}
	if len(res.files) == 1 && res.files[0].name == "stdin" {
		return false // its mark was hit: a single file that nobody will claim
	}
	if res.damaged == nil {
		return slices.Equal(res.files, pieces)
	}
	return false
}

func TestTruncation(t *testing.T) {
	plain := tarOf(t, pieces...)
	for name, b := range map[string][]byte{"tar": plain, "tar.gz": gzOf(t, plain), "tar.zst": zstOf(t, plain[:1500], plain[1500:]), "zip": zipOf(t, pieces...), "stored zip": storedZip(t, pieces)} {
		given := 0
		for n := range b {
			start := time.Now()
			res := read("-", b[:n], Limits{})
			if outcome(t, name, res) && (name != "tar" || n < len(plain)-512) {
				t.Errorf("%s cut at %d passes for whole: %+v", name, n, res)
			}
			if time.Since(start) > 5*time.Second {
				t.Fatalf("%s cut at %d hangs", name, n)
			}
			if res.err != nil || len(res.files) == 0 || res.files[0].name == "stdin" {
				continue
			}
			// Whole entries first, then at most one that is cut, and named.
			for i, f := range res.files {
				want := pieces[i].text
				switch {
				case f.text == want:
				case i != len(res.files)-1 || !strings.HasPrefix(want, f.text):
					t.Errorf("%s cut at %d: entry %d is %q", name, n, i, f)
				case !slices.ContainsFunc(res.warnings, func(w string) bool { return strings.HasPrefix(w, f.name+": cut after ") }):
					t.Errorf("%s cut at %d: warnings %q", name, n, res.warnings)
				}
				given += len(f.text)
			}
		}
		if given == 0 {
			t.Errorf("%s: nothing was ever recovered", name)
		}
	}
}

func TestCutSays(t *testing.T) {
	b := tarOf(t, pieces...)
	res := read("-", b[:512+512+512+100], Limits{})
	if !slices.Equal(res.files, []file{pieces[0], {"n/b.txt", pieces[1].text[:100]}}) {
		t.Errorf("files %q", res.files)
	}
	if !slices.Equal(res.warnings, []string{"n/b.txt: cut after 100 bytes: ends early"}) {
		t.Errorf("warnings %q", res.warnings)
	}
	if want := "standard input: n/b.txt: ends early; copy or record it again; what was readable is used"; res.damaged == nil || res.damaged.Error() != want {
		t.Errorf("damaged %v", res.damaged)
	}
	between := read("-", b[:1024], Limits{})
	if between.damaged == nil || len(between.files) != 1 {
		t.Errorf("cut between entries: %+v", between)
	}
	// A program that forgets the end mark, in a gzip that is whole.
	if res := read("-", gzOf(t, b[:1024]), Limits{}); res.damaged != nil || res.err != nil {
		t.Errorf("no end mark in a whole gzip: %+v", res)
	}
}

func TestFlippedBytes(t *testing.T) {
	plain := tarOf(t, pieces...)
	for name, b := range map[string][]byte{"tar.gz": gzOf(t, plain), "tar.zst": zstOf(t, plain), "zip": zipOf(t, pieces...)} {
		for i := range b {
			for _, mask := range []byte{0x01, 0xff} {
				c := bytes.Clone(b)
				c[i] ^= mask
				start := time.Now()
				res := read("-", c, Limits{})
				if time.Since(start) > 5*time.Second {
					t.Fatalf("%s, byte %d hangs", name, i)
				}
				quiet := res.err == nil && res.damaged == nil && len(res.warnings) == 0
				// Times and names in a zip, and the header of a gzip, have no checksum.
				if !outcome(t, name, res) && quiet && name != "zip" && res.files[0].name != "stdin" {
					t.Errorf("%s, byte %d ^ %#x goes unnoticed: %+v", name, i, mask, res)
				}
				for _, f := range res.files {
					if quiet && res.files[0].name != "stdin" && !slices.ContainsFunc(pieces, func(p file) bool { return p.text == f.text }) {
						t.Errorf("%s, byte %d ^ %#x changed a text unnoticed: %q", name, i, mask, f)
					}
				}
			}
		}
	}
}

func TestChecksumOfZipEntry(t *testing.T) {
	b := storedZip(t, pieces)
	i := bytes.Index(b, []byte(pieces[1].text))
	b[i+5] ^= 1
	res := read("-", b, Limits{})
	if res.damaged == nil || len(res.files) != 3 || res.text("n/c.txt") != "end\n" {
		t.Errorf("%+v", res)
	}
	if want := []string{"n/b.txt: cut after 700 bytes: the checksum does not match"}; !slices.Equal(res.warnings, want) {
		t.Errorf("warnings %q", res.warnings)
	}
}

// TestLyingZip has sizes in its headers that are wrong in both directions.
func TestLyingZip(t *testing.T) {
	for _, size := range []byte{1, 255} {
		b := zipOf(t, pieces[1])
		dir := bytes.Index(b, []byte("PK\x01\x02"))
		b[dir+24], b[dir+25] = size, size&^1
		res := read("-", b, Limits{})
		if res.err != nil || res.damaged == nil || !strings.HasPrefix(pieces[1].text, res.text("n/b.txt")) {
			t.Errorf("size %d: %+v", size, res)
		}
	}
}

func FuzzOpen(f *testing.F) {
	plain := tarOf(f, append(pieces, file{"manifest.yaml", "whichbackend: 1\n"})...)
	f.Add(plain)
	f.Add(gzOf(f, plain))
	f.Add(zstOf(f, plain))
	f.Add(zipOf(f, append(pieces, file{"x.gz", string(gzOf(f, plain))})...))
	f.Add(zipOf(f, pieces...)[:500])
	f.Add([]byte(manifestText))
	f.Add([]byte(billionLaughs))
	f.Fuzz(func(t *testing.T, b []byte) {
		lim := Limits{Entries: 1000, EntrySize: 1 << 20, TotalSize: 4 << 20, NameLength: 512}
		one, two := read("-", b, lim), read("-", b, lim)
		if one.sha != two.sha || !slices.Equal(one.files, two.files) || !slices.Equal(one.warnings, two.warnings) {
			t.Error("read twice, it is not the same")
		}
		if one.err == nil && len(one.sha) != 64 {
			t.Error("no hash")
		}
		for _, f := range one.files {
			if clean, unsafe := cleanName(f.name, false); clean != f.name || unsafe != "" {
				t.Errorf("%q %s", f.name, unsafe)
			}
		}
		for _, w := range one.warnings {
			if w != printable(w) {
				t.Errorf("%q", w)
			}
		}
	})
}
