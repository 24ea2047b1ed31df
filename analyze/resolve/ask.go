package resolve

import (
	"net/netip"
	"regexp"
	"sort"
	"strings"
	"time"

	"whichbackend/analyze/record"
	"whichbackend/store"
)

// Question asks for connections. Empty texts ask for all. From is the client
// side, To the service, Backend asks from the other end. Each is a WHO: an IP,
// IP:port, [v6]:port, :port, CIDR, or a name.
type Question struct {
	From, To, Backend string
}

// UsageError is a question that cannot be understood.
type UsageError struct{ error }

// question is a parsed Question.
type question struct{ from, to, backend *who }

func (q Question) parse() (*question, error) {
	var out question
	for _, x := range []struct {
		text string
		who  **who
	}{{q.From, &out.from}, {q.To, &out.to}, {q.Backend, &out.backend}} {
		w, err := parseWho(x.text)
		if err != nil {
			return nil, UsageError{err}
		}
		*x.who = w
	}
	return &out, nil
}

// Case is a loaded case, ready for questions.
type Case struct {
	world *world
	found []*conn
	r     *resolver
}

// View is what of a case is looked at.
type View struct {
	// At asks for the state at a moment; the zero time for the latest.
	At time.Time
	// Without hides artifacts by their path, as if they had not been recorded:
	// what would the answer be worth without them? Nil hides none.
	Without func(path string) bool
}

// Resolve finds and follows every connection of a case.
func Resolve(st *store.Store, view View) (*Case, error) {
	return resolveFor(st, view, &question{})
}

// Ask answers one question about a case. Where the question names the client's
// address, only what may be that client's is followed; the answer is the one
// that Resolve and Case.Ask give.
func Ask(st *store.Store, view View, q Question) (*Answer, error) {
	want, err := q.parse()
	if err != nil {
		return nil, err
	}
	k, err := resolveFor(st, view, want)
	if err != nil {
		return nil, err
	}
	return k.Ask(q)
}

// resolveFor finds and follows at least the connections that are asked for.
func resolveFor(st *store.Store, view View, want *question) (*Case, error) {
	w, err := see(st, view)
	if err != nil {
		return nil, err
	}
	r := newResolver(w)
	found, err := r.connections(want)
	return &Case{world: w, found: found, r: r}, err
}

// Ask answers a question. Inputs, warnings and the tool's name are the
// caller's to add.
func (k *Case) Ask(q Question) (*Answer, error) {
	want, err := q.parse()
	if err != nil {
		return nil, err
	}
	a := &Answer{Schema: Schema, Connections: []Connection{}, Inputs: []Input{}, Warnings: []string{}, Coverage: k.world.coverage()}
	inputs, err := k.world.st.Inputs()
	if err != nil {
		return nil, err
	}
	for _, i := range inputs {
		a.Inputs = append(a.Inputs, Input{Path: i.Path, SHA256: i.SHA256})
	}
	for _, c := range k.found {
		if k.wanted(c, want) {
			a.Connections = append(a.Connections, k.r.build(c))
		}
	}
	if len(a.Connections) == 0 && want.from != nil && want.to != nil && want.backend == nil {
		if c, ok := k.r.unseen(want); ok {
			a.Connections = append(a.Connections, c)
		}
	}
	sort.SliceStable(a.Connections, func(i, j int) bool { return lessConnection(&a.Connections[i], &a.Connections[j]) })
	return a, nil
}

func lessConnection(a, b *Connection) bool {
	for _, x := range [][2]string{{a.Client.Address, b.Client.Address}, {a.Service.Address, b.Service.Address}} {
		if x[0] != x[1] {
			return lessAddress(x[0], x[1])
		}
	}
	if a.Protocol != b.Protocol {
		return a.Protocol < b.Protocol
	}
	return a.Client.Host+"/"+a.Client.Name < b.Client.Host+"/"+b.Client.Name
}

func (w *world) coverage() Coverage {
	c := Coverage{Artifacts: len(w.artifacts)}
	for _, s := range w.sections {
		c.Lines += s.Lines
		c.Understood += s.Understood
		c.Ignored += s.Ignored
		c.Unknown += s.Unknown
	}
	return c
}

// wanted tells whether a connection is asked for.
func (k *Case) wanted(c *conn, q *question) bool {
	if q.from != nil && !q.from.matches(k.r.clientParty(c)) {
		return false
	}
	if q.to != nil {
		hit := q.to.matches(k.r.dialled(c))
		for _, p := range k.r.mayHaveDialled(c) {
			hit = hit || q.to.matches(p)
		}
		if !hit {
			return false
		}
	}
	if q.backend == nil {
		return true
	}
	for _, b := range c.backends {
		if q.backend.matches(b.Party) {
			return true
		}
	}
	return false
}

// dialled names the address that the client dialled.
func (r *resolver) dialled(c *conn) Party {
	if p, ok := r.serviceParty(c.service, c.protocol, r.seenBy(c, c.service)); ok && !(c.direct && p.Name == "") {
		return p
	}
	if len(c.steps) > 0 && swarmPlace(c.steps[0].place) && len(c.backends) == 1 {
		// All tasks behind a Swarm VIP are of one service.
		return Party{Address: c.service.String(), Kind: "service", Name: c.backends[0].workload}
	}
	if c.direct {
		return r.partyFor(c)
	}
	for _, s := range c.steps {
		for _, t := range s.ts {
			if p, ok := clusterService(t.Cluster); ok && s.before.Destination == c.service {
				p.Address = c.service.String()
				return p
			}
		}
	}
	return r.party(c.service, c.host)
}

// clusterService is the Kubernetes service that an Istio cluster stands for:
// outbound|8000||httpbin.default.svc.cluster.local.
func clusterService(cluster string) (Party, bool) {
	parts := strings.Split(cluster, "|")
	if len(parts) != 4 || parts[0] != "outbound" {
		return Party{}, false
	}
	name, rest, _ := strings.Cut(parts[3], ".")
	namespace, domain, _ := strings.Cut(rest, ".")
	if name == "" || namespace == "" || !strings.HasPrefix(domain, "svc") {
		return Party{}, false
	}
	return Party{Kind: "service", Namespace: namespace, Name: name}, true
}

// build writes a connection as an answer's.
func (r *resolver) build(c *conn) Connection {
	out := Connection{Protocol: protocolName(c.protocol), State: c.state, Granularity: "connection", Client: r.clientParty(c), Service: r.dialled(c),
		Verdict: c.verdict, Reason: c.reason, Backends: []Backend{}, Mechanisms: []string{}, Hops: []Hop{}, Gaps: []Gap{}, Conflicts: []Conflict{},
		MayHaveDialled: r.mayHaveDialled(c)}
	if len(c.requests) > 0 {
		out.Granularity = "request"
	}
	out.Backends = append(out.Backends, c.backends...)
	sort.SliceStable(out.Backends, func(i, j int) bool { return lessAddress(out.Backends[i].Address, out.Backends[j].Address) })
	out.Mechanisms = append(out.Mechanisms, c.mechanisms()...)
	if len(c.sockets) > 0 {
		out.Sockets = append(out.Sockets, r.end("client", c.sockets))
	}
	if len(c.servers) > 0 {
		out.Sockets = append(out.Sockets, r.end("server", c.servers))
	}
	for _, s := range c.steps {
		h := Hop{Mechanism: s.mechanism, Via: string(s.via), Scope: s.place.String(), State: s.state, Before: side(s.before), After: side(s.after), Evidence: append(r.evidenceOf(s.ts), r.evidence(s.socket)...)}
		out.Hops = append(out.Hops, h)
	}
	out.Hops = append(out.Hops, r.unchanged(c)...)
	out.Gaps = append(out.Gaps, c.gaps...)
	if c.conflict != nil {
		out.Conflicts = append(out.Conflicts, *c.conflict)
	}
	return out
}

// unchanged writes the tables that saw the connection pass unchanged, where
// the verdict rests on them: one for each table.
func (r *resolver) unchanged(c *conn) []Hop {
	var out []Hop
	seen := map[string]bool{}
	for _, s := range c.witnesses {
		key := s.place.String() + " " + string(s.t.Via)
		if seen[key] {
			continue
		}
		seen[key] = true
		out = append(out, Hop{Mechanism: "direct", Via: string(s.t.Via), Scope: s.place.String(), State: s.t.State, Before: side(s.t.Before), After: side(s.t.After), Evidence: r.evidence(s.t.Pos)})
	}
	return out
}

func side(t record.Tuple) Side {
	var s Side
	if t.Source.IsValid() {
		s.Source = t.Source.String()
	}
	if t.Destination.IsValid() {
		s.Destination = t.Destination.String()
	}
	return s
}

// end writes the sockets of one end; the first listing that shows it is quoted.
func (r *resolver) end(role string, list []record.Socket) End {
	first := list[0]
	e := End{Role: role, Scope: r.placeOf[first.Section].String(), Local: first.Local.String(), Remote: first.Remote.String(), State: stateOf(list), Evidence: r.evidence(first.Pos)}
	for _, k := range list {
		if e.Program == "" {
			e.Program = k.Program
		}
	}
	return e
}

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
	c.gaps = append(c.gaps, Gap{Missing: "the client's sockets while the connection is open (" + describePlace(client) + ")", Effect: "it is not known whether and from which port it dialled", Command: socketCommand(client)},
		r.tableGap(c, string(c.verdict)+" instead of one backend"))
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
