package check

import (
	"fmt"
	"net/netip"
	"slices"

	"whichbackend/analyze/record"
	"whichbackend/analyze/resolve"
)

var ipvsStaleConnection = Rule{
	ID: "ipvs-stale-connection", Severity: Error,
	Finds: "IPVS connections to a destination that their service no longer has, although somebody holds its address",
	Needs: "ipvsadm -Lnc and ipvsadm -Ln of one namespace",
	Why:   "IPVS keeps sending a client's packets by its connection table. For UDP each packet renews the entry, so the client never gets to a backend that serves.",
	Do:    "End the entries: stop the client for longer than the entry lasts, or set net.ipv4.vs.expire_nodest_conn=1 in that namespace, so that IPVS drops them itself.",
	See:   []string{"https://github.com/moby/moby/issues/36878"},
	over:  []string{"backend-removed"},
	judge: findIPVSStaleConnections,
}

// staleKey is what the stale connections of one finding have in common.
type staleKey struct {
	v  *virtual
	to netip.AddrPort
}

func (s staleKey) String() string { return fmt.Sprint(s.v.virtualKey, s.to) }

func findIPVSStaleConnections(k *Case) (found []Finding, judged bool) {
	tasks := k.swarmTasks()
	byAddress := k.virtualsByAddress(tasks)
	if len(byAddress) == 0 {
		return nil, false
	}
	lacking := map[staleKey]bool{}
	groups, hints, of := groupsOf[staleKey]{}, k.hinted(), map[record.Pos]*group[staleKey]{}
	err := k.Load.Store.Translations(func(t *record.Translation) error {
		if t.Via != record.ViaIPVS || !k.Current(t.Section) {
			return nil
		}
		place := k.Place(t.Section)
		v := byAddress[virtualKey{place: place, protocol: t.Protocol, address: t.Before.Destination}]
		if v == nil {
			v = byAddress[virtualKey{place: place, address: netip.AddrPortFrom(t.Before.Destination.Addr(), 0)}]
		}
		if v == nil || !v.complete {
			return nil
		}
		judged = true
		key := staleKey{v, t.After.Destination}
		if !live(t) {
			return nil
		}
		if _, ok := lacking[key]; !ok {
			lacking[key] = k.lacks(key, hints, tasks)
		}
		if lacking[key] {
			g := groups.of(key)
			g.at = append(g.at, t.Pos)
			of[t.Pos] = g
		}
		return nil
	})
	if err != nil {
		k.fail(err)
	}
	k.giveConnections(of)
	for _, g := range groups.sorted() {
		found = append(found, k.staleFinding(g, tasks, hints))
	}
	return found, judged
}

// virtualsByAddress are the IPVS services by the address that clients dial. That
// of a firewall mark stands in the rule that sets it.
func (k *Case) virtualsByAddress(tasks *swarmTasks) map[virtualKey]*virtual {
	out := map[virtualKey]*virtual{}
	for _, v := range k.virtuals() {
		if v.mark == 0 {
			out[v.virtualKey] = v
			continue
		}
		for _, a := range tasks.vips[virtualKey{place: v.place, mark: v.mark}] {
			out[virtualKey{place: v.place, address: netip.AddrPortFrom(a, 0)}] = v
		}
	}
	return out
}

// live tells an entry by which packets still go.
func live(t *record.Translation) bool {
	return t.Protocol == record.UDP || t.Protocol == record.TCP && t.State == "ESTABLISHED"
}

// lacks tells whether a service has not the destination of a connection, and
// somebody holds its address all the same. A backend that the control plane
// calls ready is one that came between the two listings.
func (k *Case) lacks(key staleKey, hints map[string]bool, tasks *swarmTasks) bool {
	v, to := key.v, key.to
	everyPort := netip.AddrPortFrom(to.Addr(), 0)
	if v.to[to] != nil || v.to[everyPort] != nil {
		return false
	}
	if _, ok := k.held(to.Addr()); !ok {
		return false
	}
	p := k.behindVirtual(v, hints, tasks)
	return p == nil || !p.ready[to] && !p.ready[everyPort]
}

// giveConnections gives groups the connections of the answer that rest on
// their entries.
func (k *Case) giveConnections(of map[record.Pos]*group[staleKey]) {
	if len(of) == 0 {
		return
	}
	for i := range k.Answer.Connections {
		c := &k.Answer.Connections[i]
		for _, t := range c.Entries() {
			if g := of[t.Pos]; g != nil {
				g.add(c)
			}
		}
	}
}

func (k *Case) staleFinding(g *group[staleKey], tasks *swarmTasks, hints map[string]bool) Finding {
	v, to := g.key.v, g.key.to
	f := Finding{Severity: Error, Connections: g.connections()}
	if v.protocol == record.TCP || len(g.list) > 0 && g.list[0].IP() == record.TCP {
		f.Severity = Warning
	}
	h, _ := k.held(to.Addr())
	f.Title = fmt.Sprintf("IPVS on %s still sends %s to %s, which is no destination of it any more and is held by %s",
		placeName(v.place), k.virtualName(v, k.behindVirtual(v, hints, tasks)), to, called(h.Party))
	f.Objects = []Object{ipvsTable(v.place), object(resolve.Party{Address: to.String(), Kind: h.Kind, Namespace: h.Namespace, Name: h.Name, Host: h.Host})}
	f.Evidence = k.evidence(slices.Concat(g.at[:min(len(g.at), MaxEvidence/2)], v.at)...)
	return f
}
