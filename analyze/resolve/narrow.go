package resolve

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"whichbackend/analyze/record"
)

// clients are the source addresses whose entries and sockets decide about the
// connections of a client that a question names by its address: the client's
// own, and those that a table turns into it. Nil stands for all.
//
// Whether an entry begins a connection depends on the paths that pass it, and
// a path passes only entries of its own source, or of what a table has made of
// that. A proxy goes on from a source that no table ties to the client's, so
// nothing is left out where there is one.
func (r *resolver) clients(want *question) (map[netip.AddrPort]bool, error) {
	if want.from == nil || !want.from.addr.IsValid() || r.hasProxies() {
		return nil, nil
	}
	made, whole, err := r.st.Rewritten(slices.Collect(maps.Keys(meshPorts)))
	if err != nil || !whole {
		return nil, err
	}
	todo, err := r.st.Sources(want.from.addr)
	if err != nil {
		return nil, err
	}
	for _, list := range r.byPlace {
		for i := range list {
			todo = append(todo, list[i].Local, list[i].Remote)
		}
	}
	todo = slices.DeleteFunc(todo, func(a netip.AddrPort) bool {
		return a.Addr() != want.from.addr || want.from.port != 0 && a.Port() != want.from.port
	})
	only := map[netip.AddrPort]bool{}
	for len(todo) > 0 {
		a := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if !only[a] {
			only[a] = true
			todo = append(todo, made[a]...)
		}
	}
	return only, nil
}

// hasProxies tells whether anything in the case ends connections and begins
// others, or stands in for a client.
func (r *resolver) hasProxies() bool {
	if len(r.loopbacks) > 0 {
		return true
	}
	for _, s := range r.services {
		if s.Source == record.FromEnvoyListener || s.Source == record.FromEnvoyCluster || s.Source == record.FromZtunnel || strings.HasPrefix(s.Type, "capture-") {
			return true
		}
	}
	for _, list := range r.byPlace {
		for i := range list {
			if k := &list[i]; meshPorts[k.Local.Port()] != "" || strings.HasPrefix(k.Program, "docker-proxy") || strings.HasPrefix(k.Program, "envoy") {
				return true
			}
		}
	}
	for _, o := range r.named {
		if o.sidecar {
			return true
		}
	}
	return false
}

// entries calls f for the translations of these sources, or for all.
func (r *resolver) entries(only map[netip.AddrPort]bool, f func(*record.Translation) error) error {
	if only == nil {
		return r.st.Translations(f)
	}
	for _, a := range sortedEndpoints(only) {
		list, err := r.from(a)
		if err != nil {
			return err
		}
		for i := range list {
			if err := f(&list[i]); err != nil {
				return err
			}
		}
	}
	return nil
}
