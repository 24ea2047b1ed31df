package check

var ipvsMissingDestination = Rule{
	ID: "ipvs-missing-destination", Severity: Warning,
	Finds: "ready backends of a service that a node's IPVS lacks",
	Needs: "ipvsadm -Ln, and the complete backends of its services (EndpointSlices, docker network inspect -v)",
	Why:   "Clients behind this table never reach that backend, so the others carry its load, or nobody does.",
	Do:    "Look at the log of kube-proxy or of the docker daemon on that node, and restart it; it reads all backends anew.",
	See:   []string{"https://github.com/moby/moby/issues/30464", "https://github.com/moby/moby/issues/26060"},
	judge: findMissingDestinations,
}

func findMissingDestinations(k *Case) (found []Finding, judged bool) {
	for _, inSwarm := range []bool{false, true} {
		list, some := k.differences(inSwarm)
		judged = judged || some
		for _, d := range list {
			missing := sortedAddresses(d.missing)
			if len(missing) == 0 {
				continue
			}
			f := Finding{Title: "IPVS on " + placeName(d.v.place) + " lacks " + addresses(missing) + " behind " + called(d.p.party),
				Objects: []Object{object(d.p.party), ipvsTable(d.v.place)}, Evidence: k.evidence(append(d.tables, d.planes...)...)}
			if older, _ := k.older(d.tables, d.planes); older {
				f.Severity = Info
			}
			found = append(found, f)
		}
	}
	return found, judged
}
