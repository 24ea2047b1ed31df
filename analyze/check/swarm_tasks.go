package check

import (
	"net/netip"
	"strings"

	"whichbackend/analyze/record"
	"whichbackend/analyze/resolve"
)

// swarmTasks are the services of Swarm networks, as docker network inspect -v
// lists them on all nodes.
type swarmTasks struct {
	k        *Case
	networks map[int][]networkAt
	services []resolve.Listed // with a VIP or tasks
	vips     map[virtualKey][]netip.Addr
	rules    map[virtualKey][]record.Pos // the MARK rules of a mark
}

// networkAt says where in a document a network's object stands, and its id.
type networkAt struct{ pointer, id string }

func (k *Case) swarmTasks() *swarmTasks {
	s := &swarmTasks{k: k, networks: map[int][]networkAt{}, vips: map[virtualKey][]netip.Addr{}, rules: map[virtualKey][]record.Pos{}}
	list, err := k.Load.Store.Readings()
	if err != nil {
		k.fail(err)
	}
	for _, r := range list {
		if r.Name == "Id" && strings.HasPrefix(r.Subject, "network ") && k.Current(r.Section) {
			s.networks[r.Section] = append(s.networks[r.Section], networkAt{strings.TrimSuffix(r.Pointer, "Id"), r.Value})
		}
	}
	for _, l := range k.Services() {
		switch {
		case l.Source == record.FromDocker && (l.Type == "vip" || l.Type == "dnsrr") && s.network(l.Pos) != "":
			s.services = append(s.services, l)
		case l.Source == record.FromRules && l.Mark != 0:
			key := virtualKey{place: l.Place, mark: l.Mark}
			s.rules[key] = append(s.rules[key], l.Pos)
			if !l.Address.Addr().IsUnspecified() {
				s.vips[key] = append(s.vips[key], l.Address.Addr())
			}
		}
	}
	return s
}

// network is the id of the network in whose object a position stands.
func (s *swarmTasks) network(at record.Pos) string {
	for _, n := range s.networks[at.Section] {
		if strings.HasPrefix(at.Pointer, n.pointer) {
			return n.id
		}
	}
	return ""
}

// balances tells whether a namespace is the one that balances a network.
func (s *swarmTasks) balances(place record.Scope, l resolve.Listed) bool {
	if place.Name == "ingress_sbox" {
		return l.Namespace == "ingress"
	}
	id, ok := strings.CutPrefix(place.Name, "lb_")
	return ok && len(id) >= 9 && strings.HasPrefix(s.network(l.Pos), id)
}

// behind are the tasks of the service that a firewall mark stands for.
func (s *swarmTasks) behind(v *virtual) *plane {
	vips := s.vips[virtualKey{place: v.place, mark: v.mark}]
	out := newPlane()
	own := false
	for _, l := range s.services {
		hit := false
		for _, a := range vips {
			hit = hit || l.Address.IsValid() && l.Address.Addr() == a
		}
		if !hit || !s.balances(v.place, l) {
			continue
		}
		if out.party.Name != "" && out.party.Name != l.Name {
			return nil // two services claim the address
		}
		out.party = resolve.Party{Kind: "service", Name: l.Name, Address: l.Address.Addr().String()}
		out.complete = out.complete || l.Complete
		here := s.k.Section(l.Section).Scope.Host == v.place.Host
		own = own || here
		var list []record.Backend
		for _, b := range l.Backends {
			b.Address = netip.AddrPortFrom(b.Address.Addr(), 0)
			list = append(list, b)
		}
		if here {
			out.add(list, l.Pos)
			continue
		}
		for _, b := range list {
			out.known[b.Address] = true // it may reach this node later
		}
	}
	if !out.complete || !own {
		return nil
	}
	out.states = true
	return out
}
