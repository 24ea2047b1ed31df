package flow

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/gopacket/pcapgo"

	"whichbackend/analyze/pcap"
	"whichbackend/analyze/pcap/decode"
	"whichbackend/analyze/record"
)

// nothing is a sink that keeps nothing.
type nothing struct{}

func (nothing) Interface(*record.Interface) {}
func (nothing) Flow(*record.Flow)           {}
func (nothing) Undecoded(*record.Undecoded) {}
func (nothing) Name(*Name)                  {}

// The captures of the benchmarks: the usual one, and one in which most packets
// miss the cache.
var shapes = []struct {
	name        string
	flows, live int
}{{"usual", 60_000, 3000}, {"wide", 60_000, 50_000}}

func generated(b *testing.B, flows, live int) (string, int) {
	b.Helper()
	path := filepath.Join(b.TempDir(), "generated.pcap")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	packets, err := generate(f, flows, live)
	if err != nil {
		b.Fatal(err)
	}
	return path, packets
}

// each runs what reads a file of each shape, and reports packets a second.
func each(b *testing.B, run func(b *testing.B, f *os.File)) {
	for _, s := range shapes {
		b.Run(s.name, func(b *testing.B) {
			path, packets := generated(b, s.flows, s.live)
			info, err := os.Stat(path)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(info.Size())
			b.ResetTimer()
			for range b.N {
				f, err := os.Open(path)
				if err != nil {
					b.Fatal(err)
				}
				run(b, f)
				f.Close()
			}
			b.ReportMetric(float64(packets)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mpackets/s")
		})
	}
}

func BenchmarkRead(b *testing.B) {
	each(b, func(b *testing.B, f *os.File) {
		r, err := pcap.Open(f)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := Read(r, nothing{}); err != nil {
			b.Fatal(err)
		}
	})
}

// BenchmarkReader is the part of Read that reads the file.
func BenchmarkReader(b *testing.B) {
	each(b, func(b *testing.B, f *os.File) { fill(b, f, func(*pcap.Packet) {}) })
}

// BenchmarkDecode is the part of Read that reads and decodes.
func BenchmarkDecode(b *testing.B) {
	var d decode.Packet
	each(b, func(b *testing.B, f *os.File) {
		fill(b, f, func(p *pcap.Packet) { decode.Decode(p.LinkType, p.Data, p.Length, &d) })
	})
}

func fill(b *testing.B, f *os.File, each func(*pcap.Packet)) {
	r, err := pcap.Open(f)
	if err != nil {
		b.Fatal(err)
	}
	var batch pcap.Batch
	for {
		err := r.Fill(&batch)
		if err == io.EOF {
			return
		}
		if err != nil {
			b.Fatal(err)
		}
		for i := range batch.Packets {
			each(&batch.Packets[i])
		}
	}
}

// BenchmarkBare is what Read is compared with: gopacket reads the packets and
// decodes nothing.
func BenchmarkBare(b *testing.B) {
	each(b, func(b *testing.B, f *os.File) {
		r, err := pcapgo.NewReader(f)
		if err != nil {
			b.Fatal(err)
		}
		for {
			_, _, err := r.ZeroCopyReadPacketData()
			if err == io.EOF {
				return
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkMemory tells how many bytes a flow takes until it is written.
func BenchmarkMemory(b *testing.B) {
	const flows = 50_000
	var buf bytes.Buffer
	if _, err := generate(&buf, flows, 3000); err != nil {
		b.Fatal(err)
	}
	for range b.N {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		t, err := newTable()
		if err != nil {
			b.Fatal(err)
		}
		r, err := pcap.Open(bytes.NewReader(buf.Bytes()))
		if err != nil {
			b.Fatal(err)
		}
		if err := t.read(r); err != nil {
			b.Fatal(err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(t.flows.n), "bytes/flow")
		runtime.KeepAlive(t)
	}
}
