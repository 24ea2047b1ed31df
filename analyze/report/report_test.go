package report

import (
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"whichbackend/analyze/load"
)

// TestMarks finds what proves a line in the notations of listings, and nothing
// that only begins or ends like it.
func TestMarks(t *testing.T) {
	for _, c := range []struct{ line, addresses, want string }{
		{"tcp 0 0 10.0.0.1:80 10.0.0.2:4711 ESTABLISHED", "10.0.0.1:80 10.0.0.2:4711", "10.0.0.1:80|10.0.0.2:4711"},
		{"tcp 0 0 10.0.0.1:800 10.0.0.11:80 110.0.0.1:80", "10.0.0.1:80", ""},
		{"src=10.0.0.1 dst=10.0.0.9 sport=80 dport=8080", "10.0.0.1:80", "10.0.0.1|80"},
		{"tcp 0 0 ::ffff:10.0.0.1:80 ::ffff:10.0.0.2:1", "10.0.0.1:80", "10.0.0.1:80"},
		{"src=fd00::1 dst=fd00::10 sport=1 dport=2", "[fd00::1]:1", "fd00::1|1"},
		{"a [fd00::1]:80 b [fd00::1]:81", "[fd00::1]:80", "fd00::1]:80"},
		{"0: 0100000A:0050 0200000A:1267 01", "10.0.0.1:80 10.0.0.2:4711", "0100000A:0050|0200000A:1267"},
		{"TCP 0A000001 0050 0A000002 1267", "10.0.0.1:80", "0A000001 0050"},
		{"pod 10.0.0.1 runs", "10.0.0.1:80", "10.0.0.1"},
		{"caf\u00e9 \U0001f600 10.0.0.1:80", "10.0.0.1:80", "10.0.0.1:80"},
		{"nothing", "not an address", ""},
	} {
		units16 := utf16Of(c.line)
		var got []string
		list := marks(c.line, strings.Split(c.addresses, " "))
		for i := 0; i < len(list); i += 2 {
			got = append(got, string(runesOf(units16[list[i]:list[i+1]])))
		}
		if s := strings.Join(got, "|"); s != c.want {
			t.Errorf("%q: marked %q, want %q", c.line, s, c.want)
		}
	}
}

// TestEvidence holds a connection's evidence against the recording: the line,
// those around it, and what is marked in it.
func TestEvidence(t *testing.T) {
	d := dataOf(t, written(t, opened(t, fixtures+"/swarm/bundle.tar.gz")))
	found := 0
	for _, x := range d.Details {
		for _, s := range x.Steps {
			for _, e := range s.Evidence {
				if e.I == nil || d.Listings[*e.I][0] != "swarm1/netns/lb_632qywu7e/ipvsadm-Lnc.txt" {
					continue
				}
				lines := map[int]string{}
				for flat := d.Listings[*e.I][1:]; len(flat) > 0; flat = flat[2:] {
					lines[int(flat[0].(float64))] = flat[1].(string)
				}
				if len(e.M) < 4 || lines[e.L] == "" || lines[e.L-1] == "" || !strings.HasPrefix(lines[e.L][e.M[0]:e.M[1]], "10.") {
					t.Errorf("line %d of %v is %q, marked %v", e.L, d.Listings[*e.I][0], lines[e.L], e.M)
				}
				found++
			}
		}
	}
	if found == 0 {
		t.Error("no step points to the IPVS connections")
	}
}

// TestSamePath shows a line without its surroundings where two inputs have a
// listing of one path, and the line stands in both.
func TestSamePath(t *testing.T) {
	line := "tcp      6 86374 ESTABLISHED src=10.244.0.13 dst=10.96.72.53 sport=52372 dport=80 src=10.244.0.6 dst=10.244.0.13 sport=80 dport=52372 [ASSURED] mark=0 use=1\n"
	one := bundle(t, map[string]string{"node1/conntrack.txt": line})
	two := bundle(t, map[string]string{"node1/conntrack.txt": line + strings.ReplaceAll(line, "52372", "52373")})
	d := dataOf(t, written(t, opened(t, one, two)))
	for _, x := range d.Details {
		for _, s := range x.Steps {
			for _, e := range s.Evidence {
				if e.L == 1 && e.I != nil {
					t.Errorf("the line stands in both, and is shown as of %v", d.Listings[*e.I])
				}
			}
		}
	}
}

// TestSpread tells how evenly a service's backends are used, and no share where
// none is to be expected.
func TestSpread(t *testing.T) {
	d := dataOf(t, written(t, opened(t, fixtures+"/kube-proxy-iptables/bundle.tar.gz")))
	var even, sticky bool
	for _, s := range d.Services {
		for _, p := range s.Spread {
			if p.State != "" {
				t.Errorf("%s %s: backend %s is %q in a healthy recording", s.Name, s.Address, p.Address, p.State)
			}
			switch {
			case s.Address == "10.96.51.37:80" && p.Share != nil && *p.Share > 0.33 && *p.Share < 0.34 && p.Count > 0 && strings.HasPrefix(p.Name, "default/nginx-"):
				even = true
			case s.Name == "svc default/nginx-sticky" && p.Share != nil:
				sticky = true
			}
		}
	}
	if !even || sticky {
		t.Errorf("an expected third of default/nginx: %v; an expected share of clients that keep their backend: %v", even, sticky)
	}
}

// TestHealthyBackends calls no backend of a healthy recording out of service.
func TestHealthyBackends(t *testing.T) {
	for _, name := range []string{"swarm", "kubernetes", "cilium-1.14", "cilium-1.16-socket-lb", "lab-nodeport-nftables"} {
		path := fixtures + "/" + name + "/bundle.tar.gz"
		if name == "lab-nodeport-nftables" {
			path = fixtures + "/" + name
		}
		for _, s := range dataOf(t, written(t, opened(t, path))).Services {
			for _, p := range s.Spread {
				if p.State != "" && p.Count > 0 {
					t.Errorf("%s: %s %s: backend %s is %q", name, s.Name, s.Address, p.Address, p.State)
				}
			}
		}
	}
}

// TestFinding leads from a finding to its connections and lines.
func TestFinding(t *testing.T) {
	d := dataOf(t, written(t, opened(t, fixtures+"/synthetic/nobody-serves/bundle")))
	if len(d.Findings) == 0 {
		t.Fatal("no finding")
	}
	for _, f := range d.Findings {
		if len(f.Rows) == 0 || len(f.Evidence) == 0 {
			t.Errorf("%s: rows %v, evidence %v", f.Title, f.Rows, f.Evidence)
		}
		for _, row := range f.Rows {
			if !slices.ContainsFunc(d.Details, func(x shownDetail) bool {
				return x.Row == row
			}) {
				t.Errorf("%s: connection %d is shown without its path", f.Title, row)
			}
		}
	}
}

// TestDeterministic holds two pages of one bundle against each other.
func TestDeterministic(t *testing.T) {
	path := fixtures + "/swarm/bundle.tar.gz"
	one, two := written(t, opened(t, path)), written(t, opened(t, path))
	if one != two {
		t.Error("one bundle gives two pages")
	}
}

// TestHostile lets no text of a bundle become markup.
func TestHostile(t *testing.T) {
	html := written(t, opened(t, hostile(t)))
	for _, bad := range []string{hostileName, "\u202e"} {
		if strings.Contains(html, bad) {
			t.Errorf("the page holds %q as it stands in the bundle", bad)
		}
	}
	d := dataOf(t, html)
	var names []string
	for _, c := range d.Table.Clients {
		names = append(names, c["name"])
	}
	if !slices.Contains(names, "default/"+hostileName) {
		t.Errorf("the pod's name is lost: %q", names)
	}
	if !strings.Contains(html, `\\u202e`) {
		t.Error("the override of the direction of writing is not shown as an escape")
	}
}

// TestTexts finds a field that could carry a text of a bundle past the cleaning.
func TestTexts(t *testing.T) {
	ours := map[string]bool{"finding.Severity": true, "verdict.Name": true, "verdict.Holds": true, "end.How": true, "step.Kind": true, "service.Uneven": true}
	seen := map[reflect.Type]bool{}
	var walk func(x reflect.Type, name string)
	walk = func(x reflect.Type, name string) {
		switch x.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Array:
			walk(x.Elem(), name)
		case reflect.String:
			if x != reflect.TypeFor[text]() && !ours[name] {
				t.Errorf("%s is a string that nothing cleans", name)
			}
		case reflect.Struct:
			if seen[x] {
				return
			}
			seen[x] = true
			for i := range x.NumField() {
				if f := x.Field(i); f.IsExported() {
					walk(f.Type, x.Name()+"."+f.Name)
				}
			}
		}
	}
	for _, v := range []any{about{}, verdict{}, finding{}, unjudged{}, service{}, table{}, detail{}, gap{}, artifactList{}} {
		walk(reflect.TypeOf(v), "")
	}
}

// TestLarge keeps the page of many connections small, with all of them in the
// table and a part of them whole.
func TestLarge(t *testing.T) {
	html, err := large()
	if err != nil {
		t.Fatal(err)
	}
	d := dataOf(t, html)
	if d.Table.Count < 99_000 || len(d.Table.Verdict) != d.Table.Count {
		t.Errorf("%d connections in the table", d.Table.Count)
	}
	if len(html) > 15_000_000 || len(d.Details) != MaxDetails {
		t.Errorf("%d bytes with %d whole connections", len(html), len(d.Details))
	}
	services := map[int]bool{}
	for _, x := range d.Details {
		services[d.Table.Service[x.Row]] = true
	}
	if len(services) != len(d.Services) {
		t.Errorf("%d of %d services have a whole connection", len(services), len(d.Services))
	}
}

// TestEmpty writes a page of a case without connections.
func TestEmpty(t *testing.T) {
	html := written(t, opened(t, bundle(t, map[string]string{"node1/conntrack.txt": "conntrack v1.4.7 (conntrack-tools): 0 flow entries have been shown.\n"})))
	if d := dataOf(t, html); d.Table.Count != 0 {
		t.Errorf("%d connections", d.Table.Count)
	}
}

// TestNote shows what a manifest notes, and keeps it in a database.
func TestNote(t *testing.T) {
	dir := bundle(t, map[string]string{
		"manifest.yaml":       "whichbackend: 1\ncreated: 2026-11-23T08:14:00Z\nnote: ticket 4711\n",
		"node1/conntrack.txt": crowd(3),
	})
	db := filepath.Join(t.TempDir(), "case.db")
	if _, _, err := load.Into(db, []string{dir}, load.Options{}); err != nil {
		t.Fatal(err)
	}
	for _, paths := range [][]string{{dir}, {db}, {db, fixtures + "/swarm/bundle.tar.gz"}} {
		if html := written(t, opened(t, paths...)); !strings.Contains(html, `"note":"ticket 4711"`) {
			t.Errorf("%v: the note is lost", paths)
		}
	}
}
