package check

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"net/netip"
	"slices"
	"strings"

	"whichbackend/analyze/record"
)

var tupleCollision = Rule{
	ID: "tuple-collision", Severity: Warning,
	Finds: "two connections that one table leaves with the same addresses and ports, so that answers cannot be told apart",
	Needs: "the entries of a table that rewrites connections",
	Why:   "The backend takes both for one connection, and its answers are rewritten for one of the clients' sockets only: the other is reset, or hangs.",
	Do:    "Give the clients another source port (let the kernel choose it), or one address for both services.",
	See:   []string{"https://github.com/cilium/cilium/issues/10983", "https://github.com/cilium/cilium/issues/11810", "https://github.com/cilium/cilium/issues/18632"},
	judge: findTupleCollisions,
}

// left is what a table leaves of a connection: two of one are a collision. Two
// listings of one table show two moments, and a port may be used again.
type left struct {
	section  int
	via      record.Via
	zone     uint32
	protocol record.Protocol
	after    record.Tuple
}

func findTupleCollisions(k *Case) (found []Finding, judged bool) {
	tables := k.Places()
	seed := maphash.MakeSeed()
	once, twice := map[uint64]uint64{}, map[uint64]bool{} // what it left, by what came
	each := func(f func(left, *record.Translation)) {
		err := k.Load.Store.Translations(func(t *record.Translation) error {
			key, place := left{t.Section, t.Via, t.Zone, t.Protocol, t.After}, k.Place(t.Section)
			// Swarm rewrites the source behind IPVS, and conntrack shows how.
			ipvs := t.Via == record.ViaIPVS && place.Kind == record.ScopeHost && !tables[place]["conntrack"]
			if k.Current(t.Section) && (t.Via == record.ViaConntrack || ipvs) && isCarried(t) {
				f(key, t)
			}
			return nil
		})
		if err != nil {
			k.fail(err)
		}
	}
	each(func(key left, t *record.Translation) {
		judged = true
		h, b := maphash.Comparable(seed, key), maphash.Comparable(seed, t.Before)
		if old, ok := once[h]; ok && old != b {
			twice[h] = true
		}
		once[h] = b
	})
	once = nil
	groups := map[left][]record.Translation{}
	if len(twice) > 0 {
		each(func(key left, t *record.Translation) {
			if twice[maphash.Comparable(seed, key)] {
				groups[key] = append(groups[key], *t)
			}
		})
	}
	for key, list := range groups {
		at := make([]record.Pos, 0, len(list))
		for _, t := range list {
			at = append(at, t.Pos)
		}
		if f, ok := k.collision(key, list, at); ok {
			found = append(found, f)
		}
	}
	cilium, any := k.ciliumCollisions()
	found = append(found, cilium...)
	slices.SortFunc(found, func(a, b Finding) int {
		return cmp.Or(strings.Compare(a.Title, b.Title), strings.Compare(fmt.Sprint(a.Evidence), fmt.Sprint(b.Evidence)))
	})
	return slices.CompactFunc(found, func(a, b Finding) bool { return a.Title == b.Title }), judged || any
}

// isCarried tells a live entry of which both sides and their ports are known. IPVS
// has templates of clients that keep their backend, which are no connections.
func isCarried(t *record.Translation) bool {
	return (t.Protocol == record.TCP || t.Protocol == record.UDP) && !t.Closing && !ending(t.State) && !t.Selects &&
		t.Before.Source.Port() != 0 && t.Before.Destination.Port() != 0 && t.After.Source.Port() != 0 && t.After.Destination.Port() != 0
}

func (k *Case) collision(key left, list []record.Translation, at []record.Pos) (Finding, bool) {
	place := k.Place(key.section)
	var ways []string
	for _, t := range list {
		ways = append(ways, t.Before.Source.String()+" to "+t.Before.Destination.String())
	}
	slices.Sort(ways)
	ways = slices.Compact(ways)
	if len(ways) < 2 {
		return Finding{}, false
	}
	return Finding{
		Title: fmt.Sprintf("%s and %s leave %s as one connection, %s to %s", ways[0], ways[1], hostName(place), key.after.Source, key.after.Destination),
		Count: len(ways), Connections: []Connection{},
		Objects:  []Object{object(k.Party(key.after.Source, place.Host)), object(k.Party(key.after.Destination, place.Host))},
		Evidence: k.evidence(at...),
	}, true
}

// collidingChoice is a client's port that leads to one backend through services.
type collidingChoice struct {
	place    record.Scope
	protocol record.Protocol
	client   netip.AddrPort
	backend  netip.AddrPort
}

// ciliumCollisions are those where Cilium has one entry for the packets of two
// services: it holds the number of the service that was dialled last.
func (k *Case) ciliumCollisions() (found []Finding, judged bool) {
	groups := groupsOf[collidingChoice]{}
	for i := range k.Answer.Connections {
		c := &k.Answer.Connections[i]
		for _, s := range c.Steps() {
			if s.Via != record.ViaCiliumCT || !choosesLive(c, s) || !s.Entries[0].Selects && len(s.Entries) < 2 {
				continue
			}
			judged = true
			g := groups.of(collidingChoice{s.Place, c.IP(), s.Before.Source, s.After.Destination})
			g.add(c)
			for _, t := range s.Entries {
				g.at = append(g.at, t.Pos)
			}
		}
	}
	for _, g := range groups.sorted() {
		services := map[string]bool{}
		for _, c := range g.list {
			services[called(c.Service)] = true
		}
		if len(services) < 2 {
			continue
		}
		names := make([]string, 0, len(services))
		for s := range services {
			names = append(names, s)
		}
		slices.Sort(names)
		found = append(found, Finding{
			Title:       fmt.Sprintf("%s dials %s from one port, and %s leads both to %s", g.key.client, strings.Join(names, " and "), hostName(g.key.place), g.key.backend),
			Connections: g.connections(), Objects: []Object{object(g.list[0].Client), object(k.Party(g.key.backend, ""))}, Evidence: k.evidence(g.at...),
		})
	}
	return found, judged
}
