package main

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"whichbackend/analyze/render"
)

// expectCase is a small case with two expectations, the second of which fails.
func expectCase(t testing.TB) string {
	dir := smallCase(t)
	write(t, dir, "expect.yaml", `bundle: .
questions:
  - name: lands on nginx-1
    from: default/client
    to: 10.96.72.53:80
    backend: 10.244.0.6:80
    verdict: observed
    mechanism: netfilter
  - from: 10.244.0.13
    backend: 10.244.0.7:80
  - from: 10.244.0.99:1
    verdict: unknown
`)
	return dir
}

// TestTest prints one line a question, in each form.
func TestTest(t *testing.T) {
	dir := expectCase(t)
	junit := filepath.Join(t.TempDir(), "report.xml")
	r := must(t, 3, "test", dir, "--junit", junit)
	file := filepath.Join(dir, "expect.yaml")
	for _, has := range []string{"ok 1 - " + file + ": lands on nginx-1\n", "not ok 2 - " + file + ": from 10.244.0.13\n", "10.244.0.7:80", "ok 3 - ", "3 questions, 1 failed\n"} {
		if !strings.Contains(r.out, has) {
			t.Errorf("no %q in:\n%s", has, r.out)
		}
	}
	tap := must(t, 3, "test", dir, "-o", "tap").out
	if lines := strings.Split(tap, "\n"); lines[0] != "TAP version 13" || lines[1] != "1..3" || strings.Count(tap, "\nok ") != 2 || strings.Count(tap, "\nnot ok 2 - ") != 1 {
		t.Error(tap)
	}
	for _, line := range strings.Split(strings.TrimSpace(tap), "\n")[2:] {
		if !strings.HasPrefix(line, "ok ") && !strings.HasPrefix(line, "not ok ") && !strings.HasPrefix(line, "# ") {
			t.Errorf("no line of TAP: %q", line)
		}
	}
	github := must(t, 3, "test", dir, "-o", "github").out
	if strings.Count(github, "::error file="+file+"::") != 1 || !strings.Contains(github, "10.244.0.7:80") {
		t.Error(github)
	}
	text, err := os.ReadFile(junit)
	noError(t, err)
	var suite render.Suite
	noError(t, xml.Unmarshal(text, &suite))
	if suite.Tests != 3 || suite.Failures != 1 || len(suite.Cases) != 3 || suite.Cases[0].Failure != nil || suite.Cases[1].Failure == nil {
		t.Errorf("%s", text)
	}
	if r.stderr != "" {
		t.Error(r.stderr)
	}
}

// TestUpdate writes what is answered now, which then is met; a second time
// changes nothing.
func TestUpdate(t *testing.T) {
	dir := expectCase(t)
	file := filepath.Join(dir, "expect.yaml")
	must(t, 3, "test", dir)
	must(t, 0, "test", dir, "--update")
	once, err := os.ReadFile(file)
	noError(t, err)
	for _, has := range []string{"10.244.0.6:80", "proven", "lands on nginx-1", "verdict: unknown", "bundle: .", "from: default/client", "to: 10.96.72.53:80"} {
		if !strings.Contains(string(once), has) {
			t.Errorf("no %q in:\n%s", has, once)
		}
	}
	if strings.Contains(string(once), "10.244.0.7") {
		t.Errorf("%s", once)
	}
	must(t, 0, "test", dir)
	must(t, 0, "test", dir, "--update")
	twice, err := os.ReadFile(file)
	noError(t, err)
	if string(once) != string(twice) {
		t.Errorf("%s\nand then\n%s", once, twice)
	}
}

// TestExpectFiles: archives, lists of bundles, several files, and files that
// cannot be understood.
func TestExpectFiles(t *testing.T) {
	dir := t.TempDir()
	noError(t, os.WriteFile(filepath.Join(dir, "one.tar.gz"), packGzip(t, packTar(t, file{"node1/conntrack.txt", conntrackText})), 0o644))
	write(t, dir, "two.txt", netstatText)
	write(t, dir, "expect.yaml", "bundle: [one.tar.gz, two.txt]\nquestions:\n  - from: 10.244.0.13:52372\n    backend: 10.244.0.6:80\n    verdict: observed\n")
	sub := write(t, dir, "deeper/expect.yaml", "bundle: ../one.tar.gz\nquestions:\n  - to: 10.96.72.53\n    backend: [10.244.0.6:80]\n")
	if r := must(t, 0, "test", dir, sub); !strings.Contains(r.out, "2 questions, 0 failed") {
		t.Error(r.out)
	}
	for _, text := range []string{
		"", "questions: 7\n", "bundle: {a: b}\n", "quests: []\n", "\tbundle: .\n", "questions:\n  - verdict: proven\n", "questions:\n  - from: 1.2.3\n    verdict: proven\n",
		"questions:\n  - from: 1.2.3.4\n    verdict: certain\n", "questions:\n  - from: 1.2.3.4\n", "a: &a [*a, *a]\n", "bundle: .\n", "questions: []\n",
	} {
		file := write(t, t.TempDir(), "expect.yaml", text)
		if r := cli(t, "test", file); r.code != exitUsage || !strings.Contains(r.stderr, file) {
			t.Errorf("%q: exit status %d: %s%s", text, r.code, r.out, r.stderr)
		}
	}
}
