package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
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
		"cluster/get-pods-A-o-wide.txt": "NAMESPACE   NAME   READY   STATUS    RESTARTS   AGE   IP           NODE    NOMINATED NODE   READINESS GATES\n" +
			"default     " + hostileName + "   1/1     Running   0          5d    10.244.0.13  node1   <none>   <none>\n" +
			"default     \"onload=\u202etxt.exe&amp;   1/1     Running   0          5d    10.244.0.6   node1   <none>   <none>\n",
	})
}

// crowd is a bundle of n connections to services with three backends each.
func crowd(t testing.TB, n int) string {
	var table strings.Builder
	for i := range n {
		client := fmt.Sprintf("10.244.%d.%d", i/250%200, i%250+1)
		service, port := fmt.Sprintf("10.96.0.%d", i%40+1), 20000+i/1000
		server := fmt.Sprintf("10.245.%d.%d", i%40, i*7%3+1)
		fmt.Fprintf(&table, "tcp      6 86374 ESTABLISHED src=%s dst=%s sport=%d dport=80 src=%s dst=%s sport=8080 dport=%d [ASSURED] mark=0 use=1\n", client, service, port+i%17*100, server, client, port+i%17*100)
	}
	return bundle(t, map[string]string{"node1/conntrack.txt": table.String()})
}

func utf16Of(s string) []uint16     { return utf16.Encode([]rune(s)) }
func runesOf(units []uint16) []rune { return utf16.Decode(units) }
