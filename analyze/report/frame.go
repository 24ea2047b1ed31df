package report

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"strings"

	"whichbackend/analyze/render"
	"whichbackend/analyze/resolve"
)

//go:embed page
var files embed.FS

// scripts are put together in this order.
var scripts = []string{"base.js", "summary.js", "map.js", "table.js", "detail.js", "lists.js", "start.js"}

// maxPlain is how many connections the page shows without scripts.
const maxPlain = 200

// plainRow is a connection as the page shows it without scripts.
type plainRow struct{ Client, Service, Backend, Verdict, By string }

// plainPage is what the page shows without scripts.
type plainPage struct {
	Title    string
	About    *about
	Findings []finding
	Services []plainService
	Rows     []plainRow
	Count    int
}

type plainService struct {
	Name     string
	Count    int
	Backends []part
}

// frame is what stands before and after the data. The policy allows the one
// style sheet and the one script by their hashes, and nothing else at all.
func frame(p *page, a *about) (before, after string, err error) {
	style, err := files.ReadFile("page/style.css")
	if err != nil {
		return "", "", err
	}
	script := bytes.NewBufferString("\"use strict\";\n(() => {\n")
	for _, name := range scripts {
		part, err := files.ReadFile("page/" + name)
		if err != nil {
			return "", "", err
		}
		script.Write(part)
	}
	script.WriteString("})();\n")
	html, err := files.ReadFile("page/report.html")
	if err != nil {
		return "", "", err
	}
	without, err := withoutScripts(p, a)
	if err != nil {
		return "", "", err
	}
	policy := "default-src 'none'; script-src " + hash(script.Bytes()) + "; style-src " + hash(style) + "; img-src data:; form-action 'none'; base-uri 'none'"
	head, tail, _ := strings.Cut(string(html), "DATA")
	head = strings.NewReplacer("POLICY", policy, "TITLE", template.HTMLEscapeString(title(a)), "STYLE", string(style), "PLAIN", without).Replace(head)
	return head, strings.Replace(tail, "SCRIPT", script.String(), 1), nil
}

func hash(text []byte) string {
	sum := sha256.Sum256(text)
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func title(a *about) string {
	if len(a.Inputs) == 1 {
		return render.Clean(string(a.Inputs[0].Path)) + " - whichbackend report"
	}
	return itoa(len(a.Inputs)) + " bundles - whichbackend report"
}

// String is the text as it may be shown.
func (t text) String() string { return render.Clean(string(t)) }

// withoutScripts is the summary for a browser that runs none.
func withoutScripts(p *page, a *about) (string, error) {
	t, err := template.ParseFS(files, "page/plain.html")
	if err != nil {
		return "", err
	}
	x := plainPage{Title: title(a), About: a, Count: p.table.Count}
	for _, f := range p.Found.Findings {
		x.Findings = append(x.Findings, finding{Severity: string(f.Severity), Title: text(f.Title), Why: text(f.Why), Do: text(f.Do)})
	}
	for _, s := range p.table.services {
		if !s.Direct && len(x.Services) < maxPlain {
			x.Services = append(x.Services, plainService{strings.TrimSpace(s.Name.String() + " " + s.Address.String()), s.Count, s.Spread})
		}
	}
	for i := range p.Answer.Connections[:min(p.table.Count, maxPlain)] {
		x.Rows = append(x.Rows, plainRowOf(&p.Answer.Connections[i]))
	}
	var out bytes.Buffer
	err = t.Execute(&out, x)
	return out.String(), err
}

func plainRowOf(c *resolve.Connection) plainRow {
	r := plainRow{Client: label(c.Client), Service: label(c.Service), Verdict: string(c.Verdict), By: strings.Join(c.Mechanisms, ", ")}
	var list []string
	for _, b := range c.Backends {
		list = append(list, label(b.Party))
	}
	r.Backend = strings.Join(list, "; ")
	for _, s := range []*string{&r.Client, &r.Service, &r.Backend} {
		*s = render.Clean(*s)
	}
	return r
}
