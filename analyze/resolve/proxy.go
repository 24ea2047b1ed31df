package resolve

import (
	"fmt"
	"net/netip"
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

// Steps that no table names, but the proxy's own sockets show.
const (
	viaAccepted record.Via = "accepted" // the proxy accepted the connection
	viaUpstream record.Via = "upstream" // the proxy opened one
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
	envoy := false
	for _, s := range r.services {
		if s.place != p || p == nil {
			continue
		}
		if strings.HasPrefix(s.Type, "capture-") && s.Mechanism != "" {
			return s.Mechanism
		}
		if s.Source == record.FromEnvoyCluster || s.Source == record.FromEnvoyListener {
			if s.Mechanism == "istio" {
				return "istio"
			}
			envoy = true
		}
	}
	if envoy {
		return "envoy"
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

// carriesOn tells whether an Envoy with a listener of its own is behind an
// address: a gateway.
func (r *resolver) carriesOn(dst netip.AddrPort) bool {
	for _, p := range r.holders(dst.Addr(), "") {
		if !p.workload() {
			continue
		}
		for _, s := range r.services {
			if s.place == p && s.Source == record.FromEnvoyListener && s.Type != "inbound" && !strings.HasPrefix(s.Type, "virtual-") &&
				s.Address.Port() == dst.Port() && (s.Address.Addr().IsUnspecified() || s.Address == dst) && len(p.listeners[listenKey{record.TCP, dst.Port()}]) > 0 {
				return true
			}
		}
	}
	return false
}

// ofProxy tells whether the client is a proxy or its agent, whose connections
// are not redirected. They may have the ports of others.
func ofProxy(c *conn) bool {
	for _, k := range c.sockets {
		if strings.HasPrefix(k.Program, "envoy") || strings.HasPrefix(k.Program, "pilot-agent") || strings.HasPrefix(k.Program, "consul-data") {
			return true
		}
	}
	return false
}

// mayBeTaken tells whether a proxy beside the client may have taken the
// connection: not its own, and not one that the client's own table saw pass
// unchanged.
func (r *resolver) mayBeTaken(c *conn) bool {
	if ofProxy(c) {
		return false
	}
	for _, s := range c.through {
		if s.place == c.place && s.place.workload() && s.t.Via == record.ViaConntrack && s.t.Before == s.t.After {
			return false
		}
	}
	return r.sidecar(c)
}

// capture tells whether a step leads into a proxy in the namespace where it
// happened, rather than to another address.
func (r *resolver) capture(c *conn, s step, cur record.Tuple) capturedAt {
	d := s.after.Destination
	if !d.IsValid() || s.via != record.ViaConntrack && s.via != record.ViaEvent && s.via != viaAccepted || !r.proxyPort(s.place, d.Port()) {
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

// throughProxy finds where a captured connection goes on: the proxy's own
// table or log, else its upstream connections to hosts of the cluster behind
// the address. ok is false when no single one remains; candidates are noted.
func (r *resolver) throughProxy(c *conn, cur record.Tuple, s step, logs []sighting) (step, bool, error) {
	set := r.proxyChoices(s.place, cur.Destination, c)
	c.choices = set
	if s.place == nil {
		if len(logs) > 0 {
			next, ok := r.logStep(c, cur, logs)
			return next, ok, nil
		}
		return step{}, false, nil
	}
	l, err := r.proxyLegs(c, cur, s, set)
	if err != nil {
		return step{}, false, err
	}
	if logs = r.ofThis(c, l, logs); len(logs) > 0 {
		next, ok := r.logStep(c, cur, logs)
		r.ownLeg(c, cur, l, &next)
		return next, ok, nil
	}
	l.open = r.open(s.place, s.after.Destination, s.after.Source)
	if u, why := r.oneOf(cur, s, set, l); u != nil {
		c.deduced, c.note = true, why
		next := step{mechanism: s.mechanism, via: viaUpstream, place: s.place, before: s.after, ts: u.ts, socket: u.socket}
		next.after = record.Tuple{Source: u.local, Destination: u.remote}
		return next, true, nil
	}
	r.remain(c, cur, s, set, l)
	return step{}, false, nil
}

// remain notes what is left where no single upstream connection is: the hosts
// to which the proxy holds connections, else all that it may choose.
func (r *resolver) remain(c *conn, cur record.Tuple, s step, set choices, l legs) {
	hosts := byHost(l.ups)
	switch {
	case l.tunnels > 0:
		c.between = set.list
	case !l.open && !set.blackhole:
		c.note = "it was not open all the time while the sockets were listed"
		c.between = append(r.connected(set, hosts), strays(l.strays)...)
	case set.http && len(hosts) > 0 && len(set.list) > 0: // what an earlier request used may be closed
		c.between = append(r.connected(set, hosts), strays(l.strays)...)
	case len(hosts) > 1 || len(hosts) == 1 && len(l.strays) == 0:
		if set.tcp && len(l.ups) < len(l.downs) {
			c.note = fmt.Sprintf("it took %d such connections and holds %d upstream", len(l.downs), len(l.ups))
		}
		c.between = narrow(set, l, hosts, l.hints(s.after.Source))
	case len(hosts) == 1 || len(l.strays) > 0:
		c.between = append(r.connected(set, hosts), strays(l.strays)...)
	case set.blackhole:
		c.verdict, c.reason = None, "the proxy has no listener for this address, and ends what it does not know (BlackHoleCluster)"
	case l.whole && set.complete && set.tcp && set.mech != "" && len(set.list) > 0:
		c.verdict, c.reason = None, "the proxy took the connection, but holds no upstream connection to any host behind this address"
	default:
		c.between = set.list
	}
	c.between = r.behindServices(c, s, hosts, c.between)
}

// behindServices puts what stands behind a host that is itself a service in the
// host's place: where the tables lead the proxy's connections to it, else all
// that it may choose.
func (r *resolver) behindServices(c *conn, s step, hosts map[netip.AddrPort][]upstream, list []choice) (out []choice) {
	have := map[netip.AddrPort]bool{}
	for _, x := range list {
		if !r.balances(x.address) || r.isBackend(x.address) {
			out = append(out, x)
			continue
		}
		ends, known := map[netip.AddrPort][]upstream{}, len(hosts[x.address]) > 0
		for _, u := range hosts[x.address] {
			end, ok := r.endOf(c, s, u)
			known = known && ok
			ends[end] = append(ends[end], u)
		}
		if !known {
			out = append(out, r.choose(x.address, c.protocol, vantage{}, 0).list...)
			continue
		}
		for _, end := range sortedEndpoints(ends) {
			if !have[end] {
				have[end] = true
				out = append(out, choice{address: end, mech: x.mech, pos: ends[end][0].pos(), reason: "a connection of the proxy to " + x.address.String() + " leads to it"})
			}
		}
	}
	return out
}

// endOf is where the tables lead a connection that the proxy opened.
func (r *resolver) endOf(c *conn, s step, u upstream) (netip.AddrPort, bool) {
	x := &conn{protocol: c.protocol, client: u.local, service: u.remote, place: s.place, host: s.place.host, state: "ESTABLISHED"}
	r.keep(r.follow(x))
	end := x.final.Destination
	return end, x.conflict == nil && x.lost == "" && x.captured == 0 && len(x.steps) > 0 && end.IsValid() && !r.balances(end)
}

func byHost(ups []upstream) map[netip.AddrPort][]upstream {
	out := map[netip.AddrPort][]upstream{}
	for _, u := range ups {
		out[u.remote] = append(out[u.remote], u)
	}
	return out
}

// oneOf leaves one upstream connection by elimination, where that is sound: a
// proxy that looks into HTTP may send each request elsewhere, one that passes
// TCP through has an upstream connection for each that it took.
func (r *resolver) oneOf(cur record.Tuple, s step, set choices, l legs) (*upstream, string) {
	if len(l.ups) == 0 || l.tunnels > 0 {
		return nil, ""
	}
	if u, why := l.paired(s.after.Source, set.tcp); u != nil {
		return u, why
	}
	if !l.open || len(byHost(l.ups)) != 1 || len(l.strays) > 0 || l.elsewhere(l.ups[0].remote) {
		return nil, ""
	}
	u := l.ups[0]
	if len(l.ups) > 1 {
		if r.balances(u.remote) && !r.isBackend(u.remote) {
			return nil, "" // each may have gone elsewhere
		}
		u.local = netip.AddrPort{}
	}
	enough := len(l.ups) >= len(l.downs)
	switch {
	case u.remote == cur.Destination && set.through && enough:
		return &u, "the proxy has no listener for this address, and its own connections to it are those that it passes through"
	case len(set.list) == 1 && set.complete && u.remote == set.list[0].address && (set.http || enough):
		return &u, "the only host of the cluster behind this address, and the proxy is connected to it"
	case set.tcp && enough:
		return &u, fmt.Sprintf("the proxy passes TCP through here, and all its upstream connections for this address (%d) go to one host", len(l.ups))
	case !set.http && len(l.ups) == 1 && len(l.downs) <= 1:
		return &u, "the proxy has one connection from this client and one upstream connection to a host behind this address"
	}
	return nil, ""
}

// narrow keeps the candidates to which the proxy holds a connection, or is about
// to.
func narrow(set choices, l legs, hosts map[netip.AddrPort][]upstream, hints map[netip.AddrPort]hint) (out []choice) {
	for _, a := range sortedEndpoints(hosts) {
		ch := choice{address: a, reason: "the proxy holds an upstream connection to it", pos: hosts[a][0].pos()}
		if h, ok := hints[a]; ok {
			ch.reason, ch.pos = h.why, h.pos
		}
		for _, x := range set.list {
			if x.address == a {
				ch.name, ch.mech = x.name, x.mech
			}
		}
		out = append(out, ch)
	}
	for _, x := range set.list {
		if l.dialling[x.address] && len(hosts[x.address]) == 0 {
			x.reason = "the proxy is connecting to it"
			out = append(out, x)
		}
	}
	return out
}

// connected lists all hosts of a set, and says to which the proxy holds a
// connection.
func (r *resolver) connected(set choices, hosts map[netip.AddrPort][]upstream) (out []choice) {
	for _, x := range set.list {
		if ups := hosts[x.address]; len(ups) > 0 {
			x.reason += "; the proxy holds an upstream connection to it"
			x.pos = ups[0].pos()
		}
		out = append(out, x)
	}
	return out
}

// strays are the hosts to which the proxy holds connections that no cluster
// explains: a connection outlives the endpoint's place in its cluster.
func strays(list []upstream) (out []choice) {
	hosts := byHost(list)
	for _, a := range sortedEndpoints(hosts) {
		out = append(out, choice{address: a, pos: hosts[a][0].pos(), reason: "the proxy holds an upstream connection to it, and no cluster has it (any more)"})
	}
	return out
}

// proxyChoices are the hosts of the clusters behind an address, as the proxy
// in a place knows them; else the backends of the service.
func (r *resolver) proxyChoices(p *place, dst netip.AddrPort, c *conn) choices {
	key := choiceKey{p, c.host, dst, c.protocol}
	if set, ok := r.chosen[key]; ok {
		return set
	}
	set := r.readChoices(p, dst, c)
	set.list = append([]choice{}, set.list...)
	r.chosen[key] = set
	return set
}

type choiceKey struct {
	place    *place
	host     string
	dst      netip.AddrPort
	protocol record.Protocol
}

func (r *resolver) readChoices(p *place, dst netip.AddrPort, c *conn) choices {
	set := choices{complete: true, mech: r.captureMechanism(p)}
	seen := map[string]bool{}
	said, listener := false, false
	rest := map[string]bool{} // clusters for what no listener has
	for _, s := range r.services {
		if s.Source != record.FromEnvoyListener || s.place != p || p == nil || s.Type == "inbound" {
			continue
		}
		if strings.HasPrefix(s.Type, "virtual-") {
			if s.Type == "virtual-outbound" {
				rest[s.Cluster] = true
			}
			continue
		}
		if s.Address != dst && !(s.Address.Addr().IsUnspecified() && s.Address.Port() == dst.Port()) {
			continue
		}
		listener = true
		set.http = set.http || s.HTTP
		set.tcp = set.tcp || s.Address == dst && s.Cluster != ""
		if s.Cluster == "" || seen[s.Cluster] {
			continue
		}
		seen[s.Cluster] = true
		said = r.addCluster(&set, p, s.Cluster) || said
	}
	set.tcp = set.tcp && !set.http
	if !said && (listener || len(rest) == 0) {
		said = r.clusterByName(&set, p, dst, c, seen)
	}
	if !said {
		other := r.chooseOrGuess(dst, c.protocol, r.seenBy(c, dst))
		other.http, other.tcp, other.mech = set.http, set.tcp, set.mech
		other.complete = false // what the sidecar may choose is its own matter
		other.through = !listener && rest["PassthroughCluster"]
		other.blackhole = !listener && len(rest) == 1 && rest["BlackHoleCluster"]
		return other
	}
	set.tidy()
	return set
}

// clusterByName adds the proxy's own clusters of the service behind an address.
func (r *resolver) clusterByName(set *choices, p *place, dst netip.AddrPort, c *conn, seen map[string]bool) bool {
	party, ok := r.serviceParty(dst, c.protocol, r.seenBy(c, dst))
	if !ok || party.Name == "" {
		return false
	}
	said := false
	for _, s := range r.services {
		if s.Source == record.FromEnvoyCluster && s.place == p && s.Name == party.Name && (s.Namespace == party.Namespace || s.Namespace == "") && strings.HasPrefix(s.Cluster, fmt.Sprintf("outbound|%d|", dst.Port())) && !seen[s.Cluster] {
			seen[s.Cluster] = true
			said = r.addCluster(set, p, s.Cluster) || said
		}
	}
	return said
}

// addCluster adds the hosts of a cluster that a proxy knows.
func (r *resolver) addCluster(set *choices, p *place, cluster string) bool {
	said, complete := false, false
	for _, s := range r.clusters[cluster] {
		if s.place != p {
			continue
		}
		said = true
		complete = complete || s.Complete
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
			set.list = append(set.list, choice{address: b.Address, reason: reason, pos: pos, mech: set.mech})
		}
	}
	set.complete = set.complete && complete
	return said
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
