package relay_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"whichbackend/analyze/record"
)

// An application serves connections and opens others meanwhile, but carries on
// none of them.
func TestApplication(t *testing.T) {
	for name, alike := range map[string]bool{"questions of all sizes": false, "all alike": true} {
		for _, clients := range []int{1, 8} {
			m := world{seed: 21, clients: clients, each: 80 / clients, requests: 2, sizes: map[bool]string{false: "many", true: "one"}[alike], begins: "unique", ids: true, told: true}.make()
			r := rand.New(rand.NewPCG(21, 1))
			for i := range m.flows {
				if f := &m.flows[i]; f.Tuple.Destination.Port() == 8080 {
					asksItsOwn(f, r, alike)
				}
			}
			if _, found, _ := m.find(); len(found) > 0 {
				t.Errorf("%s, %d clients: %d answers, such as %+v", name, clients, len(found), found[0])
			}
		}
	}
}

// asksItsOwn makes other requests of those of a flow, with the same ids.
func asksItsOwn(f *record.Flow, r *rand.Rand, alike bool) {
	f.Client.Payload, f.Server.Payload = 0, 0
	f.Client.Begin = r.Uint64()
	for i := range f.Exchanges {
		e := &f.Exchanges[i]
		e.Begin, e.Up, e.Down = r.Uint64(), 80, 900
		if !alike {
			e.Up, e.Down = 50+r.Uint64N(500), 100+r.Uint64N(3000)
		}
		f.Client.Payload += e.Up
		f.Server.Payload += e.Down
	}
}

// Clients that do the same at the same time at two servers.
func TestLockstep(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		for _, sizes := range []string{"many", "one"} {
			a := world{seed: seed, clients: 1, each: 60, requests: 2, sizes: sizes, begins: "unique"}
			m := a.make()
			r := rand.New(rand.NewPCG(seed, 9))
			flows := m.flows[:0]
			for _, f := range m.flows {
				if f.Tuple.Destination.Port() == 8080 {
					continue
				}
				flows = append(flows, f)
			}
			n := len(flows)
			for _, f := range flows[:n:n] {
				g := deeper(f, "10.9.0.77", "10.1.0.77")
				jitter := func() time.Duration { return time.Duration(r.NormFloat64() * float64(time.Millisecond)) }
				g.First, g.Last = f.First.Add(jitter()), f.Last.Add(jitter())
				for i := range g.Exchanges {
					e := &g.Exchanges[i]
					e.Start, e.End = e.Start.Add(jitter()), e.End.Add(jitter())
				}
				flows = append(flows, g)
			}
			m.flows = flows
			if _, found, _ := m.find(); len(found) > 0 {
				t.Errorf("seed %d, sizes %s: %d answers, such as %v", seed, sizes, len(found), found[0].Before)
			}
		}
	}
}

// A node that masquerades has the packets of one connection under two tuples:
// that is a NAT's doing, with the same sequence numbers, and no proxy's.
func TestMasquerade(t *testing.T) {
	m := world{seed: 22, clients: 8, each: 10, requests: 2, sizes: "many", begins: "unique", told: true}.make()
	var flows []record.Flow
	for i, f := range m.flows {
		if f.Tuple.Destination.Port() == 8080 {
			continue
		}
		g := deeper(f, "10.1.0.1", "10.2.0.2")
		g.Client.ISN, g.Server.ISN = f.Client.ISN, f.Server.ISN
		s := deeper(f, "10.1.0.1", "10.2.0.3") // the same through a SYN proxy
		s.Client.ISN, s.Client.Stamps = f.Client.ISN, f.Client.Stamps
		if i%3 == 0 {
			g = s
		}
		flows = append(flows, f, g)
	}
	m.flows = flows
	if _, found, _ := m.find(); len(found) > 0 {
		t.Errorf("%d answers, such as %+v", len(found), found[0])
	}
}

// One client that asks a server while it asks another, and two clients of one
// server: nested, of the same sizes, with the same first lines, and no proxy.
func TestTwoOfOne(t *testing.T) {
	for name, other := range map[string][2]string{"one client": {"10.9.0.1", "10.1.0.77"}, "one server": {"10.9.0.77", "10.1.0.1"}} {
		m := world{seed: 29, clients: 1, each: 60, requests: 2, sizes: "many", begins: "unique"}.make()
		var flows []record.Flow
		for _, f := range m.flows {
			if f.Tuple.Destination.Port() != 8080 {
				flows = append(flows, f, deeper(f, other[0], other[1]))
			}
		}
		m.flows = flows
		if _, found, _ := m.find(); len(found) > 0 {
			t.Errorf("%s: %d answers, such as %v", name, len(found), found[0].Before)
		}
	}
}

// An application that asks others what it is asked itself (a health check that
// goes deep) is taken for a proxy by time at most.
func TestDeepHealthCheck(t *testing.T) {
	m := world{seed: 30, clients: 1, each: 40, requests: 2, sizes: "one", begins: "equal", pooled: true, added: 33, told: true}.make()
	_, found, _ := m.find()
	for _, x := range found {
		if x.Tier != record.TierTiming {
			t.Fatalf("%v by %s", x.Before, x.Tier)
		}
	}
}

// An application beside a proxy, whose connections were cut, is not answered by
// time as the proxy's are.
func TestApplicationBesideProxy(t *testing.T) {
	m := world{seed: 31, clients: 1, each: 40, requests: 1, sizes: "many", begins: "none"}.make()
	app := world{seed: 32, clients: 1, each: 40, requests: 1, sizes: "many", begins: "none", client: "10.9.5.1"}.make()
	for i := range app.flows {
		f := &app.flows[i]
		f.First, f.Last = f.First.Add(time.Hour), f.Last.Add(time.Hour)
		f.Client.FIN, f.Server.FIN, f.Exchanges, f.Exchanged = 0, 0, nil, 0
		port := uint16(7000)
		if f.Tuple.Destination.Port() == 8080 {
			port = 5432
		}
		f.Tuple.Destination = netip.AddrPortFrom(f.Tuple.Destination.Addr(), port)
	}
	m.join(app)
	_, found, _ := m.find()
	for _, x := range found {
		if x.Before.Destination.Port() != 15001 {
			t.Fatalf("%v -> %v by %s", x.Before, x.After, x.Tier)
		}
	}
	if len(found) < 39 {
		t.Errorf("%d answers of the proxy", len(found))
	}
}

// A few bytes are equal by chance.
func TestTiny(t *testing.T) {
	m := world{seed: 33, clients: 1, each: 1, requests: 1, sizes: "many", begins: "none", told: true}.make()
	for i := range m.flows {
		m.flows[i].Client.Payload, m.flows[i].Server.Payload = 6, 7
		m.flows[i].Exchanges, m.flows[i].Exchanged = nil, 0
	}
	if _, found, _ := m.find(); len(found) > 0 {
		t.Errorf("%v", found[0])
	}
}

// A prober asks all servers the same, also from their own machines.
func TestProber(t *testing.T) {
	r := rand.New(rand.NewPCG(23, 1))
	m := &made{recorded: recorded{truth: map[record.Tuple]map[record.Tuple]int{}}}
	w := &maker{world: world{sizes: "one"}, r: r, port: 20000}
	at := epoch
	for i := range 300 {
		at = at.Add(w.gap(4))
		source := netip.AddrFrom4([4]byte{10, 1, 0, byte(i % 4)})
		f := w.open(source.String(), netip.AddrFrom4([4]byte{10, 1, 0, byte((i + 1) % 4)}).String(), 8080, at)
		f.Last = at.Add(w.gap(6))
		f.Client.Payload, f.Client.FIN, f.Client.Begin, f.Client.BeginLength = 120, 1, 99, 64
		f.Server.Payload, f.Server.FIN, f.Server.Begin, f.Server.BeginLength = 240, 1, 98, 64
		f.HTTP, f.Exchanged = true, 1
		f.Exchanges = []record.Exchange{{Packet: i + 1, Start: at, Sent: at, Answer: f.Last, End: f.Last, Up: 120, Down: 240, Begin: 97}}
		m.flows = append(m.flows, f)
	}
	if _, found, _ := m.find(); len(found) > 0 {
		t.Errorf("%d answers, such as %+v", len(found), found[0])
	}
}
