package check

import (
	"fmt"
	"slices"
	"strings"

	"whichbackend/analyze/record"
	"whichbackend/analyze/resolve"
)

// group gathers the connections of one finding, in the order of the answer.
type group[K comparable] struct {
	key  K
	list []*resolve.Connection
	at   []record.Pos
}

func (g *group[K]) add(c *resolve.Connection) {
	if n := len(g.list); n == 0 || g.list[n-1] != c {
		g.list = append(g.list, c)
	}
}

// connections are those of the group as findings list them.
func (g *group[K]) connections() []Connection {
	out := make([]Connection, 0, len(g.list))
	for _, c := range g.list {
		out = append(out, concerned(c))
	}
	return out
}

// groupsOf gathers connections by what their findings have in common.
type groupsOf[K comparable] map[K]*group[K]

func (m groupsOf[K]) of(key K) *group[K] {
	g := m[key]
	if g == nil {
		g = &group[K]{key: key}
		m[key] = g
	}
	return g
}

// sorted lists the groups by their keys as printed, so that findings do not
// depend on the order of a map.
func (m groupsOf[K]) sorted() []*group[K] {
	out := make([]*group[K], 0, len(m))
	for _, g := range m {
		out = append(out, g)
	}
	byName(out, func(g *group[K]) any { return g.key })
	return out
}

// byName sorts a list by what of each element is printed; each is printed once.
func byName[T any](list []T, of func(T) any) {
	type named struct {
		name string
		x    T
	}
	all := make([]named, len(list))
	for i, x := range list {
		all[i] = named{fmt.Sprint(of(x)), x}
	}
	slices.SortStableFunc(all, func(a, b named) int { return strings.Compare(a.name, b.name) })
	for i := range all {
		list[i] = all[i].x
	}
}

// clients says how many clients a list of connections has, or which one.
func clients(list []*resolve.Connection) string {
	seen := map[string]bool{}
	first := ""
	for _, c := range list {
		name := called(c.Client)
		if c.Client.Name == "" {
			name, _, _ = strings.Cut(c.Client.Address, "]:")
			if !strings.HasPrefix(name, "[") {
				name = name[:max(strings.LastIndex(name, ":"), 0)]
			}
		}
		if !seen[name] && first == "" {
			first = name
		}
		seen[name] = true
	}
	if len(seen) == 1 && first != "" {
		return first
	}
	return fmt.Sprintf("%d clients", len(seen))
}
