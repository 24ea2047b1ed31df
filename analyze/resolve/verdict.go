package resolve

import (
	"fmt"
	"net/netip"
	"sort"
	"strings"

	"whichbackend/analyze/record"
)

// resolve follows one connection and judges what was found.
func (r *resolver) resolve(c *conn) error {
	if err := r.follow(c); err != nil {
		return err
	}
	if err := r.acceptedByProxy(c); err != nil {
		return err
	}
	r.noteLegs(c)
	if err := r.lookIntoCaptures(c); err != nil {
		return err
	}
	why, failed := r.unserving(c)
	switch {
	case c.verdict != "":
	case failed && c.conflict == nil:
		c.verdict, c.reason = None, why
	case c.conflict != nil:
		c.verdict, c.reason = Conflicted, c.conflict.Reason
	case c.gone:
		c.verdict, c.reason = Unknown, c.lost
	case c.lost != "":
		r.fromChoices(c, c.lost)
	case c.captured > 0 && len(c.steps) == c.captured:
		r.leftInProxy(c)
	case len(c.steps) == 0:
		return r.untranslated(c)
	default:
		r.translated(c)
	}
	r.findGaps(c)
	return nil
}

// acceptedByProxy follows an accepted socket of docker-proxy to the container.
func (r *resolver) acceptedByProxy(c *conn) error {
	for _, k := range c.servers {
		if !strings.HasPrefix(k.Program, "docker-proxy") {
			continue
		}
		c.servers = nil
		s, ok := r.dockerProxy(c, k)
		if !ok {
			c.lost = "docker-proxy accepted it, and which of its connections belongs to it is not known"
			return nil
		}
		s.before = c.final
		s.socket = k.Pos
		c.steps = append(c.steps, s)
		c.final, c.sourceUnsure = s.after, !s.after.Source.IsValid()
		return r.confirm(c)
	}
	return nil
}

// leftInProxy answers for a connection that a proxy took, where none or
// several ways on remain.
func (r *resolver) leftInProxy(c *conn) {
	if c.choices.http {
		c.requests = append(c.requests, record.Translation{})
	}
	why := "the proxy beside the client took it (" + c.steps[c.captured-1].after.Destination.String() + "), and no log or table names where it went on"
	if c.note != "" {
		why += "; " + c.note
	}
	r.setCandidates(c, c.between, why)
}

// translated answers for a connection that a table leads to a backend.
func (r *resolver) translated(c *conn) {
	last := c.steps[len(c.steps)-1]
	if c.arrived > 1 {
		last = c.steps[c.arrived-2] // the one that names the backend
	}
	host := hostOf(last.place)
	if why := r.notABackend(c, host); why != "" {
		set := r.chooseAny(c.final.Destination, c.protocol, host)
		c.choices = set
		if len(set.list) > 0 {
			r.setCandidates(c, set.list, why)
		} else {
			c.verdict, c.reason = Unknown, why
		}
		return
	}
	dst, published := c.final.Destination, false
	if last.place != nil && last.place.name == "ingress_sbox" && len(c.servers) == 0 {
		served, ok := r.served(dst, c.protocol)
		dst, published = served, !ok
	}
	c.backends = []Backend{{Party: r.partyAtEnd(c, dst, last.place)}}
	if b := r.endpointName(dst); b.Name != "" && c.backends[0].Name == "" {
		c.backends[0].Party = b
	}
	if c.protocol == record.TCP && last.unreplied && len(c.servers) == 0 && c.state != "ESTABLISHED" {
		c.verdict, c.backends = None, nil
		c.reason = "it was sent to " + dst.String() + ", which never answered"
		return
	}
	r.judge(c, last)
	if c.against != "" {
		c.reason += "; " + c.against
	}
	if r.carriesOn(dst) {
		c.reason += "; it is a proxy itself, and carries on what it takes"
	}
	if published {
		c.reason += "; on the published port, and nothing tells the port on which the task serves"
	}
	if c.protocol == record.UDP && last.unreplied {
		c.reason += "; no answer was seen"
	}
}

// judge tells how far the evidence carries that a path ends at its backend.
func (r *resolver) judge(c *conn, last step) {
	names := viaWord(last.via) + " names it"
	if last.via == record.ViaEvent {
		names = viaWord(last.via) + " name it"
	}
	if last.via == record.ViaCapture {
		names = "captures show it behind the NAT, with " + tierSays[last.crossing().Tier]
		if last.crossing().Relay {
			names = c.note
		}
	} else if last.place != nil {
		names = nameOf(last.place) + " " + names
	}
	witness := r.witness(c, last)
	switch {
	case c.arrived == 1:
		r.arrivedOnly(c)
	case c.deduced:
		c.verdict, c.reason = Deduced, c.note
		if witness != "" {
			c.reason += "; " + witness
		}
	case c.weak != "":
		c.verdict, c.reason = Deduced, c.weak
		if witness != "" {
			c.reason += "; " + witness
		}
	case witness != "":
		c.verdict, c.reason = Proven, names+"; "+witness
	default:
		c.verdict, c.reason = Observed, names
	}
	if p := r.unserved(c); p != nil {
		if c.verdict == Proven {
			c.verdict = Observed
		}
		c.reason += "; " + nameOf(p) + " lists no socket there, so it may be gone, and the entry be left over"
	}
}

// viaWord is how a reason calls a table.
func viaWord(v record.Via) string {
	switch v {
	case record.ViaEvent:
		return "conntrack events"
	case record.ViaIPVS:
		return "IPVS"
	case record.ViaCiliumCT:
		return "Cilium CT"
	case record.ViaCiliumNAT:
		return "Cilium NAT"
	case record.ViaAccessLog:
		return "access log"
	case record.ViaZtunnelLog:
		return "ztunnel log"
	case "upstream":
		return "proxy"
	case record.ViaCapture:
		return "captures"
	}
	return string(v)
}

// notABackend says why the end of a path is no backend: it is an address that
// balances or carries on, and the table behind it is missing.
func (r *resolver) notABackend(c *conn, host string) string {
	dst := c.final.Destination
	if len(c.servers) > 0 || dst.Addr().IsLoopback() {
		return ""
	}
	if r.passedOn(c) {
		c.leaves = true
		return nameOf(c.steps[len(c.steps)-1].place) + " passed it on to the address that was dialled, and nothing in the bundle tells who serves that"
	}
	for _, p := range r.holders(dst.Addr(), host) {
		// A balancer's namespace has no sockets; one in which a socket serves the
		// address is a workload's, whose name nothing tells.
		if p.kind == record.ScopeNetns && !p.listens(c.protocol, dst) {
			return "it was sent on to " + nameOf(p) + ", whose tables have no entry for it"
		}
	}
	o := r.ownerAt(dst.Addr(), host)
	if o != nil && o.kind == "balancer" {
		return "it was sent on to the balancer " + o.name + ", whose tables have no entry for it"
	}
	if last := c.steps[len(c.steps)-1]; o == nil && len(r.owners[dst.Addr()]) == 0 && r.runsSwarm() && !swarmPlace(last.place) {
		return "it was sent on to " + dst.String() + ", which nobody in the bundle holds; Swarm may carry it on from there"
	}
	if o != nil && o.kind == "node" && !r.hasTables(o.host) && dst.Port() >= 30000 && dst.Port() <= 32767 && !r.isBackend(dst) {
		return "it was sent on to " + dst.String() + ", by its number a node port of " + o.name + ", whose tables were not recorded"
	}
	for _, s := range r.servicesAt(dst, c.protocol, vantage{}) {
		if s.Type != "redirect" && s.Type != "dnat" && !r.isBackend(dst) {
			return "it was sent on to " + dst.String() + ", which is itself a service"
		}
	}
	return ""
}

// passedOn tells whether a connection goes on to the address that was dialled,
// and nobody is known to hold that: whoever does may balance it.
func (r *resolver) passedOn(c *conn) bool {
	if c.final.Destination != c.service {
		return false
	}
	for _, s := range c.through {
		if s.order == farPlace || s.order == endPlace {
			return false
		}
	}
	return !r.endsAt(c.service.Addr(), c.host)
}

// endsAt tells whether an address is known to be an end, and no balancer's: it
// never leaves the namespace, a workload holds it, or a host whose own tables would show it going on.
func (r *resolver) endsAt(a netip.Addr, host string) bool {
	o := r.ownerAt(a, host)
	return a.IsLoopback() || r.isWorkload(a) || o != nil && o.kind == "node" && o.host != "" && r.hasTables(o.host)
}

// isBackend tells whether some service lists an address as a backend. What a
// proxy's cluster has as a host may be a service itself.
func (r *resolver) isBackend(a netip.AddrPort) bool {
	host := false
	for _, s := range r.services {
		for _, b := range s.Backends {
			if b.Address != a {
				continue
			}
			if s.Source != record.FromEnvoyCluster {
				return true
			}
			host = true
		}
	}
	return host && !r.balances(a)
}

// balances tells whether an address is that of a service.
func (r *resolver) balances(a netip.AddrPort) bool {
	for _, s := range r.servicesAt(a, record.TCP, vantage{}) {
		if s.Type != "redirect" && s.Type != "dnat" {
			return true
		}
	}
	return false
}

// witness names an independent artifact that agrees with the end of the path.
func (r *resolver) witness(c *conn, last step) string {
	if len(c.servers) > 0 {
		if k := c.servers[0]; k.Local != c.final.Destination {
			return "the proxy beside the backend accepted it"
		}
		return "the server's own socket agrees"
	}
	if c.arrived > 1 {
		s := c.steps[c.arrived-1]
		return "the " + viaWord(s.via) + " of " + nameOf(s.place) + " shows it arrive"
	}
	for _, s := range c.through {
		if s.place != last.place && s.behind() && s.t.Via != record.ViaEvent {
			c.witnesses = []sighting{s}
			return "the table of " + nameOf(s.place) + " agrees"
		}
	}
	if last.independent {
		return "IPVS and conntrack agree"
	}
	return r.captureWitness(c, last)
}

// untranslated answers for a connection that no table rewrites.
func (r *resolver) untranslated(c *conn) error {
	from := r.seenBy(c, c.service)
	isService := false
	for _, s := range r.servicesAt(c.service, c.protocol, from) {
		if s.Type != "redirect" && s.Type != "dnat" {
			isService = true
		}
	}
	switch {
	case len(c.servers) > 0:
		c.direct = true
		c.verdict, c.reason = Proven, "the client dialled the backend itself; the server's own socket agrees"
		if len(c.sockets) == 0 && len(c.through) == 0 {
			c.verdict = Observed
		}
	case r.arrivedInCapture(c):
	case isService && !r.isWorkload(c.service.Addr()):
		if err := r.serviceUntranslated(c, from); err != nil {
			return err
		}
	default:
		r.directUnconfirmed(c)
	}
	if c.direct && len(c.backends) == 0 && c.verdict != None && c.verdict != Unknown {
		c.backends = []Backend{{Party: r.partyFor(c)}}
	}
	r.findGaps(c)
	return nil
}

// isWorkload tells whether a pod or container holds an address.
func (r *resolver) isWorkload(a netip.Addr) bool {
	for _, o := range r.owners[a] {
		if (o.kind == "pod" || o.kind == "container") && !o.finished {
			return true
		}
	}
	return false
}

// directUnconfirmed answers where the server's side was not recorded: the
// tables on the way say whether anything rewrote the connection.
func (r *resolver) directUnconfirmed(c *conn) {
	c.direct = true
	near, far := "", ""
	silent := len(c.through) > 0
	for _, s := range c.through {
		silent = silent && s.t.Unreplied
		if s.t.Via == record.ViaEvent {
			continue
		}
		switch {
		case s.order == hostPlace || s.order == holderPlace || s.order == ownPlace && (s.place.kind == record.ScopeHost || c.service.Addr().IsLoopback()) || s.t.Via == record.ViaCiliumCT:
			near = nameOf(s.place)
		case s.order == farPlace || s.order == endPlace:
			far = nameOf(s.place)
		}
	}
	workload := r.isWorkload(c.service.Addr())
	node := r.ownerAt(c.service.Addr(), c.host)
	c.witnesses = c.through
	switch {
	case silent && c.protocol == record.TCP && c.state != "ESTABLISHED":
		c.direct = len(c.sockets) > 0
		c.verdict, c.reason = None, "it was sent to "+c.service.String()+", which never answered"
	case near != "" && far != "" && near != far:
		c.verdict, c.reason = Proven, "the client dialled the backend itself: the tables of "+near+" and "+far+" saw it pass unchanged"
	case far != "" && (workload || node != nil && node.kind == "node"):
		c.verdict, c.reason = Observed, "the client dialled the backend itself: the table of "+far+" saw it arrive unchanged"
	case near != "" && r.endsAt(c.service.Addr(), c.host):
		c.verdict, c.reason = Observed, "the client dialled the backend itself: the table of "+near+" saw it pass unchanged"
	case workload && !r.mayBeTaken(c):
		c.verdict, c.reason = Deduced, "the address that it dialled belongs to a workload, and no service has it"
	case c.state == "SYN_SENT" && c.head == 0:
		c.direct = false
		c.verdict, c.reason = None, "the client's SYN has no answer"
	default:
		c.direct = false
		c.verdict, c.reason = Unknown, "nothing in the bundle tells who serves "+c.service.String()
		if c.outcome.word == "unanswered" {
			c.reason += "; its one SYN has no answer in the captures, which may have ended or seen one direction only"
		}
		if near != "" {
			c.leaves = true
			c.reason = "the table of " + near + " saw it pass unchanged, and " + c.reason
		}
	}
}

// sidecar tells whether the client's pod has a proxy that takes its connections.
func (r *resolver) sidecar(c *conn) bool {
	for _, o := range r.owners[c.client.Addr()] {
		if o.sidecar {
			return true
		}
	}
	if c.place == nil {
		return false
	}
	for _, s := range r.services {
		if s.place == c.place && (strings.HasPrefix(s.Type, "capture-") || s.Source == record.FromEnvoyCluster || s.Source == record.FromEnvoyListener) {
			return true
		}
	}
	return false
}

// mayHaveDialled names the services of Cilium that lead to the backend which
// the client's socket shows.
func (r *resolver) mayHaveDialled(c *conn) []Party {
	if !c.direct || len(c.sockets) == 0 || !r.runsCilium() {
		return nil
	}
	seen := map[string]bool{}
	var out []Party
	for _, s := range r.services {
		if s.Source != record.FromCiliumLB && s.Source != record.FromCiliumAgent || !s.Address.IsValid() || s.Address.Addr().IsUnspecified() || s.Protocol != 0 && s.Protocol != c.protocol {
			continue
		}
		for _, b := range s.Backends {
			if b.Address != c.service || seen[s.Address.String()] {
				continue
			}
			seen[s.Address.String()] = true
			p, _ := r.serviceParty(s.Address, c.protocol, vantage{})
			out = append(out, p)
		}
	}
	sort.Slice(out, func(i, j int) bool { return lessAddress(out[i].Address, out[j].Address) })
	return out
}

// lessAddress orders address texts by their addresses.
func lessAddress(a, b string) bool {
	x, errX := netip.ParseAddrPort(a)
	y, errY := netip.ParseAddrPort(b)
	if errX != nil || errY != nil {
		return a < b
	}
	return x.Compare(y) < 0
}

// mechanisms lists whose work the path is, each once, in the order of the way.
func (c *conn) mechanisms() []string {
	var out []string
	for _, s := range c.steps {
		if s.mechanism == "" {
			continue // a proxy that nothing names
		}
		if n := len(out); n == 0 || out[n-1] != s.mechanism {
			seen := false
			for _, m := range out {
				seen = seen || m == s.mechanism
			}
			if !seen {
				out = append(out, s.mechanism)
			}
		}
	}
	// A server's socket alone does not tell what the client dialled.
	if len(out) == 0 && c.direct && (len(c.sockets) > 0 || len(c.through) > 0) {
		return []string{"direct"}
	}
	if len(out) == 0 && c.choices.mech != "" {
		return []string{c.choices.mech}
	}
	return out
}

// describePlace is how a gap calls where something should be recorded.
func describePlace(p Party) string {
	switch {
	case p.Kind == "pod" && p.Namespace != "":
		return "pod " + p.Namespace + "/" + p.Name
	case p.Name != "":
		return fmt.Sprintf("%s %s", p.Kind, p.Name)
	}
	return p.Address
}
