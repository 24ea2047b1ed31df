package render

import (
	"strconv"
	"strings"

	"whichbackend/analyze/load"
	"whichbackend/analyze/resolve"
)

// markdownEscapes make every character that Markdown, GitHub's tables, links
// and formulas or HTML give a meaning stand for itself.
var markdownEscapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`,
	"[", `\[`, "]", `\]`, "|", `\|`, "~", `\~`, "#", `\#`, "!", `\!`, "$", `\$`, "://", `:\//`, "www.", `www\.`)

func md(s string) string { return markdownEscapes.Replace(Clean(s)) }

// markdownTable writes a table; the cells are texts, escaped here. A right
// column is one of numbers.
func (o *out) markdownTable(head []string, rows [][]string, right func(column int) bool) {
	row := func(list []string) {
		var b strings.Builder
		for _, s := range list {
			b.WriteString("| " + md(s) + " ")
		}
		o.line(b.String() + "|")
	}
	row(head)
	rule := ""
	for i := range head {
		if right != nil && right(i) {
			rule += "|--:"
		} else {
			rule += "|---"
		}
	}
	o.line(rule + "|")
	for _, r := range rows {
		row(r)
	}
}

// answerMarkdown writes a table of the connections, below it the evidence of
// each, and what a reader without the bundle cannot see: how much of it was
// not understood, and the warnings.
func (o *out) answerMarkdown(a *resolve.Answer) {
	var rows [][]string
	for i := range a.Connections {
		c := &a.Connections[i]
		rows = append(rows, []string{strconv.Itoa(i + 1), party(c.Client), service(c), backends(c, false), string(c.Verdict), strings.Join(c.Mechanisms, ", "), c.Reason})
	}
	if len(rows) == 0 {
		o.line("no connection matches")
	} else {
		o.markdownTable([]string{"", "Client", "Service", "Backend", "Verdict", "By", "Reason"}, rows, nil)
		o.line()
		o.line(md(counts(a.Connections)))
	}
	for i := range a.Connections {
		o.line()
		o.connectionMarkdown(i+1, &a.Connections[i])
	}
	if note := coverageNote(a.Coverage); note != "" {
		o.line()
		o.line(md(note))
	}
	for i, w := range a.Warnings {
		if i == 0 {
			o.line()
		}
		o.line("- warning: ", md(w))
	}
}

func (o *out) connectionMarkdown(n int, c *resolve.Connection) {
	o.line("### ", strconv.Itoa(n), ". ", md(party(c.Client)), " → ", md(service(c)))
	o.line()
	if !seen(c) {
		o.line("- ", md(notSeen(c)))
	}
	if c.Granularity == "request" {
		o.line("- ", md(byRequest(c)))
	}
	for _, b := range c.Backends {
		s := "- backend " + md(party(b.Party))
		if b.Host != "" {
			s += " on " + md(b.Host)
		}
		if b.Reason != "" {
			s += ": " + md(b.Reason)
		}
		o.line(s)
		o.evidenceMarkdown(b.Evidence)
	}
	if len(c.Backends) == 0 {
		o.line("- backend ", backends(c, false))
	}
	for _, p := range c.MayHaveDialled {
		o.line("- may have dialled ", md(party(p)))
	}
	o.line("- **", md(string(c.Verdict)), "**", md(by(c)))
	if c.ServerName != "" {
		o.line("- asks for ", md(c.ServerName))
	}
	if c.Handshake != nil {
		o.line("- handshake ", md(handshake(c.Handshake)))
	}
	views, _ := sightings(c, true)
	for _, s := range append(steps(c), views...) {
		o.line("- ", md(s.what), ": ", md(s.change))
		o.evidenceMarkdown(s.evidence)
	}
	for _, f := range c.Conflicts {
		o.line("- conflict: ", md(f.Reason))
		for _, claim := range f.Claims {
			o.line("  - says ", md(claim.Backend))
			for _, e := range claim.Evidence {
				o.line("    - ", evidenceText(e))
			}
		}
	}
	for _, g := range c.Gaps {
		s := "- to settle it: missing " + md(g.Missing+inBrackets(g.Effect))
		if g.Command != "" {
			s += "; record it with " + codeSpan(g.Command)
		}
		o.line(s)
	}
}

func (o *out) evidenceMarkdown(list []resolve.Evidence) {
	for _, e := range list {
		o.line("  - ", evidenceText(e))
	}
}

// evidenceText quotes a piece of evidence: a ticket has no bundle beside it.
func evidenceText(e resolve.Evidence) string {
	if e.Text == "" {
		return "in " + md(position(e))
	}
	return "in " + md(position(e)) + ": " + md(e.Text)
}

// codeSpan shows a command so that it can be copied as it is. Its fence is
// longer than any run of backticks in it. No table may hold it.
func codeSpan(s string) string {
	s = Clean(s)
	fence := "`"
	for strings.Contains(s, fence) {
		fence += "`"
	}
	if fence != "`" {
		return fence + " " + s + " " + fence
	}
	return fence + s + fence
}

// inspectionMarkdown writes tables of the artifacts and formats, and lists of
// what was not understood, not recorded or warned of.
func (o *out) inspectionMarkdown(in *load.Inspection) {
	var rows, problems [][]string
	for _, x := range in.Artifacts {
		rows = append(rows, artifactRow(x))
		for _, p := range x.Problems {
			problems = append(problems, []string{problemPlace(x, p), p.Why, p.Text})
		}
	}
	o.markdownTable(titles(artifactHead), rows, func(i int) bool { return i > 3 })
	o.line()
	o.markdownTable(titles(formatHead), formatRows(in), func(i int) bool { return i > 0 })
	o.line()
	o.line(md(totals(in)))
	if len(problems) > 0 {
		o.line()
		o.markdownTable([]string{"Where", "Why", "Text"}, problems, nil)
	}
	for i, s := range remarks(in) {
		if i == 0 {
			o.line()
		}
		o.line("- ", md(s))
	}
}

// titles writes the head of a text table as Markdown's do.
func titles(head []string) []string {
	out := make([]string, len(head))
	for i, s := range head {
		out[i] = s[:1] + strings.ToLower(s[1:])
	}
	return out
}
