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
	"whichbackend/analyze/pcap/decode"
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

// batches is how many runs of packets go round: one is read, one is decoded,
// one waits.
const batches = 3

// Read reads a capture to its end and gives the sink what it says. One
// goroutine reads while the caller's decodes. An error is one of reading, and
// then what was read before it has been given to the sink.
func Read(r *pcap.Reader, sink Sink) (Summary, error) {
	t, err := newTable()
	if err != nil {
		return Summary{}, err
	}
	err = t.read(r)
	t.emit(r, sink)
	return t.sum, err
}

// filled is what the reading goroutine hands over.
type filled struct {
	batch *pcap.Batch
	err   error
}

func (t *table) read(r *pcap.Reader) error {
	free, full := make(chan *pcap.Batch, batches), make(chan filled, batches)
	for range batches {
		free <- new(pcap.Batch)
	}
	go func() {
		defer close(full)
		for b := range free {
			err := r.Fill(b)
			full <- filled{b, err}
			if err != nil {
				return
			}
		}
	}()
	defer func() { // the reader must be idle before anybody else uses it
		close(free)
		for range full {
		}
	}()
	var d decode.Packet
	for f := range full {
		if f.err != nil {
			return ending(f.err)
		}
		if err := t.take(f.batch, &d); err != nil {
			return err
		}
		free <- f.batch
	}
	return nil
}

func ending(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (t *table) take(b *pcap.Batch, d *decode.Packet) error {
	for i := range b.Packets {
		p := &b.Packets[i]
		if p.Number > math.MaxUint32 {
			return fmt.Errorf("more than %d packets: cut the capture into parts with editcap -c", uint32(math.MaxUint32))
		}
		decode.Decode(p.LinkType, p.Data, p.Length, d)
		t.add(p, d)
	}
	return nil
}
