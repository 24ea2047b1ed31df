package render

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
)

// A map of more boxes or arrows than these is folded: nobody reads it, and
// Mermaid draws no more than 500 arrows.
const (
	manyBoxes  = 40
	manyArrows = 400
)

// parts is what the boxes of a column are called when they are folded.
var parts = map[string]string{"clients": "clients", "services": "service addresses", "backends": "backends"}

// fold draws the boxes of columns that have more than limit as one for each
// workload or host, and where that is too many still, the least used as one.
func (g *graph) fold(limit int) *graph {
	if len(g.nodes) <= manyBoxes && len(g.edges) <= manyArrows && limit >= columnLimits[0] {
		return g
	}
	to := make([]string, len(g.nodes)) // of each box, the key of the one that it becomes
	out := newGraph()
	out.groups = g.groups
	for _, group := range g.groups {
		var column []int
		for i := range g.nodes {
			if g.nodes[i].group == group {
				column = append(column, i)
				to[i] = "\x00" + strconv.Itoa(i)
			}
		}
		if len(column) <= limit {
			continue
		}
		g.foldColumn(column, to, limit)
		boxes := map[string]bool{}
		for _, i := range column {
			boxes[to[i]] = true
		}
		out.note = append(out.note, fmt.Sprintf("%d %s are drawn in %s", len(column), parts[group], boxesOf(len(boxes))))
	}
	g.redraw(out, to)
	return out
}

func boxesOf(n int) string {
	if n == 1 {
		return "1 box"
	}
	return strconv.Itoa(n) + " boxes"
}

// foldColumn says which boxes of a column become one.
func (g *graph) foldColumn(column []int, to []string, limit int) {
	size := map[string]int{}
	for _, i := range column {
		size[g.nodes[i].of]++
	}
	weight := map[string]int{}
	var keys []string
	for _, i := range column {
		n := &g.nodes[i]
		if n.of != "" && size[n.of] > 1 {
			to[i] = n.of
		}
		if _, ok := weight[to[i]]; !ok {
			keys = append(keys, to[i])
		}
		weight[to[i]] += n.n
		if n.look == dead || n.look == dashed {
			weight[to[i]] = int(^uint(0) >> 1) // what is wrong is never folded away
		}
	}
	if len(keys) <= limit {
		return
	}
	slices.SortStableFunc(keys, func(a, b string) int { return cmp.Compare(weight[b], weight[a]) })
	rest := map[string]bool{}
	for _, k := range keys[limit-1:] {
		rest[k] = true
	}
	for _, i := range column {
		if rest[to[i]] {
			to[i] = ""
		}
	}
}

// redraw draws g into out, each box as the one that it becomes.
func (g *graph) redraw(out *graph, to []string) {
	members := map[string]int{}
	for i, n := range g.nodes {
		members[n.group+"\x00"+to[i]]++
	}
	at := make([]int, len(g.nodes))
	for i, n := range g.nodes {
		k := members[n.group+"\x00"+to[i]]
		switch {
		case k == 1:
			at[i] = out.node(n.group, to[i], n.look, n.lines...)
		case to[i] == "":
			at[i] = out.node(n.group, to[i], n.look, strconv.Itoa(k)+" other "+parts[n.group])
		default:
			at[i] = out.node(n.group, to[i], n.look, n.of, strconv.Itoa(k)+" "+parts[n.group])
		}
	}
	for _, e := range g.edges {
		into := out.edge(at[e.from], at[e.to])
		into.n += e.n
		into.settled += e.settled
		into.tone = max(into.tone, e.tone)
		into.dotted = into.n == 0 && into.settled == 0
		for v, n := range e.verdicts {
			into.verdicts[v] += n
		}
		for m := range e.mechanisms {
			into.mechanisms[m] = true
		}
	}
}
