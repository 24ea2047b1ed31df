package check

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"whichbackend/analyze/record"
	"whichbackend/analyze/resolve"
)

var swarmMarkMismatch = Rule{
	ID: "swarm-mark-mismatch", Severity: Error,
	Finds: "firewall marks, IPVS services and virtual addresses of a Swarm load balancer that do not fit each other",
	Needs: "ipvsadm -Ln and iptables-save of a load-balancer namespace; docker network inspect -v to hold addresses against",
	Why:   "Swarm marks the packets for a virtual address, and IPVS balances by the mark. Where one half is missing or stands for another service, connections to the address go unbalanced, to the wrong service, or nowhere.",
	Do:    "Restart the docker daemon of that node, which builds both halves anew, or scale the service to zero and back.",
	See:   []string{"https://github.com/moby/moby/issues/30464", "https://github.com/moby/moby/issues/26060", "https://github.com/moby/moby/issues/28564"},
	judge: findSwarmMarkMismatches,
}

// marksOf are the two halves of the load balancer in one namespace.
type marksOf struct {
	place record.Scope
	ipvs  map[uint32]*virtual
	rules map[uint32][]record.Pos
	vips  map[uint32][]netip.Addr
}

func findSwarmMarkMismatches(k *Case) (found []Finding, judged bool) {
	tasks := k.swarmTasks()
	halves := map[record.Scope]*marksOf{}
	var order []*marksOf
	of := func(place record.Scope) *marksOf {
		m := halves[place]
		if m == nil {
			m = &marksOf{place, map[uint32]*virtual{}, map[uint32][]record.Pos{}, map[uint32][]netip.Addr{}}
			halves[place] = m
			order = append(order, m)
		}
		return m
	}
	for _, v := range k.virtuals() {
		if swarm(v.place) && v.mark != 0 {
			of(v.place).ipvs[v.mark] = v
		}
	}
	for key, at := range tasks.rules {
		if swarm(key.place) {
			of(key.place).rules[key.mark] = at
			of(key.place).vips[key.mark] = tasks.vips[key]
		}
	}
	for _, m := range order {
		// A namespace without a rule that marks may be one whose mangle table
		// was not recorded; one without a service may have only connections.
		if len(m.ipvs) == 0 || len(m.rules) == 0 || !m.whole() {
			continue
		}
		judged = true
		found = append(found, k.halvesOf(m)...)
		found = append(found, k.addressesOf(m, tasks)...)
	}
	slices.SortFunc(found, func(a, b Finding) int { return cmp.Compare(a.Title, b.Title) })
	return found, judged
}

func (m *marksOf) whole() bool {
	for _, v := range m.ipvs {
		if !v.complete {
			return false
		}
	}
	return true
}

func (m *marksOf) finding(k *Case, title string, at ...record.Pos) Finding {
	return Finding{Title: title + " on " + placeName(m.place), Objects: []Object{ipvsTable(m.place)}, Evidence: k.evidence(at...)}
}

// halvesOf finds marks that only one half has.
func (k *Case) halvesOf(m *marksOf) (found []Finding) {
	for mark, v := range m.ipvs {
		if m.rules[mark] == nil {
			found = append(found, m.finding(k, fmt.Sprintf("no rule marks packets for IPVS service FWM %d", mark), append(v.at, m.anyRule()...)...))
		}
	}
	for mark, at := range m.rules {
		if m.ipvs[mark] == nil {
			found = append(found, m.finding(k, fmt.Sprintf("no IPVS service takes the packets that a rule marks with %d", mark), append(at, m.anyService()...)...))
		}
	}
	return found
}

// anyRule and anyService show the half that is there.
func (m *marksOf) anyRule() (at []record.Pos) {
	for _, list := range m.rules {
		at = append(at, list...)
	}
	return at
}

func (m *marksOf) anyService() (at []record.Pos) {
	for _, v := range m.ipvs {
		at = append(at, v.at...)
	}
	return at
}

// addressesOf holds the marks against what docker says of this node's services.
func (k *Case) addressesOf(m *marksOf, tasks *swarmTasks) (found []Finding) {
	for _, l := range tasks.services {
		if l.Mark == 0 || l.Type != "vip" || len(l.Backends) == 0 || !tasks.balances(m.place, l) || k.Section(l.Section).Scope.Host != m.place.Host {
			continue
		}
		if f, ok := k.markOf(m, l); ok && !slices.ContainsFunc(found, func(o Finding) bool { return o.Title == f.Title }) {
			found = append(found, f)
		}
	}
	return found
}

func (k *Case) markOf(m *marksOf, l resolve.Listed) (Finding, bool) {
	vips, rules, v := m.vips[l.Mark], m.rules[l.Mark], m.ipvs[l.Mark]
	switch {
	case v == nil && rules == nil:
		return m.finding(k, fmt.Sprintf("neither a rule nor an IPVS service has mark %d of %s", l.Mark, l.Name), append(append(m.anyRule(), m.anyService()...), l.Pos)...), true
	case v == nil || len(vips) == 0 || slices.Contains(vips, l.Address.Addr()):
		return Finding{}, false // the half that is missing has a finding of its own
	}
	return m.finding(k, fmt.Sprintf("mark %d is set for %s, but docker has it for %s, the address of %s,", l.Mark, vips[0], l.Address.Addr(), l.Name), append(append(rules, v.at...), l.Pos)...), true
}
