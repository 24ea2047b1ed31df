package render

import (
	"strconv"
	"strings"

	"whichbackend/analyze/resolve"
)

// path draws one connection hop by hop. A box is an address on the way.
func (g *graph) path(c *resolve.Connection) {
	g.down = true
	g.note = labels(string(c.Verdict) + by(c))
	g.note = append(g.note, wrapped(c.Reason)...)
	if c.Granularity == "request" {
		g.note = append(g.note, wrapped(byRequest(c))...)
	}
	client := g.node("", "client", square, orElse(name(c.Client), party(c.Client)), addressBelow(c.Client), host(c.Client))
	at := g.node("", orElse(c.Service.Address, "service"), rounded, orElse(name(c.Service), party(c.Service)), addressBelow(c.Service), protocol(c))
	first := g.arrow(client, at, c.State)
	if !seen(c) {
		first.lines, first.dotted = append(first.lines, "not in the bundle"), true
	} else if len(c.Hops) == 0 && len(c.Mechanisms) == 1 {
		first.lines = append(first.lines, labels(c.Mechanisms[0])...)
	}
	at = g.hops(c, at)
	for i, to := range g.ends(c, "") {
		reason, known := "", i < len(c.Backends) && g.nodes[to].look != dashed
		if known {
			p := c.Backends[i].Party
			reason = c.Backends[i].Reason
			g.nodes[to].look = square
			g.say(to, name(p), address(p), host(p))
		}
		if to == at {
			g.nodes[to].lines = append(g.nodes[to].lines, labels(string(c.Verdict))...)
			continue
		}
		e := g.arrow(at, to, string(c.Verdict))
		e.lines = append(e.lines, wrapped(reason)...)
		e.dotted, e.tone = !c.Settled(), toneOf(c.Verdict)
	}
	g.mayHaveDialled(c, client, at)
}

// hops draws the way of a connection from a box, and returns the one in which
// it ends.
func (g *graph) hops(c *resolve.Connection, at int) int {
	for i, h := range c.Hops {
		if h.After.Destination == "" {
			break
		}
		if i == maxHops {
			g.note = append(g.note, count(len(c.Hops)-i, "more hop")+" not drawn")
			break
		}
		source, where := "", ""
		if h.Before.Source != h.After.Source && h.Before.Source != "" {
			source = "from " + h.Before.Source + " as " + known(h.After.Source)
		}
		if len(h.Evidence) > 0 {
			where = position(h.Evidence[0])
		}
		says := []string{h.Mechanism, joined(place(h.Scope), words(h.Via)), source, where}
		to := g.node("", h.After.Destination, square, h.After.Destination)
		if to == at { // it passed there on its way to the same address
			into := g.edges[len(g.edges)-1]
			into.lines = append(into.lines, labels(says...)...)
			continue
		}
		g.arrow(at, to, says...).tone = good
		at = to
	}
	return at
}

// mayHaveDialled draws the services that the connection may have come through.
func (g *graph) mayHaveDialled(c *resolve.Connection, client, at int) {
	for i, p := range c.MayHaveDialled {
		if i == maxEnds {
			g.note = append(g.note, "it may have dialled "+strconv.Itoa(len(c.MayHaveDialled)-i)+" more services")
			return
		}
		s := g.node("", p.Address, rounded, orElse(name(p), party(p)), addressBelow(p))
		g.arrow(client, s, "may have dialled").dotted = true
		g.arrow(s, at).dotted = true
	}
}

// wrapped breaks a sentence into the lines of a label, three at most.
func wrapped(s string) []string {
	const width, most = 56, 3
	var out []string
	line := ""
	for _, word := range strings.Fields(Clean(s)) {
		word = label(word)
		if line != "" && len([]rune(line))+1+len([]rune(word)) > width {
			if out = append(out, line); len(out) == most {
				out[most-1] = line + " ..."
				return out
			}
			line = ""
		}
		line = joined(line, word)
	}
	return append(out, labels(line)...)
}
