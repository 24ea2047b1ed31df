// Package report writes one page that shows a case: what it is, what was
// found, where connections went, and the lines that prove it. The page holds
// all that it shows, and asks nothing of any network. The package decides
// nothing: verdicts, findings and their order are those of resolve and check.
//
// Every text of a bundle is data. It goes into the page as a text of JSON,
// cleaned of what is not visible, and from there into the document as a text
// node, never as HTML.
package report

import (
	"bufio"
	"cmp"
	"encoding/json"
	"io"

	"whichbackend/analyze/check"
	"whichbackend/analyze/load"
	"whichbackend/analyze/render"
	"whichbackend/analyze/resolve"
)

// MaxDetails bounds the connections that the page shows with their whole path
// and evidence, and maxDetailBytes what those may take. All others are in its
// table, and the page says how to see them.
const (
	MaxDetails     = 2000
	maxDetailBytes = 6 << 20
)

// Case is what a page is made of.
type Case struct {
	*check.Case
	Asked
	Found      *check.Result
	Inspection *load.Inspection
}

// Asked is what was asked for, and by which program.
type Asked struct {
	Tool    string
	At      string   // the moment as written; "" is the latest
	Bundles []string // as they were named, for commands to copy
}

// Open resolves and checks a case.
func Open(c *load.Case, view resolve.View, asked Asked) (*Case, error) {
	k, err := check.Open(c, view)
	if err != nil {
		return nil, err
	}
	k.Answer.Tool = asked.Tool
	found, err := k.Check()
	if err != nil {
		return nil, err
	}
	in, err := c.Inspect()
	return &Case{Case: k, Asked: asked, Found: found, Inspection: in}, err
}

// text is a text that may come from a bundle. In the page's data it is clean.
type text string

// MarshalJSON writes the text as render.Clean leaves it; <, > and & are escaped.
func (t text) MarshalJSON() ([]byte, error) { return json.Marshal(render.Clean(string(t))) }

// texts makes texts of strings.
func texts(list []string) []text {
	out := make([]text, len(list))
	for i, s := range list {
		out[i] = text(s)
	}
	return out
}

// page is a report while it is put together.
type page struct {
	Case
	out      *bufio.Writer
	err      error
	written  int64 // bytes of data so far
	table    *table
	listings *listings
	gaps     *gaps
	first    bool
}

// Write writes the page. The same case gives the same bytes.
func (c *Case) Write(w io.Writer) error {
	p := &page{Case: *c, out: bufio.NewWriterSize(w, 256<<10)}
	var err error
	if p.listings, err = newListings(*c); err != nil {
		return err
	}
	p.table, p.gaps = newTable(*c), newGaps(*c)
	about, err := p.about()
	if err != nil {
		return err
	}
	before, after, err := frame(p, about)
	if err != nil {
		return err
	}
	p.raw(before)
	p.data(about)
	p.raw(after)
	return cmp.Or(p.err, c.Failed(), p.out.Flush())
}

// data writes the JSON that the page shows. What refers to lines of listings
// comes before the lines, so that all that are needed are known by then.
func (p *page) data(about *about) {
	p.raw("{")
	p.first = true
	p.field("about", about)
	p.field("verdicts", p.verdicts())
	p.field("findings", p.findings())
	p.field("unjudged", p.unjudged())
	p.field("services", p.services())
	p.field("table", p.table)
	p.details()
	p.field("gaps", p.gaps.list)
	p.field("artifacts", p.artifacts())
	p.lines()
	p.raw("}")
}

// field writes a field of the data.
func (p *page) field(name string, v any) {
	p.name(name)
	p.value(v)
}

func (p *page) name(name string) {
	if !p.first {
		p.raw(",\n")
	}
	p.first = false
	p.raw(`"` + name + `":`)
}

// value writes a value as JSON in which nothing can end a script: <, >, & and
// the two line separators of JavaScript are escaped.
func (p *page) value(v any) {
	raw, err := json.Marshal(v)
	if p.err = cmp.Or(p.err, err); p.err == nil {
		_, p.err = p.out.Write(raw)
	}
	p.written += int64(len(raw))
}

func (p *page) raw(s string) {
	if p.err == nil {
		_, p.err = p.out.WriteString(s)
	}
}

// evidence is where something is written. A line of a listing is named by the
// listing's number; packets and elements of documents are quoted as they are.
type evidence struct {
	Artifact text  `json:"a"`
	Listing  *int  `json:"i,omitempty"`
	Line     int   `json:"l,omitempty"`
	Packet   int   `json:"p,omitempty"`
	Pointer  text  `json:"j,omitempty"`
	Time     text  `json:"t,omitempty"`
	Text     text  `json:"x,omitempty"`
	Marks    []int `json:"m,omitempty"` // beginnings and ends of what proves it, in UTF-16 units
}
