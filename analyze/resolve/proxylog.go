package resolve

import (
	"fmt"
	"net/netip"
	"sort"

	"whichbackend/analyze/record"
)

// logStep makes a step of what a proxy's own table or log says of a tuple.
func (r *resolver) logStep(c *conn, cur record.Tuple, logs []sighting) (step, bool) {
	first := logs[0]
	var rows []record.Translation
	for _, l := range logs {
		if l.place == first.place {
			rows = append(rows, l.t)
		}
	}
	s := step{via: first.t.Via, place: first.place, before: cur, state: first.t.State}
	byHost := map[netip.AddrPort]record.Translation{}
	for _, t := range rows {
		if t.Request {
			c.requests = append(c.requests, t)
		}
		if t.After.Destination.IsValid() {
			byHost[t.After.Destination] = t
		}
	}
	s.ts = rows[:1]
	s.after = rows[0].After
	s.mechanism = r.mechanism(s, cur)
	switch {
	case len(byHost) == 1:
		for _, t := range byHost {
			s.ts, s.after = []record.Translation{t}, t.After
		}
		if !r.oneUpstream(rows) {
			s.after.Source = netip.AddrPort{}
		}
	case len(byHost) == 0:
		r.noUpstream(c, rows)
		s.after = record.Tuple{Destination: netip.AddrPort{}}
	case len(c.requests) > 0:
		r.manyRequests(c, rows)
		s.ts, s.after = rows, record.Tuple{}
	default:
		r.manyRows(c, rows)
		s.ts, s.after = rows, record.Tuple{}
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
	if t.Via != record.ViaAccessLog {
		c.lost = "the proxy's table names the next hop " + t.Tunnel.String() + " (" + orElse(t.Peer, "a waypoint or gateway") + "), not the backend behind it"
		return
	}
	why := "the proxy's log shows no upstream host"
	if t.Flags != "" {
		why += ", response flags " + t.Flags
	}
	if t.Cluster == "BlackHoleCluster" {
		why = "the proxy sent it to BlackHoleCluster: no cluster serves this address"
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
