package check

import (
	"fmt"
	"net/netip"
	"slices"

	"whichbackend/analyze/record"
)

var hairpinNotMasqueraded = Rule{
	ID: "hairpin-not-masqueraded", Severity: Error,
	Finds: "a pod that dials its own service, is led back to itself, and sees its own address as the client",
	Needs: "a host's conntrack entries behind a service",
	Why:   "The pod answers itself directly, past the table that would put the service's address back, so that the connection never opens. It fails each time the service chooses the pod itself, and works else.",
	Do:    "Look why such packets are not masqueraded: kube-proxy's clusterCIDR, KUBE-MARK-MASQ in iptables-save, and hairpin mode of the pod's port on the bridge (bridge -d link).",
	See:   []string{"https://github.com/kubernetes/kubernetes/issues/53775", "https://github.com/kubernetes/kubernetes/issues/20475"},
	judge: findHairpins,
}

func findHairpins(k *Case) (found []Finding, judged bool) {
	groups := groupsOf[choiceGroup]{}
	for i := range k.Answer.Connections {
		c := &k.Answer.Connections[i]
		for _, s := range c.Steps() {
			if s.Via != record.ViaConntrack || s.Place.Kind != record.ScopeHost || s.Before.Destination.Addr() == s.After.Destination.Addr() {
				continue
			}
			judged = true
			own := s.Before.Source.Addr()
			if own != s.After.Destination.Addr() || s.After.Source != s.Before.Source || s.State != "SYN_SENT" || !s.Unreplied || fresh(s.Entries[0]) || k.hostHolds(own) {
				continue
			}
			g := groups.of(choiceGroup{called(c.Service), c.Protocol, s.After.Destination})
			g.add(c)
			g.at = append(g.at, s.Entries[0].Pos)
		}
	}
	for _, g := range groups.sorted() {
		found = append(found, Finding{
			Title:       fmt.Sprintf("%s dials %s, is led to itself (%s), and its own address is not masqueraded", clients(g.list), g.key.service, g.key.backend),
			Connections: g.connections(), Objects: []Object{object(g.list[0].Client), object(g.list[0].Service)}, Evidence: k.evidence(g.at...),
		})
	}
	return found, judged
}

// hostHolds tells whether a host has the address itself: its own connections
// to itself need no masquerading.
func (k *Case) hostHolds(a netip.Addr) bool {
	for _, h := range k.Held(a) {
		if h.Kind == "node" {
			return true
		}
	}
	return slices.ContainsFunc(k.HeldIn(a), func(s record.Scope) bool { return s.Kind == record.ScopeHost })
}
