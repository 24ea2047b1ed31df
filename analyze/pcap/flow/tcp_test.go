package flow

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"whichbackend/analyze/pcap/decode"
	"whichbackend/analyze/record"
)

// TestConnection follows one connection from SYN to FIN.
func TestConnection(t *testing.T) {
	c := newCapture(t, decode.LinkEthernet)
	c.handshake(client, server, 5000, 9000)
	c.tcp(client, server, tcpPacket{seq: 5001, ack: 9001, flags: push, payload: "question"})
	c.tcp(server, client, tcpPacket{seq: 9001, ack: 5009, flags: push, payload: "the answer", ttl: 62})
	c.tcp(client, server, tcpPacket{seq: 5009, ack: 9011, flags: ack | flagFIN})
	c.tcp(server, client, tcpPacket{seq: 9011, ack: 5010, flags: ack | flagFIN})
	c.tcp(client, server, tcpPacket{seq: 5010, ack: 9012, flags: ack})
	f := c.one()
	if got := fmt.Sprintf("%v %v %v %q %q", f.Tuple, f.Guessed, f.Packet, f.Device, f.Encapsulation); got != `{10.0.0.1:40000 10.96.0.1:80} false 1 "eth0" ""` {
		t.Errorf("flow %s", got)
	}
	if f.First != start.Add(10*time.Millisecond) || f.Last != start.Add(80*time.Millisecond) {
		t.Errorf("from %v to %v", f.First, f.Last)
	}
	x, y := f.Client, f.Server
	if got := fmt.Sprint(x.Packets, x.Payload, x.SYN, x.FIN, x.RST, x.SYNs, x.ISN, x.Stamps, x.MSS, x.Scale, x.Data, x.TTL, x.IPID); got != "5 8 1 6 0 1 5000 [1000] 1460 7 4 64 101" {
		t.Errorf("client %s", got)
	}
	if got := fmt.Sprint(y.Packets, y.Payload, y.SYN, y.FIN, y.RST, y.SYNs, y.ISN, y.Stamps, y.MSS, y.Scale, y.Data, y.TTL); got != "3 10 2 7 0 1 9000 [2000] 1400 8 5 64" {
		t.Errorf("server %s", got)
	}
	if x.SYNTime != start.Add(10*time.Millisecond) || y.DataTime != start.Add(50*time.Millisecond) {
		t.Errorf("SYN %v, data %v", x.SYNTime, y.DataTime)
	}
	if x.Bytes != 5*54+20+12+8 { // options of SYN and ACK, and the data
		t.Errorf("bytes %d", x.Bytes)
	}
	if len(f.Exchanges) != 1 || f.Exchanges[0].Up != 8 || f.Exchanges[0].Down != 10 || f.Exchanges[0].Packet != 4 {
		t.Errorf("exchanges %+v", f.Exchanges)
	}
}

// TestRepeatedSYN: a repetition has the same number and another timestamp.
func TestRepeatedSYN(t *testing.T) {
	c := newCapture(t, decode.LinkEthernet)
	for i := range uint32(6) {
		c.now += time.Second
		c.tcp(client, server, tcpPacket{seq: 5000, flags: flagSYN, stamp: 1000 + i/2})
	}
	f := c.one()
	if h := f.Client; h.SYNs != 6 || h.SYN != 1 || !slices.Equal(h.Stamps, []uint32{1000, 1001, 1002}) || h.Payload != 0 {
		t.Errorf("client %+v", h)
	}
	if f.Server.SYN != 0 || f.Server.Packets != 0 || f.Server.Scale != -1 {
		t.Errorf("server %+v", f.Server)
	}
}

// TestWhoAsks: the end that sent the SYN, or that got a SYN/ACK, and else what
// the ports say.
func TestWhoAsks(t *testing.T) {
	for _, k := range []struct {
		name, from, to string
		flags          uint16
		want           string
		guessed        bool
	}{
		{"SYN", "10.0.0.1:80", "10.0.0.2:40000", flagSYN, "10.0.0.1:80", false},
		{"SYN/ACK", "10.0.0.1:40000", "10.0.0.2:80", flagSYN | ack, "10.0.0.2:80", false},
		{"the lower port serves", "10.0.0.1:80", "10.0.0.2:40000", ack, "10.0.0.2:40000", true},
		{"the lower port serves, other way", "10.0.0.2:8080", "10.0.0.1:40000", ack, "10.0.0.1:40000", true},
		{"both lower", "10.0.0.2:8080", "10.0.0.1:9000", ack, "10.0.0.1:9000", true},
		{"both high: the first", "10.0.0.2:40000", "10.0.0.1:50000", ack, "10.0.0.2:40000", true},
		{"equal: the first", "10.0.0.2:500", "10.0.0.1:500", ack, "10.0.0.2:500", true},
	} {
		t.Run(k.name, func(t *testing.T) {
			c := newCapture(t, decode.LinkEthernet)
			c.tcp(k.from, k.to, tcpPacket{seq: 7, ack: 8, flags: k.flags})
			if f := c.one(); f.Tuple.Source.String() != k.want || f.Guessed != k.guessed {
				t.Errorf("client %v, guessed %v", f.Tuple.Source, f.Guessed)
			}
		})
	}
}

// TestWhoAsksByDatagram: a NAT gives clients ports below those of servers, and
// who sent first tells more than they do.
func TestWhoAsksByDatagram(t *testing.T) {
	for _, k := range []struct{ name, from, to, want string }{
		{"both registered: the first", "10.0.0.1:4162", "10.0.0.2:8053", "10.0.0.1:4162"},
		{"a well-known port", "10.0.0.2:53", "10.0.0.1:4162", "10.0.0.1:4162"},
		{"a port of the range for clients", "10.0.0.2:8053", "10.0.0.1:40000", "10.0.0.1:40000"},
	} {
		t.Run(k.name, func(t *testing.T) {
			c := newCapture(t, decode.LinkEthernet)
			c.packet(udp(k.from, k.to, "hello", 1))
			if f := c.one(); f.Tuple.Source.String() != k.want || !f.Guessed {
				t.Errorf("client %v, guessed %v", f.Tuple.Source, f.Guessed)
			}
		})
	}
}

// TestLateSYN: the SYN was captured behind the first data, and still decides.
func TestLateSYN(t *testing.T) {
	c := newCapture(t, decode.LinkEthernet)
	c.tcp("10.0.0.1:80", "10.0.0.2:40000", tcpPacket{seq: 101, ack: 201, flags: push, payload: "early"})
	c.tcp("10.0.0.1:80", "10.0.0.2:40000", tcpPacket{seq: 100, flags: flagSYN})
	f := c.one()
	if f.Tuple.Source.String() != "10.0.0.1:80" || f.Guessed || f.Client.ISN != 100 || f.Client.SYN != 2 || f.Client.Payload != 5 {
		t.Errorf("%+v", f)
	}
}

// TestWrongGuess: what was taken for a request is none when a SYN/ACK comes late.
func TestWrongGuess(t *testing.T) {
	c := newCapture(t, decode.LinkEthernet)
	c.tcp("10.0.0.2:40000", "10.0.0.1:80", tcpPacket{seq: 500, ack: 101, flags: push, payload: "GET / HTTP/1.1\r\n\r\n"})
	c.tcp("10.0.0.2:40000", "10.0.0.1:80", tcpPacket{seq: 499, ack: 101, flags: flagSYN | ack})
	f := c.one()
	if f.Tuple.Source.String() != "10.0.0.1:80" || f.Guessed || f.HTTP || f.Exchanged != 0 || len(f.Exchanges) != 0 {
		t.Errorf("%+v", f)
	}
	if f.Server.Payload != 18 || f.Server.ISN != 499 {
		t.Errorf("%+v", f.Server)
	}
}

// TestOldAnswer: the server still speaks of an older connection when the SYN
// comes (RFC 5961), which is no data of the new one.
func TestOldAnswer(t *testing.T) {
	for _, old := range []tcpPacket{{seq: 3_000, flags: ack}, {seq: 300_000_000, flags: push, payload: "old"}} {
		c := newCapture(t, decode.LinkEthernet)
		c.tcp(client, server, tcpPacket{seq: 5, flags: flagSYN})
		c.tcp(server, client, old)
		c.tcp(server, client, tcpPacket{seq: 9, ack: 6, flags: flagSYN | ack})
		c.tcp(server, client, tcpPacket{seq: 10, ack: 6, flags: push, payload: "new"})
		f := c.one()
		if h := f.Server; h.Payload != 3 || h.ISN != 9 || h.Data != 4 || len(h.Segments) != 1 || f.Exchanged != 1 {
			t.Errorf("%+v", f)
		}
	}
}

// TestReuse: when one tuple is two connections.
func TestReuse(t *testing.T) {
	closed := func(c *capture) {
		c.handshake(client, server, 5000, 9000)
		c.tcp(client, server, tcpPacket{seq: 5001, ack: 9001, flags: push | flagFIN, payload: "bye"})
	}
	open := func(c *capture) { c.handshake(client, server, 5000, 9000) }
	for _, k := range []struct {
		name  string
		first func(*capture)
		then  tcpPacket
		flows int
	}{
		{"closed, another number", closed, tcpPacket{seq: 777777, flags: flagSYN}, 2},
		{"closed, the same number", closed, tcpPacket{seq: 5000, flags: flagSYN}, 2},
		{"closed, a late acknowledgement", closed, tcpPacket{seq: 5005, ack: 9001, flags: ack}, 1},
		{"closed, a repetition", closed, tcpPacket{seq: 5001, ack: 9001, flags: push, payload: "bye"}, 1},
		{"closed, data from elsewhere", closed, tcpPacket{seq: 900_000_000, ack: 9001, flags: push, payload: "hi"}, 2},
		{"open, a repeated SYN", open, tcpPacket{seq: 5000, flags: flagSYN}, 1},
		{"open, another number", open, tcpPacket{seq: 777777, flags: flagSYN}, 2},
		{"open, data from elsewhere", open, tcpPacket{seq: 900_000_000, ack: 9001, flags: push, payload: "hi"}, 1},
	} {
		t.Run(k.name, func(t *testing.T) {
			c := newCapture(t, decode.LinkEthernet)
			k.first(c)
			c.now += time.Second
			last := c.tcp(client, server, k.then)
			f := c.read()
			if len(f.flows) != k.flows {
				t.Fatalf("%d flows, want %d", len(f.flows), k.flows)
			}
			if g := f.flows[len(f.flows)-1]; k.flows == 2 && (g.Packet != last || g.Client.Packets != 1) {
				t.Errorf("the second one begins with packet %d", g.Packet)
			}
		})
	}
}

// TestCopiedSYN: a mirror that is late copies the SYN of a short connection
// behind its end.
func TestCopiedSYN(t *testing.T) {
	c := newCapture(t, decode.LinkEthernet)
	c.tcp(client, server, tcpPacket{seq: 5, flags: flagSYN})
	c.frame(ethernet(c.segment(client, server, tcpPacket{seq: 6, flags: ack | flagFIN})), 0)
	c.now += 900 * time.Microsecond
	c.frame(ethernet(c.segment(client, server, tcpPacket{seq: 5, flags: flagSYN})), 0)
	if f := c.one(); f.Client.SYNs != 2 {
		t.Errorf("%+v", f.Client)
	}
}

// TestOneAddress: both ends of a connection inside a host have one address.
func TestOneAddress(t *testing.T) {
	c := newCapture(t, decode.LinkEthernet)
	c.handshake("127.0.0.1:40000", "127.0.0.1:80", 5, 9)
	c.handshake("127.0.0.1:80", "127.0.0.2:40000", 5, 9)
	f := c.read()
	if len(f.flows) != 2 || f.flows[0].Client.Packets != 2 || f.flows[0].Server.Packets != 1 || f.flows[1].Server.Packets != 1 {
		t.Errorf("flows %+v", f.flows)
	}
}

// TestReset: who refused, and who gave up.
func TestReset(t *testing.T) {
	c := newCapture(t, decode.LinkEthernet)
	c.tcp(client, server, tcpPacket{seq: 5000, flags: flagSYN})
	refused := c.tcp(server, client, tcpPacket{ack: 5001, flags: flagRST | ack})
	f := c.one()
	if f.Server.RST != refused || f.Client.RST != 0 || f.Server.SYN != 0 || f.Server.Payload != 0 {
		t.Errorf("%+v", f)
	}
	c = newCapture(t, decode.LinkEthernet)
	c.handshake(client, server, 5000, 9000)
	gone := c.tcp(client, server, tcpPacket{seq: 5001, flags: flagRST, payload: "no reason to count this"})
	c.tcp(client, server, tcpPacket{seq: 5001, flags: flagRST})
	if f := c.one(); f.Client.RST != gone || f.Server.RST != 0 || f.Client.Payload != 0 || f.Client.Data != 0 || len(f.Exchanges) != 0 {
		t.Errorf("%+v", f)
	}
}

// TestPayload counts by sequence numbers, whatever of it was captured.
func TestPayload(t *testing.T) {
	type step struct {
		seq    uint32
		length int
	}
	for _, k := range []struct {
		name  string
		syn   bool // at 1000
		steps []step
		want  uint64
	}{
		{"in order", true, []step{{1001, 10}, {1011, 10}}, 20},
		{"repeated", true, []step{{1001, 10}, {1001, 10}, {1006, 10}}, 15},
		{"missing", true, []step{{1001, 10}, {1101, 10}}, 110},
		{"reordered", true, []step{{1011, 10}, {1001, 10}}, 20},
		{"missing at the end", true, []step{{1001, 10}, {1051, 0}}, 50},
		{"the acknowledgement of a FIN that is missing", true, []step{{1001, 10}, {1012, 0}}, 10},
		{"keep-alive", true, []step{{1001, 10}, {1010, 0}, {1010, 1}, {1011, 5}}, 15},
		{"keep-alive before any data", true, []step{{1000, 1}, {1000, 0}}, 0},
		{"without SYN", false, []step{{1001, 10}, {1011, 10}}, 20},
		{"without SYN, backwards", false, []step{{1011, 10}, {1001, 10}}, 20},
		{"without SYN, a keep-alive first", false, []step{{1000, 0}, {1001, 10}}, 10},
		{"without SYN, a keep-alive with a byte first", false, []step{{1000, 1}, {1001, 10}}, 10},
		{"without SYN, a gap", false, []step{{1001, 10}, {2001, 10}}, 1010},
		{"around 0", false, []step{{1<<32 - 5, 10}, {5, 10}}, 20},
		{"around 0, backwards", false, []step{{5, 10}, {1<<32 - 5, 10}}, 20},
		{"a stray segment", true, []step{{1001, 10}, {3_000_000_000, 10}, {1011, 10}}, 20},
		{"two stray segments", true, []step{{1001, 10}, {3_000_000_000, 10}, {2_500_000_000, 10}}, 10},
		{"much is missing", true, []step{{1001, 10}, {3_000_001_001, 10}, {3_000_001_011, 10}}, 3_000_000_020},
	} {
		t.Run(k.name, func(t *testing.T) {
			c := newCapture(t, decode.LinkEthernet)
			if k.syn {
				c.tcp(client, server, tcpPacket{seq: 1000, flags: flagSYN})
			}
			for _, s := range k.steps {
				c.tcp(client, server, tcpPacket{seq: s.seq, flags: ack, payload: strings.Repeat("x", s.length)})
			}
			f := c.one()
			if f.Client.Payload != k.want {
				t.Errorf("payload %d, want %d", f.Client.Payload, k.want)
			}
			if (f.Client.Data > 0) != (k.want > 0) {
				t.Errorf("the first data is packet %d", f.Client.Data)
			}
		})
	}
}

// TestMuchPayload: more than sequence numbers can count.
func TestMuchPayload(t *testing.T) {
	c := newCapture(t, decode.LinkEthernet)
	c.tcp(client, server, tcpPacket{seq: 1000, flags: flagSYN})
	seq := uint32(1001)
	for range 9 {
		seq += 1 << 29 // the capture misses what is between
		c.tcp(client, server, tcpPacket{seq: seq - 10, flags: ack, payload: "0123456789"})
	}
	if f := c.one(); f.Client.Payload != 9<<29 {
		t.Errorf("payload %d, want %d", f.Client.Payload, uint64(9<<29))
	}
}

// TestDuplicates: what a mirror port copies twice is told from a repetition.
func TestDuplicates(t *testing.T) {
	type copied struct {
		after time.Duration
		id    uint16
	}
	const v6from, v6to = "[fd00::1]:40000", "[fd00::2]:80"
	for _, k := range []struct {
		name, from, to string
		p              tcpPacket
		again          copied
		dups           uint64
	}{
		{"the same packet", client, server, tcpPacket{flags: push, payload: "x", id: 7}, copied{50 * time.Microsecond, 7}, 1},
		{"a pure acknowledgement", client, server, tcpPacket{flags: ack, id: 7}, copied{50 * time.Microsecond, 7}, 1},
		{"sent again", client, server, tcpPacket{flags: push, payload: "x", id: 7}, copied{50 * time.Microsecond, 8}, 0},
		{"too late", client, server, tcpPacket{flags: push, payload: "x", id: 7}, copied{5 * time.Millisecond, 7}, 0},
		{"IPv6", v6from, v6to, tcpPacket{flags: push, payload: "x"}, copied{50 * time.Microsecond, 0}, 1},
		{"IPv6, sent again", v6from, v6to, tcpPacket{flags: push, payload: "x"}, copied{500 * time.Microsecond, 0}, 0},
		{"IPv6, acknowledged twice", v6from, v6to, tcpPacket{flags: ack}, copied{50 * time.Microsecond, 0}, 0},
	} {
		t.Run(k.name, func(t *testing.T) {
			c := newCapture(t, decode.LinkEthernet)
			k.p.seq = 500
			c.tcp(k.from, k.to, k.p)
			c.now += k.again.after
			k.p.id = k.again.id
			c.frame(ethernet(c.segment(k.from, k.to, k.p)), 0)
			f := c.one()
			if f.Duplicates != k.dups || f.Client.Packets+f.Duplicates != 2 {
				t.Errorf("%d duplicates of %d packets", f.Duplicates, f.Client.Packets)
			}
		})
	}
}

// TestTurns: exchanges of a connection, with repetitions, and a server that
// speaks first.
func TestTurns(t *testing.T) {
	c := newCapture(t, decode.LinkEthernet)
	c.handshake(client, server, 0, 0)
	c.tcp(server, client, tcpPacket{seq: 1, flags: push, payload: "220 ready\r\n"})
	ask := c.tcp(client, server, tcpPacket{seq: 1, flags: push, payload: "HELO"})
	c.tcp(client, server, tcpPacket{seq: 5, flags: push, payload: " me\r\n"})
	c.tcp(server, client, tcpPacket{seq: 12, flags: push, payload: "250 hello\r\n"})
	c.tcp(client, server, tcpPacket{seq: 1, flags: push, payload: "HELO"}) // again
	c.tcp(server, client, tcpPacket{seq: 23, flags: push, payload: "250 more\r\n"})
	quit := c.tcp(client, server, tcpPacket{seq: 10, flags: push, payload: "QUIT\r\n"})
	f := c.one()
	var got []string
	for _, x := range f.Exchanges {
		got = append(got, fmt.Sprint(x.Packet, x.Up, x.Down))
	}
	want := []string{"4 0 11", fmt.Sprint(ask, 9, 21), fmt.Sprint(quit, 6, 0)}
	if !slices.Equal(got, want) || f.Exchanged != 3 {
		t.Errorf("exchanges %q of %d, want %q", got, f.Exchanged, want)
	}
	x := f.Exchanges[1]
	ms := func(t time.Time) int { return int(t.Sub(start).Milliseconds()) }
	if ms(x.Start) != 50 || ms(x.Sent) != 60 || ms(x.Answer) != 70 || ms(x.End) != 90 {
		t.Errorf("times %d %d %d %d", ms(x.Start), ms(x.Sent), ms(x.Answer), ms(x.End))
	}
	if !f.Exchanges[2].Answer.IsZero() || f.HTTP {
		t.Errorf("%+v", f)
	}
}

// TestManyTurns: all are counted, and some are kept.
func TestManyTurns(t *testing.T) {
	c := newCapture(t, decode.LinkEthernet)
	for i := range uint32(300) {
		c.tcp(client, server, tcpPacket{seq: i, flags: push, payload: "x"})
		c.tcp(server, client, tcpPacket{seq: i, flags: push, payload: "y"})
	}
	f := c.one()
	if f.Exchanged != 300 || len(f.Exchanges) != 256 {
		t.Errorf("%d of %d exchanges", len(f.Exchanges), f.Exchanged)
	}
}

// TestSample: two captures of one connection, of which one begins late, ends
// early and stands behind a NAT, keep the same segments.
func TestSample(t *testing.T) {
	write := func(from, to string, first, last uint32) record.Half {
		c := newCapture(t, decode.LinkEthernet)
		for i := first; i < last; i++ {
			p := tcpPacket{seq: 1000 * i, flags: push, payload: fmt.Sprint("segment ", i), stamp: 70 + i}
			c.tcp(from, to, p)
			c.tcp(from, to, p) // again
		}
		return c.one().Client
	}
	x, y := write(client, server, 0, 40), write("192.0.2.1:3000", "10.0.9.9:80", 1, 39)
	if len(x.Segments) != 3 || x.Segments[0].Sequence == x.Segments[1].Sequence || x.Segments[1].Sequence == x.Segments[2].Sequence {
		t.Fatalf("segments %+v", x.Segments)
	}
	for i := range x.Segments {
		a, b := x.Segments[i], y.Segments[i]
		if a.Packet == b.Packet {
			t.Errorf("segment %+v, in a capture with other numbers %+v", a, b)
		}
		a.Packet = b.Packet
		if a != b {
			t.Errorf("segment %+v, on the other side %+v", a, b)
		}
		if want := "segment " + fmt.Sprint(a.Sequence/1000); a.Hash != hashBytes([]byte(want)) || a.Length != uint32(len(want)) || a.Stamp != 70+a.Sequence/1000 {
			t.Errorf("segment %+v is not %q", a, want)
		}
	}
}

// TestBegin: the first bytes have one hash, however they are cut into segments.
func TestBegin(t *testing.T) {
	text := strings.Repeat("the first bytes of a stream ", 4)
	write := func(sizes ...int) record.Half {
		c := newCapture(t, decode.LinkEthernet)
		c.tcp(client, server, tcpPacket{seq: 99, flags: flagSYN})
		at := 0
		for _, n := range sizes {
			c.tcp(client, server, tcpPacket{seq: 100 + uint32(at), flags: push, payload: text[at : at+n]})
			at += n
		}
		return c.one().Client
	}
	x, y := write(100), write(10, 1, 50, 20)
	if x.Begin == 0 || x.Begin != y.Begin || x.BeginLength != 64 || y.BeginLength != 64 {
		t.Errorf("%x of %d bytes, %x of %d bytes", x.Begin, x.BeginLength, y.Begin, y.BeginLength)
	}
	if z := write(10, 11); z.BeginLength != 21 || z.Begin == x.Begin {
		t.Errorf("%x of %d bytes", z.Begin, z.BeginLength)
	}
	text = "T" + text[1:]
	if z := write(100); z.Begin == x.Begin {
		t.Error("other bytes have the same hash")
	}
	c := newCapture(t, decode.LinkEthernet)
	c.tcp(client, server, tcpPacket{seq: 100, flags: push, payload: text})
	if h := c.one().Client; h.BeginLength != 0 || h.Begin != 0 {
		t.Errorf("without a SYN %d bytes are the first", h.BeginLength)
	}
}
