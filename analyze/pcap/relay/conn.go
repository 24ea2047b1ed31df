package relay

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"whichbackend/analyze/record"
)

// conn is what the package keeps of a flow. Times are in nanoseconds since 1970.
type conn struct {
	section, packet             int
	source, destination         uint32 // numbers of addresses
	sourcePort, destinationPort uint16
	first, last                 int64
	up, down                    side   // what the client sent, what the server sent
	stamp                       uint32 // the client's first TSval, 0 when there is none
	wire                        int32  // the connection: views of one have one number
	announced                   int    // index in world.announced, -1 for none
	requests, requestsEnd       int    // range in world.requests
	exchanged                   int
	capture                     int
	legs                        legs
	hello                       bool // its first bytes are those of TLS
}

// legs are the ways that a connection was seen to pass through a capture of all
// interfaces, where it tells; legsUnclear for several captures or addresses.
type legs uint8

const (
	legIn legs = 1 << iota
	legOut
	legsUnclear
)

// side is one direction of a connection or of a request.
type side struct {
	bytes uint64
	begin uint64 // a hash of the first bytes, 0 when they are not known
	isn   uint32
	kept  uint8 // so many of the first bytes
	syn   bool
	// exact: its begin and its end were seen, so bytes are all that was sent.
	exact bool
}

// request is what the package keeps of an Exchange.
type request struct {
	packet                   int
	start, sent, answer, end int64
	up, down                 uint64
	begin, id                uint64
	forwarded                uint32 // number of the address plus 1, 0 for none
}

func half(h *record.Half) side {
	s := side{bytes: h.Payload, isn: h.ISN, syn: h.SYN > 0, exact: h.SYN > 0 && h.FIN > 0}
	if h.BeginLength > 0 {
		s.begin, s.kept = h.Begin, uint8(min(h.BeginLength, 255))
	}
	return s
}

func (r *Relays) request(e *record.Exchange, capture int) request {
	q := request{
		packet: e.Packet, start: nanoseconds(e.Start), sent: nanoseconds(e.Sent),
		answer: nanoseconds(e.Answer), end: nanoseconds(e.End),
		up: e.Up, down: e.Down, begin: e.Begin, id: e.RequestID,
	}
	if e.ForwardedFor.IsValid() {
		q.forwarded = r.number(e.ForwardedFor, capture) + 1
	}
	return q
}

// nanoseconds is t since 1970, 0 of the zero time.
func nanoseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// loss is what a capture tells of the packets that it lost.
type loss struct {
	untold  bool
	dropped uint64
}

// world holds the flows of one clock.
type world struct {
	name      string
	captures  map[int]bool
	conns     []conn
	requests  []request
	announced []record.Tuple
	losses    map[int]loss
	same      [][2]uint32
	addresses []netip.Addr
	abstained map[string]int

	// Made by find. ins and outs hold one conn for each wire: its last view
	// and its first, nearest to a proxy at its end and at its begin.
	// ins is sorted by time, outs by wire.
	ins, outs []*conn
	machines  machines
	// downDone and upDone tell of each wire whether it is answered as a whole:
	// as a downstream connection, and as an upstream one.
	downDone, upDone []bool
	legs             []legs // of each wire
	complete         bool   // the captures tell that they lost nothing
	dropped          bool   // the captures tell that they lost packets
}

// absorb takes in all of another world of the same clock.
func (w *world) absorb(o *world) {
	for _, c := range o.conns {
		c.requests += len(w.requests)
		c.requestsEnd += len(w.requests)
		if c.announced >= 0 {
			c.announced += len(w.announced)
		}
		w.conns = append(w.conns, c)
	}
	w.requests = append(w.requests, o.requests...)
	w.announced = append(w.announced, o.announced...)
	w.same = append(w.same, o.same...)
	for c := range o.captures {
		w.captures[c] = true
	}
	for c, l := range o.losses {
		if w.losses == nil {
			w.losses = map[int]loss{}
		}
		w.losses[c] = l
	}
}

// find answers what the flows of the clock show.
func (w *world) find() []record.Translation {
	w.weighLosses()
	w.fold()
	w.downDone, w.upDone = make([]bool, len(w.outs)), make([]bool, len(w.outs))
	w.machines = w.findMachines()
	var all []record.Translation
	all = append(all, w.findAnnounced()...)
	for _, g := range w.groups() {
		all = append(all, g.find()...)
	}
	return all
}

func (w *world) weighLosses() {
	w.complete, w.dropped = len(w.captures) > 0, false
	for c := range w.captures {
		l, told := w.losses[c]
		w.complete = w.complete && told && !l.untold && l.dropped == 0
		w.dropped = w.dropped || l.dropped > 0
	}
}

// fold makes one wire of the views of one connection: the same tuple at the
// same time, and, through a NAT, the same sequence numbers.
func (w *world) fold() {
	order := make([]*conn, len(w.conns))
	for i := range w.conns {
		order[i] = &w.conns[i]
	}
	slices.SortFunc(order, w.compareViews)
	var views []*conn // the best view of each tuple
	for i := 0; i < len(order); {
		best, j := order[i], i+1
		last := best.last
		for ; j < len(order) && sameTuple(best, order[j]) && order[j].first <= last+int64(time.Second); j++ {
			if !sameNumbers(best, order[j]) {
				break
			}
			last = max(last, order[j].last)
			if better(order[j], best) {
				best = order[j]
			}
		}
		for _, c := range order[i+1 : j] {
			order[i].legs |= c.legs
			if c.capture != order[i].capture {
				order[i].legs |= legsUnclear
			}
		}
		best.legs = order[i].legs
		views = append(views, best)
		i = j
	}
	w.wires(views)
}

// numbers are what a NAT leaves alone: both initial sequence numbers, or,
// through a SYN proxy, the client's and its timestamp.
type numbers struct{ client, other uint32 }

// maxViews bounds the views of one connection: more flows with the same
// numbers are the doing of a scanner or a replay.
const maxViews = 8

// wires numbers the connections and picks of each the views next to a proxy.
func (w *world) wires(views []*conn) {
	slices.SortFunc(views, w.compareTimes)
	both, stamped := map[numbers]int32{}, map[numbers]int32{}
	var groups [][]*conn
	for _, c := range views {
		c.wire = -1
		if c.up.syn && c.down.syn {
			c.wire = join(both, numbers{c.up.isn, c.down.isn}, groups, c)
		}
		if c.up.syn && c.stamp != 0 && c.wire < 0 {
			c.wire = join(stamped, numbers{c.up.isn, c.stamp}, groups, c)
		}
		if c.wire < 0 {
			c.wire = int32(len(groups))
			groups = append(groups, nil)
		}
		groups[c.wire] = append(groups[c.wire], c)
		if len(groups[c.wire]) > 1 {
			c.legs |= legsUnclear
		}
		if c.up.syn && c.down.syn {
			both[numbers{c.up.isn, c.down.isn}] = c.wire
		}
		if c.up.syn && c.stamp != 0 {
			stamped[numbers{c.up.isn, c.stamp}] = c.wire
		}
	}
	w.ins, w.outs = make([]*conn, 0, len(groups)), make([]*conn, 0, len(groups))
	w.legs = make([]legs, 0, len(groups))
	for _, g := range groups {
		w.legs = append(w.legs, g[len(g)-1].legs)
		w.ins = append(w.ins, g[len(g)-1])
		w.outs = append(w.outs, g[0])
	}
	slices.SortFunc(w.ins, w.compareTimes)
}

// insByWire returns ins in the order of their wires.
func (w *world) insByWire() []*conn {
	in := make([]*conn, len(w.ins))
	for _, c := range w.ins {
		in[c.wire] = c
	}
	return in
}

// join returns the wire that c is a view of, -1 for none.
func join(known map[numbers]int32, n numbers, groups [][]*conn, c *conn) int32 {
	wire, ok := known[n]
	if !ok || len(groups[wire]) >= maxViews || c.first-groups[wire][0].first > int64(3*time.Second) {
		return -1
	}
	return wire
}

// better prefers the view that saw more, and of equals the one with the lower
// position, so that the order of Add does not count.
func better(a, b *conn) bool {
	if x, y := score(a), score(b); x != y {
		return x > y
	}
	if x, y := a.up.bytes+a.down.bytes, b.up.bytes+b.down.bytes; x != y {
		return x > y
	}
	if a.section != b.section {
		return a.section < b.section
	}
	return a.packet < b.packet
}

func score(c *conn) int {
	n := 0
	for _, seen := range [...]bool{c.up.syn, c.down.syn, c.up.exact, c.down.exact, c.up.begin != 0, c.down.begin != 0} {
		if seen {
			n++
		}
	}
	return n
}

func sameTuple(a, b *conn) bool {
	return a.source == b.source && a.destination == b.destination &&
		a.sourcePort == b.sourcePort && a.destinationPort == b.destinationPort
}

// sameNumbers says that no sequence number tells a and b apart.
func sameNumbers(a, b *conn) bool {
	return (!a.up.syn || !b.up.syn || a.up.isn == b.up.isn) &&
		(!a.down.syn || !b.down.syn || a.down.isn == b.down.isn)
}

// compareViews orders by tuple, and the views of one by time.
func (w *world) compareViews(a, b *conn) int {
	return cmp.Or(w.compareTuples(a, b), cmp.Compare(a.first, b.first), comparePositions(a, b))
}

func (w *world) compareTimes(a, b *conn) int {
	if a.first != b.first {
		return cmp.Compare(a.first, b.first)
	}
	return cmp.Or(w.compareTuples(a, b), comparePositions(a, b))
}

func (w *world) timeBefore(a, b *conn) bool { return w.compareTimes(a, b) < 0 }

func comparePositions(a, b *conn) int {
	return cmp.Or(cmp.Compare(a.section, b.section), cmp.Compare(a.packet, b.packet))
}

func (w *world) compareTuples(a, b *conn) int {
	if a.source != b.source {
		return w.addresses[a.source].Compare(w.addresses[b.source])
	}
	if a.destination != b.destination {
		return w.addresses[a.destination].Compare(w.addresses[b.destination])
	}
	if a.sourcePort != b.sourcePort {
		return int(a.sourcePort) - int(b.sourcePort)
	}
	return int(a.destinationPort) - int(b.destinationPort)
}

func (w *world) tuple(c *conn) record.Tuple {
	return record.Tuple{
		Source:      netip.AddrPortFrom(w.addresses[c.source], c.sourcePort),
		Destination: netip.AddrPortFrom(w.addresses[c.destination], c.destinationPort),
	}
}

// translation is the statement that up carries on down.
func (w *world) translation(down, up *conn, tier record.Tier) record.Translation {
	return record.Translation{
		Pos:      record.Pos{Section: down.section, Packet: down.packet},
		Behind:   record.Pos{Section: up.section, Packet: up.packet},
		Protocol: record.TCP, Via: record.ViaCapture, Timeout: -1,
		Before: w.tuple(down), After: w.tuple(up),
		Tier: tier, Relay: true,
		Start: time.Unix(0, down.first).UTC(), Duration: time.Duration(down.last - down.first),
	}
}
