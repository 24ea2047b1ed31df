package check

import "fmt"

var backendRemoved = Rule{
	ID: "backend-removed", Severity: Warning,
	Finds: "connections to a backend that is none of the service's any more",
	Needs: "a table's entries behind a service, and a complete list of the service's backends",
	Why:   "New connections go elsewhere, these stay. That is normal while a backend drains; it also keeps clients on what was taken out on purpose, and ends hard when the backend does.",
	Do:    "See that they become fewer. Where they must leave now, restart the clients, or remove the entries: conntrack -D --reply-src BACKEND.",
	See:   []string{"https://github.com/kubernetes/kubernetes/issues/124290", "https://github.com/kubernetes/kubernetes/issues/100698"},
	judge: findRemovedBackends,
}

func findRemovedBackends(k *Case) (found []Finding, judged bool) {
	groups, judged := k.chosenWith(removed)
	for _, g := range groups {
		who := "; the listings do not tell whether it still runs"
		if g.first.holder != "" {
			who = " (" + g.first.holder + ")"
		}
		found = append(found, g.finding(k, fmt.Sprintf("%s still leads %s over %s to %s, which is none of its backends any more%s",
			g.key.service, clients(g.list), g.key.protocol, g.key.backend, who)))
	}
	return found, judged
}
