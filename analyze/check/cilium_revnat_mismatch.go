package check

import (
	"fmt"
	"net/netip"
	"slices"

	"whichbackend/analyze/record"
)

var ciliumRevNAT = Rule{
	ID: "cilium-revnat-mismatch", Severity: Error,
	Finds: "connections through a service of Cilium whose replies are not translated back",
	Needs: "Cilium's connection table of a node, and its lists of backends (bpf lb list --frontends or --backends) or of RevNAT numbers (--revnat)",
	Why:   "The entry that carries the packets has no RevNAT number, so that replies come back with the backend's own address. The client knows no such connection and resets it.",
	Do:    "Look whether the connection table was full (cilium-dbg status --verbose tells its size): an entry that was pushed out is made anew without its number. Then reconnect these clients.",
	See:   []string{"https://github.com/cilium/cilium/issues/17457"},
	judge: findRevNATMismatches,
}

// ciliumService is a service of one node.
type ciliumService struct {
	node    string
	service uint32
}

func findRevNATMismatches(k *Case) (found []Finding, judged bool) {
	c := k.ciliumAll()
	lost, gone := groupsOf[ciliumService]{}, groupsOf[ciliumService]{}
	lostOf, goneOf := map[ciliumService]*ciliumLost{}, map[ciliumService]*ciliumLost{}
	open := k.openClients()
	for _, o := range c.order {
		key := ciliumService{o.node.name(), o.service}
		x, ok := o.untranslated(k, c)
		judged = judged || ok || o.node.allRevNATs
		if x != nil {
			lost.of(key).at = append(lost.of(key).at, o.at, x.at)
			add(lostOf, key, o)
		} else if o.node.allRevNATs && open[o.at] && !o.node.hasService(o.service) {
			gone.of(key).at = append(gone.of(key).at, o.at)
			add(goneOf, key, o)
		}
	}
	for _, g := range lost.sorted() {
		l := lostOf[g.key]
		g.list = k.ofChoices(l.entries)
		found = append(found, Finding{
			Title: fmt.Sprintf("on %s the replies of %s behind %s are not translated back: RevNAT is 0 where the service's is %d", g.key.node,
				several(len(l.entries), "connection"), k.serviceName(l.first.vip, l.first.protocol, l.first.node.place.Host), g.key.service),
			Connections: g.connections(), Objects: []Object{l.first.node.object()}, Evidence: k.evidence(g.at...),
		})
	}
	for _, g := range gone.sorted() {
		l := goneOf[g.key]
		g.list = k.ofChoices(l.entries)
		found = append(found, Finding{
			Severity: Warning,
			Title: fmt.Sprintf("on %s no table has RevNAT %d, and %s to %s still need it", g.key.node, g.key.service,
				several(len(l.entries), "open connection"), l.first.vip),
			Connections: g.connections(), Objects: []Object{l.first.node.object()}, Evidence: k.evidence(append(g.at, l.first.node.anyRevNAT(k))...),
			Why: "The number by which replies are given the service's address is in no table of this node, while clients hold connections that were made through it: the service was deleted, or made anew under another number. Replies reach them with the backend's own address, and they reset.",
			Do:  "Look whether the service was deleted or made anew, then reconnect these clients.",
		})
	}
	return found, judged
}

// ciliumLost are the service entries of one finding.
type ciliumLost struct {
	first   *ciliumChoice
	entries map[record.Pos]bool
}

func add(m map[ciliumService]*ciliumLost, key ciliumService, o *ciliumChoice) {
	if m[key] == nil {
		m[key] = &ciliumLost{o, map[record.Pos]bool{}}
	}
	m[key].entries[o.at] = true
}

// untranslated finds the entry without a RevNAT number that carries the
// packets of a choice to its backend. A client that dialled the backend itself
// from the port of an earlier connection looks the same, but for its socket.
// What a node answers directly in a service's name (DSR) has no number either: only
// clients that somebody in the cluster holds are looked at. The second result
// tells whether the listings say enough to judge.
func (o *ciliumChoice) untranslated(k *Case, c *ciliumTables) (*ciliumCarried, bool) {
	backend, _ := k.Numbered(o.node.place.Host, o.number)
	if o.number == 0 || !backend.IsValid() || len(k.Held(o.source.Addr())) == 0 {
		return nil, false
	}
	if len(c.carried[ciliumLeg{o.ciliumClient, o.service}]) > 0 {
		return nil, true
	}
	list := c.carried[ciliumLeg{o.ciliumClient, 0}]
	for i := range list {
		x := &list[i]
		if x.to.Addr() == backend.Addr() && (backend.Port() == 0 || backend.Port() == x.to.Port()) && !x.proxied && !k.direct(o.source, x.to) {
			return x, true
		}
	}
	return nil, true
}

// hasService tells whether a table of the node has a RevNAT number.
func (n *ciliumNode) hasService(number uint32) bool {
	_, ok := n.revnats[number]
	return ok || len(n.byNumber[number]) > 0
}

// anyRevNAT is a line of the list that lacks a number.
func (n *ciliumNode) anyRevNAT(k *Case) (at record.Pos) {
	for _, p := range n.revnats {
		if at == (record.Pos{}) || k.Less(p, at) {
			at = p
		}
	}
	return at
}

// direct tells that the client's own socket is connected to an address.
func (k *Case) direct(client, to netip.AddrPort) bool {
	list, err := k.Load.Store.SocketsLocal(client)
	k.fail(err)
	return slices.ContainsFunc(list, func(s record.Socket) bool { return s.Remote == to && k.Current(s.Section) })
}

// openClients are the service entries whose client holds the connection open.
func (k *Case) openClients() map[record.Pos]bool {
	out := map[record.Pos]bool{}
	for i := range k.Answer.Connections {
		x := &k.Answer.Connections[i]
		client, _ := x.Ends()
		if !slices.ContainsFunc(client, func(s record.Socket) bool { return s.State == "ESTABLISHED" }) {
			continue
		}
		for _, t := range x.Entries() {
			out[t.Pos] = t.Selects
		}
	}
	return out
}
