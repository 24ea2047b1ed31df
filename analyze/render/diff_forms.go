package render

import (
	"strconv"
	"strings"

	"whichbackend/analyze/diff"
	"whichbackend/analyze/resolve"
)

// diffMarkdown writes a difference for a ticket: all entries, with evidence.
func (o *out) diffMarkdown(d *diff.Diff) {
	for i := range d.Steps {
		head := headline(d, &d.Steps[i])
		if i > 0 {
			o.line()
		}
		o.line("## ", md(head[0]))
		o.line()
		o.line(md(head[1]))
		for _, b := range blocks(d, d.Steps[i].Step, true) {
			o.line()
			o.line("### ", md(strings.ToUpper(b.title[:1])+b.title[1:]))
			o.line()
			for _, l := range b.lines {
				o.line("- ", md(strings.TrimSpace(l.text)))
				o.evidenceMarkdown(l.evidence)
			}
		}
	}
	if lines := timelines(d, true); len(lines) > 0 {
		o.line()
		o.line("## Over all moments")
		o.line()
		for _, l := range lines {
			o.line("- ", md(l.text))
		}
	}
	o.diffRemarks(d)
}

func (o *out) diffRemarks(d *diff.Diff) {
	var list []string
	for _, m := range d.Moments {
		list = append(list, clocks(m)...)
	}
	for _, w := range d.Warnings {
		list = append(list, "warning: "+w)
	}
	for i, s := range list {
		if i == 0 {
			o.line()
		}
		o.line("- ", md(s))
	}
}

var diffColumns = []string{"step", "change", "protocol", "client_address", "client_name", "client_namespace", "service_address", "service_name", "service_namespace", "before", "after", "count", "because"}

// diffCSV writes a row for each entry, whatever its kind.
func (o *out) diffCSV(d *diff.Diff) {
	rows := [][]string{diffColumns}
	add := func(step int, change, protocol string, c, s resolve.Party, before, after string, n int, because string) {
		rows = append(rows, cells(strconv.Itoa(step), change, protocol, c.Address, c.Name, c.Namespace, s.Address, s.Name, s.Namespace, before, after, strconv.Itoa(n), because))
	}
	for _, x := range d.Outlived {
		add(x.Step, "outlived", x.Protocol, x.Client, x.Service, "", party(x.Backend), 1, strings.Join(x.Because, "; "))
	}
	for _, x := range d.Moved {
		n := 0
		for _, b := range x.After {
			n += b.Count
		}
		add(x.Step, "moved "+x.Granularity, x.Protocol, x.Client, x.Service, spread(x.Before, true), spread(x.After, true), n, x.Reason)
	}
	for _, x := range d.Services {
		what := "service"
		backend := resolve.Party{}
		if x.Backend != nil {
			what, backend = "backend", *x.Backend
		}
		add(x.Step, what+" "+x.Change, "", backend, x.Service, x.Before, x.After, len(x.Listings), strings.Join(x.Listings, "; "))
	}
	for _, x := range d.Findings {
		add(x.Step, "finding "+x.Change, "", resolve.Party{}, resolve.Party{}, "", "", x.Finding.Count, joined(x.Finding.ID+":", x.Finding.Title, x.Missing))
	}
	for _, list := range []struct {
		change string
		of     []diff.Connection
	}{{"ended", d.Ended}, {"appeared", d.Appeared}} {
		for _, x := range list.of {
			add(x.Step, list.change, x.Protocol, x.Client, x.Service, "", "", 1, x.Because)
		}
	}
	for _, x := range d.Undetermined {
		add(x.Step, "undetermined", x.Protocol, x.Client, x.Service, string(x.Before), string(x.After), 1, x.Reason)
	}
	for _, x := range d.NotSeen {
		add(x.Step, "not seen "+x.Side, "", resolve.Party{}, resolve.Party{}, "", "", x.Count, x.What+": "+x.Missing)
	}
	o.csv(rows)
}
