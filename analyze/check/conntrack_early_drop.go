package check

import (
	"fmt"
	"strings"
)

var conntrackEarlyDrop = Rule{
	ID: "conntrack-early-drop", Severity: Warning,
	Finds: "connections thrown out of a full table, and packets dropped for want of an entry",
	Needs: "what connection tracking counted (conntrack -S, /proc/net/stat/nf_conntrack)",
	Why:   "The table was full since the counters began. Then the kernel throws out connections that were not answered yet, and drops what begins a new one: the first loses its backend in the middle of its handshake, the second times out.",
	Do:    "Compare sysctl net.netfilter.nf_conntrack_count with nf_conntrack_max when there is much traffic, and raise the limit.",
	See:   []string{"https://github.com/kubernetes/kubernetes/issues/71261", "https://github.com/kubernetes/kubernetes/issues/18604"},
	judge: findEarlyDrops,
}

func findEarlyDrops(k *Case) (found []Finding, judged bool) {
	for _, s := range k.statistics() {
		early, at, ok := s.counted("early_drop")
		dropped, also, seen := s.counted("drop")
		failed, _, _ := s.counted("insert_failed")
		judged = judged || ok || seen
		var did []string
		if early > 0 {
			did = append(did, fmt.Sprintf("threw %d connections out of its table to make room", early))
		}
		// A packet whose connection could not be entered counts as dropped too,
		// and is another rule's.
		if dropped > failed {
			did, at = append(did, fmt.Sprintf("dropped %d packets for want of an entry", dropped-failed)), append(at, also...)
		}
		if len(did) > 0 {
			found = append(found, Finding{Title: s.name + " " + strings.Join(did, " and "), Objects: []Object{s.object()}, Evidence: k.evidence(at...)})
		}
	}
	return found, judged
}
