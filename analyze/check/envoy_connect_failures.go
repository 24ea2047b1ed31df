package check

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"whichbackend/analyze/record"
)

var envoyConnectFailures = Rule{
	ID: "envoy-connect-failures", Severity: Warning,
	Finds: "several connections or requests that failed at one upstream host",
	Needs: "access logs of the proxies",
	Why:   "The proxy chose this host and could not connect to it (UF, URX), or the host closed the connection under a request (UC).",
	Do:    "Look whether the host is alive and listens on that port, whether a network policy or a TLS mode stands between, and, for UC, whether it closes idle connections before the proxy does.",
	See:   []string{"https://github.com/istio/istio/issues/36222", "https://github.com/istio/istio/issues/54081"},
	judge: findEnvoyConnectFailures,
}

// severalRows is how many failures make a finding: one or two come with every
// restart of a backend.
const severalRows = 3

func findEnvoyConnectFailures(k *Case) (found []Finding, judged bool) {
	counts := map[netip.AddrPort]map[string]int{}
	places := map[netip.AddrPort]map[record.Scope]bool{}
	groups, judged := rowsBy(k, record.ViaAccessLog, func(t *record.Translation) (netip.AddrPort, bool) {
		host := t.After.Destination
		if !host.IsValid() || flagged(t, "UF", "URX", "UC") == "" {
			return host, false
		}
		if counts[host] == nil {
			counts[host], places[host] = map[string]int{}, map[record.Scope]bool{}
		}
		counts[host][t.Flags]++
		places[host][k.Place(t.Section)] = true
		return host, true
	})
	for _, g := range groups.sorted() {
		if len(g.at) < severalRows {
			continue
		}
		party := k.Party(g.key, "")
		f := Finding{Connections: g.connections(), Objects: []Object{object(party)}, Evidence: k.evidence(g.at...)}
		f.Title = fmt.Sprintf("%d connections or requests failed at %s: %s", len(g.at), hostCalled(party, g.key), flagList(counts[g.key]))
		f.Objects = append(f.Objects, proxies(places[g.key])...)
		found = append(found, f)
	}
	return found, judged
}

// flagList writes flags, the most frequent first.
func flagList(m map[string]int) string {
	var flags []string
	for f := range m {
		flags = append(flags, f)
	}
	slices.SortFunc(flags, func(a, b string) int {
		if m[a] != m[b] {
			return m[b] - m[a]
		}
		return strings.Compare(a, b)
	})
	return strings.Join(flags, "; ")
}

// proxies lists the proxies of some places in order.
func proxies(places map[record.Scope]bool) []Object {
	var out []Object
	for p := range places {
		out = append(out, proxy(p))
	}
	slices.SortFunc(out, func(a, b Object) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return out
}
