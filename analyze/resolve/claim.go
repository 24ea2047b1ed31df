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
	// number are the lines that tell what the number in an entry stands for.
	number []record.Pos
}

// claims groups entries by the backend that they name.
func (r *resolver) claims(c *conn, group []sighting) ([]claim, error) {
	var out []claim
	add := func(x claim) {
		for i := range out {
			if out[i].after.Destination == x.after.Destination {
				out[i].ts = append(out[i].ts, x.ts...)
				if x.ts[0].Via == record.ViaConntrack && out[i].ts[0].Via == record.ViaIPVS {
					out[i].after = x.after // IPVS does not see the source rewritten after it
				}
				return
			}
		}
		out = append(out, x)
	}
	for _, s := range group {
		if !s.t.Selects {
			add(claim{after: s.t.After, ts: []record.Translation{s.t}})
			continue
		}
		sel, err := r.selected(s)
		if err != nil {
			return nil, err
		}
		for _, x := range sel {
			add(x)
		}
		if len(sel) == 0 && c.lost == "" && len(group) == 1 {
			r.lose(c, s)
			c.steps = append(c.steps, step{mechanism: "cilium", via: s.t.Via, place: s.place, before: s.t.Before, ts: []record.Translation{s.t}})
		}
	}
	return out, nil
}

// lose notes that nothing tells the backend which an entry names by a number.
func (r *resolver) lose(c *conn, s sighting) {
	c.number = backendKey{hostOf(s.place), s.t.Backend}
	c.lost = "the service entry names backend " + itoa(int(s.t.Backend)) + ", which no table holds"
	if n := r.numbers[c.number]; n.address.IsValid() {
		c.lost = "the service entry names backend " + itoa(int(s.t.Backend)) + ", " + n.address.Addr().String() + ", and no table tells its port"
		return
	}
	for k := range r.numbers {
		c.gone = c.gone || k.host == c.number.host // the others are known, and it is none of them
	}
}

// contradict notes that entries name different backends.
func (r *resolver) contradict(c *conn, claims []claim) {
	k := &Conflict{Reason: "two entries for this connection name different backends"}
	for _, x := range claims {
		if x.note != "" {
			k.Reason = "the service entry's backend number and the entry that carries the packets name different backends"
		}
		evidence := append(r.evidenceOf(x.ts), r.evidenceAt(x.number)...)
		k.Claims = append(k.Claims, Claim{Backend: x.after.Destination.String(), Evidence: evidence})
		host := ""
		if p := r.placeOf[x.ts[0].Section]; p != nil {
			host = p.host
		}
		c.backends = append(c.backends, Backend{Party: r.party(x.after.Destination, host), Reason: "named by " + viaWord(x.ts[len(x.ts)-1].Via), Evidence: evidence})
	}
	if a, b := claims[0].ts[0], claims[1].ts[0]; a.Zone != b.Zone {
		k.Reason = "the table holds these addresses in zones " + itoa(int(a.Zone)) + " and " + itoa(int(b.Zone)) + ", and nothing tells which is the client's"
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
	s.ts, s.number = kept, x.number
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
