package check

import (
	"fmt"
	"net/netip"
	"strings"

	"whichbackend/analyze/record"
)

var envoyHostUnhealthy = Rule{
	ID: "envoy-host-unhealthy", Severity: Warning,
	Finds: "hosts of Envoy's clusters that are unhealthy, ejected or draining",
	Needs: "Envoy's clusters (/clusters, istioctl proxy-config endpoints)",
	Why:   "Envoy sends new connections past such a host, while those that it holds already stay there, and fail with it.",
	Do:    "Look at the host's own state and log; end the connections that stayed on it (restart the client, or let Envoy close them with closeConnectionsOnHostHealthFailure).",
	See:   []string{"https://github.com/istio/istio/issues/50103", "https://github.com/istio/istio/issues/54081"},
	judge: findEnvoyUnhealthy,
}

func findEnvoyUnhealthy(k *Case) (found []Finding, judged bool) {
	groups, active, places := groupsOf[netip.AddrPort]{}, map[netip.AddrPort]int64{}, map[netip.AddrPort]map[record.Scope]bool{}
	states := map[netip.AddrPort]string{}
	for _, s := range k.Services() {
		if s.Source != record.FromEnvoyCluster {
			continue
		}
		judged = true
		for _, b := range s.Backends {
			if b.State == "" || strings.HasPrefix(b.State, "degraded") || strings.HasPrefix(b.State, "eds_degraded") {
				continue // a degraded host is chosen when no other is there
			}
			key := b.Address
			if len(b.State) > len(states[key]) || len(b.State) == len(states[key]) && b.State < states[key] {
				states[key] = b.State // the listing that says most
			}
			g := groups.of(key)
			g.at = append(g.at, b.Pos)
			active[key] += max(b.Active, 0)
			if places[key] == nil {
				places[key] = map[record.Scope]bool{}
			}
			places[key][s.Place] = true
		}
	}
	k.connectionsTo(groups, places)
	for _, g := range groups.sorted() {
		party := k.Party(g.key, "")
		f := Finding{Severity: Info, Title: fmt.Sprintf("%s is %s", hostCalled(party, g.key), states[g.key])}
		switch {
		case active[g.key] > 0:
			f.Severity = Warning
			f.Title += fmt.Sprintf(", and proxies hold %s to it", several(int(active[g.key]), "connection"))
		case len(g.list) > 0:
			f.Severity = Warning
			f.Title += ", and " + clients(g.list) + " still has a connection to it"
		}
		f.Connections = g.connections()
		f.Objects = append([]Object{object(party)}, proxies(places[g.key])...)
		f.Evidence = k.evidence(g.at...)
		found = append(found, f)
	}
	return found, judged
}

// connectionsTo gives the hosts the open connections of the answer that a
// proxy which says so leads to them.
func (k *Case) connectionsTo(groups groupsOf[netip.AddrPort], places map[netip.AddrPort]map[record.Scope]bool) {
	for i := range k.Answer.Connections {
		c := &k.Answer.Connections[i]
		_, final := c.Tuples()
		g := groups[final.Destination]
		if g == nil || c.State != "ESTABLISHED" {
			continue
		}
		if place, ok := k.captured(c); ok && places[g.key][place] {
			g.add(c)
		}
	}
}
