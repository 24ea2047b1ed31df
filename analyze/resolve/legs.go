package resolve

import (
	"fmt"
	"net/netip"
	"sort"

	"whichbackend/analyze/record"
)

// A proxy that passes TCP through has two connections for each that it serves:
// one that it took, here called down, and one that it opened, up. Nothing lists
// which belong together, but their sockets tell something of it:
//
//   - Bytes. What the proxy takes in on one it gives out on the other. With the
//     sockets read twice that bounds what a pair can have, whatever moved
//     meanwhile, so that others are out of the question. In one listing, which
//     is not read in one instant, the two ends of a pair may differ, and others
//     be equal by chance.
//   - Inodes. The proxy opens the upstream socket right after it accepts, and
//     each processor numbers its sockets in order. Where threads change the
//     processor in between, a neighbour is another's.
//
// docs/envoy.md has how often each was right and wrong with a real Envoy. What
// was ever wrong decides only together with another that says the same, and
// else orders the candidates.

// down is one connection that a proxy took.
type down struct {
	seen netip.AddrPort // its source, as the proxy sees it
	// carries: the proxy passes its bytes through as they are, as far as its
	// listeners tell.
	carries bool
}

// pairing is what the sockets say of one down: numbers of upstream
// connections, or -1.
type pairing struct {
	bound int // the only one that its bytes allow
	equal int // the only one with the same numbers of bytes
	next  int // the one opened next, by the inodes
	inode uint64
	bytes flow
}

// paired is the upstream connection that belongs to a down, where that is
// certain, and by what. A proxy that is not known to pass TCP through may use
// a connection again, for another.
func (l *legs) paired(seen netip.AddrPort, passesTCP bool) (*upstream, string) {
	p, ok := l.pairs[seen]
	switch {
	case !ok:
	case p.bound >= 0:
		return &l.ups[p.bound], fmt.Sprintf("byte counters, read twice: of %d upstream connections of the proxy only this one can have carried the %d bytes that it took from the client and the %d that it gave it",
			len(l.ups), p.bytes.read, p.bytes.written)
	case p.equal >= 0 && p.equal == p.next:
		return &l.ups[p.equal], fmt.Sprintf("byte counters and socket inodes agree: of %d upstream connections of the proxy only this one has carried the same numbers of bytes (%d and %d), and the proxy opened its socket (%d) right after it accepted the connection (%d)",
			len(l.ups), p.bytes.read, p.bytes.written, l.ups[p.next].inode, p.inode)
	case l.lined && passesTCP:
		return &l.ups[p.next], fmt.Sprintf("socket inodes, all in line: the proxy accepted the connection as %d and opened this upstream one as %d, and all %d connections that it took have their own one behind them so, and none is left over",
			p.inode, l.ups[p.next].inode, len(l.downs))
	}
	return nil, ""
}

// hint is why a host is likelier than others, where that does not decide.
type hint struct {
	why string
	pos record.Pos
}

// hints are what the sockets say for hosts as the other end of a down.
func (l *legs) hints(seen netip.AddrPort) map[netip.AddrPort]hint {
	out := map[netip.AddrPort]hint{}
	p, ok := l.pairs[seen]
	if ok && p.next >= 0 {
		u := &l.ups[p.next]
		out[u.remote] = hint{"likeliest: the proxy opened a socket to it right after it accepted this connection, by their inodes", u.pos()}
	}
	if ok && p.equal >= 0 {
		u := &l.ups[p.equal]
		why := "likely: of the proxy's connections only one to it has carried the same numbers of bytes"
		if h, both := out[u.remote]; both {
			why = h.why + "; " + why
		}
		out[u.remote] = hint{why, u.pos()}
	}
	return out
}

// elsewhere tells whether the proxy is about to connect to another host.
func (l *legs) elsewhere(host netip.AddrPort) bool {
	for a := range l.dialling {
		if a != host {
			return true
		}
	}
	return false
}

// flow is what a process has read from a socket and written to it. A row is not
// made in one instant either: it has had from read to taken, and has written
// from given to written.
type flow struct {
	read, taken    uint64
	given, written uint64
	waits          bool // not all that was written is acknowledged
}

// flowOf reads the counters of an established socket. What is acknowledged is
// better than what was sent: the kernel counts as sent twice what its own
// device did not take at first. It counts the SYN, where this end opened.
func flowOf(k *record.Socket, opened bool) *flow {
	if k == nil {
		return nil
	}
	f := &flow{read: k.BytesReceived - min(k.BytesReceived, uint64(max(k.RecvQ, 0))), taken: k.BytesReceived, waits: k.SendQ > 0}
	switch {
	case k.BytesAcked == 0: // an old kernel, or nothing yet
		f.given = k.BytesSent - min(k.BytesSent, uint64(max(k.SendQ, 0)))
		f.written = max(k.BytesSent, uint64(max(k.SendQ, 0)))
		return f
	case opened:
		f.given = k.BytesAcked - 1
	default:
		f.given = k.BytesAcked
	}
	f.written = f.given + uint64(max(k.SendQ, 0))
	return f
}

// reading is one socket as the first and the last listing with counters show
// it; nil where one does not.
type reading [2]*flow

// maxPairs bounds how many pairs are looked at in one group.
const maxPairs = 50_000_000

// pair lays the downs of a group beside its upstream connections.
func (r *resolver) pair(l *legs, s step, found map[record.Tuple]*upstream) {
	l.pairs = map[netip.AddrPort]pairing{}
	counts := r.readings(s.place)
	downs, ups := make([]reading, len(l.downs)), make([]reading, len(l.ups))
	for i, d := range l.downs {
		k := counts[record.Tuple{Source: s.after.Destination, Destination: d.seen}]
		downs[i] = reading{flowOf(k[0], false), flowOf(k[1], false)}
	}
	for i, u := range l.ups {
		k := counts[record.Tuple{Source: u.local, Destination: u.remote}]
		ups[i] = reading{flowOf(k[0], true), flowOf(k[1], true)}
	}
	next := r.nextByInode(l, s, found)
	l.lined = len(l.downs) == len(l.ups) && len(l.strays) == 0
	for i, d := range l.downs {
		p := pairing{bound: -1, equal: -1, next: -1}
		if n, ok := next[d.seen]; ok {
			p.next, p.inode = n.up, n.inode
		}
		l.lined = l.lined && p.next >= 0 && l.ups[p.next].inode == p.inode+1
		if k := downs[i][0]; k != nil {
			p.bytes = *k
		}
		l.pairs[d.seen] = p
	}
	if len(downs)*len(ups) > maxPairs {
		return
	}
	l.bind(downs, ups)
	l.compare(downs, ups)
	for _, p := range l.pairs {
		if p.bound >= 0 && p.bound != p.next || p.equal >= 0 && p.equal != p.next {
			l.lined = false // two threads changed places
		}
	}
}

// bind finds the downs to which exactly one upstream connection fits, which in
// its turn fits to no other. Where one that carried bytes fits to none at all,
// the proxy does not pass bytes on as they are (it encrypts, or speaks HTTP), and
// counters say nothing of anyone. One that a listing lacks may be its missing
// half.
func (l *legs) bind(downs, ups []reading) {
	type one struct{ n, last int }
	fit, of := make([]one, len(downs)), make([]one, len(ups))
	for i, d := range downs {
		for j, u := range ups {
			if d != (reading{}) && u != (reading{}) && fits(d, u) {
				fit[i], of[j] = one{fit[i].n + 1, j}, one{of[j].n + 1, i}
			}
		}
		if fit[i].n == 0 && d.answered() && l.downs[i].carries {
			return
		}
	}
	for j, u := range ups {
		if of[j].n == 0 && u.answered() {
			return
		}
	}
	for i, d := range downs {
		j := fit[i].last
		if fit[i].n == 1 && of[j].n == 1 && d.answered() && ups[j].answered() {
			p := l.pairs[l.downs[i].seen]
			p.bound = j
			l.pairs[l.downs[i].seen] = p
		}
	}
}

// answered tells whether a socket was read twice and had carried bytes both
// ways before: then its other half was connected.
func (x reading) answered() bool {
	return x[0] != nil && x[1] != nil && x[0].written > 0 && x[0].read > 0
}

// compare finds the downs whose numbers of bytes exactly one upstream
// connection has, and no other down.
func (l *legs) compare(downs, ups []reading) {
	type bytes struct{ taken, given uint64 }
	for at := range 2 {
		have, asked := map[bytes][]int{}, map[bytes]int{}
		for j, u := range ups {
			if k := u[at]; k != nil {
				b := bytes{k.written, k.read}
				have[b] = append(have[b], j)
			}
		}
		for _, d := range downs {
			if k := d[at]; k != nil {
				asked[bytes{k.read, k.written}]++
			}
		}
		for i, d := range downs {
			k := d[at]
			if k == nil || k.written == 0 {
				continue
			}
			b := bytes{k.read, k.written}
			p := l.pairs[l.downs[i].seen]
			switch {
			case len(have[b]) != 1 || asked[b] != 1:
			case p.equal >= 0 && p.equal != have[b][0]:
				p.equal = -2 // the listings disagree
			case p.equal == -1:
				p.equal, p.bytes = have[b][0], *k
			}
			l.pairs[l.downs[i].seen] = p
		}
	}
}

// fits tells whether two connections can be the two halves of one.
func fits(down, up reading) bool { return passedOn(down, up) && passedOn(up, down) }

// passedOn tells whether what was written to one connection can be what was
// read from the other. Nothing is written before it was read, and nothing that
// was read stays where the way on is free: the listings are far apart against
// the time that a proxy needs.
func passedOn(in, out reading) bool {
	if in[1] != nil && out[0] != nil && out[0].given > in[1].taken {
		return false
	}
	return in[0] == nil || out[1] == nil || out[1].waits || in[0].read <= out[1].written
}

// near is how far the inode of an upstream socket may be from that of the
// accepted one, as other sockets of the machine come in between.
const near = 4

// made is one socket that a proxy made: it accepted a connection, or opened one.
type made struct {
	inode uint64
	down  netip.AddrPort
	up    int // its number in the group, or of the one opened next; -1: none
}

// nextByInode finds for each down the upstream connection whose socket the
// proxy made next.
func (r *resolver) nextByInode(l *legs, s step, found map[record.Tuple]*upstream) map[netip.AddrPort]made {
	number := map[record.Tuple]int{}
	for i, u := range l.ups {
		number[record.Tuple{Source: u.local, Destination: u.remote}] = i
	}
	var order []made
	for t, u := range found {
		i, ok := number[t]
		if !ok {
			i = -1
		}
		if u.inode != 0 {
			order = append(order, made{inode: u.inode, up: i})
		}
	}
	seen := map[uint64]bool{}
	for _, k := range r.byLocal(s.place)[s.after.Destination] {
		if k.Inode != 0 && !seen[k.Inode] {
			seen[k.Inode] = true
			order = append(order, made{inode: k.Inode, down: k.Remote, up: -1})
		}
	}
	sort.Slice(order, func(i, j int) bool { return order[i].inode < order[j].inode })
	out := map[netip.AddrPort]made{}
	for i, m := range order {
		if m.down.IsValid() && i+1 < len(order) && order[i+1].up >= 0 && order[i+1].inode <= m.inode+near {
			m.up = order[i+1].up
			out[m.down] = m
		}
	}
	return out
}

// readings are the sockets of a place in the first and in the last listing
// that has counters. Listings are ordered by what they say: no counter goes
// back. Where they cannot be ordered there is but one.
func (r *resolver) readings(p *place) map[record.Tuple][2]*record.Socket {
	if out, ok := r.counted[p]; ok {
		return out
	}
	bySection := map[int][]*record.Socket{}
	var order []int
	counting := map[int]bool{}
	list := r.inPlace(p)
	for i := range list {
		k := &list[i]
		if bySection[k.Section] == nil {
			order = append(order, k.Section)
		}
		bySection[k.Section] = append(bySection[k.Section], k)
		counting[k.Section] = counting[k.Section] || k.BytesSent+k.BytesReceived > 0
	}
	out := map[record.Tuple][2]*record.Socket{}
	first, last := 0, 0
	for _, id := range order { // in the order of artifacts
		newest := bySection[first]
		if last != 0 {
			newest = bySection[last]
		}
		switch {
		case !counting[id]:
		case first == 0:
			first = id
		case before(newest, bySection[id]):
			last = id
		case before(bySection[id], bySection[first]):
			if last == 0 {
				last = first
			}
			first = id
		}
	}
	for at, id := range []int{first, last} {
		for _, k := range bySection[id] {
			if k.State != "ESTABLISHED" {
				continue // a FIN counts as a byte
			}
			t := record.Tuple{Source: k.Local, Destination: k.Remote}
			x := out[t]
			if x[0] == nil || at == 0 || x[0].Inode == k.Inode {
				x[at] = k
			}
			out[t] = x
		}
	}
	r.counted[p] = out
	return out
}

// before tells whether one listing may be older than another: no counter of a
// socket that both have is lower in the other.
func before(a, b []*record.Socket) bool {
	type key struct {
		local, remote netip.AddrPort
		inode         uint64
	}
	at := map[key]*record.Socket{}
	for _, k := range a {
		at[key{k.Local, k.Remote, k.Inode}] = k
	}
	for _, k := range b {
		if x := at[key{k.Local, k.Remote, k.Inode}]; x != nil && (x.BytesSent > k.BytesSent || x.BytesReceived > k.BytesReceived) {
			return false
		}
	}
	return true
}
