package check

import (
	"fmt"

	"whichbackend/analyze/record"
	"whichbackend/analyze/resolve"
)

var closeWaitPile = Rule{
	ID: "close-wait-pile", Severity: Warning,
	Finds: "many sockets of one program that wait for it to close them (CLOSE_WAIT)",
	Needs: "sockets (ss -tanp, netstat -anp)",
	Why:   "The other end has closed, and the program does not: each such socket keeps a descriptor, and what is sent on it is lost. It ends only with the program.",
	Do:    "Look which code opens these connections and does not close them: a response whose body is not read to its end, a pool that does not look at its idle connections. ss -tanp state close-wait shows whether they become more.",
	See: []string{"https://github.com/kubernetes/kubernetes/issues/66133", "https://github.com/kubernetes/kubernetes/issues/14641",
		"https://github.com/istio/istio/issues/43297"},
	judge: findCloseWaitPiles,
}

// A busy server has a few sockets in CLOSE_WAIT at every moment, for as long as
// its program takes to answer the end of a connection. A pile is at least so
// many, and at least half of the connections that the program has with the peer.
const (
	closeWaitMany  = 50
	closeWaitShare = 0.5
)

// pileKey is what the sockets of a pile have in common: the program, and the
// peer, or the port on which they were accepted.
type pileKey struct {
	space    record.Scope
	program  string
	peer     string
	accepted uint16
}

type pile struct {
	all  int
	list []*end
}

func findCloseWaitPiles(k *Case) (found []Finding, judged bool) {
	for _, s := range k.spacesByName() {
		piles := map[pileKey]*pile{}
		var order []pileKey
		for i := range s.ends {
			e := &s.ends[i]
			judged = true
			key := pileKey{space: s.scope, program: e.program}
			if s.listens[e.local.Port()] {
				key.accepted = e.local.Port()
			} else {
				key.peer = e.remote.String()
			}
			p := piles[key]
			if p == nil {
				p = &pile{}
				piles[key] = p
				order = append(order, key)
			}
			if !e.is("TIME_WAIT") {
				p.all++
			}
			if e.is("CLOSE_WAIT") {
				p.list = append(p.list, e)
			}
		}
		for _, key := range order {
			if p := piles[key]; len(p.list) >= closeWaitMany && float64(len(p.list)) >= closeWaitShare*float64(p.all) {
				found = append(found, k.closeWait(s, key, p))
			}
		}
	}
	return found, judged
}

func (k *Case) closeWait(s *space, key pileKey, p *pile) Finding {
	who := "a program in " + s.place()
	if key.program != "" {
		who = key.program + " in " + s.place()
	}
	with, peer := fmt.Sprintf("accepted on port %d", key.accepted), resolve.Party{}
	if key.peer != "" {
		peer = k.peer(p.list[0], s)
		with = "to " + address(peer)
	}
	f := Finding{Count: len(p.list), Objects: []Object{s.object()},
		Title: fmt.Sprintf("%s does not close %d of its %d connections %s: their other end has", who, len(p.list), p.all, with)}
	if key.peer != "" {
		f.Objects = append(f.Objects, object(peer))
	}
	ofPile := map[record.Tuple]bool{}
	var at []record.Pos
	for _, e := range p.list {
		ofPile[record.Tuple{Source: e.local, Destination: e.remote}] = true
		if len(at) < MaxEvidence {
			at = append(at, e.rows[0].at)
		}
	}
	f.Connections = k.between(ofPile, s.scope)
	f.Evidence = k.evidence(at...)
	return f
}
