package check

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"whichbackend/analyze/record"
	"whichbackend/analyze/resolve"
)

// virtualKey names a service in the IPVS table of one namespace.
type virtualKey struct {
	place    record.Scope
	protocol record.Protocol
	address  netip.AddrPort
	mark     uint32
}

// virtual is one IPVS service, put together from all listings of its table.
type virtual struct {
	virtualKey
	complete bool
	to       map[netip.AddrPort]*destination
	at       []record.Pos
}

// destination is one that every listing of its service shows.
type destination struct {
	address netip.AddrPort
	weight  int   // -1: not said
	active  int64 // the most that a listing counts, -1: not said
	shown   int   // how many listings show it
	at      []record.Pos
	zero    []record.Pos // where listings give it no weight
}

// virtuals are the IPVS services of the case, in the order of their listings.
func (k *Case) virtuals() []*virtual {
	var out []*virtual
	index := map[virtualKey]*virtual{}
	for _, s := range k.Services() {
		if s.Source != record.FromIPVS {
			continue
		}
		key := virtualKey{s.Place, s.Protocol, s.Address, s.Mark}
		v := index[key]
		if v == nil {
			v = &virtual{virtualKey: key, complete: true, to: map[netip.AddrPort]*destination{}}
			index[key] = v
			out = append(out, v)
		}
		v.complete = v.complete && s.Complete
		v.at = append(v.at, s.Pos)
		for _, b := range s.Backends {
			v.shows(b)
		}
	}
	return out
}

func (v *virtual) shows(b record.Backend) {
	d := v.to[b.Address]
	if d == nil {
		d = &destination{address: b.Address, weight: b.Weight, active: b.Active}
		v.to[b.Address] = d
	}
	d.shown++
	d.active = max(d.active, b.Active)
	if b.Weight > 0 || d.weight < 0 {
		d.weight = b.Weight // one listing that gives it a weight is enough
	}
	d.at = append(d.at, b.Pos)
	if b.Weight == 0 {
		d.zero = append(d.zero, b.Pos)
	}
}

// destinations are those that all listings show, in the order of addresses.
func (v *virtual) destinations() []*destination {
	var out []*destination
	for _, d := range v.to {
		if d.shown == len(v.at) {
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b *destination) int { return a.address.Compare(b.address) })
	return out
}

// swarm tells a namespace in which Swarm balances.
func swarm(p record.Scope) bool {
	return p.Kind == record.ScopeNetns && (strings.HasPrefix(p.Name, "lb_") || p.Name == "ingress_sbox")
}

// placeName is how titles call a namespace.
func placeName(p record.Scope) string {
	switch {
	case p.Kind == record.ScopeHost && p.Host == "":
		return "the host"
	case p.Kind == record.ScopeHost:
		return p.Host
	}
	return strings.TrimPrefix(p.Host+"/"+p.Name, "/")
}

// ipvsTable is the table of a namespace as findings list it.
func ipvsTable(p record.Scope) Object {
	return Object{Kind: "ipvs", Namespace: p.Namespace, Name: p.Name, Host: p.Host}
}

// behindVirtual is what the control plane says of an IPVS service.
func (k *Case) behindVirtual(v *virtual, hints map[string]bool, tasks *swarmTasks) *plane {
	switch {
	case swarm(v.place):
		return tasks.behind(v)
	case v.mark == 0:
		return k.kubernetes(v.address, v.protocol, v.place.Host, hints)
	}
	return nil
}

// virtualName is how titles call an IPVS service.
func (k *Case) virtualName(v *virtual, p *plane) string {
	switch {
	case p != nil:
		return called(p.party)
	case v.mark != 0:
		return fmt.Sprintf("firewall mark %d", v.mark)
	}
	return called(k.partyOf(v.address, v.protocol, v.place.Host))
}

// partyOf names a service address as a host sees it.
func (k *Case) partyOf(a netip.AddrPort, p record.Protocol, host string) resolve.Party {
	for _, l := range k.Listings(a, p, host) {
		return l.Party
	}
	for _, s := range k.Services() { // one without a listing of backends
		if s.Source == record.FromKubernetes && s.Address == a && (s.Protocol == 0 || s.Protocol == p) {
			return resolve.Party{Address: a.String(), Kind: "service", Namespace: s.Namespace, Name: s.Name}
		}
	}
	return k.Party(a, host)
}

// sentKey is where IPVS sends a connection.
type sentKey struct {
	place    record.Scope
	protocol record.Protocol
	virtual  netip.AddrPort // not valid: any, as of a firewall mark
	to       netip.AddrPort // port 0: any
}

// sentBy are the connections of the answer by where an IPVS table sends them.
func (k *Case) sentBy() map[sentKey][]*resolve.Connection {
	out := map[sentKey][]*resolve.Connection{}
	for i := range k.Answer.Connections {
		c := &k.Answer.Connections[i]
		for _, t := range c.Entries() {
			if t.Via != record.ViaIPVS {
				continue
			}
			to := t.After.Destination
			for _, key := range []sentKey{{k.Place(t.Section), t.Protocol, t.Before.Destination, to},
				{k.Place(t.Section), 0, netip.AddrPort{}, netip.AddrPortFrom(to.Addr(), 0)}} {
				if n := len(out[key]); n == 0 || out[key][n-1] != c {
					out[key] = append(out[key], c)
				}
			}
		}
	}
	return out
}

// sentTo is the key of the connections that a service sends to a destination.
func (v *virtual) sentTo(d *destination) sentKey {
	if v.mark != 0 {
		return sentKey{v.place, 0, netip.AddrPort{}, d.address}
	}
	return sentKey{v.place, v.protocol, v.address, d.address}
}
