package check

import (
	"whichbackend/analyze/record"
	"whichbackend/analyze/resolve"
)

var serviceWithoutEndpoints = Rule{
	ID: "service-without-endpoints", Severity: Error,
	Finds: "a service with no backends that clients still dial",
	Needs: "connections, and a list of the service's backends (endpoints, rules, IPVS, Cilium)",
	Why:   "Every listing of the service's backends is complete and empty, so a new connection is rejected, dropped or answered by nobody.",
	Do:    "Look why no backend is ready: kubectl get endpointslices, docker service ps. What the listings call not ready or terminating is not counted as a backend.",
	See:   []string{"https://github.com/kubernetes/kubernetes/issues/139628"},
	judge: findServicesWithoutEndpoints,
}

func findServicesWithoutEndpoints(k *Case) (found []Finding, judged bool) {
	groups := groupsOf[resolve.Party]{}
	for i := range k.Answer.Connections {
		c := &k.Answer.Connections[i]
		list := k.Behind(c)
		if len(list) == 0 || c.Seen != nil {
			continue
		}
		judged = true
		var at []record.Pos
		for _, l := range list {
			if !l.Complete || serving(l.Backends) > 0 {
				at = nil
				break
			}
			at = append(at, l.At)
		}
		if at == nil {
			continue
		}
		g := groups.of(c.Service)
		g.add(c)
		if len(g.at) == 0 {
			g.at = at
		}
	}
	for _, g := range groups.sorted() {
		found = append(found, Finding{
			Title:       called(g.key) + " has no backends, and " + clients(g.list) + " dialled it",
			Connections: g.connections(), Objects: []Object{object(g.key)}, Evidence: k.evidence(g.at...),
		})
	}
	return found, judged
}

// serving counts the backends that take new connections.
func serving(list []record.Backend) (n int) {
	for _, b := range list {
		if b.State == "" && b.Weight != 0 {
			n++
		}
	}
	return n
}
