package check

import (
	"fmt"
	"net/netip"
	"slices"

	"whichbackend/analyze/record"
	"whichbackend/analyze/resolve"
)

var oneSidedConnection = Rule{
	ID: "one-sided-connection", Severity: Warning,
	Finds: "connections that one end holds as established, and of which the other end has nothing",
	Needs: "all sockets of both ends' namespaces on one host, of one end before and after the other's, and the host's connection table, with the times when they were recorded (a manifest tells them)",
	Why:   "The peer is a ghost: its program or machine ended without a word, or its last packets were lost. Whoever waits on the end that is left waits until its keep-alive or its retransmissions give up, and what is sent meanwhile is lost.",
	Do:    "End the process that holds the socket, or the socket itself: ss -K. Have both ends send keep-alives (SO_KEEPALIVE, tcp_keepalive_time), and timeouts of their own.",
	See:   []string{"https://github.com/kubernetes/kubernetes/issues/97377", "https://github.com/kubernetes/kubernetes/issues/104098"},
	judge: findOneSided,
}

// ghostKey is the end that is left and the namespace of the one that is not.
type ghostKey struct {
	held, gone record.Scope
	service    resolve.Party
	server     bool // the server's end is left
}

func findOneSided(k *Case) (found []Finding, judged bool) {
	spaces := k.namespaces()
	if !timed(spaces) {
		return nil, false
	}
	groups := groupsOf[ghostKey]{}
	own := k.ownSources()
	made := map[netip.Addr]bool{}
	err := k.Load.Store.Translations(func(t *record.Translation) error {
		if t.After.Source.Addr() != t.Before.Source.Addr() {
			made[t.After.Source.Addr()] = true
		}
		return nil
	})
	if err != nil {
		k.fail(err)
	}
	for i := range k.Answer.Connections {
		c := &k.Answer.Connections[i]
		if c.IP() != record.TCP || c.Seen != nil {
			continue
		}
		held, other, key, ok := k.clientLeft(c)
		if !ok {
			held, other, key, ok = k.serverLeft(c, own, made)
		}
		if !ok {
			continue
		}
		judged = true
		if key != (ghostKey{}) {
			g := groups.of(key)
			g.add(c)
			g.at = append(g.at, held.rows[0].at, record.Pos{Section: other.section, Line: k.Section(other.section).Line})
		}
	}
	for _, g := range groups.sorted() {
		found = append(found, k.ghosts(g))
	}
	return found, judged
}

// timed tells whether any whole listing of sockets has a time.
func timed(spaces map[record.Scope]*space) bool {
	for _, s := range spaces {
		if len(s.listings) > 0 {
			return true
		}
	}
	return false
}

func (k *Case) ghosts(g *group[ghostKey]) Finding {
	held, gone := k.namespaces()[g.key.held], k.namespaces()[g.key.gone]
	f := Finding{Connections: g.connections(), Evidence: k.evidence(g.at...), Objects: []Object{held.object(), gone.object()}}
	n, verb, theirs := plural(len(g.list), "connection"), "are", "them"
	if len(g.list) == 1 {
		verb, theirs = "is", "it"
	}
	if g.key.server {
		f.Title = fmt.Sprintf("%s to %s %s established at the server, and %s has no socket for %s: the client is gone", n, address(g.key.service), verb, gone.place(), theirs)
		return f
	}
	f.Title = fmt.Sprintf("%s of %s to %s %s established at the client, and %s has no socket for %s: the server's end is gone", n, held.place(), address(g.key.service), verb, gone.place(), theirs)
	return f
}

// recordedWhile finds a whole listing of a namespace that was recorded between two
// that show a socket of another one as established. Both have to be of one host:
// times of two are by two clocks.
func (s *space) recordedWhile(e *end, of *space) (listing, bool) {
	if s.scope.Host != of.scope.Host || s.scope.Host == "" {
		return listing{}, false
	}
	for _, l := range s.listings {
		before, after := false, false
		for _, o := range of.listings {
			if e.in(o.section) != "ESTABLISHED" {
				continue
			}
			before, after = before || o.at.Before(l.at), after || o.at.After(l.at)
		}
		if before && after {
			return l, true
		}
	}
	return listing{}, false
}

// clientLeft judges a connection by the client's socket: ok is false where it
// cannot, and the key is empty where the server has its end.
func (k *Case) clientLeft(c *resolve.Connection) (held *end, other listing, key ghostKey, ok bool) {
	client, final := c.Tuples()
	sockets, _ := c.Ends()
	seat, known := k.Seat(c)
	if !known || len(sockets) == 0 || len(c.Backends) != 1 || c.Verdict != resolve.Proven && c.Verdict != resolve.Observed || !k.leavesAs(c, final) {
		return
	}
	spaces := k.namespaces()
	holders := k.Holders(final.Destination.Addr(), "")
	if spaces[seat] == nil || len(holders) != 1 || spaces[holders[0]] == nil || holders[0].Kind == record.ScopeNetns || holders[0] == seat {
		return
	}
	server := spaces[holders[0]]
	if held = spaces[seat].find(client.Source, client.Destination); held == nil || !held.is("ESTABLISHED") {
		return
	}
	if other, ok = server.recordedWhile(held, spaces[seat]); !ok || server.remotes[final.Source] {
		return
	}
	return held, other, ghostKey{held: seat, gone: holders[0], service: c.Service}, true
}

// leavesAs tells whether a table of a host shows that a connection reaches its
// server as a tuple, with that source: else another may have been put on it. A
// proxy's connection to the server may end before the client's.
func (k *Case) leavesAs(c *resolve.Connection, final record.Tuple) bool {
	if c.Granularity == "request" || slices.Contains(c.Mechanisms, "istio") || slices.Contains(c.Mechanisms, "envoy") {
		return false
	}
	for _, t := range c.Entries() {
		if at := k.Place(t.Section); t.Via == record.ViaConntrack && t.After == final && (at.Kind == record.ScopeHost || at.Kind == record.ScopeNetns) {
			return true
		}
	}
	return false
}

// serverLeft judges a connection by the server's socket, in the same way. Its
// peer has to be the client itself, which no table puts on others' connections.
func (k *Case) serverLeft(c *resolve.Connection, own func(record.Scope, netip.Addr, record.Scope) bool, made map[netip.Addr]bool) (held *end, other listing, key ghostKey, ok bool) {
	sockets, servers := c.Ends()
	if len(sockets) > 0 || len(servers) == 0 || made[servers[0].Remote.Addr()] {
		return
	}
	peer, spaces := servers[0].Remote, k.namespaces()
	at := k.Place(servers[0].Section)
	holders := k.Holders(peer.Addr(), "")
	if len(holders) != 1 || holders[0] == at || holders[0].Kind == record.ScopeHost || spaces[holders[0]] == nil || spaces[at] == nil || !own(holders[0], peer.Addr(), holders[0]) {
		return
	}
	client := spaces[holders[0]]
	if held = spaces[at].find(servers[0].Local, peer); held == nil || !held.is("ESTABLISHED") {
		return
	}
	if other, ok = client.recordedWhile(held, spaces[at]); !ok || k.anyHas(peer) {
		return
	}
	return held, other, ghostKey{held: at, gone: holders[0], service: c.Service, server: true}, true
}

// anyHas tells whether a namespace has a socket with a local address. A proxy may
// connect to its server with the address of the client.
func (k *Case) anyHas(local netip.AddrPort) bool {
	for _, s := range k.namespaces() {
		if s.locals[local] {
			return true
		}
	}
	return false
}
