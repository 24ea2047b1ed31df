package match

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"whichbackend/analyze/pcap"
	"whichbackend/analyze/pcap/flow"
	"whichbackend/analyze/record"
)

// adder adds the flows of one capture to a matcher.
type adder struct {
	m       *Matcher
	place   Place
	section int
	ids     *int
}

func (a adder) Flow(f *record.Flow) {
	*a.ids++
	f.ID, f.Section = *a.ids, a.section
	a.m.Add(f, a.place)
}

func (adder) Interface(*record.Interface) {}
func (adder) Undecoded(*record.Undecoded) {}
func (adder) Name(*flow.Name)             {}

// recorded compares the flows of recorded captures. ownClocks says that each
// was stamped by a clock of its own, and else one host stamped all.
func recorded(t *testing.T, ownClocks bool, names ...string) Result {
	t.Helper()
	m := New()
	ids := 0
	for i, name := range names {
		file, err := os.Open(filepath.Join("..", "..", "..", "fixtures", "pcap-nat", name))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		r, err := pcap.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		place := Place{Capture: i, Clock: "host"}
		if ownClocks {
			place.Clock = name
		}
		if _, err := flow.Read(r, adder{m, place, i + 1, &ids}); err != nil {
			t.Fatal(err)
		}
	}
	return m.Find()
}

// truth reads the steps that the kernel's conntrack table told.
func truth(t *testing.T, name string) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "fixtures", "pcap-nat", name+".truth.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		f := strings.Split(line, "\t")
		if len(f) != 10 {
			t.Fatalf("%q: want 10 columns", line)
		}
		out[fmt.Sprintf("%s:%s>%s:%s %s:%s>%s:%s", f[0], f[1], f[2], f[3], f[5], f[6], f[7], f[8])] = true
	}
	return out
}

// TestRecordedNATs holds what captures of a NAT tell against the table of the
// kernel that did it: from every choice of captures that shows both sides, all
// 160 connections and no other.
func TestRecordedNATs(t *testing.T) {
	files := map[string]string{"client": "client.pcap.gz", "backend": "backend.pcap.gz", "any": "any.pcap.gz", "router": "router.pcapng.gz"}
	for _, kind := range []string{"dnat", "masq", "vxlan", "synproxy"} {
		want := truth(t, kind)
		if len(want) != 40 {
			t.Fatalf("%s: truth of %d connections, want 40", kind, len(want))
		}
		tier := record.TierExact
		if kind == "synproxy" {
			tier = record.TierStrong
		}
		for _, choice := range []string{"client backend", "any", "router", "client any", "any backend", "router any", "client router backend", "client backend any router"} {
			for _, ownClocks := range []bool{false, true} {
				var names []string
				for _, place := range strings.Fields(choice) {
					names = append(names, kind+"."+files[place])
				}
				r := recorded(t, ownClocks, names...)
				found := map[string]bool{}
				for _, x := range r.Translations {
					key := fmt.Sprintf("%s>%s %s>%s", x.Before.Source, x.Before.Destination, x.After.Source, x.After.Destination)
					if !want[key] || x.Tier != tier {
						t.Errorf("%s, %s: %s told as %s is not so", kind, choice, key, x.Tier)
					}
					found[key] = true
				}
				if len(found) != len(want) || len(r.Translations) != len(want) {
					t.Errorf("%s, %s, own clocks %v: %d of %d found, in %d translations; ambiguous: %+v", kind, choice, ownClocks, len(found), len(want), len(r.Translations), r.Ambiguous)
				}
			}
		}
	}
}
