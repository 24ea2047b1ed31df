package relay_test

import (
	"runtime"
	"testing"

	"whichbackend/analyze/pcap/relay"
)

// BenchmarkFind finds the proxy's connections in 100,000 flows.
func BenchmarkFind(b *testing.B) {
	for _, c := range []struct {
		name string
		w    world
	}{
		{"tcp", world{clients: 64, each: 782, requests: 2, sizes: "many", begins: "unique"}},
		{"tcp-two-addresses", world{clients: 64, each: 782, requests: 2, sizes: "many", begins: "none", source: "10.2.0.99"}},
		{"tcp-alike", world{clients: 256, each: 196, requests: 2, sizes: "one", begins: "equal", told: true}},
		{"tcp-crowd", world{clients: 2048, each: 25, requests: 2, sizes: "one", begins: "equal"}},
		{"http", world{clients: 64, each: 1562, requests: 3, sizes: "many", begins: "unique", pooled: true, added: 50}},
		{"http-alike", world{clients: 64, each: 1562, requests: 3, sizes: "few", begins: "equal", pooled: true, added: 50, told: true}},
	} {
		b.Run(c.name, func(b *testing.B) {
			m := c.w.make()
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			kept := relay.New()
			m.add(kept, 1)
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ResetTimer()
			answers := 0
			for range b.N {
				r := relay.New()
				m.add(r, 1)
				answers = len(r.Find())
			}
			b.ReportMetric(float64(len(m.flows)), "flows")
			b.ReportMetric(float64(answers), "answers")
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(len(m.flows)), "B/flow-kept")
			runtime.KeepAlive(kept)
		})
	}
}
