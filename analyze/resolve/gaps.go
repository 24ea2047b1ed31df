package resolve

import (
	"net/netip"
	"strings"

	"whichbackend/analyze/record"
)

// findGaps says what is missing for a better verdict, and the command that
// would record it.
func (r *resolver) findGaps(c *conn) {
	switch c.verdict {
	case Observed, Deduced:
		if len(c.backends) == 1 && len(c.servers) == 0 {
			b := c.backends[0].Party
			missing := "sockets of the backend's namespace (" + describePlace(b) + ")"
			if r.socketsRecorded(b) {
				missing = "the backend's sockets while the connection is open: those recorded (" + describePlace(b) + ") do not show it"
			}
			c.gaps = append(c.gaps, Gap{Missing: missing, Effect: string(c.verdict) + ", not proven", Command: socketCommand(b)})
		}
		if c.verdict == Deduced && len(c.steps) == 0 && !c.direct {
			c.gaps = append(c.gaps, r.tableGap(c, "deduced, not observed"))
		}
	case Candidates, Unknown:
		c.gaps = append(c.gaps, r.tableGap(c, string(c.verdict)+" instead of one backend"))
	case Conflicted:
		c.gaps = append(c.gaps, Gap{Missing: "the client's and the backends' sockets at the same moment", Effect: "the contradiction is not settled", Command: "ss -tanpie"})
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
func socketCommand(p Party) string {
	switch p.Kind {
	case "pod":
		if p.Namespace == "" {
			return "kubectl exec " + quoteShell(p.Name) + " -- netstat -anp"
		}
		return "kubectl exec -n " + quoteShell(p.Namespace) + " " + quoteShell(p.Name) + " -- netstat -anp"
	case "container":
		return "docker exec " + quoteShell(p.Name) + " netstat -anp"
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
		mech = "istio"
	}
	host := c.host
	on := ""
	if host != "" {
		on = " of " + host
	}
	switch mech {
	case "istio", "envoy":
		client := r.clientParty(c)
		pod := quoteShell(orElse(client.Name, "POD"))
		if client.Namespace != "" {
			pod = "-n " + quoteShell(client.Namespace) + " " + pod
		}
		exec := "kubectl exec " + pod + " -c istio-proxy -- "
		return Gap{Missing: "the sidecar's access log, clusters and sockets with inodes, and the pod's own conntrack (" + describePlace(client) + ")", Effect: effect,
			Command: exec + "pilot-agent request GET clusters; " + exec + "ss -tanpie; kubectl logs " + pod + " -c istio-proxy"}
	case "cilium":
		return Gap{Missing: "Cilium's connection table" + on, Effect: effect, Command: "kubectl -n kube-system exec CILIUM_POD_ON_THE_NODE -c cilium-agent -- cilium-dbg bpf ct list global"}
	case "docker-swarm":
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
