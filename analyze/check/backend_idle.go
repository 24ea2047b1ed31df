package check

import (
	"fmt"
	"math"

	"whichbackend/analyze/record"
)

var backendIdle = Rule{
	ID: "backend-idle", Severity: Info,
	Finds: "a backend that is listed as serving and has no connection, though chance would hardly leave it out",
	Needs: "many connections with a settled backend, and the rules or the table that they were chosen by",
	Why:   "It takes no part of the load, so the others carry its share. It may have come up after these connections began; or what it should get does not reach it.",
	Do:    "See how old it is (kubectl get pods, docker service ps), and dial it by its own address from a client's namespace.",
	See:   []string{"https://github.com/kubernetes/kubernetes/issues/126378"},
	judge: findIdleBackends,
}

func findIdleBackends(k *Case) (found []Finding, judged bool) {
	for _, s := range k.Spreads() {
		for _, b := range s.Backends {
			if !b.Idle {
				continue
			}
			by := math.Exp(float64(s.Total) * math.Log1p(-b.Weight))
			at := append([]record.Pos{b.at}, s.at...)
			for _, o := range s.Backends {
				for i, c := range o.list {
					if i < 2 {
						at = append(at, positions(c.Entries())...)
					}
				}
			}
			found = append(found, Finding{Count: s.Total, Objects: []Object{object(b.Party), object(s.Service)}, Evidence: k.evidence(at...),
				Title: fmt.Sprintf("%s has none of the %d connections of %s to %s, where %.0f are expected (p = %.1g)", called(b.Party), s.Total, plural(s.Clients, "client"), called(s.Service), b.Expected, by)})
		}
		judged = judged || s.Untested == "" || len(found) > 0
	}
	return found, judged
}
