package match

import (
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"whichbackend/analyze/record"
)

// TestWhatIsOneConnection holds scenes of a few flows against what they show.
func TestWhatIsOneConnection(t *testing.T) {
	for _, c := range slices.Concat(nats, traps) {
		t.Run(c.name, func(t *testing.T) {
			b := newBench()
			c.build(b)
			r := b.find(nil)
			if got := told(r); !slices.Equal(got, c.want) {
				t.Errorf("told %q, want %q (ambiguous: %+v, skews %+v)", got, c.want, r.Ambiguous, r.Skews)
			}
		})
	}
}

func TestViewsAreOneConversation(t *testing.T) {
	b := newBench()
	wrapped := routerOut(toBackend, 1)
	wrapped.wrap = "vxlan 1"
	b.offsets["backend"] = 42 * time.Second
	b.see(web(), routerIn(toVIP))                    // 1
	b.see(web(), routerOut(toBackend, 1))            // 2
	b.see(web(), wrapped)                            // 3
	b.see(web(), atBackend(toBackend, 1))            // 4
	b.see(web(), atBackend(toBackend, 1), midstream) // 5
	b.see(web(), routerIn(toVIP), oneWayOnly)        // 6
	again := web()                                   // the same ports a second later
	again.start, again.c, again.s = noon.Add(time.Second), 444_444_444, 555_555_555
	b.see(again, routerIn(toVIP))         // 7
	b.see(again, routerOut(toBackend, 1)) // 8
	b.see(dns(), routerIn(toVIP))         // 9
	b.see(dns(), atClient(toVIP))         // 10
	redialled := bare(web())              // a client whose numbers are constant
	redialled.start, redialled.c = noon.Add(time.Hour), 666_666_666
	b.see(redialled, routerIn(toVIP)) // 11
	redialled.s++
	b.see(redialled, routerIn(toVIP)) // 12
	r := b.find(nil)
	want := [][]int{{1, 6}, {2, 3, 4, 5}, {9, 10}}
	if !reflect.DeepEqual(r.Conversations, want) {
		t.Errorf("conversations %v, want %v", r.Conversations, want)
	}
	if len(r.Translations) != 2 {
		t.Errorf("translations %q, want one for each connection", told(r))
	}
}

func TestSkewOfClocks(t *testing.T) {
	b := newBench()
	b.offsets["backend"], b.offsets["client"] = 42*time.Second, -3*time.Minute
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 20 {
		x := web()
		x.c, x.s, x.stamp = rng.Uint32()|1<<20, rng.Uint32()|1<<20, rng.Uint32()
		x.start = noon.Add(time.Duration(i) * time.Minute)
		b.see(x, atClient(toVIP))
		b.see(x, routerIn(toVIP))
		b.see(x, routerOut(toBackend, 1))
		b.see(x, atBackend(toBackend, 1))
	}
	b.see(dns(), spot{clock: "elsewhere", capture: 9, tuple: masked})
	r := b.find(nil)
	want := []Skew{
		{Clock: "backend", Reference: "backend", Certain: true},
		{Clock: "client", Reference: "backend", Offset: -3*time.Minute - 42*time.Second, Pairs: 20, Certain: true},
		{Clock: "elsewhere", Reference: "backend"},
		{Clock: "router", Reference: "backend", Offset: -42 * time.Second, Pairs: 20, Certain: true},
	}
	if !slices.Equal(r.Skews, want) {
		t.Errorf("skews %+v, want %+v", r.Skews, want)
	}
	if n := len(r.Translations); n != 20 {
		t.Errorf("%d translations, want 20", n)
	}
}

func TestWhatATranslationTells(t *testing.T) {
	b := newBench()
	b.see(web(), routerIn(toVIP))
	b.see(web(), routerOut(toBackend, 1))
	silent := web()
	silent.start, silent.c, silent.noAnswer, silent.request = noon.Add(time.Hour), 123_456_789, true, ""
	b.see(silent, routerIn(toVIP))
	b.see(silent, routerOut(toBackend, 1))
	r := b.find(nil)
	if len(r.Translations) != 2 {
		t.Fatalf("told %q, want two", told(r))
	}
	x, y := r.Translations[0], r.Translations[1]
	if x.Via != record.ViaCapture || x.State != "ESTABLISHED" || x.Unreplied || !x.Start.Equal(noon.Add(100*time.Microsecond)) || x.Packet != b.flows[0].Client.SYN || x.Behind.Packet != b.flows[1].Client.SYN {
		t.Errorf("the answered one is %+v", x)
	}
	if y.State != "SYN_SENT" || !y.Unreplied {
		t.Errorf("the silent one is %+v", y)
	}
}

func TestAmbiguousIsTold(t *testing.T) {
	b := newBench()
	for i := range 1993 {
		x := bare(web())
		x.noAnswer, x.request, x.start = true, "", noon.Add(time.Duration(i)*time.Millisecond)
		p := routerIn(toVIP)
		p.tuple.Destination = netip.AddrPortFrom(p.tuple.Destination.Addr(), uint16(i+1))
		b.see(x, p)
	}
	r := b.find(nil)
	if len(r.Translations) > 0 || len(r.Ambiguous) != 1 || r.Ambiguous[0].Why != WhyCrowd || r.Ambiguous[0].Flows != 1993 || len(r.Ambiguous[0].Examples[0]) != maxIDs {
		t.Errorf("of a scan %q is told, %+v ambiguous", told(r), r.Ambiguous)
	}
}

func TestRepeatedNumbersAreTold(t *testing.T) {
	b := newBench()
	for i := range 3 {
		b.see(later(time.Duration(i)*time.Hour), routerIn(toVIP))
		b.see(later(time.Duration(i)*time.Hour), routerOut(toBackend, 1))
	}
	r := b.find(nil)
	if len(r.Translations) > 0 || !slices.Equal(whys(r), []string{WhyRepeated}) || r.Ambiguous[0].Groups != 3 {
		t.Errorf("of numbers that come back %q is told, %+v ambiguous", told(r), r.Ambiguous)
	}
}

// TestDatagramsAreNoClock holds that datagrams which are sent again move no
// clock: neither one pair, nor three whose bytes one clock saw at two times.
func TestDatagramsAreNoClock(t *testing.T) {
	for _, again := range []bool{false, true} {
		b := newBench()
		for i := range 3 {
			x := dns()
			x.start = noon.Add(time.Duration(i) * time.Minute)
			x.request = string(rune('a'+i)) + x.request
			far := atBackend(tuple("10.1.0.2:40002", "10.2.0.3:53"), 0)
			b.see(x, routerIn(toVIP))
			x.start = x.start.Add(5 * time.Second)
			b.see(x, far)
			if !again {
				break
			}
			b.see(x, routerIn(toBackend))
		}
		r := b.find(nil)
		for _, s := range r.Skews {
			if s.Offset != 0 || s.Pairs != 0 {
				t.Errorf("again %v: skew %+v, want nothing known", again, s)
			}
		}
	}
}
