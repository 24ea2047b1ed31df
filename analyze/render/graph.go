package render

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"whichbackend/analyze/resolve"
)

// graph is a picture of an answer, for Mermaid and DOT. Every text in it is
// fit for a label.
type graph struct {
	down    bool // one path goes down the page, where a page is long; a map goes to the right
	note    []string
	groups  []string
	nodes   []node
	edges   []*edge
	index   map[string]int
	between map[[2]int]*edge
}

// look tells boxes apart without colour.
type look int

const (
	square  look = iota
	rounded      // a service
	dead         // a thick red frame: nothing serves
	dashed       // not known
)

// node is a box; each of its lines is a text of a bundle or of ours.
type node struct {
	group string
	lines []string
	look  look
	of    string // what it is drawn as a part of, where there are too many boxes
	n     int    // its connections
}

// tone is how grave what an arrow stands for is.
type tone int

const (
	neutral tone = iota
	good
	open
	bad
)

// edge is an arrow with what is counted or said of it. A dotted one is not
// settled; settled connections make it thick.
type edge struct {
	from, to   int
	lines      []string
	mechanisms map[string]bool
	verdicts   map[resolve.Verdict]int
	n, settled int
	tone       tone
	dotted     bool
}

// maxHops bounds what is drawn of one path, and maxEnds its backends.
const (
	maxHops = 16
	maxEnds = 12
)

// answerGraph draws one connection hop by hop, and several as a map that has
// no more than limit boxes in a column where it is large.
func answerGraph(a *resolve.Answer, limit int) *graph {
	g := newGraph()
	switch len(a.Connections) {
	case 0:
		g.node("", "none", dashed, "no connection")
		return g
	case 1:
		g.path(&a.Connections[0])
		return g
	}
	g.groups = []string{"clients", "services", "backends"}
	for i := range a.Connections {
		g.count(&a.Connections[i])
	}
	g = g.fold(limit)
	g.note = append(wrapped(counts(a.Connections)), g.note...)
	for _, e := range g.edges {
		if e.n > 0 {
			e.lines = []string{strconv.Itoa(e.n)}
			continue
		}
		e.lines = append(labels(strings.Join(sortedKeys(e.mechanisms), ", ")), labels(verdicts(e.verdicts)...)...)
	}
	return g
}

func newGraph() *graph {
	return &graph{index: map[string]int{}, between: map[[2]int]*edge{}}
}

func sortedKeys(set map[string]bool) []string {
	var out []string
	for s := range set {
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}

// label makes a text fit for a picture: one line, with single blanks, of a
// length that a box holds. Names differ at their end, so the middle goes.
func label(s string) string {
	const most, tail = 80, 28
	list := []rune(strings.Join(strings.Fields(Clean(s)), " "))
	if len(list) > most {
		return string(list[:most-tail-3]) + "..." + string(list[len(list)-tail:])
	}
	return string(list)
}

func labels(list ...string) []string {
	var out []string
	for _, s := range list {
		if s = label(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// node returns the number of a box, which is made when it is new.
func (g *graph) node(group, key string, look look, lines ...string) int {
	key = group + "\x00" + key
	i, ok := g.index[key]
	if !ok {
		i = len(g.nodes)
		g.index[key] = i
		g.nodes = append(g.nodes, node{group: group, look: look})
		g.say(i, lines...)
	}
	g.nodes[i].n++
	return i
}

// say gives a box its lines. One with none would look like a mistake.
func (g *graph) say(i int, lines ...string) {
	g.nodes[i].lines = labels(lines...)
	if len(g.nodes[i].lines) == 0 {
		g.nodes[i].lines = []string{"not known"}
	}
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
	e := &edge{from: from, to: to, lines: labels(lines...), mechanisms: map[string]bool{}, verdicts: map[resolve.Verdict]int{}}
	g.edges = append(g.edges, e)
	return e
}

// count adds a connection to the map. The ports of clients are left out, so
// that a client is one box.
func (g *graph) count(c *resolve.Connection) {
	who := name(c.Client)
	if who == "" {
		who = c.Client.Address
		if a, err := netip.ParseAddrPort(who); err == nil {
			who = a.Addr().String()
		}
	}
	on := host(c.Client) // two hosts may each have a client of this name
	from := g.node("clients", who+"\x00"+on, square, who, on)
	g.nodes[from].of = whole(c.Client)
	if len(c.Mechanisms) != 1 || c.Mechanisms[0] != "direct" || len(c.Backends) == 0 {
		s := g.node("services", party(c.Service)+"\x00"+c.Protocol, rounded, orElse(name(c.Service), party(c.Service)), addressBelow(c.Service), protocol(c))
		g.nodes[s].of = name(c.Service)
		g.edge(from, s).n++
		from = s
	}
	v := c.Verdict
	if c.Granularity == "request" {
		v += " by request"
	}
	for _, to := range g.ends(c, "backends") {
		g.edge(from, to).add(c, v)
	}
}

// add counts a connection on the arrow to a backend.
func (e *edge) add(c *resolve.Connection, v resolve.Verdict) {
	e.verdicts[v]++
	for _, m := range c.Mechanisms {
		e.mechanisms[m] = true
	}
	if c.Settled() {
		e.settled++
	}
	e.dotted = e.settled == 0
	e.tone = max(e.tone, toneOf(c.Verdict))
}

func toneOf(v resolve.Verdict) tone {
	switch v {
	case resolve.Proven, resolve.Observed, resolve.Deduced:
		return good
	case resolve.Conflicted, resolve.None:
		return bad
	}
	return open
}

// host says where a party is, unless its name does.
func host(p resolve.Party) string {
	if p.Host == "" || p.Host == p.Name {
		return ""
	}
	return "on " + p.Host
}

// whole is what a party is a part of: its workload, else its host.
func whole(p resolve.Party) string {
	w := p.Workload()
	switch {
	case w != "" && p.Namespace != "":
		return "of " + p.Namespace + "/" + w
	case w != "":
		return "of " + w
	}
	return host(p)
}

// protocol is said where it is not TCP.
func protocol(c *resolve.Connection) string {
	if c.Protocol == "tcp" {
		return ""
	}
	return c.Protocol
}

// ends are the boxes of the backends, or the one that says that there is none.
// One path has at most maxEnds of them.
func (g *graph) ends(c *resolve.Connection, group string) []int {
	var out []int
	for i, b := range c.Backends {
		if group == "" && i == maxEnds-1 && len(c.Backends) > maxEnds {
			out = append(out, g.node(group, "\x00more", dashed, "and "+strconv.Itoa(len(c.Backends)-i)+" more"))
			break
		}
		key := b.Address
		if group != "" || key == "" {
			key = party(b.Party) + "\x00" + b.Host
		}
		to := g.node(group, key, square, name(b.Party), address(b.Party), host(b.Party))
		g.nodes[to].of = whole(b.Party)
		out = append(out, to)
	}
	if len(out) == 0 && c.Verdict == resolve.None {
		out = append(out, g.node(group, "\x00none", dead, "nothing serves it"))
	} else if len(out) == 0 {
		out = append(out, g.node(group, "\x00unknown", dashed, "not known"))
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
