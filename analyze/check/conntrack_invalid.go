package check

import (
	"fmt"

	"whichbackend/analyze/record"
)

var conntrackInvalid = Rule{
	ID: "conntrack-invalid", Severity: Info,
	Finds: "many packets that fit no tracked connection, where those are not let through",
	Needs: "what connection tracking counted (conntrack -S), and net.netfilter.nf_conntrack_tcp_be_liberal",
	Why:   "A packet that connection tracking calls invalid (often one out of its window, after loss) is not rewritten back. It reaches the client from an address that it never dialled, and the client resets the connection, unless a rule drops such packets.",
	Do:    "Look for the rule that drops them: iptables-save | grep INVALID. Without one, set net.netfilter.nf_conntrack_tcp_be_liberal=1.",
	See:   []string{"https://github.com/kubernetes/kubernetes/issues/74839", "https://github.com/kubernetes/kubernetes/issues/117924"},
	judge: findInvalidPackets,
}

// manyInvalid is the number below which strays of closed connections are
// nothing to speak of; so is one in a hundred new connections.
const manyInvalid = 1000

func findInvalidPackets(k *Case) (found []Finding, judged bool) {
	for _, s := range k.statistics() {
		invalid, at, ok := s.counted("invalid")
		inserted, _, counted := s.counted("insert")
		liberal, set := s.said("nf_conntrack_tcp_be_liberal")
		if !ok || !counted || !set {
			continue
		}
		judged = true
		if liberal.Value != "0" || invalid < manyInvalid || invalid < inserted/100 {
			continue
		}
		found = append(found, Finding{
			Title:   fmt.Sprintf("%s saw %d packets that fit no tracked connection, beside %d new connections", s.name, invalid, inserted),
			Objects: []Object{s.object()}, Evidence: k.evidence(append([]record.Pos{liberal.Pos}, at...)...),
		})
	}
	return found, judged
}
