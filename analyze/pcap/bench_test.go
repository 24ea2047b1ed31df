package pcap

import (
	"bufio"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/gopacket/pcapgo"
)

// benchFile writes a capture of packets that are 245 bytes long on average, as
// those of many short requests are.
func benchFile(b *testing.B, ng bool) (path string, packets int) {
	b.Helper()
	path = filepath.Join(b.TempDir(), "bench")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	out := bufio.NewWriterSize(f, 1<<20)
	if !ng {
		out.Write(classicHead(binary.LittleEndian, magicNano, 2, 4, 262144, 1))
	}
	w := NewWriter(out)
	if ng {
		w.Interface(WriterInterface{Name: "eth0", LinkType: 1})
	}
	sizes := []int{66, 66, 74, 66, 540, 66, 66, 1450, 66, 66, 169}
	data := make([]byte, 1500)
	packets = 1 << 19
	for i := range packets {
		n := sizes[i%len(sizes)]
		t := int64(1700000000)*second + int64(i)*1000
		if ng {
			w.Packet(0, Packet{Time: t, Length: n, Data: data[:n]})
		} else {
			out.Write(classicRecord(binary.LittleEndian, uint32(t/second), uint32(t%second), uint32(n), uint32(n), data[:n]))
		}
	}
	if ng {
		err = w.Close()
	}
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		b.Fatal(err)
	}
	return path, packets
}

func BenchmarkRead(b *testing.B) {
	for _, format := range []struct {
		name string
		ng   bool
	}{{"pcap", false}, {"pcapng", true}} {
		b.Run(format.name, func(b *testing.B) {
			path, packets := benchFile(b, format.ng)
			b.Run("own", func(b *testing.B) { benchRead(b, path, packets, readOwn) })
			b.Run("pcapgo", func(b *testing.B) { benchRead(b, path, packets, readPcapgo) })
		})
	}
}

func benchRead(b *testing.B, path string, packets int, read func(io.Reader) (int, error)) {
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(info.Size())
	b.ReportAllocs()
	for b.Loop() {
		f, err := os.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		n, err := read(f)
		f.Close()
		if err != nil || n != packets {
			b.Fatalf("%d packets of %d: %v", n, packets, err)
		}
	}
}

func readOwn(in io.Reader) (packets int, err error) {
	r, err := Open(in)
	if err != nil {
		return 0, err
	}
	var b Batch
	for err == nil {
		err = r.Fill(&b)
		packets += len(b.Packets)
	}
	if err == io.EOF {
		err = nil
	}
	return packets, err
}

func readPcapgo(in io.Reader) (packets int, err error) {
	buffered := bufio.NewReaderSize(in, 1<<20)
	magic, err := buffered.Peek(4)
	if err != nil {
		return 0, err
	}
	var next func() error
	if binary.LittleEndian.Uint32(magic) == magicSection {
		r, err := pcapgo.NewNgReader(buffered, pcapgo.DefaultNgReaderOptions)
		if err != nil {
			return 0, err
		}
		next = func() error { _, _, err := r.ZeroCopyReadPacketData(); return err }
	} else {
		r, err := pcapgo.NewReader(buffered)
		if err != nil {
			return 0, err
		}
		next = func() error { _, _, err := r.ZeroCopyReadPacketData(); return err }
	}
	for err == nil {
		if err = next(); err == nil {
			packets++
		}
	}
	if err == io.EOF {
		err = nil
	}
	return packets, err
}
