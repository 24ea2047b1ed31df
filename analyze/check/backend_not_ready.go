package check

import "fmt"

var backendNotReady = Rule{
	ID: "backend-not-ready", Severity: Warning,
	Finds: "connections to a backend that is not ready",
	Needs: "a table's entries behind a service, and a list of the service's backends with their states",
	Why:   "The backend fails its readiness probe, or says itself that it cannot serve. Connections that it already has stay with it.",
	Do:    "Look why it is not ready: kubectl describe pod, and its log. Clients that keep connections open must be made to open new ones.",
	See:   []string{"https://github.com/kubernetes/kubernetes/issues/124290"},
	judge: findBackendsNotReady,
}

func findBackendsNotReady(k *Case) (found []Finding, judged bool) {
	return k.chosenInState(notReady, "is not ready")
}

// chosenInState are the findings of backends that are listed with a state.
func (k *Case) chosenInState(want standing, word string) (found []Finding, judged bool) {
	groups, judged := k.chosenWith(want)
	for _, g := range groups {
		b := called(k.Party(g.key.backend, ""))
		if b != g.key.backend.String() {
			b += " " + g.key.backend.String()
		}
		found = append(found, g.finding(k, fmt.Sprintf("%s leads %s over %s to %s, which %s", g.key.service, clients(g.list), g.key.protocol, b, word)))
	}
	return found, judged
}
