package parse

import (
	"bytes"
	"regexp"

	"whichbackend/analyze/record"
)

// depth follows brackets outside of strings, to find where a JSON document
// that stands in the middle of a text ends.
type depth struct {
	open             int
	inString, escape bool
}

// add follows one line and tells whether the document is complete.
func (p *depth) add(b []byte) (done bool, rest []byte) {
	for i, c := range b {
		switch {
		case p.escape:
			p.escape = false
		case p.inString && c == '\\':
			p.escape = true
		case c == '"':
			p.inString = !p.inString
		case p.inString:
		case c == '{' || c == '[':
			p.open++
		case c == '}' || c == ']':
			if p.open--; p.open <= 0 {
				return true, b[i+1:]
			}
		}
	}
	return false, nil
}

var yamlStart = regexp.MustCompile(`^(apiVersion|kind|items|configs|metadata|clusterStatuses|cluster_statuses): *\S*$`)

// beginsDocument tells whether a line begins a JSON or YAML document. A JSON
// document may begin anywhere, a YAML one only where no listing is being read.
func beginsDocument(b []byte, free bool, line int) (begins, isYAML bool) {
	if len(b) == 0 {
		return false, false
	}
	switch b[0] {
	case '{':
		return len(b) == 1 || b[1] == '"' || b[1] == '}' || b[1] == ' ' || line == 1, false
	case '[':
		return len(b) == 1 || bytes.IndexByte([]byte(`{["]`), b[1]) >= 0, false
	}
	if free && (string(b) == "---" || yamlStart.Match(b)) {
		return true, true
	}
	return false, false
}

// gather adds a line to the document being read.
func (d *reader) gather(b []byte) {
	d.docLines++
	if d.docYAML {
		if string(b) == "---" && len(bytes.TrimSpace(d.doc)) > 0 {
			d.docLines--
			d.closeDoc()
			d.doc, d.docLine, d.docLines, d.docYAML = make([]byte, 0, 4096), d.afterLine, 1, true
			return
		}
		d.doc = append(append(d.doc, b...), '\n')
		return
	}
	if len(d.doc) > maxDocument {
		return
	}
	done, rest := d.brackets.add(b)
	d.doc = append(append(d.doc, b[:len(b)-len(rest)]...), '\n')
	if done {
		d.closeDoc()
		if len(bytes.TrimSpace(rest)) > 0 && d.afterLine > 0 {
			d.out.problem(record.Pos{Line: d.afterLine}, string(clip(rest)), "text after the end of a JSON document")
		}
	}
}

// closeDoc hands the gathered document to the format that claims it.
func (d *reader) closeDoc() {
	raw, line, n := d.doc, d.docLine, d.docLines
	d.doc = nil
	kind := "json"
	var err error
	if d.docYAML {
		kind = "yaml"
		if bytes.Equal(bytes.TrimSpace(raw), []byte("---")) {
			raw = []byte("{}")
		} else {
			raw, err = yamlToJSON(raw)
		}
	}
	var doc *Doc
	if err == nil {
		doc, err = newDoc(raw, line)
	}
	var f *Format
	if err == nil {
		f = d.claimDoc(doc)
	}
	d.docSection(f, kind, line)
	o := &d.out
	o.line, o.pointer, o.text = line, "", bytes.TrimSpace(clip(raw))
	before := o.problems
	switch {
	case err != nil:
		o.problem(record.Pos{Line: line}, string(clip(raw)), "broken "+kind+": "+err.Error())
	case f == nil && doc.empty():
	case f == nil:
		o.problem(record.Pos{Line: line}, string(clip(raw)), "no format claims this "+kind+" document")
	default:
		f.Doc(doc, o)
	}
	unknown := min(o.problems-before, n)
	if f == nil && unknown > 0 {
		unknown = n
	}
	o.sec.Lines += n
	o.sec.Unknown += unknown
	o.sec.Understood += n - unknown
	o.pointer, o.verdict = "", undecided
}

func (d *reader) claimDoc(doc *Doc) *Format {
	for i := range d.formats {
		if f := &d.formats[i]; f.Claim != nil && f.Claim(doc) {
			return f
		}
	}
	return nil
}

// docSection continues the section when the last document was of the same
// format (a log of JSON lines is one section), and else begins one.
func (d *reader) docSection(f *Format, kind string, line int) {
	name := kind
	if f != nil {
		name = f.Name
	}
	if d.end == nil && d.out.sec != nil && d.out.sec.Format == name {
		return
	}
	if d.out.sec != nil && d.cur == f && f != nil {
		return
	}
	if d.end != nil {
		d.end()
		d.end, d.cur, d.line = nil, nil, nil
	}
	s := &record.Section{ID: d.next(), Artifact: d.artifact.ID, Line: line, Format: name, Scope: d.shell.scope, Command: d.shell.command}
	d.sections = append(d.sections, s)
	d.out = Out{sink: d.sink, sec: s, line: d.out.line, text: d.out.text}
	d.cur, d.line = nil, nil
}
