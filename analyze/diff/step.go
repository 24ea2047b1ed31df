package diff

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"whichbackend/analyze/record"
	"whichbackend/analyze/resolve"
)

// Compare tells what changed from each moment to the next, in the order given.
func Compare(moments []*Moment) *Diff {
	d := &Diff{Schema: Schema, Inputs: []resolve.Input{}, Moments: []Info{}, Steps: []Step{}, Outlived: []Outlived{}, Moved: []Moved{}, Services: []Change{},
		Findings: []Finding{}, Ended: []Connection{}, Appeared: []Connection{}, Undetermined: []Undetermined{}, NotSeen: []NotSeen{}, Warnings: []string{}}
	names := serviceNames(moments)
	for i, m := range moments {
		m.info.Moment = i + 1
		d.Moments = append(d.Moments, m.info)
		d.Inputs = append(d.Inputs, m.inputs...)
		d.Warnings = append(d.Warnings, m.warnings...)
		m.group(names)
		if i > 0 {
			compare(d, i, moments[i-1], m, names)
		}
	}
	if len(moments) > 2 {
		d.Timeline = timeline(moments)
	}
	slices.Sort(d.Warnings)
	d.Warnings = slices.Compact(d.Warnings)
	return d
}

// step compares two moments.
type step struct {
	*Diff
	n             int
	before, after *Moment
	names         map[dialled]string
	count         Step
	// fate is what became of each connection of before, and where each of after
	// comes from.
	fate, origin []fate
	missing      map[missingKey]*NotSeen
	members      *named
}

// fate is what is known of one connection over both moments.
type fate int

const (
	notTold fate = iota // not seen, or not determined
	same
	moved
	ended // of before
	appeared
	past // over before already
)

type missingKey struct{ side, what, missing string }

func compare(d *Diff, n int, before, after *Moment, names map[dialled]string) {
	s := &step{Diff: d, n: n, before: before, after: after, names: names, count: Step{Step: n},
		fate: make([]fate, len(before.conns)), origin: make([]fate, len(after.conns)), missing: map[missingKey]*NotSeen{}}
	if t, ok := apart(before, after); ok {
		s.count.Apart = t.String()
		if t < 0 {
			d.Warnings = append(d.Warnings, fmt.Sprintf("moment %d (%s) was recorded before moment %d (%s): give them in the order of time", n+1, after.info.Input, n, before.info.Input))
		}
	}
	lists := []int{len(d.Outlived), len(d.Services), len(d.Findings), len(d.Ended), len(d.Appeared), len(d.Undetermined), len(d.Moved)}
	partner := s.match()
	for i := range before.conns {
		if j := partner[i]; j >= 0 {
			s.both(i, j)
		} else {
			s.onlyBefore(i)
		}
	}
	known := make([]bool, len(after.conns))
	for _, j := range partner {
		if j >= 0 {
			known[j] = true
		}
	}
	for j := range after.conns {
		if !known[j] {
			s.onlyAfter(j)
		}
	}
	s.count.Moved = len(d.Moved) - lists[6]
	s.clients()
	s.count.MovedClients = len(d.Moved) - lists[6] - s.count.Moved
	s.services()
	s.outlived(known)
	s.findings()
	s.notSeen()
	s.count.Outlived, s.count.Services, s.count.Findings = len(d.Outlived)-lists[0], len(d.Services)-lists[1], len(d.Findings)-lists[2]
	s.count.Ended, s.count.Appeared, s.count.Undetermined = len(d.Ended)-lists[3], len(d.Appeared)-lists[4], len(d.Undetermined)-lists[5]
	d.Steps = append(d.Steps, s.count)
}

// key is what connections of two moments have in common.
type key struct {
	ip    record.Protocol
	tuple record.Tuple
}

// match gives each connection before its partner after, -1 for none: the one
// of the same addresses and the same place, else the only one whose place may
// be the same.
func (s *step) match() []int {
	partner := make([]int, len(s.before.conns))
	byKey := map[key][]int{}
	for j := range s.after.conns {
		c := &s.after.conns[j]
		byKey[key{c.ip, c.tuple}] = append(byKey[key{c.ip, c.tuple}], j)
	}
	used := make([]bool, len(s.after.conns))
	for i := range s.before.conns {
		partner[i] = -1
		a := &s.before.conns[i]
		for _, j := range byKey[key{a.ip, a.tuple}] {
			if !used[j] && partner[i] < 0 && identity(a.client) == identity(s.after.conns[j].client) {
				partner[i], used[j] = j, true
			}
		}
	}
	for i := range s.before.conns {
		if partner[i] >= 0 {
			continue
		}
		a, only := &s.before.conns[i], -1
		for _, j := range byKey[key{a.ip, a.tuple}] {
			if used[j] || !mayBe(a.client, s.after.conns[j].client) {
				continue
			}
			if only >= 0 {
				only = -1
				break
			}
			only = j
		}
		if only >= 0 {
			partner[i], used[only] = only, true
		}
	}
	return partner
}

// identity is a party without its address.
func identity(p resolve.Party) [4]string { return [4]string{p.Host, p.Kind, p.Namespace, p.Name} }

// both judges a connection that both moments have.
func (s *step) both(i, j int) {
	a, b := &s.before.conns[i], &s.after.conns[j]
	switch {
	case a.over() && b.over():
		s.count.Over++
		s.fate[i], s.origin[j] = past, past
	case closed(a, b):
		s.fate[i], s.origin[j] = ended, past
		s.Ended = append(s.Ended, a.listed(s.n, "it is listed as closed after"))
	case closed(b, a):
		s.fate[i], s.origin[j] = past, appeared
		s.Appeared = append(s.Appeared, b.listed(s.n, "the connection that had its addresses was over before"))
	case a.socket != 0 && b.socket != 0 && a.socket != b.socket:
		s.fate[i], s.origin[j] = ended, appeared
		s.Ended = append(s.Ended, a.listed(s.n, "another socket has its addresses after"))
		s.Appeared = append(s.Appeared, b.listed(s.n, "another socket had its addresses before"))
	case !a.settled() && !b.settled():
		s.count.Open++
	case !a.settled() || !b.settled():
		reason := "before: " + a.reason
		if a.settled() {
			reason = "after: " + b.reason
		}
		s.undetermined(a, b, reason)
	case (a.verdict == resolve.None) != (b.verdict == resolve.None):
		reason := "nothing serves it before: " + a.reason
		if b.verdict == resolve.None {
			reason = "nothing serves it after: " + b.reason
		}
		s.undetermined(a, b, reason)
	case a.byRequest || b.byRequest:
		s.count.ByRequest++
		s.fate[i], s.origin[j] = same, same
	case a.backend().Address != b.backend().Address || !sameHost(a.backend().Host, b.backend().Host):
		s.fate[i], s.origin[j] = moved, moved
		s.moved(a, b)
	default:
		s.count.Same++
		s.fate[i], s.origin[j] = same, same
	}
}

func (s *step) undetermined(a, b *conn, reason string) {
	u := Undetermined{Step: s.n, Reason: reason}
	for _, x := range []struct {
		c       *conn
		verdict *resolve.Verdict
	}{{a, &u.Before}, {b, &u.After}} {
		if x.c != nil {
			u.Protocol, u.Client, u.Service = x.c.protocol, x.c.client, x.c.service
			*x.verdict = x.c.verdict
		}
	}
	s.Undetermined = append(s.Undetermined, u)
}

// moved notes a connection with another backend than before.
func (s *step) moved(a, b *conn) {
	m := Moved{Step: s.n, Granularity: "connection", Protocol: b.protocol, Client: b.client, Service: b.service, Before: []Spread{}, After: []Spread{},
		EvidenceBefore: a.evidence, EvidenceAfter: b.evidence}
	m.Before = append(m.Before, Spread{Party: a.backend(), Count: 1, Gone: s.gone(a, a.backend().Address)})
	m.After = append(m.After, Spread{Party: b.backend(), Count: 1})
	m.Reason = "the same addresses lead to another backend; whether the client opened it anew from the same port is not known"
	if a.socket != 0 && a.socket == b.socket {
		m.Reason = "the client's socket is the same, the backend is another"
	}
	s.Moved = append(s.Moved, m)
}

// onlyBefore judges a connection that is not listed any more.
func (s *step) onlyBefore(i int) {
	c := &s.before.conns[i]
	if c.over() {
		s.count.Over++
		s.fate[i] = past
		return
	}
	because, missing := s.absent(c, s.before, s.after)
	switch {
	case missing == stillListed:
		s.undetermined(c, nil, "what shows it before is listed after too, and is told there as a part of another connection")
	case missing != "":
		s.lacks("after", "connections", missing).add(c.listed(s.n, missing))
	default:
		s.fate[i] = ended
		s.Ended = append(s.Ended, c.listed(s.n, because))
	}
}

// onlyAfter judges a connection that was not listed before.
func (s *step) onlyAfter(j int) {
	c := &s.after.conns[j]
	because, missing := s.absent(c, s.after, s.before)
	switch {
	case missing == stillListed:
		s.undetermined(nil, c, "what shows it after was listed before too, and was told there as a part of another connection")
	case missing != "":
		s.lacks("before", "connections", missing).add(c.listed(s.n, missing))
	default:
		s.origin[j] = appeared
		s.Appeared = append(s.Appeared, c.listed(s.n, because))
	}
}

// stillListed says that a moment has a row that shows a connection, though its
// answer does not have the connection.
const stillListed = "\x00"

// absent tells whether the other moment would show a connection that it does
// not have: then why, else what is missing there. The client's sockets decide.
// Where those are not listed again, a rewriting entry does, which TCP cannot go
// on without; where none were listed here, any table; else the server's.
func (s *step) absent(c *conn, here, there *Moment) (because, missing string) {
	for _, x := range c.shown {
		if there.has(x.row) {
			return "", stillListed
		}
	}
	if r := mark(anywhere, tables, c.ip, c.tuple); len(c.shown) == 0 && there.has(r) {
		return "", stillListed
	} else if len(c.shown) == 0 && here.has(r) {
		return "", "which table shows it is not told"
	}
	first := serverSocket
	for _, x := range c.shown {
		first = min(first, x.by)
	}
	for _, by := range []witness{clientSocket, rewriting, entry, serverSocket} {
		if by != first && by != rewriting && !(by == entry && first == rewriting) {
			continue
		}
		for _, x := range c.shown {
			if x.by != by {
				continue
			}
			l := &here.listings[x.listing]
			why := there.again(l)
			if why == "" {
				return "it is not in " + l.called(), ""
			}
			missing = cmp.Or(missing, why)
		}
	}
	return "", cmp.Or(missing, "only logs and captures show it, which do not tell what is there now")
}

// lacks gathers what a side did not record by what is missing.
func (s *step) lacks(side, what, missing string) *NotSeen {
	k := missingKey{side, what, missing}
	if s.missing[k] == nil {
		s.missing[k] = &NotSeen{Step: s.n, Side: side, What: what, Missing: missing}
	}
	return s.missing[k]
}

func (n *NotSeen) add(c Connection) {
	n.Count++
	c.Because = "" // the entry says it
	n.Connections = append(n.Connections, c)
}

func (s *step) notSeen() {
	keys := slices.SortedFunc(maps.Keys(s.missing), func(a, b missingKey) int {
		return cmp.Or(cmp.Compare(a.side, b.side), cmp.Compare(a.what, b.what), cmp.Compare(a.missing, b.missing))
	})
	for _, k := range keys {
		if k.what == "connections" {
			s.count.NotSeen += s.missing[k].Count
		}
		s.NotSeen = append(s.NotSeen, *s.missing[k])
	}
}

// dialled is an address that is dialled.
type dialled struct {
	ip      record.Protocol
	address netip.AddrPort
}
