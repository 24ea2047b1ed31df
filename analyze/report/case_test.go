package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"unicode/utf16"

	"whichbackend/analyze/load"
	"whichbackend/analyze/resolve"
)

const fixtures = "../../fixtures"

// opened opens bundles for a page.
func opened(t testing.TB, paths ...string) *Case {
	t.Helper()
	c, err := load.Open(paths, load.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	k, err := Open(c, resolve.View{}, Asked{Tool: "whichbackend test", Bundles: paths})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func written(t testing.TB, k *Case) string {
	t.Helper()
	var out bytes.Buffer
	if err := k.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// bundle writes files into a folder.
func bundle(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bundle")
	for name, text := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// shownDetail is a connection that is shown whole.
type shownDetail struct {
	Row   int
	Steps []struct {
		Kind     string
		Evidence []struct {
			I *int  `json:"i"`
			L int   `json:"l"`
			M []int `json:"m"`
		}
	}
}

// dataOf is what the page shows, as any program would read it.
func dataOf(t testing.TB, html string) (out struct {
	Findings []struct {
		Title    string
		Rows     []int
		Evidence []map[string]any
	}
	Services []struct {
		Name, Address, Uneven string
		Count                 int
		Direct                bool
		Spread                []struct {
			Name, Address, State string
			Count                int
			Share                *float64
		}
	}
	Table struct {
		Count            int
		Verdict, Service []int
		Clients          []map[string]string
	}
	Verdicts []verdict
	Details  []shownDetail
	Listings [][]any
}) {
	t.Helper()
	_, text, ok := strings.Cut(html, `<script type="application/json" id="data">`)
	text, _, end := strings.Cut(text, "</script>")
	if !ok || !end {
		t.Fatal("the page has no data")
	}
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

const hostileName = "<script>alert(1)</script>"

// hostile is a bundle in which a pod and a folder have names that are markup,
// or that turn the direction of writing.
func hostile(t testing.TB) string {
	return bundle(t, map[string]string{
		"node1/conntrack.txt": "tcp      6 86374 ESTABLISHED src=10.244.0.13 dst=10.96.72.53 sport=52372 dport=80 src=10.244.0.6 dst=10.244.0.13 sport=80 dport=52372 [ASSURED] mark=0 use=1\n" +
			"tcp      6 86374 ESTABLISHED src=10.244.0.14 dst=10.96.72.53 sport=52373 dport=80 src=10.244.0.7 dst=10.244.0.14 sport=80 dport=52373 [ASSURED] mark=0 use=1\n",
		"cluster/pods.json": `{"apiVersion": "v1", "kind": "List", "items": [` + pod(hostileName, "10.244.0.13") + "," + pod(`\"onload=\u202etxt.exe&amp;`, "10.244.0.6") + "]}",
	})
}

// pod is a pod as the API shows it.
func pod(name, ip string) string {
	return fmt.Sprintf(`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "%s", "namespace": "default"}, "spec": {"nodeName": "node1"}, "status": {"phase": "Running", "podIP": "%s"}}`, name, ip)
}

// crowd is a conntrack table of n connections to 40 services.
func crowd(n int) string {
	var table strings.Builder
	for i := range n {
		client := fmt.Sprintf("10.244.%d.%d", i/250%200, i%250+1)
		service, port := fmt.Sprintf("10.96.0.%d", i%40+1), 20000+i/1000
		server := fmt.Sprintf("10.245.%d.%d", i%40, i*7%3+1)
		fmt.Fprintf(&table, "tcp      6 86374 ESTABLISHED src=%s dst=%s sport=%d dport=80 src=%s dst=%s sport=8080 dport=%d [ASSURED] mark=0 use=1\n", client, service, port+i%17*100, server, client, port+i%17*100)
	}
	return table.String()
}

func utf16Of(s string) []uint16     { return utf16.Encode([]rune(s)) }
func runesOf(units []uint16) []rune { return utf16.Decode(units) }

// large is the page of 100,000 connections, made once.
var large = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "report-large")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "conntrack.txt"), []byte(crowd(100_000)), 0o600); err != nil {
		return "", err
	}
	c, err := load.Open([]string{dir}, load.Options{})
	if err != nil {
		return "", err
	}
	defer c.Close()
	k, err := Open(c, resolve.View{}, Asked{Tool: "whichbackend test", Bundles: []string{"crowd.tar.gz"}})
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	err = k.Write(&out)
	return out.String(), err
})
