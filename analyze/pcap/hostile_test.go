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

// hostile is a file, the numbers of the packets that are readable, and what is
// said of the others.
type hostile struct {
	name    string
	file    []byte
	numbers []int
	remark  string
}

const huge = 1<<32 - 16

func TestHostileClassic(t *testing.T) {
	o := binary.LittleEndian
	plain := classicHead(o, magicMicro, 2, 4, 1<<32-1, 1)
	good := classicRecord(o, 1, 0, 5, 5, hello)
	survives(t, []hostile{
		{"4 GiB captured", slices.Concat(plain, good, classicRecord(o, 1, 0, huge, huge, hello), good), []int{1}, "packet 2, at byte 45, says that it holds 4294967280 bytes"},
		{"one more than a packet", slices.Concat(plain, classicRecord(o, 1, 0, MaxPacket+1, MaxPacket+1, make([]byte, MaxPacket+1))), nil, "says that it holds 262145 bytes"},
		{"the largest packet", slices.Concat(plain, classicRecord(o, 1, 0, MaxPacket, MaxPacket, make([]byte, MaxPacket)), good), []int{1, 2}, ""},
		{"4 GiB on the wire", slices.Concat(plain, classicRecord(o, 1, 0, 5, 1<<32-1, hello)), []int{1}, ""},
		{"version 3", slices.Concat(classicHead(o, magicMicro, 3, 0, 0, 1), good), nil, "version 3.0"},
	})
}

func TestHostileBlocks(t *testing.T) {
	o := binary.LittleEndian
	ng := slices.Concat(ngSection(o), ngInterface(o, 1, 1<<32-1))
	good := ngPacket(o, 0, 1e6, 5, hello)
	survives(t, []hostile{
		{"4 GiB captured", slices.Concat(ng, good, ngBlock(o, blockPacket, packetFields(o, 0, 0, 1<<32-1, 5), hello), good), []int{1, 3}, "packet 2 of 4294967295 captured bytes"},
		{"more than the block", slices.Concat(ng, ngBlock(o, blockPacket, packetFields(o, 0, 0, 100, 100), hello), good), []int{2}, "packet 1 of 100 captured bytes in a block that has room for 8"},
		{"no fields", slices.Concat(ng, ngBlock(o, blockPacket, hello), ngBlock(o, blockSimple), ngBlock(o, blockOldPacket), good), []int{4}, "packet 1 of 8 bytes, less than its fields need"},
		{"an unknown interface", slices.Concat(ng, ngPacket(o, 7, 0, 5, hello), ngOldPacket(o, 7, 5, 0, hello), good), []int{3}, "packet 1 of interface 7"},
		{"no interface", slices.Concat(ngSection(o), good, ngBlock(o, blockSimple, o.AppendUint32(nil, 5), hello)), nil, "packet 1 of interface 0"},
		{"the interface of another section", slices.Concat(ng, ngSection(o), good), nil, "packet 1 of interface 0, which the section does not describe"},
		{"a block of 4 GiB", slices.Concat(ng, good, sized(good, huge), good), []int{1}, "the capture was cut off"},
		{"a block of 4 GiB - 1", slices.Concat(ng, good, sized(good, 1<<32-1), good), []int{1}, "the capture was cut off"},
		{"a section of 4 GiB", slices.Concat(ng, good, sized(ngSection(o), huge)), []int{1}, "a section header of 4294967280 bytes"},
		{"a large block", slices.Concat(ng, ngBlock(o, blockSecrets, make([]byte, 3<<20)), good), []int{1}, "with 3145740 bytes"},
		{"a large packet block", slices.Concat(ng, ngPacket(o, 0, 0, 2<<20, make([]byte, 2<<20)), good), []int{2}, "it was skipped"},
		{"a packet of half a MiB", slices.Concat(ng, ngPacket(o, 0, 0, 1<<19, make([]byte, 1<<19)), good), []int{2}, "packet 1 of 524288 captured bytes"},
		{"a block of 8 bytes", slices.Concat(ng, good, sized(good, 8)), []int{1}, "a block of 8 bytes"},
		{"zeros behind", slices.Concat(ng, good, make([]byte, 100)), []int{1}, "a block of 0 bytes"},
		{"two lengths", slices.Concat(ng, good, sized(good, 24), good), []int{1}, "gives its length as 24"},
		{"the length without padding", slices.Concat(ng, unpadded(good, 1), good), []int{1, 2}, ""},
		{"no order", slices.Concat(ng, good, ngBlock(o, magicSection, hello, hello), good), []int{1}, "byte order"},
		{"a short section", slices.Concat(ng, good, ngBlock(o, magicSection, o.AppendUint32(nil, magicOrder)), good), []int{1}, "too short"},
		{"version 2", slices.Concat(ngBlock(o, magicSection, o.AppendUint32(nil, magicOrder), []byte{2, 0, 0, 0}, make([]byte, 8)), ngInterface(o, 1, 0), good), nil, "version 2.0"},
		{"a short interface", slices.Concat(ngSection(o), ngBlock(o, blockInterface, hello[:4]), good), []int{1}, "less than its fields need"},
		{"an absurd resolution", slices.Concat(ngSection(o), ngInterface(o, 1, 0, ngOption(o, interfaceResolution, "\x40")), good), []int{1}, "if_tsresol 0x40"},
		{"an option longer than the block", slices.Concat(ngSection(o), ngInterface(o, 1, 0, o.AppendUint32(nil, 50<<16|interfaceName)), good), []int{1}, "longer than the block"},
		{"such an option of a packet", slices.Concat(ng, ngPacket(o, 0, 0, 5, hello, o.AppendUint32(nil, 50<<16|optComment)), good), []int{1, 2}, "longer than the block"},
		{"a short offset", slices.Concat(ngSection(o), ngInterface(o, 1, 0, ngOption(o, interfaceOffset, "\x01\x01")), good), []int{1}, "option 14 of 2 bytes"},
		{"names longer than the block", slices.Concat(ng, ngBlock(o, blockNames, o.AppendUint32(nil, 50<<16|nameIPv4)), good), []int{1}, "names that do not fit"},
		{"half an address", slices.Concat(ng, ngBlock(o, blockNames, ngOption(o, nameIPv6, "\x01\x02")), good), []int{1}, "names that do not fit"},
		{"statistics of nothing", slices.Concat(ng, ngStatistics(o, 9), ngBlock(o, blockStatistics, hello), good), []int{1}, "statistics of no interface"},
	})
}

// survives asks that a hostile file gives what is readable, says what is wrong,
// and takes no more memory than the buffers of one batch.
func survives(t *testing.T, files []hostile) {
	for _, c := range files {
		t.Run(c.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			r, numbers := numbersOf(t, bytes.NewReader(c.file))
			runtime.ReadMemStats(&after)
			if !slices.Equal(numbers, c.numbers) {
				t.Errorf("packets %v, want %v", numbers, c.numbers)
			}
			wantRemark(t, r, c.remark)
			if took := after.TotalAlloc - before.TotalAlloc; took > batchSize+usualBatch+smallBatch+MaxPacket+1<<18 {
				t.Errorf("took %d bytes of memory for a file of %d", took, len(c.file))
			}
		})
	}
}

// sized gives a block another length.
func sized(block []byte, size uint32) []byte {
	block = slices.Clone(block)
	binary.LittleEndian.PutUint32(block[4:], size)
	return block
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
