package pcap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket/pcapgo"
)

// write gives a file of two places.
func write(t *testing.T) ([]byte, []Packet) {
	t.Helper()
	var out bytes.Buffer
	w := NewWriter(&out)
	w.Section("whichbackend 1.0", "the connection from a to b", "and another comment")
	places := []int{
		w.Interface(WriterInterface{Name: "node1 any", Description: "of node1", LinkType: 276, Snaplen: 96, Comment: "before the NAT"}),
		w.Interface(WriterInterface{Name: "eth0", LinkType: 1}),
	}
	packets := []Packet{
		{Number: 1, Time: day*second + 123456789, Interface: 0, LinkType: 276, Direction: 1, Length: 1500, Data: world},
		{Number: 2, Time: day*second + 123456790, Interface: 1, LinkType: 1, Direction: 2, Length: 5, Data: hello},
		{Number: 3, Time: 0, Interface: 1, LinkType: 1, Length: 0, Data: []byte{}},
		{Number: 4, Time: 1, Interface: 0, LinkType: 276, Length: MaxPacket, Data: bytes.Repeat([]byte{7}, MaxPacket)},
	}
	w.Packet(places[0], packets[0], "SYN", "packet 9 of node1/any.pcap")
	for _, p := range packets[1:] {
		w.Packet(places[p.Interface], p)
	}
	w.Names([]Name{{netip.MustParseAddr("192.0.2.1"), "web"}, {netip.Addr{}, "nobody"}, {netip.MustParseAddr("2001:db8::1"), "six"}, {netip.MustParseAddr("::ffff:192.0.2.2"), "mapped\x00more"}})
	if err := w.Close(); err != nil || w.Err() != nil {
		t.Fatal(err)
	}
	return out.Bytes(), packets
}

func TestWriterToReader(t *testing.T) {
	file, want := write(t)
	r, got := readAll(t, file)
	if diff := cmp.Diff(want, got, cmp.Comparer(bytes.Equal)); diff != "" {
		t.Error(diff)
	}
	wantRemark(t, r, "")
	interfaces := []Interface{
		{Name: "node1 any", Description: "of node1", LinkType: 276, Snaplen: 96, Resolution: 9, Application: "whichbackend 1.0", Packets: 2, Cut: 1, First: 1, Last: want[0].Time},
		{Number: 1, Name: "eth0", LinkType: 1, Resolution: 9, Application: "whichbackend 1.0", Packets: 2, Last: want[1].Time},
	}
	if diff := cmp.Diff(interfaces, r.Interfaces()); diff != "" {
		t.Error(diff)
	}
	comments := []Comment{{0, "the connection from a to b"}, {0, "and another comment"}, {0, "before the NAT"}, {1, "SYN"}, {1, "packet 9 of node1/any.pcap"}}
	if diff := cmp.Diff(comments, r.Comments()); diff != "" {
		t.Error(diff)
	}
	names := []Name{{netip.MustParseAddr("192.0.2.1"), "web"}, {netip.MustParseAddr("2001:db8::1"), "six"}, {netip.MustParseAddr("192.0.2.2"), "mapped"}}
	if diff := cmp.Diff(names, r.Names(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

// What we write others read.
func TestWriterToPcapgo(t *testing.T) {
	file, want := write(t)
	r, err := pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range want {
		data, ci, err := r.ReadPacketData()
		if err != nil {
			t.Fatalf("packet %d: %v", p.Number, err)
		}
		if !bytes.Equal(data, p.Data) || ci.Timestamp.UnixNano() != p.Time || ci.Length != p.Length || ci.InterfaceIndex != p.Interface {
			t.Errorf("packet %d is %+v with %d bytes", p.Number, ci, len(data))
		}
	}
	if _, _, err := r.ReadPacketData(); err != io.EOF {
		t.Errorf("after the last packet: %v", err)
	}
	section := r.SectionInfo()
	if section.Application != "whichbackend 1.0" || !strings.HasPrefix(section.Comment, "the connection") && !strings.HasPrefix(section.Comment, "and another") {
		t.Errorf("section %+v", section)
	}
	i, err := r.Interface(0)
	if err != nil || i.Name != "node1 any" || i.Description != "of node1" || i.SnapLength != 96 || i.Comment != "before the NAT" {
		t.Errorf("interface %+v, %v", i, err)
	}
}

// Text of strangers is UTF-8 in the file and fits an option.
func TestWriterText(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out)
	i := w.Interface(WriterInterface{Name: "caf\xe9", LinkType: 1})
	w.Packet(i, Packet{Data: hello}, strings.Repeat("é", 40000))
	w.Names([]Name{{netip.MustParseAddr("::1"), strings.Repeat("n", 70000)}})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, packets := readAll(t, out.Bytes())
	wantRemark(t, r, "")
	if got := r.Interfaces()[0].Name; got != "caf\ufffd" {
		t.Errorf("name %q", got)
	}
	if got := r.Comments(); len(packets) != 1 || len(got) != 1 || got[0].Text != strings.Repeat("é", 32767) {
		t.Errorf("%d packets, comment of %d bytes", len(packets), len(got[0].Text))
	}
	if got := r.Names(); len(got) != 1 || len(got[0].Name) != maxName {
		t.Errorf("names %v", got)
	}
}

func TestWriterErrors(t *testing.T) {
	for words, wrong := range map[string]func(*Writer){
		"interface 5":       func(w *Writer) { w.Packet(5, Packet{Number: 3}) },
		"interface -1":      func(w *Writer) { w.Packet(-1, Packet{}) },
		"more than 262144":  func(w *Writer) { w.Packet(w.Interface(WriterInterface{}), Packet{Data: make([]byte, MaxPacket+1)}) },
		"a section after":   func(w *Writer) { w.Interface(WriterInterface{}); w.Section("late") },
		"too many comments": manyComments,
	} {
		var out bytes.Buffer
		w := NewWriter(&out)
		wrong(w)
		w.Names(nil) // the first error stays
		if err := w.Close(); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%v, want %q", err, words)
		}
	}
	full := errors.New("the disk is full")
	w := NewWriter(failing{full})
	i := w.Interface(WriterInterface{LinkType: 1})
	for range 100 {
		w.Packet(i, Packet{Data: make([]byte, 4096)})
	}
	if err := w.Close(); !errors.Is(err, full) {
		t.Errorf("of a full disk: %v", err)
	}
}

func manyComments(w *Writer) {
	comment := strings.Repeat("x", maxOption)
	comments := make([]string, 20)
	for i := range comments {
		comments[i] = comment
	}
	w.Packet(w.Interface(WriterInterface{}), Packet{}, comments...)
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestWriterEmpty(t *testing.T) {
	var out bytes.Buffer
	if err := NewWriter(&out).Close(); err != nil {
		t.Fatal(err)
	}
	r, packets := readAll(t, out.Bytes())
	if len(packets) != 0 || len(r.Remarks()) != 0 || binary.LittleEndian.Uint32(out.Bytes()) != magicSection {
		t.Errorf("%d packets, remarks %q", len(packets), remarks(r))
	}
}

// A packet is written without making anything.
func BenchmarkWriter(b *testing.B) {
	w := NewWriter(io.Discard)
	i := w.Interface(WriterInterface{LinkType: 1})
	data := make([]byte, 245)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		w.Packet(i, Packet{Time: day * second, Direction: 1, Length: 245, Data: data})
	}
}
