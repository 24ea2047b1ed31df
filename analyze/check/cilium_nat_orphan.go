package check

import (
	"fmt"
	"maps"
	"slices"

	"whichbackend/analyze/record"
)

var ciliumNATOrphan = Rule{
	ID: "cilium-nat-orphan", Severity: Error,
	Finds: "entries of Cilium's NAT table that cannot lead replies back",
	Needs: "cilium bpf nat list of a node",
	Why:   "The table has the row that rewrites what leaves, and not the one that leads the reply back to the client: the connection hangs, while its port stays taken.",
	Do:    "Look whether the NAT table was full (cilium-dbg status --verbose tells its size), and for agents that were updated lately. cilium-dbg bpf nat flush empties the table, and breaks all masqueraded connections of the node.",
	See:   []string{"https://github.com/cilium/cilium/issues/29305", "https://github.com/cilium/cilium/issues/27821"},
	judge: findOrphanedNAT,
}

// How many rows must lead no reply back, of all pairs in percent and beside
// the rows that lack the other way. A table that changes while it is read
// shows some of both.
const (
	fewOrphans     = 50
	orphansPercent = 10
	orphansAhead   = 10
)

func findOrphanedNAT(k *Case) (found []Finding, judged bool) {
	nowhere := groupsOf[string]{}
	count := map[string]map[record.Tuple]bool{}
	k.eachNAT(func(t *record.Translation) {
		judged = true
		if !t.After.Source.Addr().IsUnspecified() {
			return
		}
		host := k.PlaceName(t.Section)
		g := nowhere.of(host)
		if count[host] == nil {
			count[host] = map[record.Tuple]bool{}
		}
		count[host][t.Before] = true
		if len(g.at) < MaxEvidence {
			g.at = append(g.at, t.Pos)
		}
	})
	for _, g := range nowhere.sorted() {
		found = append(found, Finding{
			Title:    "the NAT table" + onNode(g.key) + " rewrites the source of " + several(len(count[g.key]), "connection") + " to no address",
			Objects:  []Object{{Kind: "table", Name: "cilium bpf nat", Host: g.key}},
			Evidence: k.evidence(g.at...), Count: len(count[g.key]),
			Why: "What leaves has the source 0.0.0.0, so that no reply can come back.",
			Do:  "Look whether the node has an address on the device that the packets leave by (cilium-dbg status --verbose, Masquerading), and update Cilium.",
			See: []string{"https://github.com/cilium/cilium/commit/47cddb511112d078c4e71494e60aba63829d356f"},
		})
	}
	return append(found, k.unpaired()...), judged
}

// natRows are what readings say of one listing of a NAT table.
type natRows struct {
	rows, loneOut, loneIn int64
	at                    record.Pos // of a row that leads no reply back
}

// natTables are the NAT tables by their places; of several listings of one,
// that with the most rows.
func (k *Case) natTables() map[string]*natRows {
	sections := map[int]*natRows{}
	list, err := k.Load.Store.Readings()
	k.fail(err)
	for _, r := range list {
		if r.Subject != "NAT" || !k.Current(r.Section) {
			continue
		}
		t := sections[r.Section]
		if t == nil {
			t = &natRows{}
			sections[r.Section] = t
		}
		switch r.Name {
		case "rows":
			t.rows = r.Number
		case "OUT without IN":
			t.loneOut, t.at = r.Number, r.Pos
		case "IN without OUT":
			t.loneIn = r.Number
		}
	}
	out := map[string]*natRows{}
	for section, t := range sections {
		place := k.PlaceName(section)
		if o := out[place]; o == nil || t.rows > o.rows || t.rows == o.rows && k.Less(t.at, o.at) {
			out[place] = t
		}
	}
	return out
}

// unpaired finds the tables with many rows that lead no reply back. A list that
// is cut lacks as many of the other rows, and one of only such rows was
// filtered.
func (k *Case) unpaired() (found []Finding) {
	tables := k.natTables()
	for _, place := range slices.Sorted(maps.Keys(tables)) {
		t := tables[place]
		if t.loneOut < fewOrphans || t.loneOut*200 < t.rows*orphansPercent || t.loneOut < t.loneIn*orphansAhead || t.loneOut*2 > t.rows {
			continue
		}
		found = append(found, Finding{
			Severity: Warning,
			Title:    fmt.Sprintf("the NAT table%s lacks the row for the replies of %d connections", onNode(place), t.loneOut),
			Objects:  []Object{{Kind: "table", Name: "cilium bpf nat", Host: place}},
			Evidence: k.evidence(t.at), Count: int(t.loneOut),
		})
	}
	return found
}

// onNode is how titles say where a table lies.
func onNode(place string) string {
	if place == "" {
		return ""
	}
	return " on " + place
}
