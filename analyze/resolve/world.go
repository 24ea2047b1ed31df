package resolve

import (
	"net/netip"

	"whichbackend/analyze/record"
	"whichbackend/store"
)

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
	created   map[int]int64  // when an input was recorded, in nanoseconds since 1970; 0: not told
	placeOf   map[int]*place // by section
	byKey     map[record.Scope]*place
	owners    map[netip.Addr][]*owner
	named     []*owner // every owner once, also those without an address
	records   []record.Owner
	names     map[netip.Addr]string // of DNS answers and captures, for what nobody holds

	services  []service
	byAddress map[netip.AddrPort][]service
	byIP      map[netip.Addr][]service // services of every port of an address
	byPort    map[uint16][]service     // services on any address of a host
	byName    map[string][]service     // halves of Kubernetes services: "namespace/name"
	clusters  map[string][]service     // Envoy clusters
	numbers   map[backendKey]numbered
	loopbacks []record.Translation
}

// see reads the world of a case.
func see(st *store.Store, view View) (*world, error) {
	w := &world{st: st, view: view, artifacts: map[int]record.Artifact{}, sections: map[int]*record.Section{}, created: map[int]int64{}, rank: map[int]int{},
		current: map[int]bool{}, placeOf: map[int]*place{}, byKey: map[record.Scope]*place{}, owners: map[netip.Addr][]*owner{}, names: map[netip.Addr]string{},
		byAddress: map[netip.AddrPort][]service{}, byIP: map[netip.Addr][]service{}, byPort: map[uint16][]service{},
		byName: map[string][]service{}, clusters: map[string][]service{}, numbers: map[backendKey]numbered{}}
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
	created := w.created
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
