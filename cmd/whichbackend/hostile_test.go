package main

import (
	"archive/tar"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"whichbackend/analyze/render"
)

// evil clears the screen, names the terminal, turns the direction of writing
// and begins a line of its own.
const evil = "x\x1b[2J\x1b]0;owned\x07\u202e\u009b31m\r"

// printable fails on what must never reach a terminal.
func printable(t *testing.T, what, s string) {
	t.Helper()
	for i, r := range s {
		if r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029') {
			t.Errorf("%s: %q at %d: %q", what, r, i, s[max(0, i-60):min(len(s), i+20)])
			return
		}
	}
}

// hostileCase has terminal escapes wherever a bundle can have text.
func hostileCase(t testing.TB) string {
	dir := t.TempDir()
	write(t, dir, "manifest.yaml", fmt.Sprintf("whichbackend: 1\ncreated: 2026-11-23T08:14:00Z\nnote: %q\nhosts:\n  - name: %q\n    namespaces:\n      - {id: 7, owners: [{kind: pod, namespace: %q, name: %q}]}\nartifacts:\n  - {path: b/ss.txt, host: %q, netns: 7, tool: %q, command: [%q], size: 1, sha256: aa}\nmissing:\n  - {host: %q, what: %q, because: failed, detail: %q}\n",
		evil, "host"+evil, "ns"+evil, "pod"+evil, "host"+evil, "tool"+evil, "cmd"+evil, "host"+evil, "what"+evil, "detail"+evil))
	write(t, dir, "b/ss.txt", "Netid State  Recv-Q Send-Q Local Address:Port  Peer Address:Port Process\ntcp   ESTAB  0      0      10.244.0.13:52372   10.96.72.53:80    users:((\""+evil+"\",pid=7,fd=3))\ntcp "+evil+"\n")
	write(t, dir, "node1/conntrack.txt", conntrackText+"tcp      6 1 "+evil+" src=1.1.1.1\n")
	write(t, dir, "node1/netstat.txt", netstatText+"tcp        0      0 10.0.0.1:8888           10.0.0.2:40000          ESTABLISHED 12/"+evil+"\n")
	write(t, dir, "node1/session.txt", "root@"+evil+":~# netstat -an\n"+netstatText+"[root@\x1b[31mnode1\x1b[0m ~]# kubectl exec "+evil+" -- conntrack -L\n"+conntrackText+"\x1b[?1049h\n")
	write(t, dir, "cluster/pods.json", `{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Pod","metadata":{"name":"ngin\u001b[31mx\u202e\u009b","namespace":"de\u0007fault"},"spec":{"nodeName":"no\u001bde"},"status":{"podIP":"10.244.0.6","phase":"Running"}},{"apiVersion":"v1","kind":"Service","metadata":{"name":"s\u001b]0;x\u0007","namespace":"d\r"},"spec":{"clusterIP":"10.96.72.53","ports":[{"port":80,"protocol":"TCP"}]}}]}`)
	write(t, dir, "cluster/pods.txt", "NAMESPACE   NAME      READY   STATUS    RESTARTS   AGE   IP             NODE\ndefault     "+evil+"   1/1     Running   0          3d    10.244.0.13    n"+evil+"\n")
	write(t, dir, "node1/noise.txt", evil+"\n")
	return dir
}

// TestNoEscapes: whatever a bundle holds, no output lets it through raw.
func TestNoEscapes(t *testing.T) {
	dir := hostileCase(t)
	db := filepath.Join(t.TempDir(), "case.db")
	expect := write(t, t.TempDir(), "expect.yaml", fmt.Sprintf("bundle: %s\nquestions:\n  - {name: %q, from: 10.244.0.13, backend: %q}\n", dir, "name"+evil, "b"+evil))
	var runs [][]string
	for _, format := range render.AnswerFormats {
		runs = append(runs, []string{"ask", dir, "-o", format})
	}
	for _, format := range render.InspectFormats {
		runs = append(runs, []string{"inspect", dir, "-o", format})
	}
	for _, format := range render.TableFormats {
		runs = append(runs, []string{"sql", dir, "SELECT * FROM problems", "-o", format}, []string{"sql", dir, "SELECT * FROM owners", "-o", format}, []string{"sql", dir, "SELECT '" + evil + "' AS \"a" + evil + "\"", "-o", format})
	}
	for _, format := range render.FindingFormats {
		runs = append(runs, []string{"check", dir, "-o", format})
	}
	for _, format := range render.DiffFormats {
		runs = append(runs, []string{"diff", dir, fixtures + "/walkthrough/swarm", "-o", format}, []string{"diff", fixtures + "/walkthrough/swarm", dir, "-o", format})
	}
	runs = append(runs, []string{"report", dir, "-o", "-"}, []string{"check", dir, "--ignore", evil}, []string{"check", dir, "--fail-on", evil}, []string{"diff", dir, evil}, []string{"report", dir, "-o", filepath.Join(dir, "no", evil)})
	for _, format := range []string{"text", "tap", "github"} {
		runs = append(runs, []string{"test", expect, "-o", format})
	}
	runs = append(runs, []string{"ask", dir, "--explain"}, []string{"load", dir, "--db", db}, []string{"ask", db}, []string{"ask", dir, "--from", "1.1." + evil}, []string{"ask", dir, "--to", evil},
		[]string{"ask", dir + evil}, []string{evil}, []string{"ask", "--" + evil}, []string{"ask", dir, "-o", evil}, []string{"ask", dir, "--at", evil}, []string{"sql", dir, "SELECT " + evil}, []string{"help", evil}, []string{"completion", evil}, []string{"test", evil})
	seen := ""
	for _, args := range runs {
		r := cli(t, args...)
		printable(t, fmt.Sprintf("%q on stdout", args), r.out)
		printable(t, fmt.Sprintf("%q on stderr", args), r.stderr)
		seen += r.out
	}
	if !strings.Contains(seen, `\x1b`) || !strings.Contains(seen, `\u001b`) {
		t.Error("nothing hostile was shown at all")
	}
}

// TestHostileNames: entries whose names are tricks.
func TestHostileNames(t *testing.T) {
	dir := t.TempDir()
	for i, f := range []file{{"node1/" + evil + ".txt", netstatText}, {"node1/\u202etxt.exe", netstatText}, {"../up.txt", netstatText}, {"a/../../b", ""}, {"/abs", ""}} {
		path := write(t, dir, fmt.Sprintf("%d.tar", i), string(packTar(t, f)))
		r := must(t, 5, "ask", path)
		printable(t, f.name, r.out+r.stderr)
	}
	link := hostileTar(t, tar.Header{Name: "a" + evil, Typeflag: tar.TypeLink, Linkname: "/etc/" + evil})
	r := must(t, 5, "ask", write(t, dir, "link.tar", link))
	printable(t, "link", r.out+r.stderr)

	bad := t.TempDir()
	write(t, bad, "manifest.yaml", "whichbackend: 1\nartifacts:\n  - {path: ../../../etc/passwd, host: x}\n")
	write(t, bad, "node1/conntrack.txt", conntrackText)
	if r := must(t, 5, "ask", bad); !strings.Contains(r.stderr, "leads out") {
		t.Error(r.stderr)
	}
}

// TestBombs: documents that grow when they are read end in a problem, soon.
func TestBombs(t *testing.T) {
	dir := t.TempDir()
	var yaml strings.Builder
	yaml.WriteString("apiVersion: v1\nkind: List\nitems:\na0: &a0 [x,x,x,x,x,x,x,x,x,x]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&yaml, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10), ","))
	}
	write(t, dir, "cluster/bomb.yaml", yaml.String())
	write(t, dir, "manifest.yaml", "whichbackend: 1\n"+strings.TrimPrefix(yaml.String(), "apiVersion: v1\nkind: List\nitems:\n"))
	write(t, dir, "cluster/deep.json", `{"kind":"List","items":`+strings.Repeat("[", 1<<20))
	write(t, dir, "cluster/deepest.json", `{"kind":"List","items":`+strings.Repeat(`{"a":`, 1<<18)+"1"+strings.Repeat("}", 1<<18)+"}")
	write(t, dir, "cluster/deep.yaml", "apiVersion: v1\nkind: List\nitems: "+strings.Repeat("[", 1<<16)+"\n")
	write(t, dir, "node1/conntrack.txt", conntrackText)
	write(t, dir, "node1/long.txt", "tcp      6 1 ESTABLISHED src="+strings.Repeat("1", 17<<20))
	begin := time.Now()
	r := must(t, 0, "ask", dir, "--from", "10.244.0.13", "--no-cache")
	if !strings.Contains(r.out, "10.244.0.6:80") {
		t.Error(r.out)
	}
	in := must(t, 0, "inspect", dir, "-o", "json").out
	for _, name := range []string{"bomb.yaml", "deep.json", "deepest.json", "deep.yaml"} {
		_, rest, _ := strings.Cut(in, name)
		rest, _, _ = strings.Cut(rest, `"path"`)
		if !strings.Contains(rest, `"why"`) {
			t.Errorf("%s: nothing says that it was not understood: %.400s", name, rest)
		}
	}
	if d := time.Since(begin); d > 30*time.Second {
		t.Error("it took ", d)
	}
}
