package collect

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestCutter(t *testing.T) {
	disk := errors.New("disk")
	long := strings.Repeat("x", 3*chunk)
	for _, c := range []struct {
		name, in string
		end      error
		max      int64
		want     string
		cut      bool
		full     bool
	}{
		{"whole", "a\nbb\n", nil, 100, "a\nbb\n", false, false},
		{"exactly", "a\nbb\n", nil, 5, "a\nbb\n", false, false},
		{"one too many", "a\nbb\n", nil, 4, "a\n", true, true},
		{"cap at a line's end", "a\nbb\n", nil, 2, "a\n", true, true},
		{"first line too long", "abc\nd\n", nil, 2, "", true, true},
		{"nothing allowed", "a\n", nil, 0, "", true, true},
		{"empty", "", nil, 10, "", false, false},
		{"no line end", "a\nbb", nil, 10, "a\nbb", false, false},
		{"no line end, too large", "a\nbb", nil, 3, "a\n", true, true},
		{"early", "a\nbb", errEarly, 10, "a\n", true, false},
		{"breaks", "a\nbb", disk, 10, "a\n", true, false},
		{"a line of several chunks", "a\n" + long + "\nb\n", nil, 1 << 20, "a\n" + long + "\nb\n", false, false},
		{"cut in such a line", "a\n" + long + "\nb\n", nil, 2 * chunk, "a\n", true, true},
	} {
		for _, slow := range []bool{false, true} {
			var in io.Reader = strings.NewReader(c.in)
			if c.end != nil {
				in = io.MultiReader(in, iotest.ErrReader(c.end))
			}
			if slow {
				in = iotest.HalfReader(in)
				if len(c.in) < 100 {
					in = iotest.OneByteReader(in)
				}
			}
			k := &cutter{in: in, max: c.max}
			b, err := io.ReadAll(k)
			if string(b) != c.want || err != nil || k.cut != c.cut || k.full != c.full || k.passed != int64(len(c.want)) {
				t.Errorf("%s, slow %v: %.20q %v, cut %v, full %v, passed %d", c.name, slow, b, err, k.cut, k.full, k.passed)
			}
			if (c.end == disk) != (k.broke == disk) {
				t.Errorf("%s: broke %v", c.name, k.broke)
			}
		}
	}
}
