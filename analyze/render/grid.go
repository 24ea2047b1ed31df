package render

import (
	"strings"
	"unicode/utf8"
)

// grid is a table of aligned columns. Columns are separated by two blanks, or
// by what gaps says.
type grid struct {
	indent string
	gaps   []int
	rows   []gridRow
}

// gridRow is one row; a note is a line of its own between the rows, which
// takes no part in the alignment.
type gridRow struct {
	cells []span
	note  bool
}

func (g *grid) add(cells ...span) { g.rows = append(g.rows, gridRow{cells: cells}) }

func (g *grid) note(s span) { g.rows = append(g.rows, gridRow{[]span{s}, true}) }

// texts makes plain cells.
func texts(list ...string) []span {
	out := make([]span, len(list))
	for i, s := range list {
		out[i].text = s
	}
	return out
}

// grid writes a grid, with no blanks at the end of a line.
func (o *out) grid(g grid) {
	var widths []int
	for _, r := range g.rows {
		for i := range r.cells {
			r.cells[i].text = strings.TrimRight(Clean(r.cells[i].text), " ")
			if r.note {
				continue
			}
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(r.cells[i].text))
		}
	}
	for _, r := range g.rows {
		line := []span{}
		blanks := len(g.indent)
		for i, c := range r.cells {
			pad := 0
			if !r.note {
				pad = widths[i] - utf8.RuneCountInString(c.text)
			}
			if c.right {
				blanks, pad = blanks+pad, 0
			}
			if c.text != "" {
				line = append(line, span{text: strings.Repeat(" ", blanks)}, c)
				blanks = 0
			}
			blanks += pad + g.gap(i)
		}
		if c := r.cells; r.note && len(line) > 0 {
			line = c // a note brings its own indent
		}
		o.spans(line...)
	}
}

func (g *grid) gap(column int) int {
	if column < len(g.gaps) {
		return g.gaps[column]
	}
	return 2
}
