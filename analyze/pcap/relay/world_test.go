package relay_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sort"
	"time"

	"whichbackend/analyze/pcap/relay"
	"whichbackend/analyze/record"
)

// world describes made-up traffic through a proxy.
type world struct {
	seed     uint64
	clients  int // at once
	each     int // connections of each client
	requests int // of each connection
	pooled   bool
	sizes    string // "many", "few", "one"; "mixed": one or many
	begins   string // "unique", "few", "equal", "none"; "mixed": one or unique
	added    uint64 // bytes that the proxy adds to a request
	answered uint64 // and to an answer
	ids      bool   // the proxy hands x-request-id on
	header   bool   // the proxy sends PROXY headers
	hello    bool   // the clients speak TLS
	// missed is the share of flows that were not captured at all, cut of those
	// whose end was not, torn of requests that ran into the next by losses.
	missed, cut, torn float64
	told              bool // the capture tells its losses
	proxy, source     string
	client            string // the first client's address
}

// made is traffic and the truth about it.
type made struct {
	recorded
	place relay.Place
	told  bool
}

type maker struct {
	world
	made
	r     *rand.Rand
	port  uint16
	pos   int
	pools map[int][]*carrier
	hash  uint64
}

// carrier is an upstream connection while it is made.
type carrier struct {
	flow record.Flow
	free time.Time
}

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func (w world) make() *made {
	if w.proxy == "" {
		w.proxy = "10.1.0.1"
	}
	if w.source == "" {
		w.source = w.proxy
	}
	if w.client == "" {
		w.client = "10.9.0.1"
	}
	m := &maker{world: w, r: rand.New(rand.NewPCG(w.seed, 7)), port: 20000, pools: map[int][]*carrier{}}
	m.place = relay.Place{Capture: 1}
	m.truth = map[record.Tuple]map[record.Tuple]int{}
	m.made.told, m.connections = w.told, !w.pooled
	m.run()
	return &m.made
}

// client is one that opens connections one after the other.
type client struct {
	address netip.Addr
	next    time.Time
	flow    *record.Flow
	up      *carrier
	left    int // connections
	asked   int // requests on the present one
}

func (m *maker) run() {
	var all []*client
	address := netip.MustParseAddr(m.client)
	for i := 0; i < m.clients; i++ {
		all = append(all, &client{address: address, next: epoch.Add(m.gap(10)), left: m.each})
		address = address.Next()
	}
	for len(all) > 0 {
		next := 0
		for i, c := range all {
			if c.next.Before(all[next].next) {
				next = i
			}
		}
		if !m.step(all[next]) {
			all = append(all[:next], all[next+1:]...)
		}
	}
	for k := range 5 {
		for _, u := range m.pools[k] {
			m.finish(&u.flow, u.free.Add(time.Second))
		}
	}
	sort.Slice(m.flows, func(i, j int) bool { return m.flows[i].First.Before(m.flows[j].First) })
}

// gap is an exponential time with the mean in milliseconds.
func (m *maker) gap(mean float64) time.Duration {
	return time.Duration(m.r.ExpFloat64() * mean * float64(time.Millisecond))
}

func (m *maker) small() time.Duration { return 20*time.Microsecond + m.gap(0.2) }

// step does what the client does next; false when it is through.
func (m *maker) step(c *client) bool {
	switch {
	case c.flow == nil && c.left == 0:
		return false
	case c.flow == nil:
		c.left--
		c.asked = 0
		f := m.open(c.address.String(), m.proxy, 15001, c.next)
		c.flow = &f
		if !m.pooled {
			u := m.open(m.source, m.backend(), 8080, c.next.Add(m.small()))
			if m.header {
				u.Announced = f.Tuple
			}
			c.up = &carrier{flow: u}
			m.truth[f.Tuple] = map[record.Tuple]int{u.Tuple: 1}
		}
		c.next = c.next.Add(2 * m.small())
	case c.asked == m.requests:
		end := c.next
		m.finish(c.flow, end)
		if !m.pooled {
			m.finish(&c.up.flow, end.Add(m.small()))
		}
		c.flow = nil
		c.next = c.next.Add(m.gap(3))
	default:
		c.asked++
		m.ask(c)
	}
	return true
}

func (m *maker) backend() string { return fmt.Sprintf("10.2.0.%d", 2+m.r.IntN(5)) }

func (m *maker) open(source, destination string, port uint16, at time.Time) record.Flow {
	m.port++
	if m.port < 20000 {
		m.port = 20000
	}
	m.pos++
	f := record.Flow{
		Pos: record.Pos{Section: 1, Packet: m.pos}, Protocol: record.TCP, First: at, Last: at,
		Tuple: record.Tuple{
			Source:      netip.AddrPortFrom(netip.MustParseAddr(source), m.port),
			Destination: netip.AddrPortFrom(netip.MustParseAddr(destination), port),
		},
	}
	f.Client = record.Half{SYN: m.pos, ISN: m.r.Uint32(), Stamps: []uint32{m.r.Uint32()}}
	f.Server = record.Half{SYN: m.pos, ISN: m.r.Uint32(), Stamps: []uint32{m.r.Uint32()}}
	return f
}

func (m *maker) size() (up, down uint64) {
	switch {
	case m.sizes == "one", m.sizes == "mixed" && m.r.IntN(3) == 0:
		return 300, 5000
	}
	switch m.sizes {
	case "few":
		k := uint64(m.r.IntN(5))
		return 300 + 10*k, 5000 + 777*k
	}
	return 100 + m.r.Uint64N(900), 500 + m.r.Uint64N(7500)
}

// ask makes one request and its answer.
func (m *maker) ask(c *client) {
	start := c.next.Add(m.gap(2))
	u := c.up
	if m.pooled {
		u = m.carrier(start)
		if m.truth[c.flow.Tuple] == nil {
			m.truth[c.flow.Tuple] = map[record.Tuple]int{}
		}
		m.truth[c.flow.Tuple][u.flow.Tuple]++
	}
	up, down := m.size()
	up2 := up + m.added
	begin := uint64(4711)
	switch {
	case m.begins == "unique", m.begins == "mixed" && m.r.IntN(3) > 0:
		m.hash++
		begin = m.hash * 0x9e3779b97f4a7c15
	case m.begins == "few":
		begin += m.r.Uint64N(5)
	}
	sent := start.Add(m.small())
	x := record.Exchange{Start: start.Add(m.small()), Up: up2, Down: down + m.answered}
	x.Sent = sent.Add(m.small())
	if x.Sent.Before(x.Start) {
		x.Sent = x.Start
	}
	x.Answer = x.Sent.Add(m.gap(5))
	x.End = x.Answer.Add(m.small())
	e := record.Exchange{Start: start, Sent: sent, Answer: x.Answer.Add(m.small()), End: x.End.Add(m.small()), Up: up, Down: down}
	if e.End.Before(e.Answer) {
		e.End = e.Answer
	}
	if m.begins != "none" {
		e.Begin, x.Begin = begin, begin
	}
	if m.ids {
		e.RequestID = m.r.Uint64() | 1
		x.RequestID = e.RequestID
	}
	m.exchange(c.flow, e)
	m.exchange(&u.flow, x)
	u.free = x.End
	c.next = e.End
}

func (m *maker) carrier(at time.Time) *carrier {
	k := m.r.IntN(5)
	for _, u := range m.pools[k] {
		if u.free.Before(at) {
			return u
		}
	}
	u := &carrier{flow: m.open(m.source, fmt.Sprintf("10.2.0.%d", 2+k), 8080, at)}
	m.pools[k] = append(m.pools[k], u)
	return u
}

func (m *maker) exchange(f *record.Flow, e record.Exchange) {
	f.Client.Payload += e.Up
	f.Server.Payload += e.Down
	f.Last = e.End
	m.pos++
	e.Packet = m.pos
	if f.Exchanged == 0 && m.begins != "none" {
		f.Client.Begin, f.Client.BeginLength = e.Begin, 64
		f.HTTP = !m.hello
		if m.hello {
			f.Name = "service.example"
		}
	}
	f.Exchanged++
	if n := len(f.Exchanges); n > 0 && m.r.Float64() < m.torn {
		last := &f.Exchanges[n-1]
		last.Up, last.Down, last.End = last.Up+e.Up, last.Down+e.Down, e.End
		f.Exchanged--
		return
	}
	if len(f.Exchanges) < 256 {
		f.Exchanges = append(f.Exchanges, e)
	}
}

// finish closes a flow and captures it, or not.
func (m *maker) finish(f *record.Flow, at time.Time) {
	m.pos++
	if m.r.Float64() < m.missed {
		return
	}
	if m.r.Float64() < m.cut {
		f.Client.Payload -= min(f.Client.Payload, m.r.Uint64N(200))
		f.Server.Payload -= min(f.Server.Payload, m.r.Uint64N(2000))
	} else {
		f.Last, f.Client.FIN, f.Server.FIN = at, m.pos, m.pos
	}
	m.flows = append(m.flows, *f)
}

// join adds the traffic of another world, as of the same capture.
func (m *made) join(other *made) {
	for _, f := range other.flows {
		f.Packet += 1000000
		m.flows = append(m.flows, f)
	}
	for down, ups := range other.truth {
		m.truth[down] = ups
	}
}

// add gives the flows to relays in an order that the seed makes.
func (m *made) add(r *relay.Relays, seed uint64) {
	if m.told {
		r.AddInterface(&record.Interface{Lossy: true}, m.place)
	}
	for _, i := range rand.New(rand.NewPCG(seed, 1)).Perm(len(m.flows)) {
		r.Add(&m.flows[i], m.place)
	}
}

// find returns what is found and what it is worth.
func (m *made) find() (score, []record.Translation, map[string]int) {
	r := relay.New()
	m.add(r, 1)
	found := r.Find()
	return m.score(found), found, r.Abstained()
}
