package parse

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"whichbackend/analyze/record"
)

var (
	update = flag.Bool("update", false, "write what is parsed now into the txtar files")
	corpus = flag.String("corpus", "", "parse every file below this folder and print what was understood (a tool, not a test)")
	dump   = flag.Bool("dump", false, "with -corpus: print the records and problems too")
)

// collector is a Sink that keeps everything as lines of text.
type collector struct {
	records  []string
	problems []string
	maxLine  int
	badLine  string
}

func (c *collector) add(kind string, pos record.Pos, v any) {
	if pos.Line > c.maxLine {
		c.maxLine = pos.Line
	}
	if pos.Line < 1 && pos.Pointer == "" {
		c.badLine = fmt.Sprintf("%s without a position: %+v", kind, v)
	}
	c.records = append(c.records, kind+" "+describe(reflect.ValueOf(v).Elem()))
}

func (c *collector) Socket(s *record.Socket)           { c.add("socket", s.Pos, s) }
func (c *collector) Translation(t *record.Translation) { c.add("translation", t.Pos, t) }
func (c *collector) Service(s *record.Service)         { c.add("service", s.Pos, s) }
func (c *collector) Owner(o *record.Owner)             { c.add("owner", o.Pos, o) }
func (c *collector) Address(a *record.Address)         { c.add("address", a.Pos, a) }
func (c *collector) Reading(r *record.Reading)         { c.add("reading", r.Pos, r) }
func (c *collector) Problem(p *record.Problem) {
	if p.Line > c.maxLine {
		c.maxLine = p.Line
	}
	c.problems = append(c.problems, fmt.Sprintf("problem %d%s %s: %q", p.Line, p.Pointer, p.Why, p.Text))
}

// describe prints the fields of a record that say something, in their order.
func describe(v reflect.Value) string {
	var b strings.Builder
	for i := 0; i < v.NumField(); i++ {
		f, t := v.Field(i), v.Type().Field(i)
		switch x := f.Interface().(type) {
		case record.Pos:
			if x == (record.Pos{}) {
				continue
			}
			if t.Anonymous {
				fmt.Fprintf(&b, "%d%s", x.Line, x.Pointer)
			} else {
				fmt.Fprintf(&b, " @%d%s", x.Line, x.Pointer)
			}
			continue
		case []record.Backend:
			for j := range x {
				fmt.Fprintf(&b, "\n  backend%s", describe(f.Index(j)))
			}
			continue
		case record.Tuple:
			fmt.Fprintf(&b, " %s=%s>%s", t.Name, x.Source, x.Destination)
			continue
		}
		if f.IsZero() || (t.Name == "Weight" || t.Name == "Active" || t.Name == "UID" || t.Name == "Timeout") && f.Int() == -1 {
			continue
		}
		fmt.Fprintf(&b, " %s=%v", t.Name, f.Interface())
	}
	return b.String()
}

// parseText parses one artifact and returns its sections.
func parseText(t testing.TB, text []byte) (*collector, []*record.Section) {
	t.Helper()
	var c collector
	n := 0
	a := &record.Artifact{ID: 1, Path: "input"}
	sections, err := Artifact(a, bytes.NewReader(text), nil, &c, func() int { n++; return n })
	if err != nil {
		t.Fatal(err)
	}
	return &c, sections
}

func (c *collector) text(sections []*record.Section) string {
	var b strings.Builder
	for _, s := range sections {
		fmt.Fprintf(&b, "section %d %q tool=%q scope=%s/%s/%s/%s understood=%d ignored=%d unknown=%d\n", s.Line, s.Format, s.Tool,
			s.Scope.Host, s.Scope.Kind, s.Scope.Namespace, s.Scope.Name, s.Understood, s.Ignored, s.Unknown)
	}
	for _, r := range append(c.records, c.problems...) {
		b.WriteString(r + "\n")
	}
	return b.String()
}

// TestCases parses every testdata/*/*.txtar: a comment with the provenance
// (tool, version, command, where from), the input, and the records wanted.
func TestCases(t *testing.T) {
	files, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases in testdata")
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(strings.TrimPrefix(file, "testdata/"), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil || len(ar.Files) != 2 || ar.Files[0].Name != "input" || ar.Files[1].Name != "want" {
				t.Fatalf("%s: want a comment, then the files input and want (%v)", file, err)
			}
			if len(strings.TrimSpace(string(ar.Comment))) == 0 {
				t.Errorf("%s: no provenance comment", file)
			}
			c, sections := parseText(t, ar.Files[0].Data)
			got := c.text(sections)
			if *update {
				ar.Files[1].Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(string(ar.Files[1].Data), got); d != "" {
				t.Errorf("%s (-want +got):\n%s", file, d)
			}
			checkLines(t, ar.Files[0].Data, c, sections)
		})
	}
}

// checkLines holds the driver's promises: every line has a verdict, and every
// position lies inside the input.
func checkLines(t testing.TB, input []byte, c *collector, sections []*record.Section) {
	t.Helper()
	lines := bytes.Count(input, []byte("\n"))
	if len(input) > 0 && input[len(input)-1] != '\n' {
		lines++
	}
	total := 0
	for _, s := range sections {
		if s.Lines != s.Understood+s.Ignored+s.Unknown {
			t.Errorf("section %q: %d lines, but %d + %d + %d have a verdict", s.Format, s.Lines, s.Understood, s.Ignored, s.Unknown)
		}
		total += s.Lines
	}
	if len(sections) > 0 && total != lines && binaryFormat(input) == "" {
		t.Errorf("%d of %d lines have a verdict", total, lines)
	}
	if c.maxLine > lines {
		t.Errorf("a position at line %d of %d", c.maxLine, lines)
	}
	if c.badLine != "" {
		t.Error(c.badLine)
	}
}

// TestEveryFormatHasACase keeps the table and the cases together.
func TestEveryFormatHasACase(t *testing.T) {
	seen := map[string]bool{}
	files, _ := filepath.Glob("testdata/*/*.txtar")
	for _, file := range files {
		ar, err := txtar.ParseFile(file)
		if err != nil || len(ar.Files) == 0 {
			t.Fatal(file, err)
		}
		_, sections := parseText(t, ar.Files[0].Data)
		for _, s := range sections {
			seen[s.Format] = true
		}
	}
	for _, f := range formats {
		if !seen[f.Name] {
			t.Errorf("format %s has no case in testdata", f.Name)
		}
	}
}

// FuzzFormats feeds every format with mutated cases: no panic, every line a
// verdict, every position inside the input.
func FuzzFormats(f *testing.F) {
	files, _ := filepath.Glob("testdata/*/*.txtar")
	for _, file := range files {
		ar, err := txtar.ParseFile(file)
		if err != nil || len(ar.Files) == 0 {
			f.Fatal(file, err)
		}
		f.Add(ar.Files[0].Data)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		if bytes.HasPrefix(input, []byte{0xff, 0xfe}) || bytes.HasPrefix(input, []byte{0xfe, 0xff}) {
			return // lines are counted after decoding
		}
		c, sections := parseText(t, input)
		checkLines(t, bytes.TrimPrefix(input, []byte("\xef\xbb\xbf")), c, sections)
	})
}

// TestCorpus is the developer's look at real files: go test -run TestCorpus
// -corpus FOLDER [-dump] ./analyze/parse -v
func TestCorpus(t *testing.T) {
	if *corpus == "" {
		return
	}
	type sum struct{ files, lines, understood, ignored, unknown int }
	formats := map[string]*sum{}
	err := filepath.WalkDir(*corpus, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.HasSuffix(path, ".src") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		c, sections := parseText(t, text)
		checkLines(t, bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")), c, sections)
		for _, s := range sections {
			fmt.Printf("%-60s %5d %-22s %-24s lines %d understood %d ignored %d unknown %d\n", strings.TrimPrefix(path, *corpus), s.Line, s.Format, s.Tool, s.Lines, s.Understood, s.Ignored, s.Unknown)
			f := formats[s.Format]
			if f == nil {
				f = &sum{}
				formats[s.Format] = f
			}
			f.files++
			f.lines += s.Lines
			f.understood += s.Understood
			f.ignored += s.Ignored
			f.unknown += s.Unknown
		}
		if *dump {
			for _, r := range c.records {
				fmt.Println("   ", r)
			}
		}
		for _, p := range c.problems[:min(len(c.problems), 12)] {
			fmt.Println("   ", p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for n := range formats {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		f := formats[n]
		fmt.Printf("TOTAL %-24s sections %4d lines %7d understood %7d ignored %7d unknown %7d\n", n, f.files, f.lines, f.understood, f.ignored, f.unknown)
	}
}
