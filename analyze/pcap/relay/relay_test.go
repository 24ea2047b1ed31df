package relay_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"whichbackend/analyze/pcap/relay"
	"whichbackend/analyze/record"
)

var strong = []record.Tier{record.TierAnnounced, record.TierPayload, record.TierSizes}

// never fails when a sure answer is wrong, or more than one of a hundred that
// go by time.
func (s score) never(t *testing.T, name string) {
	t.Helper()
	for _, tier := range strong {
		if s.wrong[tier] > 0 {
			t.Errorf("%s: %d wrong by %s: %v", name, s.wrong[tier], tier, s.wrongs)
		}
	}
	if right, wrong := s.right[record.TierTiming], s.wrong[record.TierTiming]; wrong*100 > right+wrong {
		t.Errorf("%s: %d wrong by time, %d right: %v", name, wrong, right, s.wrongs)
	}
}

// least is the share of answers that a world without losses must give.
func (w world) least() float64 {
	switch {
	case w.missed > 0.1:
		return 0
	case w.begins == "unique" || w.sizes == "many":
		return map[bool]float64{false: 0.97, true: 0.7}[w.missed > 0]
	case w.missed > 0:
		return 0
	case w.clients == 1 && (w.begins == "equal" || w.sizes == "few" || !w.pooled):
		return 0.95
	case w.clients == 8 && w.sizes == "few":
		return 0.3
	}
	return 0
}

func TestWorlds(t *testing.T) {
	for n := 0; n < 2*3*3*4*4; n++ {
		w := world{
			seed: uint64(n), pooled: n%2 == 1, requests: 3, told: n%5 == 0,
			sizes:   []string{"many", "few", "one"}[n/2%3],
			begins:  []string{"unique", "equal", "none"}[n/6%3],
			clients: []int{1, 8, 64, 256}[n/18%4],
			missed:  []float64{0, 0, 0.05, 0.3}[n/72],
		}
		w.each = max(2, 120/w.clients)
		w.cut, w.torn = w.missed, w.missed/2
		w.told = w.told && w.missed == 0
		if w.pooled {
			w.added = 50
		}
		s, _, _ := w.make().find()
		name := fmt.Sprintf("%+v", w)
		s.never(t, name)
		if s.share() < w.least() {
			t.Errorf("%s: %.3f answered, want %.3f", name, s.share(), w.least())
		}
	}
}

// Flows that are much alike, some of them missed and nothing or something cut:
// the capture gives little sign that the ones left alone together are strangers.
func TestMissed(t *testing.T) {
	total := score{right: map[record.Tier]int{}, wrong: map[record.Tier]int{}}
	for seed := uint64(1); seed <= 600; seed++ {
		w := world{
			seed: seed, clients: 2 + int(seed%7), each: 2 + int(seed%5)*3, requests: 1 + int(seed%3), pooled: seed%2 == 0,
			sizes:  []string{"few", "one", "many", "mixed"}[seed/2%4],
			begins: []string{"equal", "none", "few", "mixed"}[seed/8%4],
			missed: 0.02 * float64(1+seed%6),
		}
		switch seed / 32 % 3 {
		case 1:
			w.cut = w.missed
		case 2: // cut at the edges of a capture that lost nothing
			w.cut, w.missed, w.told = w.missed, 0, true
		}
		s, _, _ := w.make().find()
		for _, tier := range append(strong, record.TierTiming) {
			total.wrong[tier] += s.wrong[tier]
			total.right[tier] += s.right[tier]
		}
		total.wrongs = append(total.wrongs, s.wrongs...)
	}
	total.never(t, "all")
	if total.right[record.TierTiming] < 500 || total.right[record.TierSizes] < 3000 || total.right[record.TierPayload] < 3000 {
		t.Errorf("few answers: %v", total.right)
	}
}

func TestAnnounced(t *testing.T) {
	for name, w := range map[string]world{
		"PROXY header":       {seed: 1, clients: 64, each: 4, requests: 2, sizes: "one", begins: "equal", header: true},
		"header, other side": {seed: 2, clients: 64, each: 4, requests: 2, sizes: "one", begins: "equal", header: true, source: "10.2.0.99"},
		"x-request-id":       {seed: 3, clients: 64, each: 4, requests: 3, sizes: "one", begins: "equal", pooled: true, ids: true, added: 37},
		"id, other side":     {seed: 4, clients: 64, each: 4, requests: 3, sizes: "one", begins: "equal", pooled: true, ids: true, source: "10.2.0.99"},
	} {
		s, _, _ := w.make().find()
		s.never(t, name)
		if s.right[record.TierAnnounced] != s.all {
			t.Errorf("%s: %d of %d: %v", name, s.right[record.TierAnnounced], s.all, s.right)
		}
	}
}

// The proxy dials from another address than it listens at.
func TestTwoAddresses(t *testing.T) {
	w := world{seed: 5, clients: 1, each: 60, requests: 2, sizes: "one", begins: "none", source: "10.2.0.99"}
	in, out := netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.2.0.99")
	m := w.make()
	if s, found, _ := m.find(); len(found) > 0 {
		t.Errorf("nothing shows that the addresses are one machine: %v", s.right)
	}
	told := relay.New()
	m.add(told, 1)
	told.Machine(m.place, in, out)
	if s := m.score(told.Find()); s.share() < 0.95 || len(s.wrongs) > 0 {
		t.Errorf("told that they are: %v %v", s.right, s.wrongs)
	}
	legs := relay.New()
	for i := range m.flows {
		f := m.flows[i]
		f.Leg = map[bool]string{true: "in", false: "out"}[f.Tuple.Destination.Addr() == in]
		legs.Add(&f, m.place)
	}
	if s := m.score(legs.Find()); s.share() < 0.95 || len(s.wrongs) > 0 {
		t.Errorf("by legs: %v %v", s.right, s.wrongs)
	}
	for name, w := range map[string]world{
		"tcp by sizes":   {seed: 6, clients: 64, each: 5, requests: 3, sizes: "many", begins: "none", source: "10.2.0.99"},
		"tcp by begins":  {seed: 7, clients: 64, each: 5, requests: 3, sizes: "one", begins: "unique", source: "10.2.0.99"},
		"tls, one":       {seed: 8, clients: 1, each: 1, requests: 1, sizes: "one", begins: "unique", hello: true, source: "10.2.0.99"},
		"http by sizes":  {seed: 9, clients: 64, each: 5, requests: 3, sizes: "many", begins: "none", pooled: true, added: 50, source: "10.2.0.99"},
		"http, answers":  {seed: 10, clients: 8, each: 20, requests: 3, sizes: "many", begins: "none", pooled: true, added: 50, answered: 41, source: "10.2.0.99"},
		"http by begins": {seed: 11, clients: 64, each: 5, requests: 3, sizes: "one", begins: "unique", pooled: true, added: 50, source: "10.2.0.99"},
	} {
		s, _, abstained := w.make().find()
		s.never(t, name)
		if s.share() < 0.97 {
			t.Errorf("%s: %.3f answered, %v", name, s.share(), abstained)
		}
	}
}

// Two proxies of one capture carry traffic of the same kind.
func TestTwoProxies(t *testing.T) {
	for _, pooled := range []bool{false, true} {
		a := world{seed: 12, clients: 32, each: 6, requests: 3, sizes: "many", begins: "equal", pooled: pooled}
		b := a
		b.seed, b.proxy, b.client = 13, "10.1.0.2", "10.9.1.1"
		m, other := a.make(), b.make()
		m.join(other)
		s, _, _ := m.find()
		s.never(t, "two")
		if s.share() < 0.97 {
			t.Errorf("pooled=%v: %.3f answered", pooled, s.share())
		}
	}
}

// What one proxy sends goes to another: each has its own answer.
func TestChain(t *testing.T) {
	for _, header := range []bool{false, true} {
		m := world{seed: 13, clients: 16, each: 8, requests: 2, sizes: "many", begins: "unique", header: header}.make()
		for _, u := range m.flows {
			if u.Tuple.Destination.Port() != 8080 {
				continue
			}
			v := deeper(u, u.Tuple.Destination.Addr().String(), "10.4.0.1")
			m.truth[u.Tuple] = map[record.Tuple]int{v.Tuple: 1}
			m.flows = append(m.flows, v)
		}
		s, _, _ := m.find()
		s.never(t, "chain")
		if s.share() < 0.97 || header && s.right[record.TierAnnounced] < s.all/2 {
			t.Errorf("header=%v: %.3f answered, %v", header, s.share(), s.right)
		}
	}
}

// deeper is a flow that carries on f.
func deeper(f record.Flow, source, destination string) record.Flow {
	const step = 10 * time.Microsecond
	f.Tuple.Source = netip.AddrPortFrom(netip.MustParseAddr(source), f.Tuple.Source.Port())
	f.Tuple.Destination = netip.AddrPortFrom(netip.MustParseAddr(destination), 9090)
	f.First, f.Last = f.First.Add(step), f.Last.Add(-step)
	f.Packet += 1000000
	f.Client.ISN, f.Server.ISN = f.Client.ISN*3+1, f.Server.ISN*3+1
	f.Client.Stamps = nil
	f.Exchanges = append([]record.Exchange(nil), f.Exchanges...)
	for i := range f.Exchanges {
		e := &f.Exchanges[i]
		e.Start, e.Sent, e.Answer, e.End = e.Start.Add(step), e.Sent.Add(step), e.Answer.Add(-step), e.End.Add(-step)
		e.Packet += 1000000
	}
	return f
}

// Whatever the order of Add, the answers are the same.
func TestOrder(t *testing.T) {
	for _, pooled := range []bool{false, true} {
		m := world{seed: 14, clients: 64, each: 4, requests: 3, sizes: "few", begins: "equal", pooled: pooled, missed: 0.05, source: "10.2.0.99"}.make()
		m.join(world{seed: 15, clients: 8, each: 10, requests: 3, sizes: "many", begins: "unique", pooled: pooled, proxy: "10.1.0.3", client: "10.9.2.1"}.make())
		var want []record.Translation
		for seed := uint64(1); seed <= 5; seed++ {
			r := relay.New()
			m.add(r, seed)
			got := r.Find()
			if seed == 1 {
				want = got
			}
			if !reflect.DeepEqual(got, want) || len(got) == 0 {
				t.Fatalf("pooled=%v: order %d gives %d answers, others than the %d of order 1", pooled, seed, len(got), len(want))
			}
			if again := r.Find(); !reflect.DeepEqual(again, want) {
				t.Fatalf("pooled=%v: asked again it answers otherwise", pooled)
			}
		}
	}
}

// Times of different clocks do not compare; what two clocks both show is one
// answer.
func TestClocks(t *testing.T) {
	m := world{seed: 16, clients: 8, each: 10, requests: 2, sizes: "many", begins: "unique"}.make()
	find := func(clock string, both bool) (score, int) {
		r := relay.New()
		for i := range m.flows {
			place := relay.Place{Capture: 1}
			if m.flows[i].Tuple.Destination.Port() == 8080 {
				place = relay.Place{Capture: 2}
			}
			if clock != "" {
				place.Clock = clock
			}
			r.Add(&m.flows[i], place)
			if both {
				r.Add(&m.flows[i], relay.Place{Capture: 3, Clock: "another"})
			}
		}
		found := r.Find()
		return m.score(found), len(found)
	}
	if _, n := find("", false); n != 0 {
		t.Errorf("%d answers across clocks", n)
	}
	if s, _ := find("node", false); s.share() < 0.97 {
		t.Errorf("two captures of one clock: %.3f", s.share())
	}
	if s, n := find("node", true); s.share() < 0.97 || n > s.all {
		t.Errorf("two clocks: %.3f in %d answers of %d", s.share(), n, s.all)
	}
}

// Two clocks that contradict each other leave no answer.
func TestDisagree(t *testing.T) {
	m := world{seed: 24, clients: 1, each: 30, requests: 1, sizes: "many", begins: "unique"}.make()
	r := relay.New()
	for i := range m.flows {
		f := m.flows[i]
		r.Add(&f, relay.Place{Capture: 1, Clock: "a"})
		if i%2 == 1 && i < 20 {
			f.Tuple.Destination = netip.MustParseAddrPort("10.2.0.66:8080")
		}
		r.Add(&f, relay.Place{Capture: 2, Clock: "b"})
	}
	s := m.score(r.Find())
	if s.right[record.TierPayload] != 20 || len(s.wrongs) > 0 || r.Abstained()["captures disagree"] != 10 {
		t.Errorf("%v %v %v", s.right, s.wrongs, r.Abstained())
	}
}

// The sidecars of two pods, captured in each pod: 127.0.0.1 is another machine
// in each.
func TestSidecars(t *testing.T) {
	r := relay.New()
	truth := &recorded{truth: map[record.Tuple]map[record.Tuple]int{}, connections: true}
	for pod, address := range []string{"10.244.0.5", "10.244.0.6"} {
		m := world{seed: 25, clients: 1, each: 40, requests: 1, sizes: "one", begins: "none", proxy: "127.0.0.1", source: address, client: address}.make()
		for i := range m.flows {
			f := m.flows[i]
			f.Client.ISN += uint32(pod)
			r.Add(&f, relay.Place{Capture: pod, Clock: "node"})
		}
		for down, up := range m.truth {
			truth.truth[down] = up
		}
	}
	if s := truth.score(r.Find()); s.share() < 0.95 || len(s.wrongs) > 0 {
		t.Errorf("%.3f answered, %v, %v", s.share(), r.Abstained(), s.wrongs)
	}
}

// An earlier connection of the announced tuple is not meant.
func TestAnnouncedTwice(t *testing.T) {
	m := world{seed: 26, clients: 1, each: 20, requests: 1, sizes: "one", begins: "equal", header: true}.make()
	for _, f := range append([]record.Flow(nil), m.flows...) {
		if f.Tuple.Destination.Port() == 15001 {
			f.First, f.Last = f.First.Add(-time.Hour), f.Last.Add(-time.Hour)
			f.Client.ISN, f.Server.ISN = f.Client.ISN+1, f.Server.ISN+1
			f.Client.Stamps = nil
			f.Packet += 1000000
			m.flows = append(m.flows, f)
		}
	}
	s, found, _ := m.find()
	if s.right[record.TierAnnounced] != 20 || len(found) != 20 {
		t.Errorf("%v", s.right)
	}
	for _, x := range found {
		if x.Packet > 1000000 {
			t.Errorf("packet %d is of the earlier connection", x.Packet)
		}
	}
}

// What the headers and the first bytes of an answer contradict is not answered.
func TestContradictions(t *testing.T) {
	for name, spoil := range map[string]func(f *record.Flow, i int){
		"the client of X-Forwarded-For is another": func(f *record.Flow, i int) {
			for j := range f.Exchanges {
				f.Exchanges[j].ForwardedFor = netip.MustParseAddr("10.9.9.9")
			}
		},
		"the first bytes of the answer are others": func(f *record.Flow, i int) {
			f.Server.Begin, f.Server.BeginLength = uint64(i+1), 64
			f.Exchanges = nil
		},
	} {
		w := world{seed: 27, clients: 1, each: 40, requests: 1, sizes: "many", begins: "unique"}
		w.pooled = name[0] == 't' && name[4] == 'c'
		for _, spoiled := range []bool{false, true} {
			m := w.make()
			for i := range m.flows {
				f := &m.flows[i]
				f.Server.Begin, f.Server.BeginLength = 5, 64
				if spoiled && f.Tuple.Destination.Port() == 8080 {
					spoil(f, i)
				}
			}
			if _, found, _ := m.find(); (len(found) == 0) != spoiled {
				t.Errorf("%s: %v: %d answers", name, spoiled, len(found))
			}
		}
	}
}

// A connection that was seen in several places is one.
func TestViews(t *testing.T) {
	m := world{seed: 17, clients: 32, each: 5, requests: 2, sizes: "many", begins: "none"}.make()
	for _, f := range append([]record.Flow(nil), m.flows...) {
		v := f
		v.Encapsulation, v.Packet = "vxlan 1", f.Packet+1000000
		v.First, v.Last = f.First.Add(30*time.Microsecond), f.Last.Add(30*time.Microsecond)
		m.flows = append(m.flows, v)
	}
	s, found, _ := m.find()
	s.never(t, "views")
	if s.share() < 0.97 || len(found) > s.all {
		t.Errorf("%.3f in %d answers of %d", s.share(), len(found), s.all)
	}
}

func TestAnswer(t *testing.T) {
	m := world{seed: 18, clients: 4, each: 3, requests: 4, sizes: "many", begins: "unique", pooled: true}.make()
	byTuple := map[record.Tuple]*record.Flow{}
	for i := range m.flows {
		byTuple[m.flows[i].Tuple] = &m.flows[i]
	}
	s, found, abstained := m.find()
	if s.share() != 1 || len(abstained) != 0 {
		t.Fatalf("%.3f answered, %v", s.share(), abstained)
	}
	for _, x := range found {
		down, up := byTuple[x.Before], byTuple[x.After]
		if x.Via != record.ViaCapture || !x.Relay || !x.Request || x.Requests != m.truth[x.Before][x.After] || x.Protocol != record.TCP || x.Timeout != -1 {
			t.Errorf("%+v", x)
		}
		if !hasPacket(down, x.Packet) || !hasPacket(up, x.Behind.Packet) || x.Section != down.Section || x.Behind.Section != up.Section {
			t.Errorf("packets %d and %d are not those of a request", x.Packet, x.Behind.Packet)
		}
		if x.Start.Before(down.First) || x.Start.Add(x.Duration).After(down.Last) || x.Duration <= 0 {
			t.Errorf("%v for %v is not within the connection", x.Start, x.Duration)
		}
	}
}

func TestOneRequest(t *testing.T) {
	m := world{seed: 28, clients: 4, each: 10, requests: 1, sizes: "many", begins: "unique", pooled: true, added: 50}.make()
	_, found, _ := m.find()
	for _, x := range found {
		if x.Request || x.Requests != 1 {
			t.Errorf("%v: Request %v, Requests %d", x.Before, x.Request, x.Requests)
		}
	}
	if len(found) != 40 {
		t.Errorf("%d answers", len(found))
	}
}

func hasPacket(f *record.Flow, packet int) bool {
	for _, e := range f.Exchanges {
		if e.Packet == packet {
			return true
		}
	}
	return false
}

// Every connection to the proxy is answered or counted.
func TestAbstained(t *testing.T) {
	m := world{seed: 19, clients: 64, each: 4, requests: 1, sizes: "few", begins: "equal", missed: 0.1, cut: 0.1}.make()
	_, found, abstained := m.find()
	n, downs := len(found), 0
	for _, x := range abstained {
		n += x
	}
	for i := range m.flows {
		if m.flows[i].Tuple.Destination.Port() == 15001 {
			downs++
		}
	}
	if n != downs || len(abstained) < 2 {
		t.Errorf("%d answered and %v, of %d", len(found), abstained, downs)
	}
}

// Nothing in a capture makes it panic, hang or answer a stranger.
func TestGarbage(t *testing.T) {
	r := rand.New(rand.NewPCG(20, 1))
	number := func() uint64 { return []uint64{0, 1, 64, 1 << 31, 1 << 62, 1<<64 - 1, r.Uint64N(5)}[r.IntN(7)] }
	moment := func() time.Time {
		return []time.Time{{}, epoch, epoch.Add(time.Duration(r.IntN(5))), time.Unix(0, 1<<63-1), time.Unix(0, -1<<63)}[r.IntN(5)]
	}
	x := relay.New()
	for range 3000 {
		f := record.Flow{Protocol: record.TCP, First: moment(), Last: moment(), Exchanged: int(number() & 0xffff), HTTP: r.IntN(2) == 0}
		f.Tuple.Source = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(3))}), uint16(r.IntN(4)))
		f.Tuple.Destination = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(3))}), uint16(r.IntN(4)))
		for _, h := range []*record.Half{&f.Client, &f.Server} {
			*h = record.Half{Payload: number(), SYN: r.IntN(2), FIN: r.IntN(2), ISN: uint32(number()), Begin: number(), BeginLength: int(number() & 0x7f)}
		}
		for range r.IntN(3) {
			f.Exchanges = append(f.Exchanges, record.Exchange{Start: moment(), Sent: moment(), Answer: moment(), End: moment(),
				Up: number(), Down: number(), Begin: number(), RequestID: number()})
		}
		x.Add(&f, relay.Place{Capture: r.IntN(2), Clock: "one"})
	}
	for _, f := range x.Find() {
		if rankOf(f.Tier) < 0 {
			t.Errorf("tier %q", f.Tier)
		}
	}
}

func rankOf(tier record.Tier) int {
	for i, x := range append(strong, record.TierTiming) {
		if x == tier {
			return i
		}
	}
	return -1
}
