package check

import (
	"slices"
	"strings"

	"whichbackend/analyze/record"
)

var proxyStale = Rule{
	ID: "proxy-stale", Severity: Warning,
	Finds: "a proxy that did not take the configuration it was sent",
	Needs: "istioctl proxy-status, or istiod's debug page syncz",
	Why:   "The proxy still works with what it had before: it may send requests to endpoints that are gone, and knows none that are new. A proxy is stale for a moment whenever something is pushed to it, so it counts when it lasts.",
	Do:    "Run istioctl proxy-status once more. If it is still there, look into the proxy's log for what it rejected, and for its connection to istiod.",
	See:   []string{"https://github.com/istio/istio/issues/8320"},
	judge: findStaleProxies,
}

func findStaleProxies(k *Case) (found []Finding, judged bool) {
	for _, s := range k.sheets("istioctl-table", "istio-debug") {
		judged = true
		types, at := map[string][]string{}, map[string][]record.Pos{}
		var proxies []string
		for _, r := range s.list {
			if !strings.HasPrefix(r.Value, "STALE") && !strings.HasPrefix(r.Value, "ERROR") {
				continue
			}
			if at[r.Subject] == nil {
				proxies = append(proxies, r.Subject)
			}
			at[r.Subject] = append(at[r.Subject], r.Pos)
			if t := r.Name + " " + r.Value; !slices.Contains(types[r.Subject], t) {
				types[r.Subject] = append(types[r.Subject], t)
			}
		}
		slices.Sort(proxies)
		for _, p := range proxies {
			name := strings.TrimPrefix(p, "proxy ")
			o := Object{Kind: "proxy", Name: name}
			if i := strings.LastIndexByte(name, '.'); i > 0 {
				o.Name, o.Namespace = name[:i], name[i+1:]
			}
			found = append(found, Finding{Title: "the proxy " + name + " did not take what it was sent: " + strings.Join(types[p], ", "), Objects: []Object{o}, Evidence: k.evidence(at[p]...)})
		}
	}
	return found, judged
}
