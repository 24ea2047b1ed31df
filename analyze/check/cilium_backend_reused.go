package check

import (
	"fmt"
	"net/netip"

	"whichbackend/analyze/record"
)

var ciliumBackendReused = Rule{
	ID: "cilium-backend-reused", Severity: Error,
	Finds: "a number of a backend that Cilium gave to another one while connections still name it",
	Needs: "Cilium's connection table of a node, and the lists of services and backends of the same node",
	Why:   "The service entry of the connection keeps the number of its backend, and the number stands for another address by now: the packets to come go to a backend that does not know the connection, which resets it.",
	Do:    "Reconnect these clients, or delete the pods that hold them. Then look what freed the number: an agent that restarted begins to count anew. Take cilium-dbg bpf ct list global and cilium-dbg bpf lb list --backends before anything is restarted.",
	See: []string{"https://github.com/cilium/cilium/issues/17729", "https://github.com/cilium/cilium/issues/17859", "https://github.com/cilium/cilium/issues/20359",
		"https://github.com/cilium/cilium/issues/8037", "https://github.com/cilium/cilium/issues/17943", "https://github.com/cilium/cilium/issues/18113"},
	judge: findReusedCiliumBackends,
}

// ciliumReuse is a number, where the packets went and what it stands for now.
type ciliumReuse struct {
	node     string
	number   uint32
	was, now netip.AddrPort
}

func findReusedCiliumBackends(k *Case) (found []Finding, judged bool) {
	c := k.ciliumAll()
	groups := groupsOf[ciliumReuse]{}
	entries := map[ciliumReuse]map[record.Pos]bool{}
	nodes := map[string]*ciliumNode{}
	for _, o := range c.order {
		now, at := k.Numbered(o.node.place.Host, o.number)
		was, ok := o.reused(c, now)
		judged = judged || ok
		if was == nil {
			continue
		}
		key := ciliumReuse{o.node.name(), o.number, was.to, now}
		g := groups.of(key)
		g.at = append(g.at, o.at, was.at)
		if entries[key] == nil {
			entries[key] = map[record.Pos]bool{}
			g.at = append(g.at, at...)
		}
		entries[key][o.at], nodes[key.node] = true, o.node
	}
	for _, g := range groups.sorted() {
		n := nodes[g.key.node]
		of := k.ofChoices(entries[g.key])
		g.list = of
		found = append(found, Finding{
			Title: fmt.Sprintf("backend %d of %s is %s by now, and the packets of %s under that number went to %s", g.key.number, g.key.node,
				k.address(g.key.now, n.place.Host), several(len(entries[g.key]), "connection"), k.holder(g.key.was, n.place.Host)),
			Connections: g.connections(), Objects: []Object{n.object(), object(k.Party(g.key.was, n.place.Host))}, Evidence: k.evidence(g.at...),
		})
	}
	return found, judged
}

// address is how titles call an address whose port may not be known.
func (k *Case) address(a netip.AddrPort, host string) string {
	if a.Port() == 0 {
		return a.Addr().String()
	}
	return k.holder(a, host)
}

// reused finds the entry that carries the packets of a choice to an address
// which its number does not stand for, and which no listing of the service
// has. A service entry that was given another backend of the service, once the
// old one had gone, has an entry for that one as well: this is no reuse. The
// second result tells whether the listings say enough to judge.
func (o *ciliumChoice) reused(c *ciliumTables, now netip.AddrPort) (*ciliumCarried, bool) {
	list := c.carried[ciliumLeg{o.ciliumClient, o.service}]
	backends, whole := o.node.known(o)
	if o.number == 0 || !now.IsValid() || !whole || len(list) == 0 {
		return nil, false
	}
	var was *ciliumCarried
	for i := range list {
		x := &list[i]
		if x.to.Addr() == now.Addr() && (now.Port() == 0 || x.to.Port() == now.Port()) || x.proxied || x.unreplied || backends[x.to] {
			return nil, true
		}
		if was == nil {
			was = x
		}
	}
	return was, true
}
