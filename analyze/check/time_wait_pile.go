package check

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"whichbackend/analyze/record"
)

var timeWaitPile = Rule{
	ID: "time-wait-pile", Severity: Warning,
	Finds: "very many closed connections of one client to one destination that still hold their ports (TIME_WAIT)",
	Needs: "sockets, or connection tables",
	Why: "The client opens a connection for each request. Each holds its source port for a minute after its end (in a connection table for two), " +
		"and there are only as many ports to one destination as net.ipv4.ip_local_port_range has: when they are used up, connect fails with EADDRNOTAVAIL, or a port is taken again too early.",
	Do:    "Let the client keep its connections (HTTP keep-alive, a pool). A wider net.ipv4.ip_local_port_range puts it off.",
	See:   []string{"https://github.com/moby/moby/issues/35082", "https://github.com/kubernetes/kubernetes/issues/81775"},
	judge: findTimeWaitPiles,
}

// defaultPorts is what Linux has for connections to one destination: 32768 to
// 60999. From timeWaitMany on a pile is worth knowing, from timeWaitNear of the
// ports on it is about to end badly.
const (
	defaultPorts = 28232
	timeWaitMany = 5000
	timeWaitNear = 0.8
)

// waitKey is one client address, one destination, and the place that shows them.
type waitKey struct {
	place  record.Scope
	client netip.Addr
	to     netip.AddrPort
}

type waiting struct {
	count int
	at    []record.Pos
}

func (w *waiting) add(at record.Pos) {
	w.count++
	if len(w.at) < MaxEvidence {
		w.at = append(w.at, at)
	}
}

func findTimeWaitPiles(k *Case) (found []Finding, judged bool) {
	piles := map[waitKey]*waiting{}
	of := func(key waitKey) *waiting {
		if piles[key] == nil {
			piles[key] = &waiting{}
		}
		return piles[key]
	}
	for _, s := range k.spacesByName() {
		for i := range s.ends {
			judged = true
			if e := &s.ends[i]; e.is("TIME_WAIT") && !s.listens[e.local.Port()] {
				of(waitKey{s.scope, e.local.Addr(), e.remote}).add(e.rows[0].at)
			}
		}
	}
	ports := map[waitKey]map[uint16]bool{}
	err := k.Load.Store.Translations(func(t *record.Translation) error {
		if t.Protocol != record.TCP || !k.Current(t.Section) || t.Via != record.ViaConntrack && t.Via != record.ViaIPVS {
			return nil
		}
		judged = true
		if t.State != "TIME_WAIT" {
			return nil
		}
		key := waitKey{k.Place(t.Section), t.Before.Source.Addr(), t.Before.Destination}
		if ports[key] == nil {
			ports[key] = map[uint16]bool{}
		}
		ports[key][t.Before.Source.Port()] = true
		if n := len(ports[key]); n > of(key).count {
			of(key).add(t.Pos)
		}
		return nil
	})
	if err != nil {
		k.fail(err)
	}
	for _, key := range worst(piles) {
		found = append(found, k.timeWait(key, piles[key]))
	}
	return found, judged
}

// worst are the piles worth telling, one for each client and destination: the
// tables of several places show the same.
func worst(piles map[waitKey]*waiting) []waitKey {
	var keys []waitKey
	for key, w := range piles {
		if w.count >= timeWaitMany {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b waitKey) int {
		if d := piles[b].count - piles[a].count; d != 0 {
			return d
		}
		return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
	})
	seen := map[waitKey]bool{}
	return slices.DeleteFunc(keys, func(key waitKey) bool {
		key.place = record.Scope{}
		twice := seen[key]
		seen[key] = true
		return twice
	})
}

func (k *Case) timeWait(key waitKey, w *waiting) Finding {
	client, peer := k.Party(netip.AddrPortFrom(key.client, 0), key.place.Host), k.Party(key.to, key.place.Host)
	if l := k.Listings(key.to, record.TCP, key.place.Host); len(l) > 0 {
		peer = l[0].Party
	}
	client.Address = key.client.String()
	ports, said := k.ports(key.client)
	f := Finding{Severity: Info, Count: w.count, Objects: []Object{object(client), object(peer)},
		Title: fmt.Sprintf("%s holds %d of %d ports to %s with connections that have ended (TIME_WAIT)", called(client), w.count, ports, address(peer))}
	if float64(w.count) >= timeWaitNear*float64(ports) {
		f.Severity = Warning
	}
	f.Evidence = k.evidence(append(w.at[:min(len(w.at), MaxEvidence-1)], said...)...)
	return f
}

// ports is how many source ports a client has for one destination: what a
// reading of its host says, else the default.
func (k *Case) ports(client netip.Addr) (n int, at []record.Pos) {
	readings, err := k.Load.Store.Readings()
	if err != nil {
		k.fail(err)
	}
	hosts := k.Holders(client, "")
	for _, r := range readings {
		if !strings.HasSuffix(r.Name, "ip_local_port_range") || !k.Current(r.Section) || len(hosts) != 1 || k.Place(r.Section) != hosts[0] {
			continue
		}
		f := strings.Fields(r.Value)
		if len(f) != 2 {
			continue
		}
		low, e1 := strconv.ParseUint(f[0], 10, 16)
		high, e2 := strconv.ParseUint(f[1], 10, 16)
		if e1 == nil && e2 == nil && high >= low {
			return int(high-low) + 1, []record.Pos{r.Pos}
		}
	}
	return defaultPorts, nil
}
