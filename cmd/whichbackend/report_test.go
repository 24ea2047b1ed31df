package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReport writes a page that only its owner may read, in place of an older
// one, and leaves nothing beside it.
func TestReport(t *testing.T) {
	dir := t.TempDir()
	file := write(t, dir, "report.html", "an older one")
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	bundle := filepath.Join(fixtures, "swarm", "bundle.tar.gz")
	must(t, exitAnswered, "report", bundle, "-o", file)
	text, err := os.ReadFile(file)
	if err != nil || !strings.HasPrefix(string(text), "<!DOCTYPE html>") {
		t.Errorf("the page is %.40q (%v)", text, err)
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("its mode is %v (%v)", st.Mode(), err)
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 1 {
		t.Errorf("%v is left (%v)", list, err)
	}
	if r := must(t, exitAnswered, "report", bundle, "-o", "-"); r.out != string(text) {
		t.Error("standard output gets another page than a file")
	}
}

// TestReportRefused says what to do when there is no page to write, or no place
// for it.
func TestReportRefused(t *testing.T) {
	bundle := filepath.Join(fixtures, "swarm", "bundle.tar.gz")
	for _, c := range []struct {
		code int
		args []string
		says string
	}{
		{exitUsage, []string{"report"}, "report needs a BUNDLE"},
		{exitUsage, []string{"report", bundle, "--at", "noon"}, "--at"},
		{exitUnusable, []string{"report", filepath.Join(t.TempDir(), "nothing")}, "check the path"},
		{exitRuntime, []string{"report", bundle, "-o", filepath.Join(t.TempDir(), "no", "r.html")}, "-o"},
	} {
		if r := cli(t, c.args...); r.code != c.code || !strings.Contains(r.stderr, c.says) {
			t.Errorf("%q: exit status %d, want %d with %q\n%s", c.args, r.code, c.code, c.says, r.stderr)
		}
	}
}
