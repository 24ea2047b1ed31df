package relay

import (
	"sort"

	"whichbackend/analyze/record"
)

// findAnnounced answers by PROXY headers: the upstream connection itself names
// the downstream one.
func (w *world) findAnnounced() []record.Translation {
	byTuple := map[record.Tuple][]*conn{}
	var upstream []*conn
	for i := range w.conns {
		if w.conns[i].announced >= 0 {
			byTuple[w.announced[w.conns[i].announced]] = nil
		}
	}
	if len(byTuple) == 0 {
		return nil
	}
	for i := range w.conns {
		c := &w.conns[i]
		t := w.tuple(c)
		if _, asked := byTuple[t]; asked {
			byTuple[t] = append(byTuple[t], c)
		}
	}
	for _, c := range w.outs {
		if c.announced >= 0 {
			upstream = append(upstream, c)
		}
	}
	claims := map[int32][]*conn{} // by the wire of the downstream connection
	view := map[int32]*conn{}
	for _, u := range upstream {
		if d := w.announcedBy(u, byTuple); d != nil {
			claims[d.wire] = append(claims[d.wire], u)
			view[d.wire] = d
		}
	}
	return w.settle(claims, view)
}

// announcedBy returns the one downstream connection that u's header names.
func (w *world) announcedBy(u *conn, byTuple map[record.Tuple][]*conn) *conn {
	var found *conn
	for _, d := range byTuple[w.announced[u.announced]] {
		if d.wire == u.wire || u.first < d.first || u.first > d.last+int64(connSlack) {
			continue
		}
		if found != nil && found.wire != d.wire {
			return nil
		}
		if found == nil || better(d, found) {
			found = d
		}
	}
	return found
}

// settle answers the downstream connections that one upstream connection
// claims; through a chain of proxies that all pass the header on, the one of
// the machine that was dialled.
func (w *world) settle(claims map[int32][]*conn, view map[int32]*conn) []record.Translation {
	wires := make([]int32, 0, len(claims))
	for wire := range claims {
		wires = append(wires, wire)
	}
	sort.Slice(wires, func(i, j int) bool { return wires[i] < wires[j] })
	in := w.insByWire()
	var all []record.Translation
	for _, wire := range wires {
		u := w.only(claims[wire], in[wire])
		if u == nil {
			w.abstained[WhySeveral]++
			continue
		}
		all = append(all, w.translation(view[wire], u, record.TierAnnounced))
		w.take(in[wire], u)
	}
	return all
}

func (w *world) only(claims []*conn, in *conn) *conn {
	if len(claims) == 1 {
		return claims[0]
	}
	var own *conn
	for _, u := range claims {
		if w.machines.of(u.source) != w.machines.of(in.destination) {
			continue
		}
		if own != nil {
			return nil
		}
		own = u
	}
	return own
}

// take marks connections as answered: in on its way down, out on its way up.
func (w *world) take(in, out *conn) {
	w.downDone[in.wire], w.upDone[out.wire] = true, true
}
