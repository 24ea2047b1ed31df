package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDatabase: a database that load wrote answers as its bundle does.
func TestDatabase(t *testing.T) {
	for _, fixture := range []string{"swarm", "cilium-1.14", "kubernetes"} {
		bundle := fixtures + "/" + fixture + "/bundle.tar.gz"
		db := filepath.Join(t.TempDir(), "case.db")
		must(t, 0, "load", bundle, "--db", db)
		for _, args := range [][]string{{"ask"}, {"ask", "-o", "json"}, {"ask", "--explain"}, {"inspect", "-o", "json"}, {"inspect", "-o", "wide"}, {"sql", "SELECT * FROM services", "-o", "csv"}} {
			insert := func(what string) []string { return append([]string{args[0], what}, args[1:]...) }
			if a, b := cli(t, insert(bundle)...), cli(t, insert(db)...); a != b {
				t.Errorf("%s %q: the bundle (%d) and its database (%d) differ: %s%s", fixture, args, a.code, b.code, firstDifference(a.out, b.out), firstDifference(a.stderr, b.stderr))
			}
		}
		if info, err := os.Stat(db); err != nil || info.Mode().Perm() != 0o600 {
			t.Error(info.Mode(), err)
		}
		must(t, 0, "load", bundle, "--db", db, "--force")
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(db), "*")); len(left) != 1 {
			t.Error("left behind: ", left)
		}
	}
}

// TestDatabaseWithBundle: a database and a bundle are one case, as the two
// bundles would be.
func TestDatabaseWithBundle(t *testing.T) {
	dir := t.TempDir()
	client, node := filepath.Join(dir, "client"), filepath.Join(dir, "node")
	write(t, client, "node1/pods/default/client/netstat.txt", netstatText)
	write(t, client, "node1/pcap/eth0.pcap", "\xd4\xc3\xb2\xa1\x02\x00\x04\x00")
	write(t, client, "node1/utf16.txt", "\xff\xfet\x00c\x00p\x00\n\x00")
	write(t, node, "node1/conntrack.txt", conntrackText)
	write(t, node, "node1/pods/default/nginx-1/netstat.txt", serverText)
	db := filepath.Join(dir, "client.db")
	must(t, 0, "load", client, "--db", db)
	for _, args := range [][]string{{"ask", "-o", "json"}, {"inspect", "-o", "json"}} {
		want := must(t, 0, args[0], client, node, args[1], args[2])
		got := must(t, 0, args[0], db, node, args[1], args[2])
		if got.out != want.out {
			t.Errorf("%s: %s", args[0], firstDifference(want.out, got.out))
		}
	}
	both := filepath.Join(dir, "both.db")
	must(t, 0, "load", node, db, "--db", both)
	if r := must(t, 0, "ask", both, "-o", "json"); !strings.Contains(r.out, `"verdict": "proven"`) {
		t.Error(r.out)
	}
}

// TestDatabaseWithCaptures: captures of a database are held against those of a
// bundle as those of two bundles are, though the packets are not in it.
func TestDatabaseWithCaptures(t *testing.T) {
	cases := map[string][2]string{}
	dir := t.TempDir()
	for _, name := range []string{"kubernetes", "swarm"} {
		first, second := filepath.Join(dir, name, "a"), filepath.Join(dir, name, "b")
		for _, f := range unpack(t, name) {
			to := second
			if strings.HasPrefix(f.name, "knode1/") || strings.HasPrefix(f.name, "swarm1/containers/") {
				to = first
			}
			write(t, to, f.name, f.text)
		}
		cases[name] = [2]string{first, second}
	}
	for _, name := range []string{"masq", "synproxy", "vxlan"} {
		cases[name] = [2]string{fixtures + "/pcap-nat/" + name + ".client.pcap.gz", fixtures + "/pcap-nat/" + name + ".backend.pcap.gz"}
	}
	cases["proxy"] = [2]string{fixtures + "/pcap-proxy/H8.pcapng.zst", fixtures + "/pcap-nat/dnat.any.pcap.gz"}
	for name, c := range cases {
		db := filepath.Join(dir, name+".db")
		must(t, 0, "load", c[0], "--db", db)
		for _, args := range [][]string{{"ask", "-o", "json"}, {"inspect", "-o", "json"}} {
			want, got := cli(t, args[0], c[0], c[1], args[1], args[2]), cli(t, args[0], db, c[1], args[1], args[2])
			if got.out != want.out || got.code != want.code {
				t.Errorf("%s: %s", name, firstDifference(want.out, got.out))
			}
		}
	}
}

// TestStandardInput reads an archive and a listing from standard input.
func TestStandardInput(t *testing.T) {
	text, err := os.ReadFile(fixtures + "/swarm/bundle.tar.gz")
	noError(t, err)
	want := connections(t, cli(t, "ask", fixtures+"/swarm/bundle.tar.gz", "-o", "json"))
	for range 2 { // nothing is kept of it
		if got := connections(t, cliIn(t, string(text), "ask", "-", "-o", "json")); got != want {
			t.Error(firstDifference(want, got))
		}
	}
	dir := t.TempDir()
	table := write(t, dir, "conntrack.txt", conntrackText)
	r := cliIn(t, netstatText, "ask", "-", table, "-o", "json")
	for _, has := range []string{`"artifact": "stdin"`, `"path": "-"`, `"verdict": "observed"`, `"artifact": "conntrack.txt"`} {
		if r.code != 0 || !strings.Contains(r.out, has) {
			t.Errorf("status %d, no %s in:\n%s%s", r.code, has, r.out, r.stderr)
		}
	}
	zip := packZip(t, file{"node1/conntrack.txt", conntrackText})
	if r := cliIn(t, string(zip), "ask", "-"); r.code != 0 || !strings.Contains(r.out, "observed") {
		t.Errorf("status %d: %s%s", r.code, r.out, r.stderr)
	}
	db := filepath.Join(dir, "case.db")
	if r := cliIn(t, conntrackText, "load", "-", "--db", db); r.code != 0 {
		t.Error(r.stderr)
	}
	must(t, 0, "ask", db)
}

// TestSingleFiles: files with no folder belong to one host without a name.
func TestSingleFiles(t *testing.T) {
	dir := t.TempDir()
	client := write(t, dir, "netstat-client.txt", netstatText)
	table := write(t, dir, "table", conntrackText) // told by its content
	r := must(t, 0, "ask", client, table, "-o", "json")
	c := object(t, r.out)["connections"].([]any)
	if len(c) != 1 || c[0].(map[string]any)["verdict"] != "observed" {
		t.Errorf("%v", c)
	}
	if strings.Contains(r.out, `"host"`) {
		t.Error("a host out of nowhere:", r.out)
	}
	one := connections(t, must(t, 0, "ask", table, client, "-o", "json"))
	if one != connections(t, r) {
		t.Error("the order of files matters:", firstDifference(one, connections(t, r)))
	}
}

// moment writes a bundle with a manifest of one moment of node1.
func moment(t testing.TB, created, conntrack string) string {
	dir := t.TempDir()
	write(t, dir, "manifest.yaml", "whichbackend: 1\ncreated: "+created+"\nhosts:\n  - name: node1\nartifacts:\n  - {path: node1/conntrack.txt, host: node1, command: [conntrack, -L]}\nmissing:\n  - {host: node1, what: cilium, because: not-found, detail: no agent}\n")
	write(t, dir, "node1/conntrack.txt", conntrack)
	return dir
}

// TestMoments: of two moments of one host the latest is answered for, and --at
// asks for another; so too when both come from databases.
func TestMoments(t *testing.T) {
	later := strings.ReplaceAll(conntrackText, "10.244.0.6", "10.244.0.7")
	first, second := moment(t, "2026-11-23T08:00:00Z", conntrackText), moment(t, "2026-11-23T09:00:00Z", later)
	dir := t.TempDir()
	both, one := filepath.Join(dir, "both.db"), filepath.Join(dir, "one.db")
	must(t, 0, "load", second, first, "--db", both)
	must(t, 0, "load", first, "--db", one)
	more := write(t, dir, "netstat.txt", netstatText)
	for _, inputs := range [][]string{{first, second}, {second, first}, {both}, {one, second}, {both, more}} {
		for at, backend := range map[string]string{"": "10.244.0.7:80", "2026-11-23T08:30:00Z": "10.244.0.6:80", "2026-11-23T09:00:00Z": "10.244.0.7:80", "1795422600": "10.244.0.6:80"} {
			args := append([]string{"ask", "-o", "json", "--from", "10.244.0.13"}, inputs...)
			if at != "" {
				args = append(args, "--at", at)
			}
			r := must(t, 0, args...)
			list := object(t, r.out)["connections"].([]any)
			if len(list) != 1 {
				t.Fatalf("%q: %d connections", args, len(list))
			}
			if got := list[0].(map[string]any)["backends"].([]any)[0].(map[string]any)["address"]; got != backend {
				t.Errorf("%q: %v, want %s", args, got, backend)
			}
		}
	}
	if r := must(t, 4, "ask", first, second, "--at", "2026-11-23T07:00:00Z"); !strings.Contains(r.stderr, "no connection") {
		t.Error(r.stderr)
	}
	in := must(t, 0, "inspect", both, more, "-o", "json").out
	if n := strings.Count(in, `"because": "not-found"`); n != 2 {
		t.Errorf("what was missing is told %d times, want 2:\n%s", n, in)
	}
	for _, has := range []string{`"created": "2026-11-23T08:00:00Z"`, `"created": "2026-11-23T09:00:00Z"`} {
		if !strings.Contains(in, has) {
			t.Errorf("no %s in:\n%s", has, in)
		}
	}
}
