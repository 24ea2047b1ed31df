package render

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"whichbackend/analyze/diff"
	"whichbackend/analyze/resolve"
)

// DiffFormats are the formats of Diff; the first is the default.
var DiffFormats = []string{"text", "wide", "json", "yaml", "csv", "markdown"}

// Diff writes a difference in one of DiffFormats.
func Diff(w io.Writer, d *diff.Diff, format string, opt Options) error {
	o := newOut(w, opt)
	var err error
	switch format {
	case "text", "wide":
		o.diff(d, format == "wide" || opt.Explain)
	case "json":
		err = o.json(d, "  ")
	case "yaml":
		err = o.yaml(d)
	case "csv":
		o.diffCSV(d)
	case "markdown":
		o.diffMarkdown(d)
	default:
		return noFormat(format, DiffFormats)
	}
	return cmp.Or(err, o.w.Flush())
}

// block is one part of a difference: a title and its lines, the worst first.
type block struct {
	title, style string
	lines        []diffLine
}

// diffLine is one line of a block, and the lines of listings that show it.
type diffLine struct {
	text     string
	evidence []resolve.Evidence
}

// diff writes a difference for a person: what matters most first. In short,
// long lists are folded with a count.
func (o *out) diff(d *diff.Diff, wide bool) {
	for i := range d.Steps {
		if i > 0 {
			o.line()
		}
		for _, s := range headline(d, &d.Steps[i]) {
			o.line(s)
		}
		for _, b := range blocks(d, d.Steps[i].Step, wide) {
			o.line()
			o.spans(span{text: b.title, style: b.style})
			o.diffLines(b, wide)
		}
	}
	if lines := timelines(d, wide); len(lines) > 0 {
		o.line()
		o.line("over all moments")
		o.diffLines(block{lines: lines}, wide)
	}
	first := true
	for _, m := range d.Moments {
		for _, s := range clocks(m) {
			if first {
				o.line()
			}
			first = false
			o.line(s)
		}
	}
}

// folded is how many lines of a block are shown in short.
const folded = 6

func (o *out) diffLines(b block, wide bool) {
	for i, l := range b.lines {
		if i == folded && len(b.lines) > folded+1 && !wide {
			o.line("  and ", strconv.Itoa(len(b.lines)-folded), " more; -o wide shows all")
			return
		}
		o.line("  ", l.text)
		if wide || o.opt.Explain {
			for _, e := range l.evidence {
				o.line("      ", position(e), "  ", e.Text)
			}
		}
	}
}

// headline says which moments are held against each other, and how many
// connections stayed as they were.
func headline(d *diff.Diff, s *diff.Step) []string {
	a, b := d.Moments[s.Step-1], d.Moments[s.Step]
	first := a.Input + " -> " + b.Input
	if s.Apart != "" {
		first += ", " + shortTime(s.Apart) + " apart"
	}
	what := []string{count(s.Same, "connection") + " as before"}
	for _, x := range []struct {
		n    int
		noun string
	}{{s.Outlived, "with a dead backend"}, {s.Moved, "moved"}, {s.Ended, "ended"}, {s.Appeared, "appeared"}, {s.ByRequest, "by request"},
		{s.Open, "open on both sides"}, {s.Undetermined, "undetermined"}, {s.NotSeen, "not seen"}, {s.Over, "over"}} {
		if x.n > 0 {
			what = append(what, fmt.Sprintf("%d %s", x.n, x.noun))
		}
	}
	return []string{first, strings.Join(what, ", ")}
}

// shortTime is a duration as a person reads it.
func shortTime(s string) string {
	d, err := time.ParseDuration(s)
	if err != nil {
		return s
	}
	return d.Round(100 * time.Millisecond).String()
}

// blocks are the parts of one step, in the order in which they matter.
func blocks(d *diff.Diff, step int, wide bool) []block {
	list := []block{
		{"still with a backend that is gone", red, outlivedLines(d, step, wide)},
		{"moved to another backend", yellow, movedLines(d, step, wide)},
		{"services and backends that came and went", plain, serviceLines(d, step, wide)},
		{"findings", yellow, findingLines(d, step)},
		{"ended", plain, connectionLines(d.Ended, step, wide)},
		{"appeared", plain, connectionLines(d.Appeared, step, wide)},
		{"undetermined", plain, undeterminedLines(d, step, wide)},
		{"not seen", dim, notSeenLines(d, step, wide)},
	}
	var out []block
	for _, b := range list {
		if len(b.lines) > 0 {
			out = append(out, b)
		}
	}
	return out
}

// tallies counts texts, and keeps the order in which they came first.
type tallies struct {
	order []string
	n     map[string]int
}

func (t *tallies) add(s string, n int) {
	if t.n == nil {
		t.n = map[string]int{}
	}
	if _, ok := t.n[s]; !ok {
		t.order = append(t.order, s)
	}
	t.n[s] += n
}

func (t *tallies) lines(noun string) []diffLine {
	var out []diffLine
	for _, s := range t.order {
		out = append(out, diffLine{text: count(t.n[s], noun) + " " + s})
	}
	return out
}

// called is a party by its name, else by its address without a port.
func called(p resolve.Party) string {
	if n := name(p); n != "" {
		return n
	}
	if i := strings.LastIndex(p.Address, ":"); i > 0 && (strings.Count(p.Address, ":") == 1 || strings.HasPrefix(p.Address, "[")) {
		return strings.Trim(p.Address[:i], "[]")
	}
	return orElse(p.Address, "not known")
}

func dialled(p resolve.Party, protocol string) string {
	if protocol == "" || protocol == "tcp" {
		return party(p)
	}
	return party(p) + " " + protocol
}

func outlivedLines(d *diff.Diff, step int, wide bool) []diffLine {
	var out []diffLine
	t := tallies{}
	for _, x := range d.Outlived {
		if x.Step != step {
			continue
		}
		to := dialled(x.Service, x.Protocol) + " still to " + party(x.Backend)
		if x.New {
			to += ", opened since"
		}
		t.add("of "+called(x.Client)+" to "+to, 1)
		out = append(out, diffLine{joined(party(x.Client), "->", to, x.State) + ": " + strings.Join(x.Because, "; "), x.Evidence})
	}
	if wide {
		return out
	}
	return t.lines("connection")
}

func spread(list []diff.Spread, counted bool) string {
	var out []string
	for _, b := range list {
		s := party(b.Party)
		if counted {
			s += " ×" + strconv.Itoa(b.Count)
		}
		if b.Gone {
			s += " (gone)"
		}
		out = append(out, s)
	}
	return orElse(strings.Join(out, ", "), "nobody")
}

func movedLines(d *diff.Diff, step int, wide bool) []diffLine {
	var out, each []diffLine
	t := tallies{}
	for _, x := range d.Moved {
		if x.Step != step {
			continue
		}
		to := dialled(x.Service, x.Protocol) + "  " + called(x.Client) + ": "
		if x.Granularity == "client" {
			out = append(out, diffLine{text: to + spread(x.Before, true) + " → " + spread(x.After, true)})
			continue
		}
		change := spread(x.Before, false) + " → " + spread(x.After, false)
		t.add("of "+called(x.Client)+" to "+dialled(x.Service, x.Protocol)+": "+change, 1)
		each = append(each, diffLine{party(x.Client) + " -> " + dialled(x.Service, x.Protocol) + ": " + change + ": " + x.Reason, append(append([]resolve.Evidence{}, x.EvidenceBefore...), x.EvidenceAfter...)})
	}
	if !wide {
		each = t.lines("connection")
	}
	return append(out, each...)
}

func serviceLines(d *diff.Diff, step int, wide bool) []diffLine {
	var out []diffLine
	for _, x := range d.Services {
		if x.Step != step {
			continue
		}
		s := party(x.Service)
		if x.Backend != nil {
			s += "  backend " + party(*x.Backend)
		}
		s += " " + x.Change
		if x.Change == "changed" {
			s += " from " + x.Before + " to " + x.After
		}
		if wide {
			s += ", says " + strings.Join(x.Listings, ", ")
		} else {
			s += ", say " + count(len(x.Listings), "listing")
		}
		if len(x.StillIn) > 0 {
			s += "; still in " + strings.Join(x.StillIn, ", ")
		}
		out = append(out, diffLine{text: s})
	}
	return out
}

func findingLines(d *diff.Diff, step int) []diffLine {
	var out []diffLine
	for _, x := range d.Findings {
		if x.Step != step {
			continue
		}
		s := x.Change + ": " + string(x.Finding.Severity) + " " + x.Finding.ID + ": " + x.Finding.Title
		if x.Change == "not judged" {
			s += " (" + x.Side + ": " + x.Missing + ")"
		}
		out = append(out, diffLine{s, x.Finding.Evidence})
	}
	return out
}

// connectionLines are ended or appeared connections: in short by service.
func connectionLines(list []diff.Connection, step int, wide bool) []diffLine {
	var out []diffLine
	t := tallies{}
	for i := range list {
		x := &list[i]
		if x.Step != step {
			continue
		}
		t.add("to "+dialled(x.Service, x.Protocol), 1)
		out = append(out, diffLine{connectionLine(x), x.Evidence})
	}
	if wide {
		return out
	}
	return t.lines("connection")
}

func connectionLine(x *diff.Connection) string {
	s := joined(party(x.Client), "->", dialled(x.Service, x.Protocol), x.State)
	for i, b := range x.Backends {
		if i == 0 {
			s += " => " + party(b)
		} else {
			s += ", " + party(b)
		}
	}
	if x.Because != "" {
		s += ": " + x.Because
	}
	return s
}

func undeterminedLines(d *diff.Diff, step int, wide bool) []diffLine {
	var out []diffLine
	t := tallies{}
	for _, x := range d.Undetermined {
		if x.Step != step {
			continue
		}
		t.add("to "+dialled(x.Service, x.Protocol)+": "+x.Reason, 1)
		out = append(out, diffLine{text: fmt.Sprintf("%s -> %s, %s before, %s after: %s", party(x.Client), dialled(x.Service, x.Protocol), orElse(string(x.Before), "not there"), orElse(string(x.After), "not there"), x.Reason)})
	}
	if wide {
		return out
	}
	return t.lines("connection")
}

func notSeenLines(d *diff.Diff, step int, wide bool) []diffLine {
	var out []diffLine
	for _, x := range d.NotSeen {
		if x.Step != step {
			continue
		}
		out = append(out, diffLine{text: fmt.Sprintf("%s: %s, so that %s cannot be told", x.Side, x.Missing, count(x.Count, strings.TrimSuffix(x.What, "s")))})
		for i := range x.Connections {
			if wide {
				out = append(out, diffLine{text: "  " + connectionLine(&x.Connections[i]), evidence: x.Connections[i].Evidence})
			}
		}
	}
	return out
}

// timelines are the lines over all moments; in short those that changed.
func timelines(d *diff.Diff, wide bool) []diffLine {
	var out []diffLine
	for _, l := range d.Timeline {
		if !l.Changed && !wide {
			continue
		}
		var cells []string
		for _, c := range l.Moments {
			s := "-"
			if len(c.Backends) > 0 {
				s = spread(c.Backends, true)
			}
			if c.Open > 0 {
				s += fmt.Sprintf(" and %d open", c.Open)
			}
			cells = append(cells, s)
		}
		out = append(out, diffLine{text: called(l.Client) + " -> " + dialled(l.Service, l.Protocol) + ": " + strings.Join(cells, " | ")})
	}
	return out
}

// clocks says how far the clocks of a moment are apart.
func clocks(m diff.Info) []string {
	against := map[string][]string{}
	var order []string
	for _, k := range m.Clocks {
		if against[k.Reference] == nil {
			order = append(order, k.Reference)
		}
		against[k.Reference] = append(against[k.Reference], k.Host+" "+offset(k.Seconds))
	}
	var out []string
	for _, r := range order {
		out = append(out, fmt.Sprintf("clocks of moment %d, as captures tell: %s against %s", m.Moment, strings.Join(against[r], ", "), r))
	}
	return out
}
