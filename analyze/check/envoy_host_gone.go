package check

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"whichbackend/analyze/record"
	"whichbackend/analyze/resolve"
)

var envoyHostGone = Rule{
	ID: "envoy-host-gone", Severity: Error,
	Finds: "hosts that Envoy still has connections to, although Kubernetes lists them no more",
	Needs: "Envoy's clusters with counters, complete endpoints of the services, and the pods",
	Why:   "The proxy has not heard that the endpoint is gone. It sends connections and requests to an address that nobody answers on, or that another workload has got.",
	Do:    "Look whether the proxy is in sync (istioctl proxy-status) and what istiod has for the service (istioctl proxy-config endpoints); restart the proxy's pod, or istiod when many proxies are behind.",
	See: []string{"https://github.com/istio/istio/issues/9480", "https://github.com/istio/istio/issues/36222", "https://github.com/istio/istio/issues/36510",
		"https://github.com/istio/istio/issues/54081"},
	judge: findEnvoyHostsGone,
}

// goneKey is a host that a service lost.
type goneKey struct {
	host            netip.AddrPort
	namespace, name string
}

// endpointsOf are the addresses that Kubernetes lists for a service.
type endpointsOf struct {
	known     map[netip.Addr]bool
	workloads map[string]bool
	complete  bool
	at        []record.Pos
}

func findEnvoyHostsGone(k *Case) (found []Finding, judged bool) {
	services, pods := k.endpointsByName(), k.networksOfPods()
	groups, active, places := groupsOf[goneKey]{}, map[goneKey]int64{}, map[goneKey]map[record.Scope]bool{}
	for _, s := range k.Services() {
		e := services[s.Namespace+"/"+s.Name]
		if s.Source != record.FromEnvoyCluster || s.Name == "" || e == nil || !e.complete || len(pods) == 0 {
			continue
		}
		if _, ok := k.older([]record.Pos{s.Pos}, e.at); !ok || strings.HasPrefix(s.Cluster, "inbound") {
			continue
		}
		for _, b := range s.Backends {
			judged = judged || b.Active >= 0
			if b.Active <= 0 || !k.gone(b.Address.Addr(), e, pods) {
				continue
			}
			key := goneKey{b.Address, s.Namespace, s.Name}
			g := groups.of(key)
			g.at = append(g.at, b.Pos)
			active[key] += b.Active
			if places[key] == nil {
				places[key] = map[record.Scope]bool{}
			}
			places[key][s.Place] = true
		}
	}
	for _, g := range groups.sorted() {
		e := services[g.key.namespace+"/"+g.key.name]
		service := resolve.Party{Kind: "service", Namespace: g.key.namespace, Name: g.key.name}
		f := Finding{Title: fmt.Sprintf("proxies hold %s to %s of %s, which Kubernetes does not list", several(int(active[g.key]), "connection"), g.key.host, called(service)),
			Objects: append([]Object{object(service)}, proxies(places[g.key])...)}
		if h, ok := k.held(g.key.host.Addr()); ok {
			f.Title += "; the address is " + called(h.Party) + "'s now"
			f.Objects = append(f.Objects, object(h.Party))
		}
		if older, _ := k.older(g.at, e.at); older {
			f.Severity = Warning
		}
		f.Evidence = k.evidence(slices.Concat(g.at[:min(len(g.at), MaxEvidence/2)], e.at)...)
		found = append(found, f)
	}
	return found, judged
}

// gone tells whether an address is no endpoint of a service and no pod of its
// workload has it. Addresses of other clusters and of machines are not among
// this cluster's pods, and nothing tells of them.
func (k *Case) gone(a netip.Addr, e *endpointsOf, pods map[netip.Prefix]bool) bool {
	if e.known[a] || !pods[network(a)] {
		return false
	}
	for _, h := range k.Held(a) {
		if h.Finished {
			continue
		}
		// A pod that ends, or is not ready yet, need not be listed.
		if h.Kind != "pod" || h.Workload == "" || len(e.workloads) == 0 || e.workloads[h.Workload] {
			return false
		}
	}
	return true
}

// endpointsByName are the complete endpoints of the services by
// namespace/name.
func (k *Case) endpointsByName() map[string]*endpointsOf {
	out := map[string]*endpointsOf{}
	for _, s := range k.Services() {
		if s.Source != record.FromKubernetes || s.Address.IsValid() || s.Type != "" || s.Name == "" || s.Namespace == "" {
			continue
		}
		key := s.Namespace + "/" + s.Name
		e := out[key]
		if e == nil {
			e = &endpointsOf{known: map[netip.Addr]bool{}, workloads: map[string]bool{}}
			out[key] = e
		}
		e.at = append(e.at, s.Pos)
		e.complete = e.complete || s.Complete && whole(s.Pos)
		for _, b := range s.Backends {
			e.known[b.Address.Addr()] = true
			for _, h := range k.Held(b.Address.Addr()) {
				e.workloads[h.Workload] = e.workloads[h.Workload] || h.Workload != ""
			}
		}
	}
	return out
}

// hostCalled is how titles call an upstream host.
func hostCalled(p resolve.Party, a netip.AddrPort) string {
	if p.Name == "" {
		return a.String()
	}
	return called(p) + " " + a.String()
}
