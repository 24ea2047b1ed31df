package bundle

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// manifestText is the example of the format's description.
const manifestText = `whichbackend: 1
created: 2026-11-23T08:14:00.123456789Z
collector: {version: 0.1.0, commit: abc1234}
note: ticket 4711
hosts:
  - name: kind-worker2
    kernel: 6.1.0-18-amd64
    clock: {wall: 2026-11-23T08:14:00.12Z, boot: 81233.12, ntp: synchronised}
    namespaces:
      - {id: 4026532301, owners: [{kind: pod, namespace: default, name: client, container: app, pid: 26231}]}
      - {id: "4026532302"}
artifacts:
  - {path: kind-worker2/netns/4026532301/netstat.txt, host: kind-worker2, netns: 4026532301,
     command: [netstat, -anp], tool: net-tools 2.10, started: 2026-11-23T08:14:01Z, took: 12ms, exit: 0, size: 4, sha256: abcd, truncated: false}
missing:
  - {host: kind-worker2, what: cilium, because: not-found, detail: no cilium agent on this host}
later: {field: of a later version}
`

var example = &Manifest{
	Version: 1, Created: time.Date(2026, 11, 23, 8, 14, 0, 123456789, time.UTC),
	Collector: Collector{"0.1.0", "abc1234"}, Note: "ticket 4711",
	Hosts: []Host{{
		Name: "kind-worker2", Kernel: "6.1.0-18-amd64",
		Clock: Clock{time.Date(2026, 11, 23, 8, 14, 0, 120000000, time.UTC), 81233.12, "synchronised"},
		Namespaces: []Namespace{
			{"4026532301", []Owner{{"pod", "default", "client", "app", 26231}}},
			{ID: "4026532302"},
		},
	}},
	Artifacts: []Artifact{{
		Path: "kind-worker2/netns/4026532301/netstat.txt", Host: "kind-worker2", NetNS: "4026532301",
		Command: []string{"netstat", "-anp"}, Tool: "net-tools 2.10", Started: time.Date(2026, 11, 23, 8, 14, 1, 0, time.UTC),
		Took: 12 * time.Millisecond, Size: 4, SHA256: "abcd",
	}},
	Missing: []Missing{{"kind-worker2", "cilium", "not-found", "no cilium agent on this host"}},
}

func TestManifest(t *testing.T) {
	m, warning, err := parseManifest([]byte(manifestText))
	if err != nil || warning != "" || !reflect.DeepEqual(m, example) {
		t.Errorf("%+v %q %v", m, warning, err)
	}
	text, err := example.encode()
	must(t, err)
	if !strings.HasPrefix(string(text), "whichbackend: 1\n") || !strings.Contains(string(text), "took: 12ms") {
		t.Errorf("%s", text)
	}
	m, warning, err = parseManifest(text)
	if err != nil || warning != "" || !reflect.DeepEqual(m, example) {
		t.Errorf("round trip: %+v %q %v", m, warning, err)
	}
}

func TestManifestAnywhere(t *testing.T) {
	ours := "# ours\nwhichbackend: 1\nnote: "
	foreign := "apiVersion: v1\nkind: Pod\nmetadata:\n  whichbackend: 2\n"
	for _, c := range []struct {
		name     string
		files    []file
		note     string // of the manifest, - for none
		given    int
		warnings []string
	}{
		{"top, last", []file{{"n/x", ""}, {"manifest.yaml", ours + "a"}}, "a", 1, nil},
		{"below a top folder", []file{{"t/n/x", ""}, {"t/manifest.yaml", ours + "a"}}, "a", 1, nil},
		{"below two", []file{{"w/t/manifest.yaml", ours + "a"}, {"w/t/n/x", ""}}, "a", 1, nil},
		{"json", []file{{"n/x", ""}, {"manifest.yaml", `{"whichbackend": 1, "note": "a"}`}}, "a", 1, nil},
		{"two bundles", []file{{"a/manifest.yaml", ours + "a"}, {"b/manifest.yaml", ours + "b"}}, "-", 0, []string{
			"a/manifest.yaml: not used: it does not stand at the top of the bundle",
			"b/manifest.yaml: not used: it does not stand at the top of the bundle"}},
		{"a second below", []file{{"n/manifest.yaml", ours + "b"}, {"manifest.yaml", ours + "a"}, {"n/x", ""}}, "a", 1, []string{
			"n/manifest.yaml: not used: it does not stand at the top of the bundle"}},
		{"not ours", []file{{"cluster/manifest.yaml", foreign}, {"n/x", ""}}, "-", 2, nil},
		{"none", []file{{"n/x", ""}}, "-", 1, nil},
		{"no YAML", []file{{"manifest.yaml", "whichbackend: 1\n\t- x: ]"}, {"n/x", ""}}, "-", 1, []string{
			"manifest.yaml: not used: yaml: line 2: found a tab character that violates indentation"}},
		{"partly", []file{{"manifest.yaml", ours + "a\nhosts: {}\n"}, {"n/x", ""}}, "a", 1, []string{
			"manifest.yaml: line 4: cannot unmarshal !!map into []bundle.Host"}},
		{"version 0", []file{{"manifest.yaml", "whichbackend: 0\nnote: a\n"}, {"n/x", ""}}, "a", 1, []string{
			"manifest.yaml: has format 0, read as 1"}},
	} {
		res := read("-", tarOf(t, c.files...), Limits{})
		note := "-"
		if res.manifest != nil {
			note = res.manifest.Note
		}
		if res.err != nil || note != c.note || len(res.files) != c.given || !slices.Equal(res.warnings, c.warnings) {
			t.Errorf("%s: note %q, %+v", c.name, note, res)
		}
		if c.name == "not ours" && res.text("cluster/manifest.yaml") != foreign {
			t.Errorf("%q", res.files)
		}
	}
}

// billionLaughs would be 10^9 hosts.
var billionLaughs = func() string {
	s := "whichbackend: 1\nx0: &x0 {name: ha}\n"
	for i := range 9 {
		s += fmt.Sprintf("x%d: &x%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*x%d, ", i), 10), ", "))
	}
	return s + "note: [*x9]\nhosts: [{namespaces: *x9}, {namespaces: [{owners: *x9}]}]\nartifacts: [{command: *x9}]\n"
}()

func TestHostileManifest(t *testing.T) {
	for name, c := range map[string]struct{ text, why string }{
		"newer":  {"whichbackend: 2\nhosts: 7\n", "manifest.yaml has format 2, newer than this program, which reads 1"},
		"large":  {"whichbackend: 1\nnote: " + strings.Repeat("x", manifestSize), "manifest.yaml has more than 8388608 bytes"},
		"escape": {"whichbackend: 1\nartifacts: [{path: ../x}]", `lists an artifact "../x" that leads out of the bundle`},
	} {
		var e *Error
		res := read("-", tarOf(t, file{"n/x", ""}, file{"manifest.yaml", c.text}), Limits{})
		if !errors.As(res.err, &e) || !strings.Contains(e.Why, c.why) {
			t.Errorf("%s: %v", name, res.err)
		}
	}
	start := time.Now()
	res := read("-", tarOf(t, file{"n/x", ""}, file{"manifest.yaml", billionLaughs}), Limits{})
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("aliases took %v", took)
	}
	if len(res.warnings) == 0 && res.err == nil {
		t.Errorf("aliases: %+v", res)
	}
}

func TestManifestAgainstEntries(t *testing.T) {
	sum := func(s string) string { return fmt.Sprintf("%X", sha256.Sum256([]byte(s))) }
	gz := string(gzOf(t, []byte("packed")))
	art := func(p, text string, size int) string {
		return fmt.Sprintf("  - {path: %s, size: %d, sha256: %s}\n", p, size, sum(text))
	}
	text := "whichbackend: 1\nartifacts:\n" + art("n/good", "good", 4) + art("n/packed.gz", gz, len(gz)) +
		art("n/absent", "", 0) + art("n/longer", "long", 4) + art("n/other", "OTHER", 5)
	in := []file{{"t/manifest.yaml", text}, {"t/n/good", "good"}, {"t/n/packed.gz", gz}, {"t/n/longer", "longer"}, {"t/n/other", "other"}, {"t/n/unlisted", "x"}}
	want := []string{
		"t/n/absent: listed in the manifest, but absent",
		"t/n/longer: has 6 bytes, 4 in the manifest",
		"t/n/other: sha256 differs from the manifest",
	}
	backwards := slices.Clone(in)
	slices.Reverse(backwards)
	for _, files := range [][]file{in, backwards} {
		for _, path := range []string{fileOf(t, "b", tarOf(t, files...)), fileOf(t, "b", zipOf(t, files...)), dirOf(t, files...)} {
			res := read(path, nil, Limits{})
			if res.err != nil || !slices.Equal(res.warnings, want) || res.text("t/n/packed.gz") != "packed" {
				t.Errorf("%s: %+v", path, res)
			}
		}
	}
}
