package diff

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"whichbackend/analyze/record"
	"whichbackend/analyze/resolve"
)

// service is what one listing says of one service.
type service struct {
	group    string // the service, by the same word in every listing and moment
	listing  int
	party    resolve.Party
	source   record.Source
	ip       record.Protocol
	address  netip.AddrPort
	cluster  string
	mark     uint32
	complete bool
	backends map[netip.AddrPort]string // with their state
	named    map[netip.AddrPort]resolve.Party
}

// readServices keeps what listings say of services. What several records of
// one listing say of one service is put together.
func (m *Moment) readServices(k source) {
	for _, l := range k.Services() {
		i, ok := m.bySection[l.Section]
		if !ok {
			continue
		}
		s := service{listing: i, source: l.Source, ip: l.Protocol, address: l.Address, cluster: l.Cluster, mark: l.Mark, complete: l.Complete,
			party:    resolve.Party{Kind: "service", Namespace: l.Namespace, Name: cmp.Or(l.Name, l.Cluster)},
			backends: map[netip.AddrPort]string{}, named: map[netip.AddrPort]resolve.Party{}}
		if l.Address.IsValid() {
			s.party.Address = l.Address.String()
		}
		for _, b := range l.Backends {
			if !b.Address.IsValid() {
				s.complete = false
				continue
			}
			state := b.State
			if state == "" && b.Weight == 0 {
				state = "weight 0"
			}
			s.backends[b.Address] = state
			s.named[b.Address] = k.Party(b.Address, m.listings[i].place.Host)
		}
		m.services = append(m.services, s)
	}
}

// serviceNames finds the names of addresses, which some listings do not tell.
func serviceNames(moments []*Moment) map[dialled]string {
	out := map[dialled]string{}
	for _, m := range moments {
		for i := range m.services {
			s := &m.services[i]
			name := groupName(s.party)
			protocols := []record.Protocol{s.ip}
			if s.ip == 0 {
				protocols = []record.Protocol{0, record.TCP, record.UDP}
			}
			for _, ip := range protocols {
				if k := (dialled{ip, s.address}); s.address.IsValid() && s.party.Name != "" && s.cluster == "" && (out[k] == "" || name < out[k]) {
					out[k] = name
				}
			}
		}
	}
	return out
}

func groupName(p resolve.Party) string { return "svc " + p.Namespace + "/" + p.Name }

func groupOf(names map[dialled]string, ip record.Protocol, a netip.AddrPort) string {
	if name := names[dialled{ip, a}]; name != "" {
		return name
	}
	return fmt.Sprintf("%d %s", ip, a)
}

// group gives the services of a moment the word that all moments share.
func (m *Moment) group(names map[dialled]string) {
	for i := range m.services {
		s := &m.services[i]
		switch {
		case s.cluster != "":
			s.group = "cluster " + s.cluster
		case s.party.Name != "":
			s.group = groupName(s.party)
		case s.address.IsValid():
			s.group = groupOf(names, s.ip, s.address)
		default:
			s.group = fmt.Sprintf("mark %d", s.mark)
		}
	}
}

func sortedViews(m map[view]*said) []view {
	return slices.SortedFunc(maps.Keys(m), func(a, b view) int {
		return cmp.Or(strings.Compare(a.group, b.group), strings.Compare(string(a.source), string(b.source)), strings.Compare(a.place.Host, b.place.Host), strings.Compare(string(a.place.Kind), string(b.place.Kind)),
			strings.Compare(a.place.Namespace, b.place.Namespace), strings.Compare(a.place.Name, b.place.Name), strings.Compare(a.format, b.format))
	})
}

// said is what one listing says of one service, put together.
type said struct {
	party    resolve.Party
	listing  int // the first that says it
	lists    bool
	complete bool
	backends map[netip.AddrPort]string
	named    map[netip.AddrPort]resolve.Party
}

// view is one kind of listing in one place, of one service.
type view struct {
	group  string
	source record.Source
	place  record.Scope
	format string
}

func (m *Moment) views() map[view]*said {
	out := map[view]*said{}
	for i := range m.services {
		s := &m.services[i]
		l := &m.listings[s.listing]
		v := view{s.group, s.source, l.place, l.format}
		x := out[v]
		if x == nil {
			x = &said{party: s.party, listing: s.listing, complete: true, backends: map[netip.AddrPort]string{}, named: map[netip.AddrPort]resolve.Party{}}
			out[v] = x
		}
		if s.party.Address != "" && (x.party.Address == "" || s.party.Address < x.party.Address) {
			x.party.Address = s.party.Address
		}
		if s.complete || len(s.backends) > 0 {
			x.lists, x.complete = true, x.complete && s.complete
		}
		for a, state := range s.backends {
			if old, ok := x.backends[a]; !ok || state == "" || old != "" && state < old {
				x.backends[a] = state
			}
			x.named[a] = s.named[a]
		}
	}
	return out
}

// changeKey gathers what several listings say alike.
type changeKey struct {
	group                 string
	backend               netip.AddrPort
	change, before, after string
}

// services finds the services and backends that came, went or are in another
// state.
func (s *step) services() {
	before, after := s.before.views(), s.after.views()
	changes := map[changeKey]*Change{}
	at := map[string]map[netip.AddrPort][]string{} // who lists a backend after
	for _, v := range sortedViews(after) {
		x := after[v]
		for a := range x.backends {
			if at[v.group] == nil {
				at[v.group] = map[netip.AddrPort][]string{}
			}
			at[v.group][a] = append(at[v.group][a], s.after.listings[x.listing].called())
		}
	}
	note := func(k changeKey, x *said, where string) {
		c := changes[k]
		if c == nil {
			c = &Change{Step: s.n, Change: k.change, Service: x.party, Before: k.before, After: k.after}
			if k.backend.IsValid() {
				p := x.named[k.backend]
				c.Backend = &p
			}
			if k.change == "gone" {
				c.StillIn = at[k.group][k.backend]
				slices.Sort(c.StillIn)
			}
			changes[k] = c
		}
		if betterNamed(x.party, c.Service) {
			c.Service = x.party
		}
		c.Listings = append(c.Listings, where)
	}
	s.viewsLeft(before, after, note)
	s.viewsCame(before, after, note)
	for _, k := range slices.SortedFunc(maps.Keys(changes), compareChanges) {
		c := changes[k]
		slices.Sort(c.Listings)
		c.Listings = slices.Compact(c.Listings)
		s.Services = append(s.Services, *c)
	}
}

func betterNamed(a, b resolve.Party) bool {
	return a.Name != "" && b.Name == "" || a.Name == b.Name && a.Address != "" && (b.Address == "" || a.Address < b.Address)
}

func compareChanges(a, b changeKey) int {
	return cmp.Or(strings.Compare(a.group, b.group), strings.Compare(a.change, b.change), a.backend.Compare(b.backend), strings.Compare(a.before+a.after, b.before+b.after))
}

// viewsLeft notes what a listing named before and does not name after.
func (s *step) viewsLeft(before, after map[view]*said, note func(changeKey, *said, string)) {
	for _, v := range sortedViews(before) {
		x := before[v]
		l := &s.before.listings[x.listing]
		if missing := s.after.again(l); missing != "" {
			s.lacks("after", "services", missing).Count++
			continue
		}
		y := after[v]
		if y == nil {
			note(changeKey{group: v.group, change: "gone"}, x, l.called())
			y = &said{complete: true, lists: true}
		}
		for a, state := range x.backends {
			now, ok := y.backends[a]
			switch {
			case !ok && y.lists && y.complete:
				note(changeKey{group: v.group, backend: a, change: "gone"}, x, l.called())
			case ok && now != state:
				note(changeKey{v.group, a, "changed", cmp.Or(state, "active"), cmp.Or(now, "active")}, x, l.called())
			}
		}
	}
}

// viewsCame notes what a listing names after and did not name before.
func (s *step) viewsCame(before, after map[view]*said, note func(changeKey, *said, string)) {
	for _, v := range sortedViews(after) {
		y := after[v]
		l := &s.after.listings[y.listing]
		if missing := s.before.again(l); missing != "" {
			s.lacks("before", "services", missing).Count++
			continue
		}
		x := before[v]
		if x == nil {
			note(changeKey{group: v.group, change: "appeared"}, y, l.called())
			x = &said{complete: true, lists: true}
		}
		for a := range y.backends {
			if _, ok := x.backends[a]; !ok && x.lists && x.complete {
				note(changeKey{group: v.group, backend: a, change: "appeared"}, y, l.called())
			}
		}
	}
}
