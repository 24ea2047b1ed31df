package resolve

import (
	"fmt"
	"net/netip"
	"sort"
	"strings"

	"whichbackend/analyze/record"
)

// capturedAt says at which side a connection was taken into a proxy.
type capturedAt int

const (
	notCaptured capturedAt = iota
	capturedAtClient
	capturedAtServer
)

// meshPorts are the ports to which service meshes redirect connections:
// Istio, Kuma and Consul 15001 and 15006, ztunnel 15008, Linkerd 4140 and
// 4143, Consul's public listener 20000.
var meshPorts = map[uint16]string{15001: "istio", 15006: "istio", 15008: "istio", 4140: "envoy", 4143: "envoy", 20000: "envoy"}

// proxyPort tells whether a proxy takes redirected connections on a port.
func (r *resolver) proxyPort(p *place, port uint16) bool {
	if meshPorts[port] != "" {
		return true
	}
	for _, s := range r.services {
		if s.place == p && p != nil && strings.HasPrefix(s.Type, "capture-") && s.TargetPort == port {
			return true
		}
	}
	return false
}

func (r *resolver) captureMechanism(p *place) string {
	for _, s := range r.services {
		if s.place == p && p != nil && strings.HasPrefix(s.Type, "capture-") && s.Mechanism != "" {
			return s.Mechanism
		}
	}
	return "istio"
}

// meshName tells Istio from another Envoy by the shape of a cluster's name.
func (r *resolver) meshName(cluster string) string {
	if strings.Count(cluster, "|") >= 2 || cluster == "PassthroughCluster" || cluster == "BlackHoleCluster" || strings.HasPrefix(cluster, "InboundPassthroughCluster") {
		return "istio"
	}
	return "envoy"
}

// runsSwarm tells whether the bundle shows Docker Swarm at work.
func (w *world) runsSwarm() bool {
	for _, p := range w.places {
		if swarmPlace(p) {
			return true
		}
	}
	for _, s := range w.services {
		if s.Mechanism == "docker-swarm" {
			return true
		}
	}
	return false
}

// capture tells whether a step leads into a proxy in the namespace where it
// happened, rather than to another address.
func (r *resolver) capture(c *conn, s step, cur record.Tuple) capturedAt {
	d := s.after.Destination
	if !d.IsValid() || s.via != record.ViaConntrack && s.via != record.ViaEvent || !r.proxyPort(s.place, d.Port()) {
		return notCaptured
	}
	if !d.Addr().IsLoopback() && d.Addr() != cur.Destination.Addr() {
		return notCaptured
	}
	if s.place != nil && s.place.addrs[cur.Destination.Addr()] && (c.place == nil || s.place != c.place) {
		return capturedAtServer
	}
	if d.Port() == 15006 || d.Port() == 4143 {
		return capturedAtServer
	}
	return capturedAtClient
}

// logStep makes a step of what a proxy's own table or log says of a tuple.
func (r *resolver) logStep(c *conn, cur record.Tuple, logs []sighting) (step, bool) {
	first := logs[0]
	var rows []record.Translation
	for _, l := range logs {
		if l.place == first.place {
			rows = append(rows, l.t)
		}
	}
	s := step{via: first.t.Via, place: first.place, before: cur, state: first.t.State}
	byHost := map[netip.AddrPort]record.Translation{}
	for _, t := range rows {
		if t.Request {
			c.requests = append(c.requests, t)
		}
		if t.After.Destination.IsValid() {
			byHost[t.After.Destination] = t
		}
	}
	s.ts = rows[:1]
	s.after = rows[0].After
	s.mechanism = r.mechanism(s, cur)
	switch {
	case len(byHost) == 1:
		for _, t := range byHost {
			s.ts, s.after = []record.Translation{t}, t.After
		}
		if !r.oneUpstream(rows) {
			s.after.Source = netip.AddrPort{}
		}
	case len(byHost) == 0:
		r.noUpstream(c, rows)
		s.after = record.Tuple{Destination: netip.AddrPort{}}
	case len(c.requests) > 0:
		r.manyRequests(c, rows)
		s.ts, s.after = rows, record.Tuple{}
	default:
		r.manyRows(c, rows)
		s.ts, s.after = rows, record.Tuple{}
	}
	return s, true
}

// oneUpstream tells whether all rows used one upstream connection.
func (r *resolver) oneUpstream(rows []record.Translation) bool {
	for _, t := range rows {
		if t.After.Source != rows[0].After.Source {
			return false
		}
	}
	return true
}

// noUpstream judges rows in which the proxy reached no upstream host.
func (r *resolver) noUpstream(c *conn, rows []record.Translation) {
	t := rows[len(rows)-1]
	if t.Via != record.ViaAccessLog {
		c.lost = "the proxy's table names the next hop " + t.Tunnel.String() + " (" + orElse(t.Peer, "a waypoint or gateway") + "), not the backend behind it"
		return
	}
	why := "the proxy's log shows no upstream host"
	if t.Flags != "" {
		why += ", response flags " + t.Flags
	}
	if t.Cluster == "BlackHoleCluster" {
		why = "the proxy sent it to BlackHoleCluster: no cluster serves this address"
	}
	c.verdict, c.reason = None, why
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// manyRequests answers for an HTTP connection whose requests went to several hosts.
func (r *resolver) manyRequests(c *conn, rows []record.Translation) {
	counts := map[netip.AddrPort][]record.Translation{}
	total := 0
	for _, t := range rows {
		if t.After.Destination.IsValid() {
			counts[t.After.Destination] = append(counts[t.After.Destination], t)
			total++
		}
	}
	for _, a := range sortedEndpoints(counts) {
		ts := counts[a]
		c.backends = append(c.backends, Backend{Party: r.party(a, ""), Reason: fmt.Sprintf("%d of %d logged requests", len(ts), total), Evidence: r.evidenceOf(ts)})
	}
	c.verdict = Observed
	c.reason = fmt.Sprintf("the proxy's log names the upstream of each request: %d requests over %d backends", total, len(counts))
}

// manyRows answers where several finished connections of one client address
// and port are logged, and nothing tells which is meant.
func (r *resolver) manyRows(c *conn, rows []record.Translation) {
	byHost := map[netip.AddrPort][]record.Translation{}
	for _, t := range rows {
		if t.After.Destination.IsValid() {
			byHost[t.After.Destination] = append(byHost[t.After.Destination], t)
		}
	}
	for _, a := range sortedEndpoints(byHost) {
		c.backends = append(c.backends, Backend{Party: r.party(a, ""), Reason: "a logged connection of this client address and port went there", Evidence: r.evidenceOf(byHost[a])})
	}
	c.verdict, c.reason = Candidates, "the log holds several connections of this client address and port, and nothing tells which one is meant"
}

func sortedEndpoints[T any](m map[netip.AddrPort]T) []netip.AddrPort {
	out := make([]netip.AddrPort, 0, len(m))
	for a := range m {
		out = append(out, a)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Compare(out[j]) < 0 })
	return out
}

// upstream is one connection from a proxy to a backend.
type upstream struct {
	local, remote netip.AddrPort
	inode         uint64
	pos           record.Pos
	ts            []record.Translation
}

// throughProxy finds where a captured connection goes on: the proxy's own
// table or log, else its upstream connections to hosts of the cluster behind
// the address. ok is false when no single one remains; candidates are noted.
func (r *resolver) throughProxy(c *conn, cur record.Tuple, s step, logs []sighting) (step, bool, error) {
	if len(logs) > 0 {
		next, ok := r.logStep(c, cur, logs)
		return next, ok, nil
	}
	set := r.proxyChoices(s.place, cur.Destination, c)
	c.choices = set
	if s.place == nil {
		return step{}, false, nil
	}
	ups, listed, err := r.upstreams(s.place, c, set)
	if err != nil {
		return step{}, false, err
	}
	byHost := map[netip.AddrPort][]upstream{}
	for _, u := range ups {
		byHost[u.remote] = append(byHost[u.remote], u)
	}
	if u, why := r.oneOf(c, cur, s, set, ups, len(byHost)); u != nil {
		c.deduced, c.note = true, why
		next := step{mechanism: s.mechanism, via: "upstream", place: s.place, before: s.after, ts: u.ts, socket: u.pos}
		next.after = record.Tuple{Source: u.local, Destination: u.remote}
		return next, true, nil
	}
	switch {
	case len(byHost) > 0:
		r.narrow(c, set, byHost, "the proxy holds an upstream connection to it")
	case listed && !set.http && set.mech != "" && len(set.list) > 0 && r.tcpOnly(s.place, cur.Destination):
		c.verdict, c.reason = None, "the proxy took the connection, but holds no upstream connection to any host behind this address"
	default:
		c.between = set.list
	}
	return step{}, false, nil
}

// oneOf leaves one upstream connection by elimination, where that is sound: a
// proxy that looks into HTTP may send each request elsewhere.
func (r *resolver) oneOf(c *conn, cur record.Tuple, s step, set choices, ups []upstream, hosts int) (*upstream, string) {
	if len(ups) == 0 {
		return nil, ""
	}
	if !set.http {
		if u, why := r.pairUpstream(cur, s, ups); u != nil {
			return u, why
		}
	}
	if hosts != 1 {
		return nil, ""
	}
	u := ups[0]
	if len(ups) > 1 {
		u.local = netip.AddrPort{}
	}
	clients := 0
	for _, k := range r.inPlace(s.place) {
		if k.Remote == cur.Destination && k.Protocol == c.protocol {
			clients++
		}
	}
	switch {
	case len(set.list) == 1 && set.complete:
		return &u, "the only host of the cluster behind this address, and the proxy is connected to it"
	case r.tcpOnly(s.place, cur.Destination):
		return &u, fmt.Sprintf("the proxy passes TCP through here, and all its upstream connections for this address (%d) go to one host", len(ups))
	case !set.http && len(ups) == 1 && clients <= 1:
		return &u, "the proxy has one connection from this client and one upstream connection to a host behind this address"
	}
	return nil, ""
}

// narrow keeps the candidates to which the proxy holds a connection.
func (r *resolver) narrow(c *conn, set choices, byHost map[netip.AddrPort][]upstream, why string) {
	for _, a := range sortedEndpoints(byHost) {
		ch := choice{address: a, reason: why, pos: byHost[a][0].pos}
		for _, x := range set.list {
			if x.address == a {
				ch.name, ch.mech = x.name, x.mech
			}
		}
		c.between = append(c.between, ch)
	}
}

// proxyChoices are the hosts of the clusters behind an address, as the proxy
// in a place knows them; else the backends of the service.
func (r *resolver) proxyChoices(p *place, dst netip.AddrPort, c *conn) choices {
	set := choices{complete: true, mech: "istio"}
	seen := map[string]bool{}
	said := false
	for _, s := range r.services {
		if s.Source != record.FromEnvoyListener || s.place != p || s.Type == "inbound" || strings.HasPrefix(s.Type, "virtual-") {
			continue
		}
		if s.Address != dst && !(s.Address.Addr().IsUnspecified() && s.Address.Port() == dst.Port()) {
			continue
		}
		set.http = set.http || s.HTTP
		if s.Cluster == "" || seen[s.Cluster] {
			continue
		}
		seen[s.Cluster] = true
		said = r.addCluster(&set, p, s.Cluster) || said
	}
	if !said {
		// The proxy's own clusters by the name of the service behind the address.
		if party, ok := r.serviceParty(dst, c.protocol, r.hostsFor(c, dst)); ok && party.Name != "" {
			for _, s := range r.services {
				if s.Source == record.FromEnvoyCluster && s.place == p && s.Name == party.Name && (s.Namespace == party.Namespace || s.Namespace == "") && strings.HasPrefix(s.Cluster, fmt.Sprintf("outbound|%d|", dst.Port())) && !seen[s.Cluster] {
					seen[s.Cluster] = true
					said = r.addCluster(&set, p, s.Cluster) || said
				}
			}
		}
	}
	if !said {
		other := r.choose(dst, c.protocol, r.hostsFor(c, dst), 0)
		other.http = set.http
		other.complete = false // what the sidecar may choose is its own matter
		return other
	}
	set.tidy()
	return set
}

// addCluster adds the hosts of a cluster that a proxy knows.
func (r *resolver) addCluster(set *choices, p *place, cluster string) bool {
	said := false
	for _, s := range r.clusters[cluster] {
		if s.place != p {
			continue
		}
		said = true
		for _, b := range s.Backends {
			if !b.Address.IsValid() || strings.Contains(b.State, "not ready") {
				continue
			}
			pos := b.Pos
			if pos == (record.Pos{}) {
				pos = s.Pos
			}
			reason := "a host of cluster " + cluster
			if b.Active > 0 {
				reason += fmt.Sprintf(", %d active connections", b.Active)
			}
			if b.State != "" {
				reason += ", " + b.State
			}
			set.list = append(set.list, choice{address: b.Address, reason: reason, pos: pos, mech: "istio"})
		}
	}
	return said
}

// tcpOnly tells whether the proxy's listener for an address passes TCP through
// without looking into it.
func (r *resolver) tcpOnly(p *place, dst netip.AddrPort) bool {
	tcp := false
	for _, s := range r.services {
		if s.Source == record.FromEnvoyListener && s.place == p && s.Address == dst {
			if s.HTTP {
				return false
			}
			tcp = tcp || s.Cluster != ""
		}
	}
	return tcp
}

// upstreams are the proxy's own connections in a place to hosts of a set:
// sockets, and entries of the place's connection table that pass unchanged.
// listed is true when the place's sockets were recorded.
func (r *resolver) upstreams(p *place, c *conn, set choices) (ups []upstream, listed bool, err error) {
	want := map[netip.AddrPort]bool{}
	for _, x := range set.list {
		want[x.address] = true
	}
	if len(want) == 0 {
		return nil, false, nil
	}
	found := map[record.Tuple]*upstream{}
	for _, k := range r.inPlace(p) {
		listed = true
		if k.Protocol != c.protocol || !want[k.Remote] || k.State != "ESTABLISHED" || k.Program != "" && !strings.HasPrefix(k.Program, "envoy") {
			continue
		}
		t := record.Tuple{Source: k.Local, Destination: k.Remote}
		if u := found[t]; u == nil {
			found[t] = &upstream{local: k.Local, remote: k.Remote, inode: k.Inode, pos: k.Pos}
		} else if u.inode == 0 {
			u.inode = k.Inode
		}
	}
	for a := range want {
		list, err := r.st.TranslationsServed(a)
		if err != nil {
			return nil, listed, err
		}
		for _, t := range list {
			if r.placeOf[t.Section] != p || !r.current[t.Section] || t.Protocol != c.protocol || t.Before != t.After || t.Via != record.ViaConntrack || t.Closing {
				continue
			}
			r.use(t.Pos)
			u := found[t.Before]
			if u == nil {
				u = &upstream{local: t.Before.Source, remote: a, pos: t.Pos}
				found[t.Before] = u
			}
			u.ts = append(u.ts, t)
		}
	}
	for t, u := range found {
		if captured, err := r.isCaptured(p, t); err != nil {
			return nil, listed, err
		} else if !captured {
			ups = append(ups, *u)
		}
	}
	sort.Slice(ups, func(i, j int) bool {
		if d := ups[i].remote.Compare(ups[j].remote); d != 0 {
			return d < 0
		}
		return ups[i].local.Compare(ups[j].local) < 0
	})
	return ups, listed, nil
}

// isCaptured tells whether a connection of a place is itself redirected into
// the proxy, and so the application's own.
func (r *resolver) isCaptured(p *place, tuple record.Tuple) (bool, error) {
	list, err := r.from(tuple.Source)
	if err != nil {
		return false, err
	}
	for _, t := range list {
		if r.placeOf[t.Section] == p && t.Before == tuple && t.After != t.Before && !t.Selects && t.Via == record.ViaConntrack {
			return true, nil
		}
	}
	return false, nil
}

// pairUpstream pairs the accepted socket with an upstream one by the order of
// their inodes: the proxy opens the upstream right after it accepts, and the
// kernel numbers sockets in order. Only a close, unrivalled neighbour counts.
func (r *resolver) pairUpstream(cur record.Tuple, s step, ups []upstream) (*upstream, string) {
	const near = 4
	var accepted []record.Socket
	for _, k := range r.inPlace(s.place) {
		if k.Inode != 0 && k.Local.Port() == s.after.Destination.Port() && k.State == "ESTABLISHED" {
			accepted = append(accepted, k)
		}
	}
	var mine uint64
	for _, k := range accepted {
		if k.Remote == cur.Source {
			mine = k.Inode
		}
	}
	if mine == 0 {
		return nil, ""
	}
	var best *upstream
	for i := range ups {
		u := &ups[i]
		if u.inode <= mine || u.inode > mine+near {
			continue
		}
		if best != nil {
			return nil, ""
		}
		best = u
	}
	if best == nil {
		return nil, ""
	}
	for _, k := range accepted { // another accepted socket in between would be a rival
		if k.Inode > mine && k.Inode < best.inode {
			return nil, ""
		}
	}
	return best, fmt.Sprintf("socket inodes: the proxy accepted the connection as %d and opened the upstream one as %d", mine, best.inode)
}

// dockerProxy finds where docker-proxy leads an accepted connection: each
// process serves one container port.
func (r *resolver) dockerProxy(c *conn, accepted record.Socket) (step, bool) {
	p := r.placeOf[accepted.Section]
	byRemote := map[netip.AddrPort][]record.Socket{}
	for _, k := range r.inPlace(p) {
		if k.PID == accepted.PID && k.PID != 0 && k.State == "ESTABLISHED" && k.Local.Port() != accepted.Local.Port() {
			byRemote[k.Remote] = append(byRemote[k.Remote], k)
		}
	}
	if len(byRemote) != 1 {
		return step{}, false
	}
	for a, list := range byRemote {
		after := record.Tuple{Destination: a}
		if len(list) == 1 {
			after.Source = list[0].Local
		}
		c.deduced, c.note = true, "docker-proxy process "+itoa(accepted.PID)+" has connections to this container only"
		return step{mechanism: "docker", via: "docker-proxy", place: p, before: record.Tuple{Source: c.client, Destination: c.service}, after: after}, true
	}
	return step{}, false
}
