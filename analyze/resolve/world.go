package resolve

import (
	"net/netip"
	"sort"
	"strings"

	"whichbackend/analyze/record"
	"whichbackend/store"
)

// place is one network namespace: what several scopes may turn out to mean.
type place struct {
	id        int
	host      string // "" is a host without a name, which may be any
	kind      record.ScopeKind
	namespace string
	name      string
	addrs     map[netip.Addr]bool
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

// owner is who holds an address, put together from all listings that say so.
type owner struct {
	kind, namespace, name, host string
	workload                    string
	hostNetwork, finished       bool
	sidecar                     bool // it has a container named istio-proxy
	pos                         record.Pos
}

// service is a service record with the place that it is true in.
type service struct {
	*record.Service
	place *place // nil for API objects
}

// world is what is known beside sockets and translations, all in memory: it
// grows with the cluster, not with its traffic.
type world struct {
	st        *store.Store
	view      View
	artifacts map[int]record.Artifact
	sections  map[int]*record.Section
	rank      map[int]int  // of a section, in the order of artifact paths
	current   map[int]bool // sections that belong to the moment asked for
	places    []*place
	placeOf   map[int]*place // by section
	byKey     map[record.Scope]*place
	owners    map[netip.Addr][]*owner
	named     []*owner // every owner once, also those without an address
	records   []record.Owner

	services  []service
	byAddress map[netip.AddrPort][]service
	byIP      map[netip.Addr][]service // services of every port of an address
	byPort    map[uint16][]service     // services on any address of a host
	byName    map[string][]service     // halves of Kubernetes services: "namespace/name"
	clusters  map[string][]service     // Envoy clusters
	numbers   map[backendKey]netip.AddrPort
	loopbacks []record.Translation
}

// backendKey names a backend by a table's own number on one host.
type backendKey struct {
	host   string
	number uint32
}

// see reads the world of a case.
func see(st *store.Store, view View) (*world, error) {
	w := &world{st: st, view: view, artifacts: map[int]record.Artifact{}, sections: map[int]*record.Section{}, rank: map[int]int{},
		current: map[int]bool{}, placeOf: map[int]*place{}, byKey: map[record.Scope]*place{}, owners: map[netip.Addr][]*owner{},
		byAddress: map[netip.AddrPort][]service{}, byIP: map[netip.Addr][]service{}, byPort: map[uint16][]service{},
		byName: map[string][]service{}, clusters: map[string][]service{}, numbers: map[backendKey]netip.AddrPort{}}
	for _, step := range []func() error{w.readArtifacts, w.readOwners, w.readPlaces, w.readAddresses, w.redirectedAddresses, w.nameByAddress, w.readServices} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	var err error
	w.loopbacks, err = st.LoopbackTranslations()
	return w, err
}

// readArtifacts reads artifacts and sections and settles which are current:
// of several moments of one host, the one asked for.
func (w *world) readArtifacts() error {
	list, err := w.st.Artifacts()
	if err != nil {
		return err
	}
	inputs, err := w.st.Inputs()
	if err != nil {
		return err
	}
	sections, err := w.st.Sections()
	if err != nil {
		return err
	}
	created := map[int]int64{}
	for _, i := range inputs {
		created[i.ID] = i.Created
	}
	for _, a := range list {
		w.artifacts[a.ID] = a
	}
	hostOf := func(s *record.Section) string {
		if s.Scope.Kind == record.ScopeCluster {
			return "\x00cluster"
		}
		return s.Scope.Host
	}
	chosen := map[string]int64{}
	for i := range sections {
		s := &sections[i]
		w.sections[s.ID], w.rank[s.ID] = s, i
		t := created[w.artifacts[s.Artifact].Input]
		if t == 0 || !w.view.At.IsZero() && t > w.view.At.UnixNano() {
			continue
		}
		chosen[hostOf(s)] = max(chosen[hostOf(s)], t)
	}
	for i := range sections {
		s := &sections[i]
		t := created[w.artifacts[s.Artifact].Input]
		w.current[s.ID] = (t == 0 || t == chosen[hostOf(s)]) && (w.view.Without == nil || !w.view.Without(w.artifacts[s.Artifact].Path))
	}
	return nil
}

// less orders positions by artifact path and line, which does not depend on
// the order in which artifacts were read.
func (w *world) less(a, b record.Pos) bool {
	if ra, rb := w.rank[a.Section], w.rank[b.Section]; ra != rb {
		return ra < rb
	}
	if a.Line != b.Line {
		return a.Line < b.Line
	}
	if a.Packet != b.Packet {
		return a.Packet < b.Packet
	}
	return a.Pointer < b.Pointer
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
		p.formats[s.Format] = true
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

func sortedAddrs(m map[netip.Addr]bool) []netip.Addr {
	out := make([]netip.Addr, 0, len(m))
	for a := range m {
		out = append(out, a)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Less(out[j]) })
	return out
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
