package cilium

import (
	"bytes"
	"io"
	"slices"
)

// What a table of two columns may take of memory. It has to be held to know how
// wide its columns are.
const (
	mostRows = 1 << 20
	mostText = 128 << 20
)

// table is a listing of two columns, each as wide as its widest cell, as
// text/tabwriter makes them for cilium-dbg. Its rows are sorted, where those of
// cilium-dbg are in no order.
type table struct {
	titles [2]string
	text   []byte
	rows   []row
	err    error // why rows are missing

	next   int // row to print; -1 is the titles
	widths [2]int
}

// row is where the two cells of a row lie in the text of a table.
type row struct{ from, middle, to int }

func newTable(first, second string) *table { return &table{titles: [2]string{first, second}, next: -1} }

// add adds a row whose first cell, and then whose second, a function appends.
func (t *table) add(first, second func([]byte) []byte) error {
	if len(t.rows) >= mostRows || len(t.text) >= mostText {
		return ErrTooLarge
	}
	r := row{from: len(t.text)}
	t.text = first(t.text)
	r.middle = len(t.text)
	t.text = second(t.text)
	r.to = len(t.text)
	t.rows = append(t.rows, r)
	return nil
}

func (t *table) first(r row) []byte  { return t.text[r.from:r.middle] }
func (t *table) second(r row) []byte { return t.text[r.middle:r.to] }

// end sorts the rows and measures the columns. A row that was read twice, since
// its map changed meanwhile, stands there once.
func (t *table) end() {
	whole := func(a, b row) int {
		if c := bytes.Compare(t.first(a), t.first(b)); c != 0 {
			return c
		}
		return bytes.Compare(t.second(a), t.second(b))
	}
	slices.SortFunc(t.rows, whole)
	t.rows = slices.CompactFunc(t.rows, func(a, b row) bool { return whole(a, b) == 0 })
	const narrowest, gap = 5, 3
	t.widths = [2]int{max(narrowest, len(t.titles[0])+gap), narrowest}
	for _, r := range t.rows {
		t.widths[0] = max(t.widths[0], r.middle-r.from+gap)
		t.widths[1] = max(t.widths[1], r.to-r.middle+gap)
	}
}

// more appends some rows, or gives io.EOF. Of rows with the same first cell only
// one shows it.
func (t *table) more(dst []byte) ([]byte, error) {
	for len(dst) < piece {
		switch {
		case t.next < 0:
			dst = append(fill(dst, []byte(t.titles[0]), t.widths[0]), t.titles[1]...)
		case t.next < len(t.rows):
			r := t.rows[t.next]
			first := t.first(r)
			if t.next > 0 && bytes.Equal(first, t.first(t.rows[t.next-1])) {
				first = nil
			}
			dst = fill(fill(dst, first, t.widths[0]), t.second(r), t.widths[1])
		case t.err != nil:
			return dst, t.err
		default:
			return dst, io.EOF
		}
		dst = append(dst, '\n')
		t.next++
	}
	return dst, nil
}

func (t *table) close() {}

// fill appends a cell and blanks up to its width.
func fill(dst, cell []byte, width int) []byte {
	end := len(dst) + width
	dst = append(dst, cell...)
	for len(dst) < end {
		dst = append(dst, ' ')
	}
	return dst
}

// piece is about as much text as is made at a time.
const piece = 64 << 10

// listing is text that is made while it is read.
type listing struct {
	from interface {
		more(dst []byte) ([]byte, error)
		close()
	}
	buf, left []byte
	err       error
}

// Read gives the text, and at its end io.EOF or why it is not whole.
func (l *listing) Read(p []byte) (int, error) {
	for len(l.left) == 0 {
		if l.err != nil {
			return 0, l.err
		}
		l.buf, l.err = l.from.more(l.buf[:0])
		l.left = l.buf
	}
	n := copy(p, l.left)
	l.left = l.left[n:]
	return n, nil
}

// Close closes the maps.
func (l *listing) Close() error {
	l.from.close()
	return nil
}
