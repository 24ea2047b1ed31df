package render

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"whichbackend/analyze/resolve"
)

// answer writes an answer as text: one connection with its path, several as a
// table, and every path where it is asked for.
func (o *out) answer(a *resolve.Answer, wide bool) {
	list, note := a.Connections, coverageNote(a.Coverage)
	switch {
	case len(list) == 0:
		o.line("no connection matches")
	case len(list) == 1 || o.opt.Explain:
		for i := range list {
			if i > 0 {
				o.line()
			}
			o.connection(&list[i])
		}
		if len(list) > 1 || note != "" {
			o.line()
		}
	default:
		o.table(list, wide)
		o.line()
	}
	if note != "" {
		o.line(note)
	}
	if len(list) > 1 {
		o.line(counts(list))
	}
}

// connection writes one connection with its path, hop by hop.
func (o *out) connection(c *resolve.Connection) {
	o.line(party(c.Client), "  ->  ", service(c))
	if !seen(c) {
		o.line("  ", notSeen(c))
	}
	if c.Granularity == "request" {
		o.line("  ", byRequest(c))
	}
	o.backends(c)
	for _, p := range c.MayHaveDialled {
		o.line("  may have dialled  ", party(p))
	}
	o.spans(span{text: "  "}, span{text: string(c.Verdict), style: style(c.Verdict)}, span{text: by(c)})
	if c.Reason != "" {
		o.line("  because  ", c.Reason)
	}
	if c.ServerName != "" {
		o.line("  asks for  ", c.ServerName)
	}
	if c.Handshake != nil {
		o.line("  handshake  ", handshake(c.Handshake))
	}
	o.path(c)
	for _, f := range c.Conflicts {
		o.line("  conflict: ", f.Reason)
		g := grid{indent: "    ", gaps: []int{5}}
		for _, claim := range f.Claims {
			o.evidence(&g, claim.Evidence, span{text: "says " + claim.Backend})
		}
		o.grid(g)
	}
	for _, g := range c.Gaps {
		o.line("  to settle it: missing ", g.Missing, inBrackets(g.Effect))
		if g.Command != "" {
			o.line("    record it with  ", g.Command)
		}
	}
}

func inBrackets(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}

// backends writes what serves a connection, or each that may.
func (o *out) backends(c *resolve.Connection) {
	one := len(c.Backends) == 1 && c.Verdict != resolve.Candidates
	if !one {
		o.line("  backend  ", backends(c, false))
	}
	g := grid{indent: "      ", gaps: []int{5}}
	for _, b := range c.Backends {
		s := strings.Trim(name(b.Party)+"  "+address(b.Party), " ")
		if b.Host != "" && (b.Kind != "node" || b.Name != b.Host) {
			s += "  on " + b.Host
		}
		if one {
			s = "  backend  " + s
		} else {
			s = "    " + s
		}
		g.note(span{text: s})
		if b.Reason != "" || len(b.Evidence) > 0 {
			o.evidence(&g, b.Evidence, span{text: orElse(b.Reason, "named in")})
		}
	}
	o.grid(g)
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// path writes the sockets and hops, numbered, each with its evidence. The
// mechanism of each hop is named only where they differ.
func (o *out) path(c *resolve.Connection) {
	g := grid{indent: "    ", gaps: []int{2, 3, 5}}
	mixed := len(c.Mechanisms) > 1
	list := steps(c)
	views, more := sightings(c, o.opt.Explain)
	for i, s := range append(list, views...) {
		if mixed && s.mechanism != "" {
			s.what += " (" + s.mechanism + ")"
		}
		o.evidence(&g, s.evidence, span{text: strconv.Itoa(i + 1), right: true}, span{text: s.what}, span{text: s.change})
	}
	o.grid(g)
	if more > 0 {
		o.line(fmt.Sprintf("       and seen in %s more; --explain lists them", count(more, "place")))
	}
}

// evidence adds a row that ends in the first piece of evidence, and a row for
// each further one; with --explain each has its quoted text below.
func (o *out) evidence(g *grid, list []resolve.Evidence, cells ...span) {
	if len(list) == 0 {
		g.add(cells...)
	}
	for _, e := range list {
		g.add(append(slices.Clone(cells), span{text: position(e)})...)
		if o.opt.Explain && e.Text != "" {
			quote := g.indent + "   | " + Clean(e.Text)
			g.note(span{text: o.quote(quote), style: dim})
		}
		clear(cells)
	}
}

// quote cuts a quoted text to the terminal's width. Into a file or a pipe it
// goes whole: the end of a line is often what proves it.
func (o *out) quote(s string) string {
	if !o.opt.Terminal {
		return s
	}
	return clip(s, o.opt.width())
}

// table writes several connections, one line each. Where they
// are more than fit a screen, they are counted by service, backend and verdict
// too, and a terminal gets the first of them only.
func (o *out) table(list []resolve.Connection, wide bool) {
	sums := sum(list, wide)
	room := o.opt.height() - 5 // header, blank line, sums, prompt
	show := len(list)
	if len(list) <= room {
		sums = nil
	} else if o.opt.Terminal {
		show = min(max(room-len(sums)-3, 5), show)
	}
	g := grid{}
	head := []string{"CLIENT", "SERVICE", "BACKEND", "VERDICT", "BY"}
	if wide {
		head = append(head, "STATE", "HOPS", "REASON")
	}
	g.add(texts(head...)...)
	for i := range list[:show] {
		c := &list[i]
		cells := texts(party(c.Client), service(c), backends(c, wide), string(c.Verdict), orElse(strings.Join(c.Mechanisms, ", "), "-"))
		cells[3].style = style(c.Verdict)
		if wide {
			cells = append(cells, texts(orElse(c.State, "-"), orElse(hops(c), "-"), c.Reason)...)
		}
		g.add(cells...)
	}
	o.grid(g)
	if show < len(list) {
		o.line(fmt.Sprintf("... %d more; all are shown where the output is no terminal, as in | less", len(list)-show))
	}
	if sums != nil {
		o.line()
		o.sums(sums, show < len(list))
	}
}

// hops are the hops of a connection on one line.
func hops(c *resolve.Connection) string {
	list := make([]string, len(c.Hops))
	for i, h := range c.Hops {
		list[i] = joined(place(h.Scope), words(h.Via)) + " " + change(c, h)
	}
	return strings.Join(list, "; ")
}

// group is how many connections share a service, a backend and a verdict.
type group struct {
	service, backend string
	verdict          resolve.Verdict
	n                int
}

// sum groups connections; the groups of a service stand together, the largest first.
func sum(list []resolve.Connection, wide bool) []group {
	type key struct {
		service, backend string
		verdict          resolve.Verdict
	}
	index := map[key]int{}
	var out []group
	for i := range list {
		c := &list[i]
		k := key{service(c), backends(c, wide), c.Verdict}
		at, ok := index[k]
		if !ok {
			at = len(out)
			index[k] = at
			out = append(out, group{k.service, k.backend, k.verdict, 0})
		}
		out[at].n++
	}
	slices.SortStableFunc(out, func(a, b group) int {
		return cmp.Or(strings.Compare(a.service, b.service), b.n-a.n, strings.Compare(a.backend, b.backend), strings.Compare(string(a.verdict), string(b.verdict)))
	})
	return out
}

// sums writes groups; where the screen is the limit, no more than fill one.
func (o *out) sums(list []group, cut bool) {
	g := grid{}
	g.add(span{text: "CONNECTIONS", right: true}, span{text: "SERVICE"}, span{text: "BACKEND"}, span{text: "VERDICT"})
	for i, s := range list {
		if room := o.opt.height(); cut && i == room && i+1 < len(list) {
			g.note(span{text: fmt.Sprintf("... %d more groups", len(list)-i)})
			break
		}
		g.add(span{text: strconv.Itoa(s.n), right: true}, span{text: s.service}, span{text: s.backend}, span{text: string(s.verdict), style: style(s.verdict)})
	}
	o.grid(g)
}
