package check

import (
	"fmt"
	"net/netip"
	"slices"

	"whichbackend/analyze/record"
	"whichbackend/analyze/resolve"
)

var untranslatedService = Rule{
	ID: "untranslated-service", Severity: Error,
	Finds: "connections that left a node for a service address itself, as no rule rewrote it",
	Needs: "a node's conntrack entries, and kube-proxy's rules for the service on that node",
	Why:   "Nobody holds a service address: the first packet came before the rules did, and the entry keeps all that follow from meeting them. A UDP client that keeps its port is never answered.",
	Do:    "Remove the entries: conntrack -D --orig-dst SERVICE on the node. Clients that start with the node should wait for kube-proxy.",
	See:   []string{"https://github.com/kubernetes/kubernetes/issues/48370", "https://github.com/kubernetes/kubernetes/issues/122740"},
	judge: findUntranslatedServices,
}

// untranslated is one service address in the table of one node.
type untranslated struct {
	service  resolve.Party
	protocol string
	place    record.Scope
}

func findUntranslatedServices(k *Case) (found []Finding, judged bool) {
	groups := groupsOf[untranslated]{}
	for i := range k.Answer.Connections {
		c := &k.Answer.Connections[i]
		if c.Seen != nil || len(c.Steps()) > 0 || c.State == "ESTABLISHED" && c.IP() == record.TCP {
			continue
		}
		client, _ := c.Tuples()
		dst := client.Destination
		for _, t := range c.Entries() {
			place := k.Place(t.Section)
			if t.Via != record.ViaConntrack || place.Kind != record.ScopeHost {
				continue
			}
			rule, ok := k.rewrites(dst, c.IP(), place)
			judged = judged || ok
			if !ok || !t.Unreplied || t.Closing || t.Before != t.After || t.Before.Destination != dst {
				continue
			}
			g := groups.of(untranslated{c.Service, c.Protocol, place})
			g.add(c)
			if len(g.at) < MaxEvidence/2 {
				g.at = append(g.at, t.Pos, rule.At)
			}
		}
	}
	for _, g := range groups.sorted() {
		f := Finding{
			Title: fmt.Sprintf("%s dialled %s over %s and left %s untranslated, although rules there lead to its backends",
				clients(g.list), called(g.key.service), g.key.protocol, hostName(g.key.place)),
			Connections: g.connections(), Objects: []Object{object(g.key.service)}, Evidence: k.evidence(g.at...),
		}
		if g.key.protocol == "tcp" {
			f.Severity = Warning
			f.Why = "Nobody holds a service address: the first SYN came before the rules did, and the entry keeps those that are sent again from meeting them. The client connects when it has given up and takes another port."
		}
		found = append(found, f)
	}
	return found, judged
}

// rewrites is the complete listing of a node's own rules that lead a service
// address to backends. IPVS and proxies may answer for it untranslated.
func (k *Case) rewrites(dst netip.AddrPort, p record.Protocol, place record.Scope) (resolve.Listing, bool) {
	list := k.Listings(dst, p, place.Host)
	if slices.ContainsFunc(list, func(l resolve.Listing) bool {
		return l.Source == record.FromIPVS || l.Source == record.FromCiliumLB || l.Source == record.FromCiliumAgent || l.Local
	}) {
		return resolve.Listing{}, false
	}
	for _, l := range list {
		if l.Source == record.FromRules && l.Mechanism == "kube-proxy" && l.Place == place && l.Complete && serving(l.Backends) > 0 && !l.Address.Addr().IsUnspecified() {
			return l, true
		}
	}
	return resolve.Listing{}, false
}

// hostName is how titles call the host of a place.
func hostName(s record.Scope) string {
	if s.Host == "" {
		return "the host"
	}
	return s.Host
}
