package resolve

import (
	"net/netip"
	"sort"
	"strings"

	"whichbackend/analyze/record"
)

// place is one network namespace: what several scopes may turn out to mean.
type place struct {
	id        int
	host      string // "" is a host without a name, which may be any
	kind      record.ScopeKind
	namespace string
	name      string
	addrs     map[netip.Addr]bool
	nets      []netip.Prefix  // of its addresses, where a listing tells them
	formats   map[string]bool // the formats of the listings recorded in it
	listeners map[listenKey][]listener
}

type listenKey struct {
	protocol record.Protocol
	port     uint16
}

type listener struct {
	addr    netip.Addr
	program string
	pid     int
}

// workload tells whether the place is a pod's or container's, rather than a
// host's or a namespace that only carries traffic.
func (p *place) workload() bool {
	return p.kind == record.ScopePod || p.kind == record.ScopeContainer || p.kind == record.ScopePID
}

// routes tells whether the place holds an address in the network of another
// one, and so may be its router.
func (p *place) routes(a netip.Addr) bool {
	for _, n := range p.nets {
		if n.Contains(a) && n.Bits() < n.Addr().BitLen() && !n.Addr().IsLoopback() && n.Addr() != a {
			return true
		}
	}
	return false
}

// listens tells whether a socket of the place takes what is sent to an address
// that the place holds.
func (p *place) listens(protocol record.Protocol, to netip.AddrPort) bool {
	for _, l := range p.listeners[listenKey{protocol, to.Port()}] {
		if l.addr == to.Addr() || l.addr.IsUnspecified() && (l.addr.Is6() || to.Addr().Is4()) {
			return true
		}
	}
	return false
}

// String is how answers call the place.
func (p *place) String() string {
	if p == nil {
		return ""
	}
	at := func(s string) string {
		if p.host == "" {
			return s
		}
		return p.host + "/" + s
	}
	switch p.kind {
	case record.ScopePod:
		if p.namespace == "" {
			return at("pods/" + p.name)
		}
		return at("pods/" + p.namespace + "/" + p.name)
	case record.ScopeContainer:
		return at("containers/" + p.name)
	case record.ScopeNetns:
		return at("netns/" + p.name)
	case record.ScopePID:
		return at("pid/" + p.name)
	case record.ScopeCluster:
		return "cluster"
	}
	return p.host
}

// readPlaces gives every section its place.
func (w *world) readPlaces() error {
	ids := make([]int, 0, len(w.sections))
	for id := range w.sections {
		ids = append(ids, id)
	}
	sort.Slice(ids, func(i, j int) bool { return w.rank[ids[i]] < w.rank[ids[j]] })
	for _, id := range ids {
		s := w.sections[id]
		if s.Scope.Kind == record.ScopeCluster || !w.current[id] {
			continue
		}
		p := w.place(w.canonical(s.Scope, strings.HasPrefix(s.Format, "cilium")))
		w.placeOf[id] = p
		// A list of expectations is told as a table of connections is, and is
		// none: what a table lacks would be taken for what never was.
		if s.Format != "conntrack" || s.Understood > 0 || s.Lines == 0 {
			p.formats[s.Format] = true
		}
	}
	return nil
}

func (w *world) place(s record.Scope) *place {
	p := w.byKey[s]
	if p == nil {
		p = &place{id: len(w.places), host: s.Host, kind: s.Kind, namespace: s.Namespace, name: s.Name,
			addrs: map[netip.Addr]bool{}, formats: map[string]bool{}, listeners: map[listenKey][]listener{}}
		w.byKey[s] = p
		w.places = append(w.places, p)
	}
	return p
}

// canonical turns a scope as a person wrote it into the one that all listings
// of that network namespace share.
func (w *world) canonical(s record.Scope, agent bool) record.Scope {
	if s.Kind == record.ScopePID || s.Kind == record.ScopeNetns {
		if o := w.ownerOfNamespace(s); o != nil {
			s = record.Scope{Host: s.Host, Kind: record.ScopeContainer, Name: o.Name}
			if o.Kind == record.OwnerPod {
				s.Kind, s.Namespace = record.ScopePod, o.Namespace
			}
		}
	}
	if s.Kind == record.ScopeContainer {
		if name := w.containerName(s.Name); name != "" {
			s.Name = name
		}
	}
	if s.Kind == record.ScopeHost && s.Host != "" {
		// An interactive shell in a pod shows the pod's name as its host.
		if o := w.only(func(o *owner) bool { return o.kind == "pod" && o.name == s.Host }); o != nil && !w.isNode(s.Host) {
			s = record.Scope{Kind: record.ScopePod, Namespace: o.namespace, Name: o.name}
		}
	}
	if s.Kind != record.ScopePod {
		return s
	}
	o := w.only(func(o *owner) bool {
		return o.kind == "pod" && o.name == s.Name && (s.Namespace == "" || o.namespace == "" || o.namespace == s.Namespace)
	})
	if o != nil {
		if s.Namespace == "" {
			s.Namespace = o.namespace
		}
		if s.Host == "" {
			s.Host = o.host
		}
	}
	if agent || o != nil && o.hostNetwork {
		return record.Scope{Host: s.Host, Kind: record.ScopeHost}
	}
	return s
}

// ownerOfNamespace finds the container or pod that lives in a namespace known
// by process or name.
func (w *world) ownerOfNamespace(s record.Scope) *record.Owner {
	var found *record.Owner
	for i := range w.records {
		r := &w.records[i]
		if r.Kind != record.OwnerContainer && r.Kind != record.OwnerPod || r.Name == "" || !w.current[r.Section] {
			continue
		}
		here := w.sections[r.Section].Scope.Host
		if here != "" && s.Host != "" && here != s.Host {
			continue
		}
		hit := s.Kind == record.ScopeNetns && r.Netns != "" && r.Netns == s.Name ||
			s.Kind == record.ScopePID && r.PID != 0 && itoa(r.PID) == s.Name
		if !hit {
			continue
		}
		if found != nil && (found.Name != r.Name || found.Namespace != r.Namespace && r.Kind == record.OwnerPod) {
			return nil
		}
		found = r
	}
	return found
}

// containerName finds the name of a container called by its id.
func (w *world) containerName(id string) string {
	if len(id) < 4 {
		return ""
	}
	for i := range w.records {
		r := &w.records[i]
		if r.Kind == record.OwnerContainer && r.ContainerID != "" && (strings.HasPrefix(r.ContainerID, id) || strings.HasPrefix(id, r.ContainerID)) {
			return r.Name
		}
	}
	return ""
}

// readAddresses notes which place holds which address and listens on what.
func (w *world) readAddresses() error {
	list, err := w.st.Addresses()
	if err != nil {
		return err
	}
	for _, a := range list {
		if p := w.placeOf[a.Section]; p != nil && w.current[a.Section] {
			p.addrs[a.Prefix.Addr().Unmap()] = true
			p.nets = append(p.nets, a.Prefix)
		}
	}
	return w.st.Sockets(func(k *record.Socket) error {
		p := w.placeOf[k.Section]
		if p == nil || !w.current[k.Section] || !k.Local.IsValid() {
			return nil
		}
		switch {
		case k.State == "LISTEN" || k.Remote.Port() == 0:
			key := listenKey{k.Protocol, k.Local.Port()}
			p.listeners[key] = append(p.listeners[key], listener{k.Local.Addr(), k.Program, k.PID})
		case k.Protocol == record.TCP && !w.borrowed(p, k.Local.Addr()):
			p.addrs[k.Local.Addr()] = true
		}
		return nil
	})
}

// borrowed tells whether an address is another pod's: a transparent proxy
// connects to its workload with the address of the client.
func (w *world) borrowed(p *place, a netip.Addr) bool {
	if p.kind != record.ScopePod {
		return false
	}
	o := w.ownerAt(a, "")
	return o != nil && o.kind == "pod" && (o.name != p.name || o.namespace != p.namespace && p.namespace != "")
}

// redirectedAddresses learns addresses of a workload whose connection table was
// recorded, but neither its sockets nor its addresses: what the table redirects
// to another port of the same address is the workload's own.
func (w *world) redirectedAddresses() error {
	bare := map[*place]bool{}
	for _, p := range w.places {
		if p.workload() && len(p.addrs) == 0 && p.formats["conntrack"] {
			bare[p] = true
		}
	}
	if len(bare) == 0 {
		return nil
	}
	return w.st.Redirected(func(section int, a netip.AddrPort) {
		if p := w.placeOf[section]; bare[p] && w.current[section] {
			p.addrs[a.Addr()] = true
		}
	})
}

func sortedAddrs(m map[netip.Addr]bool) []netip.Addr {
	out := make([]netip.Addr, 0, len(m))
	for a := range m {
		out = append(out, a)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Less(out[j]) })
	return out
}

// holders are the places that hold an address, on hosts compatible with host.
func (w *world) holders(a netip.Addr, host string) []*place {
	var out []*place
	for _, p := range w.places {
		if p.addrs[a] && sameHost(p.host, host) {
			out = append(out, p)
		}
	}
	return out
}

// sameHost tells whether two hosts may be one: a host without a name may be any.
func sameHost(a, b string) bool { return a == "" || b == "" || a == b }
