package resolve

import (
	"net/netip"
	"sort"

	"whichbackend/analyze/record"
	"whichbackend/store"
)

// fromCaptures resolves the connections that only captures know: conversations
// that no path has explained, the begin of a path before what it leads to.
func (r *resolver) fromCaptures(known []*conn, only map[netip.AddrPort]bool) ([]*conn, error) {
	if !r.captured {
		return nil, nil
	}
	groups, err := r.unexplainedFlows(only)
	if err != nil {
		return nil, err
	}
	behind, err := r.behindOthers()
	if err != nil {
		return nil, err
	}
	type ends struct {
		protocol record.Protocol
		tuple    record.Tuple
	}
	told := map[ends]bool{}
	for _, c := range known {
		told[ends{c.protocol, record.Tuple{Source: c.client, Destination: c.service}}] = true
	}
	var ids []int
	for id := range groups {
		ids = append(ids, id)
	}
	sort.Slice(ids, func(i, j int) bool {
		a, b := &groups[ids[i]][0], &groups[ids[j]][0]
		if x, y := behind[ids[i]], behind[ids[j]]; x != y {
			return y
		}
		return r.less(a.Pos, b.Pos)
	})
	var out []*conn
	for _, id := range ids {
		group := groups[id]
		head := r.nearest(group)
		if r.usedFlows[id] || r.mixed[head.Tuple] && oneWay(group) || head.Guessed && told[ends{head.Protocol, record.Tuple{Source: head.Tuple.Destination, Destination: head.Tuple.Source}}] {
			continue
		}
		r.usedFlows[id] = true
		c := &conn{protocol: head.Protocol, client: head.Tuple.Source, service: head.Tuple.Destination, state: stateFrom(&head.Flow), head: id, conversations: map[int]bool{id: true},
			apart: told[ends{head.Protocol, head.Tuple}]}
		r.seat(c, head.place)
		if err := r.resolve(c); err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// oneWay tells whether all views of a conversation saw one direction only.
func oneWay(group []view) bool {
	for i := range group {
		if group[i].Client.Packets > 0 && group[i].Server.Packets > 0 {
			return false
		}
	}
	return true
}

// unexplainedFlows groups the flows that no path has explained, by conversation
// and in the order of artifacts and packets.
func (r *resolver) unexplainedFlows(only map[netip.AddrPort]bool) (map[int][]view, error) {
	out := map[int][]view{}
	add := func(f *store.Flow) error {
		p := r.placeOf[f.Section]
		if p != nil && r.current[f.Section] && !r.usedFlows[f.Conversation] && f.Tuple.Source.IsValid() && (f.Protocol == record.TCP || f.Protocol == record.UDP || f.Protocol == record.SCTP) {
			out[f.Conversation] = append(out[f.Conversation], view{Flow: *f, place: p})
		}
		return nil
	}
	if only == nil {
		if err := r.st.Flows(add); err != nil {
			return nil, err
		}
	}
	for _, a := range sortedEndpoints(only) {
		list, err := r.st.FlowsFrom(a)
		if err != nil {
			return nil, err
		}
		for i := range list {
			if err := add(&list[i]); err != nil {
				return nil, err
			}
		}
	}
	for _, g := range out {
		sort.SliceStable(g, func(i, j int) bool { return r.less(g[i].Pos, g[j].Pos) })
	}
	return out, nil
}

// behindOthers are the conversations that captures show behind a NAT or a proxy
// from which another one leads to them.
func (r *resolver) behindOthers() (map[int]bool, error) {
	out := map[int]bool{}
	err := r.st.Behind(func(section, behind, conversation int) {
		if r.current[section] && r.current[behind] {
			out[conversation] = true
		}
	})
	return out, err
}

// nearest is the view of a conversation that lies nearest to its client: in the
// client's own namespace, on its host, else the first.
func (r *resolver) nearest(group []view) *view {
	best, rank := &group[0], 3
	for i := range group {
		v := &group[i]
		n := 2
		switch {
		case v.place.addrs[v.Tuple.Source.Addr()]:
			n = 0
		case r.nearClient(v.Tuple.Source.Addr(), v.place):
			n = 1
		}
		if n < rank {
			best, rank = v, n
		}
	}
	return best
}
