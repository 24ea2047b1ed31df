package check

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"whichbackend/analyze/record"
	"whichbackend/analyze/resolve"
)

var swarmAddressOverlap = Rule{
	ID: "swarm-address-overlap", Severity: Error,
	Finds: "two endpoints of one Swarm network with the same address",
	Needs: "docker network inspect (best with -v) of a Swarm network",
	Why:   "Packets for the address reach one endpoint or the other, by whatever each node learned last: connections hang, or land at another service.",
	Do:    "Take one of them to another address: docker service update --force SERVICE for a task, remove and add the service for its virtual address; then hold docker network inspect -v of all nodes against each other.",
	See:   []string{"https://github.com/moby/moby/issues/40989", "https://github.com/moby/moby/issues/41576", "https://github.com/moby/moby/issues/33402", "https://github.com/moby/moby/issues/33795"},
	judge: findSwarmOverlaps,
}

// memberKey is an address in one Swarm network.
type memberKey struct {
	network string // its id
	address netip.Addr
}

// member is an endpoint of a Swarm network.
type member struct {
	kind, name, host string // host only of a balancer, where one is told
	network          string // its name
	pos              record.Pos
}

func findSwarmOverlaps(k *Case) (found []Finding, judged bool) {
	tasks := k.swarmTasks()
	members := map[memberKey][]member{}
	add := func(a netip.Addr, m member) {
		id := tasks.network(m.pos)
		if len(id) != 25 || !a.IsValid() || m.name == "" {
			return // a network of one host: other hosts may have the same
		}
		judged = true
		key := memberKey{id, a}
		for _, o := range members[key] {
			if o.same(m) {
				return
			}
		}
		members[key] = append(members[key], m)
	}
	for _, o := range k.Owners() {
		m := member{kind: string(o.Kind), name: o.Name, network: o.Namespace, pos: o.Pos}
		if o.Kind == record.OwnerBalancer && strings.Contains(o.Pointer, "/Containers/") {
			m.host = cmp.Or(o.Host, k.Section(o.Section).Scope.Host)
		}
		if !k.finished(o.Address, o.Name) {
			add(o.Address, m)
		}
	}
	for _, s := range tasks.services {
		if s.Address.IsValid() {
			add(s.Address.Addr(), member{kind: "service", name: s.Name, network: s.Namespace, pos: s.Pos})
		}
	}
	for key, list := range members {
		if len(list) > 1 && k.oneMoment(list) {
			found = append(found, k.overlap(key, list))
		}
	}
	slices.SortFunc(found, func(a, b Finding) int { return strings.Compare(a.Title, b.Title) })
	return found, judged
}

// same tells one endpoint in two listings from two.
func (m member) same(o member) bool {
	return m.kind == o.kind && m.name == o.name && (m.host == o.host || m.host == "" || o.host == "")
}

// finished tells a task that is known to have ended.
func (k *Case) finished(a netip.Addr, name string) bool {
	for _, h := range k.Held(a) {
		if h.Name == name && h.Finished {
			return true
		}
	}
	return false
}

// oneMoment tells whether the listings that show the members are of one moment:
// an address is given away again.
func (k *Case) oneMoment(list []member) bool {
	for _, m := range list[1:] {
		if _, ok := k.older([]record.Pos{list[0].pos}, []record.Pos{m.pos}); !ok {
			return false
		}
	}
	return true
}

func (k *Case) overlap(key memberKey, list []member) Finding {
	slices.SortFunc(list, func(a, b member) int {
		return cmp.Or(strings.Compare(a.kind, b.kind), strings.Compare(a.name, b.name), strings.Compare(a.host, b.host))
	})
	var names []string
	f := Finding{}
	var at []record.Pos
	for _, m := range list {
		name := m.kind + " " + m.name
		if m.host != "" {
			name += " of " + m.host
		}
		names = append(names, name)
		at = append(at, m.pos)
		f.Objects = append(f.Objects, Object{Kind: m.kind, Name: m.name, Address: key.address.String(), Host: m.host})
	}
	f.Title = fmt.Sprintf("%s in network %s is the address of %s", key.address, list[0].network, strings.Join(names, " and of "))
	g := group[memberKey]{}
	for i := range k.Answer.Connections {
		c := &k.Answer.Connections[i]
		if c.Service.Kind != "" && touches(c, key.address) && slices.Contains(c.Mechanisms, "docker-swarm") {
			g.add(c)
		}
	}
	f.Connections, f.Evidence = g.connections(), k.evidence(at...)
	return f
}

// touches tells whether a connection dials or ends at an address.
func touches(c *resolve.Connection, a netip.Addr) bool {
	client, final := c.Tuples()
	return client.Destination.Addr() == a || final.Destination.Addr() == a
}
