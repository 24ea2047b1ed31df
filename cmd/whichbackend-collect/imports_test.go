package main

import (
	"go/build"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

// forbidden is what the collector links none of.
var forbidden = regexp.MustCompile(`^C$|sqlite|gopacket|^whichbackend/(analyze|store|cmd)(/|$)`)

// TestNothingElseLinked follows the import lines from the collector on, those
// of its libraries too, as a build for Linux without cgo sees them.
func TestNothingElseLinked(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	folders := map[string]string{"whichbackend": root}
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^(?:require)?\s+(\S+\.\S+/\S+|gopkg\.in/\S+) (v\S+)`).FindAllStringSubmatch(string(text), -1) {
		folders[m[1]] = filepath.Join(moduleCache(), escape(m[1])+"@"+escape(m[2]))
	}
	for _, arch := range []string{"amd64", "arm64"} {
		ctx := build.Default
		ctx.GOOS, ctx.GOARCH, ctx.CgoEnabled = "linux", arch, false
		seen := map[string]string{"whichbackend/cmd/whichbackend-collect": "", "whichbackend/collect": ""}
		for todo := []string{"whichbackend/cmd/whichbackend-collect", "whichbackend/collect"}; len(todo) > 0; {
			pkg := todo[0]
			todo = todo[1:]
			for _, i := range imports(t, &ctx, folder(t, folders, pkg)) {
				if forbidden.MatchString(i) {
					t.Errorf("%s imports %s (imported by %s)", pkg, i, seen[pkg])
				}
				first, _, _ := strings.Cut(i, "/")
				if _, known := seen[i]; !known && (first == "whichbackend" || strings.Contains(first, ".")) {
					seen[i] = pkg
					todo = append(todo, i)
				}
			}
		}
		for _, must := range []string{"whichbackend/collect/bundle", "github.com/spf13/cobra", "github.com/klauspost/compress/zstd", "gopkg.in/yaml.v3"} {
			if _, ok := seen[must]; !ok {
				t.Errorf("%s was not reached: the test does not see what it should", must)
			}
		}
	}
}

// folder finds the sources of a package.
func folder(t *testing.T, folders map[string]string, pkg string) string {
	t.Helper()
	for module := pkg; module != "."; module = filepath.Dir(module) {
		if dir, ok := folders[module]; ok {
			return filepath.Join(dir, strings.TrimPrefix(pkg, module))
		}
	}
	t.Fatalf("%s: in no module of go.mod", pkg)
	return ""
}

// imports gives the import lines of the files that a build takes.
func imports(t *testing.T, ctx *build.Context, dir string) (names []string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		name := f.Name()
		if match, err := ctx.MatchFile(dir, name); err != nil || !match || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, name), nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range parsed.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, name)
		}
	}
	return names
}

func moduleCache() string {
	if dir := os.Getenv("GOMODCACHE"); dir != "" {
		return dir
	}
	return filepath.Join(filepath.SplitList(build.Default.GOPATH)[0], "pkg", "mod")
}

// escape writes a capital as the module cache does.
func escape(s string) string {
	var b strings.Builder
	for _, c := range s {
		if unicode.IsUpper(c) {
			b.WriteByte('!')
			c = unicode.ToLower(c)
		}
		b.WriteRune(c)
	}
	return b.String()
}
