package main

import (
	"archive/tar"
	"bytes"
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// hostileTar is a tar of one entry that no bundle may have.
func hostileTar(t testing.TB, h tar.Header) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	noError(t, w.WriteHeader(&h))
	noError(t, w.Close())
	return b.String()
}

// TestExitStatus holds every command to the statuses of PRODUCT.md, and to
// what it prints where.
func TestExitStatus(t *testing.T) {
	dir := t.TempDir()
	good := smallCase(t)
	path := func(name, text string) string { return write(t, dir, name, text) }
	db := filepath.Join(dir, "case.db")
	must(t, 0, "load", good, "--db", db)
	dbText, err := os.ReadFile(db)
	noError(t, err)
	whole, err := os.ReadFile(fixtures + "/swarm/bundle.tar.gz")
	noError(t, err)
	other := path("other.db", string(dbText))
	alter(t, other, "PRAGMA user_version=99")
	foreign := filepath.Join(dir, "foreign.db")
	alter(t, foreign, "CREATE TABLE a (b)")
	noError(t, os.Mkdir(filepath.Join(dir, "emptydir"), 0o755))
	unread := path("unread.txt", netstatText)
	met := path("met/expect.yaml", "bundle: "+good+"\nquestions:\n  - from: 10.244.0.13\n    verdict: proven\n")
	failing := path("failing/expect.yaml", "bundle: "+good+"\nquestions:\n  - from: 10.244.0.13\n    backend: 10.9.9.9:80\n")
	malformed := path("malformed/expect.yaml", "bundle: .\nquestions:\n  - form: 10.244.0.13\n")
	cannotFail := path("cannotfail/expect.yaml", "questions:\n  - from: 10.244.0.13\n")
	noBundle := path("nobundle/expect.yaml", "bundle: gone.tar.gz\nquestions:\n  - from: 1.2.3.4\n    verdict: unknown\n")
	for _, c := range []struct {
		name string
		args []string
		code int
		says string // on standard error
	}{
		{"answered", []string{"ask", good}, 0, ""},
		{"inspected", []string{"inspect", good}, 0, ""},
		{"of a database", []string{"ask", db}, 0, ""},
		{"a statement", []string{"sql", good, "SELECT 1"}, 0, ""},
		{"tests met", []string{"test", met}, 0, ""},
		{"no command", nil, 0, ""},
		{"help", []string{"help"}, 0, ""},
		{"version", []string{"version"}, 0, ""},

		{"database in no folder", []string{"load", good, "--db", filepath.Join(dir, "no", "such.db")}, 1, "no such file"},
		{"report in no folder", []string{"test", met, "--junit", filepath.Join(dir, "no", "such.xml")}, 1, "no such file"},

		{"unknown command", []string{"aks", good}, 2, "aks"},
		{"unknown flag", []string{"ask", good, "--form", "x"}, 2, "--form"},
		{"flag without value", []string{"ask", good, "--from"}, 2, "--from"},
		{"no bundle", []string{"ask"}, 2, "BUNDLE"},
		{"bad WHO", []string{"ask", good, "--from", "10.244.0"}, 2, "10.244.0"},
		{"bad port", []string{"ask", good, "--to", ":99999"}, 2, ":99999"},
		{"bad name", []string{"ask", good, "--backend", "pod/a/b/c"}, 2, "pod/a/b/c"},
		{"bad pattern", []string{"ask", good, "--to", "ngin[x"}, 2, "ngin[x"},
		{"bad output", []string{"ask", good, "-o", "xml"}, 2, "xml"},
		{"bad output of sql", []string{"sql", good, "SELECT 1", "-o", "dot"}, 2, "dot"},
		{"bad time", []string{"ask", good, "--at", "noon"}, 2, "noon"},
		{"load without --db", []string{"load", good}, 2, "--db"},
		{"load over a file", []string{"load", good, "--db", db}, 2, "--force"},
		{"no statement", []string{"sql", good}, 2, "statement"},
		{"empty statement", []string{"sql", good, " "}, 2, "empty"},
		{"no SQL", []string{"sql", good, "SELEKT 1"}, 2, "SELEKT"},
		{"no such view", []string{"sql", good, "SELECT * FROM nothing"}, 2, "schema.md"},
		{"version of what", []string{"version", "x"}, 2, "version"},
		{"help on nothing", []string{"help", "aks"}, 2, "aks"},
		{"completion for nothing", []string{"completion", "tcsh"}, 2, "tcsh"},
		{"malformed expect.yaml", []string{"test", malformed}, 2, "form"},
		{"a question that cannot fail", []string{"test", cannotFail}, 2, "expects nothing"},

		{"unmet expectation", []string{"test", failing}, 3, ""},

		{"nothing matches", []string{"ask", good, "--from", "9.9.9.9"}, 4, "no connection"},
		{"unknown", []string{"ask", path("alone.txt", netstatText)}, 4, ""},

		{"no such path", []string{"ask", filepath.Join(dir, "gone")}, 5, "gone: no such file or directory; check the path"},
		{"no such path to inspect", []string{"inspect", filepath.Join(dir, "gone")}, 5, "gone"},
		{"no such path to test", []string{"test", filepath.Join(dir, "gone")}, 5, "gone"},
		{"one of two is not there", []string{"ask", good, filepath.Join(dir, "gone")}, 5, "gone"},
		{"nothing to test", []string{"test", filepath.Join(dir, "emptydir")}, 5, "expect.yaml"},
		{"test without bundle", []string{"test", noBundle}, 5, "gone.tar.gz"},
		{"garbage", []string{"ask", path("garbage", "\x00\x01\x02\xff garbage\n\x80")}, 5, "nothing in it is understood"},
		{"prose", []string{"ask", path("prose.txt", "It was a dark night.\n")}, 5, "nothing in it is understood"},
		{"empty file", []string{"ask", path("empty", "")}, 5, "empty"},
		{"empty folder", []string{"ask", filepath.Join(dir, "emptydir")}, 5, "holds no files"},
		{"empty tar", []string{"ask", path("empty.tar", strings.Repeat("\x00", 1024))}, 5, "empty.tar"},
		{"tar that leads out", []string{"ask", path("dots.tar", hostileTar(t, tar.Header{Name: "a/../../etc/passwd"}))}, 5, "leads out"},
		{"tar with a link", []string{"ask", path("link.tar", hostileTar(t, tar.Header{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}))}, 5, "link"},
		{"absolute tar", []string{"ask", path("abs.tar", hostileTar(t, tar.Header{Name: "/etc/passwd"}))}, 5, "absolute"},
		{"cut archive", []string{"ask", path("cut.tar.gz", string(whole[:len(whole)/2]))}, 5, "ends early"},
		{"cut archive to inspect", []string{"inspect", path("cut.tar.gz", string(whole[:len(whole)/2]))}, 5, "ends early"},
		{"archive of four bytes", []string{"ask", path("four.tar.gz", string(whole[:4]))}, 5, "four.tar.gz"},
		{"another packer", []string{"ask", path("x.tar.xz", "\xfd7zXZ\x00\x00\x04")}, 5, "xz"},
		{"database of four pages less", []string{"ask", path("cut.db", string(dbText[:len(dbText)-4*8192]))}, 5, "damaged"},
		{"database of which one page is noise", []string{"ask", path("noise.db", string(dbText[:8192])+strings.Repeat("\xff", len(dbText)-8192))}, 5, "noise.db"},
		{"header of a database", []string{"ask", path("head.db", "SQLite format 3\x00")}, 5, "head.db"},
		{"database of another schema", []string{"ask", other}, 5, "of this version"},
		{"foreign database", []string{"sql", foreign, "SELECT 1"}, 5, "not a finished whichbackend database"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := cli(t, c.args...)
			if r.code != c.code || !strings.Contains(r.stderr, c.says) {
				t.Errorf("%q: exit status %d, want %d with %q on standard error:\n%s", c.args, r.code, c.code, c.says, r.stderr)
			}
			if c.code == exitUsage && r.out != "" {
				t.Errorf("data on standard output: %s", r.out)
			}
			if c.code == exitAnswered && r.stderr != "" || strings.Contains(r.stderr, "Usage:") || strings.Contains(r.stderr, "goroutine") {
				t.Errorf("on standard error: %s", r.stderr)
			}
		})
	}
	noError(t, os.Chmod(unread, 0))
	if _, err := os.ReadFile(unread); err != nil { // root may read anything
		if r := must(t, 5, "ask", unread); !strings.Contains(r.stderr, "permission denied; ") {
			t.Error(r.stderr)
		}
	}
}

// alter changes a database behind the program's back.
func alter(t testing.TB, file, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite3", file)
	noError(t, err)
	defer db.Close()
	_, err = db.Exec(statement)
	noError(t, err)
}

// TestCandidates: several backends remain, which is an answer and settles nothing.
func TestCandidates(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "node1/pods/default/client/netstat.txt", netstatText)
	write(t, dir, "cluster/endpoints.txt", "NAMESPACE   NAME    ENDPOINTS                     AGE\ndefault     nginx   10.244.0.5:80,10.244.0.6:80   3d\n")
	write(t, dir, "cluster/svc.txt", "NAMESPACE   NAME    TYPE        CLUSTER-IP    EXTERNAL-IP   PORT(S)   AGE\ndefault     nginx   ClusterIP   10.96.72.53   <none>        80/TCP    3d\n")
	r := must(t, 4, "ask", dir, "-o", "json")
	c := object(t, r.out)["connections"].([]any)[0].(map[string]any)
	if c["verdict"] != "candidates" || len(c["backends"].([]any)) != 2 {
		t.Errorf("%v %v", c["verdict"], c["backends"])
	}
}

// TestDamagedAnswers: what is readable of a cut archive is answered from, with
// a warning in the answer, and the status says that it was damaged.
func TestDamagedAnswers(t *testing.T) {
	dir := t.TempDir()
	whole := packGzip(t, packTar(t, file{"node1/conntrack.txt", conntrackText}, file{"node1/netstat.txt", netstatText}, file{"node1/noise.txt", strings.Repeat("x y z\n", 50000)}))
	file := write(t, dir, "cut.tar.gz", string(whole[:len(whole)-40]))
	for range 2 { // loaded, then from the cache
		r := must(t, 5, "ask", file, "-o", "json")
		a := object(t, r.out)
		if len(a["connections"].([]any)) != 1 || len(a["warnings"].([]any)) == 0 {
			t.Errorf("connections %v, warnings %v", a["connections"], a["warnings"])
		}
	}
	db := filepath.Join(dir, "case.db")
	must(t, 5, "load", file, "--db", db)
	must(t, 5, "ask", db)
	must(t, 5, "ask", db, write(t, dir, "more.txt", serverText))
}

// TestHelp: help begins with examples, and every command has its own.
func TestHelp(t *testing.T) {
	for _, args := range [][]string{{}, {"help"}, {"--help"}, {"help", "ask"}, {"ask", "--help"}, {"inspect", "-h"}, {"load", "-h"}, {"sql", "-h"}, {"test", "-h"}, {"check", "-h"}} {
		r := must(t, 0, args...)
		if !strings.HasPrefix(r.out, "Examples:\n  whichbackend ") || !strings.Contains(r.out, "\nUsage:\n") || r.stderr != "" {
			t.Errorf("%q prints:\n%s%s", args, r.out, r.stderr)
		}
	}
	for _, args := range [][]string{{"version"}, {"--version"}} {
		if r := must(t, 0, args...); !strings.HasPrefix(r.out, "whichbackend "+version+"\n") {
			t.Error(r.out)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if r := must(t, 0, "completion", shell); !strings.Contains(r.out, "whichbackend") || r.stderr != "" {
			t.Errorf("%s: %.200s", shell, r.out)
		}
	}
	if r := must(t, 0, "__complete", "ask", "x", "-o", ""); !strings.Contains(r.out, "mermaid\n") {
		t.Error("formats are not completed:", r.out)
	}
}

// TestInterrupt ends a load at once and leaves nothing behind.
func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	dir := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", dir)
	t.Setenv("TMPDIR", dir)
	var out, errs bytes.Buffer
	begin := time.Now()
	if code := run(ctx, strings.NewReader(""), &out, &errs, []string{"ask", fixtures + "/swarm/bundle.tar.gz"}); code != exitRuntime || !strings.Contains(errs.String(), "interrupted") {
		t.Errorf("exit status %d: %s", code, errs.String())
	}
	if time.Since(begin) > grace {
		t.Error("it took too long")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*", "*")); len(left) > 0 {
		t.Error("left behind: ", left)
	}
}
