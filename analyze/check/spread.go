package check

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"strings"

	"whichbackend/analyze/record"
	"whichbackend/analyze/resolve"
)

// Spread is how the connections of one service lie on its backends, and how
// likely they lie at least so unevenly by chance.
type Spread struct {
	Service  resolve.Party `json:"service" yaml:"service"`
	Protocol string        `json:"protocol" yaml:"protocol"`
	Backends []Share       `json:"backends" yaml:"backends"`
	// Total are the connections whose backend is settled, of so many Clients;
	// Unsettled are the others.
	Total     int `json:"total" yaml:"total"`
	Clients   int `json:"clients" yaml:"clients"`
	Unsettled int `json:"unsettled,omitempty" yaml:"unsettled,omitempty"`
	// Affinity is true where a client keeps its backend, and Scheduler the word
	// of IPVS for how it chooses.
	Affinity  bool   `json:"affinity,omitempty" yaml:"affinity,omitempty"`
	Scheduler string `json:"scheduler,omitempty" yaml:"scheduler,omitempty"`
	// Untested says why chance cannot be reckoned with; P and ChiSquare are then
	// 0. P is of Pearson's test with Freedom degrees of freedom over the
	// backends that have any connection, or too few not to have one by chance.
	Untested  string  `json:"untested,omitempty" yaml:"untested,omitempty"`
	P         float64 `json:"p" yaml:"p"`
	ChiSquare float64 `json:"chi_square" yaml:"chi_square"`
	Freedom   int     `json:"freedom" yaml:"freedom"`

	at []record.Pos // of the listings
}

// Share is what one backend has of the connections of a service.
type Share struct {
	resolve.Party `yaml:",inline"`
	Count         int `json:"count" yaml:"count"`
	// Weight is the part of all new connections that goes to it by the weights
	// or probabilities of the listing, and Expected that part of the Total. Both
	// are 0 of a backend that gets no new connections, or is not listed.
	Weight   float64 `json:"weight" yaml:"weight"`
	Expected float64 `json:"expected" yaml:"expected"`
	// Idle is true where it has none, and chance would hardly leave it out.
	Idle bool `json:"idle,omitempty" yaml:"idle,omitempty"`

	at   record.Pos
	list []*resolve.Connection
}

// minExpected is how many connections each backend should have before Pearson's
// test says anything; idleBelow is how likely an idle backend is by chance at
// most, and settledPart how many of the connections have to be settled: of the
// others nobody knows where they went.
const (
	minExpected = 5
	idleBelow   = 1e-4
	settledPart = 0.9
)

// Spreads are the spreads of all services with a list of their backends, by
// service.
func (k *Case) Spreads() []Spread {
	var out []Spread
	for _, t := range k.tallies() {
		if s := t.spread(k); len(s.Backends) > 0 {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b Spread) int {
		return cmp.Or(strings.Compare(called(a.Service), called(b.Service)), strings.Compare(a.Service.Address, b.Service.Address), strings.Compare(a.Protocol, b.Protocol))
	})
	tests := 0
	for _, s := range out {
		if s.Untested == "" {
			tests++
		}
	}
	for i := range out {
		out[i].test(tests)
	}
	return out
}

// tally gathers the connections of one service.
type tally struct {
	service   resolve.Party
	protocol  string
	dialled   netip.AddrPort
	counts    map[netip.AddrPort][]*resolve.Connection
	clients   map[netip.Addr]bool
	unsettled int
	views     map[string]view // by the host of the client
}

// view is what a client's host says of a service.
type view struct {
	shares    map[netip.AddrPort]share
	at        []record.Pos
	affinity  bool
	scheduler string
	untested  string
}

type share struct {
	weight float64
	at     record.Pos
}

// tallies gathers the connections of all services, in the order of the answer.
func (k *Case) tallies() []*tally {
	type key struct{ address, protocol string }
	index := map[key]*tally{}
	var out []*tally
	for i := range k.Answer.Connections {
		c := &k.Answer.Connections[i]
		if c.Seen != nil || c.Service.Kind != "service" || !byKernel(c) {
			continue
		}
		id := key{c.Service.Address, c.Protocol}
		t := index[id]
		if t == nil {
			client, _ := c.Tuples()
			t = &tally{service: c.Service, protocol: c.Protocol, dialled: client.Destination, counts: map[netip.AddrPort][]*resolve.Connection{},
				clients: map[netip.Addr]bool{}, views: map[string]view{}}
			index[id] = t
			out = append(out, t)
		}
		t.add(k, c)
	}
	return out
}

// byKernel tells whether the kernel alone chose the backend of a connection: a
// proxy chooses by rules and at times of its own.
func byKernel(c *resolve.Connection) bool {
	if c.Granularity == "request" {
		return false
	}
	for _, m := range c.Mechanisms {
		if m == "istio" || m == "envoy" || m == "direct" {
			return false
		}
	}
	return true
}

func (t *tally) add(k *Case, c *resolve.Connection) {
	if _, ok := t.views[c.Client.Host]; !ok {
		t.views[c.Client.Host] = viewOf(k.Behind(c))
	}
	if c.Verdict != resolve.Proven && c.Verdict != resolve.Observed || len(c.Backends) != 1 {
		t.unsettled++
		return
	}
	backend, err := netip.ParseAddrPort(c.Backends[0].Address)
	if err != nil {
		t.unsettled++
		return
	}
	t.counts[backend] = append(t.counts[backend], c)
	client, _ := c.Tuples()
	t.clients[client.Source.Addr()] = true
}

// viewOf reads off the listings of one address how its backends are chosen. The
// datapath's own table says it; the control plane's does not say how.
func viewOf(list []resolve.Listing) (v view) {
	inner := slices.Clone(list)
	inner = slices.DeleteFunc(inner, func(l resolve.Listing) bool {
		return l.Source != record.FromRules && l.Source != record.FromIPVS && l.Source != record.FromCiliumLB
	})
	if len(inner) == 0 {
		inner, v.untested = list, "no rules and no table of the host say how it chooses"
	}
	for _, l := range list {
		v.affinity = v.affinity || l.Affinity
		if l.Local || l.Inside {
			v.untested = "each node chooses among backends of its own"
		}
	}
	for _, l := range inner {
		shares, ok := sharesOf(l)
		switch {
		case !ok:
			v.untested = cmp.Or(v.untested, "a listing does not tell the share of every backend")
		case !l.Complete:
			v.untested = cmp.Or(v.untested, "a listing does not name all backends")
		case v.shares != nil && !sameShares(v.shares, shares):
			v.untested = cmp.Or(v.untested, "listings name other backends, or other shares")
		}
		if v.shares == nil {
			v.shares = shares
		}
		v.scheduler = cmp.Or(v.scheduler, l.Scheduler)
		v.at = append(v.at, l.At)
	}
	switch {
	case v.affinity:
		v.untested = cmp.Or(v.untested, "a client keeps its backend")
	case v.scheduler != "" && v.scheduler != "rr" && v.scheduler != "wrr":
		v.untested = cmp.Or(v.untested, "the scheduler "+v.scheduler+" does not choose each connection by itself")
	}
	return v
}

// sharesOf are the parts of new connections that the backends of a listing get.
// ok is false where it tells them of some only.
func sharesOf(l resolve.Listing) (shares map[netip.AddrPort]share, ok bool) {
	shares = map[netip.AddrPort]share{}
	sum, likely, weighted, n := 0.0, 0, 0, 0
	for _, b := range l.Backends {
		if b.State != "" || b.Weight == 0 || !b.Address.IsValid() {
			continue
		}
		n++
		w := 1.0
		switch {
		case b.Probability > 0:
			w = b.Probability
			likely++
		case b.Weight > 0:
			w = float64(b.Weight)
			weighted++
		}
		sum += w
		shares[b.Address] = share{shares[b.Address].weight + w, b.Pos}
	}
	for a, s := range shares {
		shares[a] = share{s.weight / sum, s.at}
	}
	return shares, (likely == 0 || likely == n) && (weighted == 0 || weighted == n)
}

func sameShares(a, b map[netip.AddrPort]share) bool {
	if len(a) != len(b) {
		return false
	}
	for x, s := range a {
		o, ok := b[x]
		if !ok || math.Abs(o.weight-s.weight) > 1e-3 {
			return false
		}
	}
	return true
}

// merged is what the views of all hosts have in common.
func (t *tally) merged() (v view) {
	hosts := make([]string, 0, len(t.views))
	for h := range t.views {
		hosts = append(hosts, h)
	}
	slices.Sort(hosts)
	for i, h := range hosts {
		o := t.views[h]
		if i == 0 {
			v = o
			continue
		}
		v.affinity = v.affinity || o.affinity
		v.scheduler = cmp.Or(v.scheduler, o.scheduler)
		v.untested = cmp.Or(v.untested, o.untested)
		if !sameShares(v.shares, o.shares) {
			v.untested = cmp.Or(v.untested, "hosts list other backends, or other shares")
		}
		if v.shares == nil {
			v.shares = o.shares
		}
	}
	return v
}

// spread writes the tally as a value: with the backends that are listed and have
// none, and those that have connections and are not listed.
func (t *tally) spread(k *Case) Spread {
	v := t.merged()
	s := Spread{Service: t.service, Protocol: t.protocol, Clients: len(t.clients), Unsettled: t.unsettled,
		Affinity: v.affinity, Scheduler: v.scheduler, Untested: v.untested, at: v.at}
	unlisted := 0
	for a, list := range t.counts {
		s.Total += len(list)
		x := Share{Party: list[0].Backends[0].Party, Count: len(list), list: list}
		if w, ok := v.shares[a]; ok {
			x.Weight, x.at = w.weight, w.at
		} else {
			unlisted += len(list)
		}
		s.Backends = append(s.Backends, x)
	}
	for a, w := range v.shares {
		if len(t.counts[a]) == 0 {
			s.Backends = append(s.Backends, Share{Party: k.Party(a, ""), Weight: w.weight, at: w.at})
		}
	}
	for i := range s.Backends {
		s.Backends[i].Expected = s.Backends[i].Weight * float64(s.Total-unlisted)
	}
	slices.SortFunc(s.Backends, func(a, b Share) int {
		return cmp.Or(strings.Compare(called(a.Party), called(b.Party)), strings.Compare(a.Address, b.Address))
	})
	switch {
	case s.Untested != "":
	case unlisted > 0:
		s.Untested = "some connections lead to what is not among its backends, so the list was another one when they began"
	case float64(s.Total) < settledPart*float64(s.Total+s.Unsettled):
		s.Untested = "the backend of too many connections is not settled"
	case len(v.shares) < 2:
		s.Untested = "there is nothing to choose from"
	}
	return s
}

// test marks idle backends and reckons the chance of the others.
func (s *Spread) test(tests int) {
	if s.Untested != "" {
		return
	}
	for i := range s.Backends {
		b := &s.Backends[i]
		b.Idle = b.Count == 0 && float64(s.Total)*math.Log1p(-b.Weight) < math.Log(idleBelow/float64(tests))
	}
	p, x, freedom, ok := pearson(s.Backends)
	if !ok {
		s.Untested = "too few connections for the test"
		return
	}
	s.P, s.ChiSquare, s.Freedom = p, x, freedom
}

// pearson tests the backends that are not idle. ok is false where there is
// nothing to compare, or too little.
func pearson(list []Share) (p, x float64, freedom int, ok bool) {
	total, weight, n := 0, 0.0, 0
	for _, b := range list {
		if !b.Idle {
			total, weight, n = total+b.Count, weight+b.Weight, n+1
		}
	}
	for _, b := range list {
		if b.Idle {
			continue
		}
		expected := float64(total) * b.Weight / weight
		if expected < minExpected {
			return 0, 0, 0, false
		}
		d := float64(b.Count) - expected
		x += d * d / expected
	}
	return chiSquare(x, n-1), x, n - 1, n > 1
}
