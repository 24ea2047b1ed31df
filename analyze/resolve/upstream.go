package resolve

import (
	"fmt"
	"net/netip"
	"sort"
	"strings"

	"whichbackend/analyze/record"
)

// upstream is one connection from a proxy to a backend.
type upstream struct {
	local, remote netip.AddrPort
	inode         uint64
	pos           record.Pos
	ts            []record.Translation
}

// upstreams are the proxy's own connections in a place to hosts of a set:
// sockets, and entries of the place's connection table that pass unchanged.
// listed is true when the place's sockets were recorded.
func (r *resolver) upstreams(p *place, c *conn, set choices) (ups []upstream, listed bool, err error) {
	want := map[netip.AddrPort]bool{}
	for _, x := range set.list {
		want[x.address] = true
	}
	if len(want) == 0 {
		return nil, false, nil
	}
	found := map[record.Tuple]*upstream{}
	for _, k := range r.inPlace(p) {
		listed = true
		if k.Protocol != c.protocol || !want[k.Remote] || k.State != "ESTABLISHED" || k.Program != "" && !strings.HasPrefix(k.Program, "envoy") {
			continue
		}
		t := record.Tuple{Source: k.Local, Destination: k.Remote}
		if u := found[t]; u == nil {
			found[t] = &upstream{local: k.Local, remote: k.Remote, inode: k.Inode, pos: k.Pos}
		} else if u.inode == 0 {
			u.inode = k.Inode
		}
	}
	for a := range want {
		list, err := r.st.TranslationsServed(a)
		if err != nil {
			return nil, listed, err
		}
		for _, t := range list {
			if r.placeOf[t.Section] != p || !r.current[t.Section] || t.Protocol != c.protocol || t.Before != t.After || t.Via != record.ViaConntrack || t.Closing {
				continue
			}
			r.use(t.Pos)
			u := found[t.Before]
			if u == nil {
				u = &upstream{local: t.Before.Source, remote: a, pos: t.Pos}
				found[t.Before] = u
			}
			u.ts = append(u.ts, t)
		}
	}
	for t, u := range found {
		if captured, err := r.isCaptured(p, t); err != nil {
			return nil, listed, err
		} else if !captured {
			ups = append(ups, *u)
		}
	}
	sort.Slice(ups, func(i, j int) bool {
		if d := ups[i].remote.Compare(ups[j].remote); d != 0 {
			return d < 0
		}
		return ups[i].local.Compare(ups[j].local) < 0
	})
	return ups, listed, nil
}

// isCaptured tells whether a connection of a place is itself redirected into
// the proxy, and so the application's own.
func (r *resolver) isCaptured(p *place, tuple record.Tuple) (bool, error) {
	list, err := r.from(tuple.Source)
	if err != nil {
		return false, err
	}
	for _, t := range list {
		if r.placeOf[t.Section] == p && t.Before == tuple && t.After != t.Before && !t.Selects && t.Via == record.ViaConntrack {
			return true, nil
		}
	}
	return false, nil
}

// pairUpstream pairs the accepted socket with an upstream one by the order of
// their inodes: the proxy opens the upstream right after it accepts, and the
// kernel numbers sockets in order. Only a close, unrivalled neighbour counts.
func (r *resolver) pairUpstream(cur record.Tuple, s step, ups []upstream) (*upstream, string) {
	const near = 4
	var accepted []record.Socket
	for _, k := range r.inPlace(s.place) {
		if k.Inode != 0 && k.Local.Port() == s.after.Destination.Port() && k.State == "ESTABLISHED" {
			accepted = append(accepted, k)
		}
	}
	var mine uint64
	for _, k := range accepted {
		if k.Remote == cur.Source {
			mine = k.Inode
		}
	}
	if mine == 0 {
		return nil, ""
	}
	var best *upstream
	for i := range ups {
		u := &ups[i]
		if u.inode <= mine || u.inode > mine+near {
			continue
		}
		if best != nil {
			return nil, ""
		}
		best = u
	}
	if best == nil {
		return nil, ""
	}
	for _, k := range accepted { // another accepted socket in between would be a rival
		if k.Inode > mine && k.Inode < best.inode {
			return nil, ""
		}
	}
	return best, fmt.Sprintf("socket inodes: the proxy accepted the connection as %d and opened the upstream one as %d", mine, best.inode)
}
