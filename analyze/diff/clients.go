package diff

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"whichbackend/analyze/resolve"
)

// pair is a client and what it dialled.
type pair struct {
	client            [5]string // of a client without a name: its address
	protocol, service string
}

func pairOf(c *conn) pair {
	id := identity(c.client)
	p := pair{client: [5]string{id[0], id[1], id[2], id[3], ""}, protocol: c.protocol, service: c.service.Address}
	if c.client.Name == "" {
		p.client[4] = bare(c.client.Address)
	}
	return p
}

func comparePairs(a, b pair) int {
	return cmp.Or(strings.Compare(a.service, b.service), strings.Compare(a.protocol, b.protocol), slices.Compare(a.client[:], b.client[:]))
}

// flock are the connections of a pair, by their numbers in both moments.
type flock struct{ before, after []int }

// clients finds the clients that went from one backend to another: all
// connections to the one have ended or moved, and those to the other are new.
// Nothing is said of a client some of whose connections are not told.
func (s *step) clients() {
	flocks := map[pair]*flock{}
	of := func(c *conn) *flock {
		p := pairOf(c)
		if flocks[p] == nil {
			flocks[p] = &flock{}
		}
		return flocks[p]
	}
	for i := range s.before.conns {
		f := of(&s.before.conns[i])
		f.before = append(f.before, i)
	}
	for j := range s.after.conns {
		f := of(&s.after.conns[j])
		f.after = append(f.after, j)
	}
	for _, p := range slices.SortedFunc(maps.Keys(flocks), comparePairs) {
		s.flock(flocks[p])
	}
}

func (s *step) flock(f *flock) {
	stays, left := map[string]bool{}, map[string]bool{}
	old, here := map[string]bool{}, map[string]bool{}
	opened := false // some connection is new: else each has its own entry
	for _, i := range f.before {
		c, a := &s.before.conns[i], s.before.conns[i].backend().Address
		switch {
		case s.fate[i] == notTold || !c.settled() || c.byRequest:
			return
		case s.fate[i] == ended || s.fate[i] == moved:
			left[a] = true
		case s.fate[i] == same:
			stays[a] = true
		}
		old[a] = true
	}
	for _, j := range f.after {
		c, a := &s.after.conns[j], s.after.conns[j].backend().Address
		switch {
		case s.origin[j] == past:
			continue
		case s.origin[j] == notTold || !c.settled() || c.byRequest:
			return
		case s.origin[j] == appeared:
			opened = true
		}
		here[a] = true
	}
	leaves, arrives := false, false
	for a := range left {
		leaves = leaves || a != "" && !stays[a] && !here[a]
	}
	for a := range here {
		arrives = arrives || a != "" && !old[a]
	}
	if !leaves || !arrives || !opened {
		return
	}
	last := &s.after.conns[f.after[0]]
	client := last.client
	client.Address = bare(client.Address)
	s.Moved = append(s.Moved, Moved{Step: s.n, Granularity: "client", Protocol: last.protocol, Client: client, Service: last.service,
		Before: s.spread(s.before, f.before, nil), After: s.spread(s.after, f.after, s.origin),
		Reason: "its connections to a backend before have ended, and it has new ones to another"})
}

// spread counts connections by backend. Of those after, such as are over are
// left out.
func (s *step) spread(m *Moment, list []int, origin []fate) []Spread {
	index := map[string]*Spread{}
	for _, i := range list {
		c := &m.conns[i]
		if origin != nil && origin[i] == past || len(c.backends) == 0 {
			continue
		}
		b := c.backend()
		if index[b.Address] == nil {
			index[b.Address] = &Spread{Party: b, Gone: origin == nil && s.gone(c, b.Address)}
		}
		index[b.Address].Count++
	}
	return sortedSpread(index)
}

func sortedSpread(index map[string]*Spread) []Spread {
	out := []Spread{}
	for _, a := range slices.Sorted(maps.Keys(index)) {
		out = append(out, *index[a])
	}
	return out
}

// timeline writes what became of each client's connections to each service.
func timeline(moments []*Moment) []Line {
	lines := map[pair]*Line{}
	spreads := map[pair][]map[string]*Spread{}
	for n, m := range moments {
		for i := range m.conns {
			c := &m.conns[i]
			p := pairOf(c)
			if lines[p] == nil {
				client := c.client
				client.Address = bare(client.Address)
				lines[p] = &Line{Protocol: c.protocol, Client: client, Service: c.service}
				for k := range moments {
					lines[p].Moments = append(lines[p].Moments, Cell{Moment: k + 1})
					spreads[p] = append(spreads[p], map[string]*Spread{})
				}
			}
			cell := &lines[p].Moments[n]
			switch {
			case c.over():
			case !c.settled() || c.byRequest:
				cell.Open++
			case len(c.backends) == 1:
				tally(spreads[p][n], c.backend())
			}
		}
	}
	var out []Line
	for _, p := range slices.SortedFunc(maps.Keys(lines), comparePairs) {
		l := lines[p]
		for n := range l.Moments {
			l.Moments[n].Backends = sortedSpread(spreads[p][n])
			l.Changed = l.Changed || n > 0 && !sameSpread(l.Moments[n-1], l.Moments[n])
		}
		out = append(out, *l)
	}
	return out
}

func tally(index map[string]*Spread, b resolve.Party) {
	if index[b.Address] == nil {
		index[b.Address] = &Spread{Party: b}
	}
	index[b.Address].Count++
}

func sameSpread(a, b Cell) bool {
	return a.Open == b.Open && slices.EqualFunc(a.Backends, b.Backends, func(x, y Spread) bool { return x.Address == y.Address && x.Count == y.Count })
}
