package proxy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"whichbackend/analyze/parse"
	"whichbackend/analyze/record"
)

// records is what the analyzer reads of a text.
type records struct {
	Lines    []string
	Problems []string
	Unknown  int
	Formats  string
}

func (r *records) add(v any)                         { r.Lines = append(r.Lines, fmt.Sprintf("%T %+v", v, v)) }
func (r *records) Socket(s *record.Socket)           { r.add(*s) }
func (r *records) Translation(t *record.Translation) { r.add(*t) }
func (r *records) Service(s *record.Service)         { r.add(*s) }
func (r *records) Owner(o *record.Owner)             { r.add(*o) }
func (r *records) Address(a *record.Address)         { r.add(*a) }
func (r *records) Reading(x *record.Reading)         { r.add(*x) }
func (r *records) Problem(p *record.Problem)         { r.Problems = append(r.Problems, p.Why+": "+p.Text) }

func analyze(t *testing.T, text []byte) *records {
	t.Helper()
	var r records
	n := 0
	sections, err := parse.Artifact(&record.Artifact{ID: 1, Path: "input"}, bytes.NewReader(text), nil, &r, func() int { n++; return n })
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sections {
		r.Unknown += s.Unknown
		r.Formats += s.Format + " " + s.Tool + ";"
	}
	// A document has one line here and may have another there.
	for i, l := range r.Lines {
		r.Lines[i] = noLine(l)
	}
	return &r
}

func noLine(s string) string {
	for _, part := range strings.Split(s, " ") {
		if _, ok := strings.CutPrefix(part, "Line:"); ok {
			s = strings.ReplaceAll(s, part, "Line:")
		}
	}
	return s
}

func filtered(in string, root rule) (string, error) {
	b, err := io.ReadAll(newFilter(strings.NewReader(in), root))
	return string(b), err
}

// ruleFor picks the rule of a document as its path in the table would.
func ruleFor(file string) rule {
	switch {
	case strings.Contains(file, "ztunnel"):
		return ztunnel
	case strings.Contains(file, "server_info"):
		return serverInfo.rule
	}
	return configDump
}

// TestSameRecords holds that the analyzer reads the same of a dump that was
// filtered: of every dump that the analyzer's own cases have.
func TestSameRecords(t *testing.T) {
	tried := 0
	for _, kind := range []string{"envoy-config_dump", "envoy-server_info", "ztunnel-config_dump"} {
		files, _ := filepath.Glob("../../analyze/parse/testdata/" + kind + "/*.txtar")
		for _, file := range files {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			in := ar.Files[0].Data
			var members map[string]json.RawMessage
			if json.Unmarshal(in, &members) != nil || kind == "envoy-config_dump" && !wholeDump(members) {
				continue // what istioctl or a person made of a dump
			}
			tried++
			sameRecords(t, file, in)
		}
	}
	if tried < 5 {
		t.Errorf("only %d dumps were tried", tried)
	}
}

// wholeDump tells a dump from one whose parts ?resource= cut out.
func wholeDump(members map[string]json.RawMessage) bool {
	var list []struct {
		Type string `json:"@type"`
	}
	if json.Unmarshal(members["configs"], &list) != nil {
		return false
	}
	for _, c := range list {
		if !strings.HasSuffix(c.Type, "ConfigDump") {
			return false
		}
	}
	return len(list) > 0
}

func sameRecords(t *testing.T, file string, in []byte) {
	t.Helper()
	out, err := filtered(string(in), ruleFor(file))
	if err != nil {
		t.Errorf("%s: %v", file, err)
		return
	}
	if !json.Valid([]byte(out)) {
		t.Errorf("%s: what is left is no JSON:\n%s", file, out)
	}
	before, after := analyze(t, in), analyze(t, []byte(out))
	if after.Unknown != before.Unknown {
		t.Errorf("%s: unknown %d, before %d: %q", file, after.Unknown, before.Unknown, after.Problems)
	}
	if d := cmp.Diff(before.Lines, after.Lines); d != "" {
		t.Errorf("%s (-proxy's own +filtered):\n%s", file, d)
	}
	if before.Formats != after.Formats {
		t.Errorf("%s: read as %s, filtered as %s", file, before.Formats, after.Formats)
	}
}

func TestFilterKeepsTextAsItIs(t *testing.T) {
	const in = "{\n \"configs\": [\n  {\n   \"@type\": \"type.googleapis.com/envoy.admin.v3.ClustersConfigDump\",\n   \"version_info\": \"a\\\"\\\\\",\n" +
		"   \"n\": [1, -2.5e+7, true, null, [], {}, \"x\"]\n  }\n ]\n}\n"
	if out, err := filtered(in, configDump); err != nil || out != in {
		t.Errorf("%v\n%s", err, cmp.Diff(in, out))
	}
}

func TestFilterLeavesOut(t *testing.T) {
	cluster := func(s string) string {
		return `{"configs":[{"@type":"t/envoy.admin.v3.ClustersConfigDump","static_clusters":[{"cluster":` + s + `}]}]}`
	}
	any := func(kind, members string) string { return `{"@type":"t/` + kind + `"` + members + `}` }
	for name, c := range map[string]struct{ in, want string }{
		"a section of secrets": {
			`{"configs":[{"@type":"t/envoy.admin.v3.SecretsConfigDump","static_secrets":[{"name":"x","secret":{"a":["SECRET"]}}]},{"@type":"t/X"}]}`,
			`{"configs":[{"@type":"t/envoy.admin.v3.SecretsConfigDump"},{"@type":"t/X"}]}`},
		"a section without a type": {`{"configs":[{"a":"SECRET"},{"a":1,"@type":"t/envoy.admin.v3.ClustersConfigDump"}], "x":"SECRET"}`, `{"configs":[{},{}]}`},
		"a header":                 {cluster(`{"name":"a", "request_headers_to_add":[{"header":{"key":"x","value":"SECRET"}}],"b":1}`), cluster(`{"name":"a", "request_headers_to_add":"[left out]","b":1}`)},
		"camel case":               {cluster(`{"inlineString":"SECRET"}`), cluster(`{"inlineString":"[left out]"}`)},
		"redacted by Envoy":        {cluster(`{"password":"[redacted]","private_key":"W3JlZGFjdGVkXQ==","token":"[redacted] SECRET"}`), cluster(`{"password":"[redacted]","private_key":"W3JlZGFjdGVkXQ==","token":"[left out]"}`)},
		"another extension": {
			cluster(`{"transport_socket":{"name":"tls","typed_config":` + any("a.UpstreamTlsContext", `,"common":{"k":"SECRET"},"sni":"s.example"`) + `}}`),
			cluster(`{"transport_socket":{"name":"tls","typed_config":` + any("a.UpstreamTlsContext", `,"sni":"s.example"`) + `}}`)},
		"an extension in one that is kept": {
			cluster(`{"typed_config":` + any("a.HttpConnectionManager", `,"http_filters":[{"name":"lua","typed_config":`+any("a.Lua", `,"code":"SECRET"`)+`}]`) + `}`),
			cluster(`{"typed_config":` + any("a.HttpConnectionManager", `,"http_filters":[{"name":"lua","typed_config":`+any("a.Lua", ``)+`}]`) + `}`)},
		"an extension without a type":   {cluster(`{"typed_config":{"code":"SECRET","@type":"t/a.TcpProxy","cluster":"SECRET"}}`), cluster(`{"typed_config":{}}`)},
		"extensions by name":            {cluster(`{"typed_per_filter_config":{"x":` + any("a.Wasm", `,"v":"SECRET"`) + `}}`), cluster(`{"typed_per_filter_config":{"x":` + any("a.Wasm", ``) + `}}`)},
		"a struct of another type":      {cluster(`{"typed_config":` + any("x.TypedStruct", `,"type_url":"t/a.Wasm","value":{"k":"SECRET"}`) + `}`), cluster(`{"typed_config":` + any("x.TypedStruct", `,"type_url":"t/a.Wasm","value":"[left out]"`) + `}`)},
		"a struct before its type":      {cluster(`{"typed_config":` + any("x.TypedStruct", `,"value":{"k":"SECRET"},"type_url":"t/a.TcpProxy"`) + `}`), cluster(`{"typed_config":` + any("x.TypedStruct", `,"value":"[left out]","type_url":"t/a.TcpProxy"`) + `}`)},
		"a filter of old":               {cluster(`{"name":"mixer","config":{"k":"SECRET"}}`), cluster(`{"name":"mixer","config":"[left out]"}`)},
		"metadata":                      {cluster(`{"filter_metadata":{"istio":{"workload":"w"},"mine":{"k":"SECRET"}}}`), cluster(`{"filter_metadata":{"istio":{"workload":"w"},"mine":"[left out]"}}`)},
		"a key with escapes":            {cluster(`{"pass\u0077ord":"SECRET"}`), cluster(`{"pass\u0077ord":"[left out]"}`)},
		"a PEM text":                    {cluster(`{"note":"-----BEGIN RSA PRIVATE KEY-----\nSECRET"}`), cluster(`{"note":"[left out]"}`)},
		"a bearer":                      {cluster(`{"list":["Bearer SECRETSECRETSECRET"]}`), cluster(`{"list":["[left out]"]}`)},
		"a password in an address":      {cluster(`{"uri":"https://u:SECRET@h/p"}`), cluster(`{"uri":"[left out]"}`)},
		"a file of an access log":       {cluster(`{"typed_config":` + any("x.FileAccessLog", `,"path":"/var/log/a","json_format":{"k":"SECRET"}`) + `}`), cluster(`{"typed_config":` + any("x.FileAccessLog", `,"path":"/var/log/a"`) + `}`)},
		"the environment of the node":   {`{"configs":[{"@type":"t/a.BootstrapConfigDump","bootstrap":{"node":{"id":"i","metadata":{"A":"SECRET","ISTIO_VERSION":"1"}},"static_resources":{"a":"SECRET"},"layered_runtime":1}}]}`, `{"configs":[{"@type":"t/a.BootstrapConfigDump","bootstrap":{"node":{"id":"i","metadata":{"ISTIO_VERSION":"1"}}}}]}`},
		"a string larger than memory":   {cluster(`{"a":"` + strings.Repeat(`\"`, maxText) + `","b":2}`), cluster(`{"a":"[left out]","b":2}`)},
		"a secret larger than memory":   {cluster(`{"token":"` + strings.Repeat(`\\\"`, maxText) + `","b":2}`), cluster(`{"token":"[left out]","b":2}`)},
		"all members":                   {`{"x":{"y":[1,{"z":"]}"}]},"w":"\\"}`, `{}`},
		"a configuration that was bad":  {cluster(`{"error_state":{"failed_configuration":{"a":"SECRET"}}}`), cluster(`{"error_state":"[left out]"}`)},
		"a header that a route expects": {cluster(`{"match":{"prefix":"/","headers":[{"name":"k","exact_match":"SECRET"}]}}`), cluster(`{"match":{"prefix":"/","headers":"[left out]"}}`)},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := filtered(c.in, configDump)
			if err != nil || out != c.want {
				t.Errorf("%v\n got %.400s\nwant %s", err, out, c.want)
			}
			if !json.Valid([]byte(out)) || strings.Contains(out, "SECRET") {
				t.Errorf("got %.400s", out)
			}
		})
	}
}

func TestFilterRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"":                                 "ends in its middle",
		"  ":                               "ends in its middle",
		"hello":                            "is no JSON",
		"<html>":                           "is no JSON",
		`{"configs":[`:                     "ends in its middle",
		`{"configs":["a`:                   "ends in its middle",
		`{"configs":[{"@type":"x","a":"b"`: "ends in its middle",
		`{"configs":[nan]}`:                "is no JSON",
		`{"configs" [1]}`:                  "is no JSON",
		`{"configs":[1 2]}`:                "is no JSON",
		`{"configs":[1}}`:                  "is no JSON",
		`{"configs":[1,]}`:                 "is no JSON",
		`{1:2}`:                            "is no JSON",
		`{"a":,}`:                          "is no JSON",
		`{"a":}`:                           "is no JSON",
		`{} {}`:                            "is no JSON",
		strings.Repeat("[", 300):           "deeper",
		`{"` + strings.Repeat("k", 9<<10):  "ends in its middle",
		`{"` + strings.Repeat("k", 9<<10) + `":1}`: "longer",
	} {
		out, err := filtered(in, configDump)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q; gave %.80q", in, err, want, out)
		}
	}
}

// endless gives a document of a size that no memory has.
type endless struct {
	head, body, tail string
	left             int64
	part             string
}

func (e *endless) Read(p []byte) (int, error) {
	for e.part == "" {
		switch {
		case e.head != "":
			e.part, e.head = e.head, ""
		case e.left > 0:
			e.part = e.body
			e.left -= int64(len(e.body))
		case e.tail != "":
			e.part, e.tail = e.tail, ""
		default:
			return 0, io.EOF
		}
	}
	n := copy(p, e.part)
	e.part = e.part[n:]
	return n, nil
}

// TestFilterMemory reads documents of 32 MB in the memory of a few strings.
func TestFilterMemory(t *testing.T) {
	const size = 32 << 20
	host := `{"endpoint":{"address":{"socket_address":{"address":"10.0.0.1","port_value":8080}},"hostname":"a"},"token":"SECRET"},`
	for name, in := range map[string]*endless{
		"a list that is kept": {head: `{"configs":[{"@type":"t/a.EndpointsConfigDump","x":[`, body: strings.Repeat(host, 500), tail: `1]}]}`},
		"a string":            {head: `{"configs":[{"@type":"t/a.EndpointsConfigDump","x":"`, body: strings.Repeat("a", 60000), tail: `"}]}`},
		"a part that is not":  {head: `{"configs":[{"@type":"t/a.SecretsConfigDump","x":[`, body: strings.Repeat(host, 500), tail: `1]}]}`},
		"blanks":              {head: `{`, body: strings.Repeat(" ", 60000), tail: `}`},
	} {
		t.Run(name, func(t *testing.T) {
			in.left = size
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			if _, err := io.Copy(io.Discard, newFilter(in, configDump)); err != nil {
				t.Fatal(err)
			}
			runtime.ReadMemStats(&after)
			if most := after.HeapSys - min(before.HeapSys, after.HeapSys); most > 8<<20 {
				t.Errorf("took %d MB of memory", most>>20)
			}
		})
	}
}

// FuzzFilter: no panic, what it gives as whole is JSON when what it got is, and
// nothing that stands under the key of a secret comes through.
func FuzzFilter(f *testing.F) {
	f.Add(`{"configs":[{"@type":"t/a.ClustersConfigDump","x":{"token":"SECRET","b":[1,{"a":"\\\""}]}}]}`)
	f.Add(`{"a":[1,2`)
	f.Fuzz(func(t *testing.T, in string) {
		for _, root := range []rule{configDump, ztunnel, serverInfo.rule, secrets} {
			out, err := filtered(in, root)
			if err == nil && json.Valid([]byte(in)) && !json.Valid([]byte(out)) {
				t.Errorf("%q became %q", in, out)
			}
			if err != nil && json.Valid([]byte(in)) && (strings.HasPrefix(strings.TrimSpace(in), "{")) && len(in) < maxKey && strings.Count(in, "[")+strings.Count(in, "{") < maxDepth {
				t.Errorf("%q: %v", in, err)
			}
		}
	})
}
