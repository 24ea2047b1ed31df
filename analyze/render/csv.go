package render

import (
	"encoding/csv"
	"strconv"
	"strings"

	"whichbackend/analyze/load"
	"whichbackend/analyze/resolve"
)

// csv writes rows, each on one line. Texts are for the caller to pass through
// cell: a number may begin with a minus.
func (o *out) csv(rows [][]string) {
	w := csv.NewWriter(o.w)
	for _, r := range rows {
		for i := range r {
			r[i] = Clean(r[i])
		}
		w.Write(r)
	}
	w.Flush()
}

// cell defuses a text that begins as a formula does. Spreadsheets skip blanks
// before it, and take the full-width forms too.
func cell(s string) string {
	if t := strings.TrimLeft(s, " \t\r\n"); t != "" && strings.ContainsRune("=+-@＝＋－＠", []rune(t)[0]) {
		return "'" + s
	}
	return s
}

func cells(list ...string) []string {
	for i := range list {
		list[i] = cell(list[i])
	}
	return list
}

var answerColumns = []string{"client_address", "client_name", "client_namespace", "client_kind", "client_host",
	"service_address", "service_name", "service_namespace", "service_kind",
	"backend_address", "backend_name", "backend_namespace", "backend_kind", "backend_host", "backend_reason",
	"verdict", "reason", "mechanisms", "protocol", "state", "granularity", "seen", "evidence"}

// answerCSV writes a row for each connection and backend, and one for a
// connection with no backend.
func (o *out) answerCSV(a *resolve.Answer) {
	rows := [][]string{answerColumns}
	for i := range a.Connections {
		c := &a.Connections[i]
		list := c.Backends
		if len(list) == 0 {
			list = []resolve.Backend{{}}
		}
		for _, b := range list {
			rows = append(rows, cells(c.Client.Address, c.Client.Name, c.Client.Namespace, c.Client.Kind, c.Client.Host,
				c.Service.Address, c.Service.Name, c.Service.Namespace, c.Service.Kind,
				b.Address, b.Name, b.Namespace, b.Kind, b.Host, b.Reason,
				string(c.Verdict), c.Reason, strings.Join(c.Mechanisms, ";"), c.Protocol, c.State, c.Granularity,
				strconv.FormatBool(seen(c)), allEvidence(c, b)))
		}
	}
	o.csv(rows)
}

// allEvidence is where a connection and one of its backends are written.
func allEvidence(c *resolve.Connection, b resolve.Backend) string {
	var out []string
	for _, s := range steps(c) {
		for _, e := range s.evidence {
			out = append(out, position(e))
		}
	}
	for _, e := range b.Evidence {
		out = append(out, position(e))
	}
	return strings.Join(out, "; ")
}

var inspectionColumns = []string{"path", "line", "format", "tool", "command", "host", "scope", "lines", "understood", "ignored", "unknown", "truncated", "problems"}

// inspectionCSV writes a row for each artifact or section of one.
func (o *out) inspectionCSV(in *load.Inspection) {
	rows := [][]string{inspectionColumns}
	for _, x := range in.Artifacts {
		line := ""
		if x.Line > 0 {
			line = strconv.Itoa(x.Line)
		}
		rows = append(rows, cells(x.Path, line, x.Format, x.Tool, x.Command, x.Host, x.Scope,
			strconv.Itoa(x.Lines), strconv.Itoa(x.Understood), strconv.Itoa(x.Ignored), strconv.Itoa(x.Unknown),
			strconv.FormatBool(x.Truncated), strconv.Itoa(len(x.Problems))))
	}
	o.csv(rows)
}
