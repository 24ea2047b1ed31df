package report

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"

	"whichbackend/analyze/record"
	"whichbackend/analyze/render"
	"whichbackend/analyze/resolve"
)

func itoa(n int) string { return strconv.Itoa(n) }

// service is what connections dialled, and where they went from there.
type service struct {
	Name     text   `json:"name,omitempty"`
	Address  text   `json:"address"`
	Kind     text   `json:"kind,omitempty"`
	Protocol text   `json:"protocol"`
	Direct   bool   `json:"direct,omitempty"` // every connection dialled its backend itself
	Count    int    `json:"count"`
	Clients  int    `json:"clients"`
	Verdicts []int  `json:"verdicts"`
	Spread   []part `json:"spread"`
	// Listings are what is said of its backends; Listed counts all of them.
	Listings []source `json:"listings,omitempty"`
	Listed   int      `json:"listed,omitempty"`
	// Chance says how likely the backends are used at least so unevenly by chance.
	Chance text `json:"chance,omitempty"`
	// Uneven says why no share is expected of each backend, "" when one is.
	Uneven string `json:"uneven,omitempty"`

	counts  map[int]int // of settled connections, by backend
	clients map[int]bool
	froms   map[string]*resolve.Connection // one connection of each of the clients' hosts
	passed  map[netip.AddrPort]bool        // where hops led
}

// part is what one backend has of a service's connections.
type part struct {
	Backend int      `json:"backend"` // number in the table, -1 for one that has none
	Name    text     `json:"name,omitempty"`
	Address text     `json:"address,omitempty"`
	Count   int      `json:"count"`
	Share   *float64 `json:"share,omitempty"` // expected, where listings agree
	Weight  *int     `json:"weight,omitempty"`
	// State is the listing's word for what takes no new connections, "weight
	// 0", or "not listed".
	State text `json:"state,omitempty"`
}

// source is a listing of a service's backends.
type source struct {
	Artifact text `json:"artifact"`
	Line     int  `json:"line,omitempty"`
	Pointer  text `json:"pointer,omitempty"`
	From     text `json:"from"`
	Place    text `json:"place,omitempty"`
	Backends int  `json:"backends"`
	Complete bool `json:"complete"`
}

type serviceKey struct {
	party    resolve.Party
	protocol string
}

func (g *gatherer) service(c *resolve.Connection) int {
	n, fresh := g.named.of(serviceKey{c.Service, c.Protocol})
	if fresh {
		g.services = append(g.services, &service{Name: text(named(c.Service)), Address: text(render.Address(c.Service)), Kind: text(c.Service.Kind), Protocol: text(c.Protocol), Direct: true,
			Verdicts: make([]int, len(resolve.Verdicts)), Spread: []part{}, counts: map[int]int{}, clients: map[int]bool{}, froms: map[string]*resolve.Connection{}, passed: map[netip.AddrPort]bool{}})
	}
	return n
}

// add counts a connection.
func (s *service) add(c *resolve.Connection, e end, verdict, client int) {
	s.Count++
	s.Verdicts[verdict]++
	s.clients[client] = true
	direct := len(c.Mechanisms) == 1 && c.Mechanisms[0] == "direct" && len(c.Backends) > 0
	s.Direct = s.Direct && direct
	if e.How == "one" || e.How == "several" {
		for _, b := range e.Backends {
			s.counts[b]++
		}
	}
	if direct {
		return
	}
	if s.froms[c.Client.Host] == nil {
		s.froms[c.Client.Host] = c
	}
	for _, h := range c.Hops {
		if a, err := netip.ParseAddrPort(h.After.Destination); err == nil {
			s.passed[a] = true
		}
	}
}

// chances says of each service whether chance explains how uneven it is.
func (t *table) chances(c Case) {
	at := map[rowKey]*service{}
	for _, s := range t.services {
		at[rowKey{protocol: string(s.Protocol), service: string(s.Address), client: string(s.Name)}] = s
	}
	for _, x := range c.Spreads() {
		s := at[rowKey{protocol: x.Protocol, service: render.Address(x.Service), client: named(x.Service)}]
		switch {
		case s == nil:
		case x.Untested != "":
			s.Chance = text("not tested against chance: " + x.Untested)
		default:
			s.Chance = text(fmt.Sprintf("at least so uneven by chance with p = %.2g (Pearson's test, chi square %.1f, %d degrees of freedom)", x.P, x.ChiSquare, x.Freedom))
		}
	}
}

// spread fills in what each service's backends have, and what listings say.
func (t *table) spread(c Case) {
	for _, s := range t.services {
		s.Clients = len(s.clients)
		var listings []resolve.Listing
		seen := map[record.Pos]bool{}
		for _, host := range sorted(s.froms) {
			for _, l := range c.Behind(s.froms[host]) {
				if !seen[l.At] {
					seen[l.At] = true
					listings = append(listings, l)
				}
			}
		}
		slices.SortStableFunc(listings, func(a, b resolve.Listing) int { return order(c, a.At, b.At) })
		s.parts(c, t, listings)
		s.sources(c, listings)
		s.counts, s.clients, s.froms, s.passed = nil, nil, nil, nil
	}
}

func sorted[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func order(c Case, a, b record.Pos) int {
	switch {
	case c.Less(a, b):
		return -1
	case c.Less(b, a):
		return 1
	}
	return 0
}

// parts lists the backends of a service: those with connections, and those
// that listings name.
func (s *service) parts(c Case, t *table, listings []resolve.Listing) {
	at := map[string]int{}
	for b, n := range s.counts {
		s.Spread = append(s.Spread, part{Backend: b, Count: n})
	}
	slices.SortFunc(s.Spread, func(a, b part) int {
		return cmp.Or(b.Count-a.Count, cmp.Compare(t.Backends[a.Backend].Address, t.Backends[b.Backend].Address), a.Backend-b.Backend)
	})
	for i, p := range s.Spread {
		b := t.Backends[p.Backend]
		s.Spread[i].Name, s.Spread[i].Address = b.Name, b.Address
		at[string(b.Address)] = i
	}
	shares, why := expected(listings)
	listed, complete := s.listed(c, at, shares, listings)
	s.Uneven = why
	if !complete || s.throughOthers(listed) {
		return
	}
	for i, p := range s.Spread {
		if a, err := netip.ParseAddrPort(string(p.Address)); err == nil && !listed[a.Addr()] {
			s.Spread[i].State = "not listed"
		}
	}
}

// listed adds what listings say of each backend, and tells the addresses that
// they name, and whether every one of them is whole.
func (s *service) listed(c Case, at map[string]int, shares map[netip.AddrPort]float64, listings []resolve.Listing) (listed map[netip.Addr]bool, complete bool) {
	listed, complete = map[netip.Addr]bool{}, len(listings) > 0
	for _, l := range listings {
		complete = complete && l.Complete
		for _, b := range l.Backends {
			if !b.Address.IsValid() {
				complete = false
				continue
			}
			listed[b.Address.Addr()] = true
			i, ok := at[b.Address.String()]
			if !ok {
				i = len(s.Spread)
				at[b.Address.String()] = i
				s.Spread = append(s.Spread, part{Backend: -1, Address: text(b.Address.String()), Name: text(cmp.Or(joined(b.Namespace, b.Name), named(c.Party(b.Address, ""))))})
			}
			p := &s.Spread[i]
			if b.Weight >= 0 && (p.Weight == nil || *p.Weight > b.Weight) {
				w := b.Weight
				p.Weight = &w
			}
			if share, ok := shares[b.Address]; ok {
				p.Share = &share
			}
			switch {
			case b.State != "":
				p.State = text(b.State)
			case b.Weight == 0 && p.State == "":
				p.State = "weight 0"
			}
		}
	}
	return listed, complete
}

func joined(namespace, name string) string {
	if namespace == "" || name == "" {
		return name
	}
	return namespace + "/" + name
}

// throughOthers tells whether connections went on from a backend that listings
// name: where they end is then none of these listings' business.
func (s *service) throughOthers(listed map[netip.Addr]bool) bool {
	final := map[netip.AddrPort]bool{}
	for _, p := range s.Spread {
		if a, err := netip.ParseAddrPort(string(p.Address)); err == nil {
			final[a] = true
		}
	}
	for a := range s.passed {
		if listed[a.Addr()] && !final[a] {
			return true
		}
	}
	return false
}

// expected is the share of new connections that each backend gets, where all
// listings that name every backend agree on it; else why not.
func expected(listings []resolve.Listing) (map[netip.AddrPort]float64, string) {
	var all map[netip.AddrPort]float64
	for _, l := range listings {
		switch {
		case l.Affinity:
			return nil, "clients keep their backend"
		case l.HTTP:
			return nil, "each request chooses its own backend"
		case l.Local:
			return nil, "only backends on the client's node are chosen"
		case !l.Complete:
			continue
		}
		one := shares(l.Backends)
		if all == nil {
			all = one
		}
		if len(all) != len(one) {
			return nil, "the listings disagree"
		}
		for a, share := range one {
			if old, ok := all[a]; !ok || math.Abs(old-share) > 0.01 {
				return nil, "the listings disagree"
			}
		}
	}
	if len(all) == 0 {
		return nil, "no listing names every backend"
	}
	return all, ""
}

// shares are those of the backends that take new connections, by weight.
func shares(list []record.Backend) map[netip.AddrPort]float64 {
	out, sum := map[netip.AddrPort]float64{}, 0.0
	for _, b := range list {
		w := 1.0
		switch {
		case b.State != "" || b.Weight == 0:
			continue
		case b.Probability > 0:
			w = b.Probability
		case b.Weight > 0:
			w = float64(b.Weight)
		}
		out[b.Address] += w
		sum += w
	}
	for a := range out {
		out[a] = math.Round(out[a]/sum*1e6) / 1e6
	}
	return out
}

// maxSources bounds the listings that the page names of one service.
const maxSources = 12

func (s *service) sources(c Case, listings []resolve.Listing) {
	s.Listed = len(listings)
	for _, l := range listings[:min(len(listings), maxSources)] {
		x := source{From: text(l.Source), Place: text(c.PlaceName(l.At.Section)), Backends: len(l.Backends), Complete: l.Complete}
		for _, e := range c.Evidence(l.At) {
			x.Artifact, x.Line, x.Pointer = text(e.Artifact), e.Line, text(e.Pointer)
		}
		s.Listings = append(s.Listings, x)
	}
}

// services are all that connections dialled, by their numbers in the table.
func (p *page) services() []*service { return p.table.services }
