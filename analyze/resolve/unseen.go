package resolve

import (
	"net/netip"
	"regexp"
	"sort"
	"strings"

	"whichbackend/analyze/record"
)

// unseen answers a question whose two sides the bundle knows, but between
// which it holds no connection: the backends that a new one would choose from.
func (r *resolver) unseen(q *question) (Connection, bool) {
	client, host, ok := r.knownClient(q.from)
	if !ok {
		return Connection{}, false
	}
	service, ok := r.knownService(q.to)
	if !ok {
		return Connection{}, false
	}
	c := &conn{protocol: record.TCP, service: service, host: host}
	if a, err := netip.ParseAddrPort(client.Address); err == nil {
		c.client = a
	}
	for _, p := range r.holders(c.client.Addr(), host) {
		if p.workload() {
			c.place = p
		}
	}
	if len(r.servicesAt(service, record.TCP, vantage{})) == 0 {
		c.protocol = record.UDP
	}
	set := r.choose(service, c.protocol, r.seenBy(c, service), 0)
	if len(set.list) == 0 && !set.empty {
		set = r.byPodName(service, c.protocol, true)
	}
	if r.sidecar(c) {
		set = r.proxyChoices(c.place, service, c)
	}
	c.choices = set
	for _, ch := range set.live() {
		c.backends = append(c.backends, r.choiceBackend(ch))
	}
	c.verdict, c.reason = Candidates, "the bundle holds no such connection; these are the backends that a new one would choose from"
	if len(c.backends) == 0 {
		c.verdict, c.reason = Unknown, "the bundle holds no such connection, and no list of the service's backends"
	}
	c.gaps = append(c.gaps, Gap{Missing: "the client's sockets while the connection is open (" + describePlace(client) + ")", Effect: "it is not known whether and from which port it dialled", Command: socketCommand(client, c.protocol)},
		r.tableGap(c, string(c.verdict)+" instead of one backend"))
	for _, o := range r.owners[c.client.Addr()] {
		if o.kind == "pod" && o.several && !o.sidecar && !r.sidecar(c) {
			c.gaps = append(c.gaps, Gap{Missing: "what the other containers of " + describePlace(client) + " are: a sidecar proxy among them would choose the backend itself",
				Effect: "it is not known whose tables decide", Command: "kubectl get pod " + quoteShell(client.Name) + " -o jsonpath='{.spec.containers[*].name}'; " + socketCommand(client, c.protocol) + "; conntrack -L in the pod's network namespace"})
		}
	}
	out := r.build(c)
	out.Client = client
	seen := false
	out.Seen = &seen
	return out, true
}

// knownClient finds the client of a question among those that the bundle knows.
func (r *resolver) knownClient(w *who) (p Party, host string, ok bool) {
	if w.addr.IsValid() {
		p = r.party(netip.AddrPortFrom(w.addr, w.port), "")
		return p, p.Host, p.Name != "" || len(r.holders(w.addr, "")) > 0
	}
	var found []*owner
	for _, o := range r.named {
		if w.matches(Party{Kind: o.kind, Namespace: o.namespace, Name: o.name, Host: o.host, workload: o.workload}) && w.name != "" {
			found = append(found, o)
		}
	}
	if len(found) != 1 {
		return p, "", false
	}
	o := found[0]
	p = Party{Kind: o.kind, Namespace: o.namespace, Name: o.name, Host: o.host}
	var addrs []netip.Addr
	for a, list := range r.owners {
		for _, x := range list {
			if x == o {
				addrs = append(addrs, a)
			}
		}
	}
	sort.Slice(addrs, func(i, j int) bool { return addrs[i].Less(addrs[j]) })
	if len(addrs) > 0 {
		p.Address = netip.AddrPortFrom(addrs[0], 0).String()
	}
	return p, o.host, true
}

// knownService finds the address of the service of a question.
func (r *resolver) knownService(w *who) (netip.AddrPort, bool) {
	var found []netip.AddrPort
	for _, s := range r.services {
		a := s.Address
		if !a.IsValid() || a.Addr().IsUnspecified() || s.Source == record.FromEnvoyListener || s.Type == "revnat" {
			continue
		}
		if a.Port() == 0 && w.port != 0 {
			a = netip.AddrPortFrom(a.Addr(), w.port)
		}
		p, _ := r.serviceParty(a, s.Protocol, vantage{})
		if w.matches(p) {
			found = append(found, a)
		}
	}
	sort.Slice(found, func(i, j int) bool { return found[i].Compare(found[j]) < 0 })
	if len(found) > 0 {
		return found[0], true
	}
	if w.addr.IsValid() && w.port != 0 && len(r.servicesAt(netip.AddrPortFrom(w.addr, w.port), record.TCP, vantage{})) > 0 {
		return netip.AddrPortFrom(w.addr, w.port), true
	}
	return netip.AddrPort{}, false
}

// controllerName cuts the parts that a Deployment or ReplicaSet adds to the
// name of a pod.
var controllerName = regexp.MustCompile(`^(.+?)(?:-[a-f0-9]{6,10})?-[a-z0-9]{5}$`)

// byPodName is the last resort for candidates: pods that are named after the
// service, where no list of endpoints was recorded. It never settles anything.
//
// The port that pods serve on is the service's own where nothing tells it
// (samePort), or else such a service gives no candidates.
func (w *world) byPodName(dst netip.AddrPort, p record.Protocol, samePort bool) choices {
	got := choices{}
	for _, s := range w.servicesAt(dst, p, vantage{}) {
		port := s.TargetPort
		if port == 0 && samePort && s.Type == "ClusterIP" {
			port = dst.Port()
		}
		if s.Source != record.FromKubernetes || s.Name == "" || port == 0 {
			continue
		}
		for _, a := range sortedOwners(w.owners) {
			for _, o := range w.owners[a] {
				m := controllerName.FindStringSubmatch(o.name)
				if !w.fromList(o) || o.kind != "pod" || o.finished || m == nil || !strings.EqualFold(m[1], s.Name) && o.workload != s.Name || s.Namespace != "" && o.namespace != "" && s.Namespace != o.namespace {
					continue
				}
				got.list = append(got.list, choice{address: netip.AddrPortFrom(a, port), pos: o.pos, mech: w.serviceMechanism(s),
					reason: "its name says that it belongs to " + s.Name + "; the endpoints were not recorded"})
			}
		}
		got.mech = w.serviceMechanism(s)
	}
	got.tidy()
	return got
}

// fromList tells whether a list of several pods names an owner: what single
// pods tell of themselves says nothing about the others.
func (w *world) fromList(o *owner) bool {
	if o.pos.Section == 0 || w.sections[o.pos.Section].Scope.Kind != record.ScopeCluster {
		return false
	}
	n := 0
	for _, x := range w.named {
		if x.kind == "pod" && x.pos.Section == o.pos.Section {
			n++
		}
	}
	return n > 1
}

func sortedOwners(m map[netip.Addr][]*owner) []netip.Addr {
	out := make([]netip.Addr, 0, len(m))
	for a := range m {
		out = append(out, a)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Less(out[j]) })
	return out
}
