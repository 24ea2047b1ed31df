package resolve

import (
	"net/netip"
	"strings"

	"whichbackend/analyze/record"
)

// findGaps says what is missing for a better verdict, and the command that
// would record it.
func (r *resolver) findGaps(c *conn) {
	if len(c.backends) == 1 && c.final.Destination.IsValid() && r.carriesOn(c.final.Destination) {
		b := c.backends[0].Party
		c.gaps = append(c.gaps, Gap{Missing: "the access log of the gateway (" + describePlace(b) + ")", Effect: "what the gateway leads it to is not known",
			Command: "kubectl logs -n " + quoteShell(orElse(b.Namespace, "NAMESPACE")) + " " + quoteShell(orElse(b.Name, "GATEWAY_POD"))})
	}
	switch c.verdict {
	case Observed, Deduced:
		if len(c.backends) == 1 && len(c.servers) == 0 {
			b := c.backends[0].Party
			missing := "sockets of the backend's namespace (" + describePlace(b) + ")"
			if r.socketsRecorded(b) {
				missing = "the backend's sockets while the connection is open: those recorded (" + describePlace(b) + ") do not show it"
			}
			c.gaps = append(c.gaps, Gap{Missing: missing, Effect: string(c.verdict) + ", not proven", Command: socketCommand(b, c.protocol)})
		}
		if c.verdict == Deduced && len(c.steps) == 0 && !c.direct {
			c.gaps = append(c.gaps, r.tableGap(c, "deduced, not observed"))
		}
	case Candidates, Unknown:
		if c.leaves && c.verdict == Unknown {
			c.gaps = append(c.gaps, Gap{Missing: "the connection table and the sockets of whoever holds " + c.service.Addr().String(), Effect: "unknown instead of one backend", Command: "conntrack -L; ss -tanp"})
			return
		}
		c.gaps = append(c.gaps, r.tableGap(c, string(c.verdict)+" instead of one backend"))
	case Conflicted:
		c.gaps = append(c.gaps, Gap{Missing: "the client's and the backends' sockets at the same moment", Effect: "the contradiction is not settled", Command: ssCommand(c.protocol)})
	}
}

// socketsRecorded tells whether the sockets of the namespace that holds a
// backend's address were recorded.
func (r *resolver) socketsRecorded(p Party) bool {
	a, err := netip.ParseAddrPort(p.Address)
	if err != nil {
		return false
	}
	for _, q := range r.holders(a.Addr(), p.Host) {
		if q.formats["netstat"] || q.formats["ss"] || q.formats["proc-net-tcp"] {
			return true
		}
	}
	return false
}

// socketCommand records the sockets of a workload's namespace.
func socketCommand(p Party, protocol record.Protocol) string {
	switch p.Kind {
	case "pod":
		if p.Namespace == "" {
			return "kubectl exec " + quoteShell(p.Name) + " -- netstat -anp"
		}
		return "kubectl exec -n " + quoteShell(p.Namespace) + " " + quoteShell(p.Name) + " -- netstat -anp"
	case "container":
		return "docker exec " + quoteShell(p.Name) + " netstat -anp"
	}
	return ssCommand(protocol)
}

// ssCommand records the sockets of a protocol with all that tells them apart.
func ssCommand(protocol record.Protocol) string {
	if protocol == record.UDP {
		return "ss -uanpe"
	}
	return "ss -tanpie"
}

// quoteShell makes a name one harmless word of a command that people paste:
// names come from bundles of strangers.
func quoteShell(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == "" && !strings.HasPrefix(s, "-") {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// tableGap names the table that would show where the connection went.
func (r *resolver) tableGap(c *conn, effect string) Gap {
	mech := ""
	if m := c.mechanisms(); len(m) > 0 {
		mech = m[len(m)-1]
	}
	if len(c.steps) > 0 && c.captured == 0 {
		last := c.steps[len(c.steps)-1]
		if r.runsSwarm() {
			mech = "docker-swarm"
		} else if last.mechanism == "cilium" {
			mech = "cilium"
		}
	}
	if c.captured > 0 || r.mayBeTaken(c) {
		mech = r.captureMechanism(c.place)
	}
	host := c.host
	if n := len(c.steps); n > 0 {
		host = hostOf(c.steps[n-1].place)
		if o := r.ownerAt(c.final.Destination.Addr(), host); c.final.Destination.IsValid() && o != nil && o.kind == "node" && o.host != "" {
			host = o.host // it was sent on there
		}
	} else if v := r.seenBy(c, c.service); len(v.hosts) == 1 {
		for h := range v.hosts {
			host = h // it holds the address that was dialled
		}
	}
	on := ""
	if host != "" {
		on = " of " + host
	}
	switch mech {
	case "istio", "envoy":
		return r.meshGap(c, mech, effect)
	case "cilium":
		return r.ciliumGap(c, host, on, effect)
	case "docker-swarm":
		if c.place != nil && c.place.workload() && c.place.formats["ipvs"] {
			return Gap{Missing: "IPVS in the client's namespace before its entry ended: after 15 idle minutes an open connection has none", Effect: effect, Command: "nsenter -t PID_OF_THE_CLIENT -n ipvsadm -Lnc"}
		}
		return Gap{Missing: "connection tables of the Swarm load-balancer namespaces" + on, Effect: effect,
			Command: "for n in /run/docker/netns/lb_* /run/docker/netns/ingress_sbox; do nsenter --net=$n conntrack -L; nsenter --net=$n ipvsadm -Lnc; done"}
	case "docker":
		return Gap{Missing: "the host's connection table and docker-proxy's sockets" + on, Effect: effect, Command: "conntrack -L; ss -tanp"}
	}
	missing := "the connection table" + on
	if on == "" {
		missing = "the connection table of the client's host"
	}
	if r.hasTables(host) && host != "" {
		missing += " while the connection is open (the recorded one has no entry for it)"
	}
	return Gap{Missing: missing, Effect: effect, Command: "conntrack -L"}
}

// ciliumGap names the table of Cilium that would show where it went.
func (r *resolver) ciliumGap(c *conn, host, on, effect string) Gap {
	exec := "kubectl -n kube-system exec CILIUM_POD_ON_THE_NODE -c cilium-agent -- cilium-dbg bpf "
	if c.number != (backendKey{}) {
		return Gap{Missing: "Cilium's numbers of backends" + on + " from when the connection began (number " + itoa(int(c.number.number)) + ")", Effect: effect,
			Command: exec + "lb list --backends; " + exec + "lb list --frontends; " + exec + "lb list"}
	}
	missing := "Cilium's connection table" + on
	if r.hasTables(host) && host != "" {
		missing += " while the connection is open (the recorded one has no entry for it)"
	}
	return Gap{Missing: missing, Effect: effect, Command: exec + "ct list global"}
}

// meshGap names what of a mesh would show where the connection went: what was
// not recorded of the proxy that took it.
func (r *resolver) meshGap(c *conn, mech, effect string) Gap {
	client := r.clientParty(c)
	if n := len(c.steps); n > 0 && len(c.steps[n-1].ts) > 0 && ofZtunnel(c.steps[n-1].ts[0]) {
		t := c.steps[n-1].ts[0]
		namespace, name, _ := strings.Cut(t.Peer, "/")
		return Gap{Missing: "the access log of the waypoint or gateway at " + t.Tunnel.Addr().String(), Effect: effect,
			Command: "kubectl logs -n " + quoteShell(orElse(namespace, "NAMESPACE")) + " " + quoteShell(orElse(name, "WAYPOINT_POD"))}
	}
	if r.ambient(c) {
		return Gap{Missing: "the connections of the ztunnel on the client's node (" + describePlace(client) + ")", Effect: effect, Command: "istioctl ztunnel-config connections --raw"}
	}
	pod := quoteShell(orElse(client.Name, "POD"))
	if client.Namespace != "" {
		pod = "-n " + quoteShell(client.Namespace) + " " + pod
	}
	exec, admin, logs := "kubectl exec "+pod+" -c istio-proxy -- ", "pilot-agent request GET 'config_dump?include_eds'", "kubectl logs "+pod+" -c istio-proxy"
	if mech == "envoy" {
		exec, admin, logs = "kubectl exec "+pod+" -- ", "curl -s 127.0.0.1:19000/config_dump?include_eds", "kubectl logs "+pod
	}
	has := map[string]bool{}
	if c.place != nil {
		has = c.place.formats
	}
	missing, commands := []string{"the proxy's access log"}, []string{logs}
	if has["istio-access-log"] {
		missing[0] = "a row for it in the proxy's access log, which is written at the end"
	}
	if !has["envoy-config_dump"] && !has["envoy-clusters"] {
		missing, commands = append(missing, "its clusters and listeners"), append(commands, exec+admin)
	}
	if !has["ss"] && !c.choices.http {
		missing, commands = append(missing, "the pod's sockets with inodes"), append(commands, exec+"ss -tanpie")
	}
	if !has["conntrack"] {
		missing, commands = append(missing, "the pod's own conntrack"), append(commands, "nsenter -t PID_IN_THE_POD -n conntrack -L")
	}
	return Gap{Missing: strings.Join(missing, ", ") + " (" + describePlace(client) + ")", Effect: effect, Command: strings.Join(commands, "; ")}
}

// ambient tells whether a ztunnel takes the client's connections, rather than
// a sidecar.
func (r *resolver) ambient(c *conn) bool {
	for _, o := range r.owners[c.client.Addr()] {
		if o.sidecar {
			return false
		}
	}
	for _, p := range r.places {
		if p.formats["ztunnel-config_dump"] || p.formats["ztunnel-connections"] || p.formats["ztunnel-access-log"] {
			return c.place == nil || !c.place.formats["envoy-config_dump"] && !c.place.formats["envoy-clusters"] && !c.place.formats["istio-access-log"]
		}
	}
	return c.place != nil && len(c.place.listeners[listenKey{record.TCP, tunnelPort}]) > 0
}

// clientParty names the client.
func (r *resolver) clientParty(c *conn) Party {
	if len(c.sockets) > 0 {
		return r.partyIn(c.client, r.placeOf[c.sockets[0].Section])
	}
	if c.place != nil {
		return r.partyIn(c.client, c.place)
	}
	return r.party(c.client, c.host)
}

// protocolName is how answers call a protocol.
func protocolName(p record.Protocol) string {
	switch p {
	case record.TCP:
		return "tcp"
	case record.UDP:
		return "udp"
	case record.SCTP:
		return "sctp"
	}
	return itoa(int(p))
}
