package report

import (
	"slices"
	"strings"

	"whichbackend/analyze/record"
	"whichbackend/analyze/render"
	"whichbackend/analyze/resolve"
)

// around is how many lines of a listing are shown before and after a line
// that proves something, and maxLine how much of each.
const (
	around  = 2
	maxLine = 600
)

// listings gathers the lines that the page shows, each once.
type listings struct {
	k     Case
	ids   map[string][]int // artifacts of the moment, by path
	list  []*listing
	index map[int]int // of artifact numbers in list
}

type listing struct {
	artifact record.Artifact
	wanted   []int
}

func newListings(c Case) (*listings, error) {
	out := &listings{k: c, ids: map[string][]int{}, index: map[int]int{}}
	artifacts, err := c.Load.Artifacts()
	if err != nil {
		return nil, err
	}
	sections, err := c.Load.Sections()
	if err != nil {
		return nil, err
	}
	of := map[int]record.Artifact{}
	for _, a := range artifacts {
		of[a.ID] = a
	}
	for _, s := range sections {
		a := of[s.Artifact]
		if ids := out.ids[a.Path]; c.Current(s.ID) && !slices.Contains(ids, a.ID) {
			out.ids[a.Path] = append(ids, a.ID)
			of[s.Artifact] = a
		}
	}
	return out, nil
}

// evidence points to where something is written. Of a line, the lines around
// it are shown too, where it is certain in which artifact it stands: two
// inputs may have a path in common.
func (l *listings) evidence(list []resolve.Evidence, addresses ...string) ([]evidence, error) {
	out := make([]evidence, 0, len(list))
	for _, e := range list {
		x := evidence{Artifact: text(e.Artifact), Line: e.Line, Packet: e.Packet, Pointer: text(e.Pointer), Time: text(e.Time), Text: text(e.Text)}
		x.Marks = marks(render.Clean(e.Text), addresses)
		if e.Line > 0 && e.Pointer == "" && e.Packet == 0 {
			id, err := l.holds(e)
			if err != nil {
				return nil, err
			}
			if id >= 0 {
				x.Listing, x.Artifact, x.Text = &id, "", ""
			}
		}
		out = append(out, x)
	}
	return out, nil
}

// holds is the number of the listing that holds a line, -1 when several may.
func (l *listings) holds(e resolve.Evidence) (int, error) {
	found := 0
	for _, id := range l.ids[e.Artifact] {
		lines, err := l.k.Load.Lines(id, e.Line, 1)
		if err != nil {
			return -1, err
		}
		if len(lines) == 0 || clipped(strings.TrimRight(lines[0], " \t")) != e.Text {
			continue
		}
		if found != 0 {
			return -1, nil
		}
		found = id
	}
	if found == 0 {
		return -1, nil
	}
	at, ok := l.index[found]
	if !ok {
		at = len(l.list)
		l.index[found] = at
		l.list = append(l.list, &listing{artifact: record.Artifact{ID: found, Path: e.Artifact}})
	}
	for n := max(1, e.Line-around); n <= e.Line+around; n++ {
		l.list[at].wanted = append(l.list[at].wanted, n)
	}
	return at, nil
}

// clipped is a line as evidence quotes it.
func clipped(s string) string {
	if len(s) > maxLine {
		s = s[:maxLine] + "..."
	}
	return strings.ToValidUTF8(s, "\ufffd")
}

// lines writes the lines of the listings: of each its path, then numbers and
// texts in turn.
func (p *page) lines() {
	p.name("listings")
	p.raw("[")
	for i, l := range p.listings.list {
		if i > 0 {
			p.raw(",\n")
		}
		flat := []any{text(l.artifact.Path)}
		slices.Sort(l.wanted)
		l.wanted = slices.Compact(l.wanted)
		for at := 0; at < len(l.wanted); {
			end := at + 1
			for end < len(l.wanted) && l.wanted[end] == l.wanted[end-1]+1 {
				end++
			}
			lines, err := p.Load.Lines(l.artifact.ID, l.wanted[at], end-at)
			if err != nil && p.err == nil {
				p.err = err
			}
			for n, line := range lines {
				flat = append(flat, l.wanted[at]+n, text(clipped(strings.TrimRight(line, " \t"))))
			}
			at = end
		}
		p.value(flat)
	}
	p.raw("]")
}
