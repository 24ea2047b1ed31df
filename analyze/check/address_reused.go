package check

import "fmt"

var addressReused = Rule{
	ID: "address-reused", Severity: Error,
	Finds: "connections to a backend whose address another workload has now",
	Needs: "a table's entries behind a service, a complete list of the service's backends, and who holds their addresses",
	Why:   "The clients' packets reach a workload that they never asked for: it resets them, or answers in the wrong name.",
	Do:    "End these connections: conntrack -D --reply-src BACKEND on the node, or restart the clients. Then look why the entries outlived the backend.",
	See:   []string{"https://github.com/cilium/cilium/issues/17729", "https://github.com/kubernetes/kubernetes/issues/125467"},
	judge: findReusedAddresses,
}

func findReusedAddresses(k *Case) (found []Finding, judged bool) {
	groups, judged := k.chosenWith(reused)
	for _, g := range groups {
		found = append(found, g.finding(k, fmt.Sprintf("%s leads %s over %s to %s, an address that %s has now, which is none of its backends",
			g.key.service, clients(g.list), g.key.protocol, g.key.backend, g.first.holder)))
	}
	return found, judged
}
