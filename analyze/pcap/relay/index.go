package relay

import (
	"cmp"
	"slices"
	"sort"
)

// entry leads from a key to an item.
type entry struct {
	key  uint64
	item int32
}

// index is sorted by key, and of one key by item, so by time.
type index []entry

func (x index) sort() {
	slices.SortFunc(x, func(a, b entry) int {
		if a.key != b.key {
			return cmp.Compare(a.key, b.key)
		}
		return cmp.Compare(a.item, b.item)
	})
}

// run returns the entries of a key.
func (x index) run(key uint64) index {
	i := sort.Search(len(x), func(i int) bool { return x[i].key >= key })
	j := i + sort.Search(len(x)-i, func(j int) bool { return x[i+j].key > key })
	return x[i:j]
}

// mix makes one key of two numbers (the finishing steps of MurmurHash3). What
// it finds is compared again, so that equal keys of unlike numbers do no harm.
func mix(a, b uint64) uint64 {
	h := a*0x9e3779b97f4a7c15 + b
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// tree finds, of intervals sorted by their begins, those that contain a time:
// a heap of the latest ends.
type tree struct {
	size int
	ends []int64
}

func newTree(ends []int64) tree {
	size := 1
	for size < len(ends) {
		size *= 2
	}
	t := tree{size, make([]int64, 2*size)}
	for i := range t.ends {
		t.ends[i] = -1 << 63
	}
	copy(t.ends[size:], ends)
	for i := size - 1; i > 0; i-- {
		t.ends[i] = max(t.ends[2*i], t.ends[2*i+1])
	}
	return t
}

// each calls visit for the intervals below limit that end at or after when,
// the last first, until visit returns false.
func (t *tree) each(limit int, when int64, visit func(int) bool) {
	t.walk(1, 0, t.size, limit, when, visit)
}

func (t *tree) walk(node, from, width, limit int, when int64, visit func(int) bool) bool {
	if from >= limit || t.ends[node] < when {
		return true
	}
	if width == 1 {
		return visit(from)
	}
	return t.walk(2*node+1, from+width/2, width/2, limit, when, visit) &&
		t.walk(2*node, from, width/2, limit, when, visit)
}
