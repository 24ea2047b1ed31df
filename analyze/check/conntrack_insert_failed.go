package check

import "fmt"

var conntrackInsertFailed = Rule{
	ID: "conntrack-insert-failed", Severity: Warning,
	Finds: "packets that were dropped since their connection could not be entered into the table",
	Needs: "what connection tracking counted (conntrack -S, /proc/net/stat/nf_conntrack)",
	Why:   "Two packets took the same addresses and ports at the same time, and one of them was dropped. Best known is DNS: a client that sends A and AAAA from one socket waits 5 seconds for the answer to the lost one. Masquerading that runs out of ports, or chooses the same one twice, counts here too.",
	Do:    "See whether the number grows: conntrack -S. Use a DNS cache on the node or single-request-reopen, and masquerade with --random-fully.",
	See:   []string{"https://github.com/kubernetes/kubernetes/issues/56903", "https://github.com/weaveworks/weave/issues/3287"},
	judge: findFailedInserts,
}

func findFailedInserts(k *Case) (found []Finding, judged bool) {
	for _, s := range k.statistics() {
		failed, at, ok := s.counted("insert_failed")
		judged = judged || ok
		if failed == 0 {
			continue
		}
		f := Finding{Title: fmt.Sprintf("%s could not enter %d connections into its table", s.name, failed), Objects: []Object{s.object()}, Evidence: k.evidence(at...)}
		if n, _, ok := s.counted("insert"); ok && n > 1000*failed {
			f.Severity = Info
			f.Title += fmt.Sprintf(", and entered %d", n)
		}
		found = append(found, f)
	}
	return found, judged
}
