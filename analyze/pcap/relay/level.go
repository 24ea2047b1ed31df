package relay

import (
	"cmp"
	"math"
	"slices"
	"sort"
	"time"
)

const (
	// leastBegin is how many of the first bytes must be known to compare them;
	// helloLength how many of a TLS greeting hold all of its random part.
	leastBegin  = 16
	helloLength = 43
	// leastBytes is how much must be sent for its size to say anything.
	leastBytes = 64
	// connSlack is how long after the client a proxy may close its upstream
	// connection, or how long the end of a connection may have been missed.
	connSlack = 2 * time.Second
	// requestSlack is how much later than on the client's side the end of an
	// answer may be seen on the upstream's: the packets of one host are stamped
	// in several queues.
	requestSlack = 200 * time.Microsecond
	// near is the time within which a size or a begin must stand alone, so that
	// what was not captured is unlikely to have had the same.
	near = 5 * time.Second
	// crowd bounds how many connections are looked at for one.
	crowd = 4096
)

// item is a connection, or a request of one, in the eyes of the matching.
type item struct {
	c                  *conn
	request            int32 // index in world.requests, -1 for a connection
	forwarded          uint32
	first, until, last int64
	up, down           uint64
	upBegin, downBegin uint64 // 0: not known
	id                 uint64
	upKept, downKept   uint8
	upExact, downExact bool
	done               bool
}

func (i *item) exact() bool { return i.upExact && i.downExact }

func connItem(c *conn, done bool) item {
	i := item{
		c: c, request: -1, first: c.first, last: c.last, until: c.last,
		up: c.up.bytes, down: c.down.bytes, upBegin: c.up.begin, downBegin: c.down.begin,
		upKept: c.up.kept, downKept: c.down.kept, upExact: c.up.exact, downExact: c.down.exact, done: done,
	}
	if !i.exact() {
		i.until += int64(connSlack)
	}
	return i
}

func requestItem(c *conn, q *request, n int) item {
	i := item{
		c: c, request: int32(n), forwarded: q.forwarded,
		first: q.start, last: q.end, until: q.end, up: q.up, down: q.down,
		upBegin: q.begin, id: q.id, upExact: q.answer != 0, downExact: q.answer != 0,
	}
	if q.begin != 0 {
		i.upKept = leastBegin
	}
	if q.answer == 0 {
		i.last = max(q.start, q.sent)
		i.until = i.last + int64(connSlack)
	}
	return i
}

// level matches the connections of one machine with each other, or the requests.
type level struct {
	w         *world
	requests  bool
	slack     int64
	ins, outs []item // sorted by time
	alive     tree   // of ins
	routes    map[route]*terms
	last      *terms              // asked for: most have one route
	byPort    map[uint16][]*terms // the routes to an upstream port
	// How many items each listener has, and each upstream port.
	byListener map[listener]int
	byUpstream map[uint16]int

	variedSizes, variedBegins bool // so many that few items share one

	insBySize, outsBySize, insByBegin, outsByBegin, insByID, outsByID index
}

// route is where a proxy listens, and the port that it dials.
type route struct {
	listener
	upstream uint16
}

// listener is an address and port that a proxy accepts connections at.
type listener struct {
	address uint32
	port    uint16
}

// terms is what is learned of a route.
type terms struct {
	route    route
	offsets  []offset // the first is none
	keepLine bool     // the first bytes stay what they are
	proven   int      // so many surer answers
	changed  bool     // most of what goes out has other sizes than what came in
	weak     bool     // the offset may be that of an application, not a proxy
	// whole: every item of the route was seen whole and has a counterpart.
	whole, weighed bool
}

// offset is what a proxy adds to the bytes of each direction.
type offset struct{ up, down int64 }

// newLevel takes items sorted by time.
func newLevel(w *world, requests bool, ins, outs []item) *level {
	l := &level{w: w, requests: requests, slack: int64(connSlack), ins: ins, outs: outs,
		routes: map[route]*terms{}, byPort: map[uint16][]*terms{},
		byListener: map[listener]int{}, byUpstream: map[uint16]int{}}
	if requests {
		l.slack = int64(requestSlack)
	}
	ends := make([]int64, len(ins))
	for i := range ins {
		ends[i] = ins[i].until
	}
	l.alive = newTree(ends)
	return l
}

// index makes what only matching looks into.
func (l *level) index() {
	for i := range l.ins {
		l.byListener[listenerOf(&l.ins[i])]++
	}
	for i := range l.outs {
		l.byUpstream[l.outs[i].c.destinationPort]++
	}
	l.insBySize, l.insByBegin, l.insByID = indexes(l.ins)
	l.outsBySize, l.outsByBegin, l.outsByID = indexes(l.outs)
}

// turn is when an item begins. Items are made in the order of their turns,
// since they are too large to be moved about by sorting.
type turn struct {
	first   int64
	c       *conn
	request int32
}

// order sorts by time.
func (w *world) order(turns []turn) {
	slices.SortFunc(turns, func(a, b turn) int {
		switch {
		case a.first != b.first:
			return cmp.Compare(a.first, b.first)
		case a.c == b.c:
			return cmp.Compare(a.request, b.request)
		}
		return w.compareTimes(a.c, b.c)
	})
}

func indexes(items []item) (size, begin, id index) {
	for i := range items {
		it := &items[i]
		if it.exact() {
			size = append(size, entry{mix(it.up, it.down), int32(i)})
		}
		if it.upKept >= leastBegin {
			begin = append(begin, entry{mix(it.upBegin, uint64(it.upKept)), int32(i)})
		}
		if it.id != 0 {
			id = append(id, entry{it.id, int32(i)})
		}
	}
	size.sort()
	begin.sort()
	id.sort()
	return size, begin, id
}

func listenerOf(in *item) listener { return listener{in.c.destination, in.c.destinationPort} }

// terms returns what is known of the way from in to out.
func (l *level) terms(in, out *item) *terms {
	r := route{listenerOf(in), out.c.destinationPort}
	if l.last != nil && l.last.route == r {
		return l.last
	}
	t := l.routes[r]
	if t == nil {
		t = &terms{route: r, offsets: []offset{{}}}
		l.routes[r] = t
		l.byPort[r.upstream] = append(l.byPort[r.upstream], t)
	}
	l.last = t
	return t
}

// fit says how an upstream item suits a downstream one.
type fit uint8

const (
	apart    fit = iota // it cannot be
	possible            // nothing speaks against it, but nothing for it
	sized               // all sizes are equal
	begun               // the first bytes are equal, and no size speaks against it
)

// inside says whether out lies in the time of in.
func (l *level) inside(in, out *item) bool {
	return in.c.wire != out.c.wire && out.first >= in.first && out.first <= in.until && out.last <= in.until+l.slack
}

// compare says how out suits in.
func (l *level) compare(in, out *item) fit {
	if !l.inside(in, out) {
		return apart
	}
	// The last address of X-Forwarded-For is the client's, when the proxy is
	// the one that added it.
	if out.forwarded != 0 && out.forwarded != in.forwarded && out.forwarded-1 != in.c.source {
		return apart
	}
	t := l.terms(in, out)
	best := apart
	for n, o := range t.offsets {
		f := l.compareWith(in, out, t, o, n > 0)
		if n == 0 && t.changed && f == sized {
			f = possible
		}
		best = max(best, f)
	}
	return best
}

func (l *level) compareWith(in, out *item, t *terms, o offset, learned bool) fit {
	equal, known := sameBegin(in, out)
	if known && !equal && (t.keepLine || !l.requests && o.up == 0) {
		return apart
	}
	if !l.requests && o.down == 0 && in.downKept == out.downKept && in.downBegin != out.downBegin {
		return apart
	}
	up := sizes(in.up, out.up, in.upExact, out.upExact, o.up)
	down := sizes(in.down, out.down, in.downExact, out.downExact, o.down)
	if up == apart || down == apart {
		return apart
	}
	if equal {
		// Of a connection that was not seen to its end the begin alone may be
		// that of a pool's, which goes on with the requests of others.
		if in.exact() && out.exact() || l.sameCourse(in, out) {
			return begun
		}
		return possible
	}
	if up == sized && down == sized && (learned || in.up+in.down >= leastBytes && in.up > 0 && in.down > 0) {
		return sized
	}
	return possible
}

// sameBegin compares the first bytes upwards; known is false where they do not
// compare.
func sameBegin(in, out *item) (equal, known bool) {
	if in.upKept < leastBegin || in.upKept != out.upKept {
		return false, false
	}
	return in.upBegin == out.upBegin, true
}

// sizes compares one direction: what was not captured to its end may be more.
func sizes(in, out uint64, inExact, outExact bool, o int64) fit {
	if in > math.MaxInt64/2 || out > math.MaxInt64/2 {
		return apart
	}
	gap := int64(out) - int64(in) - o
	switch {
	case inExact && outExact && gap == 0:
		return sized
	case inExact && gap > 0, outExact && gap < 0:
		return apart
	case inExact && outExact:
		return apart
	}
	return possible
}

// eachIn calls visit for the downstream items alive when out begins, the
// latest first. It returns false when it gave up in the crowd.
func (l *level) eachIn(out *item, visit func(*item) bool) bool {
	limit := sort.Search(len(l.ins), func(i int) bool { return l.ins[i].first > out.first })
	n := 0
	l.alive.each(limit, out.first, func(i int) bool {
		n++
		return n <= crowd && visit(&l.ins[i])
	})
	return n <= crowd
}

// eachOut calls visit for the upstream items that begin while in is alive.
func (l *level) eachOut(in *item, visit func(*item) bool) bool {
	from := sort.Search(len(l.outs), func(i int) bool { return l.outs[i].first >= in.first })
	for i := from; i < len(l.outs) && l.outs[i].first <= in.until; i++ {
		if i-from >= crowd {
			return false
		}
		if !visit(&l.outs[i]) {
			return true
		}
	}
	return true
}
