package resolve

import (
	"net/netip"
	"sort"
	"strings"

	"whichbackend/analyze/record"
)

// owner is who holds an address, put together from all listings that say so.
type owner struct {
	kind, namespace, name, host string
	workload                    string
	hostNetwork, finished       bool
	sidecar                     bool // it has a container named istio-proxy
	several                     bool // it has more than one container
	pos                         record.Pos
}

// readOwners puts together who holds which address.
func (w *world) readOwners() error {
	list, err := w.st.Owners()
	if err != nil {
		return err
	}
	sort.SliceStable(list, func(i, j int) bool { return w.less(list[i].Pos, list[j].Pos) })
	index := map[string]*owner{}
	for i := range list {
		r := &list[i]
		if !w.current[r.Section] || r.Kind == "process" || r.Name == "" {
			continue
		}
		if r.Kind == record.OwnerName {
			if w.names[r.Address] == "" {
				w.names[r.Address] = r.Name
			}
			continue
		}
		host := r.Host
		if host == "" && w.sections[r.Section].Scope.Kind != record.ScopeCluster && r.Kind != record.OwnerPod {
			host = w.sections[r.Section].Scope.Host
		}
		w.addOwner(index, r, host)
	}
	w.records = list
	return nil
}

func (w *world) addOwner(index map[string]*owner, r *record.Owner, host string) {
	namespace := r.Namespace
	if r.Kind != record.OwnerPod {
		namespace = "" // a docker network is no part of a container's name
	}
	key := string(r.Kind) + "\x00" + namespace + "\x00" + r.Name
	o := index[key]
	if o == nil {
		o = &owner{kind: string(r.Kind), namespace: namespace, name: r.Name, pos: r.Pos}
		index[key] = o
		w.named = append(w.named, o)
	}
	if o.host == "" {
		o.host = host
	}
	if o.workload == "" {
		o.workload = r.Workload
	}
	o.hostNetwork = o.hostNetwork || r.HostNetwork
	switch strings.ToLower(r.State) {
	case "completed", "succeeded", "failed", "error", "evicted", "exited", "shutdown", "rejected", "removed", "dead":
		o.finished = true
	}
	o.several = o.several || r.Total > 1
	for _, c := range r.Containers {
		o.sidecar = o.sidecar || c == "istio-proxy"
	}
	if !r.Address.IsValid() || o.hostNetwork {
		return
	}
	for _, x := range w.owners[r.Address] {
		if x == o {
			return
		}
	}
	w.owners[r.Address] = append(w.owners[r.Address], o)
}

// only returns the one owner for which f holds, nil when there is none or more.
func (w *world) only(f func(*owner) bool) *owner {
	var found *owner
	for _, o := range w.named {
		if f(o) {
			if found != nil {
				return nil
			}
			found = o
		}
	}
	return found
}

func (w *world) isNode(name string) bool {
	for _, o := range w.named {
		if o.kind == "node" && o.name == name {
			return true
		}
	}
	return false
}

// nameByAddress gives a place that is known only by process or number the
// workload that holds its addresses, and pods and containers known only by
// their folder their addresses.
func (w *world) nameByAddress() error {
	for _, p := range w.places {
		if p.kind == record.ScopePID {
			for _, a := range sortedAddrs(p.addrs) {
				if o := w.ownerAt(a, p.host); o != nil && (o.kind == "container" || o.kind == "pod") {
					w.rename(p, o)
					break
				}
			}
		}
	}
	w.addressByName()
	for _, p := range w.places {
		kind := ""
		switch p.kind {
		case record.ScopePod:
			kind = "pod"
		case record.ScopeContainer:
			kind = "container"
		case record.ScopeHost:
			kind = "node"
		case record.ScopeNetns:
			if strings.HasPrefix(p.name, "lb_") || p.name == "ingress_sbox" {
				kind = "balancer"
			}
		}
		name := p.name
		if kind == "node" {
			name = p.host
		}
		if kind == "" || name == "" {
			continue
		}
		for _, a := range sortedAddrs(p.addrs) {
			if a.IsLoopback() || a.IsLinkLocalUnicast() {
				continue
			}
			w.claimAddress(a, kind, p.namespace, name, p.host)
		}
	}
	return nil
}

// addressByName gives a pod whose own listings show none of its addresses
// those that other listings give it.
func (w *world) addressByName() {
	for _, p := range w.places {
		if p.kind != record.ScopePod || len(p.addrs) > 0 {
			continue
		}
		for a, list := range w.owners {
			for _, o := range list {
				if o.kind == "pod" && o.name == p.name && o.namespace == p.namespace && sameHost(o.host, p.host) && !o.finished {
					p.addrs[a] = true
				}
			}
		}
	}
}

// rename makes a place known by process the place of the workload that turned
// out to live in it.
func (w *world) rename(p *place, o *owner) {
	s := record.Scope{Host: p.host, Kind: record.ScopeContainer, Name: o.name}
	if o.kind == "pod" {
		s.Kind, s.Namespace = record.ScopePod, o.namespace
	}
	other := w.byKey[s]
	if other == nil {
		p.kind, p.namespace, p.name = s.Kind, s.Namespace, s.Name
		w.byKey[s] = p
		return
	}
	for id, q := range w.placeOf {
		if q == p {
			w.placeOf[id] = other
		}
	}
	for a := range p.addrs {
		other.addrs[a] = true
	}
	for f := range p.formats {
		other.formats[f] = true
	}
	for k, l := range p.listeners {
		other.listeners[k] = append(other.listeners[k], l...)
	}
	p.addrs = map[netip.Addr]bool{}
}

// claimAddress adds what a place's own listing says of an address.
func (w *world) claimAddress(a netip.Addr, kind, namespace, name, host string) {
	for _, o := range w.owners[a] {
		if o.kind == kind && o.name == name && (o.namespace == namespace || namespace == "" || o.namespace == "") {
			if o.host == "" {
				o.host = host
			}
			return
		}
		if kind == "balancer" && o.kind == "balancer" {
			return
		}
	}
	for _, o := range w.named {
		if o.kind == kind && o.name == name && o.namespace == namespace && (o.host == "" || o.host == host) {
			w.owners[a] = append(w.owners[a], o)
			return
		}
	}
	o := &owner{kind: kind, namespace: namespace, name: name, host: host}
	w.named = append(w.named, o)
	w.owners[a] = append(w.owners[a], o)
}

// ownerAt tells who holds an address, as seen from a host: the same address
// may be held on several hosts. Nil when nobody or more than one may be meant.
func (w *world) ownerAt(a netip.Addr, host string) *owner {
	list := w.owners[a]
	for _, keep := range []func(*owner) bool{
		func(o *owner) bool { return !o.finished },
		func(o *owner) bool { return host != "" && o.host == host },
		func(o *owner) bool { return o.kind == "pod" || o.kind == "container" },
	} {
		var kept []*owner
		for _, o := range list {
			if keep(o) {
				kept = append(kept, o)
			}
		}
		if len(kept) > 0 {
			list = kept
		}
	}
	if len(list) == 1 {
		return list[0]
	}
	return nil
}
