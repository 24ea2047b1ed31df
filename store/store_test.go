package store

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"whichbackend/analyze/record"
)

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// create makes an empty case in memory.
func create(t testing.TB) *Store {
	t.Helper()
	s, err := Create(":memory:")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestEndpoint(t *testing.T) {
	for _, text := range []string{"0.0.0.0:0", "255.255.255.255:65535", "10.0.0.1:80", "127.0.0.1:1", "128.0.0.0:0", "[::]:0", "[fd00::1]:65535", "[::ffff:10.0.0.1]:80", "[fe80::1%eth0]:22"} {
		a := ap(text)
		if got := readEndpoint(endpoint(a)); got != a {
			t.Errorf("%s comes back as %s", a, got)
		}
	}
	if endpoint(netip.AddrPort{}) != nil || readEndpoint(nil).IsValid() {
		t.Error("no address is an address")
	}
	if endpoint(ap("10.0.0.1:80")).(int64) <= endpoint(ap("10.0.0.0:65535")).(int64) {
		t.Error("a network is no range")
	}
	if got := readEndpoint(socketEnd(netip.AddrPortFrom(netip.Addr{}, 8080), "fd00:10:244")); got.IsValid() || got.Port() != 8080 {
		t.Error("a cut address loses its port:", got)
	}
}

// TestLines reads every line of texts of all shapes, in pieces of all sizes.
func TestLines(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 3*blockSize/16)
	var many strings.Builder
	for i := range 20000 {
		fmt.Fprintf(&many, "line %d of a text that needs several blocks\n", i+1)
	}
	for name, text := range map[string]string{
		"empty": "", "one": "a\n", "no end": "a\nb", "only no end": "a", "blank lines": "\n\n\n", "CRLF": "a\r\nb\r\n", "CR inside": "a\rb\n", "CRLF without end": "a\r\nb\r",
		"many": many.String(), "long": long + "\n", "long without end": long, "around long": "a\n" + long + "\nb\n" + long + long + "\nc", "border": strings.Repeat("x", blockSize-1) + "\n" + "y\n",
		"past the border": strings.Repeat("x", blockSize) + "\ny\n", "CR at the border": strings.Repeat("x", blockSize-1) + "\r\ny\n",
	} {
		s := create(t)
		for artifact, piece := range []int{1 << 20, 1000, blockSize} {
			w := s.Text(artifact + 1)
			for rest := text; rest != ""; {
				n := min(piece, len(rest))
				if _, err := w.Write([]byte(rest[:n])); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Finish(nil, nil, nil); err != nil {
			t.Fatal(err)
		}
		var want []string
		if text != "" {
			want = strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		}
		for artifact := 1; artifact <= 3; artifact++ {
			linesOf(t, fmt.Sprintf("%s, artifact %d", name, artifact), s, artifact, want)
			var b bytes.Buffer
			if err := s.Copy(artifact, &b); err != nil || b.String() != text {
				t.Errorf("%s: the copy differs, %v", name, err)
			}
			if whole, err := s.Whole(artifact, 1<<30); err != nil || string(whole) != text {
				t.Errorf("%s: the whole differs, %v", name, err)
			}
		}
	}
}

func linesOf(t *testing.T, name string, s *Store, artifact int, want []string) {
	t.Helper()
	step := max(len(want)/50, 1)
	for i := 0; i < len(want); i += step {
		got, err := s.Lines(artifact, i+1, 2)
		if err != nil {
			t.Fatal(err)
		}
		if n := min(2, len(want)-i); len(got) != n {
			t.Fatalf("%s: %d lines from %d, want %d", name, len(got), i+1, n)
		}
		for k, line := range got {
			full := want[i+k]
			if len(full) > maxQuote {
				full = full[:maxQuote]
			} else {
				full = strings.TrimSuffix(full, "\r")
			}
			if line != full {
				t.Errorf("%s: line %d is %.60q (%d bytes), want %.60q (%d)", name, i+k+1, line, len(line), full, len(full))
			}
		}
	}
	if got, err := s.Lines(artifact, len(want)+1, 1); err != nil || len(got) != 0 {
		t.Errorf("%s: behind the end stands %.60q, %v", name, got, err)
	}
}

// full is a record in which every field has a value of its own, so that none
// can be lost or mixed up unseen.
func full(v reflect.Value, n *int) {
	*n++
	switch v.Interface().(type) {
	case netip.AddrPort:
		v.Set(reflect.ValueOf(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(*n >> 8), byte(*n)}), uint16(*n))))
		return
	case netip.Addr:
		v.Set(reflect.ValueOf(netip.MustParseAddr(fmt.Sprintf("fd00::%x", *n))))
		return
	case netip.Prefix:
		v.Set(reflect.ValueOf(netip.PrefixFrom(netip.MustParseAddr(fmt.Sprintf("fd00::%x", *n)), 64)))
		return
	case time.Time:
		v.Set(reflect.ValueOf(time.Unix(int64(*n), 5).UTC()))
		return
	case []string:
		v.Set(reflect.ValueOf([]string{fmt.Sprint("a", *n), "b"}))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			full(v.Field(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			full(v.Index(i), n)
		}
	case reflect.String:
		v.SetString(fmt.Sprint("text ", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int8, reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
		if v.Kind() == reflect.Int8 {
			v.SetInt(int64(*n % 100))
		}
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*n))
		if v.Kind() == reflect.Uint8 {
			v.SetUint(uint64(*n % 250))
		}
	case reflect.Float64:
		v.SetFloat(float64(*n) / 4)
	default:
		panic("no value for " + v.Kind().String())
	}
}

func filled[T any](n *int) *T {
	var x T
	full(reflect.ValueOf(&x).Elem(), n)
	return &x
}

// TestRoundTrip writes records of every kind, full and empty, and reads them
// back equal.
func TestRoundTrip(t *testing.T) {
	s := create(t)
	n := 0
	section := record.Section{ID: 1, Artifact: 1}
	k, t1, v, o, a, reading, p := filled[record.Socket](&n), filled[record.Translation](&n), filled[record.Service](&n), filled[record.Owner](&n), filled[record.Address](&n), filled[record.Reading](&n), filled[record.Problem](&n)
	k.LocalCut, k.RemoteCut = "", ""
	t1.Tier, t1.Behind, t1.Relay, t1.Requests = "", record.Pos{}, false, 0 // of captures, below
	k.Section, t1.Section, v.Section, o.Section, a.Section, reading.Section, p.Section = 1, 1, 1, 1, 1, 1, 1
	for i := range v.Backends {
		v.Backends[i].Pos.Section = 1
	}
	cut := record.Socket{Pos: record.Pos{Section: 1, Line: 2}, LocalCut: "fd00:10:244:1:aaa", Local: netip.AddrPortFrom(netip.Addr{}, 80), Remote: ap("[fd00::1]:90")}
	s.Socket(k)
	s.Socket(&cut)
	s.Translation(t1)
	s.Translation(&record.Translation{Pos: record.Pos{Section: 1}})
	s.Service(v)
	s.Service(&record.Service{Pos: record.Pos{Section: 1}, Backends: []record.Backend{{Weight: -1, Active: -1}}})
	s.Service(&record.Service{Pos: record.Pos{Section: 1}})
	s.Owner(o)
	s.Owner(&record.Owner{Pos: record.Pos{Section: 1}})
	s.Address(a)
	s.Reading(reading)
	s.Problem(p)
	s.Missing(0, Missing{Host: "h", What: "w", Because: "b", Detail: "d"})
	s.SetMeta("key", "value")
	full(reflect.ValueOf(&section.Scope).Elem(), &n)
	artifact := record.Artifact{ID: 1, Path: "p", Scope: section.Scope, Size: 7, SHA256: "s", Recorded: time.Unix(3, 4).UTC(), Truncated: true}
	section.Line, section.Format, section.Tool, section.Command, section.Lines, section.Understood, section.Ignored, section.Unknown = 1, "f", "t", "c", 6, 1, 2, 3
	input := Input{Path: "in", SHA256: "x", Created: 9}
	if err := s.Finish([]Input{input}, []*record.Artifact{&artifact}, []*record.Section{&section}); err != nil {
		t.Fatal(err)
	}
	same := func(what string, got, want any, opts ...cmp.Option) {
		t.Helper()
		opts = append(opts, cmpopts.EquateComparable(netip.AddrPort{}, netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty())
		if d := cmp.Diff(want, got, opts...); d != "" {
			t.Errorf("%s (- written, + read):\n%s", what, d)
		}
	}
	noPacket := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Packet" }, cmp.Ignore()) // a listing has none
	var sockets []record.Socket
	if err := s.Sockets(func(k *record.Socket) error { sockets = append(sockets, *k); return nil }); err != nil {
		t.Fatal(err)
	}
	// The resolver has no use for these.
	same("sockets", sockets, []record.Socket{*k, cut}, noPacket, cmpopts.IgnoreFields(record.Socket{}, "Device", "RecvQ", "Timer"))
	var ts []record.Translation
	if err := s.Translations(func(t *record.Translation) error { ts = append(ts, *t); return nil }); err != nil {
		t.Fatal(err)
	}
	same("translations", ts, []record.Translation{*t1, {Pos: record.Pos{Section: 1}}}, noPacket, cmpopts.IgnoreFields(record.Translation{}, "Mark", "Packets", "Bytes"))
	services, err := s.Services()
	same("services", services, []record.Service{*v, {Pos: record.Pos{Section: 1}, Backends: []record.Backend{{Weight: -1, Active: -1}}}, {Pos: record.Pos{Section: 1}}}, noPacket)
	owners, err2 := s.Owners()
	same("owners", owners, []record.Owner{*o, {Pos: record.Pos{Section: 1}}})
	addresses, err3 := s.Addresses()
	same("addresses", addresses, []record.Address{*a}, noPacket)
	readings, err10 := s.Readings()
	same("readings", readings, []record.Reading{*reading}, noPacket)
	problems, err4 := s.Problems(1)
	same("problems", problems, []record.Problem{*p})
	missing, err5 := s.AllMissing()
	same("missing", missing, []Missing{{Host: "h", What: "w", Because: "b", Detail: "d"}})
	inputs, err6 := s.Inputs()
	same("inputs", inputs, []Input{input})
	artifacts, err7 := s.Artifacts()
	same("artifacts", artifacts, []record.Artifact{artifact})
	sections, err8 := s.Sections()
	same("sections", sections, []record.Section{section})
	value, err9 := s.Meta("key")
	same("meta", value, "value")
	for _, err := range []error{err, err2, err3, err4, err5, err6, err7, err8, err9, err10} {
		if err != nil {
			t.Error(err)
		}
	}
}

// TestLookUps finds records by their endpoints, in both address families.
func TestLookUps(t *testing.T) {
	s := create(t)
	for _, six := range []bool{false, true} {
		at := func(n int) netip.AddrPort {
			if six {
				return ap(fmt.Sprintf("[fd00::%d]:80", n))
			}
			return ap(fmt.Sprintf("10.0.0.%d:80", n))
		}
		for i := range 100 {
			s.Socket(&record.Socket{Local: at(i), Remote: at(i + 100)})
			s.Translation(&record.Translation{Via: record.ViaConntrack, Before: record.Tuple{Source: at(i), Destination: at(200)}, After: record.Tuple{Source: at(i), Destination: at(i % 10)}})
		}
		s.Translation(&record.Translation{Via: record.ViaConntrack, Before: record.Tuple{Source: at(1), Destination: at(201)}, After: record.Tuple{Source: at(99), Destination: at(50)}})
	}
	if err := s.Finish(nil, nil, nil); err != nil {
		t.Fatal(err)
	}
	for _, prefix := range []string{"10.0.0.%d:80", "[fd00::%d]:80"} {
		at := func(n int) netip.AddrPort { return ap(fmt.Sprintf(prefix, n)) }
		local, err := s.SocketsLocal(at(7))
		remote, err2 := s.SocketsRemote(at(107))
		from, err3 := s.TranslationsFrom(at(7))
		served, err4 := s.TranslationsServed(at(7))
		sources, err5 := s.Sources(at(1).Addr())
		if err != nil || err2 != nil || err3 != nil || err4 != nil || err5 != nil {
			t.Fatal(err, err2, err3, err4, err5)
		}
		if len(local) != 1 || len(remote) != 1 || local[0] != remote[0] || len(from) != 1 || len(served) != 10 || len(sources) != 1 || sources[0] != at(1) {
			t.Errorf("%s: %d %d %d %d %v", at(7), len(local), len(remote), len(from), len(served), sources)
		}
	}
	made, whole, err := s.Rewritten([]uint16{15001})
	if err != nil || !whole || len(made) != 2 || made[ap("10.0.0.99:80")][0] != ap("10.0.0.1:80") {
		t.Errorf("%v %v %v", made, whole, err)
	}
	if _, whole, err := s.Rewritten([]uint16{80}); err != nil || whole {
		t.Error("entries that lead to the port of a proxy go unseen", err)
	}
}

// TestOpen refuses what is no finished case of this version.
func TestOpen(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a ? # % case.db")
	s, err := Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Create(file); err == nil {
		t.Error("an existing file is taken over")
	}
	if _, err := Open(file); err == nil {
		t.Error("an unfinished case opens")
	}
	if err := s.Finish(nil, nil, nil); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
	s, err = Open(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.db.Exec("INSERT INTO meta VALUES ('a', 1)"); err == nil {
		t.Error("it can be written to")
	}
	s.Close()
	text, _ := os.ReadFile(file)
	if err := os.WriteFile(file, text[:len(text)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file); !IsDamage(err) {
		t.Error("cut by a byte: ", err)
	}
	for _, no := range []string{dir, filepath.Join(dir, "gone"), os.DevNull} {
		if IsDatabase(no) {
			t.Error(no, " is a database")
		}
	}
}

func TestSeveral(t *testing.T) {
	for statement, want := range map[string]bool{
		"SELECT 1": false, "SELECT 1;": false, "SELECT 1 ; \n-- x": false, "SELECT 1; /* x */ ;": false, "SELECT ';'": false, "SELECT 'it''s;'": false, `SELECT ";" AS "a;b"`: false,
		"SELECT [a;b] FROM c": false, "SELECT 1 -- ; x": false, "SELECT 1 /* ; */": false, "SELECT '": false, "": false,
		"SELECT 1; SELECT 2": true, "SELECT ';'; x": true, "SELECT 1;x": true, "SELECT 1 -- '\n; SELECT 2": true, "SELECT /* ' */ 1; SELECT 2": true,
	} {
		if got := several(statement); got != want {
			t.Errorf("%s: %v", statement, got)
		}
	}
}

// TestFlowRoundTrip writes what captures tell, full and empty, and reads it back.
func TestFlowRoundTrip(t *testing.T) {
	s := create(t)
	n := 0
	f, x, i, u := filled[record.Flow](&n), filled[record.Translation](&n), filled[record.Interface](&n), filled[record.Undecoded](&n)
	f.Section, x.Section, i.Section, u.Section = 1, 1, 1, 1
	x.Via, x.Timeout = record.ViaCapture, -1
	empty, view := record.Flow{Pos: record.Pos{Section: 1, Packet: 9}}, record.Flow{Pos: record.Pos{Section: 1, Packet: 10}, Tuple: f.Tuple}
	view.Client.Begin, view.Client.BeginLength, view.Server.IPID = 1<<63+5, 64, 0xfffe
	view.Server.Segments = []record.Segment{{Sequence: 1<<31 + 1, Length: 2, Hash: 1<<63 + 3, Stamp: 4, Packet: 5}, {Packet: 1 << 31}}
	for _, f := range []*record.Flow{f, &empty, &view} {
		s.Flow(f)
	}
	s.Conversation([]int{f.ID, view.ID})
	s.Translation(x)
	s.Translation(&record.Translation{Pos: record.Pos{Section: 1}, Via: record.ViaCapture, Timeout: -1})
	s.Interface(i)
	s.Interface(&record.Interface{Pos: record.Pos{Section: 1}})
	s.Undecoded(u)
	if err := s.Finish(nil, nil, nil); err != nil {
		t.Fatal(err)
	}
	same := func(what string, got, want any, err error, ignore ...cmp.Option) {
		t.Helper()
		opts := append(ignore, cmpopts.EquateComparable(netip.AddrPort{}, netip.Addr{}), cmpopts.EquateEmpty())
		if d := cmp.Diff(want, got, opts...); d != "" || err != nil {
			t.Errorf("%s: %v (- written, + read):\n%s", what, err, d)
		}
	}
	known := cmpopts.IgnoreFields(record.Flow{}, "Line", "Pointer", "Exchanges")
	halves := cmpopts.EquateComparable(record.Segment{})
	a, b, c := Flow{*f, 1}, Flow{empty, 2}, Flow{view, 1}
	var all []Flow
	err := s.Flows(func(f *Flow) error { all = append(all, *f); return nil })
	same("flows", all, []Flow{a, b, c}, err, known, halves)
	from, err := s.FlowsFrom(f.Tuple.Source)
	same("from", from, []Flow{a, c}, err, known, halves)
	to, err := s.FlowsTo(f.Tuple.Destination)
	same("to", to, []Flow{a, c}, err, known, halves)
	of, err := s.FlowsOf(1)
	same("views", of, []Flow{a, c}, err, known, halves)
	of, err = s.FlowsOf(2)
	same("alone", of, []Flow{b}, err, known, halves)
	at, err := s.FlowAt(1, 10)
	same("at", at, &c, err, known, halves)
	if at, err := s.FlowAt(1, 11); at != nil || err != nil {
		t.Errorf("a flow at packet 11: %v, %v", at, err)
	}
	told := cmpopts.IgnoreFields(record.Translation{}, "Line", "Pointer", "Behind.Line", "Behind.Pointer", "Assured", "Offloaded", "Event", "Zone", "Mark", "Packets", "Bytes",
		"Service", "Selects", "Backend", "Loopback", "Ingress", "Proxied", "Cluster", "Flags", "Peer", "Tunnel", "ID", "RequestID")
	crossings, err := s.Crossings()
	same("crossings", crossings, []record.Translation{{Pos: record.Pos{Section: 1}, Via: record.ViaCapture, Timeout: -1}, *x}, err, told)
	crossings, err = s.CrossingsFrom(x.Before.Source)
	same("crossings from", crossings, []record.Translation{*x}, err, told)
	crossings, err = s.CrossingsTo(x.After.Source)
	same("crossings to", crossings, []record.Translation{*x}, err, told)
	interfaces, err := s.Interfaces()
	same("interfaces", interfaces, []record.Interface{{Pos: record.Pos{Section: 1}}, *i}, err, cmpopts.IgnoreFields(record.Interface{}, "Line", "Pos.Packet", "Pointer"))
	undecoded, err := s.AllUndecoded()
	same("undecoded", undecoded, []record.Undecoded{*u}, err, cmpopts.IgnoreFields(record.Undecoded{}, "Line", "Pointer"))
}
