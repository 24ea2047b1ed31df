package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"

	"whichbackend/analyze/diff"
	"whichbackend/analyze/load"
	"whichbackend/analyze/resolve"
)

// sections gives, for each heading of a document, the rows of the table below
// it, without the head.
func sections(t testing.TB, path string) map[string][][]string {
	t.Helper()
	text, err := os.ReadFile(path)
	noError(t, err)
	out := map[string][][]string{}
	title := ""
	for _, line := range strings.Split(string(text), "\n") {
		if strings.HasPrefix(line, "#") {
			title = strings.TrimLeft(line, "# ")
		}
		if !strings.HasPrefix(line, "| ") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		out[title] = append(out[title], cells)
	}
	for title := range out {
		out[title] = out[title][1:]
	}
	return out
}

// TestAnswerDocument holds docs/answer.md against the structs and the closed sets.
func TestAnswerDocument(t *testing.T) {
	doc := sections(t, "../../docs/answer.md")
	holdFields(t, "docs/answer.md", doc, map[string]any{"Answer": resolve.Answer{}, "Input": resolve.Input{}, "Coverage": resolve.Coverage{}, "Connection": resolve.Connection{},
		"Party": resolve.Party{}, "Backend": resolve.Backend{}, "Socket": resolve.End{}, "Hop": resolve.Hop{}, "Side": resolve.Side{}, "Evidence": resolve.Evidence{}, "Handshake": resolve.Handshake{}, "Sighting": resolve.Sighting{},
		"Gap": resolve.Gap{}, "Conflict": resolve.Conflict{}, "Claim": resolve.Claim{}, "Inspection": load.Inspection{}, "Inspected input": load.InputInfo{},
		"Artifact": load.Inspected{}, "Problem": load.ProblemInfo{}, "Format": load.FormatSum{}, "Missing": load.Missing{},
		"Capture": load.Captured{}, "Interface": load.Interface{}, "Undecoded packets": load.Undecoded{}, "Clock": load.Clock{}, "Look-alikes": load.Unused{}})
	var verdicts, mechanisms [][]string
	for _, v := range resolve.Verdicts {
		verdicts = append(verdicts, []string{"`" + string(v.Verdict) + "`", backendCount[v.Verdict], v.Holds})
	}
	for _, m := range resolve.Mechanisms {
		mechanisms = append(mechanisms, []string{"`" + m.Name + "`", m.Means})
	}
	if !reflect.DeepEqual(verdicts, doc["Verdicts"]) {
		t.Errorf("verdicts: %q, docs/answer.md %q", verdicts, doc["Verdicts"])
	}
	if !reflect.DeepEqual(mechanisms, doc["Mechanisms"]) {
		t.Errorf("mechanisms: %q, docs/answer.md %q", mechanisms, doc["Mechanisms"])
	}
	readme := sections(t, "../../README.md")["Tasks"]
	for i, v := range resolve.Verdicts {
		if i >= len(readme) || readme[i][0] != "`"+string(v.Verdict)+"`" || readme[i][1] != backendCount[v.Verdict] {
			t.Errorf("the README's table lacks %s, or has it elsewhere", v.Verdict)
		}
	}
}

// TestDiffDocument holds docs/diff.md against the structs.
func TestDiffDocument(t *testing.T) {
	doc := sections(t, "../../docs/diff.md")
	holdFields(t, "docs/diff.md", doc, map[string]any{"Diff": diff.Diff{}, "Moment": diff.Info{}, "Host": diff.Host{}, "Step": diff.Step{}, "Outlived": diff.Outlived{}, "Moved": diff.Moved{},
		"Spread": diff.Spread{}, "Service change": diff.Change{}, "Finding change": diff.Finding{}, "Connection": diff.Connection{}, "Undetermined": diff.Undetermined{},
		"Not seen": diff.NotSeen{}, "Line of the timeline": diff.Line{}, "Cell": diff.Cell{}})
}

// holdFields holds the tables of a document against the structs that it
// describes, by the title of each table.
func holdFields(t testing.TB, file string, doc map[string][][]string, structs map[string]any) {
	t.Helper()
	for title, v := range structs {
		var want, got []string
		for f := range fields(reflect.TypeOf(v)) {
			want = append(want, f)
		}
		for _, row := range doc[title] {
			got = append(got, strings.Trim(row[0], "`")+" "+row[2])
		}
		sort.Strings(want)
		sort.Strings(got)
		if !slices.Equal(want, got) {
			t.Errorf("%s: the program has %q, %s %q", title, want, file, got)
		}
	}
}

var backendCount = map[resolve.Verdict]string{resolve.Proven: "1", resolve.Observed: "1", resolve.Deduced: "1", resolve.Candidates: "2+", resolve.None: "0", resolve.Conflicted: "2+", resolve.Unknown: "0"}

// fields are the JSON names of a struct's own fields, each with the word that
// the document has for it.
func fields(typ reflect.Type) map[string]bool {
	out := map[string]bool{}
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, opt, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "" {
			continue
		}
		if !strings.Contains(opt, "omitempty") {
			name += " always"
		} else {
			name += " "
		}
		out[name] = true
	}
	return out
}

var sharedFixtures = []string{"swarm", "cilium-1.14", "cilium-1.16-socket-lb", "kubernetes", "kube-proxy-iptables"}

// TestAnswerContract holds the JSON of every recording, whole and in parts,
// to PRODUCT.md.
func TestAnswerContract(t *testing.T) {
	var inputs [][]string
	for _, f := range sharedFixtures {
		inputs = append(inputs, []string{fixtures + "/" + f + "/bundle.tar.gz"})
	}
	transcripts, _ := filepath.Glob(fixtures + "/walkthrough/*/transcript.txt")
	for _, f := range transcripts {
		inputs = append(inputs, []string{f})
	}
	inputs = append(inputs, []string{smallCase(t)}, []string{sixCase(t)}, []string{write(t, t.TempDir(), "a.txt", netstatText)},
		[]string{sixCase(t), "--from", "fd00::99"}, []string{fixtures + "/swarm/bundle.tar.gz", "--from", "10.0.1.3", "--to", "10.99.0.1:81"},
		[]string{fixtures + "/kubernetes/bundle.tar.gz", "--from", "default/client", "--to", "svc/kubernetes"})
	for _, args := range inputs {
		r := cli(t, append([]string{"ask", "-o", "json"}, args...)...)
		a := object(t, r.out)
		shape(t, args[0], a, reflect.TypeOf(resolve.Answer{}))
		if a["schema"] != "whichbackend.answer/v1" || a["tool"] != "whichbackend "+version {
			t.Errorf("%q: %v %v", args, a["schema"], a["tool"])
		}
		var v resolve.Answer
		noError(t, json.Unmarshal([]byte(r.out), &v))
		open := len(v.Connections) == 0
		seen := map[string]bool{}
		for i := range v.Connections {
			c := &v.Connections[i]
			name := fmt.Sprintf("%q: %s -> %s", args, c.Client.Address, c.Service.Address)
			contract(t, name, c)
			open = open || !c.Settled() || c.Seen != nil
			key := c.Protocol + c.Client.Host + c.Client.Name + c.Client.Address + c.Service.Address
			if seen[key] {
				t.Errorf("%s: listed twice", name)
			}
			seen[key] = true
			if i > 0 && after(&v.Connections[i-1], c) {
				t.Errorf("%s: not sorted", name)
			}
		}
		if want := map[bool]int{false: 0, true: 4}[open]; r.code != want {
			t.Errorf("%q: exit status %d, want %d", args, r.code, want)
		}
	}
}

// shape holds a decoded value against the type that documents it: no null, no
// unknown field, and every field that is always there.
func shape(t *testing.T, at string, v any, typ reflect.Type) {
	t.Helper()
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	switch x := v.(type) {
	case nil:
		t.Errorf("%s is null", at)
	case []any:
		for i, e := range x {
			shape(t, fmt.Sprintf("%s[%d]", at, i), e, typ.Elem())
		}
	case map[string]any:
		types := map[string]reflect.Type{}
		for _, f := range reflect.VisibleFields(typ) {
			name, opt, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "" || !f.IsExported() {
				continue
			}
			types[name] = f.Type
			if _, ok := x[name]; !ok && opt == "" {
				t.Errorf("%s lacks %s", at, name)
			}
		}
		for k, e := range x {
			if types[k] == nil {
				t.Errorf("%s has a field %s that nothing documents", at, k)
				continue
			}
			if e == "" && k != "format" && k != "text" {
				t.Errorf("%s.%s is empty, and should be omitted", at, k)
			}
			shape(t, at+"."+k, e, types[k])
		}
	}
}

var addressShape = regexp.MustCompile(`^(\d+\.\d+\.\d+\.\d+|\[[0-9a-f:.]+\]):\d+$`)

// contract holds one connection to PRODUCT.md.
func contract(t *testing.T, name string, c *resolve.Connection) {
	t.Helper()
	for _, a := range []string{c.Client.Address, c.Service.Address} {
		if !addressShape.MatchString(a) {
			t.Errorf("%s: address %q", name, a)
		}
	}
	if c.Granularity != "connection" && c.Granularity != "request" {
		t.Errorf("%s: granularity %q", name, c.Granularity)
	}
	n := len(c.Backends)
	want, ok := backendCount[c.Verdict]
	good := want == "1" && (n == 1 || n > 1 && c.Granularity == "request") || want == "2+" && n > 1 || want == "0" && n == 0
	if c.Seen != nil && c.Verdict == resolve.Candidates {
		good = n > 0 // what a new connection would choose from, be it one
	}
	if !ok || !good {
		t.Errorf("%s: %s with %d backends", name, c.Verdict, n)
	}
	if !slices.IsSortedFunc(c.Backends, func(a, b resolve.Backend) int { return compareAddresses(a.Address, b.Address) }) {
		t.Errorf("%s: backends are not sorted", name)
	}
	if c.Verdict == resolve.Candidates && c.Backends[0].Reason == "" {
		t.Errorf("%s: a candidate without a reason", name)
	}
	if (c.Verdict == resolve.Conflicted) != (len(c.Conflicts) > 0) {
		t.Errorf("%s: %s with %d conflicts", name, c.Verdict, len(c.Conflicts))
	}
	if c.Verdict == resolve.Unknown && len(c.Gaps) == 0 {
		t.Errorf("%s: unknown without a gap", name)
	}
	for _, m := range c.Mechanisms {
		known := false
		for _, x := range resolve.Mechanisms {
			known = known || x.Name == m
		}
		if !known {
			t.Errorf("%s: mechanism %q", name, m)
		}
	}
	evidenceContract(t, name, c)
}

func evidenceContract(t *testing.T, name string, c *resolve.Connection) {
	t.Helper()
	var all []resolve.Evidence
	for _, b := range c.Backends {
		all = append(all, b.Evidence...)
		if !addressShape.MatchString(b.Address) {
			t.Errorf("%s: backend %q", name, b.Address)
		}
	}
	for _, h := range c.Hops {
		all = append(all, h.Evidence...)
		for _, a := range []string{h.Before.Source, h.Before.Destination, h.After.Source, h.After.Destination} {
			if a != "" && !addressShape.MatchString(a) {
				t.Errorf("%s: hop with %q", name, a)
			}
		}
		if len(h.Evidence) == 0 {
			t.Errorf("%s: a hop via %s without evidence", name, h.Via)
		}
	}
	for _, s := range c.Sockets {
		all = append(all, s.Evidence...)
	}
	if (c.Verdict == resolve.Proven || c.Verdict == resolve.Observed) && len(all) == 0 {
		t.Errorf("%s: %s by nothing", name, c.Verdict)
	}
	for _, e := range all {
		if e.Line == 0 && e.Packet == 0 && e.Pointer == "" || e.Artifact == "" || e.Text == "" {
			t.Errorf("%s: evidence leads nowhere: %+v", name, e)
		}
	}
}

func compareAddresses(a, b string) int {
	x, _ := netip.ParseAddrPort(a)
	y, _ := netip.ParseAddrPort(b)
	return x.Compare(y)
}

// after tells whether a stands behind b in the order of answers.
func after(a, b *resolve.Connection) bool {
	if d := compareAddresses(a.Client.Address, b.Client.Address); d != 0 {
		return d > 0
	}
	return compareAddresses(a.Service.Address, b.Service.Address) > 0
}

// sixCase is a case in IPv6.
func sixCase(t testing.TB) string {
	dir := t.TempDir()
	write(t, dir, "n/conntrack.txt", "tcp      6 86374 ESTABLISHED src=fd00::13 dst=fd00:96::1 sport=52372 dport=80 src=fd00::6 dst=fd00::13 sport=80 dport=52372 [ASSURED] mark=0 use=1\n")
	write(t, dir, "n/pods/default/client/ss.txt", "Netid State  Recv-Q Send-Q Local Address:Port Peer Address:Port\ntcp   ESTAB  0      0      [fd00::13]:52372   [fd00:96::1]:80\n")
	return dir
}

// TestSix: IPv6 addresses are written with brackets and understood in every form.
func TestSix(t *testing.T) {
	dir := sixCase(t)
	for _, from := range []string{"fd00::13", "[fd00::13]:52372", "[fd00::13]", "fd00::/64", "FD00:0::13", "default/client", ":52372", "pod/default/cl*"} {
		r := must(t, 0, "ask", dir, "--from", from, "-o", "json")
		c := object(t, r.out)["connections"].([]any)[0].(map[string]any)
		if c["client"].(map[string]any)["address"] != "[fd00::13]:52372" || c["service"].(map[string]any)["address"] != "[fd00:96::1]:80" ||
			c["backends"].([]any)[0].(map[string]any)["address"] != "[fd00::6]:80" {
			t.Errorf("%s: %s", from, r.out)
		}
	}
}

// TestInspectContract holds the JSON of an inspection to PRODUCT.md, and the
// sums to each other.
func TestInspectContract(t *testing.T) {
	dir := t.TempDir()
	inputs := []string{smallCase(t), moment(t, "2026-11-23T08:00:00Z", conntrackText), write(t, dir, "empty", ""), write(t, dir, "noise", "\xffnoise\x1b[31m\n\n")}
	for _, f := range sharedFixtures {
		inputs = append(inputs, fixtures+"/"+f+"/bundle.tar.gz")
	}
	for _, input := range inputs {
		r := must(t, 0, "inspect", "-o", "json", input)
		shape(t, input, object(t, r.out), reflect.TypeOf(load.Inspection{}))
		var v load.Inspection
		dec := json.NewDecoder(bytes.NewReader([]byte(r.out)))
		dec.DisallowUnknownFields()
		noError(t, dec.Decode(&v))
		if v.Schema != "whichbackend.inspect/v1" || v.Tool != "whichbackend "+version || len(v.Artifacts) == 0 {
			t.Errorf("%s: %s %s", input, v.Schema, v.Tool)
		}
		lines := 0
		for _, a := range v.Artifacts {
			lines += a.Lines
			if a.Lines != a.Understood+a.Ignored+a.Unknown {
				t.Errorf("%s: %s: %d lines are %d understood, %d ignored and %d unknown", input, a.Path, a.Lines, a.Understood, a.Ignored, a.Unknown)
			}
			if a.Unknown > 0 && len(a.Problems) == 0 {
				t.Errorf("%s: %s: %d lines unknown, and no problem says so", input, a.Path, a.Unknown)
			}
			for _, p := range a.Problems {
				if p.Why == "" {
					t.Errorf("%s: %s:%d: a problem without a why", input, a.Path, p.Line)
				}
			}
		}
		for _, f := range v.Formats {
			lines -= f.Lines
		}
		if lines != 0 {
			t.Errorf("%s: artifacts and formats differ by %d lines", input, lines)
		}
	}
}
