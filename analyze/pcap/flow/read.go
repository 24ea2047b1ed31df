// Package flow turns the packets of one capture into flows: one for each
// conversation and place where it was seen. A place is an interface, in a
// capture of all interfaces the device or the leg, and the wrapping, with the
// addresses of tunnels in either direction. It keeps no payload but what
// record.Flow tells, and knows nothing of other captures.
//
// The hashes of payloads (Half.Begin, Segment.Hash, Exchange.Begin and
// RequestID) are the same in every run and capture. Begin is made otherwise than
// the others, so compare it with itself only.
//
// A flow goes on until its tuple is used anew: by a SYN (see reused), or by a
// datagram behind a long silence (see quiet). In Cilium's tunnels the ID is the
// identity of the sender and so differs by direction: the flow has both, and
// its Encapsulation is that of the client's packets (see answered).
package flow

import (
	"errors"
	"fmt"
	"io"
	"math"

	"whichbackend/analyze/pcap"
	"whichbackend/analyze/record"
)

// Sink takes what a capture says, after all of it was read: the interfaces in
// their order, the flows in the order of their first packets, the packets of
// which no flow was made, and the names. Records are used again when the call
// returns, with all that their slices hold: a sink copies what it keeps. The
// section of a position is left to the sink.
type Sink interface {
	Interface(*record.Interface)
	Flow(*record.Flow)
	Undecoded(*record.Undecoded)
	Name(*Name)
}

// Summary counts the packets of a capture: Packets = InFlows + Known + Unknown.
type Summary struct {
	Packets uint64
	// InFlows are packets of flows, duplicates and ICMP errors about flows too.
	InFlows uint64
	// Known are packets of no conversation (ARP, ICMP echo), and Unknown those
	// that could not be read or had no room.
	Known, Unknown uint64
	// Full are those of Unknown for which the table of flows was full.
	Full  uint64
	Flows uint64
}

// Read reads a capture to its end and gives the sink what it says. One
// goroutine reads and decodes, which takes about half of the work, while the
// caller's brings the flows up to date. Which of them waits for the other
// changes nothing in the result. An error is one of reading, and then what was
// read before it has been given to the sink.
func Read(r *pcap.Reader, sink Sink) (Summary, error) {
	t, err := newTable()
	if err != nil {
		return Summary{}, err
	}
	err = t.read(r)
	t.emit(r, sink)
	return t.sum, err
}

const (
	// batches is how many runs of packets go round: one is read and decoded,
	// one is looked at, one waits. groups is how many parts of them do.
	batches   = 3
	groups    = 12
	groupSize = 128
)

// group is a part of a batch, decoded.
type group struct {
	packets [groupSize]packet
	n       int
	batch   *pcap.Batch // that the group is the last of, else nil
}

// pipe is what the reading goroutine and the other pass to each other.
type pipe struct {
	batches    chan *pcap.Batch // to be filled
	free, full chan *group
	made       int   // groups
	err        error // why the reading ended; valid when full is closed
}

func (t *table) read(r *pcap.Reader) error {
	p := &pipe{batches: make(chan *pcap.Batch, batches), free: make(chan *group, groups), full: make(chan *group, groups)}
	for range batches {
		p.batches <- new(pcap.Batch)
	}
	go p.fill(r, t.places, &t.seed)
	for g := range p.full {
		t.take(g)
		if g.batch != nil {
			p.batches <- g.batch
		}
		p.free <- g
	}
	return p.err
}

// fill reads and decodes to the end.
func (p *pipe) fill(r *pcap.Reader, at *places, seed *seeds) {
	defer close(p.full)
	for b := range p.batches {
		if p.err = r.Fill(b); p.err != nil {
			if errors.Is(p.err, io.EOF) {
				p.err = nil
			}
			return
		}
		for rest := b.Packets; len(rest) > 0; {
			g := p.group()
			g.batch = nil
			if rest, p.err = g.decode(rest, at, seed); p.err != nil {
				return
			}
			if len(rest) == 0 {
				g.batch = b
			}
			p.full <- g
		}
	}
}

// group gives one that is free: small captures need one only.
func (p *pipe) group() *group {
	select {
	case g := <-p.free:
		return g
	default:
	}
	if p.made < groups {
		p.made++
		return new(group)
	}
	return <-p.free
}

// decode takes the first packets of a list, and gives the others back.
func (g *group) decode(list []pcap.Packet, at *places, seed *seeds) ([]pcap.Packet, error) {
	g.n = min(len(list), groupSize)
	if list[g.n-1].Number > math.MaxUint32 {
		return nil, fmt.Errorf("more than %d packets: cut the capture into parts with editcap -c", uint32(math.MaxUint32))
	}
	for i := range g.n + behind {
		if i < g.n {
			g.packets[i].prepare(&list[i], at, seed)
		}
		if i < behind {
			continue
		}
		if q := &g.packets[i-behind]; q.placed {
			q.find(seed)
		}
	}
	return list[g.n:], nil
}

// behind is how many packets later the key of one is made: reading an address
// at once after it was written in pieces makes the processor wait.
const behind = 4

// ahead is how many packets' flows are fetched at once.
const ahead = 16

// take brings the flows up to date.
func (t *table) take(g *group) {
	for i := 0; i < g.n; i += ahead {
		part := g.packets[i:min(i+ahead, g.n)]
		t.touch(part)
		for j := range part {
			t.add(&part[j])
		}
	}
}

// touch fetches what the turns of some packets will look at, so that the
// processor waits for memory once and not for each packet.
func (t *table) touch(list []packet) {
	if len(t.index.slots) == 0 {
		return
	}
	var refs [ahead]uint32
	mask := uint32(len(t.index.slots) - 1)
	for i := range list {
		refs[i] = t.index.slots[list[i].hash&mask].ref
	}
	for i := range list {
		if refs[i] == 0 {
			continue
		}
		q, e := &list[i], t.flows.at(refs[i]-1)
		t.touched += e.a[0] + e.hot[1].bytes
		if q.d.PayloadLength > 0 || q.d.Flags&(flagSYN|flagFIN|flagRST) != 0 {
			c := &e.cold[q.from]
			t.touched += c.begin + uint64(c.ttl)
		}
	}
}
