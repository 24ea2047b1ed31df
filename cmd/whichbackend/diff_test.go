package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"whichbackend/analyze/diff"
)

// endpoints are the rules of a service of two backends or one.
func endpoints(backends ...string) string {
	out := "*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n:KUBE-SVC-A - [0:0]\n"
	for i := range backends {
		out += fmt.Sprintf(":KUBE-SEP-%d - [0:0]\n", i)
	}
	out += "-A PREROUTING -j KUBE-SERVICES\n-A KUBE-SERVICES -d 10.96.72.53/32 -p tcp -m comment --comment \"default/nginx cluster IP\" -m tcp --dport 80 -j KUBE-SVC-A\n"
	for i := range backends {
		chance := ""
		if left := len(backends) - i; left > 1 {
			chance = fmt.Sprintf(" -m statistic --mode random --probability %0.10f", 1/float64(left))
		}
		out += fmt.Sprintf("-A KUBE-SVC-A -m comment --comment \"default/nginx\"%s -j KUBE-SEP-%d\n", chance, i)
	}
	for i, b := range backends {
		out += fmt.Sprintf("-A KUBE-SEP-%d -p tcp -m comment --comment \"default/nginx\" -m tcp -j DNAT --to-destination %s\n", i, b)
	}
	return out + "COMMIT\n"
}

func sockets(state string, inode int, ports ...int) string {
	out := "State Recv-Q Send-Q Local Address:Port Peer Address:Port Process\nLISTEN 0 128 0.0.0.0:22 0.0.0.0:* ino:1 sk:1 <->\n"
	for _, p := range ports {
		out += fmt.Sprintf("%s 0 0 10.244.0.13:%d 10.96.72.53:80 ino:%d sk:%x <->\n", state, p, inode+p, inode+p)
	}
	return out
}

func entries(backend string, ports ...int) string {
	out := "tcp      6 86374 ESTABLISHED src=10.9.9.9 dst=10.9.9.8 sport=1 dport=2 src=10.9.9.8 dst=10.9.9.9 sport=2 dport=1 [ASSURED] mark=0 use=1\n"
	for _, p := range ports {
		out += fmt.Sprintf("tcp      6 86374 ESTABLISHED src=10.244.0.13 dst=10.96.72.53 sport=%d dport=80 src=%s dst=10.244.0.13 sport=80 dport=%d [ASSURED] mark=0 use=1\n", p, backend, p)
	}
	return out
}

// at writes a moment: the sockets of the client, the table and the rules of its
// node. An empty text leaves the file out.
func at(t *testing.T, socks, table, rules string) string {
	dir := t.TempDir()
	for name, text := range map[string]string{"node1/pods/default/client/ss-tanpe.txt": socks, "node1/conntrack.txt": table, "node1/iptables-save.txt": rules} {
		if text != "" {
			write(t, dir, name, text)
		}
	}
	return dir
}

func diffed(t *testing.T, code int, args ...string) *diff.Diff {
	t.Helper()
	r := must(t, code, append([]string{"diff", "-o", "json"}, args...)...)
	shape(t, strings.Join(args, " "), object(t, r.out), reflect.TypeOf(diff.Diff{}))
	d := &diff.Diff{}
	noError(t, json.Unmarshal([]byte(r.out), d))
	return d
}

// TestDiff holds small pairs against what must be said of them, in a few words.
func TestDiff(t *testing.T) {
	both := endpoints("10.244.0.6:80", "10.244.0.7:80")
	whole := at(t, sockets("ESTAB", 0, 5000, 5001), entries("10.244.0.6", 5000, 5001), both)
	for _, c := range []struct {
		name          string
		before, after string
		code          int
		want          string
	}{
		{"nothing", whole, at(t, sockets("ESTAB", 0, 5001, 5000), entries("10.244.0.6", 5001, 5000), both), 0, ""},
		{"ended", whole, at(t, sockets("ESTAB", 0, 5000), entries("10.244.0.6", 5000), both), 3, "ended 5001"},
		{"appeared", at(t, sockets("ESTAB", 0, 5000), entries("10.244.0.6", 5000), both), whole, 3, "appeared 5001"},
		{"closed in the table, not in the listing", whole, at(t, sockets("ESTAB", 0, 5000), entries("10.244.0.6", 5000, 5001), both), 0, ""},
		{"the client's sockets are missing", whole, at(t, "", entries("10.244.0.6", 5000), both), 3, "ended 5001"}, // TCP cannot go on without its entry
		{"sockets and table are missing", whole, at(t, "", "", both), 4, "not seen after 1, not seen after 2"},
		{"sockets and table were missing", at(t, "", "", both), whole, 4, "not seen before 1, not seen before 2"},
		{"the table is missing", whole, at(t, sockets("ESTAB", 0, 5000, 5001), "", both), 4, "undetermined 5000, undetermined 5001, not seen after 1"},
		{"the rules are missing", whole, at(t, sockets("ESTAB", 0, 5000, 5001), entries("10.244.0.6", 5000, 5001), ""), 4, "services not seen after"},
		{"a listing with a line that nobody understands", whole, at(t, sockets("ESTAB", 0, 5000)+"%%%% garbage\n", entries("10.244.0.6", 5000)+"tcp nonsense\n", both), 4, "not seen after 1"},
		{"moved, the socket the same", whole, at(t, sockets("ESTAB", 0, 5000, 5001), entries("10.244.0.6", 5000)+entries("10.244.0.7", 5001), both), 3, "moved connection 5001 10.244.0.6:80 -> 10.244.0.7:80"},
		{"a port used again", whole, at(t, sockets("ESTAB", 100, 5000, 5001), entries("10.244.0.6", 5000, 5001), both), 3, "ended 5000, ended 5001, appeared 5000, appeared 5001"},
		{"a client goes elsewhere", whole, at(t, sockets("ESTAB", 0, 6000, 6001), entries("10.244.0.7", 6000, 6001), both), 3,
			"moved client 10.244.0.6:80 ×2 -> 10.244.0.7:80 ×2, ended 5000, ended 5001, appeared 6000, appeared 6001"},
		{"a client adds another backend", whole, at(t, sockets("ESTAB", 0, 5000, 5001, 6000), entries("10.244.0.6", 5000, 5001)+entries("10.244.0.7", 6000), both), 3, "appeared 6000"},
		{"a backend goes, its connections stay", whole, at(t, sockets("ESTAB", 0, 5000, 5001), entries("10.244.0.6", 5000, 5001), endpoints("10.244.0.7:80")), 3,
			"outlived 5000 10.244.0.6:80, outlived 5001 10.244.0.6:80, gone 10.244.0.6:80"},
		{"a backend comes", at(t, sockets("ESTAB", 0, 5000), entries("10.244.0.7", 5000), endpoints("10.244.0.7:80")), at(t, sockets("ESTAB", 0, 5000), entries("10.244.0.7", 5000), both), 3, "appeared 10.244.0.6:80"},
		{"closed", whole, at(t, sockets("ESTAB", 0, 5000)+"TIME-WAIT 0 0 10.244.0.13:5001 10.96.72.53:80\n", entries("10.244.0.6", 5000, 5001), both), 3, "ended 5001"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := diffed(t, c.code, c.before, c.after)
			if got := brief(d); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func port(address string) string { return address[strings.LastIndex(address, ":")+1:] }

// brief says what a difference holds.
func brief(d *diff.Diff) string {
	var out []string
	for _, x := range d.Outlived {
		out = append(out, "outlived "+port(x.Client.Address)+" "+x.Backend.Address)
	}
	for _, x := range d.Moved {
		s := "moved " + x.Granularity
		if x.Granularity == "connection" {
			s += " " + port(x.Client.Address) + " " + x.Before[0].Address + " -> " + x.After[0].Address
		} else {
			s += fmt.Sprintf(" %s ×%d -> %s ×%d", x.Before[0].Address, x.Before[0].Count, x.After[0].Address, x.After[0].Count)
		}
		out = append(out, s)
	}
	for _, x := range d.Services {
		if x.Backend != nil {
			out = append(out, x.Change+" "+x.Backend.Address)
		} else {
			out = append(out, x.Change+" "+x.Service.Address)
		}
	}
	for _, x := range d.Ended {
		out = append(out, "ended "+port(x.Client.Address))
	}
	for _, x := range d.Appeared {
		out = append(out, "appeared "+port(x.Client.Address))
	}
	for _, x := range d.Undetermined {
		out = append(out, "undetermined "+port(x.Client.Address))
	}
	for _, x := range d.NotSeen {
		if x.What == "services" {
			out = append(out, "services not seen "+x.Side)
		} else {
			out = append(out, fmt.Sprintf("not seen %s %d", x.Side, x.Count))
		}
		if x.Missing == "" {
			out = append(out, "and nothing says what is missing")
		}
	}
	return strings.Join(out, ", ")
}

// TestDiffForms: every form tells of who moved and who stayed, and shows no
// control character of a bundle.
func TestDiffForms(t *testing.T) {
	before, after := fixtures+"/rolling-restart/before/bundle.tar.gz", fixtures+"/rolling-restart/after/bundle.tar.gz"
	for _, form := range []string{"text", "wide", "json", "yaml", "csv", "markdown"} {
		r := must(t, 3, "diff", "-o", form, before, after)
		for _, want := range []string{"mover", "web-1", "web-4", "client-1"} {
			if !strings.Contains(r.out, want) {
				t.Errorf("%s does not tell of %s:\n%s", form, want, r.out)
			}
		}
	}
	r := must(t, 3, "diff", before, after)
	for _, want := range []string{"default/mover: default/web-1 10.244.1.11:8080 ×3 (gone) → default/web-4 10.244.2.14:8080 ×3", "2 connections of default/client-1 to svc default/web 10.96.0.10:80 still to default/web-1 10.244.1.11:8080"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("the text lacks %q:\n%s", want, r.out)
		}
	}
	if n := strings.Count(r.out, "\n"); n > 40 {
		t.Errorf("%d lines do not fit a screen", n)
	}
	text := must(t, 3, "diff", before, before, after).out
	if !strings.Contains(text, "over all moments") || !strings.Contains(text, " | ") {
		t.Errorf("no timeline in:\n%s", text)
	}
	evil := t.TempDir()
	write(t, evil, "node1/pods/default/cli\x1b[31ment/ss-tanpe.txt", sockets("ESTAB", 0, 5000))
	write(t, evil, "node1/conntrack.txt", entries("10.244.0.6", 5000))
	for _, form := range []string{"text", "wide", "json", "yaml", "csv", "markdown"} {
		if r := cli(t, "diff", "-o", form, evil, at(t, "", entries("10.244.0.6"), "")); strings.Contains(r.out, "\x1b") || r.code == exitRuntime {
			t.Errorf("%s: %d %q", form, r.code, r.out)
		}
	}
}

// TestDiffStatus: what cannot be compared has its exit status.
func TestDiffStatus(t *testing.T) {
	whole := smallCase(t)
	must(t, 2, "diff", whole)
	must(t, 2, "diff", "-", "-")
	must(t, 5, "diff", whole, t.TempDir()+"/none")
	must(t, 5, "diff", whole, write(t, t.TempDir(), "noise.txt", "nothing of use\n"))
	if r := cliIn(t, netstatText, "diff", "-", whole); r.code != 4 {
		t.Errorf("from standard input: %d %s", r.code, r.stderr)
	}
}
