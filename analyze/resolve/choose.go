package resolve

import (
	"net/netip"
	"sort"
	"strings"

	"whichbackend/analyze/record"
)

// choice is one backend that a service may choose.
type choice struct {
	address netip.AddrPort
	name    Party
	reason  string
	pos     record.Pos
	mech    string
	old     bool // it gets no new connections, but may have kept one
}

// choices are the backends that a service may choose from. settled is true
// when every listing that the choice depends on is complete.
type choices struct {
	list     []choice
	complete bool
	empty    bool // a complete listing says that there is none
	mech     string
	http     bool // a proxy looks into HTTP, and may choose anew for each request
	tcp      bool // a proxy passes TCP through without looking into it
	// through and blackhole say what a proxy does with an address that it has
	// no listener for: it sends it on as it came, or ends it.
	through, blackhole bool
}

// sourceOrder ranks what says best from which backends a new connection
// chooses: the datapath's own table, then the control plane.
var sourceOrder = [][]record.Source{
	{record.FromRules, record.FromIPVS, record.FromCiliumLB},
	{record.FromKubernetes, record.FromDocker, record.FromCiliumAgent, record.FromZtunnel},
}

// choose lists the backends behind an address, as seen from a vantage.
func (w *world) choose(dst netip.AddrPort, p record.Protocol, from vantage, depth int) choices {
	list := w.servicesAt(dst, p, from)
	for _, sources := range sourceOrder {
		got := choices{complete: true}
		any := false
		for _, s := range list {
			if !hasSource(sources, s.Source) {
				continue
			}
			if w.expand(&got, s, dst, p, depth) {
				any = true
			}
		}
		if any {
			got.tidy()
			return got
		}
	}
	return choices{}
}

func hasSource(list []record.Source, s record.Source) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// expand adds the backends of one service record, and tells whether it names
// any or says that there are none.
func (w *world) expand(c *choices, s service, dst netip.AddrPort, p record.Protocol, depth int) bool {
	said := false
	for _, half := range w.halves(s, dst) {
		if !half.Complete && len(half.Backends) == 0 {
			continue
		}
		said = true
		if c.mech == "" {
			c.mech = w.serviceMechanism(s)
		}
		// Of a node port on an address that nobody is known to hold, the rules
		// of another cluster may decide.
		c.complete = c.complete && half.Complete && !(s.Type == "NodePort" && s.Address.Addr().IsUnspecified() && w.unheld(dst.Addr()))
		if len(half.Backends) == 0 {
			c.empty = true
		}
		for _, b := range half.Backends {
			w.addChoice(c, s, half, b, dst, p, depth)
		}
	}
	return said
}

// halves are the records that list the backends of a service: the record
// itself, the one of its firewall mark, or the endpoints of its name.
func (w *world) halves(s service, dst netip.AddrPort) []service {
	switch {
	case s.Type == "redirect" || s.Type == "backends" || s.Type == "capture-outbound" || s.Type == "capture-inbound" || s.Type == "revnat":
		return nil
	case s.Source == record.FromKubernetes:
		return w.endpoints(s)
	case s.Mark != 0 && len(s.Backends) == 0:
		var out []service
		for _, o := range w.services {
			if o.Source == record.FromIPVS && o.Mark == s.Mark && o.place == s.place {
				out = append(out, o)
			}
		}
		return out
	}
	return []service{s}
}

// endpoints are the halves of a Kubernetes service that list backends for one
// of its ports.
func (w *world) endpoints(s service) []service {
	var out []service
	ports := map[string]bool{}
	for _, o := range w.byName[s.Name] {
		if o.Address.IsValid() || o.Type != "" || o.Namespace != s.Namespace && o.Namespace != "" && s.Namespace != "" {
			continue
		}
		ports[o.Port] = true
		out = append(out, o)
	}
	if s.Port == "" || !ports[s.Port] {
		if len(portsOf(out)) > 1 && s.TargetPort != 0 {
			return filter(out, func(o service) bool { return o.TargetPort == s.TargetPort })
		}
		if len(portsOf(out)) > 1 {
			// Several ports, and no name tells which is meant: not usable.
			return nil
		}
		return out
	}
	return filter(out, func(o service) bool { return o.Port == s.Port || o.Port == "" && len(portsOf(out)) == 1 })
}

func portsOf(list []service) map[uint16]bool {
	ports := map[uint16]bool{}
	for _, o := range list {
		for _, b := range o.Backends {
			ports[b.Address.Port()] = true
		}
	}
	return ports
}

func filter(list []service, keep func(service) bool) []service {
	var out []service
	for _, s := range list {
		if keep(s) {
			out = append(out, s)
		}
	}
	return out
}

// addChoice adds one backend. One that lies in a namespace which only carries
// traffic on (Swarm's ingress) is followed to what is behind it.
func (w *world) addChoice(c *choices, s, half service, b record.Backend, dst netip.AddrPort, p record.Protocol, depth int) {
	a := b.Address
	if !a.IsValid() {
		return
	}
	if a.Port() == 0 {
		port := dst.Port()
		if s.TargetPort != 0 {
			port = s.TargetPort
		}
		a = netip.AddrPortFrom(a.Addr(), port)
	}
	host := ""
	if half.place != nil {
		host = half.place.host
	}
	for _, at := range w.holders(a.Addr(), host) {
		if at.kind == record.ScopeNetns && depth < 3 {
			inner := w.chooseIn(at, a, p, depth+1)
			c.complete = c.complete && inner.complete
			c.list = append(c.list, inner.list...)
			return
		}
	}
	if half.place != nil && half.place.name == "ingress_sbox" {
		a, _ = w.served(a, p)
	}
	if s.Type == "ingress" && half.Source == record.FromRules {
		c.complete = false // it leads into ingress_sbox, and what is behind that was not recorded
		return
	}
	if s.Local && half.Source == record.FromKubernetes && b.Host != "" {
		if node := w.ownerAt(dst.Addr(), ""); node != nil && node.kind == "node" && node.host != b.Host {
			return
		}
	}
	pos := b.Pos
	if pos == (record.Pos{}) {
		pos = half.Pos
	}
	ch := choice{address: a, pos: pos, mech: w.serviceMechanism(s), reason: w.choiceReason(s, half, b)}
	switch {
	case half.Source == record.FromIPVS && b.Weight == 0:
		ch.old = true
		ch.reason += " with weight 0: it gets no new connections"
	case b.State == "not ready" || b.State == "terminating" || b.State == "quarantined" || b.State == "maintenance":
		ch.old = true
	}
	if b.Name != "" {
		ch.name = Party{Kind: "pod", Namespace: b.Namespace, Name: b.Name, Host: b.Host}
		if half.Source == record.FromDocker {
			ch.name.Kind, ch.name.Namespace, ch.name.Host = "container", "", ""
		}
	}
	c.list = append(c.list, ch)
}

// chooseIn lists what an address leads to inside a namespace that carries
// traffic on.
func (w *world) chooseIn(at *place, dst netip.AddrPort, p record.Protocol, depth int) choices {
	got := choices{complete: true}
	said := false
	for _, s := range w.services {
		if s.place != at || s.Protocol != 0 && s.Protocol != p || !s.Address.IsValid() {
			continue
		}
		if s.Address == dst || (s.Address.Addr().IsUnspecified() || s.Address.Addr() == dst.Addr()) && (s.Address.Port() == dst.Port() || s.Address.Port() == 0) {
			said = w.expand(&got, s, dst, p, depth) || said
		}
	}
	got.complete = got.complete && said
	return got
}

func (w *world) choiceReason(s, half service, b record.Backend) string {
	what := map[record.Source]string{
		record.FromRules: "the rules", record.FromIPVS: "IPVS", record.FromCiliumLB: "Cilium's load-balancing map", record.FromKubernetes: "the endpoints",
		record.FromDocker: "docker", record.FromCiliumAgent: "Cilium's agent", record.FromZtunnel: "ztunnel",
	}[half.Source]
	text := what + " of "
	if s.Name != "" {
		if in := s.shownNamespace(); in != "" {
			text += in + "/"
		}
		text += s.Name
	} else {
		text += "the service"
	}
	text += " list it"
	if half.Source == record.FromIPVS || half.Source == record.FromDocker || half.Source == record.FromCiliumAgent || half.Source == record.FromCiliumLB || half.Source == record.FromZtunnel {
		text = strings.Replace(text, " list it", " lists it", 1)
	}
	if b.State != "" {
		text += " as " + b.State
	}
	return text
}

// tidy sorts the choices by address and drops repeats; of two, the one that
// knows a name stays.
func (c *choices) tidy() {
	sort.SliceStable(c.list, func(i, j int) bool {
		if d := c.list[i].address.Compare(c.list[j].address); d != 0 {
			return d < 0
		}
		return c.list[i].name.Name > c.list[j].name.Name
	})
	var out []choice
	for _, x := range c.list {
		if len(out) == 0 || out[len(out)-1].address != x.address {
			out = append(out, x)
		}
	}
	c.list = out
	if len(c.live()) > 0 {
		c.empty = false
	} else if len(out) > 0 && c.complete {
		c.empty = true
	}
}

// live are the choices that a new connection has.
func (c *choices) live() []choice {
	var out []choice
	for _, x := range c.list {
		if !x.old {
			out = append(out, x)
		}
	}
	return out
}
