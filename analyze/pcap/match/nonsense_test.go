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

// few draws from so few values that everything meets everything.
type few struct{ *rand.Rand }

func (r few) time() time.Time {
	if r.IntN(5) == 0 {
		return time.Time{}
	}
	return noon.Add(time.Duration(r.IntN(4)) * 700 * time.Millisecond)
}

func (r few) end() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(3))}), uint16(r.IntN(2)))
}

func (r few) half() record.Half {
	h := record.Half{Packets: uint64(r.IntN(4)), SYN: r.IntN(2), SYNs: r.IntN(3), RST: r.IntN(2), ISN: uint32(r.IntN(3)) * 100_000,
		MSS: uint16(r.IntN(2)), Scale: int8(r.IntN(2) - 1), TTL: uint8(r.IntN(3)), IPID: uint16(r.IntN(3)),
		SYNTime: r.time(), DataTime: r.time(), Begin: r.Uint64N(2), BeginLength: r.IntN(3) * 200}
	for range r.IntN(6) {
		h.Stamps = append(h.Stamps, r.Uint32N(3))
		h.Segments = append(h.Segments, record.Segment{Sequence: r.Uint32N(3), Length: 1})
	}
	return h
}

// TestNonsenseIsSurvived adds flows that no capture shows, and holds of the
// result what must hold of any.
func TestNonsenseIsSurvived(t *testing.T) {
	told := 0
	for seed := range uint64(400) {
		r := few{rand.New(rand.NewPCG(seed, 5))}
		b := newBench()
		for i := range 50 {
			f := &record.Flow{ID: i + 1, Protocol: []record.Protocol{record.TCP, record.UDP, record.SCTP}[r.IntN(3)],
				Tuple: record.Tuple{Source: r.end(), Destination: r.end()}, Guessed: r.IntN(2) == 0,
				First: r.time(), Last: r.time(), Client: r.half(), Server: r.half()}
			f.Section, f.Packet = r.IntN(3), r.IntN(100)
			b.flows = append(b.flows, f)
			b.places = append(b.places, Place{Capture: f.Section, Clock: fmt.Sprint(r.IntN(3))})
		}
		result := b.find(nil)
		if again := b.find(b.shuffled(r.Shuffle)); !reflect.DeepEqual(result, again) {
			t.Fatalf("seed %d: another order of flows gives another result", seed)
		}
		for _, x := range result.Translations {
			told++
			if x.Before == x.After || x.Before.Source == x.After.Destination && x.Before.Destination == x.After.Source || x.Tier == "" {
				t.Fatalf("seed %d: %+v is no translation", seed, x)
			}
		}
	}
	t.Logf("%d translations of nonsense", told)
}

// BenchmarkCrowds finds nothing in flows made to meet each other: it must not
// take longer than flows of as many connections.
func BenchmarkCrowds(b *testing.B) {
	const flows = 100_000
	for name, change := range map[string]func(f *record.Flow, i int){
		"one tuple, no SYN": func(f *record.Flow, _ int) { midstream(f) },
		"one tuple, many connections": func(f *record.Flow, i int) {
			f.Client.ISN = uint32(i/3) + 1<<20
			if i%3 == 0 {
				midstream(f)
			}
		},
		"one number": func(f *record.Flow, i int) { f.Tuple.Source = netip.AddrPortFrom(f.Tuple.Source.Addr(), uint16(i)) },
		"one segment": func(f *record.Flow, i int) {
			midstream(f)
			f.Tuple.Source = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 1)
		},
	} {
		b.Run(name, func(b *testing.B) {
			m := New()
			n := newBench()
			for i := range flows {
				f := n.see(web(), routerIn(toVIP))
				f.Client.Stamps, f.Server.Stamps = nil, nil
				change(f, i)
				m.Add(f, Place{Capture: i % 7, Clock: fmt.Sprint(i % 2)})
			}
			for b.Loop() {
				m.Find()
			}
		})
	}
}
