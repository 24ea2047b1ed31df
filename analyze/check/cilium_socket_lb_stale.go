package check

import (
	"net/netip"
	"slices"

	"whichbackend/analyze/record"
	"whichbackend/analyze/resolve"
)

var ciliumSocketLBStale = Rule{
	ID: "cilium-socket-lb-stale", Severity: Warning,
	Finds: "connected UDP sockets of pods that point to a backend which is gone",
	Needs: "sockets of a pod, the lists of all pods and of services, and Cilium's services on the pod's node",
	Why:   "Cilium chose the backend when the program called connect(), and the socket itself holds its address. UDP has no reset: until the program opens a new socket, every datagram goes to an address that nobody has. DNS clients time out again and again.",
	Do:    "Restart the client, or let it open a socket for each question. Newer versions of Cilium close such sockets when the backend goes: look whether this one has socketLB.terminatePodConnections.",
	See:   []string{"https://github.com/cilium/cilium/issues/27300", "https://github.com/cilium/cilium/issues/48096"},
	judge: findStaleSockets,
}

func findStaleSockets(k *Case) (found []Finding, judged bool) {
	nodes := map[string]bool{}
	for _, n := range k.ciliumAll().nodes {
		nodes[n.place.Host] = nodes[n.place.Host] || len(n.agent)+len(n.datapath) > 0
	}
	if len(nodes) == 0 {
		return nil, false
	}
	j, nets, ports := k.judgeOf(), k.networksOfPods(), k.servedPorts()
	if !j.pods[""] {
		return nil, false
	}
	groups := groupsOf[netip.AddrPort]{}
	for i := range k.Answer.Connections {
		c := &k.Answer.Connections[i]
		at := pinned(c)
		if len(at) == 0 || c.Client.Kind != "pod" || !nodes[c.Client.Host] {
			continue
		}
		judged = true
		tuple, _ := c.Tuples()
		to := tuple.Destination
		p := ports[to.Port()]
		if p == nil || p.backends[to.Addr()] || j.named[to.Addr()] || !nets[network(to.Addr())] || len(k.holders(to.Addr())) > 0 || k.Party(to, "").Kind != "" {
			continue
		}
		if slices.ContainsFunc(at, func(a record.Pos) bool { return k.apart(a.Section, p.service.Section) }) {
			continue
		}
		g := groups.of(to)
		g.add(c)
		g.at = append(g.at, append(at, p.service.Pos)...)
	}
	for _, g := range groups.sorted() {
		p := ports[g.key.Port()]
		name := k.serviceName(p.service.Address, record.UDP, p.service.Place.Host)
		found = append(found, Finding{
			Title:       "a connected UDP socket of " + clients(g.list) + " points to " + g.key.String() + ", which nobody has and which is no backend of " + name + " any more",
			Connections: g.connections(), Objects: []Object{object(g.list[0].Client), {Kind: "address", Address: g.key.String()}}, Evidence: k.evidence(g.at...),
		})
	}
	return found, judged
}

// pinned are the client's own sockets where a connection is one over UDP that
// no table translates: with socket load balancing none does.
func pinned(c *resolve.Connection) []record.Pos {
	if c.IP() != record.UDP || slices.ContainsFunc(c.Entries(), func(t record.Translation) bool { return t.Service != 0 || t.Before != t.After }) {
		return nil
	}
	var at []record.Pos
	client, server := c.Ends()
	for _, s := range client {
		if s.State == "ESTABLISHED" && len(server) == 0 {
			at = append(at, s.Pos)
		}
	}
	return at
}

// servedPort is a port that Cilium's UDP services are served on.
type servedPort struct {
	service  Listed // the first that has backends there
	backends map[netip.Addr]bool
}

// servedPorts are the ports on which backends of UDP services serve, of those
// for which every listing is complete.
func (k *Case) servedPorts() map[uint16]*servedPort {
	out := map[uint16]*servedPort{}
	cut := map[uint16]bool{}
	for _, l := range k.Services() {
		if l.Protocol != record.UDP && l.Protocol != 0 {
			continue
		}
		cilium := l.Source == record.FromCiliumAgent || l.Source == record.FromCiliumLB && l.Type != "backends" && l.Type != "revnat"
		for _, b := range l.Backends {
			port := b.Address.Port()
			if port == 0 || !b.Address.IsValid() {
				continue
			}
			cut[port] = cut[port] || !l.Complete && l.Type != "backends"
			p := out[port]
			if p == nil {
				p = &servedPort{backends: map[netip.Addr]bool{}}
				out[port] = p
			}
			if p.service.Service == nil && cilium && b.State == "" {
				p.service = l
			}
			p.backends[b.Address.Addr()] = true
		}
	}
	for port, p := range out {
		if cut[port] || p.service.Service == nil {
			delete(out, port)
		}
	}
	return out
}
