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
	socket        record.Pos           // of the proxy's own socket, zero when only a table shows it
	ts            []record.Translation // entries that saw it pass unchanged
}

// pos is where it is written.
func (u *upstream) pos() record.Pos {
	if u.socket != (record.Pos{}) {
		return u.socket
	}
	return u.ts[0].Pos
}

// legs are the connections that a proxy in a place holds, as far as they
// matter for one captured connection.
type legs struct {
	ups    []upstream // to hosts behind the address, or to the address itself
	strays []upstream // to hosts that no cluster explains: perhaps one that left it
	// clients counts the connections that the proxy took and may lead to the
	// same hosts, the one that is asked about among them.
	clients int
	// tunnels counts connections to other proxies that may carry many.
	tunnels int
	// whole: the listing shows the proxy's own sockets, so that one that is
	// not in it was not there.
	whole bool
}

// tunnelPort is where ztunnels, waypoints and gateways take tunnels (HBONE).
const tunnelPort = 15008

// controlPorts are those of Istio's control plane and of its agents: what a
// proxy or its agent holds there carries nobody's connection.
var controlPorts = map[uint16]bool{15000: true, 15004: true, 15010: true, 15012: true, 15014: true, 15017: true, 15020: true, 15021: true, 15053: true, 15090: true}

// proxyLegs finds the connections of the proxy that took a connection: its
// sockets, and entries of the place's table that pass unchanged.
func (r *resolver) proxyLegs(c *conn, cur record.Tuple, s step, set choices) (l legs, err error) {
	taken, err := r.taken(s.place, s.after.Destination)
	if err != nil {
		return l, err
	}
	want := map[netip.AddrPort]bool{cur.Destination: true}
	for _, x := range set.list {
		want[x.address] = true
	}
	found := map[record.Tuple]*upstream{}
	l.whole = r.proxySockets(c, s, taken, func(k record.Socket) {
		t := record.Tuple{Source: k.Local, Destination: k.Remote}
		if u := found[t]; u == nil {
			found[t] = &upstream{local: k.Local, remote: k.Remote, inode: k.Inode, socket: k.Pos}
		} else if u.inode == 0 {
			u.inode = k.Inode
		}
	})
	if err := r.tableLegs(c, s.place, want, taken, found); err != nil {
		return l, err
	}
	dialled := map[netip.AddrPort]bool{}
	for _, dst := range taken {
		dialled[dst] = true
	}
	for _, u := range found {
		switch {
		case want[u.remote]:
			l.ups = append(l.ups, *u)
		case u.remote.Port() == tunnelPort:
			l.tunnels++
		case dialled[u.remote]: // passed through, for whoever dialled that
		case !controlPorts[u.remote.Port()] && !r.otherCluster(s.place, u.remote):
			l.strays = append(l.strays, *u)
		}
	}
	sortUpstreams(l.ups)
	sortUpstreams(l.strays)
	for _, dst := range taken {
		if dst == cur.Destination || !dst.IsValid() || r.shares(c, s.place, dst, want) {
			l.clients++
		}
	}
	return l, nil
}

func sortUpstreams(list []upstream) {
	sort.Slice(list, func(i, j int) bool {
		if d := list[i].remote.Compare(list[j].remote); d != 0 {
			return d < 0
		}
		return list[i].local.Compare(list[j].local) < 0
	})
}

// proxySockets walks the sockets in a place that may be upstream ones of its
// proxy, and tells whether the listing shows the proxy's sockets.
func (r *resolver) proxySockets(c *conn, s step, taken map[netip.AddrPort]netip.AddrPort, f func(record.Socket)) (whole bool) {
	named := false
	for _, k := range r.inPlace(s.place) {
		named = named || strings.HasPrefix(k.Program, "envoy")
	}
	listening := len(s.place.listeners[listenKey{c.protocol, s.after.Destination.Port()}]) > 0
	for _, k := range r.inPlace(s.place) {
		if k.Local == s.after.Destination && k.Remote == s.after.Source {
			whole = listening
		}
		_, captured := taken[k.Local]
		if k.Protocol != c.protocol || captured || k.Remote.Addr().IsLoopback() || k.Local.Addr().IsLoopback() ||
			len(s.place.listeners[listenKey{k.Protocol, k.Local.Port()}]) > 0 || r.proxyPort(s.place, k.Local.Port()) {
			continue
		}
		envoys := strings.HasPrefix(k.Program, "envoy")
		if k.State == "ESTABLISHED" && (envoys || !named && k.Program == "") {
			f(k)
		}
	}
	return whole
}

// tableLegs adds what the table of a place shows of connections to hosts.
func (r *resolver) tableLegs(c *conn, p *place, want map[netip.AddrPort]bool, taken map[netip.AddrPort]netip.AddrPort, found map[record.Tuple]*upstream) error {
	for a := range want {
		list, err := r.st.TranslationsServed(a)
		if err != nil {
			return err
		}
		for _, t := range list {
			if r.placeOf[t.Section] != p || !r.current[t.Section] || t.Protocol != c.protocol || t.Before != t.After || t.Via != record.ViaConntrack || t.Closing {
				continue
			}
			if _, captured := taken[t.Before.Source]; captured {
				continue
			}
			r.use(t.Pos)
			u := found[t.Before]
			if u == nil {
				u = &upstream{local: t.Before.Source, remote: a}
				found[t.Before] = u
			}
			u.ts = append(u.ts, t)
		}
	}
	return nil
}

// takenKey is an address at which the proxy in a place takes connections.
type takenKey struct {
	place *place
	into  netip.AddrPort
}

// taken are the connections that the proxy in a place took at one address:
// for each client, what it dialled; not valid where only the proxy's accepted
// socket shows it.
func (r *resolver) taken(p *place, into netip.AddrPort) (map[netip.AddrPort]netip.AddrPort, error) {
	if out, ok := r.takenAt[takenKey{p, into}]; ok {
		return out, nil
	}
	out := map[netip.AddrPort]netip.AddrPort{}
	for _, k := range r.inPlace(p) {
		if k.Local == into {
			out[k.Remote] = netip.AddrPort{}
		}
	}
	for _, k := range r.inPlace(p) {
		if dst, ok := out[k.Local]; ok && !dst.IsValid() {
			out[k.Local] = k.Remote
		}
	}
	list, err := r.st.TranslationsServed(into)
	if err != nil {
		return nil, err
	}
	for _, t := range list {
		if r.placeOf[t.Section] == p && r.current[t.Section] && t.Via == record.ViaConntrack && t.Before != t.After && !t.Closing {
			out[t.Before.Source] = t.Before.Destination
		}
	}
	r.takenAt[takenKey{p, into}] = out
	return out, nil
}

// otherCluster tells whether a host is one of any cluster that the proxy knows.
func (r *resolver) otherCluster(p *place, host netip.AddrPort) bool {
	for _, s := range r.services {
		if s.place != p || s.Source != record.FromEnvoyCluster {
			continue
		}
		for _, b := range s.Backends {
			if b.Address == host {
				return true
			}
		}
	}
	return false
}

// shares tells whether another address may lead the proxy to the same hosts.
func (r *resolver) shares(c *conn, p *place, dst netip.AddrPort, hosts map[netip.AddrPort]bool) bool {
	for _, x := range r.proxyChoices(p, dst, c).list {
		if hosts[x.address] {
			return true
		}
	}
	return false
}

// acceptedAs is the proxy's own socket of a connection that it took.
func (r *resolver) acceptedAs(p *place, into, client netip.AddrPort) (record.Socket, bool) {
	for _, k := range r.inPlace(p) {
		if k.Local == into && k.Remote == client {
			return k, true
		}
	}
	return record.Socket{}, false
}

// opened is one socket that a proxy made, in the order of inodes: it accepted a
// connection, or opened one to an upstream host.
type opened struct {
	inode uint64
	up    *upstream // nil: it accepted
	stray bool
}

// opening lists the sockets of a proxy that may belong to connections to the
// hosts of a set.
func (r *resolver) opening(c *conn, cur record.Tuple, s step, set choices, l legs) ([]opened, error) {
	taken, err := r.taken(s.place, s.after.Destination)
	if err != nil {
		return nil, err
	}
	want := map[netip.AddrPort]bool{}
	for _, x := range set.list {
		want[x.address] = true
	}
	var out []opened
	seen := map[uint64]bool{}
	for _, k := range r.inPlace(s.place) {
		dst := taken[k.Remote]
		if k.Local == s.after.Destination && k.Inode != 0 && !seen[k.Inode] && (dst == cur.Destination || !dst.IsValid() || r.shares(c, s.place, dst, want)) {
			seen[k.Inode] = true
			out = append(out, opened{inode: k.Inode})
		}
	}
	for i := range l.ups {
		out = append(out, opened{inode: l.ups[i].inode, up: &l.ups[i]})
	}
	for i := range l.strays {
		out = append(out, opened{inode: l.strays[i].inode, up: &l.strays[i], stray: true})
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].inode < out[j].inode })
	for len(out) > 0 && out[0].inode == 0 {
		out = out[1:] // known from tables only
	}
	return out, nil
}

// pairUpstream pairs the accepted socket with an upstream one by the order of
// their inodes: the proxy opens the upstream right after it accepts, and the
// kernel numbers sockets in order. It counts only where the two are close
// neighbours and nothing around them interleaves.
func (r *resolver) pairUpstream(c *conn, cur record.Tuple, s step, set choices, l legs) (*upstream, string, error) {
	const near, apart = 4, 16
	mine, ok := r.acceptedAs(s.place, s.after.Destination, cur.Source)
	if !ok {
		return nil, "", nil
	}
	list, err := r.opening(c, cur, s, set, l)
	if err != nil {
		return nil, "", err
	}
	at := sort.Search(len(list), func(i int) bool { return list[i].inode >= mine.Inode })
	if mine.Inode == 0 || at+1 >= len(list) || list[at].up != nil {
		return nil, "", nil
	}
	next := list[at+1]
	switch {
	case next.up == nil || next.stray || next.inode > mine.Inode+near:
	case at > 0 && list[at-1].up == nil && list[at-1].inode+apart >= mine.Inode:
	case at+2 < len(list) && list[at+2].up != nil && list[at+2].inode <= mine.Inode+apart:
	default:
		return next.up, fmt.Sprintf("socket inodes: the proxy accepted the connection as %d and opened the upstream one as %d", mine.Inode, next.inode), nil
	}
	return nil, "", nil
}
