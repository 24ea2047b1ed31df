package diff

import (
	"net/netip"
	"slices"

	"whichbackend/analyze/record"
	"whichbackend/analyze/resolve"
)

// member is a backend of a service.
type member struct {
	group   string
	backend netip.AddrPort
}

// named says which listings name a backend before and which after. They are
// put together on the first question.
type named struct {
	before, after map[member][]view
	was, is       map[view]*said
}

func members(views map[view]*said) map[member][]view {
	out := map[member][]view{}
	for v, x := range views {
		for a := range x.backends {
			for _, g := range []string{v.group, ""} { // "": of any service
				out[member{g, a}] = append(out[member{g, a}], v)
			}
		}
	}
	return out
}

// outlived finds the connections that lead to a backend which is gone. Known
// tells of each connection after whether it was there before.
func (s *step) outlived(known []bool) {
	parties := map[string]resolve.Party{}
	for i := range s.before.conns {
		for _, b := range s.before.conns[i].backends {
			if old, ok := parties[b.Address]; !ok || old.Name == "" {
				parties[b.Address] = b
			}
		}
	}
	for j := range s.after.conns {
		c := &s.after.conns[j]
		if c.over() || c.byRequest || !c.settled() {
			continue
		}
		b := c.leadsTo()
		because := s.left(c, b)
		if len(because) == 0 {
			continue
		}
		backend := c.backend()
		if old, ok := parties[b]; ok && (backend.Name == "" || old.Kind == backend.Kind && old.Name != "") {
			backend = old
		}
		backend.Address = b
		s.Outlived = append(s.Outlived, Outlived{Step: s.n, Protocol: c.protocol, State: c.state, Client: c.client, Service: c.service,
			Backend: backend, Because: because, Evidence: append([]resolve.Evidence{}, c.evidence...), New: !known[j] && s.origin[j] == appeared})
	}
}

// leadsTo is the address that serves a connection, or that its entries lead it
// to where nothing answers.
func (c *conn) leadsTo() string {
	if b := c.backend(); b.Address != "" || !c.leads.IsValid() {
		return b.Address
	}
	return c.leads.String()
}

// gone tells whether a backend of a connection is none of its service's any more.
func (s *step) gone(c *conn, backend string) bool { return len(s.left(c, backend)) > 0 }

// left lists the listings that named a backend of a connection's service before
// and do not any more. It is empty when another listing still names it, or when
// one kind of listing that named it was not recorded again.
func (s *step) left(c *conn, backend string) []string {
	b, err := netip.ParseAddrPort(backend)
	if err != nil {
		return nil
	}
	if s.members == nil {
		was, is := s.before.views(), s.after.views()
		s.members = &named{members(was), members(is), was, is}
	}
	group := ""
	switch {
	case c.service.Kind == "service" && c.service.Name != "":
		group = groupName(c.service)
	case c.tuple.Destination != b:
		group = groupOf(s.names, c.ip, c.tuple.Destination)
	}
	where := member{group, b}
	if len(s.members.before[where]) == 0 {
		where.backend = netip.AddrPortFrom(b.Addr(), 0) // of the service's own port
	}
	for _, v := range s.members.after[where] {
		if s.members.is[v].backends[where.backend] != "terminating" {
			return nil
		}
	}
	var out []string
	again := map[record.Source]bool{}
	for _, v := range s.members.before[where] {
		l := &s.before.listings[s.members.was[v].listing]
		again[v.source] = again[v.source] || s.after.again(l) == ""
		y := s.members.is[v]
		if s.after.again(l) == "" && (y == nil || y.lists && y.complete) {
			out = append(out, "it is not in "+l.called()+" any more")
		}
	}
	for _, ok := range again {
		if !ok {
			return nil
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
