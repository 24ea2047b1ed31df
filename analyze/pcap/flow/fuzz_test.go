package flow

import (
	"bytes"
	"io"
	"math"
	"reflect"
	"runtime"
	"testing"

	"whichbackend/analyze/pcap"
	"whichbackend/analyze/pcap/decode"
	"whichbackend/analyze/record"
)

// TestDeterministic: one core or two, the same flows.
func TestDeterministic(t *testing.T) {
	var buf bytes.Buffer
	packets, err := generate(&buf, 3000, 200)
	if err != nil {
		t.Fatal(err)
	}
	two := readAll(t, buf.Bytes())
	old := runtime.GOMAXPROCS(1)
	one := readAll(t, buf.Bytes())
	runtime.GOMAXPROCS(old)
	if !reflect.DeepEqual(one, two) {
		t.Error("one core gives other flows than two")
	}
	if len(one.flows) != 3000 || one.sum.InFlows != uint64(packets) || one.sum.Unknown+one.sum.Known != 0 {
		t.Errorf("%d flows, %+v of %d packets", len(one.flows), one.sum, packets)
	}
	for i := range one.flows {
		f := &one.flows[i]
		if f.Guessed || f.Client.SYN == 0 || f.Server.SYN == 0 || f.Client.FIN == 0 || f.Duplicates > 0 || !f.HTTP {
			t.Fatalf("flow %+v", f)
		}
		check(t, f, packets)
	}
}

// check tells of what no flow can be, whatever the capture.
func check(t *testing.T, f *record.Flow, packets int) {
	t.Helper()
	inside := func(n int) bool { return n >= 0 && n <= packets }
	ok := f.Packet >= 1 && inside(f.Packet) && inside(f.Fault.Packet) && !f.Last.Before(f.First) &&
		f.Tuple.Source.Addr().IsValid() && f.Tuple.Destination.Addr().IsValid() && f.Exchanged >= len(f.Exchanges)
	total := f.Duplicates
	for _, h := range []*record.Half{&f.Client, &f.Server} {
		total += h.Packets
		ok = ok && inside(h.SYN) && inside(h.FIN) && inside(h.RST) && inside(h.Data) &&
			(h.SYN > 0) == (h.SYNs > 0) && h.BeginLength <= sampled && len(h.Stamps) <= maxStamps &&
			h.Payload <= (h.Packets+1)*math.MaxUint32 && (h.Packets > 0 || reflect.DeepEqual(*h, record.Half{Scale: -1}))
		for _, s := range h.Segments {
			ok = ok && s.Packet >= f.Packet && inside(s.Packet)
		}
	}
	ok = ok && total <= uint64(packets) && (total > 0 || f.Fault.Packet > 0)
	var up, down uint64
	for _, x := range f.Exchanges {
		ok = ok && x.Packet >= f.Packet && inside(x.Packet)
		up, down = up+x.Up, down+x.Down
	}
	if ok = ok && up <= f.Client.Payload && down <= f.Server.Payload; !ok {
		t.Fatalf("flow of %d packets cannot be: %+v", packets, f)
	}
}

// readHere does what Read does on one goroutine: who fuzzes wants to know what
// an input does, and not how it was scheduled.
//
// It gives the number of the last packet too: the reader counts the packets
// that it cannot read.
func readHere(t *testing.T, r *pcap.Reader) (*found, int) {
	table, err := newTable()
	if err != nil {
		t.Fatal(err)
	}
	table.seed = seeds{1, 2, 3, 4} // the same every time
	var b pcap.Batch
	var g group
	last := 0
	for {
		err := r.Fill(&b)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("reading from memory: %v", err)
		}
		last = b.Packets[len(b.Packets)-1].Number
		for rest := b.Packets; len(rest) > 0; {
			if rest, err = g.decode(rest, table.places, &table.seed); err != nil {
				t.Fatal(err)
			}
			table.take(&g)
		}
	}
	var got found
	table.emit(r, &got)
	got.sum = table.sum
	return &got, last
}

// FuzzRead takes any bytes for a capture.
func FuzzRead(f *testing.F) {
	var buf bytes.Buffer
	if _, err := generate(&buf, 4, 3); err != nil {
		f.Fatal(err)
	}
	f.Add(buf.Bytes())
	for _, link := range []func([]byte) []byte{sll(0), sll2(4, 1), vlan(5)} {
		c := newCapture(f, decode.LinkSLL, decode.LinkSLL2, decode.LinkEthernet)
		for i := range 3 {
			c.on, c.link = i, link
			c.handshake(client, server, 1<<32-3, 7)
			c.tcp(client, server, tcpPacket{seq: 1<<32 - 2, flags: push, payload: "PROXY TCP4 1.1.1.1 2.2.2.2 3 4\r\nGET / HTTP/1.1\r\nx-request-id: 5\r\n\r\n"})
			c.tcp(server, client, tcpPacket{seq: 8, flags: push | flagFIN, payload: "answer"})
			a, b := fragmented(udp("10.0.0.1:53", "10.0.0.2:50000", "\x00\x01\x80\x00\x00\x01", 1), 8)
			c.packet(a)
			c.packet(b)
			c.packet(icmp("10.0.0.2", "10.0.0.1", a))
		}
		if err := c.w.Close(); err != nil {
			f.Fatal(err)
		}
		f.Add(c.buf.Bytes())
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := pcap.Open(bytes.NewReader(file))
		if err != nil {
			return
		}
		got, packets := readHere(t, r)
		s := got.sum
		if s.Packets != s.InFlows+s.Known+s.Unknown || s.Flows != uint64(len(got.flows)) {
			t.Fatalf("%+v, %d flows", s, len(got.flows))
		}
		last := 0
		for i := range got.flows {
			check(t, &got.flows[i], packets)
			if got.flows[i].Packet <= last {
				t.Fatalf("flow of packet %d behind that of packet %d", got.flows[i].Packet, last)
			}
			last = got.flows[i].Packet
		}
		var undecoded uint64
		for _, u := range got.undecoded {
			undecoded += u.Packets
		}
		if undecoded != s.Known+s.Unknown {
			t.Fatalf("%d packets have a reason, of %+v", undecoded, s)
		}
	})
}
