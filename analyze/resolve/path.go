package resolve

import (
	"net/netip"
	"sort"

	"whichbackend/analyze/record"
)

// maxHops bounds a path; a longer one is a loop.
const maxHops = 16

// conn is one connection while it is being resolved.
type conn struct {
	protocol        record.Protocol
	client, service netip.AddrPort
	place           *place // the client's network namespace, nil when not known
	host            string // the client's host, "" when not known
	state           string
	sockets         []record.Socket // the client's own, one for each listing
	steps           []step
	final           record.Tuple // what reaches the backend
	sourceUnsure    bool         // the source of final may have been rewritten unseen
	weak            string       // why a step proves less than its table would
	through         []sighting   // tables that saw the final tuple pass
	witnesses       []sighting   // those of them that the verdict rests on
	servers         []record.Socket
	conflict        *Conflict
	between         []choice // candidates
	choices         choices
	requests        []record.Translation // rows of an HTTP proxy's log
	captured        int                  // number of the step into a proxy beside the client, from 1
	arrived         int                  // number of the step into a proxy beside the backend, from 1
	arrivals        []sighting           // rows of a log beside the backend that saw the last tuple
	note            string               // what the reason adds
	lost            string               // why a translation's backend is not known
	gone            bool                 // it is none of the service's backends any more
	verdict         Verdict
	reason          string
	backends        []Backend
	gaps            []Gap
	direct          bool
	deduced         bool
}

// step is one rewriting of the connection.
type step struct {
	mechanism     string
	via           record.Via
	place         *place
	before, after record.Tuple
	ts            []record.Translation
	state         string
	independent   bool       // two tables say so
	socket        record.Pos // of the proxy's own socket, where no table names the step
	unreplied     bool
}

// sighting is a translation entry with how it lies towards the connection.
type sighting struct {
	t     record.Translation
	place *place
	order int // where on the way its place lies, from the client
	weak  bool
}

// Orders of places on the way of a packet.
const (
	ownPlace = iota
	holderPlace
	carrierPlace
	hostPlace
	routerPlace
	farPlace
	endPlace
	otherPlace
)

// follow walks from the client through every table that rewrites the
// connection, to the address behind which no table leads on.
func (r *resolver) follow(c *conn) error {
	cur := record.Tuple{Source: c.client, Destination: c.service}
	at := c.place
	seen := map[record.Tuple]bool{}
	for len(c.steps) < maxHops && !seen[cur] {
		seen[cur] = true
		table, logs, err := r.reachable(c, cur, at)
		if err != nil {
			return err
		}
		s, ok, err := r.step(c, cur, table)
		if err != nil || c.conflict != nil || c.lost != "" {
			c.final = cur
			return err
		}
		if !ok || s.place != c.place {
			if x, taken := r.acceptedBeside(c, cur); taken {
				s, ok = x, true
			}
		}
		if !ok && len(logs) > 0 {
			s, ok = r.logStep(c, cur, logs)
		}
		if !ok {
			c.through = table
			break
		}
		if p := r.capture(c, s, cur); p != notCaptured {
			c.steps = append(c.steps, s)
			if p == capturedAtServer {
				c.arrived = len(c.steps)
				break
			}
			if k, ok := r.acceptedAs(s.place, s.after.Destination, cur.Source); ok {
				c.steps[len(c.steps)-1].socket = k.Pos
			}
			c.captured = len(c.steps)
			next, ok, err := r.throughProxy(c, cur, s, logs)
			if err != nil || !ok {
				c.final = cur
				return err
			}
			s = next
		}
		c.steps = append(c.steps, s)
		if !s.after.Destination.IsValid() {
			c.final = cur
			return nil
		}
		c.sourceUnsure = c.sourceUnsure || !s.after.Source.IsValid()
		cur = s.after
	}
	c.final = cur
	r.arrive(c, cur)
	return r.confirm(c)
}

// reachable finds the entries for a tuple in the tables that its packets pass,
// in the order of the way; logs of proxies apart.
func (r *resolver) reachable(c *conn, cur record.Tuple, at *place) (table, logs []sighting, err error) {
	c.arrivals = nil
	list, err := r.from(cur.Source)
	if err != nil {
		return nil, nil, err
	}
	for _, t := range list {
		if t.Protocol != c.protocol || t.Before.Destination != cur.Destination && !(t.Via == record.ViaZtunnelLog && !t.Before.Destination.IsValid() && !t.Ingress) {
			continue
		}
		p := r.placeOf[t.Section]
		if !r.current[t.Section] || p == nil && !ofZtunnel(t) {
			continue
		}
		order, weak, ok := ownPlace, false, false
		if ofZtunnel(t) {
			ok = sameHost(hostOf(p), c.host) && r.ofService(t, cur.Destination)
		} else {
			order, weak, ok = r.order(c, cur, at, p)
		}
		if !ok {
			continue
		}
		s := sighting{t, p, order, weak}
		switch t.Via {
		case record.ViaAccessLog, record.ViaZtunnel, record.ViaZtunnelLog:
			if !t.Ingress {
				logs = append(logs, s)
			} else if t.Via == record.ViaAccessLog && (order == endPlace || order == ownPlace || order == holderPlace) {
				c.arrivals = append(c.arrivals, s)
			}
		default:
			table = append(table, s)
		}
		r.use(t.Pos)
	}
	table = r.lastEvents(table)
	less := func(list []sighting) func(i, j int) bool {
		return func(i, j int) bool {
			if list[i].order != list[j].order {
				return list[i].order < list[j].order
			}
			return r.less(list[i].t.Pos, list[j].t.Pos)
		}
	}
	sort.SliceStable(table, less(table))
	sort.SliceStable(logs, less(logs))
	return table, logs, nil
}

// lastEvents keeps, of a history of events, what it says last of each entry.
func (r *resolver) lastEvents(table []sighting) []sighting {
	type key struct {
		place  *place
		before record.Tuple
	}
	last := map[key]int{}
	var out []sighting
	for _, s := range table {
		k := key{s.place, s.t.Before}
		i, ok := last[k]
		switch {
		case s.t.Via != record.ViaEvent:
			out = append(out, s)
		case !ok:
			last[k] = len(out)
			out = append(out, s)
		case r.less(out[i].t.Pos, s.t.Pos):
			out[i] = s
		}
	}
	return out
}

// order tells where on the way of the packet a place lies. An entry in a place
// that the packet does not pass is another connection of the same addresses.
func (r *resolver) order(c *conn, cur record.Tuple, at, p *place) (order int, weak, ok bool) {
	dst := cur.Destination.Addr()
	holds := p.addrs[dst] && !dst.IsLoopback()
	switch {
	case at != nil && p == at:
		return ownPlace, false, true
	case dst.IsLoopback():
		return 0, false, at == nil && sameHost(p.host, c.host)
	case c.passes(p.host) && p.kind == record.ScopeNetns:
		if holds {
			return holderPlace, false, true
		}
		return carrierPlace, false, true
	case c.host == "" && holds && !p.workload():
		return holderPlace, false, true
	case c.passes(p.host) && p.kind == record.ScopeHost:
		return hostPlace, false, true
	case holds && p.workload():
		return endPlace, false, true
	case holds:
		return farPlace, false, true
	case p.workload() && (c.place == nil && p.addrs[cur.Source.Addr()] && sameHost(p.host, c.host)):
		return ownPlace, false, true
	case p.workload():
		return 0, false, false
	}
	if p.kind == record.ScopeHost && c.place != nil && c.place.kind == record.ScopeHost && p.routes(cur.Source.Addr()) && !r.hasTables(c.host) {
		return routerPlace, false, true
	}
	// The tables of the host on which the destination lives see it arrive.
	for _, o := range r.owners[dst] {
		if o.host == p.host && p.host != "" {
			return farPlace, false, true
		}
	}
	for _, q := range r.holders(dst, "") {
		if q.host == p.host && p.host != "" {
			return farPlace, false, true
		}
	}
	// Another host, and nothing ties it to the connection. Where the client's
	// own host recorded its tables, theirs is the word.
	if r.hasTables(c.host) || len(r.owners[dst]) > 0 || len(r.holders(dst, "")) > 0 {
		return 0, false, false
	}
	return otherPlace, true, true
}

// passes tells whether the connection is known to pass a host: the client's
// own, and those whose tables rewrote it.
func (c *conn) passes(host string) bool {
	if sameHost(host, c.host) {
		return true
	}
	for _, s := range c.steps {
		if s.place != nil && s.place.host == host {
			return true
		}
	}
	return false
}

// hasTables tells whether a connection table of a host was recorded.
func (r *resolver) hasTables(host string) bool {
	for _, p := range r.places {
		if p.host == host && !p.workload() && (p.formats["conntrack"] || p.formats["ipvs"] || p.formats["cilium-ct"]) {
			return true
		}
	}
	return false
}

// step picks, from the entries for a tuple, the rewriting that comes first on
// the way. Entries of one place that lead to different backends are a conflict.
func (r *resolver) step(c *conn, cur record.Tuple, table []sighting) (step, bool, error) {
	var group []sighting
	for _, s := range table {
		if s.t.After == s.t.Before && !s.t.Selects {
			continue
		}
		if len(group) > 0 && s.order != group[0].order {
			continue
		}
		group = append(group, s)
	}
	if len(group) == 0 {
		return step{}, false, nil
	}
	group = r.liveOnly(c, group)
	claims, err := r.claims(c, group)
	if err != nil {
		return step{}, false, err
	}
	if len(claims) == 0 {
		return step{}, false, nil
	}
	if len(claims) > 1 {
		r.contradict(c, claims)
		return step{}, false, nil
	}
	s := step{place: group[0].place, before: cur, via: group[0].t.Via}
	if group[0].weak {
		c.weak = "the entry is in the table of " + nameOf(group[0].place) + ", and nothing ties the client to that host"
	}
	for _, t := range claims[0].ts {
		if t.Proxied {
			c.weak = "Cilium redirects it to a proxy on the node, which may lead it elsewhere"
		}
	}
	r.complete(&s, claims[0])
	s.mechanism = r.mechanism(s, cur)
	return s, true, nil
}

// liveOnly drops entries of finished connections where one of a live one is
// there, and history where there is state.
func (r *resolver) liveOnly(c *conn, group []sighting) []sighting {
	keep := func(f func(record.Translation) bool) {
		var kept []sighting
		for _, s := range group {
			if f(s.t) {
				kept = append(kept, s)
			}
		}
		if len(kept) > 0 {
			group = kept
		}
	}
	keep(func(t record.Translation) bool { return t.Via != record.ViaEvent })
	keep(func(t record.Translation) bool { return !t.Closing })
	if c.state == "ESTABLISHED" {
		keep(func(t record.Translation) bool { return !t.Unreplied })
	}
	return group
}

// claim is one backend with the entries that name it.
type claim struct {
	after record.Tuple
	ts    []record.Translation
	note  string
}

// claims groups entries by the backend that they name.
func (r *resolver) claims(c *conn, group []sighting) ([]claim, error) {
	var out []claim
	add := func(after record.Tuple, note string, ts ...record.Translation) {
		for i := range out {
			if out[i].after.Destination == after.Destination {
				out[i].ts = append(out[i].ts, ts...)
				if ts[0].Via == record.ViaConntrack && out[i].ts[0].Via == record.ViaIPVS {
					out[i].after = after // IPVS does not see the source rewritten after it
				}
				return
			}
		}
		out = append(out, claim{after, ts, note})
	}
	for _, s := range group {
		if !s.t.Selects {
			add(s.t.After, "", s.t)
			continue
		}
		sel, err := r.selected(s)
		if err != nil {
			return nil, err
		}
		for _, x := range sel {
			add(x.after, x.note, x.ts...)
		}
		if len(sel) == 0 && c.lost == "" && len(group) == 1 {
			c.lost = "the service entry names backend " + itoa(int(s.t.Backend)) + ", which no table holds"
			c.gone = r.numbered(hostOf(s.place))
			c.steps = append(c.steps, step{mechanism: "cilium", via: s.t.Via, place: s.place, before: s.t.Before, ts: []record.Translation{s.t}})
		}
	}
	return out, nil
}

// numbered tells whether the numbers of backends are known on a host, so that
// one which is not among them has gone.
func (r *resolver) numbered(host string) bool {
	for k := range r.numbers {
		if k.host == host {
			return true
		}
	}
	return false
}

// selected finds the backend of an entry that records a choice: the entry that
// carries the packets, of the same client and service number, and the backend
// that the entry's number stands for. Where both are known and differ, both
// are returned.
func (r *resolver) selected(s sighting) ([]claim, error) {
	list, err := r.from(s.t.Before.Source)
	if err != nil {
		return nil, err
	}
	list = append(append([]record.Translation{}, list...), r.loopbackLegs(s.t)...)
	var carried []claim
	for _, t := range list {
		p := r.placeOf[t.Section]
		if p != s.place || t.Protocol != s.t.Protocol || t.Selects || t.Ingress && !t.Loopback || t.Via != s.t.Via || t.Service != s.t.Service || !r.current[t.Section] {
			continue
		}
		r.use(t.Pos)
		found := false
		for i := range carried {
			if carried[i].after == t.Before {
				carried[i].ts = append(carried[i].ts, t)
				found = true
			}
		}
		if !found {
			carried = append(carried, claim{after: t.Before, ts: []record.Translation{s.t, t}})
		}
	}
	numbered := r.numbers[backendKey{s.place.host, s.t.Backend}]
	if !numbered.IsValid() || s.t.Backend == 0 {
		return carried, nil
	}
	for _, x := range carried {
		if x.after.Destination.Addr() == numbered.Addr() && (numbered.Port() == 0 || numbered.Port() == x.after.Destination.Port()) {
			if len(carried) == 1 {
				return carried, nil
			}
			return []claim{x}, nil
		}
	}
	if numbered.Port() == 0 {
		if len(carried) > 0 || len(r.numbers) == 0 {
			return r.disagree(carried, numbered, s), nil
		}
		return nil, nil
	}
	return append(carried, claim{after: record.Tuple{Source: s.t.Before.Source, Destination: numbered}, ts: []record.Translation{s.t}, note: "by the backend's number"}), nil
}

// disagree adds the backend of the service entry's number, whose port the
// listing omits, to those that other entries carry packets to.
func (r *resolver) disagree(carried []claim, numbered netip.AddrPort, s sighting) []claim {
	numbered = netip.AddrPortFrom(numbered.Addr(), carried[0].after.Destination.Port())
	return append(carried, claim{after: record.Tuple{Source: s.t.Before.Source, Destination: numbered}, ts: []record.Translation{s.t}, note: "by the backend's number"})
}

// loopbackLegs are the hairpin legs that may belong to an entry: the source is
// a stand-in, port and service number are the same, and the destination is the
// client's own address.
func (r *resolver) loopbackLegs(t record.Translation) []record.Translation {
	var out []record.Translation
	for _, l := range r.loopbacks {
		if l.Before.Source.Port() == t.Before.Source.Port() && l.Before.Destination.Addr() == t.Before.Source.Addr() && l.Before.Source != t.Before.Source {
			out = append(out, l)
		}
	}
	return out
}

// contradict notes that entries name different backends.
func (r *resolver) contradict(c *conn, claims []claim) {
	k := &Conflict{Reason: "two entries for this connection name different backends"}
	for _, x := range claims {
		if x.note != "" {
			k.Reason = "the service entry's backend number and the entry that carries the packets name different backends"
		}
		k.Claims = append(k.Claims, Claim{Backend: x.after.Destination.String(), Evidence: r.evidenceOf(x.ts)})
		host := ""
		if p := r.placeOf[x.ts[0].Section]; p != nil {
			host = p.host
		}
		c.backends = append(c.backends, Backend{Party: r.party(x.after.Destination, host), Reason: "named by " + string(x.ts[len(x.ts)-1].Via), Evidence: r.evidenceOf(x.ts)})
	}
	sort.SliceStable(k.Claims, func(i, j int) bool { return k.Claims[i].Backend < k.Claims[j].Backend })
	c.conflict = k
	first := claims[0].ts[0]
	c.choices.mech = r.mechanism(step{via: first.Via, place: r.placeOf[first.Section], after: claims[0].after, ts: claims[0].ts}, first.Before)
}

// complete fills a step from the entries of its one claim.
func (r *resolver) complete(s *step, x claim) {
	s.after = x.after
	vias := map[record.Via]bool{}
	var kept []record.Translation
	sort.SliceStable(x.ts, func(i, j int) bool { return r.less(x.ts[i].Pos, x.ts[j].Pos) })
	unreplied := true
	for _, t := range x.ts {
		unreplied = unreplied && t.Unreplied
		if !vias[t.Via] || t.Via == record.ViaCiliumCT && !duplicate(kept, t) {
			kept = append(kept, t)
		}
		vias[t.Via] = true
		if s.state == "" {
			s.state = t.State
		}
	}
	s.unreplied = unreplied
	s.ts = kept
	if vias[record.ViaConntrack] && vias[record.ViaIPVS] {
		s.independent, s.via = true, record.ViaConntrack
	}
	if !vias[record.ViaConntrack] && vias[record.ViaIPVS] && swarmPlace(s.place) {
		s.after.Source = netip.AddrPort{} // the balancer puts its own address there
	}
}

func duplicate(list []record.Translation, t record.Translation) bool {
	for _, x := range list {
		if x.Before == t.Before && x.Selects == t.Selects {
			return true
		}
	}
	return false
}

// mechanism tells whose work a rewriting is.
func (r *resolver) mechanism(s step, cur record.Tuple) string {
	switch s.via {
	case record.ViaCiliumCT, record.ViaCiliumNAT:
		return "cilium"
	case record.ViaZtunnel, record.ViaZtunnelLog:
		return "istio"
	case record.ViaAccessLog:
		if s.ts[0].Cluster == "" {
			return r.captureMechanism(s.place)
		}
		return r.meshName(s.ts[0].Cluster)
	case record.ViaCapture:
		return "netfilter"
	}
	if r.proxyPort(s.place, s.after.Destination.Port()) && (s.after.Destination.Addr().IsLoopback() || s.after.Destination.Addr() == cur.Destination.Addr()) {
		return r.captureMechanism(s.place)
	}
	if swarmPlace(s.place) {
		return "docker-swarm"
	}
	host := map[string]bool{}
	if s.place != nil {
		host[s.place.host] = true
	}
	found := ""
	for _, v := range r.servicesAt(cur.Destination, record.TCP, vantage{hosts: host}) {
		if m := r.serviceMechanism(v); m != "netfilter" && (found == "" || found == "ipvs") {
			found = m
		}
	}
	if found == "" {
		for _, v := range r.servicesAt(cur.Destination, record.UDP, vantage{hosts: host}) {
			if m := r.serviceMechanism(v); m != "netfilter" && found == "" {
				found = m
			}
		}
	}
	if found == "" && s.after.Destination.IsValid() {
		for _, p := range r.holders(s.after.Destination.Addr(), hostOf(s.place)) {
			if swarmPlace(p) {
				found = "docker-swarm"
			}
		}
		if s.after.Destination.Addr() == cur.Destination.Addr() && s.place != nil && s.place.kind == record.ScopeContainer && r.runsSwarm() {
			found = "docker-swarm"
		}
	}
	switch {
	case found == "cilium": // Cilium's own tables say so themselves
		return "netfilter"
	case found != "":
		return found
	case s.via == record.ViaIPVS:
		return "ipvs"
	}
	return "netfilter"
}

func hostOf(p *place) string {
	if p == nil {
		return ""
	}
	return p.host
}

func nameOf(p *place) string {
	if s := p.String(); s != "" {
		return s
	}
	return "the host"
}

// confirm looks for independent witnesses of the final tuple: the server's own
// socket, and tables behind the last rewriting that saw it pass.
func (r *resolver) confirm(c *conn) error {
	if !c.final.Source.IsValid() || !c.final.Destination.IsValid() {
		return nil
	}
	sockets, err := r.socketsRemote(c.final.Source)
	if err != nil {
		return err
	}
	places := map[*place]bool{}
	for _, k := range sockets {
		p := r.placeOf[k.Section]
		if k.Protocol != c.protocol || k.Local != c.final.Destination && !(k.Local.Addr() == c.final.Destination.Addr() && r.inboundPort(p, k.Local.Port())) || p == nil || !r.current[k.Section] || k.State == "LISTEN" {
			continue
		}
		if c.final.Destination.Addr().IsLoopback() && c.place != nil && p != c.place {
			continue
		}
		if !r.serverPlace(c, p) {
			continue
		}
		places[p] = true
		c.servers = append(c.servers, k)
	}
	if len(places) > 1 {
		c.servers = nil // the same addresses in several namespaces: which is meant is not known
	}
	for _, k := range c.servers {
		r.useSocket(r.placeOf[k.Section], k.Protocol, k.Local, k.Remote)
	}
	return nil
}

// serverPlace tells whether a server's socket in a place may be this
// connection's other end: on the client's host, or on the host that holds the
// address.
func (r *resolver) serverPlace(c *conn, p *place) bool {
	if c.passes(p.host) {
		return true
	}
	// On another host: the address must not be held on the client's own.
	for _, q := range r.holders(c.final.Destination.Addr(), c.host) {
		if q != p && q.host == c.host {
			return false
		}
	}
	return true
}
