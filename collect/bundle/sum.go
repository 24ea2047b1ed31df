package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
)

const (
	// sumAhead is how much waits to be hashed while as much is being hashed.
	sumAhead = 256 << 10
	// sumAlone is what is hashed in passing, before that is worth a goroutine.
	sumAlone = 1 << 20
)

// digest is a SHA-256 that a large input does not wait for: it is computed
// beside the reading.
type digest struct {
	hash hash.Hash
	size int64
	// next gathers what is written, busy is being hashed.
	next, busy []byte
	idle       chan struct{} // holds a token while nothing is being hashed
}

func newDigest() *digest { return &digest{hash: sha256.New()} }

// Write takes more. It never fails.
func (d *digest) Write(p []byte) (int, error) {
	n := len(p)
	d.size += int64(n)
	if d.size <= sumAlone {
		return d.hash.Write(p)
	}
	if d.idle == nil {
		d.idle = make(chan struct{}, 1)
		d.idle <- struct{}{}
		d.next, d.busy = make([]byte, 0, sumAhead), make([]byte, 0, sumAhead)
	}
	for len(p) > 0 {
		k := min(len(p), sumAhead-len(d.next))
		d.next = append(d.next, p[:k]...)
		p = p[k:]
		if len(d.next) == sumAhead {
			<-d.idle
			d.next, d.busy = d.busy[:0], d.next
			go func() {
				d.hash.Write(d.busy)
				d.idle <- struct{}{}
			}()
		}
	}
	return n, nil
}

// sum is the hash of all that was written so far.
func (d *digest) sum() (out [sha256.Size]byte) {
	if d.idle != nil {
		<-d.idle
		d.hash.Write(d.next)
		d.next = d.next[:0]
		d.idle <- struct{}{}
	}
	d.hash.Sum(out[:0])
	return out
}

func (d *digest) hex() string {
	sum := d.sum()
	return hex.EncodeToString(sum[:])
}
