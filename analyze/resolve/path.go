package resolve

import (
	"net/netip"

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
	number          backendKey           // the number that stands for it
	gone            bool                 // it is none of the service's backends any more
	verdict         Verdict
	reason          string
	backends        []Backend
	gaps            []Gap
	against         string  // what contradicts the answer, and why it does not count
	leaves          bool    // it goes on to an address that nobody is known to hold
	refused         service // the listing that says that nobody serves the address
	direct          bool
	deduced         bool
	conversations   map[int]bool         // of captures, which are known to be this connection
	head            int                  // the conversation that begins it, where captures alone tell of it
	beyond          bool                 // captures took the path on from where tables end
	apart           bool                 // listings show another connection of the same addresses
	views           []view               // flows that show it, in the order of the path
	crossed         []record.Translation // of captures, that agree with the path
	outcome         outcome
}

// step is one rewriting of the connection.
type step struct {
	mechanism     string
	via           record.Via
	place         *place
	before, after record.Tuple
	ts            []record.Translation
	state         string
	independent   bool         // two tables say so
	number        []record.Pos // lines that tell what the number in an entry stands for
	socket        record.Pos   // of the proxy's own socket, where no table names the step
	unreplied     bool
}

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
		if c.apart {
			table, logs = nil, nil
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
			if s, ok, err = r.captureStep(c, cur, at); err == nil && !ok {
				s, ok, err = r.relayStep(c, cur, at)
			}
			if err != nil {
				return err
			}
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
			if k, ok := r.acceptedAs(s.place, s.after.Destination, s.after.Source); ok {
				c.steps[len(c.steps)-1].socket = k.Pos
			}
			c.captured = len(c.steps)
			if s.after.Source.IsValid() && s.after.Source != cur.Source { // the proxy knows it by another port
				if _, logs, err = r.reachable(c, record.Tuple{Source: s.after.Source, Destination: cur.Destination}, at); err != nil {
					return err
				}
			}
			next, ok, err := r.throughProxy(c, cur, s, logs)
			if err == nil && !ok {
				next, ok, err = r.relayStep(c, s.after, at)
			}
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
	if claims, err = r.accepted(c, claims); err != nil {
		return step{}, false, err
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
	case found == "cilium" && s.via != record.ViaCapture: // Cilium's own tables say so themselves
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
	if !c.final.Source.IsValid() || !c.final.Destination.IsValid() || c.apart {
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
