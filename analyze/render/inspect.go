package render

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"whichbackend/analyze/load"
)

var (
	artifactHead = []string{"PATH", "FORMAT", "TOOL", "SCOPE", "LINES", "UNDERSTOOD", "IGNORED", "UNKNOWN"}
	formatHead   = []string{"FORMAT", "SECTIONS", "LINES", "UNDERSTOOD", "IGNORED", "UNKNOWN"}
	captureHead  = []string{"CAPTURE", "INTERFACE", "LINK", "PACKETS", "FLOWS", "CUT", "DROPPED", "UNDECODED"}
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
		if len(in.Captures) > 0 {
			o.line()
			o.grid(captureGrid(in, wide))
		}
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

// captureGrid lists captures with what is missing in them: what they did not see
// may have passed nevertheless.
func captureGrid(in *load.Inspection, wide bool) grid {
	g := grid{}
	g.add(numbered(captureHead, 3)...)
	for _, x := range in.Captures {
		for i, r := range captureRows(x, wide) {
			row := numbered(r, 3)
			if i == 0 && undecoded(x) > 0 {
				row[len(row)-1].style = yellow
			}
			g.add(row...)
		}
		for _, u := range x.Undecoded {
			if wide || !u.Known {
				g.note(span{text: fmt.Sprintf("    %s of no flow: %s, first packet %d", count(int(u.Packets), "packet"), u.Reason, u.Packet)})
			}
		}
	}
	return g
}

// captureRows are the rows of one capture: one for each interface, the first
// with what counts for the whole. Interfaces without packets are left out in
// short.
func captureRows(x load.Captured, all bool) [][]string {
	path := x.Path
	if x.Truncated {
		path += ", truncated"
	}
	var out [][]string
	for _, f := range x.Interfaces {
		if f.Packets == 0 && x.Packets > 0 && !all {
			continue
		}
		dropped := "not told"
		if f.Dropped != nil {
			dropped = strconv.FormatUint(*f.Dropped, 10)
		}
		cells := []string{"", orElse(f.Name, "-"), f.LinkType, strconv.FormatUint(f.Packets, 10), "", strconv.FormatUint(f.Cut, 10), dropped, ""}
		if len(out) == 0 {
			cells[0], cells[4], cells[7] = path, strconv.Itoa(x.Flows), strconv.FormatUint(undecoded(x), 10)
		}
		out = append(out, cells)
	}
	if len(out) == 0 {
		out = append(out, []string{path, "-", "-", strconv.FormatUint(x.Packets, 10), strconv.Itoa(x.Flows), "-", "-", strconv.FormatUint(undecoded(x), 10)})
	}
	return out
}

// undecoded counts the packets of a capture that could not be read.
func undecoded(x load.Captured) (n uint64) {
	for _, u := range x.Undecoded {
		if !u.Known {
			n += u.Packets
		}
	}
	return n
}

// problemPlace is where a line is that was not understood.
func problemPlace(x load.Inspected, p load.ProblemInfo) string {
	s := x.Path
	if p.Line > 0 {
		s += ":" + strconv.Itoa(p.Line)
	}
	if p.Packet > 0 {
		s += " packet " + strconv.Itoa(p.Packet)
	}
	if p.Pointer != "" {
		s += "#" + p.Pointer
	}
	return s
}

// offset says how far a clock is from another one.
func offset(seconds float64) string {
	d := time.Duration(math.Round(seconds * 1e9))
	if d >= 0 {
		return "+" + d.String()
	}
	return d.String()
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
	for _, k := range in.Clocks {
		out = append(out, fmt.Sprintf("clock of %s: %s against %s, told by %s in captures", k.Host, offset(k.Seconds), k.Reference, count(k.Pairs, "connection")))
	}
	for _, u := range in.Unused {
		if u.Proxy {
			out = append(out, fmt.Sprintf("captures: %s may have gone on through a proxy, and are not told: %s", count(u.Flows, "connection"), u.Why))
			continue
		}
		out = append(out, fmt.Sprintf("captures: %s look alike and are taken for no connection: %s", count(u.Flows, "flow"), u.Why))
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
