package check

import (
	"fmt"

	"whichbackend/analyze/record"
)

var conntrackFull = Rule{
	ID: "conntrack-full", Severity: Error,
	Finds: "a table of tracked connections that is full, or 90 % of it",
	Needs: "nf_conntrack_max and the number of entries (sysctl net.netfilter, conntrack -C or -L), or the kernel's log",
	Why:   "When the table is full, the kernel drops the first packet of every new connection that it would track: connections to services and from pods time out at random.",
	Do:    "See what fills it: conntrack -L | awk '{print $1,$4}' | sort | uniq -c. Raise net.netfilter.nf_conntrack_max (kube-proxy: conntrack.maxPerCore) and the number of buckets with it, or shorten nf_conntrack_tcp_timeout_established.",
	See:   []string{"https://github.com/kubernetes/kubernetes/issues/71261", "https://github.com/kubernetes/kubernetes/issues/18604"},
	judge: findFullTables,
}

func findFullTables(k *Case) (found []Finding, judged bool) {
	var rows map[record.Scope]tableRows
	for _, s := range k.statistics() {
		full := messages(s)
		limit, limited := s.said("nf_conntrack_max")
		count, at, counted := entries(s)
		if limited && !counted {
			if rows == nil {
				rows = k.tableRows()
			}
			count, at, counted = rows[s.place].n, rows[s.place].at, rows[s.place].n > 0
		}
		known := limited && counted && limit.Number > 0 // a limit of 0 is none
		judged = judged || known || len(full) > 0
		f := Finding{Objects: []Object{s.object()}}
		switch {
		case known && count >= limit.Number:
			f.Title = fmt.Sprintf("the connection table of %s is full: %d of %d entries", s.name, count, limit.Number)
		case len(full) > 0:
			f.Title = fmt.Sprintf("%s dropped packets since its connection table was full: the kernel logged it %d times", s.name, len(full))
		case known && 10*count >= 9*limit.Number:
			f.Severity = Warning
			f.Title = fmt.Sprintf("the connection table of %s is %d %% full: %d of %d entries", s.name, 100*count/limit.Number, count, limit.Number)
		default:
			continue
		}
		if known {
			full = append(append(full, limit.Pos), at...)
		}
		f.Evidence = k.evidence(full...)
		found = append(found, f)
	}
	return found, judged
}

// messages are the lines in which the kernel says that the table is full.
func messages(s *sheet) (at []record.Pos) {
	for _, r := range s.list {
		if r.Name == "table full" {
			at = append(at, r.Pos)
		}
	}
	return at
}

// entries is how many connections the kernel says that it tracks.
func entries(s *sheet) (int64, []record.Pos, bool) {
	for _, name := range []string{"nf_conntrack_count", "entries"} {
		if r, ok := s.said(name); ok {
			return r.Number, []record.Pos{r.Pos}, true
		}
	}
	return 0, nil, false
}

// tableRows are the rows of a recorded table, a listing's at least: one that
// was cut or filtered has fewer than the kernel's table, never more.
type tableRows struct {
	n  int64
	at []record.Pos // the first
}

// tableRows counts the rows of the largest listing of each place's table.
func (k *Case) tableRows() map[record.Scope]tableRows {
	sections := map[int]tableRows{}
	k.fail(k.Load.Store.Translations(func(t *record.Translation) error {
		if t.Via == record.ViaConntrack && t.Event == "" && k.Current(t.Section) {
			r := sections[t.Section]
			if r.n == 0 {
				r.at = []record.Pos{t.Pos}
			}
			r.n++
			sections[t.Section] = r
		}
		return nil
	}))
	out := map[record.Scope]tableRows{}
	for section, r := range sections {
		old := out[k.Place(section)]
		if r.n > old.n || r.n == old.n && k.Less(r.at[0], old.at[0]) {
			out[k.Place(section)] = r
		}
	}
	return out
}
