package check

import (
	"net/netip"
	"slices"

	"whichbackend/analyze/record"
	"whichbackend/analyze/resolve"
)

var envoyPassthroughService = Rule{
	ID: "envoy-passthrough-service", Severity: Warning,
	Finds: "connections to a service of the cluster that a proxy passes through as if it knew no such service",
	Needs: "access logs or clusters of the proxies, and the cluster's services",
	Why:   "The proxy does not have the service: it is outside of the Sidecar's scope, or came after the connection. The connection goes as plain text, without the mesh's routing, policy and telemetry; a backend that wants mutual TLS resets it.",
	Do:    "Look whether the proxy has the service (istioctl proxy-config clusters POD), widen the Sidecar's egress hosts, or open the connection anew.",
	See:   []string{"https://github.com/istio/istio/issues/36540"},
	judge: findEnvoyPassthrough,
}

// passKey is one service that one proxy passes through.
type passKey struct {
	place   record.Scope
	address netip.AddrPort
}

func findEnvoyPassthrough(k *Case) (found []Finding, judged bool) {
	services := map[netip.AddrPort]record.Pos{}
	parties := map[netip.AddrPort]resolve.Party{}
	for _, s := range k.Services() {
		if (s.Source == record.FromKubernetes || s.Source == record.FromRules) && s.Type == "ClusterIP" && s.Protocol == record.TCP && s.Address.IsValid() {
			if _, ok := services[s.Address]; !ok || s.Source == record.FromKubernetes {
				services[s.Address] = s.Pos
			}
			parties[s.Address] = resolve.Party{Kind: "service", Namespace: s.Namespace, Name: s.Name, Address: s.Address.String()}
		}
	}
	groups, rows := rowsBy(k, record.ViaAccessLog, func(t *record.Translation) (passKey, bool) {
		_, ok := services[t.Before.Destination]
		return passKey{k.Place(t.Section), t.Before.Destination}, ok && t.Cluster == "PassthroughCluster"
	})
	for _, s := range k.Services() {
		if s.Source != record.FromEnvoyCluster || s.Cluster != "PassthroughCluster" {
			continue
		}
		rows = true
		for _, b := range s.Backends {
			if _, ok := services[b.Address]; ok && b.Active > 0 {
				g := groups.of(passKey{s.Place, b.Address})
				g.at = append(g.at, b.Pos)
			}
		}
	}
	for _, g := range groups.sorted() {
		found = append(found, Finding{
			Title:       "the proxy of " + proxyName(g.key.place) + " passes connections to " + called(parties[g.key.address]) + " " + g.key.address.String() + " through, as to no service it knows",
			Connections: g.connections(), Objects: []Object{object(parties[g.key.address]), proxy(g.key.place)},
			Evidence: k.evidence(slices.Concat(g.at[:min(len(g.at), MaxEvidence-1)], []record.Pos{services[g.key.address]})...),
		})
	}
	return found, rows && len(services) > 0
}
