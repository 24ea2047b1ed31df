package load

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"whichbackend/analyze/record"
	"whichbackend/collect/bundle"
)

const conntrack = "tcp      6 100 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=1000 dport=80 src=10.0.0.3 dst=10.0.0.1 sport=80 dport=1000 [ASSURED] mark=0 use=1\n"

// folder writes files into a temporary folder.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// scopes loads a folder and tells the scope of each artifact's first section.
func scopes(t testing.TB, dir string) map[string]record.Scope {
	t.Helper()
	c, err := Open([]string{dir}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	artifacts, err := c.Artifacts()
	if err != nil {
		t.Fatal(err)
	}
	sections, err := c.Sections()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]record.Scope{}
	for _, a := range artifacts {
		for _, s := range slices.Backward(sections) {
			if s.Artifact == a.ID {
				out[a.Path] = s.Scope
			}
		}
	}
	return out
}

// TestScopesOfPaths: the folders say where a listing is true.
func TestScopesOfPaths(t *testing.T) {
	host := func(h string) record.Scope { return record.Scope{Host: h, Kind: record.ScopeHost} }
	want := map[string]record.Scope{
		"top.txt":                           host(""),
		"node1/conntrack.txt":               host("node1"),
		"node1/logs/deep/er/conntrack.txt":  host("node1"),
		"node1/pcap/conntrack.txt":          host("node1"),
		"node1/pods/default/client/ct.txt":  {Host: "node1", Kind: record.ScopePod, Namespace: "default", Name: "client"},
		"node1/pods/default/client/a/b.txt": {Host: "node1", Kind: record.ScopePod, Namespace: "default", Name: "client"},
		"node1/pods/default.txt":            host("node1"),
		"node1/pods/default/stray.txt":      host("node1"),
		"node1/containers/web.1.x/ct.txt":   {Host: "node1", Kind: record.ScopeContainer, Name: "web.1.x"},
		"node1/netns/ingress_sbox/ct.txt":   {Host: "node1", Kind: record.ScopeNetns, Name: "ingress_sbox"},
		"cluster/ct.txt":                    {Kind: record.ScopeCluster},
		"cluster/pods/default/x/ct.txt":     {Kind: record.ScopeCluster},
		"node2/cluster/ct.txt":              host("node2"),
		"pods/default/client/ct.txt":        {Kind: record.ScopePod, Namespace: "default", Name: "client"},
		"containers/web/ct.txt":             {Kind: record.ScopeContainer, Name: "web"},
		"netns/blue/ct.txt":                 {Kind: record.ScopeNetns, Name: "blue"},
	}
	files := map[string]string{}
	for name := range want {
		files[name] = conntrack
	}
	got := scopes(t, folder(t, files))
	for name, s := range want {
		if got[name] != s {
			t.Errorf("%s: %+v, want %+v", name, got[name], s)
		}
	}
	// One folder around everything is looked through, also two.
	wrapped := map[string]string{}
	for name := range want {
		if strings.Contains(name, "/") {
			wrapped["a/b/"+name] = conntrack
		}
	}
	for name, s := range scopes(t, folder(t, wrapped)) {
		if want[name] != s {
			t.Errorf("wrapped %s: %+v, want %+v", name, s, want[name])
		}
	}
}

// TestScopesOfManifest: a manifest says it better than folders do.
func TestScopesOfManifest(t *testing.T) {
	manifest := `whichbackend: 1
created: 2026-11-23T08:14:00Z
hosts:
  - name: node1
    namespaces:
      - {id: 1, owners: [{kind: pod, namespace: default, name: client, container: app, pid: 5}, {kind: pod, namespace: default, name: client, container: istio-proxy, pid: 6}]}
      - {id: 2, owners: [{kind: pod, namespace: default, name: a}, {kind: pod, namespace: default, name: b}]}
      - {id: 3}
      - {id: 4, owners: [{kind: container, name: web.1.x, pid: 7}]}
      - {id: 5, owners: [{kind: netns, name: ingress_sbox}]}
      - {id: 6, owners: [{kind: host, name: node1}]}
      - {id: 7, owners: [{kind: process, pid: 9}]}
  - name: node2
    namespaces:
      - {id: 1, owners: [{kind: pod, namespace: other, name: elsewhere}]}
artifacts:
  - {path: one.txt, host: node1, netns: 1}
  - {path: two.txt, host: node1, netns: 2}
  - {path: three.txt, host: node1, netns: 3}
  - {path: four.txt, host: node1, netns: 4}
  - {path: five.txt, host: node1, netns: 5, started: 2026-11-23T08:15:00Z, truncated: true}
  - {path: six.txt, host: node1, netns: 6}
  - {path: seven.txt, host: node1, netns: 7}
  - {path: eight.txt, host: node1, netns: 8}
  - {path: own.txt, host: node1}
  - {path: other.txt, host: node2, netns: 1}
  - {path: node3/unsaid.txt}
`
	want := map[string]record.Scope{
		"one.txt":            {Host: "node1", Kind: record.ScopePod, Namespace: "default", Name: "client"},
		"two.txt":            {Host: "node1", Kind: record.ScopeNetns, Name: "2"},
		"three.txt":          {Host: "node1", Kind: record.ScopeNetns, Name: "3"},
		"four.txt":           {Host: "node1", Kind: record.ScopeContainer, Name: "web.1.x"},
		"five.txt":           {Host: "node1", Kind: record.ScopeNetns, Name: "ingress_sbox"},
		"six.txt":            {Host: "node1", Kind: record.ScopeHost},
		"seven.txt":          {Host: "node1", Kind: record.ScopeNetns, Name: "7"},
		"eight.txt":          {Host: "node1", Kind: record.ScopeNetns, Name: "8"},
		"own.txt":            {Host: "node1", Kind: record.ScopeHost},
		"other.txt":          {Host: "node2", Kind: record.ScopePod, Namespace: "other", Name: "elsewhere"},
		"node3/unsaid.txt":   {Host: "node3", Kind: record.ScopeHost},
		"node3/unlisted.txt": {Host: "node3", Kind: record.ScopeHost},
	}
	files := map[string]string{"manifest.yaml": manifest}
	for name := range want {
		files[name] = conntrack
	}
	dir := folder(t, files)
	got := scopes(t, dir)
	for name, s := range want {
		if got[name] != s {
			t.Errorf("%s: %+v, want %+v", name, got[name], s)
		}
	}
	c, err := Open([]string{dir}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	artifacts, _ := c.Artifacts()
	for _, a := range artifacts {
		if at, five := a.Recorded.Format("15:04"), a.Path == "five.txt"; five != (at == "08:15") || five != a.Truncated {
			t.Errorf("%s: recorded %s, truncated %v", a.Path, at, a.Truncated)
		}
	}
}

// TestUnreadable: errors of inputs say what to do, and are of the bundle.
func TestUnreadable(t *testing.T) {
	dir := folder(t, map[string]string{"damaged.db": "SQLite format 3\x00" + strings.Repeat("x", 4096)})
	for _, input := range []string{filepath.Join(dir, "gone"), filepath.Join(dir, "damaged.db"), filepath.Join(dir, "damaged.db", "below"), t.TempDir()} {
		for _, inputs := range [][]string{{input}, {folder(t, map[string]string{"a.txt": conntrack}), input}} {
			_, err := Open(inputs, Options{Cache: t.TempDir()})
			var e *bundle.Error
			if !errors.As(err, &e) || e.Path != input || e.Do == "" {
				t.Errorf("%q: %v", inputs, err)
			}
		}
	}
	stop := errors.New("stop")
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	if _, err := Open([]string{folder(t, map[string]string{"a.txt": conntrack})}, Options{Stop: func() error { return stop }}); !errors.Is(err, stop) {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(temp, "whichbackend-*")); len(left) > 0 {
		t.Error("left behind: ", left)
	}
}

// TestStdin reads standard input once.
func TestStdin(t *testing.T) {
	c, err := Open([]string{"-"}, Options{Stdin: io.LimitReader(strings.NewReader(conntrack), 1<<20), Cache: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if ok, err := c.Understood(); err != nil || !ok {
		t.Error("not understood", err)
	}
	if c.Drop() {
		t.Error("standard input comes from the cache")
	}
}

// TestTime reads what --at may be.
func TestTime(t *testing.T) {
	for text, want := range map[string]string{"2026-11-23T08:14:00Z": "2026-11-23T08:14:00Z", "2026-11-23T09:14:00.5+01:00": "2026-11-23T08:14:00Z", "1795421640": "2026-11-23T08:14:00Z"} {
		if at, err := Time(text); err != nil || at.UTC().Format("2006-01-02T15:04:05Z") != want {
			t.Errorf("%s: %s %v", text, at, err)
		}
	}
	for _, text := range []string{"", "noon", "2026-11-23", "08:14"} {
		if _, err := Time(text); err == nil {
			t.Errorf("%q is a time", text)
		}
	}
}
