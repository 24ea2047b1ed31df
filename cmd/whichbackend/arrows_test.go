package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// arrows are the imports that each package of ours may have of ours. Test
// files may import more.
var arrows = map[string][]string{
	"analyze/record":           {},
	"collect/bundle":           {},
	"collect/kernel":           {},
	"collect/docker":           {"collect/bundle"},
	"collect/netns":            {"collect/bundle", "collect/docker"},
	"collect/capture":          {},
	"collect/cilium":           {},
	"collect":                  {"collect/bundle", "collect/capture", "collect/cilium", "collect/docker", "collect/kernel", "collect/netns", "collect/proxy"},
	"collect/proxy":            {},
	"collect/kube":             {"collect/bundle", "collect/proxy"},
	"cmd/whichbackend-collect": {"collect", "collect/bundle", "collect/kube"},
	"analyze/parse":            {"analyze/record"},
	"analyze/pcap":             {},
	"analyze/pcap/decode":      {},
	"analyze/pcap/flow":        {"analyze/pcap", "analyze/pcap/decode", "analyze/record"},
	"analyze/pcap/match":       {"analyze/record"},
	"analyze/pcap/relay":       {"analyze/record"},
	"store":                    {"analyze/record"},
	"analyze/load":             {"analyze/parse", "analyze/pcap", "analyze/pcap/decode", "analyze/pcap/flow", "analyze/pcap/match", "analyze/pcap/relay", "analyze/record", "collect/bundle", "store"},
	"analyze/resolve":          {"analyze/record", "store"},
	"analyze/check":            {"analyze/load", "analyze/record", "analyze/resolve"},
	"analyze/diff":             {"analyze/check", "analyze/load", "analyze/record", "analyze/resolve"},
	"analyze/expect":           {"analyze/resolve"},
	"analyze/report":           {"analyze/check", "analyze/load", "analyze/record", "analyze/render", "analyze/resolve"},
	"analyze/render":           {"analyze/check", "analyze/diff", "analyze/load", "analyze/resolve"},
	"fixtures/bench":           {"analyze/pcap", "analyze/pcap/flow", "analyze/record", "fixtures/traffic"},
	"fixtures/traffic":         {},
	"fixtures/cluster":         {},
	"fixtures/cluster/peer":    {},
	"fixtures/lab":             {"collect/bundle"},
	"cmd/whichbackend":         {"analyze/check", "analyze/diff", "analyze/expect", "analyze/load", "analyze/pcap", "analyze/render", "analyze/report", "analyze/resolve", "collect/bundle", "store"},
}

// TestArrows reads the import lines themselves: go list could answer from a cache.
func TestArrows(t *testing.T) {
	root := filepath.Join("..", "..")
	seen := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && strings.HasPrefix(e.Name(), ".") && path != root {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(rel)
		allowed, ok := arrows[pkg]
		if !ok {
			t.Errorf("%s: a package without arrows", pkg)
			return nil
		}
		seen[pkg] = true
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, i := range f.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			ours, ok := strings.CutPrefix(name, "whichbackend/")
			if ok && !slices.Contains(allowed, ours) {
				t.Errorf("%s imports %s", path, ours)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range arrows {
		if !seen[pkg] {
			t.Errorf("%s: no such package", pkg)
		}
	}
}
