package check

import (
	"net/netip"
	"slices"
	"strings"

	"whichbackend/analyze/record"
	"whichbackend/analyze/resolve"
)

// ciliumTables are what Cilium's listings of the moment say, node by node.
type ciliumTables struct {
	nodes   []*ciliumNode
	of      map[record.Scope]*ciliumNode
	choices map[ciliumChoice]bool
	order   []*ciliumChoice // in the order of the listings
	clients map[ciliumClient]bool
	carried map[ciliumLeg][]ciliumCarried
	resting map[record.Pos][]int     // connections by the service entries that they rest on
	dialled map[netip.AddrPort][]int // and by the address that they dialled
}

// ciliumNode is what the listings of one node say.
type ciliumNode struct {
	place           record.Scope
	agent, datapath []Listed
	// backends and revnats are the numbers that the tables hold, and whether a
	// listing of the whole table says so.
	backends, revnats       map[uint32]record.Pos
	allBackends, allRevNATs bool
	dumped                  map[int]bool // maps dumps that list backends
	byNumber                map[uint32][]Listed
	byAddress               map[netip.AddrPort][]Listed // those that have no number
}

// Listed is the resolver's, named here because every rule on Cilium uses it.
type Listed = resolve.Listed

// ciliumClient is a client's side of a connection on one node.
type ciliumClient struct {
	node     *ciliumNode
	protocol record.Protocol
	source   netip.AddrPort
}

// ciliumChoice is a service entry: the backend that the next packet of a client
// to a service goes to.
type ciliumChoice struct {
	ciliumClient
	vip             netip.AddrPort
	service, number uint32
	at              record.Pos
}

// ciliumLeg is what the entries that carry the packets of a client to a service
// have in common; the service is 0 where their replies are not translated.
type ciliumLeg struct {
	ciliumClient
	service uint32
}

// ciliumCarried is an entry that carries packets.
type ciliumCarried struct {
	to                 netip.AddrPort
	at                 record.Pos
	unreplied, proxied bool
}

// maxCarried bounds the entries that are kept of one client and service. A
// client holds one or two; only a table that nobody wrote has more.
const maxCarried = 16

// ciliumAll reads the listings of Cilium, once.
func (k *Case) ciliumAll() *ciliumTables {
	if k.cilium != nil {
		return k.cilium
	}
	k.cilium = &ciliumTables{of: map[record.Scope]*ciliumNode{}, choices: map[ciliumChoice]bool{},
		clients: map[ciliumClient]bool{}, carried: map[ciliumLeg][]ciliumCarried{}}
	for _, l := range k.Services() {
		if l.Source == record.FromCiliumLB || l.Source == record.FromCiliumAgent {
			k.cilium.node(l.Place).add(k, l)
		}
	}
	k.readCiliumEntries()
	slices.SortFunc(k.cilium.nodes, func(a, b *ciliumNode) int { return strings.Compare(a.name(), b.name()) })
	return k.cilium
}

func (c *ciliumTables) node(place record.Scope) *ciliumNode {
	n := c.of[place]
	if n == nil {
		n = &ciliumNode{place: place, backends: map[uint32]record.Pos{}, revnats: map[uint32]record.Pos{}, dumped: map[int]bool{},
			byNumber: map[uint32][]Listed{}, byAddress: map[netip.AddrPort][]Listed{}}
		c.of[place] = n
		c.nodes = append(c.nodes, n)
	}
	return n
}

// name is how titles call the node.
func (n *ciliumNode) name() string {
	switch {
	case n.place.Name != "":
		return n.place.Host + "/" + n.place.Name
	case n.place.Host == "":
		return "the host"
	}
	return n.place.Host
}

func (n *ciliumNode) object() Object { return Object{Kind: "node", Name: n.name(), Host: n.place.Host} }

func (n *ciliumNode) add(k *Case, l Listed) {
	whole := l.Complete && k.wholeListing(l.Section)
	switch {
	case l.Source == record.FromCiliumAgent:
		n.agent = append(n.agent, l)
	case l.Type == "backends":
		for _, b := range l.Backends {
			n.backends[b.ID] = l.Pos
		}
		n.allBackends = n.allBackends || whole
		if k.Section(l.Section).Format == "cilium-maps-dump" {
			n.dumped[l.Section] = true
		}
	case l.Type == "revnat":
		n.revnats[l.ID] = l.Pos
		n.allRevNATs = n.allRevNATs || whole
	default:
		n.datapath = append(n.datapath, l)
	}
	if l.Type == "backends" || l.Type == "revnat" {
		return
	}
	if l.ID != 0 {
		n.byNumber[l.ID] = append(n.byNumber[l.ID], l)
	} else {
		n.byAddress[l.Address] = append(n.byAddress[l.Address], l)
	}
}

// wholeListing tells that no line of a listing was lost or not understood, and
// that no filter behind the command is known to have taken lines away.
func (k *Case) wholeListing(section int) bool {
	s := k.Section(section)
	return s != nil && s.Unknown == 0 && !k.Truncated(section) && !strings.Contains(s.Command, "|")
}

// readCiliumEntries joins the service entries of the connection tables to the
// entries that carry the packets of the same client.
func (k *Case) readCiliumEntries() {
	c := k.cilium
	each := func(f func(*ciliumNode, *record.Translation)) {
		k.fail(k.Load.Store.Translations(func(t *record.Translation) error {
			if t.Via == record.ViaCiliumCT && !t.Closing && !t.Ingress && k.Current(t.Section) {
				f(c.node(k.Place(t.Section)), t)
			}
			return nil
		}))
	}
	each(func(n *ciliumNode, t *record.Translation) {
		if !t.Selects || t.Service == 0 {
			return
		}
		o := ciliumChoice{ciliumClient{n, t.Protocol, t.Before.Source}, t.Before.Destination, t.Service, t.Backend, record.Pos{}}
		if c.choices[o] {
			return // a table may lie there twice, as text and as JSON
		}
		c.choices[o], c.clients[o.ciliumClient] = true, true
		o.at = t.Pos
		c.order = append(c.order, &o)
	})
	each(func(n *ciliumNode, t *record.Translation) {
		leg := ciliumLeg{ciliumClient{n, t.Protocol, t.Before.Source}, t.Service}
		if !t.Selects && c.clients[leg.ciliumClient] && len(c.carried[leg]) < maxCarried {
			c.carried[leg] = append(c.carried[leg], ciliumCarried{t.Before.Destination, t.Pos, t.Unreplied, t.Proxied})
		}
	})
	slices.SortFunc(c.order, func(a, b *ciliumChoice) int {
		switch {
		case k.Less(a.at, b.at):
			return -1
		case k.Less(b.at, a.at):
			return 1
		}
		return 0
	})
}

// known are the backends that the listings of the node have for a service, in
// any state, and whether one of them is known to name every backend.
func (n *ciliumNode) known(o *ciliumChoice) (list map[netip.AddrPort]bool, whole bool) {
	list = map[netip.AddrPort]bool{}
	for _, l := range slices.Concat(n.byNumber[o.service], n.byAddress[o.vip]) {
		if l.Protocol != 0 && l.Protocol != o.protocol {
			continue
		}
		addressed := true
		for _, b := range l.Backends {
			list[b.Address] = true
			addressed = addressed && b.Address.IsValid()
		}
		whole = whole || l.Complete && addressed && !l.HTTP
	}
	return list, whole
}

// ofChoices are the connections that rest on one of some service entries.
func (k *Case) ofChoices(entries map[record.Pos]bool) []*resolve.Connection {
	k.indexConnections()
	var at []int
	for pos, ok := range entries {
		if ok {
			at = append(at, k.cilium.resting[pos]...)
		}
	}
	return k.connectionsAt(at)
}

// dialled are the connections that clients of a node made to services.
func (k *Case) dialled(n *ciliumNode, services map[netip.AddrPort]bool) []*resolve.Connection {
	k.indexConnections()
	var at []int
	for a := range services {
		for _, i := range k.cilium.dialled[a] {
			if host := k.Answer.Connections[i].Client.Host; host == n.place.Host || host == "" {
				at = append(at, i)
			}
		}
	}
	return k.connectionsAt(at)
}

// indexConnections finds, once, the connections by the service entries that
// they rest on and by the addresses that they dialled.
func (k *Case) indexConnections() {
	c := k.cilium
	if c.dialled != nil {
		return
	}
	c.resting, c.dialled = map[record.Pos][]int{}, map[netip.AddrPort][]int{}
	for i := range k.Answer.Connections {
		x := &k.Answer.Connections[i]
		client, _ := x.Tuples()
		c.dialled[client.Destination] = append(c.dialled[client.Destination], i)
		for _, t := range x.Entries() {
			if t.Selects {
				c.resting[t.Pos] = append(c.resting[t.Pos], i)
			}
		}
	}
}

// connectionsAt are connections in the order of the answer.
func (k *Case) connectionsAt(list []int) []*resolve.Connection {
	slices.Sort(list)
	var out []*resolve.Connection
	for _, i := range slices.Compact(list) {
		out = append(out, &k.Answer.Connections[i])
	}
	return out
}

// serviceName is how titles call the service behind an address of a node.
func (k *Case) serviceName(a netip.AddrPort, p record.Protocol, host string) string {
	for _, l := range k.Listings(a, orTCP(p), host) {
		return called(l.Party)
	}
	return a.String()
}

// holder is how titles call an address, with who holds it.
func (k *Case) holder(a netip.AddrPort, host string) string {
	if name := called(k.Party(a, host)); name != a.String() {
		return name + " (" + a.String() + ")"
	}
	return a.String()
}
