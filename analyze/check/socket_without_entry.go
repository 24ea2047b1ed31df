package check

import (
	"fmt"
	"strings"
	"time"

	"whichbackend/analyze/record"
	"whichbackend/analyze/resolve"
)

var socketWithoutEntry = Rule{
	ID: "socket-without-entry", Severity: Warning,
	Finds: "an established connection to a service that the table which rewrites it has forgotten",
	Needs: "sockets of clients, and afterwards the connection table of the namespace whose rules or IPVS translate the service, with the times when they were recorded (a manifest tells them)",
	Why: "The client's socket is open, and the entry that leads its packets to the backend is gone: the next packet is answered by a reset, sent to another backend, or dropped. " +
		"Entries go when a connection is idle for longer than the table keeps it (IPVS: 900 seconds), or when somebody empties the table.",
	Do:    "Have the client send keep-alives more often than the table forgets (net.ipv4.tcp_keepalive_time below 900 with IPVS), or raise the timeout: ipvsadm --set, net.netfilter.nf_conntrack_tcp_timeout_established.",
	See:   []string{"https://github.com/docker/docs/issues/5519", "https://github.com/kubernetes/kubernetes/issues/80298"},
	judge: findSocketsWithoutEntry,
}

// forgotten is an open connection and the place whose table should have it.
type forgotten struct {
	c     *resolve.Connection
	end   *end
	by    resolve.Listing
	table record.Scope
	via   record.Via
	key   entryKey
}

// entryKey is one entry of one table.
type entryKey struct {
	place  record.Scope
	via    record.Via
	before record.Tuple
}

func findSocketsWithoutEntry(k *Case) (found []Finding, judged bool) {
	list := k.translatedByTables()
	if len(list) == 0 {
		return nil, false
	}
	tables, entries := k.tables(list)
	groups := groupsOf[tableKey]{}
	for _, f := range list {
		at, ok := tables[f.via][f.table]
		if !ok || !openAround(k, f, at) {
			continue
		}
		judged = true
		if entries[f.key] {
			continue
		}
		g := groups.of(tableKey{f.c.Service, f.table, f.via})
		g.add(f.c)
		if len(g.at) == 0 {
			g.at = append(g.at, f.by.At)
		}
		g.at = append(g.at, f.end.rows[0].at)
	}
	for _, g := range groups.sorted() {
		found = append(found, k.forgotten(g))
	}
	return found, judged
}

// tableKey is a service and the table that translates it.
type tableKey struct {
	service resolve.Party
	place   record.Scope
	via     record.Via
}

func (k *Case) forgotten(g *group[tableKey]) Finding {
	table, idle := "conntrack", ""
	if g.key.via == record.ViaIPVS {
		table, idle = "IPVS", " (it forgets after 900 seconds without a packet)"
	}
	where := g.key.place.Host
	if g.key.place.Kind != record.ScopeHost {
		where = strings.TrimPrefix(where+"/"+g.key.place.Name, "/")
	}
	verb := "s of %s to %s have"
	if len(g.list) == 1 {
		verb = " of %s to %s has"
	}
	return Finding{Connections: g.connections(), Evidence: k.evidence(g.at...),
		Objects: []Object{object(g.key.service), {Kind: "table", Name: table, Host: where}},
		Title:   fmt.Sprintf("%d open connection"+verb+" no entry in the %s table of %s any more%s", len(g.list), clients(g.list), address(g.key.service), table, where, idle)}
}

// translatedByTables are the open connections to services that rules or IPVS of
// the client's host rewrite, where nothing but the kernel's tables can.
func (k *Case) translatedByTables() []forgotten {
	spaces, other := k.namespaces(), k.otherDatapaths()
	var out []forgotten
	for i := range k.Answer.Connections {
		c := &k.Answer.Connections[i]
		sockets, _ := c.Ends()
		tuple, _ := c.Tuples()
		if c.IP() != record.TCP || len(sockets) == 0 || tuple.Destination.Addr().IsLoopback() {
			continue
		}
		seat, known := k.Seat(c)
		if !known || seat.Host == "" || other[seat.Host] || spaces[seat] == nil {
			continue
		}
		e := spaces[seat].find(tuple.Source, tuple.Destination)
		if e == nil || !e.is("ESTABLISHED") {
			continue
		}
		for _, l := range k.Behind(c) {
			via := record.ViaConntrack
			if l.Source == record.FromIPVS {
				via = record.ViaIPVS
			}
			if l.Place.Host != seat.Host || l.Source != record.FromRules && l.Source != record.FromIPVS || l.Place.Kind != record.ScopeHost && l.Place.Kind != record.ScopeNetns {
				continue
			}
			out = append(out, forgotten{c, e, l, l.Place, via, entryKey{l.Place, via, tuple}})
		}
	}
	return out
}

// otherDatapaths are the hosts on which eBPF may rewrite what sockets dial, so
// that no table of the kernel needs an entry.
func (k *Case) otherDatapaths() map[string]bool {
	out := map[string]bool{}
	for p, formats := range k.Places() {
		for f := range formats {
			if strings.HasPrefix(f, "cilium") {
				out[p.Host] = true
			}
		}
	}
	return out
}

// tables are when the tables of places were recorded, those that were recorded
// wholly and at a known time, and which of the entries asked for are in any
// listing of theirs.
func (k *Case) tables(list []forgotten) (at map[record.Via]map[record.Scope]time.Time, entries map[entryKey]bool) {
	at, entries = map[record.Via]map[record.Scope]time.Time{record.ViaConntrack: {}, record.ViaIPVS: {}}, map[entryKey]bool{}
	wanted := map[entryKey]bool{}
	for _, f := range list {
		wanted[f.key] = true
	}
	tcp := map[record.Via]map[int]bool{record.ViaConntrack: {}, record.ViaIPVS: {}}
	err := k.Load.Store.Translations(func(t *record.Translation) error {
		if tcp[t.Via] == nil || t.Protocol != record.TCP || !k.Current(t.Section) {
			return nil
		}
		tcp[t.Via][t.Section] = true
		if key := (entryKey{k.Place(t.Section), t.Via, t.Before}); wanted[key] {
			entries[key] = true
		}
		return nil
	})
	if err != nil {
		k.fail(err)
	}
	artifacts, err := k.Load.Store.Artifacts()
	if err != nil {
		k.fail(err)
	}
	broken := map[int]bool{}
	for _, a := range artifacts {
		broken[a.ID] = a.Truncated
	}
	for via, sections := range tcp {
		partly := map[record.Scope]bool{}
		for id := range sections {
			s, p, when := k.Section(id), k.Place(id), k.Recorded(id)
			if s.Unknown > 0 || broken[s.Artifact] || when.IsZero() {
				partly[p] = true
			} else if last, ok := at[via][p]; !ok || when.Before(last) {
				at[via][p] = when
			}
		}
		for p := range partly {
			delete(at[via], p)
		}
	}
	return at, entries
}

// openAround tells whether the socket was listed before the table was recorded,
// and is in all listings since: what opened only then has no entry there yet.
func openAround(k *Case, f forgotten, table time.Time) bool {
	seat, _ := k.Seat(f.c)
	before, after := false, true
	for _, l := range k.namespaces()[seat].listings {
		switch state := f.end.in(l.section); {
		case l.at.Before(table):
			before = before || state == "ESTABLISHED"
		default:
			after = after && state == "ESTABLISHED"
		}
	}
	return before && after
}
