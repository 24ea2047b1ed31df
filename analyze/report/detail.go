package report

import (
	"fmt"
	"slices"
	"strings"

	"whichbackend/analyze/render"
	"whichbackend/analyze/resolve"
)

// detail is a connection with its whole path and what proves it.
type detail struct {
	Row       int        `json:"row"`
	Reason    text       `json:"reason,omitempty"`
	Notes     []text     `json:"notes,omitempty"`
	Server    text       `json:"server,omitempty"`
	Steps     []step     `json:"steps"`
	Captures  []step     `json:"captures,omitempty"`
	Handshake *saying    `json:"handshake,omitempty"`
	Gaps      []int      `json:"gaps,omitempty"`
	Conflicts []conflict `json:"conflicts,omitempty"`
	May       []text     `json:"may,omitempty"`
	Backends  []saying   `json:"backends,omitempty"` // of those that need a word
}

// step is a socket at an end, a hop, or a place where a capture saw it.
type step struct {
	Kind      string     `json:"kind"` // client, hop, server, capture
	What      text       `json:"what"`
	Place     text       `json:"place,omitempty"`
	Mechanism text       `json:"mechanism,omitempty"`
	State     text       `json:"state,omitempty"`
	More      text       `json:"more,omitempty"`
	Before    [2]text    `json:"before"`
	After     [2]text    `json:"after"`
	Evidence  []evidence `json:"evidence,omitempty"`
}

// saying is a text with what proves it.
type saying struct {
	Text     text       `json:"text"`
	Evidence []evidence `json:"evidence,omitempty"`
}

type conflict struct {
	Reason text     `json:"reason"`
	Claims []saying `json:"claims"`
}

// details writes the connections that are shown whole, until there are enough
// of them or they take too much.
func (p *page) details() {
	p.name("details")
	p.raw("[")
	begin := p.written
	for i, row := range chosen(p.table, &p.Case) {
		if p.written-begin > maxDetailBytes {
			break
		}
		if i > 0 {
			p.raw(",\n")
		}
		d, err := p.detail(row)
		if err != nil && p.err == nil {
			p.err = err
		}
		p.value(d)
	}
	p.raw("]")
}

// chosen are the rows that are shown whole, in order of their worth: those of
// findings, those that are not settled, and of the others a sample that has
// every service, backend and verdict. A quarter is left for the sample.
func chosen(t *table, c *Case) []int {
	var out []int
	taken := make([]bool, t.Count)
	take := func(row, limit int) {
		if !taken[row] && len(out) < limit {
			taken[row] = true
			out = append(out, row)
		}
	}
	most := min(MaxDetails, t.Count)
	for _, f := range c.Found.Findings {
		for _, x := range f.Connections {
			if row, ok := t.rows[keyOf(x.Protocol, x.Client, x.Service)]; ok {
				take(row, most)
			}
		}
	}
	open := func(row int) bool { return !c.Answer.Connections[row].Settled() }
	settled := func(row int) bool { return !open(row) }
	first := most - most/4
	if t.Count <= MaxDetails {
		first = most
	}
	for _, row := range sample(t, open) {
		take(row, first)
	}
	for _, row := range sample(t, settled) {
		take(row, most)
	}
	return out
}

// sample orders rows so that the first of every service, end and verdict come
// first, then the second of each, and so on.
func sample(t *table, is func(int) bool) []int {
	type kind struct{ service, end, verdict int }
	seen := map[kind]int{}
	var rows [][2]int // how many of the kind came before, row
	for row := range t.Count {
		if is(row) {
			k := kind{t.Service[row], t.End[row], t.Verdict[row]}
			rows = append(rows, [2]int{seen[k], row})
			seen[k]++
		}
	}
	slices.SortStableFunc(rows, func(a, b [2]int) int { return a[0] - b[0] })
	out := make([]int, len(rows))
	for i, r := range rows {
		out[i] = r[1]
	}
	return out
}

func (p *page) detail(row int) (detail, error) {
	c := &p.Answer.Connections[row]
	d := detail{Row: row, Reason: text(c.Reason), Server: text(c.ServerName), Steps: []step{}}
	if c.Granularity == "request" {
		d.Notes = append(d.Notes, text(render.ByRequest(c)))
	}
	for _, m := range c.MayHaveDialled {
		d.May = append(d.May, text(label(m)))
	}
	e := quoting{p: p}
	var servers []step
	for _, s := range c.Sockets {
		x := step{Kind: s.Role, What: text(s.Role + " socket"), Place: text(s.Scope), State: text(s.State), More: text(s.Program), Evidence: e.of(s.Evidence, s.Local, s.Remote)}
		x.Before = [2]text{text(s.Local), text(s.Remote)}
		if s.Role == "server" {
			x.Before = [2]text{text(s.Remote), text(s.Local)}
			servers = append(servers, x)
			continue
		}
		d.Steps = append(d.Steps, x)
	}
	for _, h := range c.Hops {
		x := step{Kind: "hop", What: text(render.Words(h.Via)), Place: text(h.Scope), Mechanism: text(h.Mechanism), State: text(h.State),
			Before: [2]text{text(h.Before.Source), text(h.Before.Destination)}, After: [2]text{text(h.After.Source), text(h.After.Destination)}}
		if h.Tier != "" {
			x.More = text(h.Tier + " match")
		}
		if h.After.Destination == "" {
			x.More = text(strings.TrimSpace(string(x.More) + " " + render.Change(c, h)))
		}
		x.Evidence = e.of(h.Evidence, h.Before.Source, h.Before.Destination, h.After.Source, h.After.Destination)
		d.Steps = append(d.Steps, x)
	}
	d.Steps = append(d.Steps, servers...)
	d.rest(p, c, &e)
	return d, e.err
}

// rest is what is said of a connection beside its path.
func (d *detail) rest(p *page, c *resolve.Connection, e *quoting) {
	for _, s := range c.Captures {
		x := step{Kind: "capture", What: text(strings.TrimSpace(strings.Join([]string{"capture", s.Device, s.Leg}, " "))), Place: text(s.Scope), State: text(s.State),
			Before: [2]text{text(s.Source), text(s.Destination)}, Evidence: e.of(s.Evidence, s.Source, s.Destination)}
		x.More = text(fmt.Sprintf("%d packets, %d bytes sent, %d received", s.Packets, s.Sent, s.Received))
		if s.Encapsulation != "" {
			x.More += text(", in " + s.Encapsulation)
		}
		d.Captures = append(d.Captures, x)
	}
	if c.Handshake != nil {
		d.Handshake = &saying{text(render.Began(c.Handshake)), e.of(c.Handshake.Evidence, c.Client.Address, c.Service.Address)}
	}
	for _, g := range c.Gaps {
		d.Gaps = append(d.Gaps, p.gaps.number[g])
	}
	for _, f := range c.Conflicts {
		x := conflict{Reason: text(f.Reason), Claims: []saying{}}
		for _, claim := range f.Claims {
			x.Claims = append(x.Claims, saying{text("says " + claim.Backend), e.of(claim.Evidence, c.Client.Address, claim.Backend)})
		}
		d.Conflicts = append(d.Conflicts, x)
	}
	for _, b := range c.Backends {
		if b.Reason != "" || len(b.Evidence) > 0 {
			s := label(b.Party)
			if b.Reason != "" {
				s += ": " + b.Reason
			}
			d.Backends = append(d.Backends, saying{text(s), e.of(b.Evidence, b.Address)})
		}
	}
}

func label(p resolve.Party) string {
	return strings.TrimSpace(named(p) + " " + render.Address(p))
}

// quoting turns evidence into the page's, and keeps the first error.
type quoting struct {
	p   *page
	err error
}

func (q *quoting) of(list []resolve.Evidence, addresses ...string) []evidence {
	out, err := q.p.listings.evidence(list, addresses...)
	if q.err == nil {
		q.err = err
	}
	return out
}

// gaps are what is missing, each once, with how many connections miss it.
type gaps struct {
	list   []gap
	number map[resolve.Gap]int
}

type gap struct {
	Missing text `json:"missing"`
	Effect  text `json:"effect,omitempty"`
	Command text `json:"command,omitempty"`
	Count   int  `json:"count"`
}

func newGaps(c Case) *gaps {
	out := &gaps{list: []gap{}, number: map[resolve.Gap]int{}}
	for i := range c.Answer.Connections {
		for _, g := range c.Answer.Connections[i].Gaps {
			n, ok := out.number[g]
			if !ok {
				n = len(out.list)
				out.number[g] = n
				out.list = append(out.list, gap{Missing: text(g.Missing), Effect: text(g.Effect), Command: text(g.Command)})
			}
			out.list[n].Count++
		}
	}
	return out
}
