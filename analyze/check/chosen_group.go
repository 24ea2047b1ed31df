package check

import (
	"net/netip"

	"whichbackend/analyze/record"
	"whichbackend/analyze/resolve"
)

// choiceGroup is one cause: a backend behind a service, in all tables.
type choiceGroup struct {
	service  string
	protocol string
	backend  netip.AddrPort
}

// chosenGroup are the connections of one cause.
type chosenGroup struct {
	group[choiceGroup]
	first *chosen
	live  bool // some client is known to use it
	left  bool // every client is known not to hold its connection any more
}

// chosenWith gathers the choices of one standing by cause. judged tells whether
// any choice could be held against listings.
func (k *Case) chosenWith(want standing) (out []*chosenGroup, judged bool) {
	index := map[choiceGroup]*chosenGroup{}
	for _, x := range k.choices() {
		judged = judged || x.standing != unjudged
		if x.standing != want {
			continue
		}
		key := choiceGroup{called(x.party), x.users[0].c.Protocol, x.backend}
		g := index[key]
		if g == nil {
			g = &chosenGroup{group: group[choiceGroup]{key: key}, first: x, left: true}
			index[key] = g
			out = append(out, g)
		}
		g.at = append(g.at, x.at...)
		for _, u := range x.users {
			g.left = g.left && k.leftOver(u.c)
			g.add(u.c)
			client, _ := u.c.Ends()
			g.live = g.live || x.protocol == record.UDP || len(client) > 0
			if len(g.at) < MaxEvidence/2+len(x.at) {
				g.at = append(g.at, u.step.Entries[0].Pos)
			}
		}
	}
	return out, judged
}

// leftOver tells a TCP entry whose client is known not to hold the connection
// any more: the client's sockets were listed, and it is not among them.
func (k *Case) leftOver(c *resolve.Connection) bool {
	sockets, _ := c.Ends()
	if c.IP() != record.TCP || len(sockets) > 0 {
		return false
	}
	client, _ := c.Tuples()
	for _, s := range k.HeldIn(client.Source.Addr()) {
		formats := k.Places()[s]
		if formats["netstat"] || formats["ss"] || formats["proc-net-tcp"] {
			return true
		}
	}
	return false
}

// finding is a group as a finding with a title.
func (g *chosenGroup) finding(k *Case, title string) Finding {
	b := k.Party(g.key.backend, "")
	return Finding{Title: title, Connections: g.connections(), Objects: []Object{object(g.first.party), object(b)}, Evidence: k.evidence(g.at...)}
}
