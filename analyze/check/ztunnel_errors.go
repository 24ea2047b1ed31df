package check

import (
	"net/netip"

	"whichbackend/analyze/record"
)

var ztunnelErrors = Rule{
	ID: "ztunnel-errors", Severity: Warning,
	Finds: "connections that a ztunnel ended with an error",
	Needs: "access logs of ztunnel",
	Why:   "ztunnel took the connection from the client, which saw it succeed, and could not carry it on.",
	Do:    "Read the error: a connection that is refused or times out is the backend's, a denial is an AuthorizationPolicy's, an identity or TLS error is the certificates'.",
	See:   []string{"https://github.com/istio/istio/issues/36540"},
	judge: findZtunnelErrors,
}

// ztunnelKey is one address and one error.
type ztunnelKey struct {
	dialled netip.AddrPort
	failure string
}

func findZtunnelErrors(k *Case) (found []Finding, judged bool) {
	groups, judged := rowsBy(k, record.ViaZtunnelLog, func(t *record.Translation) (ztunnelKey, bool) {
		to := t.Before.Destination
		if !to.IsValid() {
			to = t.After.Destination
		}
		return ztunnelKey{to, t.Flags}, t.Flags != ""
	})
	for _, g := range groups.sorted() {
		party := k.partyOf(g.key.dialled, record.TCP, "")
		found = append(found, Finding{
			Title:       "ztunnel failed " + several(len(g.at), "connection") + " to " + hostCalled(party, g.key.dialled) + ": " + g.key.failure,
			Connections: g.connections(), Objects: []Object{object(party)}, Evidence: k.evidence(g.at...),
		})
	}
	return found, judged
}
