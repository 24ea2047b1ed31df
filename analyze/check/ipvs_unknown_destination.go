package check

import "net/netip"

var ipvsUnknownDestination = Rule{
	ID: "ipvs-unknown-destination", Severity: Error,
	Finds: "IPVS destinations that are no endpoints of their Kubernetes service",
	Needs: "ipvsadm -Ln of a node, and complete endpoints of its services",
	Why:   "IPVS sends new connections to an address that Kubernetes does not list: a pod that is gone, or another workload that got its address.",
	Do:    "Look at the log of kube-proxy on that node, and restart it; it reads all endpoints anew.",
	See:   []string{"https://github.com/kubernetes/kubernetes/issues/71071", "https://github.com/kubernetes/kubernetes/issues/81775"},
	judge: func(k *Case) ([]Finding, bool) { return findUnknownDestinations(k, false) },
}

var swarmStaleMember = Rule{
	ID: "swarm-stale-member", Severity: Error,
	Finds: "IPVS destinations that are no tasks of their Swarm service",
	Needs: "ipvsadm -Ln and iptables-save of a load-balancer namespace, and docker network inspect -v of its network on that node",
	Why:   "The load balancer sends new connections to an address that is no task of the service: a task that is gone, or a task of another service that got its address.",
	Do:    "Take the service's tasks to other addresses (docker service update --force), or restart the docker daemon of that node, which builds the table anew.",
	See:   []string{"https://github.com/moby/moby/issues/30464", "https://github.com/moby/moby/issues/25985", "https://github.com/moby/moby/issues/33911"},
	judge: func(k *Case) ([]Finding, bool) { return findUnknownDestinations(k, true) },
}

func findUnknownDestinations(k *Case, inSwarm bool) (found []Finding, judged bool) {
	list, judged := k.differences(inSwarm)
	sent := k.sentBy()
	for _, d := range list {
		extra := sortedAddresses(d.extra)
		if len(extra) == 0 {
			continue
		}
		what := "no endpoint"
		if inSwarm {
			what = "no task"
		}
		f := Finding{Title: "IPVS on " + placeName(d.v.place) + " sends " + called(d.p.party) + " to " + addresses(extra) + ", " + what + " of it",
			Objects: []Object{object(d.p.party), ipvsTable(d.v.place)}}
		g := group[string]{}
		for _, a := range extra {
			if h, ok := k.held(a.Addr()); ok {
				f.Title += "; " + a.Addr().String() + " is " + called(h.Party) + " now"
			}
			f.Objects = append(f.Objects, object(k.Party(a, d.v.place.Host)))
			g.list = append(g.list, sent[d.v.sentTo(&destination{address: a})]...)
		}
		if older, _ := k.older(d.tables, d.planes); older {
			f.Severity = Warning
		}
		f.Connections = g.connections()
		f.Evidence = k.evidence(append(d.tables, d.planes...)...)
		found = append(found, f)
	}
	return found, judged
}

// sortedAddresses are the addresses of a set in their order.
func sortedAddresses(m map[netip.AddrPort]bool) []netip.AddrPort {
	p := plane{ready: m}
	return p.serving()
}

// oneOf is a destination as a list of one.
func oneOf(d *destination) []netip.AddrPort { return []netip.AddrPort{d.address} }
