package resolve

import (
	"maps"
	"slices"
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
	for _, path := range slices.Sorted(maps.Keys(k.r.cut)) {
		a.Warnings = append(a.Warnings, path+": "+itoa(k.r.cut[path])+" sockets left out: netstat cut their addresses, and no known address or several begin so (netstat -W and ss show them whole)")
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
	if k.r.failed != nil {
		return nil, k.r.failed
	}
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
	if len(c.steps) > 0 && c.steps[0].mechanism == "docker-swarm" && len(c.backends) == 1 {
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
	p := r.party(c.service, c.host)
	for i := range c.views {
		if named, ok := serverNameService(c.views[i].Name); ok && p.Kind == "" {
			named.Address = p.Address
			return named
		}
	}
	return p
}

// serverNameService is the Kubernetes service that Istio names in TLS to a
// gateway: outbound_.8000_._.httpbin.default.svc.cluster.local.
func serverNameService(name string) (Party, bool) {
	direction, rest, ok := strings.Cut(name, "_.")
	port, rest, _ := strings.Cut(rest, "_.")
	subset, host, found := strings.Cut(rest, "_.")
	if !ok || !found || direction != "outbound" {
		return Party{}, false
	}
	return clusterService(strings.Join([]string{direction, port, subset, host}, "|"))
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
		of: c, MayHaveDialled: r.mayHaveDialled(c), Handshake: r.handshake(c), Captures: r.sightings(c)}
	if len(c.requests) > 0 {
		out.Granularity = "request"
	}
	for i := range c.views {
		if out.ServerName == "" {
			out.ServerName = c.views[i].Name
		}
		out.seen = append(out.seen, Seen{r.artifacts[r.sections[c.views[i].Section].Artifact].Path, c.views[i].Flow})
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
		h := Hop{Mechanism: orElse(s.mechanism, "proxy"), Via: string(s.via), Scope: s.place.String(), State: s.state, Before: side(s.before), After: side(s.after), Evidence: append(append(r.evidenceOf(s.ts), r.evidenceAt(s.number)...), r.evidence(s.socket)...)}
		if s.via == record.ViaCapture && len(s.ts) > 0 {
			h.Tier = string(s.crossing().Tier)
		}
		out.Hops = append(out.Hops, h)
	}
	out.Hops = append(out.Hops, r.unchanged(c)...)
	if s := c.refused; s.Service != nil {
		out.Hops = append(out.Hops, Hop{Mechanism: r.serviceMechanism(s), Via: string(s.Source), Scope: s.place.String(), State: "no backends", Before: side(c.final), Evidence: r.evidence(s.Pos)})
	}
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
