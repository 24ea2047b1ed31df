// Package flow turns the packets of one capture into flows: one for each
// conversation and place where it was seen. It keeps no payload but what
// record.Flow tells, and knows nothing of other captures.
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
// goroutine reads and decodes, while the caller's brings the flows up to date:
// on two cores that takes two thirds of the time. An error is one of reading,
// and then what was read before it has been given to the sink.
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
	groups    = 8
	groupSize = 256
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
	err        error // why the reading ended; valid when full is closed
}

func (t *table) read(r *pcap.Reader) error {
	p := &pipe{batches: make(chan *pcap.Batch, batches), free: make(chan *group, groups), full: make(chan *group, groups)}
	for range batches {
		p.batches <- new(pcap.Batch)
	}
	for range groups {
		p.free <- new(group)
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
		if err := r.Fill(b); err != nil {
			if !errors.Is(err, io.EOF) {
				p.err = err
			}
			return
		}
		for rest := b.Packets; len(rest) > 0; {
			g := <-p.free
			g.n = min(len(rest), groupSize)
			if rest[g.n-1].Number > math.MaxUint32 {
				p.err = fmt.Errorf("more than %d packets: cut the capture into parts with editcap -c", uint32(math.MaxUint32))
				return
			}
			for i := range g.n {
				g.packets[i].prepare(&rest[i], at, seed)
			}
			g.find(seed)
			rest = rest[g.n:]
			g.batch = nil
			if len(rest) == 0 {
				g.batch = b
			}
			p.full <- g
		}
	}
}

// find is a loop of its own: reading an address just after it was written in
// pieces makes the processor wait.
func (g *group) find(seed *seeds) {
	for i := range g.n {
		if q := &g.packets[i]; q.placed {
			q.find(seed)
		}
	}
}

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
	for _, ref := range refs {
		if ref > 0 {
			e := t.flows.at(ref - 1)
			t.touched += e.a[0] + e.hot[1].bytes + e.cold[0].begin + e.cold[1].begin
		}
	}
}
