package match

import (
	"net/netip"
	"time"

	"whichbackend/analyze/record"
)

const (
	// sameMoment is how far apart the two sides of a datagram may lie.
	sameMoment = int64(100 * time.Millisecond)
	// tellingBytes is how long the first datagram must be to tell anything: the
	// header of a DNS query, with its random id.
	tellingBytes = 12
)

// datagrams bonds legs of UDP that begin with the same bytes, and with them the
// identification of the IP packet.
func (j *join) datagrams() {
	var list []entry
	for i := range j.legs {
		if l := &j.legs[i]; l.protocol == record.UDP {
			if key, ok := j.opening(l); ok {
				list = append(list, entry{key, int32(i)})
			}
		}
	}
	runs(list, func(run []entry) {
		if len(run) > 1 {
			j.clusters(run, sameMoment, j.datagramCluster)
		}
	})
}

// opening is the mark of the first datagram that any view of the leg saw.
func (j *join) opening(l *leg) (uint64, bool) {
	var first *half
	var when int64
	for _, m := range j.members[l.lo:l.hi] {
		v := j.views.at(m.view)
		h := v.side(0, m.flipped)
		if t := j.at(v, h.dataTime); h.beginLength > 0 && (first == nil || t < when) {
			first, when = h, t
		}
	}
	if first == nil {
		return 0, false
	}
	return mix(first.begin, uint64(first.beginLength)<<16|uint64(first.ipid)), true
}

func (j *join) datagramCluster(legs []int32) {
	for n, i := range legs {
		j.learn(&j.facts[n], i)
	}
	for b := range legs {
		for a := range b {
			j.bonds = append(j.bonds, datagramBond(&j.facts[a], &j.facts[b]))
		}
	}
}

func datagramBond(a, b *facts) bond {
	x := bond{a: a.index, b: b.index, rank: against, why: WhyContradict}
	c, d := &a.side[0], &b.side[0]
	s, t := &a.side[1], &b.side[1]
	answered := meet(s.begins, t.begins)
	telling := false
	for _, y := range c.begins {
		telling = telling || y.length >= tellingBytes
	}
	switch {
	case sameTuple(a, b), beginsDiffer(c.begins, d.begins), beginsDiffer(s.begins, t.begins),
		a.source.four() != b.source.four(), !meet(c.segments, d.segments):
	case !telling, a.leg.unsure, b.leg.unsure, many(a.to), many(b.to),
		!answered && !meet(c.ipids, d.ipids):
		x.rank, x.why = none, WhyThin
	default:
		x.rank = weak
	}
	return x
}

// many is true for an address of several hosts: one sender repeats itself there
// on each of its interfaces.
func many(e end) bool {
	a := netip.AddrFrom16(e.addr).Unmap()
	return a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}
