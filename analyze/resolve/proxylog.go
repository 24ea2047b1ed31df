package resolve

import (
	"fmt"
	"net/netip"
	"sort"
	"strings"

	"whichbackend/analyze/record"
)

// ofThis drops the rows of earlier connections of the same addresses: of one
// that is open, the proxy's upstream connection must be there, where its
// sockets are listed. Rows of requests are kept: their upstream connections
// come and go.
func (r *resolver) ofThis(c *conn, l legs, logs []sighting) []sighting {
	if c.state != "ESTABLISHED" || !l.whole {
		return logs
	}
	live := map[record.Tuple]bool{}
	for _, u := range append(append([]upstream{}, l.ups...), l.strays...) {
		live[record.Tuple{Source: u.local, Destination: u.remote}] = true
	}
	var out []sighting
	for _, s := range logs {
		if s.t.Via != record.ViaAccessLog || s.t.Request || live[s.t.After] {
			out = append(out, s)
		}
	}
	return out
}

// unserved tells whether a row names no host, or one that did not serve: the
// proxy could not connect to it.
func unserved(t record.Translation) bool {
	if !t.After.Destination.IsValid() {
		return true
	}
	if t.Via == record.ViaZtunnelLog {
		return t.Flags != "" && t.Bytes == 0
	}
	for _, f := range strings.Split(t.Flags, ",") {
		if f == "UF" || f == "URX" && !t.Request {
			return true
		}
	}
	return false
}

// logStep makes a step of what a proxy's own table or log says of a tuple.
func (r *resolver) logStep(c *conn, cur record.Tuple, logs []sighting) (step, bool) {
	first := logs[0]
	var rows, served []record.Translation
	for _, l := range logs {
		if l.place != first.place {
			continue
		}
		t := r.endOfTunnel(c, cur, l.t)
		rows = append(rows, t)
		if !unserved(t) {
			served = append(served, t)
		}
		if l.t.Request {
			c.requests = append(c.requests, l.t)
		}
	}
	s := step{via: first.t.Via, place: first.place, before: cur, state: first.t.State, ts: rows[:1], after: rows[0].After}
	s.mechanism = r.mechanism(s, cur)
	hosts := map[netip.AddrPort]bool{}
	for _, t := range served {
		hosts[t.After.Destination] = true
	}
	switch {
	case len(hosts) == 0:
		r.noUpstream(c, rows)
		s.ts, s.after = rows[len(rows)-1:], record.Tuple{}
	case len(hosts) == 1:
		s.ts, s.after = served[:1], served[0].After
		if !r.oneUpstream(served) {
			s.after.Source = netip.AddrPort{}
		}
	case len(c.requests) > 0:
		r.manyRequests(c, served)
		s.ts, s.after = served, record.Tuple{}
	default:
		r.manyRows(c, served)
		s.ts, s.after = served, record.Tuple{}
	}
	return s, true
}

// oneUpstream tells whether all rows used one upstream connection.
func (r *resolver) oneUpstream(rows []record.Translation) bool {
	for _, t := range rows {
		if t.After.Source != rows[0].After.Source {
			return false
		}
	}
	return true
}

// noUpstream judges rows in which the proxy reached no upstream host.
func (r *resolver) noUpstream(c *conn, rows []record.Translation) {
	t := rows[len(rows)-1]
	if t.Via != record.ViaAccessLog && !t.After.Destination.IsValid() && t.Flags == "" {
		c.lost = "the proxy's table names the next hop " + t.Tunnel.String() + " (" + orElse(t.Peer, "a waypoint or gateway") + "), not the backend behind it"
		return
	}
	why := "the proxy's log shows no upstream host"
	switch {
	case t.Cluster == "BlackHoleCluster":
		why = "the proxy sent it to BlackHoleCluster: no cluster serves this address"
	case t.After.Destination.IsValid():
		why = "the proxy's log shows that it could not connect to " + t.After.Destination.String()
	}
	switch {
	case t.Via == record.ViaZtunnelLog:
		why += " (" + t.Flags + ")"
	case t.Flags != "":
		why += ", response flags " + t.Flags
	}
	c.verdict, c.reason = None, why
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// manyRequests answers for an HTTP connection whose requests went to several hosts.
func (r *resolver) manyRequests(c *conn, rows []record.Translation) {
	counts := map[netip.AddrPort][]record.Translation{}
	total := 0
	for _, t := range rows {
		if t.After.Destination.IsValid() {
			counts[t.After.Destination] = append(counts[t.After.Destination], t)
			total++
		}
	}
	for _, a := range sortedEndpoints(counts) {
		ts := counts[a]
		c.backends = append(c.backends, Backend{Party: r.party(a, ""), Reason: fmt.Sprintf("%d of %d logged requests", len(ts), total), Evidence: r.evidenceOf(ts)})
	}
	c.verdict = Observed
	c.reason = fmt.Sprintf("the proxy's log names the upstream of each request: %d requests over %d backends", total, len(counts))
}

// manyRows answers where several finished connections of one client address
// and port are logged, and nothing tells which is meant.
func (r *resolver) manyRows(c *conn, rows []record.Translation) {
	byHost := map[netip.AddrPort][]record.Translation{}
	for _, t := range rows {
		if t.After.Destination.IsValid() {
			byHost[t.After.Destination] = append(byHost[t.After.Destination], t)
		}
	}
	for _, a := range sortedEndpoints(byHost) {
		c.backends = append(c.backends, Backend{Party: r.party(a, ""), Reason: "a logged connection of this client address and port went there", Evidence: r.evidenceOf(byHost[a])})
	}
	c.verdict, c.reason = Candidates, "the log holds several connections of this client address and port, and nothing tells which one is meant"
}

func sortedEndpoints[T any](m map[netip.AddrPort]T) []netip.AddrPort {
	out := make([]netip.AddrPort, 0, len(m))
	for a := range m {
		out = append(out, a)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Compare(out[j]) < 0 })
	return out
}
