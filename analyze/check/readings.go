package check

import (
	"cmp"
	"slices"
	"strings"

	"whichbackend/analyze/record"
)

// sheet is what the listings of one place say of the state of something.
type sheet struct {
	place record.Scope
	name  string // of the place
	list  []record.Reading
}

// object is the place's own table of connections.
func (s *sheet) object() Object {
	return Object{Kind: "table", Namespace: s.place.Namespace, Name: "conntrack of " + s.name, Host: s.place.Host}
}

// sheets gathers the readings of the moment by their place, of these formats
// and in the order of the artifacts.
func (k *Case) sheets(formats ...string) []*sheet {
	all, err := k.Load.Store.Readings()
	k.fail(err)
	of := map[record.Scope]*sheet{}
	for _, r := range all {
		s := k.Section(r.Section)
		if s == nil || !k.Current(r.Section) || !slices.Contains(formats, s.Format) {
			continue
		}
		place := k.Place(r.Section)
		if of[place] == nil {
			of[place] = &sheet{place: place, name: cmp.Or(k.PlaceName(r.Section), "the host")}
		}
		of[place].list = append(of[place].list, r)
	}
	out := make([]*sheet, 0, len(of))
	for _, s := range of {
		slices.SortStableFunc(s.list, func(a, b record.Reading) int { return k.order(a.Pos, b.Pos) })
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *sheet) int { return strings.Compare(a.name, b.name) })
	return out
}

// statistics are the sheets of what connection tracking counted.
func (k *Case) statistics() []*sheet { return k.sheets("conntrack-stats", "sysctl", "kernel-log") }

// counted adds up a counter over the processors. Counters only grow, so of
// several listings, and of one listing that shows a processor twice, the
// highest is the latest. ok is false when nothing tells it.
func (s *sheet) counted(name string) (total int64, at []record.Pos, ok bool) {
	type cell struct {
		section int
		subject string
	}
	best := map[cell]record.Reading{}
	sums, whole := map[int]int64{}, map[int]int64{}
	for _, r := range s.list {
		if r.Name != name {
			continue
		}
		c := cell{r.Section, r.Subject}
		if old, seen := best[c]; seen && old.Number >= r.Number {
			continue
		}
		if r.Subject == "" {
			whole[r.Section] = r.Number
		} else {
			sums[r.Section] += r.Number - best[c].Number
		}
		best[c] = r
		ok = true
	}
	section := 0
	for _, r := range s.list { // in their order, which no map has
		if n := max(sums[r.Section], whole[r.Section]); r.Name == name && (section == 0 || n > total) {
			total, section = n, r.Section
		}
	}
	for _, r := range s.list {
		if r.Name == name && r.Section == section && r.Number > 0 && r == best[cell{section, r.Subject}] {
			at = append(at, r.Pos)
		}
	}
	return total, at, ok
}

// said is the last reading of a name.
func (s *sheet) said(name string) (r record.Reading, ok bool) {
	for _, x := range s.list {
		if x.Name == name {
			r, ok = x, true
		}
	}
	return r, ok
}
