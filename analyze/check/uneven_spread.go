package check

import (
	"fmt"
	"math"
	"slices"

	"whichbackend/analyze/record"
)

const unevenWhy = "Some backends carry more than their share: the kernel chooses once, when a connection begins, and connections that last stay where they are when backends come and go. " +
	"Told by Pearson's chi-square test, for connections chosen one by one with the weights of the listing."

var unevenSpread = Rule{
	ID: "uneven-spread", Severity: Warning,
	Finds: "connections that lie more unevenly on the backends of a service than chance explains",
	Needs: "connections with a settled backend, five or more for each, and the rules or the table that they were chosen by",
	Why: unevenWhy + " The limit is divided by the number of services tested. " +
		"The test does not know how much each connection carries, nor how long a backend keeps them.",
	Do:    "Compare with the age of the backends (kubectl get pods, docker service ps). Have clients end and renew their connections now and then, or balance requests in a proxy; whichbackend ask --backend ADDRESS lists the connections of one.",
	See:   []string{"https://github.com/kubernetes/kubernetes/issues/38456", "https://github.com/kubernetes/kubernetes/issues/126378"},
	judge: findUnevenSpread,
}

// unevenBelow is how likely a spread is by chance at most, over all services
// together; unevenBy is by which part of what is expected a backend is off at
// least: of 100,000 connections a hundredth is beyond chance, and no problem.
const (
	unevenBelow = 1e-3
	unevenBy    = 0.25
	fewClients  = 3
)

func findUnevenSpread(k *Case) (found []Finding, judged bool) {
	spreads := k.Spreads()
	tests := 0
	for _, s := range spreads {
		if s.Untested == "" {
			tests++
		}
	}
	for _, s := range spreads {
		if s.Untested != "" || s.P >= unevenBelow/float64(tests) {
			continue
		}
		if f, ok := uneven(k, &s, tests); ok {
			found = append(found, f)
		}
	}
	return found, tests > 0
}

// uneven describes a spread that is beyond chance, if it matters.
func uneven(k *Case, s *Spread, tests int) (f Finding, ok bool) {
	busy := slices.DeleteFunc(slices.Clone(s.Backends), func(b Share) bool { return b.Idle })
	total, weight := 0, 0.0
	for _, b := range busy {
		total, weight = total+b.Count, weight+b.Weight
	}
	off := func(b Share) float64 { return float64(b.Count)/(float64(total)*b.Weight/weight) - 1 }
	slices.SortStableFunc(busy, func(a, b Share) int { return sign(off(b) - off(a)) })
	first, last := busy[0], busy[len(busy)-1]
	if math.Max(off(first), -off(last)) < unevenBy {
		return f, false
	}
	f = Finding{Severity: Warning, Objects: []Object{object(s.Service)}, Count: s.Total,
		Title: fmt.Sprintf("%s spreads %d connections of %s unevenly over %d backends (p = %.1g): %s has %d where %.0f are expected, %s has %d", called(s.Service), total, plural(s.Clients, "client"), len(busy),
			s.P, called(first.Party), first.Count, float64(total)*first.Weight/weight, called(last.Party), last.Count)}
	// Without the one that lags behind, are the others even?
	p, _, _, tested := pearson(busy[:len(busy)-1])
	switch {
	case s.Clients < fewClients:
		f.Severity = Info
		f.Why = fmt.Sprintf("%s Here %s opened them, whose habits may explain it as well.", unevenWhy, plural(s.Clients, "client"))
	case !tested || p >= unevenBelow/float64(tests):
		f.Severity = Info
		f.Why = unevenWhy + " Here it is one backend that lags behind the others: it may have come up later than their connections."
	}
	at := slices.Clone(s.at)
	for _, b := range []Share{first, last} {
		at = append(at, b.at)
		f.Objects = append(f.Objects, object(b.Party))
		for i, c := range b.list {
			f.Connections = append(f.Connections, concerned(c))
			if i < 5 {
				at = append(at, positions(c.Entries())...)
			}
		}
	}
	f.Evidence = k.evidence(at...)
	return f, true
}

func sign(v float64) int {
	switch {
	case v < 0:
		return -1
	case v > 0:
		return 1
	}
	return 0
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// positions are where entries of tables stand.
func positions(list []record.Translation) []record.Pos {
	var out []record.Pos
	for _, t := range list {
		out = append(out, t.Pos)
	}
	return out
}
