package pcap

import (
	"bytes"
	"encoding/binary"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// A hostile file gives what is readable and says what is wrong, and takes no
// more memory than a batch.
func TestHostile(t *testing.T) {
	const huge = 1<<32 - 16
	o := binary.LittleEndian
	plain := classicHead(o, magicMicro, 2, 4, 1<<32-1, 1)
	good := classicRecord(o, 1, 0, 5, 5, hello)
	ng := slices.Concat(ngSection(o), ngInterface(o, 1, 1<<32-1))
	goodNG := ngPacket(o, 0, 1e6, 5, hello)
	huger := func(block []byte, size uint32) []byte { // with another length
		block = slices.Clone(block)
		o.PutUint32(block[4:], size)
		return block
	}
	for _, c := range []struct {
		name    string
		file    []byte
		numbers []int // of the packets
		remark  string
	}{
		{"pcap: 4 GiB captured", slices.Concat(plain, good, classicRecord(o, 1, 0, huge, huge, hello), good), []int{1}, "packet 2, at byte 45, says that it holds 4294967280 bytes"},
		{"pcap: one more than a packet", slices.Concat(plain, classicRecord(o, 1, 0, MaxPacket+1, MaxPacket+1, make([]byte, MaxPacket+1))), nil, "says that it holds 262145 bytes"},
		{"pcap: the largest packet", slices.Concat(plain, classicRecord(o, 1, 0, MaxPacket, MaxPacket, make([]byte, MaxPacket)), good), []int{1, 2}, ""},
		{"pcap: 4 GiB on the wire", slices.Concat(plain, classicRecord(o, 1, 0, 5, 1<<32-1, hello)), []int{1}, ""},
		{"pcap: version 3", slices.Concat(classicHead(o, magicMicro, 3, 0, 0, 1), good), nil, "version 3.0"},
		{"pcapng: 4 GiB captured", slices.Concat(ng, goodNG, ngBlock(o, blockPacket, packetFields(o, 0, 0, 1<<32-1, 5), hello), goodNG), []int{1, 3}, "packet 2 of 4294967295 captured bytes"},
		{"pcapng: more than the block", slices.Concat(ng, ngBlock(o, blockPacket, packetFields(o, 0, 0, 100, 100), hello), goodNG), []int{2}, "packet 1 of 100 captured bytes in a block that has room for 8"},
		{"pcapng: no fields", slices.Concat(ng, ngBlock(o, blockPacket, hello), ngBlock(o, blockSimple), ngBlock(o, blockOldPacket), goodNG), []int{4}, "packet 1 of 8 bytes, less than its fields need"},
		{"pcapng: an unknown interface", slices.Concat(ng, ngPacket(o, 7, 0, 5, hello), ngOldPacket(o, 7, 5, 0, hello), goodNG), []int{3}, "packet 1 of interface 7"},
		{"pcapng: no interface", slices.Concat(ngSection(o), goodNG, ngBlock(o, blockSimple, o.AppendUint32(nil, 5), hello)), nil, "packet 1 of interface 0"},
		{"pcapng: the interface of another section", slices.Concat(ng, ngSection(o), goodNG), nil, "packet 1 of interface 0, which the section does not describe"},
		{"pcapng: a block of 4 GiB", slices.Concat(ng, goodNG, huger(goodNG, huge), goodNG), []int{1}, "the capture was cut off"},
		{"pcapng: a block of 4 GiB - 1", slices.Concat(ng, goodNG, huger(goodNG, 1<<32-1), goodNG), []int{1}, "the capture was cut off"},
		{"pcapng: a section of 4 GiB", slices.Concat(ng, goodNG, huger(ngSection(o), huge)), []int{1}, "a section header of 4294967280 bytes"},
		{"pcapng: a large block", slices.Concat(ng, ngBlock(o, blockSecrets, make([]byte, 3<<20)), goodNG), []int{1}, "with 3145740 bytes"},
		{"pcapng: a large packet block", slices.Concat(ng, ngPacket(o, 0, 0, 2<<20, make([]byte, 2<<20)), goodNG), []int{2}, "it was skipped"},
		{"pcapng: a packet of half a MiB", slices.Concat(ng, ngPacket(o, 0, 0, 1<<19, make([]byte, 1<<19)), goodNG), []int{2}, "packet 1 of 524288 captured bytes"},
		{"pcapng: a block of 8 bytes", slices.Concat(ng, goodNG, huger(goodNG, 8)), []int{1}, "a block of 8 bytes"},
		{"pcapng: zeros behind", slices.Concat(ng, goodNG, make([]byte, 100)), []int{1}, "a block of 0 bytes"},
		{"pcapng: two lengths", slices.Concat(ng, goodNG, huger(goodNG, 24), goodNG), []int{1}, "gives its length as 24"},
		{"pcapng: the length without padding", slices.Concat(ng, unpadded(goodNG, 1), goodNG), []int{1, 2}, ""},
		{"pcapng: no order", slices.Concat(ng, goodNG, ngBlock(o, magicSection, hello, hello), goodNG), []int{1}, "byte order"},
		{"pcapng: a short section", slices.Concat(ng, goodNG, ngBlock(o, magicSection, o.AppendUint32(nil, magicOrder)), goodNG), []int{1}, "too short"},
		{"pcapng: version 2", slices.Concat(ngBlock(o, magicSection, o.AppendUint32(nil, magicOrder), []byte{2, 0, 0, 0}, make([]byte, 8)), ngInterface(o, 1, 0), goodNG), nil, "version 2.0"},
		{"pcapng: a short interface", slices.Concat(ngSection(o), ngBlock(o, blockInterface, hello[:4]), goodNG), []int{1}, "less than its fields need"},
		{"pcapng: an absurd resolution", slices.Concat(ngSection(o), ngInterface(o, 1, 0, ngOption(o, interfaceResolution, "\x40")), goodNG), []int{1}, "if_tsresol 0x40"},
		{"pcapng: an option longer than the block", slices.Concat(ngSection(o), ngInterface(o, 1, 0, o.AppendUint32(nil, 50<<16|interfaceName)), goodNG), []int{1}, "longer than the block"},
		{"pcapng: such an option of a packet", slices.Concat(ng, ngPacket(o, 0, 0, 5, hello, o.AppendUint32(nil, 50<<16|optComment)), goodNG), []int{1, 2}, "longer than the block"},
		{"pcapng: a short offset", slices.Concat(ngSection(o), ngInterface(o, 1, 0, ngOption(o, interfaceOffset, "\x01\x01")), goodNG), []int{1}, "option 14 of 2 bytes"},
		{"pcapng: names longer than the block", slices.Concat(ng, ngBlock(o, blockNames, o.AppendUint32(nil, 50<<16|nameIPv4)), goodNG), []int{1}, "names that do not fit"},
		{"pcapng: half an address", slices.Concat(ng, ngBlock(o, blockNames, ngOption(o, nameIPv6, "\x01\x02")), goodNG), []int{1}, "names that do not fit"},
		{"pcapng: statistics of nothing", slices.Concat(ng, ngStatistics(o, 9), ngBlock(o, blockStatistics, hello), goodNG), []int{1}, "statistics of no interface"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b, a runtime.MemStats
			runtime.ReadMemStats(&b)
			r, numbers := numbersOf(t, bytes.NewReader(c.file))
			runtime.ReadMemStats(&a)
			if !slices.Equal(numbers, c.numbers) {
				t.Errorf("packets %v, want %v", numbers, c.numbers)
			}
			wantRemark(t, r, c.remark)
			if took := a.TotalAlloc - b.TotalAlloc; took > batchSize+smallBatch+MaxPacket+1<<17 {
				t.Errorf("took %d bytes of memory for a file of %d", took, len(c.file))
			}
		})
	}
}

// unpadded gives a block whose length leaves the padding out.
func unpadded(block []byte, n uint32) []byte {
	block = slices.Clone(block)
	size := uint32(len(block)) - n
	binary.LittleEndian.PutUint32(block[4:], size)
	binary.LittleEndian.PutUint32(block[len(block)-4:], size)
	return block
}

func numbersOf(t *testing.T, in io.Reader) (*Reader, []int) {
	t.Helper()
	r, err := Open(in)
	if err != nil {
		t.Fatal(err)
	}
	var numbers []int
	for {
		p, err := r.Next()
		if err == io.EOF {
			return r, numbers
		}
		if err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, p.Number)
	}
}

// What a file can have without number is kept up to a bound.
func TestBounds(t *testing.T) {
	o := binary.LittleEndian
	file := ngSection(o)
	file = append(file, bytes.Repeat(ngInterface(o, 1, 0), maxInterfaces+1)...)
	file = append(file, ngPacket(o, maxInterfaces, 0, 5, hello)...)
	for i := range maxNames/16 + 1 {
		var record []byte
		for j := range 16 {
			addr := binary.BigEndian.AppendUint32(nil, uint32(i*16+j))
			record = append(record, ngOption(o, nameIPv4, string(addr)+"host\x00")...)
		}
		file = append(file, ngBlock(o, blockNames, record)...)
	}
	comment := ngOption(o, optComment, strings.Repeat("x", 60000))
	for range maxCommentText/60000 + 1 {
		file = append(file, ngPacket(o, 0, 0, 5, hello, comment)...)
	}
	r, packets := readAll(t, file)
	if len(packets) != maxCommentText/60000+1 || len(r.Interfaces()) != maxInterfaces || len(r.Names()) != maxNames || len(r.Comments()) != maxCommentText/60000 {
		t.Errorf("%d packets, %d interfaces, %d names, %d comments", len(packets), len(r.Interfaces()), len(r.Names()), len(r.Comments()))
	}
	for _, words := range []string{"more than 65536 interfaces", "more than 65536 names", "more comments than are kept", "packet 1 of interface 65536"} {
		wantRemark(t, r, words)
	}
}

// The path of a packet makes nothing.
func TestNoAllocationPerPacket(t *testing.T) {
	o := binary.LittleEndian
	const packets = 20000
	for name, file := range map[string][]byte{
		"pcap":   append(classicHead(o, magicMicro, 2, 4, 0, 1), bytes.Repeat(classicRecord(o, 1, 0, 15, 15, world), packets)...),
		"pcapng": slices.Concat(ngSection(o), ngInterface(o, 1, 0), bytes.Repeat(ngPacket(o, 0, 0, 15, world, ngOption(o, packetFlags, "\x01\x00\x00\x00")), packets)),
	} {
		var b Batch
		got := testing.AllocsPerRun(3, func() {
			r, err := Open(bytes.NewReader(file))
			for err == nil {
				err = r.Fill(&b)
			}
			if err != io.EOF {
				t.Fatal(err)
			}
		})
		if got > 30 {
			t.Errorf("%s: %v allocations for %d packets", name, got, packets)
		}
	}
}
