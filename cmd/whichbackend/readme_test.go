package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
)

// TestReadme runs the README's example and holds it to what it prints.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "\n```\n$ whichbackend ")
	if !ok {
		t.Fatal("no example in the README")
	}
	block, _, _ := strings.Cut(rest, "\n```\n")
	command, want, _ := strings.Cut(block, "\n")
	args := strings.Fields(strings.ReplaceAll(command, "fixtures/", "../../fixtures/"))
	var out, errs bytes.Buffer
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	if code := run(context.Background(), strings.NewReader(""), &out, &errs, args); code != exitAnswered {
		t.Fatalf("exit status %d: %s", code, errs.String())
	}
	if got := out.String(); !strings.HasPrefix(got, want+"\n") {
		t.Errorf("the README shows:\n%s\nbut it prints:\n%s", want, got)
	}
}
