package collect

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"whichbackend/collect/bundle"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fakeRoot makes a host's folders from paths and texts. A text that begins with
// "-> " is a link.
func fakeRoot(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		name = filepath.Join(root, name)
		must(t, os.MkdirAll(filepath.Dir(name), 0o755))
		if target, ok := strings.CutPrefix(text, "-> "); ok {
			must(t, os.Symlink(target, name))
		} else {
			must(t, os.WriteFile(name, []byte(text), 0o644))
		}
	}
	return root
}

// host1 is a host whose kernel loads modules, and has none.
func host1(more ...string) map[string]string {
	files := map[string]string{
		"proc/sys/kernel/hostname": "node-1\n", "proc/sys/kernel/osrelease": "6.1.0-18-amd64\n",
		"proc/uptime":  "81233.12 99.00\n",
		"proc/modules": "", "proc/sys/kernel/modprobe": "/sbin/modprobe\n",
	}
	for i := 0; i < len(more); i += 2 {
		files[more[i]] = more[i+1]
	}
	return files
}

// fakeTools makes commands from names and shell scripts.
func fakeTools(t *testing.T, scripts map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range scripts {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755))
	}
	return dir
}

// got is a bundle that was read back.
type got struct {
	*Result
	files map[string]string // without the top folder
	raw   []byte            // decompressed
}

func (g *got) artifact(t *testing.T, path string) bundle.Artifact {
	t.Helper()
	for _, a := range g.Manifest.Artifacts {
		if a.Path == path {
			return a
		}
	}
	t.Fatalf("%s: not in the manifest; missing: %+v", path, g.Manifest.Missing)
	return bundle.Artifact{}
}

func (g *got) missing(what string) (m bundle.Missing) {
	for _, m := range g.Manifest.Missing {
		if m.What == what {
			return m
		}
	}
	return m
}

// record records into a file and reads that back with the reader of bundles,
// which holds every size and hash against the manifest.
func record(t *testing.T, o Options) *got {
	t.Helper()
	name := filepath.Join(t.TempDir(), "b.tar.gz")
	if o.spaces == nil && o.Root != "" {
		o.spaces = self()
	}
	res, err := Record(context.Background(), name, nil, o)
	must(t, err)
	info, err := os.Stat(name)
	must(t, err)
	if info.Mode() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if left, _ := os.ReadDir(filepath.Dir(name)); len(left) != 1 {
		t.Errorf("left beside the bundle: %v", left)
	}
	f, err := os.Open(name)
	must(t, err)
	defer f.Close()
	return readBack(t, f, res)
}

func readBack(t *testing.T, in io.Reader, res *Result) *got {
	t.Helper()
	r, err := bundle.Open("-", in, bundle.Limits{})
	must(t, err)
	defer r.Close()
	g := &got{Result: res, files: map[string]string{}}
	var all bytes.Buffer
	for {
		e, err := r.Next()
		if err == io.EOF {
			break
		}
		must(t, err)
		b, err := io.ReadAll(e)
		must(t, err)
		all.Write(b)
		g.files[e.Path] = string(b)
	}
	for p, text := range g.files {
		delete(g.files, p)
		g.files[strings.TrimPrefix(p, r.Wrapper()+"/")] = text
	}
	if r.Damaged() != nil || len(r.Warnings()) > 0 || r.Manifest() == nil {
		t.Fatalf("damaged %v, warnings %q, manifest %v", r.Damaged(), r.Warnings(), r.Manifest())
	}
	g.Manifest = *r.Manifest()
	if len(g.files) != len(g.Manifest.Artifacts) {
		t.Errorf("%d files, %d in the manifest", len(g.files), len(g.Manifest.Artifacts))
	}
	g.raw = all.Bytes()
	return g
}

// self is the network namespace that the test is in, as the host's.
func self() []*space {
	return []*space{{id: "4026531840", dir: "node-1", owners: []bundle.Owner{{Kind: "host", Name: "node-1"}}}}
}

// command is an item for a test.
func command(name string, args ...string) item {
	return item{name: name, tools: []string{name}, args: args, why: "a test", deadline: 10 * time.Second, limit: mib}
}
