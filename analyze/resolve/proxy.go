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
