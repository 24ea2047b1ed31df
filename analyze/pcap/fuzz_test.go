package pcap

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
	"testing"
)

// seeds are small files of every format.
func seeds(t testing.TB) [][]byte {
	var out [][]byte
	for i, o := range orders {
		out = append(out, everything(o, orders[1-i]), twoRecords(o),
			slices.Concat(classicHead(o, magicModified, 2, 4, 0, 1), modifiedRecord(o, day, 7, 4, hello)),
			slices.Concat(classicHead(o, magicNano, 2, 3, 0, 276), classicRecord(o, 1, 2_000_000_000, 9, 5, hello)),
			slices.Concat(ngSection(o), ngInterface(o, 1, 0, ngOption(o, interfaceResolution, "\x40")), ngPacket(o, 0, 1<<63, 5, hello)))
	}
	file := everything(binary.LittleEndian, binary.BigEndian)
	return append(out, gzipOf(t, file), zstdOf(t, file))
}

// check asks of any input that packets lie inside of it, and that what is told
// of them adds up.
func check(t *testing.T, data []byte) {
	r, err := Open(bytes.NewReader(data))
	if err != nil {
		return
	}
	plain := packingOf(data) == plain
	var b Batch
	number, total, packets := 0, 0, uint64(0)
	for err == nil {
		err = r.Fill(&b)
		for _, p := range b.Packets {
			total += len(p.Data)
			packets++
			if p.Number <= number || p.Length < len(p.Data) || len(p.Data) > MaxPacket || cap(p.Data) != len(p.Data) {
				t.Fatalf("packet %d after %d has %d of %d bytes", p.Number, number, len(p.Data), p.Length)
			}
			if p.Interface < 0 || p.Interface >= len(r.interfaces) || p.Direction > 2 {
				t.Fatalf("packet %d is of interface %d, direction %d", p.Number, p.Interface, p.Direction)
			}
			number = p.Number
		}
		if len(b.buffer) > batchSize {
			t.Fatalf("a batch of %d bytes", len(b.buffer))
		}
	}
	if err != io.EOF {
		t.Fatalf("of bytes in memory: %v", err)
	}
	if plain && (total > len(data) || r.offset > int64(len(data))) {
		t.Fatalf("%d bytes of packets up to byte %d of %d", total, r.offset, len(data))
	}
	for _, i := range r.Interfaces() {
		packets -= i.Packets
		if i.Cut > i.Packets || i.First > i.Last {
			t.Fatalf("interface %+v", i)
		}
	}
	if packets != 0 {
		t.Fatalf("the packets of interfaces are %d fewer than those read", packets)
	}
	for _, m := range r.Remarks() {
		if m.Packet < 0 || m.Offset < 0 || m.Text == "" {
			t.Fatalf("remark %+v", m)
		}
	}
}

func FuzzReader(f *testing.F) {
	for _, seed := range seeds(f) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		Sniff(data)
		check(t, data)
	})
}

// TestDamagedAnywhere changes each byte of small files, in three ways.
func TestDamagedAnywhere(t *testing.T) {
	for _, seed := range seeds(t) {
		for i := range seed {
			for _, v := range []byte{0, 0xff, seed[i] ^ 0x10} {
				damaged := slices.Clone(seed)
				damaged[i] = v
				check(t, damaged)
			}
		}
	}
}
