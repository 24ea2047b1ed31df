package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"whichbackend/analyze/pcap"
	"whichbackend/analyze/resolve"
)

// only asks for everything in a case, which must be one connection.
func only(t testing.TB, inputs ...string) *resolve.Connection {
	t.Helper()
	r := cli(t, append(append([]string{"ask"}, inputs...), "-o", "json", "--no-cache")...)
	var a resolve.Answer
	if err := json.Unmarshal([]byte(r.out), &a); err != nil {
		t.Fatal(err, r.stderr)
	}
	if len(a.Connections) != 1 {
		t.Fatalf("%d connections, want one: %s", len(a.Connections), r.out)
	}
	return &a.Connections[0]
}

func backendsOf(c *resolve.Connection) string {
	var list []string
	for _, b := range c.Backends {
		list = append(list, b.Address)
	}
	return strings.Join(list, " ")
}

// TestCaptureAlone answers one capture without any listing.
func TestCaptureAlone(t *testing.T) {
	p := newTape(t)
	p.connect(theBackend)
	whole := p.bytes()
	for _, packed := range []string{whole, string(packGzip(t, []byte(whole))), string(packZstd(t, []byte(whole)))} {
		c := only(t, write(t, t.TempDir(), "capture", packed))
		if c.Verdict != resolve.Observed || backendsOf(c) != theBackend || c.Client.Address != theClient || c.Service.Address != theVIP || c.State != "ESTABLISHED" {
			t.Errorf("%+v", c)
		}
		if h := c.Handshake; h == nil || h.Outcome != "answered" || h.By != theVIP || h.End != "open" || h.SYNs != 1 || h.Took != "300µs" {
			t.Errorf("%+v", h)
		}
		if len(c.Captures) != 2 || c.Captures[0].Device != "eth0" || c.Captures[1].Device != "eth1" || c.Captures[1].Sent != 18 || c.Captures[1].Received != 19 {
			t.Errorf("%+v", c.Captures)
		}
		e := c.Hops[0].Evidence
		if len(e) != 2 || e[0].Packet != 1 || e[1].Packet != 2 || e[1].Time != "2026-11-23T08:14:00.0001Z" || !strings.Contains(e[1].Text, "eth1 "+theClient+" > "+theBackend+": SYN, seq 3000000001") {
			t.Errorf("%+v", e)
		}
	}
	if r := cliIn(t, whole, "ask", "-"); r.code != 0 || !strings.Contains(r.out, "backend  "+theBackend) {
		t.Errorf("from standard input: %d %s%s", r.code, r.out, r.stderr)
	}
	// A capture that was cut off still says what it holds.
	cut := write(t, t.TempDir(), "cut.pcapng", whole[:len(whole)-20])
	if c := only(t, cut); c.Verdict != resolve.Observed {
		t.Errorf("%+v", c)
	}
	if out := must(t, 0, "inspect", cut, "-o", "wide").out; !strings.Contains(out, "truncated") || !strings.Contains(out, "packet 9") {
		t.Error(out)
	}
}

// TestCaptureProves: a connection table alone leaves it observed; a capture of
// the backend's answer behind the NAT is another witness.
func TestCaptureProves(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "node1/conntrack.txt", conntrackText)
	if c := only(t, dir); c.Verdict != resolve.Observed {
		t.Fatalf("%+v", c)
	}
	p := newTape(t)
	p.connect(theBackend)
	write(t, dir, "node1/any.pcapng", p.bytes())
	c := only(t, dir)
	if c.Verdict != resolve.Proven || backendsOf(c) != theBackend || !strings.Contains(c.Reason, "capture in node1 shows the same connection behind it, and the backend's answer") || c.Hops[0].Via != "conntrack" {
		t.Errorf("%+v", c)
	}
	// Of a backend that never answered no capture is a witness.
	p = newTape(t)
	p.pass(theClient, theVIP, theClient, theBackend, "S", 3000000001, 0, false, "")
	write(t, dir, "node1/any.pcapng", p.bytes())
	if c := only(t, dir); c.Verdict != resolve.Observed || backendsOf(c) != theBackend {
		t.Errorf("%+v", c)
	}
}

// TestCaptureContradicts: a table and captures that name different backends are
// a conflict, unless the captures show an earlier connection of the same
// addresses.
func TestCaptureContradicts(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "node1/conntrack.txt", conntrackText)
	write(t, dir, "node1/pods/default/client/netstat.txt", netstatText)
	p := newTape(t)
	p.connect("10.244.0.7:80")
	write(t, dir, "node1/any.pcapng", p.bytes())
	c := only(t, dir)
	if c.Verdict != resolve.Conflicted || backendsOf(c) != theBackend+" 10.244.0.7:80" || len(c.Conflicts) != 1 || len(c.Conflicts[0].Claims) != 2 || c.Conflicts[0].Claims[1].Evidence[0].Packet == 0 {
		t.Errorf("%+v", c)
	}
	p = newTape(t)
	p.connect("10.244.0.7:80")
	p.close("10.244.0.7:80")
	write(t, dir, "node1/any.pcapng", p.bytes())
	for _, more := range []string{"", "node1/pods/default/client/netstat.txt"} {
		if more != "" {
			noError(t, os.Remove(filepath.Join(dir, more))) // with the table alone it is the same
		}
		var a resolve.Answer
		noError(t, json.Unmarshal([]byte(cli(t, "ask", dir, "-o", "json").out), &a))
		states := map[string]string{}
		for _, c := range a.Connections {
			states[c.State] = string(c.Verdict) + " " + backendsOf(&c)
		}
		if len(a.Connections) != 2 || states["ESTABLISHED"] != "observed "+theBackend || states["TIME_WAIT"] != "observed 10.244.0.7:80" {
			t.Errorf("without %q: %v", more, states)
		}
	}
}

// TestHandshakes: how a connection began and ended, and what that says of who
// serves it.
func TestHandshakes(t *testing.T) {
	const x, y = 3000000001, 2000000001
	syn := func(p *tape) { p.pass(theClient, theVIP, theClient, theBackend, "S", x, 0, false, "") }
	for name, c := range map[string]struct {
		play          func(p *tape)
		verdict       resolve.Verdict
		outcome, end  string
		reason, state string
	}{
		"refused": {func(p *tape) {
			syn(p)
			p.pass(theClient, theVIP, theClient, theBackend, "RA", 0, x+1, true, "")
		}, resolve.None, "refused", "", "refused it", "CLOSE"},
		"sent three times": {func(p *tape) {
			syn(p)
			p.at = p.at.Add(time.Second)
			syn(p)
			p.at = p.at.Add(2 * time.Second)
			syn(p)
		}, resolve.None, "unanswered", "", "never answered: the SYN was sent 3 times", "SYN_SENT"},
		"sent once": {syn, resolve.Observed, "unanswered", "", "captures show it behind the NAT", "SYN_SENT"},
		"unreachable": {func(p *tape) {
			p.tcp(seen{"eth0", theClient, theVIP, 64, "S", x, 0, ""})
			p.unreachable("eth0", "10.244.0.1", theClient, theVIP, x)
		}, resolve.None, "unreachable", "", "10.244.0.1 says that it is a closed port", "CLOSE"},
		"reset by the server": {func(p *tape) {
			p.connect(theBackend)
			p.pass(theClient, theVIP, theClient, theBackend, "R", y+20, 0, true, "")
		}, resolve.Observed, "answered", "reset by server", "", "CLOSE"},
		"reset by the client": {func(p *tape) {
			p.connect(theBackend)
			p.pass(theClient, theVIP, theClient, theBackend, "R", x+19, 0, false, "")
		}, resolve.Observed, "answered", "reset by client", "", "CLOSE"},
		"closed": {func(p *tape) { p.connect(theBackend); p.close(theBackend) }, resolve.Observed, "answered", "closed", "", "TIME_WAIT"},
		"the answer is lost": {func(p *tape) {
			syn(p)
			p.tcp(seen{"eth1", theBackend, theClient, 64, "SA", y, x + 1, ""})
			p.at = p.at.Add(time.Second)
			syn(p)
		}, resolve.Observed, "answered", "", "a capture behind it shows an answer, which did not reach the client's side", ""},
		"the answer is not captured": {func(p *tape) {
			syn(p)
			p.tcp(seen{"eth1", theBackend, theClient, 64, "SA", y, x + 1, ""})
		}, resolve.Observed, "answered", "open", "captures show it behind the NAT", ""},
	} {
		p := newTape(t)
		c.play(p)
		got := only(t, write(t, t.TempDir(), "c.pcapng", p.bytes()))
		if got.Verdict != c.verdict || got.Handshake == nil || got.Handshake.Outcome != c.outcome || got.Handshake.End != c.end || !strings.Contains(got.Reason, c.reason) || c.state != "" && got.State != c.state {
			t.Errorf("%s: %s %s (%s), handshake %+v", name, got.Verdict, got.State, got.Reason, got.Handshake)
			continue
		}
		if h := got.Handshake; name == "refused" && (h.By != theBackend || h.Took != "100µs" || h.Evidence[0].Time != "2026-11-23T08:14:00.0002Z") {
			t.Errorf("refused: %+v", h)
		}
		if n := len(got.Handshake.Evidence); n != 1 || got.Handshake.Evidence[0].Packet == 0 || got.Handshake.Evidence[0].Text == "" {
			t.Errorf("%s: evidence %+v", name, got.Handshake.Evidence)
		}
	}
}

// TestMidstream: a connection whose begin was not captured is one connection
// with its listings, also where its ports speak for the wrong end.
func TestMidstream(t *testing.T) {
	const masked, backend = "10.244.0.1:2000", "10.244.0.6:8080" // the lower port is the client's
	p := newTape(t)
	for i := range uint32(5) {
		p.pass(theClient, theVIP, masked, backend, "A", 3000000001+i*18, 2000000001+i*19, false, fmt.Sprintf("request number %03d", i))
		p.pass(theClient, theVIP, masked, backend, "A", 2000000001+i*19, 3000000019+i*18, true, fmt.Sprintf("an answer, number %d", i))
	}
	dir := t.TempDir()
	write(t, dir, "node1/any.pcapng", p.bytes())
	table := "tcp      6 86374 ESTABLISHED src=10.244.0.13 dst=10.96.72.53 sport=52372 dport=80 src=10.244.0.6 dst=10.244.0.1 sport=8080 dport=2000 [ASSURED] mark=0 use=1\n"
	write(t, dir, "node1/conntrack.txt", table)
	c := only(t, dir)
	if c.Verdict != resolve.Proven || backendsOf(c) != backend || len(c.Captures) != 2 || c.Captures[1].Source != masked || c.Captures[1].Sent != 90 {
		t.Errorf("%+v", c)
	}
}

// TestOneSYN: a SYN without an answer that was not sent again proves nothing,
// and a client that goes on was answered, whatever the capture saw.
func TestOneSYN(t *testing.T) {
	p := newTape(t)
	p.tcp(seen{"eth0", theClient, theVIP, 64, "S", 3000000001, 0, ""})
	if c := only(t, write(t, t.TempDir(), "c.pcapng", p.bytes())); c.Verdict != resolve.Unknown || c.State != "SYN_SENT" || !strings.Contains(c.Reason, "its one SYN has no answer") {
		t.Errorf("%+v", c)
	}
	p = newTape(t)
	p.tcp(seen{"eth0", theClient, theVIP, 64, "S", 3000000001, 0, ""})
	p.tcp(seen{"eth0", theClient, theVIP, 64, "A", 3000000002, 9, "hello"})
	p.tcp(seen{"eth0", theClient, theVIP, 64, "FA", 3000000007, 9, ""})
	if c := only(t, write(t, t.TempDir(), "c.pcapng", p.bytes())); c.Verdict != resolve.Unknown || c.Handshake != nil || c.State != "ESTABLISHED" {
		t.Errorf("%+v", c)
	}
}

// unreachable writes an ICMP error (port unreachable) about a TCP packet.
func (p *tape) unreachable(device, by, from, to string, seq uint32) {
	inner := newTape(p.t)
	inner.tcp(seen{"x", from, to, 63, "S", seq, 0, ""})
	r, err := pcap.Open(strings.NewReader(inner.bytes()))
	noError(p.t, err)
	packet, err := r.Next()
	noError(p.t, err)
	l := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 3)}
	p.packet(device, 64, netip.MustParseAddr(by), netip.MustParseAddrPort(from).Addr(), layers.IPProtocolICMPv4, l, packet.Data[:28])
}

// TestCaptureNames: names that a capture itself gives to addresses are shown
// where nothing else names them, and no control character gets through.
func TestCaptureNames(t *testing.T) {
	p := newTape(t)
	p.w.Names([]pcap.Name{{Addr: netip.MustParseAddr("10.96.72.53"), Name: "shop.example"}, {Addr: netip.MustParseAddr("10.244.0.6"), Name: "evil\x1b[31m"}})
	p.connect(theBackend)
	r := must(t, 0, "ask", write(t, t.TempDir(), "c.pcapng", p.bytes()))
	if !strings.Contains(r.out, "shop.example "+theVIP) || strings.Contains(r.out, "\x1b") {
		t.Errorf("%q", r.out)
	}
}

// TestStory writes the packets of one connection and reads them with a reader
// of its own.
func TestStory(t *testing.T) {
	dir := t.TempDir()
	p := newTape(t)
	p.connect(theBackend)
	p.tcp(seen{"eth0", "10.244.0.99:4000", theVIP, 64, "S", 77777777, 0, ""})
	write(t, dir, "node1/conntrack.txt", conntrackText)
	write(t, dir, "node1/any.pcapng", p.bytes())
	write(t, dir, "node1/pods/default/nginx-1/eth0.pcapng", func() string {
		p := newTape(t)
		p.tcp(seen{"eth0", theClient, theBackend, 63, "S", 3000000001, 0, ""})
		p.tcp(seen{"eth0", theBackend, theClient, 64, "SA", 2000000001, 3000000002, ""})
		return p.bytes()
	}())
	out := filepath.Join(t.TempDir(), "story.pcapng")
	must(t, 0, "pcap", dir, "--from", theClient, "-o", out)
	info, err := os.Stat(out)
	noError(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	text, err := os.ReadFile(out)
	noError(t, err)
	r, err := pcap.Open(strings.NewReader(string(text)))
	noError(t, err)
	packets, last := 0, int64(0)
	for {
		p, err := r.Next()
		if err != nil {
			break
		}
		if packets++; p.Time < last {
			t.Errorf("packet %d is earlier than the one before", packets)
		}
		last = p.Time
	}
	if packets != 12 || r.Truncated() || len(r.Remarks()) > 0 {
		t.Errorf("%d packets, %v", packets, r.Remarks())
	}
	var names []string
	for _, i := range r.Interfaces() {
		names = append(names, i.Name)
	}
	if got := strings.Join(names, ", "); got != "node1/any.pcapng eth0, node1/any.pcapng eth1, node1/pods/default/nginx-1/eth0.pcapng eth0" {
		t.Error(got)
	}
	var said []string
	for _, c := range r.Comments() {
		said = append(said, c.Text)
	}
	all := strings.Join(said, "\n")
	if !strings.Contains(all, "proven") || strings.Count(all, "here as "+theClient+" -> "+theBackend) != 2 || !strings.Contains(all, "conntrack.txt:1") {
		t.Error(all)
	}
	// From a database the packets are read from where they were.
	db := filepath.Join(t.TempDir(), "case.db")
	must(t, 0, "load", dir, "--db", db)
	again := filepath.Join(t.TempDir(), "again.pcapng")
	must(t, 0, "pcap", db, "--from", theClient, "-o", again)
	if b, _ := os.ReadFile(again); len(b) != len(text) {
		t.Errorf("%d bytes from the database, %d from the bundle", len(b), len(text))
	}
	write(t, dir, "node1/more.txt", "x")
	if r := must(t, 5, "pcap", db, "--from", theClient, "-o", again); !strings.Contains(r.stderr, "has changed since it was loaded") {
		t.Error(r.stderr)
	}
	// What no capture shows leaves no file.
	none := filepath.Join(t.TempDir(), "none.pcapng")
	if r := must(t, 4, "pcap", smallCase(t), "-o", none); !strings.Contains(r.stderr, "no capture in the bundle shows") {
		t.Error(r.stderr)
	}
	if _, err := os.Stat(none); err == nil {
		t.Error("a file without packets")
	}
	must(t, 2, "pcap", dir)
}

// TestProxyAnnounces: a PROXY header names the client of an upstream
// connection; other connections at the same time do not confuse it.
func TestProxyAnnounces(t *testing.T) {
	p := newTape(t)
	const proxy = "10.0.0.1:8080"
	type leg struct{ client, own, backend string }
	legs := []leg{{"10.9.0.1:4001", "10.0.0.1:5001", "10.0.1.1:80"}, {"10.9.0.2:4002", "10.0.0.1:5002", "10.0.1.2:80"}, {"10.9.0.3:4003", "10.0.0.1:5003", "10.0.1.1:80"}}
	shake := func(device, from, to string, x, y uint32) {
		p.id++
		p.tcp(seen{device, from, to, 64, "S", x, 0, ""})
		p.tcp(seen{device, to, from, 64, "SA", y, x + 1, ""})
		p.tcp(seen{device, from, to, 64, "A", x + 1, y + 1, ""})
	}
	for i, l := range legs {
		shake("eth0", l.client, proxy, 1_000_000_000+uint32(i)*7777777, 2_000_000_000+uint32(i)*5555555)
	}
	for i, l := range legs {
		x, y := 1_500_000_000+uint32(i)*3333333, 2_500_000_000+uint32(i)*4444444
		shake("eth1", l.own, l.backend, x, y)
		c := netip.MustParseAddrPort(l.client)
		p.tcp(seen{"eth1", l.own, l.backend, 64, "A", x + 1, y + 1, fmt.Sprintf("PROXY TCP4 %s 10.0.0.1 %d 8080\r\n", c.Addr(), c.Port())})
	}
	var a resolve.Answer
	noError(t, json.Unmarshal([]byte(must(t, 0, "ask", write(t, t.TempDir(), "c.pcapng", p.bytes()), "-o", "json").out), &a))
	if len(a.Connections) != len(legs) {
		t.Fatalf("%d connections", len(a.Connections))
	}
	for i, c := range a.Connections {
		if c.Client.Address != legs[i].client || backendsOf(&c) != legs[i].backend || c.Verdict != resolve.Observed || !strings.Contains(c.Reason, "the proxy announces the client to it") || len(c.Mechanisms) != 0 || c.Hops[0].Mechanism != "proxy" {
			t.Errorf("%+v", c)
		}
	}
}

// TestCaptureEliminates: a capture at the backend's side tells which of a
// service's backends a client with a socket of its own reached, unless the
// client's port leads to two of them.
func TestCaptureEliminates(t *testing.T) {
	const endpoints = `kind: List
apiVersion: v1
items:
- {apiVersion: v1, kind: Service, metadata: {name: nginx, namespace: default}, spec: {clusterIP: 10.96.72.53, type: ClusterIP, ports: [{port: 80, targetPort: 80, protocol: TCP}]}}
- {apiVersion: v1, kind: Endpoints, metadata: {name: nginx, namespace: default}, subsets: [{addresses: [{ip: 10.244.0.6}, {ip: 10.244.0.7}], ports: [{port: 80, protocol: TCP}]}]}
`
	dir := t.TempDir()
	write(t, dir, "cluster/objects.yaml", endpoints)
	write(t, dir, "node1/pods/default/client/netstat.txt", netstatText)
	if c := only(t, dir); c.Verdict != resolve.Candidates || len(c.Backends) != 2 {
		t.Fatalf("%+v", c)
	}
	side := func(p *tape, backend string, y uint32) {
		p.tcp(seen{"eth0", theClient, backend, 63, "S", 3000000001, 0, ""})
		p.tcp(seen{"eth0", backend, theClient, 64, "SA", y, 3000000002, ""})
	}
	p := newTape(t)
	side(p, theBackend, 5)
	write(t, dir, "node2/eth0.pcapng", p.bytes())
	c := only(t, dir)
	if c.Verdict != resolve.Deduced || backendsOf(c) != theBackend || !strings.Contains(c.Reason, "captures show one connection only from this client") || len(c.Backends[0].Evidence) != 2 {
		t.Errorf("%+v", c)
	}
	p = newTape(t)
	side(p, theBackend, 5)
	side(p, "10.244.0.7:80", 6)
	write(t, dir, "node2/eth0.pcapng", p.bytes())
	var a resolve.Answer
	noError(t, json.Unmarshal([]byte(cli(t, "ask", dir, "--to", "default/nginx", "-o", "json").out), &a))
	if len(a.Connections) != 1 || a.Connections[0].Verdict != resolve.Candidates {
		t.Errorf("%+v", a.Connections)
	}
}

// TestCaptureGoesBeyond: where a table ends at an address that carries on, the
// captures of both ends take the connection on to its backend.
func TestCaptureGoesBeyond(t *testing.T) {
	const masked = "192.168.0.1:52372"
	dir := t.TempDir()
	// The node only masquerades; who holds the address balances, and recorded nothing.
	write(t, dir, "node1/conntrack.txt", "tcp      6 86374 ESTABLISHED src=10.244.0.13 dst=10.96.72.53 sport=52372 dport=80 src=10.96.72.53 dst=192.168.0.1 sport=80 dport=52372 [ASSURED] mark=0 use=1\n")
	if c := only(t, dir); c.Verdict != resolve.Unknown {
		t.Fatalf("%+v", c)
	}
	p := newTape(t)
	p.connect(theBackend)
	write(t, dir, "node1/any.pcapng", p.bytes())
	c := only(t, dir)
	if c.Verdict != resolve.Observed || backendsOf(c) != theBackend || len(c.Hops) != 2 || c.Hops[0].Via != "conntrack" || c.Hops[0].After.Source != masked || c.Hops[1].Via != "capture" || c.Hops[1].Tier != "exact" {
		t.Errorf("%+v", c)
	}
}
