package parse

import (
	"net/netip"
	"strings"

	"whichbackend/analyze/record"
)

// rulesKey is the address of a service.
type rulesKey struct {
	protocol record.Protocol
	address  netip.AddrPort
}

// rulesWalk draws conclusions from the rules of one section.
type rulesWalk struct {
	out     *Out
	set     *rulesSet
	refused map[rulesKey]bool // services that the filter table refuses
	choices map[*rulesTable]map[string]*kubeChoice
	seen    map[rulesSeen]bool
	left    int // backends that may still be emitted
	room    int // services and backends of DNAT rules that may still be kept
	full    bool
}

type rulesSeen struct {
	rulesKey
	kind, mechanism, name string
	target                uint16
	inside                bool
	mark                  uint32
	backends              *record.Backend
}

// rulesMaxBackends bounds what one section emits: chains are shared, so that
// a hostile listing could ask for its size squared.
const rulesMaxBackends = 4 << 20

// rulesMaxDNAT bounds what the DNAT rules of one section are kept as: a single
// rule may stand for many ports and many addresses.
const rulesMaxDNAT = 1 << 20

// walk emits the services of a section.
func (s *rulesSet) walk(out *Out) {
	w := &rulesWalk{out: out, set: s, refused: map[rulesKey]bool{}, choices: map[*rulesTable]map[string]*kubeChoice{},
		seen: map[rulesSeen]bool{}, left: rulesMaxBackends, room: rulesMaxDNAT}
	for _, t := range s.tables {
		w.findRefused(t)
	}
	for _, t := range s.tables {
		if t.kube {
			w.kubeMaps(t)
			continue
		}
		reached, mapped, callers := t.reach()
		for _, c := range t.order {
			if reached == nil || reached[c.name] {
				w.chain(t, c, rulesDNAT{walk: w, table: t, chain: c, callers: callers[c.name], mapped: mapped[c.name]})
			}
		}
	}
}

// emit emits a service, unless the same has been emitted before.
func (w *rulesWalk) emit(s record.Service) {
	key := rulesSeen{rulesKey: rulesKey{s.Protocol, s.Address}, kind: s.Type, mechanism: s.Mechanism, name: s.Namespace + "/" + s.Name,
		target: s.TargetPort, inside: s.Inside, mark: s.Mark}
	if len(s.Backends) > 0 {
		key.backends = &s.Backends[0]
	}
	if w.seen[key] {
		return
	}
	w.seen[key] = true
	if w.left -= len(s.Backends); w.left < 0 {
		s.Backends, s.Complete = nil, false
		w.overflow(s.Pos)
	}
	w.out.At(s.Pos.Pointer)
	w.out.Service(s)
}

// overflow says once that a bound was reached.
func (w *rulesWalk) overflow(pos record.Pos) {
	if !w.full {
		w.out.problem(pos, "", "more backends than are kept for one listing; from here on they are left out")
		w.full = true
	}
}

// findRefused notes the services without endpoints.
func (w *rulesWalk) findRefused(t *rulesTable) {
	for _, name := range []string{"KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES"} {
		c := t.chains[name]
		if c == nil {
			continue
		}
		for _, r := range c.rules {
			if r.target != "REJECT" && r.target != "DROP" {
				continue
			}
			for _, a := range w.addresses(t, r, nil) {
				w.refused[rulesKey{r.protocol, a}] = true
			}
		}
	}
	for _, name := range []string{"no-endpoint-services", "no-endpoint-nodeports"} {
		for i := range t.maps[name] {
			if s, ok := kubeElement(t, &t.maps[name][i]); ok {
				w.refused[rulesKey{s.Protocol, s.Address}] = true
			}
		}
	}
}

// reach finds the chains that packets get to, and who calls each. Nil: the
// listing lacks the chains where packets enter, so that any may be in use.
func (t *rulesTable) reach() (reached, mapped map[string]bool, callers map[string][]*rulesRule) {
	callers, mapped = map[string][]*rulesRule{}, map[string]bool{}
	calls := map[string][]string{}
	var queue []string
	for _, c := range t.order {
		if len(c.rules) > 0 && (c.hook == "prerouting" || c.hook == "output") {
			queue = append(queue, c.name)
		}
		for _, r := range c.rules {
			callers[r.target] = append(callers[r.target], r)
			calls[c.name] = append(calls[c.name], r.target)
			for _, choice := range r.choices {
				calls[c.name] = append(calls[c.name], choice.target)
				mapped[choice.target] = true
			}
			for _, e := range t.maps[r.lookup] {
				calls[c.name] = append(calls[c.name], e.target)
				mapped[e.target] = true
			}
		}
	}
	if len(queue) == 0 {
		return nil, mapped, callers
	}
	for _, c := range t.order {
		if c.hook != "" || c.name == "" { // rows that lost the name of their chain
			queue = append(queue, c.name)
		}
	}
	reached = map[string]bool{}
	for len(queue) > 0 {
		name := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		if !reached[name] {
			reached[name] = true
			queue = append(queue, calls[name]...)
		}
	}
	return reached, mapped, callers
}

// addresses lists the addresses that a rule matches, none when it does not
// name a destination clearly. What the rule leaves open is what the rule that
// calls its chain matches.
func (w *rulesWalk) addresses(t *rulesTable, r, caller *rulesRule) []netip.AddrPort {
	destination, not := r.destination, r.destinationNot
	ports, portsNot := r.ports, r.portsNot
	unclear := r.unclear
	if caller != nil {
		unclear = unclear || caller.unclear
		if !destination.IsValid() {
			destination, not = caller.destination, caller.destinationNot
		}
		if len(ports) == 0 {
			ports, portsNot = caller.ports, caller.portsNot
		}
	}
	switch {
	case unclear, portsNot:
		return nil
	case destination.IsValid() && !not:
		if !destination.IsSingleIP() {
			return nil
		}
		return rulesPortsOf(nil, destination.Addr(), ports)
	case not && !destination.Addr().IsLoopback(), len(ports) == 0:
		return nil // everything but something
	case r.to.first.IsValid():
		return rulesPortsOf(nil, w4or6(r.to.first.Is6()), ports)
	case t.inet:
		return rulesPortsOf(rulesPortsOf(nil, w4or6(false), ports), w4or6(true), ports)
	}
	return rulesPortsOf(nil, w4or6(t.v6), ports)
}

// rulesPortsOf adds an address with each of some ports, none when they are
// too many.
func rulesPortsOf(list []netip.AddrPort, a netip.Addr, ports []rulesPorts) []netip.AddrPort {
	if len(ports) == 0 {
		return append(list, netip.AddrPortFrom(a, 0))
	}
	n := 0
	for _, p := range ports {
		if n += int(p.last) - int(p.first) + 1; n > rulesExpand {
			return nil
		}
	}
	for _, p := range ports {
		for n := int(p.first); n <= int(p.last); n++ {
			list = append(list, netip.AddrPortFrom(a, uint16(n)))
		}
	}
	return list
}

// chain reads the rules of one chain.
func (w *rulesWalk) chain(t *rulesTable, c *rulesChain, d rulesDNAT) {
	kind := t.kubeChainKind(c.name)
	switch {
	case kind == kubeChainServices, kind == kubeChainNodePorts, kind == kubeChainExternals:
		for _, r := range c.rules {
			w.kubeRule(t, c, r)
		}
		return
	case kind != kubeChainNone:
		return // walked from the rule that matches the service
	}
	for _, r := range c.rules {
		switch r.target {
		case "DNAT":
			d.rule(r)
		case "REDIRECT", "TPROXY":
			w.redirect(t, c, r)
		case "MARK":
			w.marked(t, c, r)
		default:
			if c.name == "" && t.kubeChainKind(r.target) >= kubeChainService {
				w.kubeRule(t, c, r)
			}
		}
	}
	d.end()
}

// marked reads a rule that marks the packets of a service for IPVS. Swarm
// counts its marks from 256; a smaller one may as well be for routing, and is
// a service only when it stands for one address.
func (w *rulesWalk) marked(t *rulesTable, c *rulesChain, r *rulesRule) {
	if !r.marks(c) {
		return
	}
	s := record.Service{Pos: r.pos, Source: record.FromRules, Protocol: r.protocol, Mark: r.mark}
	switch {
	case r.mark >= 256 && len(r.ports) > 0:
		s.Mechanism, s.Type = "docker-swarm", "ingress"
	case r.mark >= 256:
		s.Mechanism, s.Type = "docker-swarm", "vip"
	case !r.destination.IsValid():
		return
	}
	for _, s.Address = range w.addresses(t, r, nil) {
		w.emit(s)
	}
}

// redirect reads a rule that hands packets to a port of this very namespace:
// a mesh's capture of all traffic, or the published port of a container.
func (w *rulesWalk) redirect(t *rulesTable, c *rulesChain, r *rulesRule) {
	s := record.Service{Pos: r.pos, Source: record.FromRules, Protocol: r.protocol, TargetPort: r.toPort}
	mesh := rulesMesh(t.name, c.name)
	if mesh == "" && c.hook != "" {
		mesh = t.mesh
	}
	switch {
	case r.toPort == 0:
		return
	case mesh != "":
		s.Mechanism, s.Type = mesh, rulesCapture(c, r)
		w.emit(s)
		return
	case r.target == "TPROXY":
		return // a proxy of the host, perhaps Cilium's: not a service's address
	}
	s.Mechanism, s.Type = "netfilter", "redirect"
	if w.set.docker && r.destination.IsValid() {
		s.Mechanism = "docker-swarm"
	}
	for _, s.Address = range w.addresses(t, r, nil) {
		w.emit(s)
	}
}

// rulesCapture tells which way a mesh captures, by the name of the chain.
func rulesCapture(c *rulesChain, r *rulesRule) string {
	if len(r.ports) == 1 && r.ports[0] == (rulesPorts{53, 53}) && !r.portsNot {
		return "capture-dns"
	}
	name := strings.ReplaceAll(strings.ToUpper(c.name), "-", "_")
	switch {
	case strings.Contains(name, "DNS"):
		return "capture-dns"
	case strings.Contains(name, "OUTPUT"), strings.Contains(name, "OUTBOUND"), strings.Contains(name, "EGRESS"):
		return "capture-outbound"
	case strings.Contains(name, "INBOUND"), strings.Contains(name, "IN_REDIRECT"), strings.Contains(name, "PRERT"),
		strings.Contains(name, "PREROUTING"), strings.Contains(name, "TPROXY"), strings.Contains(name, "INGRESS"),
		name == "PROXY_INIT_REDIRECT": // Linkerd's, which has no outbound chain of this name
		return "capture-inbound"
	}
	return "capture-outbound"
}
