package resolve

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"whichbackend/analyze/load"
)

// TestNarrowed asks for clients of every recording by its address, which
// follows only what may be that client's, and holds the answer against the one
// among all connections. Artifacts are taken away too: then entries stand at
// the begin of a path that are in the middle of one otherwise.
func TestNarrowed(t *testing.T) {
	bundles, _ := filepath.Glob("../../fixtures/*/bundle.tar.gz")
	transcripts, _ := filepath.Glob("../../fixtures/*/*/transcript.txt")
	expected, _ := filepath.Glob("../../fixtures/synthetic/*/expect.yaml")
	for _, file := range expected {
		bundles = append(bundles, filepath.Dir(file))
	}
	narrow := 0
	for _, bundle := range append(bundles, transcripts...) {
		c, err := load.Open([]string{bundle}, load.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, gone := range []string{"", "netstat", "conntrack", "ipvs", "pods/", "ss-", "containers/", "ct-list"} {
			w, err := see(c.Store, View{Without: func(path string) bool { return gone != "" && strings.Contains(path, gone) }})
			if err != nil {
				t.Fatal(err)
			}
			every := 3
			if gone != "" {
				every = 10
			}
			narrow += narrowed(t, w, every, bundle+" without "+gone)
			if testing.Short() {
				break
			}
		}
	}
	if narrow < 100 {
		t.Errorf("only %d questions were narrowed: the test holds nothing", narrow)
	}
}

// narrowed compares the answers for each so many clients in one world, and
// tells how many of them left something out.
func narrowed(t *testing.T, w *world, every int, name string) (n int) {
	t.Helper()
	all := find(t, w, Question{})
	a, err := all.Ask(Question{})
	if err != nil {
		t.Fatal(err)
	}
	asked := map[string]bool{}
	for i := 0; i < len(a.Connections); i += every {
		client := a.Connections[i].Client.Address
		for _, from := range []string{client, netip.MustParseAddrPort(client).Addr().String()} {
			if asked[from] {
				continue
			}
			asked[from] = true
			some := find(t, w, Question{From: from})
			if len(some.found) < len(all.found) {
				n++
			}
			want, err := all.Ask(Question{From: from})
			if err != nil {
				t.Fatal(err)
			}
			got, err := some.Ask(Question{From: from})
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Party{}, Connection{})); d != "" {
				t.Errorf("%s, --from %s: among all (-) and narrowed (+) differ:\n%s", name, from, d)
			}
		}
	}
	return n
}

func find(t *testing.T, w *world, q Question) *Case {
	t.Helper()
	want, err := q.parse()
	if err != nil {
		t.Fatal(err)
	}
	r := newResolver(w)
	found, err := r.connections(want)
	if err != nil {
		t.Fatal(err)
	}
	return &Case{world: w, found: found, r: r}
}
