package render

import (
	"strconv"
	"strings"
)

// mermaid writes a graph as a Mermaid flowchart.
func (o *out) mermaid(g *graph) {
	o.line("flowchart LR")
	for _, group := range append([]string{""}, g.groups...) {
		indent := "  "
		if group != "" {
			o.line("  subgraph ", group)
			indent = "    "
		}
		for i, n := range g.nodes {
			if n.group == group {
				o.line(indent, id(i), `["`, mermaidText(n.lines), `"]`)
			}
		}
		if group != "" {
			o.line("  end")
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
		o.line("  ", id(e.from), arrow, " ", id(e.to))
	}
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
		for _, r := range Clean(s) {
			if r >= 0x80 || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || strings.ContainsRune(" -./:(),", r) {
				b.WriteRune(r)
			} else {
				b.WriteString("#" + strconv.Itoa(int(r)) + ";")
			}
		}
	}
	return b.String()
}

// dot writes a graph for Graphviz.
func (o *out) dot(g *graph) {
	o.line("digraph whichbackend {")
	o.line("  rankdir=LR")
	o.line("  node [shape=box]")
	for _, group := range append([]string{""}, g.groups...) {
		indent := "  "
		if group != "" {
			o.line("  subgraph cluster_", group, " {")
			o.line(`    label="`, group, `"`)
			indent = "    "
		}
		for i, n := range g.nodes {
			if n.group == group {
				o.line(indent, id(i), ` [label="`, dotText(n.lines), `"]`)
			}
		}
		if group != "" {
			o.line("  }")
		}
	}
	for _, e := range g.edges {
		var attributes []string
		if len(e.lines) > 0 {
			attributes = append(attributes, `label="`+dotText(e.lines)+`"`)
		}
		if e.dotted {
			attributes = append(attributes, "style=dashed")
		}
		s := "  " + id(e.from) + " -> " + id(e.to)
		if len(attributes) > 0 {
			s += " [" + strings.Join(attributes, ", ") + "]"
		}
		o.line(s)
	}
	o.line("}")
}

// dotEscapes: Graphviz reads backslash escapes and the entities of HTML in
// quoted labels.
var dotEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "&", "&amp;")

func dotText(lines []string) string {
	out := make([]string, len(lines))
	for i, s := range lines {
		out[i] = dotEscapes.Replace(Clean(s))
	}
	return strings.Join(out, `\n`)
}
