package render

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"io"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"gopkg.in/yaml.v3"

	"whichbackend/analyze/check"
	"whichbackend/analyze/diff"
	"whichbackend/analyze/load"
	"whichbackend/analyze/resolve"
)

// control finds what must reach no terminal, said apart from the code under
// test.
var control = regexp.MustCompile("[\x00-\x09\x0b-\x1f\x7f\u0080-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]")

func checkVisible(t *testing.T, format, text string) {
	t.Helper()
	if !utf8.ValidString(text) {
		t.Errorf("%s: not UTF-8: %q", format, text)
	}
	if at := control.FindStringIndex(text); at != nil {
		t.Errorf("%s: %q in %q", format, text[at[0]:at[1]], text[max(at[0]-40, 0):at[1]])
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		t.Errorf("%s: no newline at the end", format)
	}
	if format == "json" || format == "jsonl" || format == "yaml" || format == "csv" {
		return
	}
	if strings.Contains(text, " \n") {
		t.Errorf("%s: blanks at the end of a line: %q", format, text)
	}
}

// poison replaces every text of a value.
func poison(v reflect.Value, s string) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			poison(v.Elem(), s)
		}
	case reflect.Slice:
		for i := range v.Len() {
			poison(v.Index(i), s)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			poison(v.Field(i), s)
		}
	case reflect.String:
		if v.CanSet() {
			v.SetString(s)
		}
	}
}

// FuzzHostile renders values all of whose texts are hostile.
func FuzzHostile(f *testing.F) {
	for _, s := range []string{"", " ", "plain", "\x1b]0;title\x07", "a\nb\r\n\tc", "\u202eRTL\u2069", "\u200b\ufeff\U000e0041", "\x00\x7f\u0085\u009b31m", "\xff\x9b", `"`, `\`, `\"`, "=1+1", "@x", "|", "```", "<script>", "#quot;;", "a\u2028b", "- x", "? x", "'", "1. x", "null", "~", "0x1f", "é日本👍"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, file := range []string{"many", "proven", "conflict", "unseen"} {
			a := readAnswer(t, "testdata/answers/"+file+".json")
			poison(reflect.ValueOf(a), s)
			checkAnswer(t, a)
		}
		in := new(load.Inspection)
		read(t, "testdata/inspection.json", in)
		poison(reflect.ValueOf(in), s)
		checkInspection(t, in)
		found := new(check.Result)
		read(t, "testdata/findings.json", found)
		poison(reflect.ValueOf(found), s)
		checkFindings(t, found)
		d := new(diff.Diff)
		read(t, "testdata/diff.json", d)
		poison(reflect.ValueOf(d), s)
		checkDiff(t, d)
		checkRows(t, Table{Columns: []string{s, s}, Rows: [][]any{{s, nil}, {int64(1), s}}})
		checkLines(t, "x"+s)
	})
}

func checkAnswer(t *testing.T, a *resolve.Answer) {
	t.Helper()
	text := map[string]string{}
	for _, format := range AnswerFormats {
		text[format] = rendered(t, a, format, Options{})
		checkVisible(t, format, text[format])
	}
	checkVisible(t, "explain", rendered(t, a, "text", Options{Explain: true}))
	back := new(resolve.Answer)
	if err := json.Unmarshal([]byte(text["json"]), back); err != nil {
		t.Fatalf("json: %v", err)
	}
	want := complete(reflect.ValueOf(a)).Interface()
	if diff := cmp.Diff(want, back, cmpopts.IgnoreUnexported(resolve.Party{}, resolve.Connection{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("json does not come back: %s", diff)
	}
	sameYAML(t, text["json"], text["yaml"])
	for _, line := range strings.Split(strings.TrimSuffix(text["jsonl"], "\n"), "\n") {
		if !json.Valid([]byte(line)) {
			t.Errorf("jsonl: %s", line)
		}
	}
	checkCSV(t, text["csv"])
	checkQuotes(t, "dot", text["dot"])
	checkQuotes(t, "mermaid", text["mermaid"])
	checkMarkdown(t, text["markdown"])
}

// inAllForms writes a value in all of its formats, each of which must show
// nothing invisible.
func inAllForms[T any](t *testing.T, formats []string, write func(io.Writer, T, string, Options) error, v T) map[string]string {
	t.Helper()
	text := map[string]string{}
	for _, format := range formats {
		var b bytes.Buffer
		if err := write(&b, v, format, Options{}); err != nil {
			t.Fatal(err)
		}
		text[format] = b.String()
		checkVisible(t, format, text[format])
	}
	return text
}

func checkInspection(t *testing.T, in *load.Inspection) {
	t.Helper()
	text := inAllForms(t, InspectFormats, Inspection, in)
	sameYAML(t, text["json"], text["yaml"])
	checkCSV(t, text["csv"])
	checkMarkdown(t, text["markdown"])
}

func checkFindings(t *testing.T, r *check.Result) {
	t.Helper()
	text := inAllForms(t, FindingFormats, Findings, r)
	sameYAML(t, text["json"], text["yaml"])
	checkMarkdown(t, text["markdown"])
	if !json.Valid([]byte(text["sarif"])) {
		t.Errorf("sarif: %s", text["sarif"])
	}
	if err := xml.Unmarshal([]byte(text["junit"]), new(Suite)); err != nil {
		t.Errorf("junit: %v: %s", err, text["junit"])
	}
	if n := strings.Count("\n"+text["github"], "\n::"); n != len(r.Findings) {
		t.Errorf("github: %d commands for %d findings: %s", n, len(r.Findings), text["github"])
	}
}

func checkDiff(t *testing.T, d *diff.Diff) {
	t.Helper()
	text := inAllForms(t, DiffFormats, Diff, d)
	sameYAML(t, text["json"], text["yaml"])
	checkCSV(t, text["csv"])
	checkMarkdown(t, text["markdown"])
}

func checkRows(t *testing.T, table Table) {
	t.Helper()
	for _, format := range TableFormats {
		var b bytes.Buffer
		if err := Rows(&b, table, format, Options{}); err != nil {
			t.Fatal(err)
		}
		checkVisible(t, format, b.String())
		switch format {
		case "json":
			if !json.Valid(b.Bytes()) {
				t.Errorf("json: %s", b.String())
			}
		case "csv":
			checkCSV(t, b.String())
		case "markdown":
			checkMarkdown(t, b.String())
		}
	}
}

// sameYAML holds that the YAML has the shape, the names and the texts of the JSON.
func sameYAML(t *testing.T, asJSON, asYAML string) {
	t.Helper()
	var a, b any
	if err := json.Unmarshal([]byte(asJSON), &a); err != nil {
		t.Fatalf("json: %v", err)
	}
	if err := yaml.Unmarshal([]byte(asYAML), &b); err != nil {
		t.Fatalf("yaml: %v\n%s", err, asYAML)
	}
	raw, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	json.Unmarshal(raw, &b)
	if diff := cmp.Diff(a, b); diff != "" {
		t.Errorf("yaml is not json: %s", diff)
	}
	if strings.Contains(asJSON, ": null") {
		t.Error("json: null")
	}
}

func checkCSV(t *testing.T, text string) {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatalf("csv: %v\n%s", err, text)
	}
	for _, r := range rows {
		for _, c := range r {
			if c = strings.TrimLeft(c, " "); c != "" && strings.ContainsAny(c[:1], "=+-@") {
				t.Errorf("csv: %q is a formula", c)
			}
		}
	}
}

// outside is what a picture may hold outside of quoted labels.
var outside = regexp.MustCompile(`^[A-Za-z0-9_=;,>{}|. #:()%~\[\]-]*$`)

// checkQuotes holds that every label ends on the line where it begins, and
// that nothing of a label stands outside.
func checkQuotes(t *testing.T, format, text string) {
	t.Helper()
	for _, line := range strings.Split(text, "\n") {
		bare, quoted := "", false
		for i := 0; i < len(line); i++ {
			switch {
			case quoted && format == "dot" && line[i] == '\\':
				i++
			case line[i] == '"':
				quoted = !quoted
			case !quoted:
				bare += line[i : i+1]
			}
		}
		if quoted || !outside.MatchString(bare) {
			t.Errorf("%s: %s", format, line)
		}
	}
}

var escaped = regexp.MustCompile(`\\.`)

// checkMarkdown holds that tables keep their columns and that there is no HTML.
func checkMarkdown(t *testing.T, text string) {
	t.Helper()
	columns := 0
	for _, line := range strings.Split(text, "\n") {
		if !strings.HasPrefix(line, "|") {
			columns = 0
			if !strings.Contains(line, "`") && strings.ContainsAny(line, "<>") {
				t.Errorf("markdown: %s", line)
			}
			continue
		}
		n := strings.Count(escaped.ReplaceAllString(line, ""), "|")
		if columns == 0 {
			columns = n
		}
		if n != columns || strings.ContainsAny(line, "<>") {
			t.Errorf("markdown: %s", line)
		}
	}
}

// checkLines holds that a text cannot make lines: hostile ones give as many as
// harmless ones.
func checkLines(t *testing.T, s string) {
	t.Helper()
	for _, file := range []string{"many", "conflict"} {
		harmless, hostile := readAnswer(t, "testdata/answers/"+file+".json"), readAnswer(t, "testdata/answers/"+file+".json")
		poison(reflect.ValueOf(harmless), "x")
		poison(reflect.ValueOf(hostile), s)
		for _, format := range []string{"text", "wide", "jsonl", "csv", "markdown", "mermaid", "dot"} {
			for _, opt := range []Options{{}, {Explain: true}} {
				want := strings.Count(rendered(t, harmless, format, opt), "\n")
				if got := strings.Count(rendered(t, hostile, format, opt), "\n"); got != want {
					t.Errorf("%s: %d lines, want %d, for %q", format, got, want, s)
				}
			}
		}
	}
}
