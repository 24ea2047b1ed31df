package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"whichbackend/analyze/record"
)

var ciliumMapFull = Rule{
	ID: "cilium-map-full", Severity: Warning,
	Finds: "a connection table of Cilium that is as good as full",
	Needs: "cilium bpf ct list global of a node; cilium status --verbose tells the size of the table",
	Why:   "A full table forgets the connections that were idle longest. A connection that is forgotten while it lives loses its backend and its RevNAT number: the next packet may go to another backend, and replies reach the client untranslated.",
	Do:    "Give the tables more room (--bpf-ct-global-tcp-max, --bpf-ct-global-any-max or --bpf-map-dynamic-size-ratio), and find who opens so many connections.",
	See:   []string{"https://github.com/cilium/cilium/issues/17457", "https://github.com/cilium/cilium/issues/24177", "https://github.com/cilium/cilium/issues/35010"},
	judge: findFullCiliumMaps,
}

// ciliumMap is one of the connection tables of a node.
type ciliumMap struct {
	place   string
	tcp, v4 bool
}

// ciliumFill is how many entries a listing of a table has. Companions for ICMP
// are not counted.
type ciliumFill struct {
	entries int64
	at      record.Pos
}

// Shares of a table in percent: of one whose size is known, and of one that
// may have the default size.
const (
	fullMap        = 90
	fullDefaultMap = 97
)

func findFullCiliumMaps(k *Case) (found []Finding, judged bool) {
	fills := k.ciliumFills()
	sizes := k.ciliumSizes()
	for _, m := range slices.SortedFunc(maps.Keys(fills), func(a, b ciliumMap) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) }) {
		fill := fills[m]
		judged = true
		name, size := "TCP connection tracking", int64(524288)
		if !m.tcp {
			name, size = "Non-TCP connection tracking", 262144
		}
		share := int64(fullDefaultMap)
		at := []record.Pos{fill.at}
		told := false
		if r, ok := sizes[m.place][name]; ok {
			size, share, told = r.Number, fullMap, true
			at = append(at, r.Pos)
		}
		// A table of more entries than the default size has another one.
		if fill.entries*100 < size*share || !told && fill.entries > size || size == 0 {
			continue
		}
		title := fmt.Sprintf("the table %s%s holds %d entries of %d", name, onNode(m.place), fill.entries, size)
		if !told {
			title = fmt.Sprintf("the table %s%s holds %d entries, near its default size of %d", name, onNode(m.place), fill.entries, size)
		}
		found = append(found, Finding{Title: title, Objects: []Object{{Kind: "table", Name: name, Host: m.place}}, Evidence: k.evidence(at...)})
	}
	return found, judged
}

// ciliumFills counts the entries of each connection table; of several listings
// of one, that with the most.
func (k *Case) ciliumFills() map[ciliumMap]ciliumFill {
	type listing struct {
		ciliumMap
		section int
	}
	count := map[listing]*ciliumFill{}
	k.fail(k.Load.Store.Translations(func(t *record.Translation) error {
		if t.Via != record.ViaCiliumCT || !k.Current(t.Section) {
			return nil
		}
		key := listing{ciliumMap{k.PlaceName(t.Section), t.Protocol == record.TCP, t.Before.Source.Addr().Is4()}, t.Section}
		if count[key] == nil {
			count[key] = &ciliumFill{at: t.Pos}
		}
		count[key].entries++
		return nil
	}))
	out := map[ciliumMap]ciliumFill{}
	for key, f := range count {
		if old, ok := out[key.ciliumMap]; !ok || f.entries > old.entries || f.entries == old.entries && k.Less(f.at, old.at) {
			out[key.ciliumMap] = *f
		}
	}
	return out
}

// ciliumSizes are the sizes of the maps as the agents' status tells them, by
// place and name.
func (k *Case) ciliumSizes() map[string]map[string]record.Reading {
	old := map[string]string{"CT TCP": "TCP connection tracking", "CT other": "Non-TCP connection tracking"}
	out := map[string]map[string]record.Reading{}
	list, err := k.Load.Store.Readings()
	k.fail(err)
	for _, r := range list {
		if r.Subject != "size" || !k.Current(r.Section) || k.Section(r.Section).Format != "cilium-other" {
			continue
		}
		place, name := k.PlaceName(r.Section), r.Name
		if n := old[name]; n != "" {
			name = n
		}
		if out[place] == nil {
			out[place] = map[string]record.Reading{}
		}
		if x, ok := out[place][name]; !ok || r.Number > x.Number || r.Number == x.Number && k.Less(r.Pos, x.Pos) {
			out[place][name] = r
		}
	}
	return out
}
