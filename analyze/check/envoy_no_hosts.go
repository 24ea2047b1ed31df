package check

import (
	"net/netip"
	"slices"

	"whichbackend/analyze/record"
	"whichbackend/analyze/resolve"
)

var envoyNoHosts = Rule{
	ID: "envoy-no-hosts", Severity: Error,
	Finds: "a cluster of Envoy with no hosts that is dialled",
	Needs: "Envoy's clusters, and its access log or its listeners with connections",
	Why:   "Envoy takes the connection and has no host to send it to: it ends the connection, or answers 503 with the flag UH.",
	Do:    "Look whether the service has ready endpoints, whether a subset's labels fit any pod, and whether the proxy is in sync (istioctl proxy-status).",
	See:   []string{"https://github.com/istio/istio/issues/54081", "https://github.com/istio/istio/issues/50078"},
	judge: findEnvoyNoHosts,
}

// clusterKey is a cluster of one proxy.
type clusterKey struct {
	place   record.Scope
	cluster string
}

// emptyClusters are the clusters of which every listing is complete and empty.
func (k *Case) emptyClusters() map[clusterKey][]record.Pos {
	out, filled := map[clusterKey][]record.Pos{}, map[clusterKey]bool{}
	for _, s := range k.Services() {
		if s.Source != record.FromEnvoyCluster || s.Cluster == "BlackHoleCluster" {
			continue
		}
		key := clusterKey{s.Place, s.Cluster}
		out[key] = append(out[key], s.Pos)
		filled[key] = filled[key] || !s.Complete || len(s.Backends) > 0
	}
	for key := range filled {
		if filled[key] {
			delete(out, key)
		}
	}
	return out
}

func findEnvoyNoHosts(k *Case) (found []Finding, judged bool) {
	empty := k.emptyClusters()
	groups, rows := rowsBy(k, record.ViaAccessLog, func(t *record.Translation) (clusterKey, bool) {
		key := clusterKey{k.Place(t.Section), t.Cluster}
		return key, !t.After.Destination.IsValid() && empty[key] != nil
	})
	listeners := k.listeners()
	judged = rows || len(listeners) > 0
	for i := range k.Answer.Connections {
		c := &k.Answer.Connections[i]
		place, ok := k.captured(c)
		client, _ := c.Tuples()
		if !ok || c.Seen != nil {
			continue
		}
		list := listeners[listenKey{place, client.Destination}]
		if len(list) == 0 || slices.ContainsFunc(list, func(l resolve.Listed) bool { return empty[clusterKey{place, l.Cluster}] == nil }) {
			continue
		}
		g := groups.of(clusterKey{place, list[0].Cluster})
		if !slices.Contains(g.list, c) {
			g.add(c)
			g.at = append(g.at, list[0].Pos)
		}
	}
	for _, g := range groups.sorted() {
		by := "clients"
		if len(g.list) > 0 {
			by = clients(g.list)
		}
		found = append(found, Finding{
			Title:       "cluster " + g.key.cluster + " of the proxy of " + proxyName(g.key.place) + " has no hosts, and " + by + " dialled it",
			Connections: g.connections(), Objects: []Object{proxy(g.key.place), {Kind: "cluster", Name: g.key.cluster}},
			Evidence: k.evidence(slices.Concat(empty[g.key], g.at[:min(len(g.at), MaxEvidence/2)])...),
		})
	}
	return found, judged
}

// listenKey is an address that a proxy has a listener of its own for.
type listenKey struct {
	place   record.Scope
	address netip.AddrPort
}

func (k *Case) listeners() map[listenKey][]resolve.Listed {
	out := map[listenKey][]resolve.Listed{}
	for _, s := range k.Services() {
		if s.Source == record.FromEnvoyListener && s.Cluster != "" && s.Address.IsValid() && !s.Address.Addr().IsUnspecified() {
			key := listenKey{s.Place, s.Address}
			out[key] = append(out[key], s)
		}
	}
	return out
}

// captured is the place whose proxy takes a connection from its client.
func (k *Case) captured(c *resolve.Connection) (record.Scope, bool) {
	if !slices.Contains(c.Mechanisms, "istio") && !slices.Contains(c.Mechanisms, "envoy") {
		return record.Scope{}, false
	}
	sockets, _ := c.Ends()
	for _, s := range sockets {
		return k.Place(s.Section), true
	}
	return record.Scope{}, false
}
