package check

import (
	"net/netip"
	"slices"
	"time"

	"whichbackend/analyze/record"
	"whichbackend/analyze/resolve"
)

var ciliumAgentDatapath = Rule{
	ID: "cilium-agent-datapath", Severity: Error,
	Finds: "services that Cilium's agent and its datapath on one node disagree about",
	Needs: "cilium service list and cilium bpf lb list of one node",
	Why:   "Connections go where the datapath's tables say. The agent believes that it wrote something else there, so that nothing corrects them: clients on this node reach backends that are gone, or miss those that are new.",
	Do:    "Restart the agent of this node, which writes the tables anew: kubectl -n kube-system delete pod -l k8s-app=cilium --field-selector spec.nodeName=NODE. Before that, keep both listings and the agent's log, and look there for errors about services.",
	See:   []string{"https://github.com/cilium/cilium/issues/9684", "https://github.com/cilium/cilium/issues/23551", "https://github.com/cilium/cilium/issues/43358"},
	judge: findCiliumDisagreements,
}

// ciliumFrontend is an address that a service has on a node. The protocol is 0
// where one of the listings does not tell protocols (before Cilium 1.17).
type ciliumFrontend struct {
	address  netip.AddrPort
	protocol record.Protocol
	inside   bool
}

// ciliumViews are the services at one address, as each side lists them.
type ciliumViews struct{ agent, datapath []Listed }

// disagreement gathers what differs on one node.
type disagreement struct {
	names, what []string
	at          []record.Pos
	objects     []Object
	of          map[netip.AddrPort]bool
	confirmed   bool // by what the API server lists, or a service lacks as a whole
}

func findCiliumDisagreements(k *Case) (found []Finding, judged bool) {
	for _, n := range k.ciliumAll().nodes {
		if len(n.agent) == 0 || len(n.datapath) == 0 {
			continue
		}
		judged = true
		d := n.disagreement(k)
		if len(d.names) == 0 {
			continue
		}
		g := group[string]{list: k.dialled(n, d.of)}
		f := Finding{
			Title:       "on " + n.name() + " the agent and the datapath disagree about " + listed(d.names) + ": " + listed(d.what),
			Connections: g.connections(), Objects: append([]Object{n.object()}, d.objects...), Evidence: k.evidence(d.at...),
		}
		if !d.confirmed {
			f.Severity = Warning
			f.Why = "Connections go where the datapath's tables say. Unless a backend came or went between the two listings, they do not say what the agent believes."
		}
		found = append(found, f)
	}
	return found, judged
}

func (n *ciliumNode) disagreement(k *Case) disagreement {
	views, order := n.views()
	d := disagreement{of: map[netip.AddrPort]bool{}}
	one := related(views)
	agent, datapath := one && k.wholeServices(n.agent), one && k.wholeServices(n.datapath)
	starting := len(n.agent)*2 < len(n.datapath) // an agent that has not read all services yet
	for _, key := range order {
		v := views[key]
		switch {
		case len(v.datapath) == 0:
			if datapath && v.agent[0].ID != 0 && plain(v.agent[0]) && n.family(key) {
				d.add(k, n, key, "the datapath has no such service", v.agent[0].Pos, n.datapath[0].Pos)
				d.confirmed = true
			}
		case len(v.agent) == 0:
			if agent && !starting && plain(v.datapath[0]) && !n.standsFor(views, key, v.datapath[0].ID) {
				d.add(k, n, key, "the agent has no such service", v.datapath[0].Pos, n.agent[0].Pos)
				d.confirmed = true
			}
		default:
			a, l, why := k.differ(v)
			if why != "" {
				d.add(k, n, key, why, a.Pos, l.Pos)
				d.confirmed = d.confirmed || k.sidesWith(a, key, n)
			}
		}
	}
	return d
}

func (d *disagreement) add(k *Case, n *ciliumNode, key ciliumFrontend, what string, at ...record.Pos) {
	name := k.serviceName(key.address, key.protocol, n.place.Host)
	d.names, d.what, d.at = append(d.names, name), append(d.what, what), append(d.at, at...)
	if !d.of[key.address] {
		d.of[key.address] = true
		d.objects = append(d.objects, Object{Kind: "service", Address: key.address.String(), Host: n.place.Host})
	}
}

// views gathers the services of both sides by their addresses.
func (n *ciliumNode) views() (map[ciliumFrontend]*ciliumViews, []ciliumFrontend) {
	views := map[ciliumFrontend]*ciliumViews{}
	var order []ciliumFrontend
	told := !slices.ContainsFunc(slices.Concat(n.agent, n.datapath), func(l Listed) bool { return l.Protocol == 0 })
	at := func(l Listed) *ciliumViews {
		key := ciliumFrontend{l.Address, l.Protocol, l.Inside}
		if !told {
			key.protocol = 0
		}
		if views[key] == nil {
			views[key] = &ciliumViews{}
			order = append(order, key)
		}
		return views[key]
	}
	for _, l := range n.agent {
		v := at(l)
		v.agent = append(v.agent, l)
	}
	for _, l := range n.datapath {
		if l.Address.IsValid() {
			v := at(l)
			v.datapath = append(v.datapath, l)
		}
	}
	return views, order
}

// plain tells a service whose backends both sides list alike: no proxy chooses
// them, and no policy of this node leaves some out.
func plain(l Listed) bool { return !l.HTTP && !l.Local && l.Type != "LocalRedirect" }

// wholeServices tells that listings have every service.
func (k *Case) wholeServices(list []Listed) bool {
	return !slices.ContainsFunc(list, func(l Listed) bool { return !l.Complete && !l.HTTP || !k.wholeListing(l.Section) })
}

// family tells whether the datapath balances the address's family at all: the
// agent lists IPv6 services also where the datapath has no IPv6.
func (n *ciliumNode) family(key ciliumFrontend) bool {
	return slices.ContainsFunc(n.datapath, func(l Listed) bool { return l.Address.IsValid() && l.Address.Addr().Is4() == key.address.Addr().Is4() })
}

// standsFor tells that another service of the agent stands for one that it
// does not list: a node port on any address for that on one of the node's
// (since 1.17), the outer scope for the inner one. A listing that ends before
// the service's number may be cut.
func (n *ciliumNode) standsFor(views map[ciliumFrontend]*ciliumViews, key ciliumFrontend, id uint32) bool {
	for _, on := range []netip.Addr{key.address.Addr(), netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		for _, inside := range []bool{false, true} {
			v := views[ciliumFrontend{netip.AddrPortFrom(on, key.address.Port()), key.protocol, inside}]
			if v != nil && len(v.agent) > 0 {
				return true
			}
		}
	}
	return !slices.ContainsFunc(n.agent, func(l Listed) bool { return l.ID > id })
}

// differ finds two listings that disagree, where no two agree. What lists
// numbers of backends and no addresses says nothing here, and listings that
// are known to be a minute apart prove nothing.
func (k *Case) differ(v *ciliumViews) (a, d Listed, why string) {
	for _, x := range v.agent {
		for _, y := range v.datapath {
			if !x.Complete || !y.Complete || !plain(x) || !plain(y) || !addressed(y.Backends) {
				continue
			}
			more, less := lacking(y.Backends, x.Backends), lacking(x.Backends, y.Backends)
			if len(more)+len(less) == 0 || k.apart(x.Section, y.Section) || !sameNumber(x, y) {
				return a, d, ""
			}
			if why != "" {
				continue
			}
			a, d = x, y
			if why = "the datapath lacks " + addresses(less); len(less) == 0 {
				why = "the datapath still has " + addresses(more)
			} else if len(more) > 0 {
				why += " and still has " + addresses(more)
			}
		}
	}
	return a, d, why
}

// sameNumber tells that two listings may give a service the same number. Where
// they do not, they are of different nodes, or the service was made anew.
func sameNumber(a, d Listed) bool { return a.ID == 0 || d.ID == 0 || a.ID == d.ID }

// related tells that some service has one number on both sides: the listings
// are of one node.
func related(views map[ciliumFrontend]*ciliumViews) bool {
	for _, v := range views {
		if len(v.agent) > 0 && len(v.datapath) > 0 && v.agent[0].ID != 0 && v.agent[0].ID == v.datapath[0].ID {
			return true
		}
	}
	return false
}

// sidesWith tells that the API server lists what the agent does.
func (k *Case) sidesWith(a Listed, key ciliumFrontend, n *ciliumNode) bool {
	return slices.ContainsFunc(k.Listings(key.address, orTCP(key.protocol), n.place.Host), func(l resolve.Listing) bool {
		return l.Source == record.FromKubernetes && l.Complete && len(lacking(l.Backends, a.Backends))+len(lacking(a.Backends, l.Backends)) == 0
	})
}

// apart tells that two listings are known to be more than a minute apart.
func (k *Case) apart(a, b int) bool {
	x, y := k.Recorded(a), k.Recorded(b)
	return !x.IsZero() && !y.IsZero() && x.Sub(y).Abs() > time.Minute
}
