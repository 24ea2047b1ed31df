package check

import (
	"fmt"
	"net/netip"
	"time"

	"whichbackend/analyze/record"
	"whichbackend/analyze/resolve"
)

var entryWithoutSocket = Rule{
	ID: "entry-without-socket", Severity: Warning,
	Finds: "connections that a table holds as open though their client has no socket for them",
	Needs: "connection tables, and shortly before or after them all sockets of the clients' namespaces, with the times when they were recorded (a manifest tells them)",
	Why: "The client is gone without a word that the table saw, or its last packets were dropped: the server may hold its end for hours, and the entry is kept for as long as its timeout says (432000 seconds of an open connection). " +
		"Tables fill with such entries, and IPVS goes on to count them.",
	Do:    "See whether the server still holds its ends (ss -tn on the backend), and let it send keep-alives. conntrack -D -s CLIENT takes the entries away.",
	See:   []string{"https://github.com/kubernetes/kubernetes/issues/97377"},
	judge: findEntriesWithoutSocket,
}

// A single entry may be an accident. The margin is for how long it takes to list
// sockets and to read a table; an entry below unacknowledged seconds may have a
// shorter timeout because a packet of it was not answered.
const (
	leakedMany     = 3
	readMargin     = 30 * time.Second
	soon           = 10 * time.Second
	longIdle       = 5 * time.Minute
	unacknowledged = 300
)

// leakKey is what leaked entries have in common: the client and what it dialled.
type leakKey struct {
	seat    record.Scope
	client  string
	service resolve.Party
	state   string
}

func findEntriesWithoutSocket(k *Case) (found []Finding, judged bool) {
	lists, judged := k.entriesToJudge()
	if len(lists) == 0 {
		return nil, judged
	}
	made, longest := k.sourcesAndTimeouts()
	groups := groupsOf[leakKey]{}
	for _, x := range lists {
		client, _ := x.c.Tuples()
		if made[client.Source.Addr()] {
			continue
		}
		idle, ok := x.idle(longest)
		if !ok || !x.outlives(k, idle) {
			continue
		}
		if x.in.locals[client.Source] {
			continue
		}
		g := groups.of(leakKey{x.in.scope, client.Source.Addr().String(), x.c.Service, x.t.State})
		g.add(x.c)
		g.at = append(g.at, x.t.Pos)
	}
	for _, g := range groups.sorted() {
		if len(g.list) >= leakedMany {
			found = append(found, k.leaked(g))
		}
	}
	return found, judged
}

func (k *Case) leaked(g *group[leakKey]) Finding {
	in := k.namespaces()[g.key.seat]
	f := Finding{Connections: g.connections(), Evidence: k.evidence(g.at...), Objects: []Object{in.object(), object(g.key.service)},
		Title: fmt.Sprintf("the table holds %d connections of %s to %s as %s, and no socket of %s is theirs", len(g.list), clients(g.list), address(g.key.service), g.key.state, in.place())}
	return f
}

// entry is an entry of a table whose client's sockets were listed.
type entry struct {
	c  *resolve.Connection
	t  record.Translation
	in *space
}

// entriesToJudge are the entries that show connections without a socket of the
// client, in tables of the client's own host, and whether there are any entries
// of clients whose sockets were listed.
func (k *Case) entriesToJudge() (out []entry, judged bool) {
	spaces, own := k.namespaces(), k.ownSources()
	for i := range k.Answer.Connections {
		c := &k.Answer.Connections[i]
		sockets, _ := c.Ends()
		seat, known := k.Seat(c)
		if c.IP() != record.TCP || !known || spaces[seat] == nil || len(spaces[seat].listings) == 0 {
			continue
		}
		for _, t := range c.Entries() {
			open := t.State == "ESTABLISHED" && t.Assured || t.State == "CLOSE_WAIT"
			if t.Via != record.ViaConntrack || !open || t.Offloaded || t.Unreplied || k.Place(t.Section).Host != seat.Host {
				continue
			}
			client, _ := c.Tuples()
			if t.Before != client || k.Recorded(t.Section).IsZero() {
				continue
			}
			judged = true
			if len(sockets) == 0 && own(seat, client.Source.Addr(), k.Place(t.Section)) {
				out = append(out, entry{c, t, spaces[seat]})
			}
			break
		}
	}
	return out, judged
}

// timeoutKey is a table as one section shows it, and a state of its entries.
type timeoutKey struct {
	section int
	state   string
}

// sourcesAndTimeouts are the addresses that translations put on connections of
// others, and the longest time that an entry of a state has left in each
// listing: it is at most what the kernel gives to an entry at each packet.
func (k *Case) sourcesAndTimeouts() (made map[netip.Addr]bool, longest map[timeoutKey]int64) {
	made, longest = map[netip.Addr]bool{}, map[timeoutKey]int64{}
	err := k.Load.Store.Translations(func(t *record.Translation) error {
		if t.After.Source.Addr() != t.Before.Source.Addr() {
			made[t.After.Source.Addr()] = true
		}
		if t.Via == record.ViaConntrack {
			key := timeoutKey{t.Section, t.State}
			longest[key] = max(longest[key], t.Timeout)
		}
		return nil
	})
	if err != nil {
		k.fail(err)
	}
	return made, longest
}

// idle is how long ago the last packet of an entry passed at least.
func (x *entry) idle(longest map[timeoutKey]int64) (time.Duration, bool) {
	full := longest[timeoutKey{x.t.Section, x.t.State}]
	if x.t.Timeout < 0 || full > unacknowledged && x.t.Timeout <= unacknowledged {
		return 0, false
	}
	return time.Duration(full-x.t.Timeout) * time.Second, true
}

// outlives tells whether the connection was open when its client's sockets were
// listed, as the table has it. Where the listing was first, the last packet is
// older than that; where it was last, and soon, nothing that was silent for
// minutes is likely to have ended just then.
func (x *entry) outlives(k *Case, idle time.Duration) bool {
	table := k.Recorded(x.t.Section)
	for _, l := range x.in.listings {
		if gap := table.Sub(l.at); gap > 0 && idle > gap+readMargin || gap <= 0 && -gap <= soon && idle >= longIdle {
			return true
		}
	}
	return false
}
