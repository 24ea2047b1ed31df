package match

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"time"

	"whichbackend/analyze/record"
)

// A connection and the places that see it, from which flows are made as the
// reader of captures would make them.

// traffic is what a client and a server say.
type traffic struct {
	protocol       record.Protocol
	start          time.Time // when the client sends first
	c, s           uint32    // initial sequence numbers
	stamp          uint32    // the client's first timestamp, 0: none
	ipid           uint16    // of the client's first packet
	request, reply string    // "": no data
	length         time.Duration
	noAnswer       bool
	id             int // of the connection, for the truth
}

// spot is one place on the way of a connection.
type spot struct {
	clock    string
	capture  int
	tuple    record.Tuple
	leg      int           // which tuple of the way, from 0
	distance time.Duration // from the client
	hops     uint8         // from the client
	wrap     string        // encapsulation
	s        uint32        // the server's number here, where it is not the connection's
	proxied  bool          // behind a SYN proxy: the client's SYN is the proxy's
}

const (
	wayLength = 500 * time.Microsecond // from client to server
	wayHops   = 4
)

func tuple(source, destination string) record.Tuple {
	return record.Tuple{Source: netip.MustParseAddrPort(source), Destination: netip.MustParseAddrPort(destination)}
}

func hashOf(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s))
	return h.Sum64()
}

// bench numbers flows and remembers whose they are.
type bench struct {
	offsets map[string]time.Duration // what clocks show too much
	flows   []*record.Flow
	places  []Place
	truth   map[record.Pos]seen
	packets map[int]int
}

type seen struct {
	connection, leg int
	tuple           record.Tuple
}

func newBench() *bench {
	return &bench{offsets: map[string]time.Duration{}, truth: map[record.Pos]seen{}, packets: map[int]int{}}
}

func (b *bench) packet(capture int) int {
	b.packets[capture]++
	return b.packets[capture]
}

// see adds what the spot sees of the traffic; change may damage it.
func (b *bench) see(t traffic, p spot, change ...func(*record.Flow)) *record.Flow {
	offset := b.offsets[p.clock]
	out := t.start.Add(offset + p.distance)
	back := t.start.Add(offset + 2*wayLength - p.distance)
	f := &record.Flow{ID: len(b.flows) + 1, Protocol: t.protocol, Tuple: p.tuple, Encapsulation: p.wrap,
		First: out, Last: out.Add(t.length + wayLength)}
	f.Section, f.Packet = p.capture+1, b.packet(p.capture)
	ttl, serverTTL := 64-p.hops, 64-(wayHops-p.hops)
	f.Client = record.Half{Packets: 1, TTL: ttl, IPID: t.ipid, Scale: -1}
	f.Server = record.Half{Scale: -1}
	if !t.noAnswer {
		f.Server = record.Half{Packets: 1, TTL: serverTTL, Scale: -1}
	}
	if t.protocol == record.TCP {
		b.handshake(f, t, p, out, back)
	}
	if t.request != "" {
		data := out.Add(2*wayLength + time.Millisecond)
		if t.protocol == record.UDP {
			data = out
		}
		say(&f.Client, t.request, data, t, t.c+1, b.packet(p.capture))
	}
	if t.reply != "" && !t.noAnswer {
		say(&f.Server, t.reply, back.Add(2*wayLength+2*time.Millisecond), t, f.Server.ISN+1, b.packet(p.capture))
	}
	for _, c := range change {
		c(f)
	}
	b.flows = append(b.flows, f)
	b.places = append(b.places, Place{Capture: p.capture, Clock: p.clock})
	pos := record.Pos{Section: f.Section, Packet: f.Packet}
	if f.Client.SYN != 0 {
		pos.Packet = f.Client.SYN
	}
	b.truth[pos] = seen{t.id, p.leg, f.Tuple}
	return f
}

func (b *bench) handshake(f *record.Flow, t traffic, p spot, out, back time.Time) {
	c, s := &f.Client, &f.Server
	c.SYN, c.SYNs, c.ISN, c.SYNTime, c.MSS, c.Scale = f.Packet, 1, t.c, out, 1460, 7
	if t.stamp != 0 {
		c.Stamps = []uint32{t.stamp}
	}
	if p.proxied {
		c.SYNTime, c.IPID, c.TTL = out.Add(2*wayLength), 0, 64
	}
	if t.noAnswer {
		return
	}
	c.Packets = 3
	s.SYN, s.SYNs, s.ISN, s.SYNTime, s.MSS, s.Scale = b.packet(p.capture), 1, t.s, back, 1460, 7
	if p.s != 0 {
		s.ISN = p.s
	}
	if p.proxied {
		s.SYNTime, s.TTL = back.Add(2*wayLength), 64
	}
	if t.stamp != 0 {
		s.Stamps = []uint32{s.ISN ^ 0x5555}
	}
}

// say makes a half send text, in three segments.
func say(h *record.Half, text string, at time.Time, t traffic, sequence uint32, packet int) {
	h.Data, h.DataTime = packet, at
	h.Packets += 3
	h.Payload = uint64(len(text))
	kept := text[:min(len(text), 64)]
	h.Begin, h.BeginLength = hashOf(kept), len(kept)
	part := len(text)/3 + 1
	for n := 0; n < len(text); n += part {
		piece := text[n:min(n+part, len(text))]
		g := record.Segment{Sequence: sequence + uint32(n), Length: uint32(len(piece)), Hash: hashOf(piece), Packet: packet}
		if t.protocol == record.UDP {
			g.Sequence = uint32(h.IPID)
		}
		if t.stamp != 0 {
			g.Stamp = t.stamp + 10
		}
		h.Segments = append(h.Segments, g)
	}
}

// find adds all flows in the order given, nil for that of making.
func (b *bench) find(order []int) Result {
	m := New()
	if order == nil {
		for i := range b.flows {
			order = append(order, i)
		}
	}
	for _, i := range order {
		m.Add(b.flows[i], b.places[i])
	}
	return m.Find()
}

// check compares translations with the truth: those that are false, and how
// many steps of how many connections were found.
func (b *bench) check(r Result) (wrong []string, found map[int]int) {
	found = map[int]int{}
	for _, t := range r.Translations {
		before, ok := b.truth[t.Pos]
		after, too := b.truth[t.Behind]
		switch {
		case !ok || !too:
			wrong = append(wrong, fmt.Sprintf("%+v: no such packet", t))
		case before.connection != after.connection || before.leg >= after.leg:
			wrong = append(wrong, fmt.Sprintf("connection %d leg %d -> connection %d leg %d: %v %v", before.connection, before.leg, after.connection, after.leg, t.Before, t.After))
		case t.Before != before.tuple || t.After != after.tuple:
			wrong = append(wrong, fmt.Sprintf("%v is told as %v -> %v", before, t.Before, t.After))
		default:
			found[before.connection]++
		}
	}
	return wrong, found
}

func (b *bench) shuffled(swap func(n int, swap func(i, j int))) []int {
	order := make([]int, len(b.flows))
	for i := range order {
		order[i] = i
	}
	swap(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	return order
}

func whys(r Result) (out []string) {
	for _, a := range r.Ambiguous {
		out = append(out, a.Why)
	}
	slices.Sort(out)
	return out
}
