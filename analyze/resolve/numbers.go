package resolve

import (
	"net/netip"

	"whichbackend/analyze/record"
)

// backendKey names a backend by a table's own number on one host.
type backendKey struct {
	host   string
	number uint32
}

// numbered is the backend that a table's own number stands for, and the lines
// that say so.
type numbered struct {
	address netip.AddrPort // port 0: the listing omits it; not valid: listings disagree
	at      []record.Pos
}

// readNumbers learns a table's own numbers of backends: from a list of
// backends, and by joining the list of slots with numbers to the one with
// addresses.
func (w *world) readNumbers() {
	type slotKey struct {
		host     string
		address  netip.AddrPort
		protocol record.Protocol
		internal bool
		slot     int
	}
	addresses := map[slotKey]numbered{}
	put := func(host string, number uint32, n numbered) {
		k := backendKey{host, number}
		old, ok := w.numbers[k]
		switch {
		case !ok, old.address.Addr() == n.address.Addr() && old.address.Port() == 0 && n.address.Port() != 0:
			w.numbers[k] = n
		case old.address != n.address && n.address.Port() != 0:
			w.numbers[k] = numbered{}
		}
	}
	slots := func(f func(slotKey, record.Backend, record.Pos)) {
		for _, s := range w.services {
			if s.Source != record.FromCiliumLB || s.place == nil || s.Type == "revnat" {
				continue
			}
			for _, b := range s.Backends {
				pos := b.Pos
				if pos == (record.Pos{}) {
					pos = s.Pos
				}
				f(slotKey{s.place.host, s.Address, s.Protocol, s.Inside, b.Slot}, b, pos)
			}
		}
	}
	slots(func(k slotKey, b record.Backend, pos record.Pos) {
		if b.ID != 0 && b.Address.IsValid() {
			put(k.host, b.ID, numbered{b.Address, []record.Pos{pos}})
		} else if b.ID == 0 && b.Slot != 0 && b.Address.IsValid() {
			addresses[k] = numbered{b.Address, []record.Pos{pos}}
		}
	})
	slots(func(k slotKey, b record.Backend, pos record.Pos) {
		if a, ok := addresses[k]; ok && b.ID != 0 && b.Slot != 0 && !b.Address.IsValid() {
			put(k.host, b.ID, numbered{a.address, append([]record.Pos{pos}, a.at...)})
		}
	})
}

// selected finds the backend of an entry that records a choice: the entry that
// carries the packets, of the same client and service number, and the backend
// that the entry's number stands for. Where both are known and differ, both
// are returned.
func (r *resolver) selected(s sighting) ([]claim, error) {
	carried, err := r.carried(s)
	if err != nil {
		return nil, err
	}
	n := r.numberOf(s)
	if !n.address.IsValid() {
		return carried, nil
	}
	for _, x := range carried {
		if x.after.Destination.Addr() == n.address.Addr() && (n.address.Port() == 0 || n.address.Port() == x.after.Destination.Port()) {
			return []claim{x}, nil
		}
	}
	if n.address.Port() == 0 {
		if len(carried) == 0 {
			return nil, nil
		}
		n.address = netip.AddrPortFrom(n.address.Addr(), carried[0].after.Destination.Port())
	}
	for i := range carried {
		carried[i].ts = carried[i].ts[1:] // the choice names another one
	}
	return append(carried, claim{after: record.Tuple{Source: s.t.Before.Source, Destination: n.address}, ts: []record.Translation{s.t}, note: "by the backend's number", number: n.at}), nil
}

// carried finds the entries that carry the packets of a choice, by the backend
// that they carry them to.
func (r *resolver) carried(s sighting) ([]claim, error) {
	list, err := r.from(s.t.Before.Source)
	if err != nil {
		return nil, err
	}
	list = append(append([]record.Translation{}, list...), r.loopbackLegs(s.t)...)
	var out []claim
	for _, t := range list {
		p := r.placeOf[t.Section]
		if p != s.place || t.Protocol != s.t.Protocol || t.Selects || t.Ingress && !t.Loopback || t.Via != s.t.Via || t.Service != s.t.Service || !r.current[t.Section] {
			continue
		}
		r.use(t.Pos)
		found := false
		for i := range out {
			if out[i].after == t.Before {
				out[i].ts = append(out[i].ts, t)
				found = true
			}
		}
		if !found {
			out = append(out, claim{after: t.Before, ts: []record.Translation{s.t, t}})
		}
	}
	return out, nil
}

// numberOf finds what the number of a choice stands for. Where the list of
// backends omits ports, the service's own slots tell it, if only one of them
// has the address.
func (r *resolver) numberOf(s sighting) numbered {
	n := r.numbers[backendKey{s.place.host, s.t.Backend}]
	if s.t.Backend == 0 || !n.address.IsValid() || n.address.Port() != 0 {
		return n
	}
	found := numbered{}
	for _, v := range r.byAddress[s.t.Before.Destination] {
		if v.Source != record.FromCiliumLB || v.place != s.place || v.Protocol != 0 && v.Protocol != s.t.Protocol {
			continue
		}
		for _, b := range v.Backends {
			if b.Address.Addr() != n.address.Addr() || b.Address.Port() == 0 || b.Address == found.address {
				continue
			}
			if found.address.IsValid() {
				return n
			}
			found = numbered{b.Address, append(append([]record.Pos{}, n.at...), b.Pos)}
		}
	}
	if found.address.IsValid() {
		return found
	}
	return n
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

// accepted settles a number that contradicts the entry which carries the
// packets, where the server's own socket shows that it took them: the number
// was written anew, for packets to come.
func (r *resolver) accepted(c *conn, claims []claim) ([]claim, error) {
	if len(claims) != 2 || claims[0].note != "" || claims[1].note == "" {
		return claims, nil
	}
	list, err := r.socketsRemote(claims[0].after.Source)
	if err != nil {
		return claims, err
	}
	for _, k := range list {
		if p := r.placeOf[k.Section]; k.Protocol == c.protocol && k.Local == claims[0].after.Destination && p != nil && r.current[k.Section] && r.serverPlace(c, p) {
			c.against = "the service entry's number names " + claims[1].after.Destination.String() + " by now"
			claims[0].ts = append(claims[0].ts, claims[1].ts...) // it ties the service to the packets
			return claims[:1], nil
		}
	}
	return claims, nil
}

// numberedAs keeps, of the choices, those that have the address which the lost
// number of an entry stands for, where that is known without its port.
func (r *resolver) numberedAs(c *conn, list []choice) []choice {
	n := r.numbers[c.number]
	if !n.address.IsValid() {
		return list
	}
	var kept []choice
	for _, ch := range list {
		if ch.address.Addr() == n.address.Addr() {
			kept = append(kept, ch)
		}
	}
	return kept
}
