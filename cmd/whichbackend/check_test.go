package main

import (
	"encoding/json"
	"encoding/xml"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"whichbackend/analyze/check"
	"whichbackend/analyze/render"
)

var update = flag.Bool("update", false, "write the table of rules into docs/findings.md")

// faulty is a recorded case in which a client dials a service without backends.
const faulty = fixtures + "/synthetic/nobody-serves/bundle"

// TestCheck: findings in every form, and the exit status that --fail-on asks for.
func TestCheck(t *testing.T) {
	if out := must(t, 0, "check", faulty).out; !strings.Contains(out, "error  service-without-endpoints\n  shop/stock has no backends") || !strings.Contains(out, "proof node-a/iptables-save.txt:11\n") {
		t.Error(out)
	}
	must(t, 3, "check", faulty, "--fail-on", "error")
	must(t, 3, "check", faulty, "--fail-on", "info")
	must(t, 0, "check", fixtures+"/swarm/bundle.tar.gz", "--fail-on", "info")
	must(t, 2, "check", faulty, "--fail-on", "fatal")
	must(t, 2, "check", faulty, "--ignore", "no-such-rule")
	must(t, 2, "check")
	empty := write(t, t.TempDir(), "prose.txt", "nothing of any tool\n")
	must(t, 5, "check", empty)
	if out := must(t, 0, "check", faulty, "--ignore", "service-without-endpoints").out; strings.Contains(out, "service-without-endpoints") {
		t.Error("an ignored rule was run: ", out)
	}

	var r check.Result
	noError(t, json.Unmarshal([]byte(must(t, 0, "check", faulty, "-o", "json").out), &r))
	i := slices.IndexFunc(r.Findings, func(f check.Finding) bool { return f.ID == "service-without-endpoints" })
	if i < 0 || r.Schema != check.Schema || r.Findings[i].Count != 1 || r.Findings[i].Connections[0].Client.Address != "10.42.1.9:47022" || r.Findings[i].Evidence[0].Line != 11 {
		t.Errorf("%+v", r)
	}
	var suite render.Suite
	noError(t, xml.Unmarshal([]byte(must(t, 0, "check", faulty, "-o", "junit").out), &suite))
	if suite.Tests != len(check.Rules) || suite.Failures == 0 || suite.Failures+suite.Skipped > suite.Tests || suite.Skipped != len(r.Unjudged) {
		t.Errorf("%+v", suite)
	}
	if out := must(t, 0, "check", faulty, "-o", "github").out; !strings.Contains(out, "::error file=node-a/iptables-save.txt,line=11,title=service-without-endpoints::") {
		t.Error(out)
	}
}

// TestSARIF holds the log to what code scanning reads: levels, rules by their
// index, and places that are relative URIs with lines from 1.
func TestSARIF(t *testing.T) {
	log := object(t, must(t, 0, "check", faulty, "-o", "sarif").out)
	run := log["runs"].([]any)[0].(map[string]any)
	rules := run["tool"].(map[string]any)["driver"].(map[string]any)["rules"].([]any)
	results := run["results"].([]any)
	if log["version"] != "2.1.0" || len(rules) != len(check.Rules) || len(results) == 0 {
		t.Fatalf("%v", log)
	}
	for _, x := range results {
		result := x.(map[string]any)
		rule := rules[number(t, result["ruleIndex"])].(map[string]any)
		if rule["id"] != result["ruleId"] || !slices.Contains([]any{"error", "warning", "note"}, result["level"]) || result["message"].(map[string]any)["text"] == "" {
			t.Errorf("%v", result)
		}
		for _, l := range result["locations"].([]any) {
			place := l.(map[string]any)["physicalLocation"].(map[string]any)
			uri := place["artifactLocation"].(map[string]any)["uri"].(string)
			if strings.HasPrefix(uri, "/") || strings.ContainsAny(uri, " \\") {
				t.Errorf("%q is no relative URI", uri)
			}
			if r, ok := place["region"].(map[string]any); ok && number(t, r["startLine"]) < 1 {
				t.Errorf("%v", r)
			}
		}
	}
}

func number(t testing.TB, v any) int64 {
	t.Helper()
	n, err := v.(json.Number).Int64()
	noError(t, err)
	return n
}

// TestFindingsDocument holds docs/findings.md against the rules and structs.
func TestFindingsDocument(t *testing.T) {
	const file = "../../docs/findings.md"
	table := "| rule | severity | finds | needs |\n|---|---|---|---|\n"
	for _, r := range check.Rules {
		table += fmt.Sprintf("| `%s` | %s | %s | %s |\n", r.ID, r.Severity, r.Finds, r.Needs)
	}
	text, err := os.ReadFile(file)
	noError(t, err)
	head, rest, ok := strings.Cut(string(text), "The severity is the worst that a rule gives.\n\n")
	old, tail, ok2 := strings.Cut(rest, "\n## Result")
	if !ok || !ok2 {
		t.Fatal("docs/findings.md has no place for the rules")
	}
	if *update {
		noError(t, os.WriteFile(file, []byte(head+"The severity is the worst that a rule gives.\n\n"+table+"\n## Result"+tail), 0o644))
	} else if old != table {
		t.Errorf("docs/findings.md has other rules than the program; go test ./cmd/whichbackend -run FindingsDocument -update writes\n%s", table)
	}
	doc := sections(t, file)
	holdFields(t, "docs/findings.md", doc, map[string]any{"Result": check.Result{}, "Finding": check.Finding{}, "Concerned connection": check.Connection{}, "Object": check.Object{}, "Unjudged rule": check.Unjudged{}})
}

// TestRules: every rule says what it is, and no two are called the same.
func TestRules(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range check.Rules {
		if seen[r.ID] || r.Finds == "" || r.Needs == "" || r.Why == "" || r.Do == "" || len(r.See) == 0 || !slices.Contains(check.Severities, r.Severity) || strings.Contains(r.Finds+r.Needs, "|") {
			t.Errorf("%s: %+v", r.ID, r)
		}
		seen[r.ID] = true
		for _, s := range r.See {
			if !strings.HasPrefix(s, "https://") {
				t.Errorf("%s: %s is no address", r.ID, s)
			}
		}
	}
}
