package resolve

import (
	"net/netip"
	"slices"
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
	// downs are the connections that the proxy took and may lead to the same
	// hosts, the one that is asked about among them.
	downs []down
	// dialling are the hosts with which a connection of the proxy is being
	// opened.
	dialling map[netip.AddrPort]bool
	// pairs tells of the downs, by the source that the proxy sees, which
	// upstream connection the sockets lay beside them.
	pairs map[netip.AddrPort]pairing
	// lined: each down is followed by its own upstream connection in the order
	// of inodes, and none is left over.
	lined bool
	// tunnels counts connections to other proxies that may carry many.
	tunnels int
	// open: the connection that is asked about was held all the time.
	open bool
	// whole: the listing shows the proxy's own sockets, so that one that is
	// not in it was not there.
	whole bool
}

// tunnelPort is where ztunnels, waypoints and gateways take tunnels (HBONE).
const tunnelPort = 15008

// controlPorts are those of Istio's control plane and of its agents: what a
// proxy or its agent holds there carries nobody's connection.
var controlPorts = map[uint16]bool{15000: true, 15004: true, 15010: true, 15012: true, 15014: true, 15017: true, 15020: true, 15021: true, 15053: true, 15090: true}

// legsKey is one group of connections that a proxy took: those that may lead
// to the hosts behind one address.
type legsKey struct {
	choiceKey
	into netip.AddrPort
}

// proxyLegs finds the connections of the proxy that took a connection: its
// sockets, and entries of the place's table that pass unchanged. They are the
// same for all connections of a group.
func (r *resolver) proxyLegs(c *conn, cur record.Tuple, s step, set choices) (legs, error) {
	key := legsKey{choiceKey{s.place, c.host, cur.Destination, c.protocol}, s.after.Destination}
	if l, ok := r.groups[key]; ok {
		return l, nil
	}
	l, err := r.readLegs(c, cur, s, set)
	if err == nil {
		r.groups[key] = l
	}
	return l, err
}

func (r *resolver) readLegs(c *conn, cur record.Tuple, s step, set choices) (l legs, err error) {
	taken, err := r.taken(s.place, s.after.Destination)
	if err != nil {
		return l, err
	}
	want := map[netip.AddrPort]bool{cur.Destination: true}
	for _, x := range set.list {
		want[x.address] = want[x.address] || !set.through // else it connects to what was dialled
	}
	found := map[record.Tuple]*upstream{}
	l.dialling = map[netip.AddrPort]bool{}
	l.whole = r.proxySockets(c, s, taken, func(k record.Socket) {
		t := record.Tuple{Source: k.Local, Destination: k.Remote}
		switch u := found[t]; {
		case k.State == "SYN_SENT":
			l.dialling[k.Remote] = true
		case u == nil:
			found[t] = &upstream{local: k.Local, remote: k.Remote, inode: k.Inode, socket: k.Pos}
		case u.inode == 0:
			u.inode = k.Inode
		}
	})
	if err := r.tableLegs(c, s.place, want, taken, found); err != nil {
		return l, err
	}
	dialled := map[netip.AddrPort]bool{}
	for _, t := range taken.by {
		dialled[t.dialled] = true
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
	for _, seen := range sortedEndpoints(taken.by) {
		if dst := taken.by[seen].dialled; dst == cur.Destination || !dst.IsValid() || r.shares(c, s.place, dst, want) {
			l.downs = append(l.downs, down{seen: seen, carries: dst.IsValid() && !r.proxyChoices(s.place, dst, c).http})
		}
	}
	if !set.http {
		r.pair(&l, s, found)
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
func (r *resolver) proxySockets(c *conn, s step, taken takenBy, f func(record.Socket)) (whole bool) {
	named := false
	for _, k := range r.inPlace(s.place) {
		named = named || strings.HasPrefix(k.Program, "envoy")
	}
	listening := len(s.place.listeners[listenKey{c.protocol, s.after.Destination.Port()}]) > 0
	for _, k := range r.inPlace(s.place) {
		if k.Local == s.after.Destination {
			whole = listening
		}
		if k.Protocol != c.protocol || k.Remote.Addr().IsLoopback() || k.Local.Addr().IsLoopback() ||
			len(s.place.listeners[listenKey{k.Protocol, k.Local.Port()}]) > 0 || r.proxyPort(s.place, k.Local.Port()) {
			continue
		}
		envoys := strings.HasPrefix(k.Program, "envoy")
		if (k.State == "ESTABLISHED" || k.State == "SYN_SENT") && (envoys || !named && k.Program == "" && !taken.owns(k.Local, k.Remote)) {
			f(k)
		}
	}
	return whole
}

// tableLegs adds what the table of a place shows of connections to hosts.
func (r *resolver) tableLegs(c *conn, p *place, want map[netip.AddrPort]bool, taken takenBy, found map[record.Tuple]*upstream) error {
	for a := range want {
		list, err := r.st.TranslationsServed(a)
		if err != nil {
			return err
		}
		for _, t := range list {
			if r.placeOf[t.Section] != p || !r.current[t.Section] || t.Protocol != c.protocol || t.Before != t.After || t.Via != record.ViaConntrack || t.Closing {
				continue
			}
			u := found[t.Before]
			if u == nil && taken.owns(t.Before.Source, t.Before.Destination) {
				continue
			}
			r.use(t.Pos)
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

// takenBy are connections that a proxy took.
type takenBy struct {
	// by has for each source, as the proxy sees it, who dialled what. Where
	// clients hold one port towards several addresses, the redirection gives
	// all but the first another. What was dialled is not valid where only the
	// proxy's accepted socket shows the connection.
	by map[netip.AddrPort]takenConn
	// clients are the clients' own addresses, with what each dialled.
	clients map[netip.AddrPort][]netip.AddrPort
}

// owns tells whether a connection is one that a client opened. The proxy may
// have the port of a client, towards another address.
func (t takenBy) owns(local, remote netip.AddrPort) bool {
	for _, dialled := range t.clients[local] {
		if dialled == remote || !dialled.IsValid() {
			return true
		}
	}
	return false
}

type takenConn struct{ client, dialled netip.AddrPort }

// taken are the connections that the proxy in a place took at one address.
func (r *resolver) taken(p *place, into netip.AddrPort) (takenBy, error) {
	if out, ok := r.takenAt[takenKey{p, into}]; ok {
		return out, nil
	}
	out := takenBy{by: map[netip.AddrPort]takenConn{}, clients: map[netip.AddrPort][]netip.AddrPort{}}
	for _, k := range r.inPlace(p) {
		if k.Local == into {
			out.by[k.Remote] = takenConn{client: k.Remote}
		}
	}
	for seen := range out.by {
		if dst := r.dialledFrom(p, seen); len(dst) == 1 {
			out.by[seen] = takenConn{client: seen, dialled: dst[0]}
		}
	}
	list, err := r.st.TranslationsServed(into)
	if err != nil {
		return out, err
	}
	for _, t := range list {
		if r.placeOf[t.Section] == p && r.current[t.Section] && t.Via == record.ViaConntrack && t.Before != t.After && !t.Closing {
			out.by[t.After.Source] = takenConn{client: t.Before.Source, dialled: t.Before.Destination}
		}
	}
	for _, t := range out.by {
		out.clients[t.client] = append(out.clients[t.client], t.dialled)
	}
	r.takenAt[takenKey{p, into}] = out
	return out, nil
}

// dialledFrom are the addresses to which sockets of a place lead from one of
// its own addresses.
func (r *resolver) dialledFrom(p *place, local netip.AddrPort) (out []netip.AddrPort) {
	for _, k := range r.byLocal(p)[local] {
		if !slices.Contains(out, k.Remote) {
			out = append(out, k.Remote)
		}
	}
	return out
}

// byLocal are the sockets of a place by their own address.
func (r *resolver) byLocal(p *place) map[netip.AddrPort][]record.Socket {
	out, ok := r.locals[p]
	if !ok {
		out = map[netip.AddrPort][]record.Socket{}
		for _, k := range r.inPlace(p) {
			out[k.Local] = append(out[k.Local], k)
		}
		r.locals[p] = out
	}
	return out
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
	set := r.proxyChoices(p, dst, c)
	if set.through {
		return hosts[dst]
	}
	for _, x := range set.list {
		if hosts[x.address] {
			return true
		}
	}
	return false
}

// open tells whether the proxy held a connection in all listings that show what
// it took: of one that began or ended meanwhile, the other half may be in none.
// Where no listing shows any, tables alone tell.
func (r *resolver) open(p *place, into, seen netip.AddrPort) bool {
	shown := map[int]bool{}
	for _, k := range r.byLocal(p)[into] {
		shown[k.Section] = shown[k.Section] || k.Remote == seen && k.State == "ESTABLISHED"
	}
	for _, has := range shown {
		if !has {
			return false
		}
	}
	return true
}

// acceptedAs is the proxy's own socket of a connection that it took.
func (r *resolver) acceptedAs(p *place, into, client netip.AddrPort) (record.Socket, bool) {
	for _, k := range r.byLocal(p)[into] {
		if k.Remote == client {
			return k, true
		}
	}
	return record.Socket{}, false
}
