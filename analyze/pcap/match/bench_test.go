package match

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
	"unsafe"
)

// BenchmarkFind compares 400,000 flows: 200,000 connections on two sides of a
// masquerade.
func BenchmarkFind(b *testing.B) {
	n := newBench()
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range 200_000 {
		x := web()
		x.c, x.s, x.stamp, x.ipid = rng.Uint32()|1<<20, rng.Uint32()|1<<20, rng.Uint32()|1, uint16(i)
		x.start = noon.Add(time.Duration(i) * time.Millisecond)
		client, behind := toVIP, masked
		client.Source = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 16), byte(i >> 8)}), uint16(30000+i%256))
		behind.Source = netip.AddrPortFrom(behind.Source.Addr(), uint16(i))
		n.see(x, atClient(client))
		n.see(x, atBackend(behind, 1))
	}
	b.ReportMetric(float64(unsafe.Sizeof(view{})), "bytes/flow")
	b.Run("Add", func(b *testing.B) {
		for b.Loop() {
			m := New()
			for i, f := range n.flows {
				m.Add(f, n.places[i])
			}
		}
	})
	m := New()
	for i, f := range n.flows {
		m.Add(f, n.places[i])
	}
	b.Run("Find", func(b *testing.B) {
		b.ReportAllocs()
		b.ReportMetric(float64(unsafe.Sizeof(view{})), "bytes/flow")
		for b.Loop() {
			if r := m.Find(); len(r.Translations) != 200_000 {
				b.Fatalf("%d translations, want 200000", len(r.Translations))
			}
		}
	})
}
