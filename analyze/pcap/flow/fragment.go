package flow

import (
	"whichbackend/analyze/pcap"
	"whichbackend/analyze/pcap/decode"
)

const (
	// maxFragments bounds the packets whose fragments are waited for, and
	// fragmentLife how long, in nanoseconds: what IPv6 demands (RFC 8200).
	maxFragments = 4096
	fragmentLife = 60 * 1e9
)

// fragments knows the first fragments of packets, which alone carry the ports.
type fragments struct {
	at    map[fragmentKey]*fragment
	order [maxFragments]fragmentKey // a ring, the oldest at next
	next  int
}

type fragmentKey struct {
	source, destination decode.Addr
	place, id           uint32
	protocol            uint8
}

type fragment struct {
	time         int64
	source, dest uint16
	seq          uint32 // TCP: where the next fragment goes on
	offset       int    // the greatest that came
}

// complete gives a later fragment the ports of the first, and of TCP the
// sequence number where its bytes stand when they came in order. It is false
// when the first one was not seen.
func (f *fragments) complete(place uint32, p *pcap.Packet, d *decode.Packet) bool {
	k := fragmentKey{d.Source, d.Destination, place, d.FragmentID, d.Protocol}
	if d.FragmentOffset == 0 {
		f.first(k, p, d)
		return true
	}
	first := f.at[k]
	if first == nil || p.Time-first.time > fragmentLife {
		return false
	}
	d.SourcePort, d.DestinationPort = first.source, first.dest
	d.Seq, d.Ack, d.Flags = first.seq, 0, 0
	if d.FragmentOffset > first.offset {
		first.offset = d.FragmentOffset
		first.seq += uint32(max(d.PayloadLength, 0))
	}
	return true
}

func (f *fragments) first(k fragmentKey, p *pcap.Packet, d *decode.Packet) {
	if f.at == nil {
		f.at = make(map[fragmentKey]*fragment)
	}
	seq := d.Seq + uint32(max(d.PayloadLength, 0))
	if d.Flags&flagSYN != 0 {
		seq++
	}
	x := f.at[k]
	if x == nil {
		old := &f.order[f.next]
		delete(f.at, *old)
		*old = k
		f.next = (f.next + 1) % maxFragments
		x = new(fragment)
		f.at[k] = x
	}
	*x = fragment{time: p.Time, source: d.SourcePort, dest: d.DestinationPort, seq: seq}
}
