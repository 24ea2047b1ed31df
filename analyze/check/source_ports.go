package check

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"whichbackend/analyze/record"
)

var sourcePortsExhausted = Rule{
	ID: "source-ports-exhausted", Severity: Error,
	Finds: "an address behind which connections to one destination are about to have no source port left",
	Needs: "the conntrack entries of a namespace that rewrites sources",
	Why:   "A connection to the same destination needs a source port of its own. When none is left its first packet is dropped (insert_failed in conntrack -S), and the client sees a timeout.",
	Do:    "Make clients keep their connections open, spread them over more destinations or more source addresses, or widen the range: sysctl net.ipv4.ip_local_port_range on the clients.",
	See:   []string{"https://github.com/kubernetes/kubernetes/issues/76699", "https://github.com/cilium/cilium/issues/23604"},
	judge: findExhaustedPorts,
}

// masked is one source address in front of one destination, in one table.
type masked struct {
	place    record.Scope
	zone     uint32
	protocol record.Protocol
	source   netip.Addr
	to       netip.AddrPort
}

// The ports that a client's kernel chooses from unless told otherwise, and all
// that a rewriting may choose.
const (
	firstLocal, lastLocal = 32768, 60999
	firstAny, lastAny     = 1024, 65535
)

// usedPorts are the source ports in use, and some of their entries.
type usedPorts struct {
	seen [1 << 10]uint64
	n    int
	wide bool // some are outside of the clients' range
	at   []record.Pos
}

func (u *usedPorts) add(port uint16, first, last int, at record.Pos) {
	if u.seen[port/64]&(1<<(port%64)) != 0 {
		return
	}
	u.seen[port/64] |= 1 << (port % 64)
	u.n++
	u.wide = u.wide || int(port) < first || int(port) > last
	if len(u.at) < 3 {
		u.at = append(u.at, at)
	}
}

func findExhaustedPorts(k *Case) (found []Finding, judged bool) {
	ranges := k.localPorts()
	counts := map[masked]int{}
	each := func(f func(masked, *record.Translation)) {
		err := k.Load.Store.Translations(func(t *record.Translation) error {
			if t.Via == record.ViaConntrack && k.Current(t.Section) && t.Before.Source.Addr() != t.After.Source.Addr() && t.After.Source.IsValid() &&
				(t.Protocol == record.TCP || t.Protocol == record.UDP) {
				f(masked{k.Place(t.Section), t.Zone, t.Protocol, t.After.Source.Addr(), t.After.Destination}, t)
			}
			return nil
		})
		if err != nil {
			k.fail(err)
		}
	}
	each(func(m masked, _ *record.Translation) { counts[m]++ })
	used := map[masked]*usedPorts{}
	for m, n := range counts {
		first, last := ranges.of(m.place)
		if 100*n >= 80*(last-first+1) {
			used[m] = &usedPorts{}
		}
	}
	if len(used) > 0 {
		each(func(m masked, t *record.Translation) {
			if u := used[m]; u != nil {
				first, last := ranges.of(m.place)
				u.add(t.After.Source.Port(), first, last, t.Pos)
			}
		})
	}
	for m, u := range used {
		first, last := ranges.of(m.place)
		if u.wide {
			first, last = firstAny, lastAny
		}
		if f, ok := k.exhausted(m, u, first, last, ranges[m.place].at); ok {
			found = append(found, f)
		}
	}
	slices.SortFunc(found, func(a, b Finding) int { return strings.Compare(a.Title, b.Title) })
	return found, len(counts) > 0
}

func (k *Case) exhausted(m masked, u *usedPorts, first, last int, at []record.Pos) (Finding, bool) {
	size := last - first + 1
	percent := 100 * u.n / size
	if percent < 80 {
		return Finding{}, false
	}
	f := Finding{Severity: Warning, Count: u.n, Connections: []Connection{}, Evidence: k.evidence(append(slices.Clone(at), u.at...)...)}
	if percent >= 95 {
		f.Severity = Error
	}
	to := k.Party(m.to, m.place.Host)
	f.Objects = []Object{{Kind: "address", Address: m.source.String(), Host: m.place.Host}, object(to)}
	name := m.to.String()
	if to.Name != "" {
		name = called(to) + " " + name
	}
	f.Title = fmt.Sprintf("%s uses %d of %d source ports (%d to %d) towards %s on %s, %d %%", m.source, u.n, size, first, last, name, hostName(m.place), percent)
	return f, true
}

// portRange is what a place's kernel was told of local ports, and where that
// stands.
type portRange struct {
	first, last int
	at          []record.Pos
}

type portRanges map[record.Scope]portRange

func (r portRanges) of(place record.Scope) (first, last int) {
	if x, ok := r[place]; ok {
		return x.first, x.last
	}
	return firstLocal, lastLocal
}

// localPorts are the ranges that readings tell, by place.
func (k *Case) localPorts() portRanges {
	list, err := k.Load.Store.Readings()
	if err != nil {
		k.fail(err)
	}
	out := portRanges{}
	for _, r := range list {
		x := portRange{at: []record.Pos{r.Pos}}
		if !strings.HasSuffix(r.Name, "ip_local_port_range") || !k.Current(r.Section) {
			continue
		}
		if n, err := fmt.Sscan(r.Value, &x.first, &x.last); n == 2 && err == nil && 0 < x.first && x.first < x.last && x.last <= lastAny {
			out[k.Place(r.Section)] = x
		}
	}
	return out
}
