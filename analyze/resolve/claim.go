package resolve

import (
	"net/netip"
	"sort"

	"whichbackend/analyze/record"
)

// liveOnly drops entries of finished connections where one of a live one is
// there, and history where there is state.
func (r *resolver) liveOnly(c *conn, group []sighting) []sighting {
	keep := func(f func(record.Translation) bool) {
		var kept []sighting
		for _, s := range group {
			if f(s.t) {
				kept = append(kept, s)
			}
		}
		if len(kept) > 0 {
			group = kept
		}
	}
	keep(func(t record.Translation) bool { return t.Via != record.ViaEvent })
	keep(func(t record.Translation) bool { return !t.Closing })
	if c.state == "ESTABLISHED" {
		keep(func(t record.Translation) bool { return !t.Unreplied })
	}
	return group
}

// claim is one backend with the entries that name it.
type claim struct {
	after record.Tuple
	ts    []record.Translation
	note  string
}

// claims groups entries by the backend that they name.
func (r *resolver) claims(c *conn, group []sighting) ([]claim, error) {
	var out []claim
	add := func(after record.Tuple, note string, ts ...record.Translation) {
		for i := range out {
			if out[i].after.Destination == after.Destination {
				out[i].ts = append(out[i].ts, ts...)
				if ts[0].Via == record.ViaConntrack && out[i].ts[0].Via == record.ViaIPVS {
					out[i].after = after // IPVS does not see the source rewritten after it
				}
				return
			}
		}
		out = append(out, claim{after, ts, note})
	}
	for _, s := range group {
		if !s.t.Selects {
			add(s.t.After, "", s.t)
			continue
		}
		sel, err := r.selected(s)
		if err != nil {
			return nil, err
		}
		for _, x := range sel {
			add(x.after, x.note, x.ts...)
		}
		if len(sel) == 0 && c.lost == "" && len(group) == 1 {
			c.lost = "the service entry names backend " + itoa(int(s.t.Backend)) + ", which no table holds"
			c.gone = r.numbered(hostOf(s.place))
			c.steps = append(c.steps, step{mechanism: "cilium", via: s.t.Via, place: s.place, before: s.t.Before, ts: []record.Translation{s.t}})
		}
	}
	return out, nil
}

// numbered tells whether the numbers of backends are known on a host, so that
// one which is not among them has gone.
func (r *resolver) numbered(host string) bool {
	for k := range r.numbers {
		if k.host == host {
			return true
		}
	}
	return false
}

// selected finds the backend of an entry that records a choice: the entry that
// carries the packets, of the same client and service number, and the backend
// that the entry's number stands for. Where both are known and differ, both
// are returned.
func (r *resolver) selected(s sighting) ([]claim, error) {
	list, err := r.from(s.t.Before.Source)
	if err != nil {
		return nil, err
	}
	list = append(append([]record.Translation{}, list...), r.loopbackLegs(s.t)...)
	var carried []claim
	for _, t := range list {
		p := r.placeOf[t.Section]
		if p != s.place || t.Protocol != s.t.Protocol || t.Selects || t.Ingress && !t.Loopback || t.Via != s.t.Via || t.Service != s.t.Service || !r.current[t.Section] {
			continue
		}
		r.use(t.Pos)
		found := false
		for i := range carried {
			if carried[i].after == t.Before {
				carried[i].ts = append(carried[i].ts, t)
				found = true
			}
		}
		if !found {
			carried = append(carried, claim{after: t.Before, ts: []record.Translation{s.t, t}})
		}
	}
	numbered := r.numbers[backendKey{s.place.host, s.t.Backend}]
	if !numbered.IsValid() || s.t.Backend == 0 {
		return carried, nil
	}
	for _, x := range carried {
		if x.after.Destination.Addr() == numbered.Addr() && (numbered.Port() == 0 || numbered.Port() == x.after.Destination.Port()) {
			if len(carried) == 1 {
				return carried, nil
			}
			return []claim{x}, nil
		}
	}
	if numbered.Port() == 0 {
		if len(carried) > 0 || len(r.numbers) == 0 {
			return r.disagree(carried, numbered, s), nil
		}
		return nil, nil
	}
	return append(carried, claim{after: record.Tuple{Source: s.t.Before.Source, Destination: numbered}, ts: []record.Translation{s.t}, note: "by the backend's number"}), nil
}

// disagree adds the backend of the service entry's number, whose port the
// listing omits, to those that other entries carry packets to.
func (r *resolver) disagree(carried []claim, numbered netip.AddrPort, s sighting) []claim {
	numbered = netip.AddrPortFrom(numbered.Addr(), carried[0].after.Destination.Port())
	return append(carried, claim{after: record.Tuple{Source: s.t.Before.Source, Destination: numbered}, ts: []record.Translation{s.t}, note: "by the backend's number"})
}

// loopbackLegs are the hairpin legs that may belong to an entry: the source is
// a stand-in, port and service number are the same, and the destination is the
// client's own address.
func (r *resolver) loopbackLegs(t record.Translation) []record.Translation {
	var out []record.Translation
	for _, l := range r.loopbacks {
		if l.Before.Source.Port() == t.Before.Source.Port() && l.Before.Destination.Addr() == t.Before.Source.Addr() && l.Before.Source != t.Before.Source {
			out = append(out, l)
		}
	}
	return out
}

// contradict notes that entries name different backends.
func (r *resolver) contradict(c *conn, claims []claim) {
	k := &Conflict{Reason: "two entries for this connection name different backends"}
	for _, x := range claims {
		if x.note != "" {
			k.Reason = "the service entry's backend number and the entry that carries the packets name different backends"
		}
		k.Claims = append(k.Claims, Claim{Backend: x.after.Destination.String(), Evidence: r.evidenceOf(x.ts)})
		host := ""
		if p := r.placeOf[x.ts[0].Section]; p != nil {
			host = p.host
		}
		c.backends = append(c.backends, Backend{Party: r.party(x.after.Destination, host), Reason: "named by " + string(x.ts[len(x.ts)-1].Via), Evidence: r.evidenceOf(x.ts)})
	}
	sort.SliceStable(k.Claims, func(i, j int) bool { return k.Claims[i].Backend < k.Claims[j].Backend })
	c.conflict = k
	first := claims[0].ts[0]
	c.choices.mech = r.mechanism(step{via: first.Via, place: r.placeOf[first.Section], after: claims[0].after, ts: claims[0].ts}, first.Before)
}

// complete fills a step from the entries of its one claim.
func (r *resolver) complete(s *step, x claim) {
	s.after = x.after
	vias := map[record.Via]bool{}
	var kept []record.Translation
	sort.SliceStable(x.ts, func(i, j int) bool { return r.less(x.ts[i].Pos, x.ts[j].Pos) })
	unreplied := true
	for _, t := range x.ts {
		unreplied = unreplied && t.Unreplied
		if !vias[t.Via] || t.Via == record.ViaCiliumCT && !duplicate(kept, t) {
			kept = append(kept, t)
		}
		vias[t.Via] = true
		if s.state == "" {
			s.state = t.State
		}
	}
	s.unreplied = unreplied
	s.ts = kept
	if vias[record.ViaConntrack] && vias[record.ViaIPVS] {
		s.independent, s.via = true, record.ViaConntrack
	}
	if !vias[record.ViaConntrack] && vias[record.ViaIPVS] && swarmPlace(s.place) {
		s.after.Source = netip.AddrPort{} // the balancer puts its own address there
	}
}

func duplicate(list []record.Translation, t record.Translation) bool {
	for _, x := range list {
		if x.Before == t.Before && x.Selects == t.Selects {
			return true
		}
	}
	return false
}
