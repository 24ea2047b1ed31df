package check

import (
	"net/netip"
	"slices"

	"whichbackend/analyze/record"
)

var ciliumAgainstEndpoints = Rule{
	ID: "cilium-against-endpoints", Severity: Error,
	Finds: "backends of a service in Cilium that the Kubernetes endpoints of the service do not have",
	Needs: "endpoints of the cluster, and cilium bpf lb list or cilium service list of a node",
	Why:   "Cilium on this node still sends new connections to an address that is no endpoint of the service: they time out, are refused, or reach whoever holds the address now.",
	Do:    "Look whether the agent still hears of changes (cilium-dbg status, its log for errors of the API server), and restart it: kubectl -n kube-system delete pod -l k8s-app=cilium --field-selector spec.nodeName=NODE.",
	See:   []string{"https://github.com/cilium/cilium/issues/9684", "https://github.com/cilium/cilium/issues/23551", "https://github.com/cilium/cilium/issues/43358"},
	judge: findStaleCiliumServices,
}

// ciliumStale is a node whose Cilium has backends of a service that are none.
type ciliumStale struct {
	node, service, backends string
	empty                   bool
}

func findStaleCiliumServices(k *Case) (found []Finding, judged bool) {
	groups := groupsOf[ciliumStale]{}
	nodes := map[string]*ciliumNode{}
	nets := k.networksOfPods()
	of := map[ciliumStale]map[netip.AddrPort]bool{}
	dead := map[ciliumStale]bool{}
	for _, n := range k.ciliumAll().nodes {
		views, order := n.views()
		for _, key := range order {
			stale, empty, at, ok := k.againstEndpoints(n, key, views[key], nets)
			judged = judged || ok
			if len(stale) == 0 && !empty {
				continue
			}
			name := k.serviceName(key.address, key.protocol, n.place.Host)
			id := ciliumStale{n.name(), name, addresses(stale), empty}
			nodes[id.node] = n
			groups.of(id).at = append(groups.of(id).at, at...)
			if of[id] == nil {
				of[id] = map[netip.AddrPort]bool{}
			}
			of[id][key.address] = true
			for _, b := range stale {
				dead[id] = dead[id] || len(k.Held(b.Addr())) == 0
			}
		}
	}
	for _, g := range groups.sorted() {
		n := nodes[g.key.node]
		g.list = k.dialled(n, of[g.key])
		f := Finding{
			Title:       "Cilium on " + g.key.node + " sends connections to " + g.key.service + " to " + g.key.backends + ", which the endpoints do not have",
			Connections: g.connections(), Objects: []Object{n.object()}, Evidence: k.evidence(g.at...),
		}
		switch {
		case g.key.empty:
			f.Title = "Cilium on " + g.key.node + " has no backends for " + g.key.service + ", and the endpoints do"
			f.Why = "Every new connection to the service from this node is dropped or rejected, while other nodes reach it."
		case !dead[g.key]:
			f.Severity = Warning
		}
		found = append(found, f)
	}
	return found, judged
}

// againstEndpoints compares what Cilium has for an address with the endpoints.
// All listings of both sides must say the same: where they do not, they are of
// different moments, or the agent and the datapath disagree, which is another
// rule's. Backends in networks without pods of this cluster may be those of
// another one (a mesh), and are left out. That Cilium lacks some endpoints is
// no fault: zones and policies of traffic choose among them.
func (k *Case) againstEndpoints(n *ciliumNode, key ciliumFrontend, v *ciliumViews, nets map[netip.Prefix]bool) (stale []netip.AddrPort, empty bool, at []record.Pos, judged bool) {
	if key.address.Addr().IsUnspecified() {
		return nil, false, nil, false
	}
	both := slices.Concat(v.agent, v.datapath)
	local := slices.ContainsFunc(both, func(l Listed) bool { return l.Local })
	for _, c := range both {
		if !c.Complete || c.HTTP || c.Type == "LocalRedirect" || !addressed(c.Backends) {
			continue
		}
		for _, e := range k.Listings(key.address, orTCP(key.protocol), n.place.Host) {
			if e.Source != record.FromKubernetes {
				continue
			}
			extra := near(lacking(c.Backends, e.Backends), nets)
			none := len(c.Backends) == 0 && serving(e.Backends) > 0 && !local && !e.Local
			if !e.Complete || k.apart(c.Section, e.At.Section) || judged && (none != empty || !slices.Equal(inOrder(extra), stale)) {
				return nil, false, nil, judged
			}
			stale, empty, judged = inOrder(extra), none, true
			at = append(at, c.Pos, e.At)
		}
	}
	return stale, empty, at, judged
}

// inOrder sorts addresses and drops repeats.
func inOrder(list []netip.AddrPort) []netip.AddrPort {
	slices.SortFunc(list, netip.AddrPort.Compare)
	return slices.Compact(list)
}

// networksOfPods are the networks in which listings show pods of this cluster.
func (k *Case) networksOfPods() map[netip.Prefix]bool {
	out := map[netip.Prefix]bool{}
	for _, o := range k.Owners() {
		if o.Kind == record.OwnerPod && o.Address.IsValid() && !o.HostNetwork {
			out[network(o.Address)] = true
		}
	}
	return out
}

// network is the part of a cluster's network that a node commonly has.
func network(a netip.Addr) netip.Prefix {
	bits := 24
	if a.Is6() {
		bits = 112
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

func near(list []netip.AddrPort, nets map[netip.Prefix]bool) []netip.AddrPort {
	var out []netip.AddrPort
	for _, a := range list {
		if nets[network(a.Addr())] {
			out = append(out, a)
		}
	}
	return out
}
