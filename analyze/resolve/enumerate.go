package resolve

import (
	"net/netip"
	"sort"
	"strings"

	"whichbackend/analyze/record"
)

// resolver finds and follows the connections of one case.
type resolver struct {
	*world
	byPlace      map[*place][]record.Socket
	remotes      map[netip.AddrPort]bool // of all sockets, as listed
	used         map[record.Pos]bool     // translations that some path explains
	usedSockets  map[socketKey]bool
	memo         map[netip.AddrPort][]record.Translation
	failed       error                 // the first error of reading what answers quote
	cut          map[string]int        // sockets left out, by artifact: whose address was cut is not known
	chosen       map[choiceKey]choices // what proxies may choose
	takenAt      map[takenKey]takenBy
	groups       map[legsKey]legs
	counted      map[*place]map[record.Tuple][2]*record.Socket
	locals       map[*place]map[netip.AddrPort][]record.Socket
	legs         map[socketKey]bool // connections of proxies that are part of other paths
	inbound      map[*place]bool    // places whose proxy's inbound side some path explains
	quoted       map[record.Pos]string
	captured     bool // captures of the case show conversations
	crossed      bool // and captures recognised some of them on two sides
	seenFrom     map[netip.AddrPort][]view
	crossingMemo map[netip.AddrPort][]record.Translation
	routers      map[netip.Addr]*place // see soleRouter
	usedFlows    map[int]bool          // conversations in captures that some path explains
	// mixed are tuples that a path has between two rewritings: the kernel shows
	// a reply with one of them undone and not yet the other.
	mixed map[record.Tuple]bool
	doc   struct { // the document that evidence was last quoted from
		artifact, line int
		root           any
	}
}

// socketKey is one socket of one namespace, however many listings show it.
type socketKey struct {
	place         *place
	protocol      record.Protocol
	local, remote netip.AddrPort
}

func newResolver(w *world) *resolver {
	return &resolver{world: w, cut: map[string]int{}, byPlace: map[*place][]record.Socket{}, used: map[record.Pos]bool{},
		usedSockets: map[socketKey]bool{}, memo: map[netip.AddrPort][]record.Translation{}, quoted: map[record.Pos]string{},
		chosen: map[choiceKey]choices{}, takenAt: map[takenKey]takenBy{}, groups: map[legsKey]legs{}, counted: map[*place]map[record.Tuple][2]*record.Socket{}, locals: map[*place]map[netip.AddrPort][]record.Socket{},
		legs: map[socketKey]bool{}, inbound: map[*place]bool{}, seenFrom: map[netip.AddrPort][]view{}, crossingMemo: map[netip.AddrPort][]record.Translation{}, routers: map[netip.Addr]*place{}, usedFlows: map[int]bool{}, mixed: map[record.Tuple]bool{}}
}

// keep remembers the first error of look-ups in the middle of an answer; the
// question ends with it.
func (r *resolver) keep(err error) {
	if r.failed == nil {
		r.failed = err
	}
}

func (r *resolver) use(p record.Pos) { r.used[p] = true }

func (r *resolver) useSocket(p *place, proto record.Protocol, local, remote netip.AddrPort) {
	r.usedSockets[socketKey{p, proto, local, remote}] = true
}

// from returns the translations of a source, remembering the last ones asked.
func (r *resolver) from(source netip.AddrPort) ([]record.Translation, error) {
	if list, ok := r.memo[source]; ok {
		return list, nil
	}
	if len(r.memo) > 64 {
		clear(r.memo)
	}
	list, err := r.st.TranslationsFrom(source)
	if err == nil {
		r.memo[source] = list
	}
	return list, err
}

func (r *resolver) socketsRemote(remote netip.AddrPort) ([]record.Socket, error) {
	if r.remotes != nil && !r.remotes[remote] {
		return nil, nil // most connections end where no sockets were listed
	}
	list, err := r.st.SocketsRemote(remote)
	sort.SliceStable(list, func(i, j int) bool { return r.less(list[i].Pos, list[j].Pos) })
	return list, err
}

func (r *resolver) inPlace(p *place) []record.Socket { return r.byPlace[p] }

// readSockets reads every socket that is an end of a connection.
func (r *resolver) readSockets() error {
	r.remotes = map[netip.AddrPort]bool{}
	err := r.st.Sockets(func(k *record.Socket) error {
		r.remotes[k.Remote] = true
		p := r.placeOf[k.Section]
		if p == nil || !r.current[k.Section] || k.State == "LISTEN" || k.Remote.Port() == 0 || k.State == "UNCONN" {
			return nil
		}
		r.complete6(k)
		if k.LocalCut != "" || k.RemoteCut != "" {
			r.cut[r.artifacts[r.sections[k.Section].Artifact].Path]++
		}
		if !k.Local.IsValid() || !k.Remote.IsValid() {
			return nil
		}
		r.byPlace[p] = append(r.byPlace[p], *k)
		return nil
	})
	for _, list := range r.byPlace {
		sort.SliceStable(list, func(i, j int) bool { return r.less(list[i].Pos, list[j].Pos) })
	}
	return err
}

// complete6 completes an address that netstat cut short, where exactly one
// address that the namespace or the services know begins with it.
func (r *resolver) complete6(k *record.Socket) {
	for _, end := range []struct {
		cut *string
		at  *netip.AddrPort
	}{{&k.LocalCut, &k.Local}, {&k.RemoteCut, &k.Remote}} {
		if *end.cut == "" {
			continue
		}
		a, ok := netip.Addr{}, false
		if end.cut == &k.LocalCut {
			a, ok = ownBeginsWith(r.placeOf[k.Section], *end.cut)
		}
		if !ok {
			a, ok = r.beginsWith(*end.cut)
		}
		if ok {
			*end.at, *end.cut = netip.AddrPortFrom(a, end.at.Port()), ""
		}
	}
}

// group is the sockets of one end in one namespace, one for each listing.
type group struct {
	key  socketKey
	list []record.Socket
}

// ends groups the sockets of all places by what they are, in a fixed order.
func (r *resolver) ends() []group {
	index := map[socketKey]int{}
	var out []group
	for _, p := range r.places {
		for _, k := range r.byPlace[p] {
			key := socketKey{p, k.Protocol, k.Local, k.Remote}
			i, ok := index[key]
			if !ok {
				i = len(out)
				index[key] = i
				out = append(out, group{key: key})
			}
			out[i].list = append(out[i].list, k)
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return lessEnd(out[i].key, out[j].key) })
	return out
}

func lessEnd(a, b socketKey) bool {
	if d := a.local.Compare(b.local); d != 0 {
		return d < 0
	}
	if d := a.remote.Compare(b.remote); d != 0 {
		return d < 0
	}
	if a.protocol != b.protocol {
		return a.protocol < b.protocol
	}
	return a.place.String() < b.place.String()
}

// isServer tells whether a socket is the accepted end of its connection.
func (r *resolver) isServer(g group) (bool, error) {
	k := g.key
	for _, l := range k.place.listeners[listenKey{k.protocol, k.local.Port()}] {
		if l.addr == k.local.Addr() || l.addr.IsUnspecified() {
			return true, nil
		}
	}
	for _, l := range k.place.listeners[listenKey{k.protocol, k.remote.Port()}] {
		if k.place.addrs[k.remote.Addr()] && (l.addr == k.remote.Addr() || l.addr.IsUnspecified()) {
			return false, nil
		}
	}
	out, err := r.from(k.local)
	if err != nil {
		return false, err
	}
	for _, t := range out {
		if t.Before.Destination == k.remote && !t.Ingress {
			return false, nil
		}
	}
	back, err := r.from(k.remote)
	if err != nil {
		return false, err
	}
	for _, t := range back {
		if t.Before.Destination == k.local || t.After.Destination == k.local {
			return true, nil
		}
	}
	if len(r.servicesAt(k.remote, k.protocol, vantage{})) > 0 && len(r.servicesAt(k.local, k.protocol, vantage{})) == 0 {
		return false, nil
	}
	// Nothing tells but the ports: clients take theirs from the ephemeral
	// range (Linux: 32768 and up), servers mostly from below.
	if local, remote := k.local.Port(), k.remote.Port(); local < 32768 != (remote < 32768) {
		return local < 32768, nil
	}
	return k.local.Port() < k.remote.Port(), nil
}

// connections finds every connection that the wanted filter lets pass, from
// its client's side, and resolves it.
func (r *resolver) connections(want *question) ([]*conn, error) {
	if err := r.readSockets(); err != nil {
		return nil, err
	}
	var err error
	if r.captured, r.crossed, err = r.st.HasFlows(); err != nil {
		return nil, err
	}
	only, err := r.clients(want)
	if err != nil {
		return nil, err
	}
	var out []*conn
	var servers []group
	for _, g := range r.ends() {
		if only != nil && !only[g.key.local] && !only[g.key.remote] {
			continue
		}
		server, err := r.isServer(g)
		if err != nil {
			return nil, err
		}
		if server {
			servers = append(servers, g)
			continue
		}
		if only != nil && !only[g.key.local] {
			continue
		}
		c := &conn{protocol: g.key.protocol, client: g.key.local, service: g.key.remote, place: g.key.place, host: g.key.place.host, sockets: g.list, state: stateOf(g.list)}
		r.useSocket(g.key.place, c.protocol, c.client, c.service)
		if err := r.resolve(c); err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	fromTables, err := r.fromTables(out, only)
	if err != nil {
		return nil, err
	}
	out = append(out, fromTables...)
	fromCaptures, err := r.fromCaptures(out, only)
	if err != nil {
		return nil, err
	}
	out = append(out, fromCaptures...)
	for _, g := range servers {
		if !r.usedSockets[g.key] {
			out = append(out, r.serverOnly(g))
		}
	}
	return r.withoutLegs(out), nil
}

func stateOf(list []record.Socket) string {
	for _, k := range list {
		if k.State == "ESTABLISHED" {
			return k.State
		}
	}
	return list[0].State
}

// fromTables resolves the connections that only tables know: entries that no
// path has explained and that are not themselves what another entry leads to.
func (r *resolver) fromTables(known []*conn, only map[netip.AddrPort]bool) ([]*conn, error) {
	left, after, err := r.unexplained(only)
	if err != nil {
		return nil, err
	}
	sort.SliceStable(left, func(i, j int) bool {
		if a, b := r.headRank(left[i], after), r.headRank(left[j], after); a != b {
			return a < b
		}
		return r.less(left[i].Pos, left[j].Pos)
	})
	var out []*conn
	type entry struct {
		place    *place
		protocol record.Protocol
		before   record.Tuple
	}
	seen := map[socketKey]bool{} // what clients' own sockets have shown
	for _, c := range known {
		if c.place != nil {
			seen[socketKey{c.place, c.protocol, c.client, c.service}] = true
		}
	}
	taken := map[entry]bool{} // a table read twice, or events: one connection
	for _, t := range left {
		e := entry{r.placeOf[t.Section], t.Protocol, t.Before}
		if r.used[t.Pos] || taken[e] {
			continue
		}
		taken[e] = true
		if ofZtunnel(t) && t.Ingress {
			if !r.sent(known, t) && !r.sent(out, t) {
				out = append(out, r.throughTunnel(t))
			}
			continue
		}
		c := &conn{protocol: t.Protocol, client: t.Before.Source, service: t.Before.Destination, state: t.State}
		r.seat(c, r.placeOf[t.Section])
		if t.Via == record.ViaEvent {
			c.state = "" // what a history said first is not how it stands
		}
		r.use(t.Pos)
		if seen[socketKey{c.place, c.protocol, c.client, c.service}] {
			continue
		}
		if err := r.resolve(c); err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// unexplained lists the entries that no path has explained, and what the tables
// make of connections.
func (r *resolver) unexplained(only map[netip.AddrPort]bool) (left []record.Translation, after map[record.Tuple]bool, err error) {
	after = map[record.Tuple]bool{}
	err = r.entries(only, func(t *record.Translation) error {
		if !r.current[t.Section] || t.Protocol != record.TCP && t.Protocol != record.UDP && t.Protocol != record.SCTP {
			return nil
		}
		if t.After != t.Before {
			after[t.After] = true
		}
		if t.Via == record.ViaZtunnelLog && !t.Ingress && !t.Before.Destination.IsValid() && t.After.Destination.IsValid() {
			if !r.used[t.Pos] {
				t.Before.Destination = r.dialledBy(*t)
			}
		}
		if !r.used[t.Pos] && t.Before.Source.IsValid() && t.Before.Destination.IsValid() && t.Before.Source.Port() != 0 && !t.Loopback && t.Event != "DESTROY" {
			left = append(left, *t)
		}
		return nil
	})
	return left, after, err
}

// headRank orders entries so that the begin of a path comes before what it
// leads to: rewriting entries first, then those that only pass, then those
// that another entry leads to or that the destination's side made.
func (r *resolver) headRank(t record.Translation, after map[record.Tuple]bool) int {
	rank := 0
	if t.After == t.Before && !t.Selects {
		rank = 2
	}
	if t.Via == record.ViaEvent {
		rank++
	}
	if p := r.placeOf[t.Section]; p != nil && !r.nearClient(t.Before.Source.Addr(), p) {
		rank += 4
	}
	if after[t.Before] {
		rank += 8
	}
	if t.Ingress {
		rank += 16
	}
	return rank
}

// nearClient tells whether a table is the client's own or its host's.
func (r *resolver) nearClient(a netip.Addr, p *place) bool {
	if p.addrs[a] {
		return true
	}
	o := r.ownerAt(a, p.host)
	return o != nil && o.host != "" && o.host == p.host
}

// seat places a client that only a table knows: in the workload's namespace
// that holds its address, else somewhere near the table.
func (r *resolver) seat(c *conn, table *place) {
	c.host = hostOf(table)
	a := c.client.Addr()
	if table != nil && table.addrs[a] || a.IsLoopback() {
		c.place = table
		return
	}
	holders := r.holders(a, c.host)
	if len(holders) == 1 && holders[0].workload() {
		c.place = holders[0]
		return
	}
	if o := r.ownerAt(a, c.host); o != nil && o.host != "" && o.host != c.host && len(holders) == 0 {
		// The client lives on another host; the table only saw it pass.
		all := r.holders(a, o.host)
		c.host = o.host
		if len(all) == 1 {
			c.place = all[0]
		}
	} else if len(holders) == 0 && o == nil {
		c.host = ""
		if len(r.holders(a, "")) == 1 {
			c.place = r.holders(a, "")[0]
			c.host = c.place.host
		} else {
			c.host = hostOf(table)
		}
	}
}

// serverOnly answers for a server's socket whose client side nothing shows.
func (r *resolver) serverOnly(g group) *conn {
	c := &conn{protocol: g.key.protocol, client: g.key.remote, service: g.key.local, host: "", state: stateOf(g.list), direct: true}
	c.final = record.Tuple{Source: c.client, Destination: c.service}
	c.servers = g.list
	c.verdict = Observed
	c.reason = "the server's socket names its peer; nothing in the bundle shows the client's side, so what the client dialled is not known"
	c.backends = []Backend{{Party: r.partyIn(c.service, g.key.place)}}
	if r.inboundPort(g.key.place, c.service.Port()) {
		r.inboundOnly(c, g)
	}
	if strings.HasPrefix(g.list[0].Program, "docker-proxy") {
		r.dockerProxyOnly(c, g.list[0])
	}
	c.gaps = append(c.gaps, Gap{Missing: "the client's side: sockets or connection tables of whoever holds " + c.client.Addr().String(),
		Effect: "the address that the client dialled, and the client behind a rewritten source, stay unknown"})
	return c
}

// dockerProxyOnly answers for a socket of docker-proxy whose client side nothing
// shows: it is no backend.
func (r *resolver) dockerProxyOnly(c *conn, accepted record.Socket) {
	c.direct, c.backends = false, nil
	s, ok := r.dockerProxy(c, accepted)
	if !ok {
		c.verdict, c.reason = Unknown, "docker-proxy accepted it, and which of its connections belongs to it is not known"
		return
	}
	c.servers = nil
	s.socket = accepted.Pos
	c.steps = append(c.steps, s)
	c.verdict, c.reason = Deduced, c.note
	c.backends = []Backend{{Party: r.partyAt(s.after.Destination, s.place)}}
}
