package render

import (
	"net/netip"
	"strconv"

	"whichbackend/analyze/resolve"
)

// graph is a picture of an answer, for Mermaid and DOT.
type graph struct {
	groups  []string
	nodes   []node
	edges   []*edge
	index   map[string]int
	between map[[2]int]*edge
}

// node is a box; each of its lines is a text of a bundle or of ours.
type node struct {
	group string
	lines []string
}

// edge is an arrow with what is counted or said of it. A dotted one is not
// settled.
type edge struct {
	from, to int
	lines    []string
	verdicts map[resolve.Verdict]int
	n        int
	dotted   bool
}

func answerGraph(a *resolve.Answer) *graph {
	g := &graph{index: map[string]int{}, between: map[[2]int]*edge{}}
	if len(a.Connections) == 1 {
		g.path(&a.Connections[0])
		return g
	}
	g.groups = []string{"clients", "services", "backends"}
	for i := range a.Connections {
		g.count(&a.Connections[i])
	}
	for _, e := range g.edges {
		if e.n > 0 {
			e.lines = append(e.lines, strconv.Itoa(e.n))
		}
		e.lines = append(e.lines, verdicts(e.verdicts)...)
	}
	return g
}

// node returns the number of a box, which is made when it is new.
func (g *graph) node(group, key string, lines ...string) int {
	key = group + "\x00" + key
	i, ok := g.index[key]
	if !ok {
		i = len(g.nodes)
		g.index[key] = i
		g.nodes = append(g.nodes, node{group, said(lines...)})
	}
	return i
}

// edge returns the arrow between two boxes, which is made when it is new.
func (g *graph) edge(from, to int) *edge {
	e, ok := g.between[[2]int{from, to}]
	if !ok {
		e = g.arrow(from, to)
		g.between[[2]int{from, to}] = e
	}
	return e
}

// arrow makes an arrow, whether or not there is one already.
func (g *graph) arrow(from, to int, lines ...string) *edge {
	e := &edge{from: from, to: to, lines: said(lines...), verdicts: map[resolve.Verdict]int{}}
	g.edges = append(g.edges, e)
	return e
}

// count adds a connection to the picture of several. The ports of clients are
// left out, so that a client is one box.
func (g *graph) count(c *resolve.Connection) {
	who := name(c.Client)
	if who == "" {
		who = c.Client.Address
		if a, err := netip.ParseAddrPort(who); err == nil {
			who = a.Addr().String()
		}
	}
	on := ""
	if c.Client.Host != "" && c.Client.Host != c.Client.Name {
		on = "on " + c.Client.Host // two hosts may each have a client of this name
	}
	from := g.node("clients", who+"\x00"+on, orElse(who, "not known"), on)
	direct := len(c.Mechanisms) == 1 && c.Mechanisms[0] == "direct" && len(c.Backends) > 0
	if !direct {
		s := g.node("services", service(c), orElse(name(c.Service), party(c.Service)), addressBelow(c.Service))
		g.edge(from, s).n++
		from = s
	}
	for _, to := range g.ends(c, "backends") {
		e := g.edge(from, to)
		if len(e.verdicts) == 0 {
			e.dotted = true
			if direct {
				e.lines = append(e.lines, "direct")
			}
		}
		v := c.Verdict
		if c.Granularity == "request" {
			v += " by request"
		}
		e.verdicts[v]++
		e.dotted = e.dotted && !c.Settled()
	}
}

// ends are the boxes of the backends, or the one that says that there is none.
func (g *graph) ends(c *resolve.Connection, group string) []int {
	var out []int
	for _, b := range c.Backends {
		key := b.Address
		if group != "" || key == "" {
			key = party(b.Party)
		}
		out = append(out, g.node(group, key, name(b.Party), address(b.Party)))
	}
	if len(out) == 0 && c.Verdict == resolve.None {
		out = append(out, g.node(group, "\x00none", "nothing serves it"))
	} else if len(out) == 0 {
		out = append(out, g.node(group, "\x00unknown", "not known"))
	}
	return out
}

// addressBelow is the second line of a box: the address, unless it is the
// first line already.
func addressBelow(p resolve.Party) string {
	if name(p) == "" {
		return ""
	}
	return address(p)
}

// path draws one connection hop by hop. A box is an address on the way.
func (g *graph) path(c *resolve.Connection) {
	client := g.node("", "client", orElse(name(c.Client), party(c.Client)), addressBelow(c.Client))
	at := g.node("", orElse(c.Service.Address, "service"), orElse(name(c.Service), party(c.Service)), addressBelow(c.Service))
	first := g.arrow(client, at, c.State)
	if !seen(c) {
		first.lines, first.dotted = append(first.lines, "not in the bundle"), true
	} else if len(c.Hops) == 0 && len(c.Mechanisms) == 1 {
		first.lines = append(first.lines, c.Mechanisms[0])
	}
	for _, h := range c.Hops {
		if h.After.Destination == "" {
			break
		}
		source := ""
		if h.Before.Source != h.After.Source && h.Before.Source != "" {
			source = "from " + h.Before.Source + " as " + known(h.After.Source)
		}
		to := g.node("", h.After.Destination, h.After.Destination)
		g.arrow(at, to, h.Mechanism, joined(place(h.Scope), words(h.Via)), source)
		at = to
	}
	for i, to := range g.ends(c, "") {
		reason := ""
		if i < len(c.Backends) {
			reason = c.Backends[i].Reason
			g.nodes[to].lines = said(name(c.Backends[i].Party), address(c.Backends[i].Party))
		}
		if to == at {
			g.nodes[to].lines = append(g.nodes[to].lines, string(c.Verdict))
		} else {
			g.arrow(at, to, string(c.Verdict), reason).dotted = !c.Settled()
		}
	}
	for _, p := range c.MayHaveDialled {
		s := g.node("", p.Address, orElse(name(p), party(p)), addressBelow(p))
		g.arrow(client, s, "may have dialled").dotted = true
		g.arrow(s, at).dotted = true
	}
}
