package render

import (
	"math/bits"
	"strconv"
	"strings"
	"unicode"

	"whichbackend/analyze/resolve"
)

// columnLimits are how many boxes a column of a folded map may have: the next
// is tried where the text is longer than mermaidText.
var columnLimits = [...]int{12, 8, 5, 3}

// mermaidMost is how much text Mermaid draws, unless told otherwise.
const mermaidMost = 50_000

// mermaid writes an answer as a Mermaid flowchart.
func (o *out) mermaid(a *resolve.Answer) {
	text := ""
	for _, limit := range columnLimits {
		if text = mermaidChart(answerGraph(a, limit)); len([]rune(text)) < mermaidMost {
			break
		}
	}
	o.w.WriteString(text)
}

// dot writes an answer for Graphviz.
func (o *out) dot(a *resolve.Answer) { o.w.WriteString(dotGraph(answerGraph(a, columnLimits[0]))) }

// colours of arrows are told from white and from black, and none says more
// than a word beside it does.
var colours = map[tone]string{good: "#2f80d0", open: "#c26a00", bad: "#d93f3f"}

const grey = "#808080"

// lines collects the lines of a text.
type lines struct{ strings.Builder }

func (l *lines) add(parts ...string) {
	for _, s := range parts {
		l.WriteString(s)
	}
	l.WriteByte('\n')
}

func mermaidChart(g *graph) string {
	var l lines
	l.add(`%%{init: {"flowchart": {"wrappingWidth": 480}}}%%`) // else it breaks names at 200 pixels
	l.add("flowchart ", direction(g, "TB", "LR"))
	if len(g.note) > 0 {
		l.add(`  note["`, mermaidText(g.note), `"]:::note`)
	}
	for _, group := range append([]string{""}, g.groups...) {
		indent := "  "
		if group != "" {
			if !g.has(group) {
				continue
			}
			l.add("  subgraph ", group)
			indent = "    "
		}
		for i, n := range g.nodes {
			if n.group == group {
				l.add(indent, id(i), mermaidBox(n))
			}
		}
		if group != "" {
			l.add("  end")
		}
	}
	for _, e := range g.edges {
		arrow := " -->"
		if e.dotted {
			arrow = " -.->"
		}
		if len(e.lines) > 0 {
			arrow += `|"` + mermaidText(e.lines) + `"|`
		}
		l.add("  ", id(e.from), arrow, " ", id(e.to))
	}
	if g.down && len(g.note) > 0 {
		l.add("  note ~~~ n1") // above the path
	}
	l.add("  classDef note fill:none,stroke:none")
	l.add("  classDef dead stroke:", colours[bad], ",stroke-width:3px")
	l.add("  classDef unknown stroke:", grey, ",stroke-dasharray:4")
	mermaidArrows(&l, g)
	return l.String()
}

// mermaidArrows gives arrows their colour and width, those that look the same
// in one line.
func mermaidArrows(l *lines, g *graph) {
	by := map[string][]string{}
	var order []string
	for i, e := range g.edges {
		s := "stroke-width:" + e.width() + "px"
		if c := colours[e.tone]; c != "" {
			s = "stroke:" + c + "," + s
		}
		if by[s] == nil {
			order = append(order, s)
		}
		by[s] = append(by[s], strconv.Itoa(i))
	}
	for _, s := range order {
		l.add("  linkStyle ", strings.Join(by[s], ","), " ", s)
	}
}

func mermaidBox(n node) string {
	text := `"` + mermaidText(n.lines) + `"`
	switch n.look {
	case rounded:
		return "([" + text + "])"
	case dead:
		return "[" + text + "]:::dead"
	case dashed:
		return "[" + text + "]:::unknown"
	}
	return "[" + text + "]"
}

// has tells whether a group has a box.
func (g *graph) has(group string) bool {
	for _, n := range g.nodes {
		if n.group == group {
			return true
		}
	}
	return false
}

func direction(g *graph, down, right string) string {
	if g.down {
		return down
	}
	return right
}

// width grows with each doubling of the settled connections, up to a bound.
func (e *edge) width() string {
	return strconv.Itoa(min(bits.Len(uint(max(e.n, e.settled, 1))), 6) + 1)
}

func id(n int) string { return "n" + strconv.Itoa(n+1) }

// mermaidText makes the lines of a label. Whatever Mermaid, its Markdown or
// HTML might read as more than text is written as a character code.
func mermaidText(lines []string) string {
	var b strings.Builder
	for i, s := range lines {
		if i > 0 {
			b.WriteString("<br/>")
		}
		list := []rune(s)
		for j, r := range list {
			if mermaidPlain(list, j) {
				b.WriteRune(r)
			} else {
				b.WriteString("#" + strconv.Itoa(int(r)) + ";")
			}
		}
	}
	return mermaidTraps.Replace(b.String())
}

// mermaidPlain tells whether a rune may stand as it is. Points and dashes
// stand between letters and digits, as elsewhere they make lists and lines;
// the letters of Mermaid's own notation for codes do not.
func mermaidPlain(list []rune, i int) bool {
	r := list[i]
	switch {
	case r == 'ß' || r == 'ﬂ':
		return false
	case ordinary(r) || r == ' ' || r == '/' || r == '(' || r == ',':
		return true
	case strings.ContainsRune("-.:)", r):
		return i > 0 && i+1 < len(list) && ordinary(list[i-1]) && ordinary(list[i+1])
	}
	return false
}

// mermaidTraps are what Mermaid takes for its own even inside of a label. In a
// chart's text it looks for directions and styles. After it has turned codes
// into characters it looks for line ends (\n), icons (fa:fa-x), formulas ($$)
// and codes once more: these are kept apart by a joiner, which is not visible.
var mermaidTraps = strings.NewReplacer(
	"direction ", "direction#32;",
	"style", "#115;tyle",
	"classDef", "#99;lassDef",
	"#92;n", "#92;#8288;n",
	":fa", ":#8288;fa",
	"#36;", "#36;#8288;",
	"#64258;", "#64258;#8288;",
	"#182;", "#182;#8288;",
)

func ordinary(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r >= 0x80 && unicode.IsLetter(r)
}

func dotGraph(g *graph) string {
	var l lines
	l.add("digraph whichbackend {")
	l.add("  rankdir=", direction(g, "TB", "LR"))
	l.add("  ranksep=0.9")
	l.add(`  fontname="Helvetica,Arial,sans-serif"`)
	if len(g.note) > 0 {
		l.add("  labelloc=t")
		l.add(`  label="`, dotText(g.note), `"`)
	}
	l.add(`  node [shape=box, fontname="Helvetica,Arial,sans-serif", fontsize=12]`)
	l.add(`  edge [fontname="Helvetica,Arial,sans-serif", fontsize=11, arrowsize=0.7, color="#404040"]`)
	for _, group := range append([]string{""}, g.groups...) {
		indent := "  "
		if group != "" {
			l.add("  subgraph cluster_", group, " {")
			l.add(`    label="`, group, `"`)
			l.add(`    color="`, grey, `"`)
			indent = "    "
		}
		for i, n := range g.nodes {
			if n.group == group {
				l.add(indent, id(i), ` [label="`, dotText(n.lines), `"`, dotLooks[n.look], `]`)
			}
		}
		if group != "" {
			l.add("  }")
		}
	}
	for _, e := range g.edges {
		l.add("  ", id(e.from), " -> ", id(e.to), " [", strings.Join(dotArrow(e), ", "), "]")
	}
	l.add("}")
	return l.String()
}

var dotLooks = map[look]string{
	rounded: ", style=rounded",
	dead:    `, color="` + colours[bad] + `", penwidth=3`,
	dashed:  `, color="` + grey + `", style=dashed`,
}

func dotArrow(e *edge) []string {
	list := []string{"penwidth=" + e.width()}
	if len(e.lines) > 0 {
		list = append(list, `label="`+dotText(e.lines)+`"`)
	}
	if c := colours[e.tone]; c != "" {
		list = append(list, `color="`+c+`"`)
	}
	if e.dotted {
		list = append(list, "style=dashed")
	}
	return list
}

// dotEscapes: Graphviz reads backslash escapes and the entities of HTML in
// quoted labels.
var dotEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "&", "&amp;")

func dotText(lines []string) string {
	out := make([]string, len(lines))
	for i, s := range lines {
		out[i] = dotEscapes.Replace(s)
	}
	return strings.Join(out, `\n`)
}
