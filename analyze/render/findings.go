package render

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"whichbackend/analyze/check"
	"whichbackend/analyze/resolve"
)

// FindingFormats are the formats of Findings; the first is the default.
var FindingFormats = []string{"text", "wide", "json", "yaml", "markdown", "sarif", "junit", "github"}

// Findings writes what a check found in one of FindingFormats.
func Findings(w io.Writer, r *check.Result, format string, opt Options) error {
	o := newOut(w, opt)
	var err error
	switch format {
	case "text", "wide":
		o.findings(r, format == "wide")
	case "json":
		err = o.json(r, "  ")
	case "yaml":
		err = o.yaml(r)
	case "markdown":
		o.findingsMarkdown(r)
	case "sarif":
		err = o.json(sarif(r), "  ")
	case "junit":
		err = JUnit(o.w, junitFindings(r))
	case "github":
		o.findingsGitHub(r)
	default:
		return noFormat(format, FindingFormats)
	}
	return cmp.Or(err, o.w.Flush())
}

// listedShort bounds the connections and lines of one finding in short text.
const listedShort = 5

// findings writes findings as text, the worst first. In wide text all of the
// listed connections and lines are there, with the lines quoted.
func (o *out) findings(r *check.Result, wide bool) {
	for i := range r.Findings {
		f := &r.Findings[i]
		o.spans(span{text: string(f.Severity), style: severityStyle(f.Severity)}, span{text: "  " + f.ID})
		o.wrapped("  ", "  ", f.Title)
		o.findingConnections(f, wide)
		o.findingEvidence(f, wide)
		o.wrapped("  why   ", "        ", f.Why)
		o.wrapped("  do    ", "        ", f.Do)
		if wide {
			for _, s := range f.See {
				o.line("  see   ", s)
			}
		}
		o.line()
	}
	o.line(findingCounts(r))
	if len(r.Unjudged) == 0 {
		return
	}
	if !wide {
		o.line(fmt.Sprintf("%s had nothing to look at in these bundles; -o wide says what each would need", count(len(r.Unjudged), "rule")))
		return
	}
	o.line()
	o.line("not judged, for lack of listings:")
	g := grid{indent: "  "}
	for _, u := range r.Unjudged {
		g.add(texts(u.ID, "needs "+u.Needs)...)
	}
	o.grid(g)
}

func (o *out) findingConnections(f *check.Finding, wide bool) {
	g := grid{indent: "    ", gaps: []int{4, 4}}
	for i, c := range f.Connections {
		if i == listedShort && !wide {
			break
		}
		g.add(texts(party(c.Client), "-> "+concernedService(c), concernedBackends(c))...)
	}
	o.grid(g)
	o.more("    ", f.Count-len(g.rows), "connection")
}

func (o *out) more(indent string, n int, noun string) {
	if n > 0 {
		o.line(indent + "and " + strings.Replace(count(n, noun), " ", " more ", 1))
	}
}

func (o *out) findingEvidence(f *check.Finding, wide bool) {
	for i, e := range f.Evidence {
		if i == listedShort && !wide {
			o.more("  ", len(f.Evidence)-i, "line")
			return
		}
		o.line("  proof ", position(e))
		if e.Text != "" {
			o.spans(span{text: o.quote("        | " + Clean(e.Text)), style: dim})
		}
	}
}

// concernedService is what a connection of a finding dialled.
func concernedService(c check.Connection) string {
	return service(&resolve.Connection{Protocol: c.Protocol, Service: c.Service})
}

// concernedBackends are those of a connection of a finding.
func concernedBackends(c check.Connection) string {
	list := make([]string, len(c.Backends))
	for i, b := range c.Backends {
		list[i] = party(b)
	}
	return joined(orElse(strings.Join(list, ", "), "no backend")+",", string(c.Verdict)) + inBrackets(c.State)
}

// findingCounts says how many findings of each severity there are.
func findingCounts(r *check.Result) string {
	if len(r.Findings) == 0 {
		return fmt.Sprintf("no findings; %s looked", count(r.Judged, "rule"))
	}
	var list []string
	for _, s := range check.Severities {
		n := 0
		for _, f := range r.Findings {
			if f.Severity == s {
				n++
			}
		}
		if n > 0 && s == check.Info {
			list = append(list, fmt.Sprintf("%d info", n))
		} else if n > 0 {
			list = append(list, count(n, string(s)))
		}
	}
	return count(len(r.Findings), "finding") + ": " + strings.Join(list, ", ")
}

func severityStyle(s check.Severity) string {
	switch s {
	case check.Error:
		return red
	case check.Warning:
		return yellow
	}
	return plain
}

// wrapped writes a text in lines no longer than the screen is wide, at blanks.
// A line of the text of its own, as a command, stays one.
func (o *out) wrapped(first, indent, text string) {
	for _, part := range strings.Split(strings.TrimSpace(text), "\n") {
		line, n := first, utf8.RuneCountInString(first)
		empty := true
		for _, word := range strings.Fields(part) {
			if width := utf8.RuneCountInString(word); !empty && n+1+width > o.opt.width() {
				o.line(line)
				line, n, empty = indent, utf8.RuneCountInString(indent), true
			} else if !empty {
				line, n = line+" ", n+1
			}
			line, n, empty = line+word, n+utf8.RuneCountInString(word), false
		}
		if !empty {
			o.line(line)
		}
		first = indent
	}
}

// findingsMarkdown writes findings for a ticket.
func (o *out) findingsMarkdown(r *check.Result) {
	o.line(md(findingCounts(r)))
	for i := range r.Findings {
		f := &r.Findings[i]
		o.line()
		o.line("### ", md(string(f.Severity)), ": ", md(f.Title))
		o.line()
		o.line("- rule ", codeSpan(f.ID))
		o.line("- why: ", md(oneLine(f.Why)))
		o.line("- do: ", md(oneLine(f.Do)))
		for _, c := range f.Connections {
			o.line("- ", md(party(c.Client)), " → ", md(concernedService(c)), ": ", md(concernedBackends(c)))
		}
		o.more("- ", f.Count-len(f.Connections), "connection")
		for _, e := range f.Evidence {
			o.line("- ", evidenceText(e))
		}
		for _, s := range f.See {
			o.line("- see ", md(s))
		}
	}
	if len(r.Unjudged) > 0 {
		o.line()
		o.line("Not judged, for lack of listings:")
		o.line()
		var rows [][]string
		for _, u := range r.Unjudged {
			rows = append(rows, []string{u.ID, u.Finds, u.Needs})
		}
		o.markdownTable([]string{"Rule", "Finds", "Needs"}, rows, nil)
	}
	for i, w := range r.Warnings {
		if i == 0 {
			o.line()
		}
		o.line("- warning: ", md(w))
	}
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// findingsGitHub writes findings as workflow commands of GitHub Actions, which
// become annotations.
func (o *out) findingsGitHub(r *check.Result) {
	for i := range r.Findings {
		f := &r.Findings[i]
		at := ""
		if len(f.Evidence) > 0 {
			at = "file=" + githubProperty(f.Evidence[0].Artifact) + ","
			if n := f.Evidence[0].Line; n > 0 {
				at += fmt.Sprintf("line=%d,", n)
			}
		}
		level := map[check.Severity]string{check.Error: "error", check.Warning: "warning", check.Info: "notice"}[f.Severity]
		o.line(fmt.Sprintf("::%s %stitle=%s::%s", orElse(level, "notice"), at, githubProperty(f.ID), githubText(f.Title+". "+oneLine(f.Do))))
	}
	o.line(findingCounts(r))
}
