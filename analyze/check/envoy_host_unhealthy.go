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

// unwell is a host in one state, over all proxies and clusters.
type unwell struct {
	host  netip.AddrPort
	state string
}

func (u unwell) String() string { return u.host.String() + " " + u.state }

func findEnvoyUnhealthy(k *Case) (found []Finding, judged bool) {
	groups, active, places := groupsOf[unwell]{}, map[unwell]int64{}, map[unwell]map[record.Scope]bool{}
	for _, s := range k.Services() {
		if s.Source != record.FromEnvoyCluster {
			continue
		}
		judged = true
		for _, b := range s.Backends {
			if b.State == "" || strings.HasPrefix(b.State, "degraded") || strings.HasPrefix(b.State, "eds_degraded") {
				continue // a degraded host is chosen when no other is there
			}
			key := unwell{b.Address, b.State}
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
		party := k.Party(g.key.host, "")
		f := Finding{Severity: Info, Title: fmt.Sprintf("%s is %s", hostName(party, g.key.host), g.key.state)}
		switch {
		case active[g.key] > 0:
			f.Severity = Warning
			f.Title += fmt.Sprintf(", and proxies hold %s to it", times(int(active[g.key]), "connection"))
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
func (k *Case) connectionsTo(groups groupsOf[unwell], places map[unwell]map[record.Scope]bool) {
	by := map[netip.AddrPort][]*group[unwell]{}
	for _, g := range groups.sorted() {
		by[g.key.host] = append(by[g.key.host], g)
	}
	for i := range k.Answer.Connections {
		c := &k.Answer.Connections[i]
		if _, final := c.Tuples(); c.State == "ESTABLISHED" && by[final.Destination] != nil {
			place, ok := k.captured(c)
			for _, g := range by[final.Destination] {
				if ok && places[g.key][place] {
					g.add(c)
				}
			}
		}
	}
}
