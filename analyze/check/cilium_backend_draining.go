package check

import (
	"slices"

	"whichbackend/analyze/record"
)

var ciliumBackendDraining = Rule{
	ID: "cilium-backend-draining", Severity: Warning,
	Finds: "connections to a backend that Cilium alone takes no new ones for",
	Needs: "connections, and cilium service list of the node, or lb/maps-dump, or bpf lb list --frontends",
	Why:   "Cilium gives this backend no new connections, for a reason that the endpoints do not show: its health check failed, an operator put it into maintenance, or it is terminating. What is connected to it stays until one side closes.",
	Do:    "cilium-dbg service list shows the state. Maintenance ends with cilium-dbg service update --backends BACKEND --states active; of a quarantined one, look at the health check of the backend.",
	See:   []string{"https://github.com/cilium/cilium/issues/24128", "https://github.com/cilium/cilium/pull/18814"},
	judge: findDrainingBackends,
}

// draining is a backend and the state that Cilium has it in.
type draining struct{ service, backend, state string }

// drainingStates are the states of a backend that takes no new connections.
var drainingStates = []string{"terminating", "quarantined", "maintenance"}

func findDrainingBackends(k *Case) (found []Finding, judged bool) {
	groups := groupsOf[draining]{}
	for i := range k.Answer.Connections {
		c := &k.Answer.Connections[i]
		_, final := c.Tuples()
		if c.Seen != nil || !c.Settled() || !final.Destination.IsValid() || slices.ContainsFunc(c.Entries(), func(t record.Translation) bool { return t.Closing }) {
			continue
		}
		state, elsewhere := "", false
		var at []record.Pos
		for _, l := range k.Behind(c) {
			cilium := l.Source == record.FromCiliumAgent || l.Source == record.FromCiliumLB
			judged = judged || cilium
			for _, b := range l.Backends {
				switch {
				case b.Address != final.Destination:
				case cilium && slices.Contains(drainingStates, b.State):
					if at = append(at, b.Pos); state == "" || l.Source == record.FromCiliumAgent {
						state = b.State
					}
				case !cilium && b.State != "":
					elsewhere = true // the control plane says so as well
				}
			}
		}
		if state == "" || elsewhere {
			continue
		}
		g := groups.of(draining{called(c.Service), k.holder(final.Destination, ""), state})
		g.add(c)
		g.at = append(g.at, at...)
	}
	for _, g := range groups.sorted() {
		found = append(found, Finding{
			Title:       several(len(g.list), "connection") + " to " + g.key.service + " stay on " + g.key.backend + ", which Cilium has as " + g.key.state,
			Connections: g.connections(), Objects: []Object{object(g.list[0].Backends[0].Party)}, Evidence: k.evidence(g.at...),
		})
	}
	return found, judged
}
