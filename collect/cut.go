package collect

import (
	"bytes"
	"errors"
	"io"
	"slices"
)

// errEarly is the end of a source that had more to say.
var errEarly = errors.New("ended early")

// cutter passes lines on until they would be more than max bytes. What it has
// passed ends with a whole line, unless the source itself ended without one.
// It holds as much in memory as the longest line has.
type cutter struct {
	in     io.Reader
	max    int64
	passed int64
	cut    bool  // something is missing at the end
	full   bool  // because of max
	broke  error // because of this error of the source

	buf   []byte
	store []byte // where buf lies
	ready int    // bytes of buf that may pass
	over  bool
}

const chunk = 64 << 10

// Read gives whole lines, and io.EOF at the end, however the source ended.
func (c *cutter) Read(p []byte) (int, error) {
	for c.ready == 0 {
		if c.over {
			return 0, io.EOF
		}
		c.fill()
	}
	n := copy(p, c.buf[:c.ready])
	c.buf = c.buf[n:]
	c.ready -= n
	c.passed += int64(n)
	return n, nil
}

// fill reads on when no whole line is left.
func (c *cutter) fill() {
	old := len(c.buf) // without a line end
	c.store = slices.Grow(append(c.store[:0], c.buf...), chunk)
	n, err := c.in.Read(c.store[old : old+chunk])
	c.buf = c.store[:old+n]
	if room := c.max - c.passed; int64(len(c.buf)) > room {
		c.ready = bytes.LastIndexByte(c.buf[:room], '\n') + 1
		c.over, c.cut, c.full = true, true, true
		return
	}
	if i := bytes.LastIndexByte(c.buf[old:], '\n'); i >= 0 {
		c.ready = old + i + 1
	}
	switch {
	case err == io.EOF:
		c.ready = len(c.buf)
		c.over = true
	case err != nil:
		c.over, c.cut = true, true
		if !errors.Is(err, errEarly) {
			c.broke = err
		}
	}
}
