package resolve

import (
	"net/netip"
	"sort"
	"strconv"
	"strings"

	"whichbackend/analyze/record"
)

func itoa(n int) string { return strconv.Itoa(n) }

// readServices indexes services by what a connection may dial.
func (w *world) readServices() error {
	list, err := w.st.Services()
	if err != nil {
		return err
	}
	sort.SliceStable(list, func(i, j int) bool { return w.less(list[i].Pos, list[j].Pos) })
	for i := range list {
		v := &list[i]
		if !w.current[v.Section] {
			continue
		}
		s := service{v, w.placeOf[v.Section]}
		w.services = append(w.services, s)
		if v.Source == record.FromEnvoyCluster {
			w.clusters[v.Cluster] = append(w.clusters[v.Cluster], s)
			continue
		}
		if v.Source == record.FromKubernetes && v.Name != "" {
			w.byName[v.Name] = append(w.byName[v.Name], s)
		}
		switch a := v.Address; {
		case !a.IsValid():
		case a.Addr().IsUnspecified():
			w.byPort[a.Port()] = append(w.byPort[a.Port()], s)
		case a.Port() == 0:
			w.byIP[a.Addr()] = append(w.byIP[a.Addr()], s)
		default:
			w.byAddress[a] = append(w.byAddress[a], s)
		}
	}
	w.readNumbers()
	return nil
}

// vantage is from where a client sees a service.
type vantage struct {
	hosts   map[string]bool // whose tables the connection passes; empty: not known
	outside bool            // the client is known to be none of the cluster's
}

// sees tells whether the tables of a host may decide.
func (v vantage) sees(host string) bool {
	return len(v.hosts) == 0 || v.hosts[host] || v.hosts[""] || host == ""
}

// servicesAt returns the services that stand behind an address, as seen from a
// vantage.
func (w *world) servicesAt(dst netip.AddrPort, p record.Protocol, from vantage) []service {
	var out []service
	add := func(list []service, anyAddress bool) {
		for _, s := range list {
			if s.Protocol != 0 && s.Protocol != p || s.Source == record.FromEnvoyListener {
				continue
			}
			if anyAddress && (s.Address.Addr().Is4() != dst.Addr().Is4() || !w.hostAddress(dst.Addr(), s)) {
				continue
			}
			if s.place != nil && !from.sees(s.place.host) || s.Inside && from.outside {
				continue
			}
			out = append(out, s)
		}
	}
	add(w.byAddress[dst], false)
	add(w.byIP[dst.Addr()], false)
	add(w.byPort[dst.Port()], true)
	return out
}

// hostAddress tells whether an address may be one that a host holds itself, so
// that a port on any address of the host is meant.
func (w *world) hostAddress(a netip.Addr, s service) bool {
	if a.IsLoopback() {
		return true
	}
	if s.place != nil && s.place.addrs[a] {
		return true
	}
	for _, p := range w.places {
		if p.kind == record.ScopeHost && p.addrs[a] && (s.place == nil || sameHost(p.host, s.place.host)) {
			return true
		}
	}
	for _, o := range w.owners[a] {
		if o.kind == "node" && (s.place == nil || sameHost(o.host, s.place.host)) {
			return true
		}
	}
	// Nothing tells who holds the address. A node port is likely meant all the
	// same, since no other service uses its range; a published port is not.
	return s.Type == "NodePort" && w.unheld(a)
}

// unheld tells that nothing in the bundle says who holds an address.
func (w *world) unheld(a netip.Addr) bool {
	return !a.IsLoopback() && len(w.owners[a]) == 0 && len(w.holders(a, "")) == 0 && len(w.byIP[a]) == 0
}

// serviceParty names the service behind an address.
func (w *world) serviceParty(dst netip.AddrPort, p record.Protocol, from vantage) (Party, bool) {
	party := Party{Address: dst.String()}
	list := w.servicesAt(dst, p, from)
	if len(list) == 0 {
		return party, false
	}
	party.Kind = "service"
	// An API object knows the name best, then whoever says one.
	for _, bySource := range []func(service) bool{
		func(s service) bool { return s.Source == record.FromKubernetes && s.Namespace != "" },
		func(s service) bool { return s.Namespace != "" },
		func(s service) bool { return true },
	} {
		name, namespace, n := "", "", 0
		for _, s := range list {
			if s.Name == "" || !bySource(s) || s.Type == "redirect" || s.Type == "dnat" {
				continue
			}
			in := s.shownNamespace()
			if name != s.Name || namespace != in {
				n++
			}
			name, namespace = s.Name, in
		}
		if n == 1 {
			party.Name, party.Namespace = name, namespace
			break
		}
	}
	return party, true
}

// shownNamespace is the Kubernetes namespace of a service. The one that docker
// tells is a network, which is no part of the service's name.
func (s service) shownNamespace() string {
	if s.Source == record.FromDocker {
		return ""
	}
	return s.Namespace
}

// serviceMechanism tells whose service it is.
func (w *world) serviceMechanism(s service) string {
	if s.Mechanism != "" && s.Mechanism != "netfilter" {
		return s.Mechanism
	}
	switch {
	case s.Source == record.FromKubernetes:
		if w.runsCilium() {
			return "cilium"
		}
		return "kube-proxy"
	case s.Source == record.FromDocker:
		return "docker-swarm"
	case s.place != nil && swarmPlace(s.place):
		return "docker-swarm"
	case s.Source == record.FromIPVS && s.Address.IsValid() && w.kubernetesAddress(s.Address, s.Protocol):
		return "kube-proxy"
	case s.Source == record.FromIPVS:
		return "ipvs"
	}
	return "netfilter"
}

// swarmPlace tells a namespace in which Swarm balances.
func swarmPlace(p *place) bool {
	return p != nil && p.kind == record.ScopeNetns && (strings.HasPrefix(p.name, "lb_") || p.name == "ingress_sbox")
}

// runsCilium tells whether Cilium balances services in this case: its own
// tables are there, and no rules of kube-proxy.
func (w *world) runsCilium() bool {
	cilium := false
	for _, s := range w.services {
		if s.Mechanism == "kube-proxy" {
			return false
		}
		cilium = cilium || s.Source == record.FromCiliumLB || s.Source == record.FromCiliumAgent
	}
	return cilium
}

// kubernetesAddress tells whether a Kubernetes object or kube-proxy's rules
// name the address as a service's.
func (w *world) kubernetesAddress(dst netip.AddrPort, p record.Protocol) bool {
	for _, s := range w.servicesAt(dst, p, vantage{}) {
		if s.Source == record.FromKubernetes || s.Mechanism == "kube-proxy" {
			return true
		}
	}
	return false
}
