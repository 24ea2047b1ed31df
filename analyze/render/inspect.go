package render

import (
	"fmt"
	"strconv"

	"whichbackend/analyze/load"
)

var (
	artifactHead = []string{"PATH", "FORMAT", "TOOL", "SCOPE", "LINES", "UNDERSTOOD", "IGNORED", "UNKNOWN"}
	formatHead   = []string{"FORMAT", "SECTIONS", "LINES", "UNDERSTOOD", "IGNORED", "UNKNOWN"}
)

// inspection writes what is in a case; wide shows every problem below its
// artifact.
func (o *out) inspection(in *load.Inspection, wide bool) {
	if len(in.Artifacts) == 0 {
		o.line("no artifacts")
	} else {
		o.grid(artifactGrid(in, wide))
		o.line()
		g := grid{}
		g.add(numbered(formatHead, 1)...)
		for _, r := range formatRows(in) {
			g.add(numbered(r, 1)...)
		}
		o.grid(g)
	}
	list := remarks(in)
	if len(list) > 0 {
		o.line()
	}
	for _, s := range list {
		o.line(s)
	}
	o.line()
	o.line(totals(in))
}

func artifactGrid(in *load.Inspection, wide bool) grid {
	g := grid{}
	g.add(numbered(artifactHead, 4)...)
	for _, x := range in.Artifacts {
		row := numbered(artifactRow(x), 4)
		if x.Unknown > 0 {
			row[len(row)-1].style = yellow
		}
		g.add(row...)
		if !wide {
			continue
		}
		for _, p := range x.Problems {
			s := "    " + problemPlace(x, p) + ": " + p.Why
			if p.Text != "" {
				s += ": " + p.Text
			}
			g.note(span{text: s})
		}
	}
	return g
}

// numbered makes cells of which those from a column on are numbers.
func numbered(list []string, from int) []span {
	out := texts(list...)
	for i := from; i < len(out); i++ {
		out[i].right = true
	}
	return out
}

func artifactRow(x load.Inspected) []string {
	path, format := x.Path, orElse(x.Format, "not recognised")
	if x.Line > 0 {
		path += ":" + strconv.Itoa(x.Line)
	}
	if x.Truncated {
		format += ", truncated"
	}
	return []string{path, format, orElse(x.Tool, "-"), orElse(joined(x.Host, x.Scope), "-"),
		strconv.Itoa(x.Lines), strconv.Itoa(x.Understood), strconv.Itoa(x.Ignored), strconv.Itoa(x.Unknown)}
}

func formatRows(in *load.Inspection) [][]string {
	var out [][]string
	for _, f := range in.Formats {
		out = append(out, []string{orElse(f.Format, "not recognised"), strconv.Itoa(f.Sections),
			strconv.Itoa(f.Lines), strconv.Itoa(f.Understood), strconv.Itoa(f.Ignored), strconv.Itoa(f.Unknown)})
	}
	return out
}

// problemPlace is where a line is that was not understood.
func problemPlace(x load.Inspected, p load.ProblemInfo) string {
	s := x.Path
	if p.Line > 0 {
		s += ":" + strconv.Itoa(p.Line)
	}
	if p.Pointer != "" {
		s += "#" + p.Pointer
	}
	return s
}

// totals sums what was read. Several sections are one artifact.
func totals(in *load.Inspection) string {
	paths := map[string]bool{}
	var lines, understood, ignored, unknown int
	for _, x := range in.Artifacts {
		paths[x.Path] = true
		lines += x.Lines
		understood += x.Understood
		ignored += x.Ignored
		unknown += x.Unknown
	}
	return fmt.Sprintf("%d artifacts, %d lines: %d understood, %d known and ignored, %d not understood", len(paths), lines, understood, ignored, unknown)
}

// remarks are the inputs, what the collector could not record, and the warnings.
func remarks(in *load.Inspection) []string {
	var out []string
	for _, i := range in.Inputs {
		s := "input: " + i.Path
		if i.Created != "" {
			s += ", recorded " + i.Created
		}
		out = append(out, s)
	}
	for _, m := range in.Missing {
		s := "missing: " + m.What
		if m.Host != "" {
			s += " of " + m.Host
		}
		s += ": " + m.Because
		if m.Detail != "" {
			s += " (" + m.Detail + ")"
		}
		out = append(out, s)
	}
	for _, w := range in.Warnings {
		out = append(out, "warning: "+w)
	}
	return out
}
