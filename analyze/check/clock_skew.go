package check

import (
	"fmt"
	"math"
	"time"

	"whichbackend/analyze/load"
	"whichbackend/analyze/record"
	"whichbackend/analyze/resolve"
)

var clockSkew = Rule{
	ID: "clock-skew", Severity: Warning,
	Finds: "clocks of hosts that are apart",
	Needs: "packet captures of two hosts that show the same connections",
	Why: "What one host logged at a time happened at another time by the other's clock, so that times of different hosts cannot be compared: logs, captures, and the order in which listings were taken. " +
		"Certificates and tokens may be refused. The answers of whichbackend reckon with the difference where captures show it.",
	Do:    "See what keeps the time: timedatectl, chronyc tracking. Add the difference to the times of that host when you read its logs.",
	See:   []string{"https://github.com/kubernetes/kubernetes/issues/6159", "https://github.com/istio/istio/pull/32176"},
	judge: findClockSkew,
}

// skewMany is from how many seconds on clocks are told as apart: what is recorded
// of a moment takes about as long.
const skewMany = 1.0

func findClockSkew(k *Case) (found []Finding, judged bool) {
	in, err := k.Load.Inspect()
	if err != nil {
		k.fail(err)
		return nil, false
	}
	for _, c := range in.Clocks {
		judged = true
		if math.Abs(c.Seconds)-c.Spread <= skewMany {
			continue
		}
		way := "ahead of"
		if c.Seconds < 0 {
			way = "behind"
		}
		by := time.Duration(math.Abs(c.Seconds) * float64(time.Second)).Round(time.Millisecond)
		list, at := k.sawBoth(c)
		found = append(found, Finding{Connections: list, Count: c.Pairs, Evidence: k.evidence(at...),
			Objects: []Object{{Kind: "host", Name: c.Host, Host: c.Host}, {Kind: "host", Name: c.Reference, Host: c.Reference}},
			Title:   fmt.Sprintf("the clock of %s is %s %s that of %s, as %s in captures of both show", c.Host, by, way, c.Reference, plural(c.Pairs, "connection"))})
	}
	return found, judged
}

// sawBoth finds connections that captures of both hosts show, and the packets in
// which they begin: each by the clock of its host.
func (k *Case) sawBoth(c load.Clock) (list []Connection, at []record.Pos) {
	for i := range k.Answer.Connections {
		x := &k.Answer.Connections[i]
		host, reference := k.firstOn(x, c.Host), k.firstOn(x, c.Reference)
		if host == nil || reference == nil || math.Abs(host.Flow.First.Sub(reference.Flow.First).Seconds()-c.Seconds) > skewMany {
			continue
		}
		list = append(list, concerned(x))
		if len(at) < 6 {
			at = append(at, host.Flow.Pos, reference.Flow.Pos)
		}
	}
	return list, at
}

// firstOn is where a host first saw a connection: its own captures', or the
// capture itself where no host is told.
func (k *Case) firstOn(c *resolve.Connection, host string) *resolve.Seen {
	list := c.SeenIn()
	for i := range list {
		s := k.Section(list[i].Flow.Section)
		if s != nil && (s.Scope.Host == host || s.Scope.Host == "" && list[i].Artifact == host) {
			return &list[i]
		}
	}
	return nil
}
