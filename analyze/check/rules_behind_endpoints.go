package check

import (
	"net/netip"
	"strings"

	"whichbackend/analyze/record"
)

var rulesBehindEndpoints = Rule{
	ID: "rules-behind-endpoints", Severity: Error,
	Finds: "kube-proxy's rules that lead a service to other backends than its endpoints",
	Needs: "iptables-save or nft list ruleset of a node, and complete endpoints of its services",
	Why:   "kube-proxy on this node has not followed the control plane: connections go to pods that are gone, or never to pods that are ready.",
	Do:    "Look at the log of kube-proxy on that node for failed syncs (iptables-restore, nft), and restart it; it writes all rules anew.",
	See:   []string{"https://github.com/kubernetes/kubernetes/issues/125467", "https://github.com/kubernetes/kubernetes/issues/126130"},
	judge: findRulesBehindEndpoints,
}

// behindKey is one service on one node.
type behindKey struct{ host, namespace, name string }

// behind is what a node's rules have and lack of one service.
type behind struct {
	p              *plane
	extra, missing map[netip.AddrPort]bool
	tables, planes []record.Pos
}

// rulesKey is one address of the rules of one node. Several listings of the
// same rules are held against each other first.
type rulesKey struct {
	place    record.Scope
	protocol record.Protocol
	address  netip.AddrPort
}

// ruled is what the rules of a node lead one address to.
type ruled struct {
	rulesKey
	complete, local bool
	count           int // of listings
	to              map[netip.AddrPort]int
	at              []record.Pos
	backends        map[netip.AddrPort]record.Pos
}

// ruled are the addresses that kube-proxy's rules know, in the order of their
// listings.
func (k *Case) ruled() []*ruled {
	var out []*ruled
	index := map[rulesKey]*ruled{}
	for _, s := range k.Services() {
		if s.Source != record.FromRules || s.Mechanism != "kube-proxy" || s.Place.Kind != record.ScopeHost || s.Inside {
			continue
		}
		key := rulesKey{s.Place, s.Protocol, s.Address}
		r := index[key]
		if r == nil {
			r = &ruled{rulesKey: key, complete: true, to: map[netip.AddrPort]int{}, backends: map[netip.AddrPort]record.Pos{}}
			index[key] = r
			out = append(out, r)
		}
		r.complete, r.local, r.count = r.complete && s.Complete, r.local || s.Local, r.count+1
		r.at = append(r.at, s.Pos)
		for _, b := range s.Backends {
			r.to[b.Address]++
			r.backends[b.Address] = b.Pos
		}
	}
	return out
}

func findRulesBehindEndpoints(k *Case) (found []Finding, judged bool) {
	hints := k.hinted()
	index, order := map[behindKey]*behind{}, []behindKey(nil)
	for _, r := range k.ruled() {
		// The address of a node port stands for every address of the node, and
		// a service's cluster address leads to the same backends.
		if !r.complete || r.address.Addr().IsUnspecified() {
			continue
		}
		p := k.kubernetes(r.address, r.protocol, r.place.Host, hints)
		if p == nil {
			continue
		}
		if _, ok := k.older(r.at, p.at); !ok {
			continue
		}
		judged = true
		key := behindKey{r.place.Host, p.party.Namespace, p.party.Name}
		b := index[key]
		if b == nil {
			b = &behind{p: p, extra: map[netip.AddrPort]bool{}, missing: map[netip.AddrPort]bool{}}
			index[key] = b
			order = append(order, key)
		}
		b.hold(r, p)
	}
	for _, key := range order {
		if b := index[key]; len(b.extra)+len(b.missing) > 0 {
			found = append(found, k.behindFinding(key, b))
		}
	}
	return found, judged
}

func (b *behind) hold(r *ruled, p *plane) {
	n := len(b.extra) + len(b.missing)
	ready := p.serving()
	for a, shown := range r.to {
		if shown == r.count && !p.known[a] && (len(ready) > 0 || p.states) {
			b.extra[a] = true
			b.tables = append(b.tables, r.backends[a])
		}
	}
	if !p.local && !r.local && !p.partial {
		for _, a := range ready {
			if r.to[a] == 0 && a.Addr().Is4() == r.address.Addr().Is4() {
				b.missing[a] = true
			}
		}
	}
	if len(b.extra)+len(b.missing) > n {
		b.tables = append(b.tables, r.at...)
		b.planes = append(b.planes, p.at...)
	}
}

func (k *Case) behindFinding(key behindKey, b *behind) Finding {
	extra, missing := sortedAddresses(b.extra), sortedAddresses(b.missing)
	f := Finding{Severity: Warning}
	var parts []string
	if len(extra) > 0 {
		f.Severity = Error
		parts = append(parts, "lead to "+addresses(extra)+", no endpoint of it")
	}
	if len(missing) > 0 {
		parts = append(parts, "lack "+addresses(missing))
	}
	host := key.host
	if host == "" {
		host = "the node"
	}
	f.Title = "the rules of " + host + " for " + called(b.p.party) + " " + strings.Join(parts, ", and ")
	if older, _ := k.older(b.tables, b.planes); older {
		f.Severity = softer(f.Severity)
	}
	f.Objects = []Object{object(b.p.party), {Kind: "node", Name: key.host, Host: key.host}}
	for _, a := range append(extra, missing...) {
		f.Objects = append(f.Objects, object(k.Party(a, key.host)))
	}
	g := group[behindKey]{}
	for i := range k.Answer.Connections {
		c := &k.Answer.Connections[i]
		if _, final := c.Tuples(); b.extra[final.Destination] && c.Service.Name == b.p.party.Name && c.Service.Namespace == b.p.party.Namespace {
			g.add(c)
		}
	}
	f.Connections, f.Evidence = g.connections(), k.evidence(append(b.tables, b.planes...)...)
	return f
}
