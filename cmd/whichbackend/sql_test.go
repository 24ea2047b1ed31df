package main

import (
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestSQLOnlyReads: whatever the statement is, it can only read, and the
// database stays as it was.
func TestSQLOnlyReads(t *testing.T) {
	dir := t.TempDir()
	db := filepath.Join(dir, "case.db")
	must(t, 0, "load", smallCase(t), "--db", db)
	before, err := os.ReadFile(db)
	noError(t, err)
	for _, s := range []string{
		"INSERT INTO meta VALUES ('a', 1)", "UPDATE socket SET line = 1", "DELETE FROM socket", "DROP VIEW sockets", "CREATE TABLE x (y)",
		"CREATE TEMP TABLE x (y)", "WITH x AS (SELECT 1) DELETE FROM socket", "REPLACE INTO meta VALUES ('a', 1)", "ALTER TABLE socket RENAME TO s",
		"ATTACH '" + filepath.Join(dir, "new.db") + "' AS new", "DETACH main", "VACUUM INTO '" + filepath.Join(dir, "copy.db") + "'", "VACUUM", "REINDEX", "ANALYZE",
		"PRAGMA writable_schema = 1", "PRAGMA query_only = 0", "PRAGMA journal_mode = WAL", "PRAGMA user_version = 7",
		"SELECT load_extension('x.so')", "SELECT LOAD_EXTENSION('x')", "BEGIN", "COMMIT", "SAVEPOINT a",
		"SELECT 1; DELETE FROM socket", "SELECT 1; SELECT 2", "SELECT ';'; SELECT 2", "SELECT 1 /* ; */; -- x\nSELECT 2", ";;SELECT 1", "--", "SELECT writefile('" + filepath.Join(dir, "w") + "', 'x')",
		"SELECT readfile('/etc/passwd')", "SELECT fts3_tokenizer('x')", "CREATE VIRTUAL TABLE v USING fts3(x)", "SELECT * FROM pragma_database_list",
	} {
		r := cli(t, "sql", db, s)
		if s == "--" && r.code == 0 {
			continue // nothing asked, nothing answered
		}
		if r.code != exitUsage || r.out != "" || r.stderr == "" {
			t.Errorf("%s: exit status %d\n%s%s", s, r.code, r.out, r.stderr)
		}
	}
	after, err := os.ReadFile(db)
	noError(t, err)
	if string(before) != string(after) {
		t.Error("the database has changed")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 {
		t.Error("written: ", left)
	}
	for _, s := range []string{"SELECT 1;", "SELECT 'a;b', \"line\" FROM sockets; -- done", "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 9) SELECT sum(i) FROM n", "SELECT count(*), group_concat(local) FROM sockets GROUP BY state ORDER BY 1", "VALUES (1), (2)", "SELECT json_group_array(local) FROM sockets"} {
		must(t, 0, "sql", db, s)
	}
}

// TestSQLFormats: each form holds the same rows; NULL is null, an error of one
// row is no answer.
func TestSQLFormats(t *testing.T) {
	dir := smallCase(t)
	statement := "SELECT local, remote, pid, line, 'a\"b,c|d' AS text FROM sockets WHERE state = 'ESTABLISHED' ORDER BY local"
	var rows []map[string]any
	noError(t, json.Unmarshal([]byte(must(t, 0, "sql", dir, statement, "-o", "json").out), &rows))
	if len(rows) != 2 || rows[0]["local"] != "10.244.0.13:52372" || rows[0]["pid"] != nil || rows[0]["line"] != 3.0 || rows[0]["text"] != `a"b,c|d` {
		t.Errorf("%v", rows)
	}
	lines, err := csv.NewReader(strings.NewReader(must(t, 0, "sql", dir, statement, "-o", "csv").out)).ReadAll()
	if err != nil || len(lines) != 3 || !slices.Equal(lines[1], []string{"10.244.0.13:52372", "10.96.72.53:80", "", "3", `a"b,c|d`}) {
		t.Errorf("%q %v", lines, err)
	}
	if out := must(t, 0, "sql", dir, statement, "-o", "markdown").out; !strings.Contains(out, `a"b,c\|d`) || strings.Count(out, "\n") != 4 {
		t.Error(out)
	}
	if out := must(t, 0, "sql", dir, statement, "-o", "jsonl").out; strings.Count(out, "\n") != 2 {
		t.Error(out)
	}
	if out := must(t, 0, "sql", dir, "SELECT 1 WHERE 0", "-o", "json").out; out != "[]\n" {
		t.Errorf("%q", out)
	}
}

// TestSchemaDocument holds docs/schema.md against the views, and runs its queries.
func TestSchemaDocument(t *testing.T) {
	bundle := fixtures + "/swarm/bundle.tar.gz"
	doc := sections(t, "../../docs/schema.md")
	for _, view := range []string{"artifacts", "sockets", "translations", "services", "owners", "readings", "problems", "flows", "captures"} {
		title := ""
		for k := range doc {
			if strings.HasPrefix(k, view+":") {
				title = k
			}
		}
		var documented []string
		for _, row := range doc[title] {
			for _, name := range strings.Split(row[0], ",") {
				documented = append(documented, strings.TrimSpace(name))
			}
		}
		out := must(t, 0, "sql", bundle, "SELECT * FROM "+view+" LIMIT 1", "-o", "csv").out
		head, _, _ := strings.Cut(out, "\n")
		real := strings.Split(head, ",")
		slices.Sort(documented)
		slices.Sort(real)
		if !slices.Equal(documented, real) {
			t.Errorf("%s: docs/schema.md has %q, the view %q", view, documented, real)
		}
	}
	text, err := os.ReadFile("../../docs/schema.md")
	noError(t, err)
	queries := regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(queries) < 2 {
		t.Fatal("no queries in docs/schema.md")
	}
	for _, q := range queries {
		r := must(t, 0, "sql", bundle, strings.ReplaceAll(q[1], "10.244.1.11", "10.0.1.3"), "-o", "csv")
		if strings.Count(r.out, "\n") < 2 {
			t.Errorf("no rows for %s", q[1])
		}
	}
	// What the views show is what the rows say, in both address families.
	six := sixCase(t)
	for _, c := range [][2]string{
		{"SELECT local, remote, protocol FROM sockets", "local,remote,protocol\n[fd00::13]:52372,[fd00:96::1]:80,tcp\n"},
		{"SELECT source, destination, source_after, destination_after, mechanism, assured, unreplied FROM translations", "source,destination,source_after,destination_after,mechanism,assured,unreplied\n[fd00::13]:52372,[fd00:96::1]:80,[fd00::13]:52372,[fd00::6]:80,conntrack,1,0\n"},
		{"SELECT path, format, lines, understood, unknown, recorded FROM artifacts ORDER BY path LIMIT 1", "path,format,lines,understood,unknown,recorded\nn/conntrack.txt,conntrack,1,1,0,\n"},
	} {
		if got := must(t, 0, "sql", six, c[0], "-o", "csv").out; got != c[1] {
			t.Errorf("%s:\n%swant\n%s", c[0], got, c[1])
		}
	}
	if got := must(t, 0, "sql", moment(t, "2026-11-23T08:00:00Z", conntrackText), "SELECT recorded FROM artifacts", "-o", "csv").out; got != "recorded\n2026-11-23T08:00:00Z\n" {
		t.Error(got)
	}
}
