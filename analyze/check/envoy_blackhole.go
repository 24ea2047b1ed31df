package check

import (
	"fmt"
	"net/netip"

	"whichbackend/analyze/record"
)

var envoyBlackhole = Rule{
	ID: "envoy-blackhole", Severity: Error,
	Finds: "connections that Envoy ended because nothing of its configuration leads on",
	Needs: "access logs of the proxies",
	Why:   "The proxy takes every connection that a client opens, so the client's own connect succeeds; then it finds no cluster, no route or no healthy host, and ends the connection.",
	Do:    "UH: look at the cluster's hosts (istioctl proxy-config endpoints POD --cluster NAME). NR, NC and BlackHoleCluster: look whether the service is in the Sidecar's scope or needs a ServiceEntry, and whether routes and subsets of it exist (istioctl proxy-config routes, clusters).",
	See:   []string{"https://github.com/istio/istio/issues/36540", "https://github.com/istio/istio/issues/54539"},
	judge: findEnvoyBlackholes,
}

// blackKey is one address that one proxy ends connections to, and why. All
// addresses that the case knows nothing of are one: clients may try many.
type blackKey struct {
	place   record.Scope
	dialled netip.AddrPort
	why     string
}

func findEnvoyBlackholes(k *Case) (found []Finding, judged bool) {
	empty, services := k.emptyClusters(), map[netip.AddrPort]bool{}
	for _, s := range k.Services() {
		services[s.Address] = true
	}
	unknown := map[blackKey]map[netip.AddrPort]bool{}
	groups, judged := rowsBy(k, record.ViaAccessLog, func(t *record.Translation) (blackKey, bool) {
		place := k.Place(t.Section)
		flag := flagged(t, "UH", "NR", "NC")
		switch {
		case t.Cluster == "BlackHoleCluster":
			flag = "BlackHoleCluster"
		case flag == "" || flag == "UH" && empty[clusterKey{place, t.Cluster}] != nil:
			return blackKey{}, false
		}
		to := t.Before.Destination
		key := blackKey{place, to, flag}
		if !services[to] && len(k.Held(to.Addr())) == 0 {
			key.dialled = netip.AddrPort{}
			if unknown[key] == nil {
				unknown[key] = map[netip.AddrPort]bool{}
			}
			unknown[key][to] = true
		}
		return key, true
	})
	for _, g := range groups.sorted() {
		name := addresses(sortedAddresses(unknown[g.key]))
		if g.key.dialled.IsValid() {
			name = hostCalled(k.partyOf(g.key.dialled, record.TCP, g.key.place.Host), g.key.dialled)
		}
		why := map[string]string{"UH": "no healthy host (UH)", "NR": "no route (NR)", "NC": "no cluster (NC)", "BlackHoleCluster": "BlackHoleCluster"}[g.key.why]
		found = append(found, Finding{
			Title:       "the proxy of " + proxyName(g.key.place) + " ended " + ended(len(g.at)) + " to " + name + ": " + why,
			Connections: g.connections(), Objects: []Object{proxy(g.key.place)}, Evidence: k.evidence(g.at...),
		})
	}
	return found, judged
}

// ended counts what a proxy ended: a row is a connection, or a request of one.
func ended(n int) string {
	if n == 1 {
		return "1 connection or request"
	}
	return fmt.Sprintf("%d connections or requests", n)
}
