package check

import "fmt"

var staleTranslation = Rule{
	ID: "stale-translation", Severity: Error,
	Finds: "connections that a table leads to a backend that no longer exists",
	Needs: "a table's entries behind a service, a complete list of the service's backends, and a list of all pods or containers",
	Why:   "Every packet of these connections goes to an address that nobody has. A TCP client waits until its own timeouts end it.",
	Do:    "End them: conntrack -D -p PROTOCOL --orig-dst SERVICE --reply-src BACKEND on the node, or restart the client. Then look why the entries were not removed with the backend (the logs of kube-proxy or dockerd).",
	See: []string{"https://github.com/kubernetes/kubernetes/issues/125467", "https://github.com/kubernetes/kubernetes/issues/126130",
		"https://github.com/kubernetes/kubernetes/issues/93143", "https://github.com/kubernetes/kubernetes/issues/139628", "https://github.com/moby/moby/issues/8795"},
	judge: findStaleTranslations,
}

const staleUDP = "UDP has no reset: nothing tells the client that the backend is gone, and each datagram from the same port renews the entry. The client gets no answer for as long as it goes on, DNS above all."

func findStaleTranslations(k *Case) (found []Finding, judged bool) {
	groups, judged := k.chosenWith(gone)
	for _, g := range groups {
		title := fmt.Sprintf("%s leads %s over %s to %s, which no longer exists", g.key.service, clients(g.list), g.key.protocol, g.key.backend)
		if g.first.deleted {
			title = fmt.Sprintf("%s is no service any more, and leads %s over %s to %s, which no longer exists", g.key.service, clients(g.list), g.key.protocol, g.key.backend)
		}
		f := g.finding(k, title)
		switch {
		case g.key.protocol == "udp":
			f.Why = staleUDP
		case g.left:
			f.Severity = Info
			f.Why = "The entries are left over: the sockets of the clients were listed, and none of these connections is among them. A new connection from the same port would be led to nobody until they expire."
		case !g.live:
			f.Severity = Warning
			f.Why = "The entries may be left over from clients that are gone as well: no listing shows their sockets. A client that is still there waits until its own timeouts end it."
		}
		found = append(found, f)
	}
	return found, judged
}
