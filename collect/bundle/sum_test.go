package bundle

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// noise is content that no part of can be taken for another.
func noise(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// TestDigest writes in pieces of all sizes, across the places where the hash
// goes over to a goroutine and where it changes its buffers, and asks between.
func TestDigest(t *testing.T) {
	content := noise(3*sumAlone + 12345)
	for _, piece := range []int{1000, 64 << 10, sumAhead, sumAhead + 1, 2*sumAlone + 1, len(content)} {
		d := newDigest()
		asked := false
		for at := 0; at < len(content); at += piece {
			d.Write(content[at:min(at+piece, len(content))])
			if written := min(at+piece, len(content)); !asked && written > 2*sumAlone {
				asked = true
				if want := fmt.Sprintf("%x", sha256.Sum256(content[:written])); d.hex() != want {
					t.Errorf("pieces of %d: the hash of the first %d bytes is wrong", piece, written)
				}
			}
		}
		if want := fmt.Sprintf("%x", sha256.Sum256(content)); d.hex() != want {
			t.Errorf("pieces of %d: the hash is wrong", piece)
		}
	}
}

// TestEntryHash reads a large file as it is, of which bundle and entry are the
// same bytes.
func TestEntryHash(t *testing.T) {
	content := noise(2*sumAlone + 77)
	want := fmt.Sprintf("%x", sha256.Sum256(content))
	file := filepath.Join(t.TempDir(), "capture.pcap")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Open(file, nil, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	e, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, e); err != nil {
		t.Fatal(err)
	}
	if got := e.SHA256(); got != want {
		t.Errorf("the entry's hash is %s, want %s", got, want)
	}
	if _, err := r.Next(); err != io.EOF {
		t.Fatal(err)
	}
	if got := r.SHA256(); got != want {
		t.Errorf("the bundle's hash is %s, want %s", got, want)
	}
	if got, err := Digest(file); err != nil || got != want {
		t.Errorf("Digest gives %s, %v, want %s", got, err, want)
	}
}
