package match

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"whichbackend/analyze/record"
)

// worlds is how many random networks the property test builds.
const worlds = 300

// network is a random world of NATs: connections by several mechanisms, seen by
// hosts whose clocks differ and whose captures miss packets, among copies, scans
// and constants.
type network struct {
	*bench
	rng      *rand.Rand
	captured map[string]bool // which hosts captured
	lossy    float64
	next     int            // connection
	expected map[int]int    // steps that a clean capture shows
	kind     map[int]string // of connection
}

func newNetwork(seed uint64) *network {
	n := &network{bench: newBench(), rng: rand.New(rand.NewPCG(seed, 77)), captured: map[string]bool{}, expected: map[int]int{}, kind: map[int]string{}}
	for _, host := range []string{"client", "router", "node", "backend", "lab"} {
		n.captured[host] = n.rng.IntN(4) > 0
		if n.rng.IntN(2) == 0 {
			n.offsets[host] = time.Duration(n.rng.Int64N(int64(8*time.Minute))) - 4*time.Minute
		}
	}
	if n.rng.IntN(2) == 0 {
		n.lossy = 0.1
	}
	return n
}

func (n *network) traffic() traffic {
	n.next++
	t := traffic{protocol: record.TCP, id: n.next, start: noon.Add(time.Duration(n.rng.Int64N(int64(time.Minute)))),
		c: n.rng.Uint32() | 1<<20, s: n.rng.Uint32() | 1<<20, ipid: uint16(n.rng.IntN(65535) + 1), length: 30 * time.Millisecond,
		request: fmt.Sprintf("GET /%d HTTP/1.1\r\nHost: shop.example.org\r\nUser-Agent: a test\r\n\r\n", n.rng.IntN(3)), reply: "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nsame for all"}
	if n.rng.IntN(4) > 0 {
		t.stamp = n.rng.Uint32() | 1
	}
	if n.rng.IntN(12) == 0 {
		t.noAnswer, t.request = true, ""
	}
	return t
}

func (n *network) end(net byte, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, net, 0, byte(n.rng.IntN(6) + 2)}), port)
}

// damage is what happens to captures: lost packets, a late start, one direction.
func (n *network) damage(f *record.Flow) {
	if n.rng.Float64() >= n.lossy {
		return
	}
	switch n.rng.IntN(5) {
	case 0:
		midstream(f)
	case 1:
		oneWayOnly(f)
	case 2: // the SYN/ACK is missing
		s := &f.Server
		s.SYN, s.SYNs, s.ISN, s.SYNTime, s.Stamps, s.MSS, s.Scale = 0, 0, 0, time.Time{}, nil, 0, -1
	case 3: // the first SYN is missing, the second came a second later
		if f.Client.SYNs > 0 {
			f.Client.SYNTime = f.Client.SYNTime.Add(time.Second)
			f.Client.IPID++
			for i := range f.Client.Stamps {
				f.Client.Stamps[i] += 1000
			}
		}
	case 4: // the first request is missing
		f.Client.Begin, f.Client.BeginLength, f.Client.Data, f.Client.DataTime = 0, 0, 0, time.Time{}
	}
}

// whole keeps captures from missing anything, until what it returns is called.
func (n *network) whole() func() {
	lossy := n.lossy
	n.lossy = 0
	return func() { n.lossy = lossy }
}

func (n *network) place(t traffic, p spot) bool {
	if !n.captured[p.clock] {
		return false
	}
	n.see(t, p, n.damage)
	return true
}

// connect makes one connection by a random mechanism, and counts the steps that
// whoever captured can tell.
func (n *network) connect() {
	t := n.traffic()
	source := n.end(1, uint16(30000+n.rng.IntN(30000)))
	vip := record.Tuple{Source: source, Destination: n.end(96, 80)}
	real := record.Tuple{Source: source, Destination: n.end(2, 8080)}
	port := uint16(1024 + n.rng.IntN(60000))
	if n.rng.IntN(2) == 0 {
		port = source.Port()
	}
	behind := record.Tuple{Source: n.end(3, port), Destination: real.Destination}
	ways := map[string][]record.Tuple{"dnat": {vip, real}, "masquerade": {vip, behind}, "two": {vip, real, behind}, "direct": {real}, "synproxy": {vip, behind}, "bridge": {vip, real}}
	names := []string{"dnat", "masquerade", "two", "direct", "synproxy", "bridge"}
	name := names[n.rng.IntN(len(names))]
	if name == "synproxy" && t.noAnswer {
		name = "direct" // the proxy opens nothing behind
	}
	if n.rng.IntN(5) == 0 {
		t.protocol, t.stamp = record.UDP, 0
		t.request = fmt.Sprintf("%08x query of some length", n.rng.Uint64())
		t.reply = t.request + " and its answer"
		if name == "synproxy" {
			name = "dnat"
		}
	}
	n.kind[t.id] = name
	n.walk(t, name, ways[name])
}

// walk shows the connection to every host on its way.
func (n *network) walk(t traffic, name string, way []record.Tuple) {
	last := len(way) - 1
	shown := map[int]bool{}
	show := func(p spot) {
		p.tuple = way[p.leg]
		if name == "synproxy" && p.leg > 0 {
			p.s, p.proxied = t.s^0x33333333, true
		}
		if name == "bridge" {
			p.hops = 0
		}
		if n.place(t, p) {
			shown[p.leg] = true
		}
	}
	show(spot{clock: "client", capture: 0, distance: 10 * time.Microsecond})
	show(spot{clock: "router", capture: 1, distance: 100 * time.Microsecond})
	for leg := 1; leg <= last; leg++ {
		show(spot{clock: "router", capture: 1, leg: leg, distance: time.Duration(100+40*leg) * time.Microsecond, hops: uint8(leg)})
	}
	show(spot{clock: "router", capture: 1, leg: last, distance: 250 * time.Microsecond, hops: uint8(last), wrap: "vxlan 7"})
	show(spot{clock: "node", capture: 2, leg: last, distance: 300 * time.Microsecond, hops: uint8(last), wrap: "vxlan 7"})
	show(spot{clock: "backend", capture: 3, leg: last, distance: 400 * time.Microsecond, hops: uint8(last + 1)})
	if len(shown) > 1 && name != "bridge" {
		n.expected[t.id] = len(shown) - 1
	}
}

// nuisance adds what must not be taken for a NAT.
func (n *network) nuisance() {
	t := n.traffic()
	a := record.Tuple{Source: n.end(1, uint16(30000+n.rng.IntN(30000))), Destination: n.end(2, 8080)}
	b := record.Tuple{Source: n.end(7, a.Source.Port()), Destination: n.end(8, 8080)}
	first := spot{clock: "router", capture: 1, tuple: a, distance: 100 * time.Microsecond}
	copied := spot{clock: "lab", capture: 8, tuple: b, distance: 100 * time.Microsecond}
	switch n.rng.IntN(7) {
	case 0: // an anonymised copy of the file
		n.place(t, first)
		copied.clock = "router"
		n.copyOf(t, copied, 0)
	case 1: // a replay elsewhere, later
		n.place(t, first)
		n.copyOf(t, copied, time.Duration(n.rng.Int64N(int64(2*time.Hour))))
	case 2: // a replay on the same host
		n.place(t, first)
		copied.clock = "router"
		n.copyOf(t, copied, 20*time.Millisecond+time.Duration(n.rng.Int64N(int64(5*time.Second))))
	case 3: // a scan
		t.stamp, t.noAnswer, t.request = 0, true, ""
		for range 2 + n.rng.IntN(20) {
			t.id, t.ipid, n.next = n.next+1, uint16(n.rng.IntN(65536)), n.next+1
			t.start = t.start.Add(time.Duration(n.rng.Int64N(int64(time.Second / 3))))
			p := first
			p.tuple.Destination, p.hops = n.end(byte(n.rng.IntN(200)), uint16(n.rng.IntN(1000)+1)), uint8(n.rng.IntN(30))
			n.place(t, p)
		}
	case 4: // traffic mirrored to a host that answers, and is not heard
		t.noAnswer = false
		defer n.whole()() // of one direction alone nothing tells it from a NAT
		n.place(t, first)
		n.next++
		t.id, t.reply = n.next, ""
		mirror := spot{clock: "node", capture: 2, tuple: record.Tuple{Source: a.Source, Destination: b.Destination}, distance: 300 * time.Microsecond, hops: 1, s: t.s ^ 0x77777777}
		if n.rng.IntN(2) == 0 {
			mirror.clock, mirror.capture = "router", 1
		}
		n.place(t, mirror)
	case 5: // both sides of a NAT under rewritten addresses
		t.noAnswer = false
		defer n.whole()() // one side of each is a NAT by all signs
		n.walk(t, "masquerade", []record.Tuple{a, {Source: n.end(3, 1234), Destination: a.Destination}})
		t.id, n.next = n.next+1, n.next+1
		n.walk(t, "masquerade", []record.Tuple{b, {Source: n.end(9, 1234), Destination: b.Destination}})
		delete(n.expected, t.id-1)
		delete(n.expected, t.id)
	case 6: // constant numbers of the server, and of a health check its bytes
		for range 6 {
			c := n.traffic()
			c.s, c.request, c.reply = 2_011_920_363, "PING PING PING PING", "PONG"
			p := first
			p.tuple = record.Tuple{Source: n.end(1, uint16(30000+n.rng.IntN(30000))), Destination: n.end(2, 8080)}
			if n.rng.IntN(2) == 0 {
				c.protocol, c.ipid, c.stamp = record.UDP, 0, 0
			}
			n.place(c, p)
		}
	}
}

// copyOf shows a copy of the traffic as a connection of its own.
func (n *network) copyOf(t traffic, p spot, later time.Duration) {
	n.next++
	t.id, t.start = n.next, t.start.Add(later)
	n.place(t, p)
}

func TestEveryTranslationIsTrue(t *testing.T) {
	expected, found := map[string]int{}, map[string]int{}
	for seed := range uint64(worlds) {
		n := newNetwork(seed)
		for range 60 {
			if n.rng.IntN(5) == 0 {
				n.nuisance()
			} else {
				n.connect()
			}
		}
		r := n.find(nil)
		wrong, steps := n.check(r)
		for _, w := range wrong {
			t.Errorf("world %d: %s", seed, w)
		}
		if again := n.find(n.shuffled(n.rng.Shuffle)); !reflect.DeepEqual(r, again) {
			t.Errorf("world %d: another order of flows gives another result", seed)
		}
		quality := "clean "
		if n.lossy > 0 {
			quality = "lossy "
		}
		for id, want := range n.expected {
			expected[quality+n.kind[id]] += want
			found[quality+n.kind[id]] += min(want, steps[id])
		}
	}
	for kind, want := range expected {
		share := float64(found[kind]) / float64(want)
		t.Logf("%s: %d of %d steps found", kind, found[kind], want)
		if kind[:5] == "clean" && share < 0.99 || share < 0.93 {
			t.Errorf("%s: %.3f of %d steps found, want 0.99 of clean captures and 0.93 of lossy ones", kind, share, want)
		}
	}
}
