package render

import (
	"bytes"
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"whichbackend/analyze/check"
	"whichbackend/analyze/diff"
	"whichbackend/analyze/load"
	"whichbackend/analyze/resolve"
)

var update = flag.Bool("update", false, "write what is rendered now into the golden files")

// product is the example of PRODUCT.md, and the reason below its verdict.
const product = `default/client 10.244.0.13:52372  ->  svc default/nginx 10.96.72.53:80
  backend  default/nginx-6799fc88d8-xddbz  10.244.0.6:80  on tanjunchen-control-plane
  proven by kube-proxy
  because  node conntrack names it; the server's own socket agrees
    1  client socket    10.244.0.13:52372 -> 10.96.72.53:80 ESTABLISHED     pods/default/client/netstat.txt:3
    2  node conntrack   10.96.72.53:80 => 10.244.0.6:80 ASSURED             node/conntrack.txt:117
    3  server socket    10.244.0.6:80 <- 10.244.0.13:52372 ESTABLISHED      pods/default/nginx-6799fc88d8-xddbz/netstat.txt:4
`

func TestProductExample(t *testing.T) {
	if diff := cmp.Diff(product, rendered(t, readAnswer(t, "testdata/answers/proven.json"), "text", Options{})); diff != "" {
		t.Error(diff)
	}
}

// looks are the options under which text is compared with golden files.
var looks = []struct {
	name, format string
	opt          Options
}{
	{"explain", "text", Options{Explain: true}},
	{"color", "text", Options{Explain: true, Color: true, Terminal: true, Width: 72}},
	{"screen", "text", Options{Terminal: true, Height: 12}},
}

// TestAnswers compares every format of testdata/answers/*.json with the
// sections of a golden file beside it.
func TestAnswers(t *testing.T) {
	files, err := filepath.Glob("testdata/answers/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no answers: ", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			a := readAnswer(t, file)
			got := new(txtar.Archive)
			for _, f := range AnswerFormats {
				got.Files = append(got.Files, txtar.File{Name: f, Data: []byte(rendered(t, a, f, Options{}))})
			}
			for _, l := range looks {
				got.Files = append(got.Files, txtar.File{Name: l.name, Data: []byte(rendered(t, a, l.format, l.opt))})
			}
			golden(t, strings.TrimSuffix(file, ".json")+".golden", got)
		})
	}
}

func TestInspection(t *testing.T) {
	in := new(load.Inspection)
	read(t, "testdata/inspection.json", in)
	got := new(txtar.Archive)
	for _, f := range InspectFormats {
		var b bytes.Buffer
		if err := Inspection(&b, in, f, Options{}); err != nil {
			t.Fatal(err)
		}
		got.Files = append(got.Files, txtar.File{Name: f, Data: b.Bytes()})
	}
	golden(t, "testdata/inspection.golden", got)
}

func TestFindings(t *testing.T) {
	found := new(check.Result)
	read(t, "testdata/findings.json", found)
	got := new(txtar.Archive)
	add := func(name, format string, r *check.Result, opt Options) {
		var b bytes.Buffer
		if err := Findings(&b, r, format, opt); err != nil {
			t.Fatal(err)
		}
		got.Files = append(got.Files, txtar.File{Name: name, Data: b.Bytes()})
	}
	for _, f := range FindingFormats {
		if f != "sarif" && f != "junit" { // which list the rules themselves
			add(f, f, found, Options{})
		}
	}
	add("color", "text", found, Options{Color: true, Terminal: true, Width: 72})
	add("none", "text", &check.Result{Judged: 7, Unjudged: found.Unjudged}, Options{})
	golden(t, "testdata/findings.golden", got)
}

func TestDiff(t *testing.T) {
	d := new(diff.Diff)
	read(t, "testdata/diff.json", d)
	got := new(txtar.Archive)
	add := func(name, format string, d *diff.Diff, opt Options) {
		var b bytes.Buffer
		if err := Diff(&b, d, format, opt); err != nil {
			t.Fatal(err)
		}
		got.Files = append(got.Files, txtar.File{Name: name, Data: b.Bytes()})
	}
	for _, f := range DiffFormats {
		add(f, f, d, Options{})
	}
	add("color", "text", d, Options{Color: true, Terminal: true, Width: 72, Height: 20})
	same := &diff.Diff{Moments: d.Moments[:2], Steps: []diff.Step{{Step: 1, Same: 21}}}
	add("the same", "text", same, Options{})
	golden(t, "testdata/diff.golden", got)
}

func TestRows(t *testing.T) {
	table := Table{Columns: []string{"artifact", "n", "x", "x", "=f"}, Rows: [][]any{
		{"node1/conntrack.txt", int64(117), nil, 1.5, "=1+1"},
		{"a|<b>\n\x1b[0m", int64(-2), "text", math.Inf(1), true},
		{"short", int64(3)},
	}}
	got := new(txtar.Archive)
	for _, f := range TableFormats {
		for _, x := range []struct {
			name  string
			table Table
		}{{f, table}, {f + " of none", Table{Columns: table.Columns}}} {
			var b bytes.Buffer
			if err := Rows(&b, x.table, f, Options{}); err != nil {
				t.Fatal(err)
			}
			got.Files = append(got.Files, txtar.File{Name: x.name, Data: b.Bytes()})
		}
	}
	golden(t, "testdata/rows.golden", got)
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain ü 日本":           "plain ü 日本",
		"\x1b[31m\x00\x7f":     `\x1b[31m\x00\x7f`,
		"a\nb\r\tc":            `a\nb\r\tc`,
		"\u009b\u202e\u2066":   `\u009b\u202e\u2066`,
		"\u200b\ufeff\u00ad":   `\u200b\ufeff\u00ad`,
		"\u2028\u3164\ufe0f":   `\u2028\u3164\ufe0f`,
		"\U000e0041":           `\U000e0041`,
		"bad \xff\x9b utf-8":   `bad \xff\x9b utf-8`,
		"replaced \ufffd rune": "replaced \ufffd rune",
	} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) = %s, want %s", in, got, want)
		}
		if got := Clean(want); got != want {
			t.Errorf("cleaning twice changes %s to %s", want, got)
		}
	}
}

func TestUnknownFormat(t *testing.T) {
	for _, err := range []error{
		Answer(new(bytes.Buffer), new(resolve.Answer), "xml", Options{}),
		Inspection(new(bytes.Buffer), new(load.Inspection), "xml", Options{}),
		Findings(new(bytes.Buffer), new(check.Result), "xml", Options{}),
		Diff(new(bytes.Buffer), new(diff.Diff), "xml", Options{}),
		Rows(new(bytes.Buffer), Table{}, "xml", Options{}),
	} {
		if err == nil || !strings.Contains(err.Error(), `"xml" is none of text`) {
			t.Error(err)
		}
	}
}

// TestScreen holds that a terminal gets no more than a screen, and the sums,
// while anything else gets every row.
func TestScreen(t *testing.T) {
	a := readAnswer(t, "testdata/answers/proven.json")
	for range 999 {
		a.Connections = append(a.Connections, a.Connections[0])
	}
	lines := strings.Split(rendered(t, a, "text", Options{Terminal: true, Height: 24}), "\n")
	if len(lines) > 24 || !strings.HasPrefix(lines[len(lines)-2], "1000 connections: 1000 proven") {
		t.Errorf("%d lines:\n%s", len(lines), strings.Join(lines, "\n"))
	}
	if all := rendered(t, a, "text", Options{}); strings.Count(all, "\ndefault/client") != 1000 || !strings.Contains(all, "CONNECTIONS") {
		t.Error("not every connection is shown")
	}
}

// failing is a reader that went away.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, os.ErrClosed }

func TestWriteError(t *testing.T) {
	a := readAnswer(t, "testdata/answers/hostiles.json")
	for _, f := range AnswerFormats {
		if err := Answer(failing{}, a, f, Options{}); err != os.ErrClosed {
			t.Errorf("%s: %v", f, err)
		}
	}
}

func readAnswer(t testing.TB, file string) *resolve.Answer {
	t.Helper()
	a := new(resolve.Answer)
	read(t, file, a)
	return a
}

// read decodes a hand-written file; a field that the structs do not have is a
// mistake in it.
func read(t testing.TB, file string, v any) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

func rendered(t testing.TB, a *resolve.Answer, format string, opt Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := Answer(&b, a, format, opt); err != nil {
		t.Fatalf("%s: %v", format, err)
	}
	return b.String()
}

func golden(t *testing.T, file string, got *txtar.Archive) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, txtar.Format(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; go test -update writes it", err)
	}
	if diff := cmp.Diff(string(want), string(txtar.Format(got))); diff != "" {
		t.Error(diff)
	}
}
