package pcap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// readAll reads a capture that must be one.
func readAll(t *testing.T, data []byte) (*Reader, []Packet) {
	t.Helper()
	r, packets, err := drain(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return r, packets
}

func drain(in io.Reader) (*Reader, []Packet, error) {
	r, err := Open(in)
	if err != nil {
		return nil, nil, err
	}
	var packets []Packet
	for {
		p, err := r.Next()
		if err == io.EOF {
			return r, packets, nil
		}
		if err != nil {
			return r, packets, err
		}
		p.Data = bytes.Clone(p.Data)
		packets = append(packets, p)
	}
}

// remarks joins what a reader remarks, for comparing with words.
func remarks(r *Reader) string {
	var out []string
	for _, m := range r.Remarks() {
		out = append(out, m.Text)
	}
	return strings.Join(out, "\n")
}

// wantRemark asks for a remark with the words, or for none at all.
func wantRemark(t *testing.T, r *Reader, words string) {
	t.Helper()
	if got := remarks(r); words == "" && got != "" || !strings.Contains(got, words) {
		t.Errorf("remarks %q, want %q", got, words)
	}
}

const day = 1700000000 // seconds

var (
	hello = []byte("hello")
	world = []byte("wonderful world")
)

func TestClassic(t *testing.T) {
	const nanos = day * second
	type header struct {
		magic, snaplen, link uint32
		major, minor         uint16
	}
	for _, c := range []struct {
		name   string
		header header
		record func(o bothOrders) []byte
		want   Packet
		remark string
	}{
		{"micro", header{magicMicro, 65535, 1, 2, 4}, plainRecord(day, 7, 5, 9), Packet{Time: nanos + 7000, LinkType: 1, Length: 9}, ""},
		{"nano", header{magicNano, 65535, 1, 2, 4}, plainRecord(day, 7, 5, 9), Packet{Time: nanos + 7, LinkType: 1, Length: 9}, ""},
		{"lcap", header{magicIxiaHard, 65535, 1, 2, 4}, plainRecord(day, 7, 5, 9), Packet{Time: nanos + 7, LinkType: 1, Length: 9}, ""},
		{"16 bits of link type", header{magicMicro, 65535, 276, 2, 4}, plainRecord(day, 0, 5, 5), Packet{Time: nanos, LinkType: 276, Length: 5}, ""},
		{"frame check sequence", header{magicMicro, 65535, 2<<28 | 1<<26 | 1, 2, 4}, plainRecord(day, 0, 5, 5), Packet{Time: nanos, LinkType: 1, Length: 5}, ""},
		{"odd link type", header{magicMicro, 65535, 0x02240001, 2, 4}, plainRecord(day, 0, 5, 5), Packet{Time: nanos, LinkType: 1, Length: 5}, "0x02240001"},
		{"BSD's RAW", header{magicMicro, 65535, 12, 2, 4}, plainRecord(day, 0, 5, 5), Packet{Time: nanos, LinkType: 101, Length: 5}, ""},
		{"no snaplen", header{magicMicro, 0, 1, 2, 4}, plainRecord(day, 0, 5, 5), Packet{Time: nanos, LinkType: 1, Length: 5}, ""},
		{"snaplen too small", header{magicMicro, 3, 1, 2, 4}, plainRecord(day, 0, 5, 5), Packet{Time: nanos, LinkType: 1, Length: 5}, ""},
		{"greatest snaplen", header{magicMicro, 1<<32 - 1, 1, 2, 4}, plainRecord(day, 0, 5, 5), Packet{Time: nanos, LinkType: 1, Length: 5}, ""},
		{"2.2 has the lengths swapped", header{magicMicro, 65535, 1, 2, 2}, plainRecord(day, 0, 9, 5), Packet{Time: nanos, LinkType: 1, Length: 9}, ""},
		{"2.0", header{magicMicro, 65535, 1, 2, 0}, plainRecord(day, 0, 9, 5), Packet{Time: nanos, LinkType: 1, Length: 9}, ""},
		{"2.3 swapped", header{magicMicro, 65535, 1, 2, 3}, plainRecord(day, 0, 9, 5), Packet{Time: nanos, LinkType: 1, Length: 9}, ""},
		{"2.3 not swapped", header{magicMicro, 65535, 1, 2, 3}, plainRecord(day, 0, 5, 9), Packet{Time: nanos, LinkType: 1, Length: 9}, ""},
		{"2.5", header{magicMicro, 65535, 1, 2, 5}, plainRecord(day, 0, 5, 9), Packet{Time: nanos, LinkType: 1, Length: 9}, "version 2.5"},
		{"captured more than passed", header{magicMicro, 65535, 1, 2, 4}, plainRecord(day, 0, 5, 3), Packet{Time: nanos, LinkType: 1, Length: 5}, "holds 5 bytes of 3"},
		{"5 s in microseconds", header{magicMicro, 65535, 1, 2, 4}, plainRecord(day, 5000001, 5, 5), Packet{Time: nanos + 5*second + 1000, LinkType: 1, Length: 5}, "were carried"},
		{"2106", header{magicNano, 65535, 1, 2, 4}, plainRecord(1<<32-1, 0, 5, 5), Packet{Time: (1<<32 - 1) * second, LinkType: 1, Length: 5}, ""},
		{"modified, received", header{magicModified, 65535, 1, 2, 4}, modified(0), Packet{Time: nanos + 7000, LinkType: 1, Direction: 1, Length: 5}, ""},
		{"modified, sent", header{magicModified, 65535, 1, 2, 4}, modified(4), Packet{Time: nanos + 7000, LinkType: 1, Direction: 2, Length: 5}, ""},
	} {
		for _, o := range orders {
			t.Run(c.name+", "+o.name, func(t *testing.T) {
				h := c.header
				file := classicHead(o, h.magic, h.major, h.minor, h.snaplen, h.link)
				if h.magic == magicIxiaHard {
					file = append(file, 0, 0, 0, 21)
				}
				file = append(file, c.record(o)...)
				r, got := readAll(t, append(file, c.record(o)...))
				want := []Packet{c.want, c.want}
				want[0].Number, want[0].Data = 1, hello
				want[1].Number, want[1].Data = 2, hello
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
				wantRemark(t, r, c.remark)
				if r.Truncated() {
					t.Error("is taken for truncated")
				}
			})
		}
	}
}

func plainRecord(seconds, part, kept, length uint32) func(bothOrders) []byte {
	return func(o bothOrders) []byte { return classicRecord(o, seconds, part, kept, length, hello) }
}

func modified(how byte) func(bothOrders) []byte {
	return func(o bothOrders) []byte { return modifiedRecord(o, day, 7, how, hello) }
}

func TestClassicInterface(t *testing.T) {
	o := binary.BigEndian
	file := slices.Concat(classicHead(o, magicNano, 2, 4, 96, 2<<28|1<<26|276),
		classicRecord(o, 20, 1, 5, 5, hello), classicRecord(o, 10, 1, 5, 1500, hello), classicRecord(o, 15, 0, 5, 96, hello))
	r, _ := readAll(t, file)
	want := []Interface{{LinkType: 276, Snaplen: 96, Resolution: 9, FCS: 4, Packets: 3, Cut: 2, First: 10*second + 1, Last: 20*second + 1}}
	if diff := cmp.Diff(want, r.Interfaces()); diff != "" {
		t.Error(diff)
	}
}

// Every block there is, in two sections of different order.
func everything(first, then bothOrders) []byte {
	return slices.Concat(
		ngSection(first, ngOption(first, sectionApplication, "a program"), ngOption(first, sectionOS, "Linux"), ngOption(first, optComment, "of the section")),
		ngInterface(first, 1, 0, ngOption(first, interfaceName, "eth0\x00"), ngOption(first, interfaceDescription, "a card"),
			ngOption(first, interfaceFilter, "\x00tcp"), ngOption(first, interfaceFCS, "\x04"), ngOption(first, optEnd, "")),
		ngInterface(first, 276, 96, ngOption(first, interfaceName, "any"), ngOption(first, interfaceResolution, "\x09"), ngOption(first, interfaceOS, "BSD")),
		ngPacket(first, 0, day*1e6+7, 5, hello, ngOption(first, packetFlags, first.AppendUint32(nil, 1)), ngOption(first, optComment, "of packet 1")),
		ngPacket(first, 1, day*1e9+7, 1500, world, ngOption(first, packetFlags, first.AppendUint32(nil, 2|4)), ngOption64(first, packetDrops, 3)),
		ngBlock(first, blockSimple, first.AppendUint32(nil, 15), padded(world)),
		ngOldPacket(first, 1, 2, day*1e9+8, hello, ngOption(first, packetFlags, first.AppendUint32(nil, 1))),
		ngBlock(first, blockNames,
			ngOption(first, nameIPv4, "\xc0\x00\x02\x01web\x00www\x00"), ngOption(first, 3, "\x02\x00\x00\x00\x00\x01mac\x00"),
			ngOption(first, nameIPv6, "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01six\x00"), ngOption(first, nameIPv4, "\xc0\x00\x02\x01web\x00"), ngOption(first, nameEnd, "")),
		ngBlock(first, blockSecrets, make([]byte, 12)),
		ngBlock(first, blockCustom, make([]byte, 8)), ngBlock(first, blockCustomOnly, make([]byte, 8)),
		ngBlock(first, blockJournal, []byte("__REALTIME_TIMESTAMP=1\n")),
		ngBlock(first, 0x777),
		ngStatistics(first, 0, ngOption64(first, statisticsReceived, 10), ngOption64(first, statisticsDropped, 1), ngOption64(first, statisticsOSDrop, 2)),
		ngStatistics(first, 0, ngOption64(first, statisticsReceived, 20), ngOption64(first, statisticsDropped, 4), ngOption64(first, statisticsOSDrop, 2)),
		ngSection(then),
		ngInterface(then, 101, 0, ngOption(then, interfaceResolution, "\x8a"), ngOption64(then, interfaceOffset, day)),
		ngPacket(then, 0, 1536, 5, hello),
	)
}

func TestNextGeneration(t *testing.T) {
	const nanos = day * second
	want := []Packet{
		{Number: 1, Time: nanos + 7000, LinkType: 1, Direction: 1, Length: 5, Data: hello},
		{Number: 2, Time: nanos + 7, Interface: 1, LinkType: 276, Direction: 2, Length: 1500, Data: world},
		{Number: 3, LinkType: 1, Length: 15, Data: world},
		{Number: 4, Time: nanos + 8, Interface: 1, LinkType: 276, Direction: 1, Length: 5, Data: hello},
		{Number: 5, Time: nanos + second*3/2, Interface: 2, LinkType: 101, Length: 5, Data: hello},
	}
	interfaces := []Interface{
		{Name: "eth0", Description: "a card", Filter: "tcp", OS: "Linux", Application: "a program", LinkType: 1, Resolution: 6, FCS: 4,
			Packets: 2, Received: 20, Dropped: 6, Lossy: true, First: nanos + 7000, Last: nanos + 7000},
		{Number: 1, Name: "any", OS: "BSD", Application: "a program", LinkType: 276, Snaplen: 96, Resolution: 9,
			Packets: 2, Cut: 1, Dropped: 5, Lossy: true, First: nanos + 7, Last: nanos + 8},
		{Section: 1, LinkType: 101, Resolution: 0x8a, Packets: 1, First: nanos + second*3/2, Last: nanos + second*3/2},
	}
	web := netip.MustParseAddr("192.0.2.1")
	names := []Name{{web, "web"}, {web, "www"}, {netip.MustParseAddr("2001:db8::1"), "six"}}
	comments := []Comment{{0, "of the section"}, {1, "of packet 1"}}
	for i, o := range orders {
		t.Run(o.name, func(t *testing.T) {
			r, got := readAll(t, everything(o, orders[1-i]))
			for _, diff := range []string{cmp.Diff(want, got), cmp.Diff(interfaces, r.Interfaces()), cmp.Diff(comments, r.Comments()),
				cmp.Diff(names, r.Names(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }))} {
				if diff != "" {
					t.Error(diff)
				}
			}
			var skipped, others uint64
			for _, m := range r.Remarks() {
				if m.Harmless {
					skipped += 1 + m.More
				} else {
					others += 1 + m.More
				}
			}
			if skipped != 5 || others != 1 {
				t.Errorf("%d blocks skipped, %d other remarks, want 5, and one for the packet without a time:\n%s", skipped, others, remarks(r))
			}
			wantRemark(t, r, "keeps no time of packet 3")
		})
	}
}

// A count of the drops of all interfaces must not be taken for one's own.
func TestDropsOfAll(t *testing.T) {
	o := binary.LittleEndian
	for _, drops := range []uint64{0, 3} {
		r, _ := readAll(t, slices.Concat(ngSection(o), ngInterface(o, 276, 0), ngInterface(o, 276, 0),
			ngStatistics(o, 0, ngOption(o, optComment, CountsAll), ngOption64(o, statisticsOSDrop, drops)),
			ngStatistics(o, 1, ngOption64(o, statisticsReceived, 1))))
		want := []Interface{
			{LinkType: 276, Resolution: 6, Dropped: drops, Lossy: true, DroppedOfAll: drops > 0},
			{LinkType: 276, Number: 1, Resolution: 6, Received: 1, Lossy: drops == 0},
		}
		if diff := cmp.Diff(want, r.Interfaces()); diff != "" {
			t.Error(diff)
		}
	}
}

func TestClock(t *testing.T) {
	for _, c := range []struct {
		resolution uint8
		offset     int64
		ticks      uint64
		want       int64
		inRange    bool
	}{
		{6, 0, 1, 1000, true},
		{0, 0, 1, second, true},
		{9, 0, math.MaxInt64, math.MaxInt64, true},
		{9, 0, math.MaxUint64, math.MaxInt64, false},
		{6, 0, math.MaxUint64, math.MaxInt64, false},
		{0, 0, math.MaxUint64, math.MaxInt64, false},
		{12, 0, 1_500_000_000_000, second * 3 / 2, true},
		{19, 0, 10_000_000_000_000_000_001, second, true},
		{0x80, 0, 3, 3 * second, true},
		{0x81, 0, 3, second * 3 / 2, true},
		{0xbf, 0, 1 << 62, second / 2, true},
		{6, -1, 1_500_000, second / 2, true},
		{6, -10, 0, -10 * second, true},
		{6, math.MinInt64, 0, math.MinInt64, false},
		{6, math.MaxInt64, 1e6, math.MaxInt64, false},
		{6, math.MaxInt64, 0, math.MaxInt64, false},
	} {
		clock, ok := newClock(c.resolution, c.offset)
		if !ok {
			t.Errorf("resolution %#x is refused", c.resolution)
			continue
		}
		if got, inRange := clock.time(c.ticks); got != c.want || inRange != c.inRange {
			t.Errorf("%d ticks of %#x and %d s are %d ns (%v), want %d (%v)", c.ticks, c.resolution, c.offset, got, inRange, c.want, c.inRange)
		}
	}
	for _, absurd := range []uint8{20, 64, 127, 0x80 | 64, 0xff} {
		if _, ok := newClock(absurd, 0); ok {
			t.Errorf("resolution %#x is accepted", absurd)
		}
	}
}

// A batch is valid while another one is filled, whatever the size of reads.
func TestBatchesAlternate(t *testing.T) {
	o := binary.LittleEndian
	file := classicHead(o, magicNano, 2, 4, 0, 1)
	const packets = 5000
	for i := range packets {
		data := bytes.Repeat([]byte{byte(i)}, 300+i%500)
		file = append(file, classicRecord(o, uint32(i), 0, uint32(len(data)), uint32(len(data)), data)...)
	}
	for name, in := range map[string]io.Reader{"whole": bytes.NewReader(file), "in pieces": &pieces{data: file}} {
		r, err := Open(in)
		if err != nil {
			t.Fatal(err)
		}
		var batches [2]Batch
		seen, fills := 0, 0
		for before := 0; ; fills++ {
			err := r.Fill(&batches[fills%2])
			if last := &batches[(fills+1)%2]; fills > 0 {
				checkBatch(t, name, last, before)
				before += len(last.Packets)
				seen = before
			}
			if err != nil {
				if err != io.EOF {
					t.Fatal(err)
				}
				break
			}
		}
		if seen != packets || fills < 3 {
			t.Errorf("%s: %d packets in %d batches, want %d in some", name, seen, fills, packets)
		}
	}
}

func checkBatch(t *testing.T, name string, b *Batch, before int) {
	t.Helper()
	for i, p := range b.Packets {
		n := before + i
		if p.Number != n+1 || p.Time != int64(n)*second || !bytes.Equal(p.Data, bytes.Repeat([]byte{byte(n)}, 300+n%500)) {
			t.Fatalf("%s: packet %d is number %d, of %d s, with %d bytes", name, n+1, p.Number, p.Time/second, len(p.Data))
		}
	}
}

// pieces gives reads of odd sizes, and some of nothing.
type pieces struct {
	data []byte
	n    int
}

func (p *pieces) Read(b []byte) (int, error) {
	p.n++
	if len(p.data) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.n*37%5000)], p.data)
	p.data = p.data[n:]
	return n, nil
}

func TestOpenRefuses(t *testing.T) {
	for _, in := range []string{"", "abc", "not a capture at all", "\x0a\x0d\x0d\x0aTEXT WITH LINES", "\x1f\x8b\x08\x00", "PK\x03\x04"} {
		if _, err := Open(strings.NewReader(in)); !errors.Is(err, ErrNotCapture) {
			t.Errorf("%q: %v", in, err)
		}
	}
	broken := errors.New("the disk is broken")
	if _, err := Open(iotest.ErrReader(broken)); !errors.Is(err, broken) || errors.Is(err, ErrNotCapture) {
		t.Errorf("of a broken disk: %v", err)
	}
}

// An error of reading comes after the packets before it.
func TestReadError(t *testing.T) {
	broken := errors.New("the disk is broken")
	file := twoRecords(binary.LittleEndian)
	r, packets, err := drain(io.MultiReader(bytes.NewReader(file[:len(file)-3]), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) || len(packets) != 1 {
		t.Errorf("%d packets, %v", len(packets), err)
	}
	if err == nil || !strings.Contains(err.Error(), "after packet") || len(r.Remarks()) != 0 {
		t.Errorf("%v, remarks %q", err, remarks(r))
	}
	if _, err := r.Next(); !errors.Is(err, broken) {
		t.Errorf("and then %v", err)
	}
}

func twoRecords(o bothOrders) []byte {
	return slices.Concat(classicHead(o, magicMicro, 2, 4, 0, 1), classicRecord(o, 1, 0, 5, 5, hello), classicRecord(o, 2, 0, 15, 15, world))
}

// A file that is cut anywhere gives every packet that is whole, and says so.
func TestTruncatedAnywhere(t *testing.T) {
	for name, file := range map[string][]byte{
		"pcap": twoRecords(binary.BigEndian), "pcapng": everything(binary.LittleEndian, binary.BigEndian),
		"modified": slices.Concat(classicHead(binary.LittleEndian, magicModified, 2, 4, 0, 1), modifiedRecord(binary.LittleEndian, 1, 0, 0, hello)),
	} {
		whole, want := readAll(t, file)
		if whole.Truncated() {
			t.Fatalf("%s: the whole file is taken for truncated", name)
		}
		seen := 0
		for n := 4; n < len(file); n++ {
			r, got := readAll(t, file[:n])
			if len(got) < seen || len(got) > seen+1 {
				t.Fatalf("%s: cut to %d bytes it has %d packets, and with one byte less %d", name, n, len(got), seen)
			}
			seen = len(got)
			if diff := cmp.Diff(want[:seen], got); seen > 0 && diff != "" {
				t.Fatalf("%s: cut to %d bytes: %s", name, n, diff)
			}
			if r.Truncated() != strings.Contains(remarks(r), "was cut off") {
				t.Fatalf("%s: cut to %d bytes: truncated %v, remarks %q", name, n, r.Truncated(), remarks(r))
			}
			if atBoundary := endsWhole(name, file, n); r.Truncated() == atBoundary {
				t.Fatalf("%s: cut to %d bytes: truncated %v", name, n, r.Truncated())
			}
		}
		if seen != len(want)-1 && name != "pcapng" {
			t.Errorf("%s: %d packets of %d without the last byte", name, seen, len(want))
		}
	}
}

// endsWhole tells by the lengths in a file whether n bytes end with a record.
func endsWhole(name string, file []byte, n int) bool {
	at := 0
	o := bothOrders(binary.LittleEndian)
	switch name {
	case "pcap":
		o, at = binary.BigEndian, fileHeader
	case "modified":
		at = fileHeader
	}
	for at < n {
		switch {
		case name == "pcap":
			at += recordHeader + int(o.Uint32(file[at+8:]))
		case name == "modified":
			at += modifiedHeader + int(o.Uint32(file[at+8:]))
		default:
			if binary.LittleEndian.Uint32(file[at:]) == magicSection && binary.BigEndian.Uint32(file[at+8:]) == magicOrder {
				o = binary.BigEndian
			}
			at += int(o.Uint32(file[at+4:]))
		}
	}
	return at == n
}

func TestTruncationSays(t *testing.T) {
	file := twoRecords(binary.LittleEndian)
	r, _ := readAll(t, file[:len(file)-2])
	want := []Remark{{Packet: 1, Offset: 45, Text: "ends at byte 74 in the middle of packet 2, which begins at byte 45: the capture was cut off"}}
	if diff := cmp.Diff(want, r.Remarks()); diff != "" {
		t.Error(diff)
	}
}

// Remarks of one kind are counted, and do not fill the memory.
func TestRemarksAreBounded(t *testing.T) {
	o := binary.LittleEndian
	file := slices.Concat(ngSection(o), ngInterface(o, 1, 0))
	for i := range 1000 {
		file = append(file, ngBlock(o, 0x5000+uint32(i))...)
		file = append(file, ngPacket(o, 5, 0, 5, hello)...)
	}
	file = append(file, ngPacket(o, 0, 1, 5, hello)...)
	r, packets := readAll(t, file)
	if len(packets) != 1 || packets[0].Number != 1001 {
		t.Errorf("packets %v, want the last one, with number 1001", packets)
	}
	if got := r.Remarks(); len(got) != 2 || got[0].More != 999 || got[1].More != 999 {
		t.Errorf("remarks %+v", got)
	} else if s := got[0].String(); !strings.HasSuffix(s, "(and 999 more like it)") || got[0].Packet != 0 {
		t.Errorf("after packet %d: %s", got[0].Packet, s)
	}
}

// A simple packet has what the snaplen left of it, and no padding.
func TestSimplePacketIsCut(t *testing.T) {
	o := binary.LittleEndian
	r, packets := readAll(t, slices.Concat(ngSection(o), ngInterface(o, 1, 15), ngBlock(o, blockSimple, o.AppendUint32(nil, 40), padded(world))))
	if len(packets) != 1 || packets[0].Length != 40 || !bytes.Equal(packets[0].Data, world) || r.Interfaces()[0].Cut != 1 {
		t.Errorf("packets %+v, interface %+v", packets, r.Interfaces()[0])
	}
}

func TestNotTold(t *testing.T) {
	o := binary.LittleEndian
	r, _ := readAll(t, slices.Concat(ngSection(o),
		ngInterface(o, 1, 0, ngOption(o, interfaceFilter, "\x01\x06\x00\x00\x00")), // a program, no text
		ngOldPacket(o, 0, 0xffff, 0, hello)))
	if i := r.Interfaces()[0]; i.Lossy || i.Dropped != 0 || i.Filter != "" {
		t.Errorf("interface %+v, of which the file tells nothing", i)
	}
}

func TestTimesBefore1970(t *testing.T) {
	o := binary.LittleEndian
	r, _ := readAll(t, slices.Concat(ngSection(o), ngInterface(o, 1, 0, ngOption64(o, interfaceOffset, 1<<64-10)),
		ngPacket(o, 0, 1e6, 5, hello), ngPacket(o, 0, 2e6, 5, hello)))
	if i := r.Interfaces()[0]; i.First != -9*second || i.Last != -8*second {
		t.Errorf("from %d to %d ns, want from -9 to -8 s", i.First, i.Last)
	}
}

// One batch may serve several readers in turn.
func TestBatchOfTwoReaders(t *testing.T) {
	o := binary.LittleEndian
	file := classicHead(o, magicNano, 2, 4, 0, 1)
	for i := range 6000 {
		n := 300 + i%500
		file = append(file, classicRecord(o, uint32(i), 0, uint32(n), uint32(n), bytes.Repeat([]byte{byte(i)}, n))...)
	}
	var b Batch
	var readers [2]*Reader
	var seen [2]int
	for i := range readers {
		r, err := Open(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		readers[i] = r
	}
	for ended := 0; ended < len(readers); {
		for i, r := range readers {
			if err := r.Fill(&b); err == io.EOF {
				ended++
				continue
			} else if err != nil {
				t.Fatal(err)
			}
			checkBatch(t, "shared", &b, seen[i])
			seen[i] += len(b.Packets)
		}
	}
	if seen != [2]int{6000, 6000} {
		t.Errorf("%d packets, want 6000 each", seen)
	}
}

type silent struct{}

func (silent) Read([]byte) (int, error) { return 0, nil }

// A reader that gives nothing for ever does not hang us.
func TestSilentReader(t *testing.T) {
	if _, err := Open(silent{}); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("at the begin: %v", err)
	}
	_, packets, err := drain(io.MultiReader(bytes.NewReader(twoRecords(binary.LittleEndian)), silent{}))
	if len(packets) != 2 || !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("%d packets, %v", len(packets), err)
	}
}
