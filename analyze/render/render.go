// Package render shows answers, inspections and tables: as text for a person,
// as data for a program, as Markdown for a ticket and as a picture. Every form
// is a function over a value. The package decides nothing, it only shows: no
// verdict, count of candidates or order is its own, and it never lets a
// control character of a bundle through to a terminal.
package render

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"strings"

	"whichbackend/analyze/load"
	"whichbackend/analyze/resolve"
)

// Options are how text looks. Width and Height are those of the terminal; 0
// stands for 100 columns and 40 lines.
type Options struct {
	Terminal, Color, Explain bool
	Width, Height            int
}

func (o Options) width() int {
	if o.Width > 0 {
		return o.Width
	}
	return 100
}

func (o Options) height() int {
	if o.Height > 0 {
		return o.Height
	}
	return 40
}

// AnswerFormats are the formats of Answer; the first is the default.
var AnswerFormats = []string{"text", "wide", "json", "jsonl", "yaml", "csv", "markdown", "mermaid", "dot"}

// InspectFormats are the formats of Inspection; the first is the default.
var InspectFormats = []string{"text", "wide", "json", "yaml", "csv", "markdown"}

// TableFormats are the formats of Rows; the first is the default.
var TableFormats = []string{"text", "json", "jsonl", "csv", "markdown"}

// Answer writes an answer in one of AnswerFormats.
func Answer(w io.Writer, a *resolve.Answer, format string, opt Options) error {
	o := newOut(w, opt)
	var err error
	switch format {
	case "text", "wide":
		o.answer(a, format == "wide")
	case "json":
		err = o.json(a, "  ")
	case "jsonl":
		for i := range a.Connections {
			err = cmp.Or(err, o.json(&a.Connections[i], ""))
		}
	case "yaml":
		err = o.yaml(a)
	case "csv":
		o.answerCSV(a)
	case "markdown":
		o.answerMarkdown(a)
	case "mermaid":
		o.mermaid(a)
	case "dot":
		o.dot(a)
	default:
		return noFormat(format, AnswerFormats)
	}
	return cmp.Or(err, o.w.Flush())
}

// Inspection writes an inspection in one of InspectFormats.
func Inspection(w io.Writer, in *load.Inspection, format string, opt Options) error {
	o := newOut(w, opt)
	var err error
	switch format {
	case "text", "wide":
		o.inspection(in, format == "wide")
	case "json":
		err = o.json(in, "  ")
	case "yaml":
		err = o.yaml(in)
	case "csv":
		o.inspectionCSV(in)
	case "markdown":
		o.inspectionMarkdown(in)
	default:
		return noFormat(format, InspectFormats)
	}
	return cmp.Or(err, o.w.Flush())
}

func noFormat(format string, known []string) error {
	return fmt.Errorf("format %q is none of %s", format, strings.Join(known, ", "))
}

// out writes lines. Every text that may come from a bundle passes spans, which
// cleans it; the buffer keeps the first error until Flush.
type out struct {
	w   *bufio.Writer
	opt Options
}

func newOut(w io.Writer, opt Options) *out { return &out{bufio.NewWriter(w), opt} }

// Styles are the ANSI codes of the few colours in use.
const (
	plain   = ""
	green   = "32"
	yellow  = "33"
	red     = "31"
	magenta = "35"
	dim     = "2"
)

// span is a text in a style.
type span struct {
	text, style string
	right       bool // in a grid: aligned to the right
}

// spans writes one line, with no blanks at its end.
func (o *out) spans(list ...span) {
	for n := len(list); n > 0 && strings.Trim(list[n-1].text, " ") == ""; n-- {
		list = list[:n-1]
	}
	for i, s := range list {
		text := Clean(s.text)
		if i == len(list)-1 {
			text = strings.TrimRight(text, " ")
		}
		if o.opt.Color && s.style != plain && text != "" {
			text = "\x1b[" + s.style + "m" + text + "\x1b[0m"
		}
		o.w.WriteString(text)
	}
	o.w.WriteByte('\n')
}

// line writes one line with no style; line("") is a blank one.
func (o *out) line(parts ...string) {
	o.spans(span{text: strings.Join(parts, "")})
}
