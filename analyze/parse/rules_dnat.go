package parse

import (
	"math"
	"net/netip"
	"strings"

	"whichbackend/analyze/record"
)

// rulesDNAT gathers the DNAT rules of one chain: several with one match share
// the new connections of one service.
type rulesDNAT struct {
	walk     *rulesWalk
	table    *rulesTable
	chain    *rulesChain
	callers  []*rulesRule
	mapped   bool // a map leads to the chain, by keys that the rules do not show
	index    map[rulesMatch]int
	services []record.Service
	left     []float64
	hidden   []bool // the listing does not show the shares
}

// rulesMatch is what a DNAT rule matches.
type rulesMatch struct {
	rulesKey
	source    netip.Prefix
	sourceNot bool
	in        string
	inNot     bool
	other     bool
}

func (d *rulesDNAT) rule(r *rulesRule) {
	if d.walk.room < 0 || d.mapped && (!r.destination.IsValid() || len(r.ports) == 0) {
		return
	}
	callers := d.callers
	if len(callers) == 0 || len(callers) > 16 || r.destination.IsValid() && len(r.ports) > 0 {
		callers = []*rulesRule{nil}
	}
	to := r.choices
	if len(to) == 0 {
		to = []rulesChoice{{to: r.to, share: 1}}
	}
	each := 1
	for _, c := range to {
		list, _ := c.to.addresses()
		each += len(list)
	}
	for _, caller := range callers {
		for _, a := range d.walk.addresses(d.table, r, caller) {
			if d.walk.room -= each; d.walk.room < 0 {
				d.walk.overflow(r.pos)
				return
			}
			d.add(r, caller, a, to)
		}
	}
}

func (d *rulesDNAT) add(r, caller *rulesRule, a netip.AddrPort, to []rulesChoice) {
	s := record.Service{Pos: r.pos, Source: record.FromRules, Protocol: r.protocol, Address: a}
	key := rulesMatch{source: r.source, sourceNot: r.sourceNot, in: r.in, inNot: r.inNot, other: r.other || d.mapped || len(d.callers) > 16}
	if caller != nil {
		if key.other = key.other || caller.other; s.Protocol == 0 {
			s.Protocol = caller.protocol
		}
		if !key.source.IsValid() {
			key.source, key.sourceNot = caller.source, caller.sourceNot
		}
	}
	key.rulesKey = rulesKey{s.Protocol, a}
	i, ok := d.index[key]
	if !ok {
		if d.index == nil {
			d.index = map[rulesMatch]int{}
		}
		i = len(d.services)
		d.index[key] = i
		s.Mechanism, s.Type = d.owner()
		s.Complete = !key.other && !key.source.IsValid() && !(r.in != "" && !r.inNot)
		d.services, d.left, d.hidden = append(d.services, s), append(d.left, 1), append(d.hidden, false)
	}
	if d.left[i] <= 0 {
		return // an earlier rule takes every packet
	}
	d.hidden[i] = d.hidden[i] || r.probabilityUnknown
	share := d.left[i] * r.probability
	d.left[i] -= share
	for _, choice := range to {
		d.backends(&d.services[i], r, choice, share*choice.share)
	}
}

func (d *rulesDNAT) backends(s *record.Service, r *rulesRule, c rulesChoice, share float64) {
	list, complete := c.to.addresses()
	s.Complete = s.Complete && complete
	if !c.to.first.IsValid() && c.to.port == c.to.lastPort {
		s.TargetPort = c.to.port // only the port changes
	}
	for _, a := range list {
		p := math.Round(share/float64(len(list))*1e9) / 1e9
		s.Backends = append(s.Backends, record.Backend{Address: a, Weight: -1, Active: -1, Probability: p, Pos: r.pos})
	}
}

// owner tells who made a DNAT rule, by its chain.
func (d *rulesDNAT) owner() (mechanism, kind string) {
	name := d.chain.name
	switch {
	case name == "DOCKER-INGRESS":
		return "docker-swarm", "ingress"
	case name == "DOCKER", strings.HasPrefix(d.table.name, "docker-"):
		return "docker", "published"
	case strings.HasPrefix(name, "DOCKER_OUTPUT"):
		return "docker", "dns"
	case strings.HasPrefix(name, "CNI-DN-"), strings.HasPrefix(name, "KUBE-HP-"):
		return "netfilter", "HostPort"
	}
	return "netfilter", "dnat"
}

func (d *rulesDNAT) end() {
	for i, s := range d.services {
		s.Complete = s.Complete && d.left[i] < 1e-6
		for j := range s.Backends {
			if d.hidden[i] {
				s.Backends[j].Probability = 0
			}
		}
		d.walk.emit(s)
	}
}
