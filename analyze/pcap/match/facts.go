package match

import (
	"slices"

	"whichbackend/analyze/record"
)

// facts is what all views of a leg know together.
type facts struct {
	leg        *leg
	index      int32
	source, to end
	side       [2]sideFacts
	moments    []moment // one for each clock, in the order of clocks
	reset      bool
	turned     bool // client and server have changed places
}

// sideFacts are the facts of what one end sent.
type sideFacts struct {
	stamps         []uint32
	begins         []begin
	segments       []uint64
	ipids          []uint16 // of first packets, without 0
	mss            uint16
	scale          int8 // -1: not known
	least, most    uint8
	spoke, carried bool
}

// begin is a hash of first bytes and their number.
type begin struct {
	hash   uint64
	length uint8
}

// The events of a connection that two places may both have seen.
const (
	eventSYN    = iota // the client's SYN
	eventAnswer        // the SYN/ACK
	eventData          // the client's first data
	eventReply         // the server's first data
	events
)

// event is when something passed, and a mark that tells the packet from a
// repetition of it. The time is 0 when it is not known.
type event struct {
	time int64
	mark uint64
}

// moment is when a leg's events passed the first place that one clock timed.
type moment struct {
	clock  int
	events [events]event
}

// learn fills the facts of a leg.
func (w *world) learn(f *facts, i int32) {
	l := &w.legs[i]
	*f = facts{leg: l, index: i, moments: f.moments[:0], side: [2]sideFacts{f.side[0].empty(), f.side[1].empty()}}
	members := w.members[l.lo:l.hi]
	for n, m := range members[:min(len(members), maxRun)] {
		v := w.views.at(m.view)
		if n == 0 {
			f.source, f.to = v.source, v.destination
			if m.flipped {
				f.source, f.to = f.to, f.source
			}
		}
		c, s := v.side(0, m.flipped), v.side(1, m.flipped)
		f.side[0].learn(c, l.protocol)
		f.side[1].learn(s, l.protocol)
		f.reset = f.reset || c.has(reset) || s.has(reset)
		f.moment(w.clockOf(v), c, s)
	}
	slices.SortFunc(f.moments, func(a, b moment) int { return a.clock - b.clock })
}

func (f *facts) moment(clock int, c, s *half) {
	n := slices.IndexFunc(f.moments, func(m moment) bool { return m.clock == clock })
	if n < 0 {
		n = len(f.moments)
		f.moments = append(f.moments, moment{clock: clock})
	}
	m := &f.moments[n]
	m.events[eventSYN].earlier(c.synTime, c.synMark())
	m.events[eventAnswer].earlier(s.synTime, s.synMark())
	m.events[eventData].earlier(c.dataTime, c.beginMark())
	m.events[eventReply].earlier(s.dataTime, s.beginMark())
}

// earlier keeps the earliest event whose mark is known.
func (e *event) earlier(time int64, mark uint64) {
	if time != 0 && mark != 0 && (e.time == 0 || time < e.time) {
		*e = event{time, mark}
	}
}

// synMark tells the first SYN seen from a repetition, 0 when there is none.
func (h *half) synMark() uint64 {
	switch {
	case !h.has(begun):
		return 0
	case h.stamped > 0:
		return 1<<40 | uint64(h.stamps[0])
	}
	return 1<<41 | uint64(h.ipid)<<8 | uint64(h.syns)
}

func (h *half) beginMark() uint64 {
	if h.beginLength == 0 {
		return 0
	}
	return mix(h.begin, uint64(h.beginLength)) | 1
}

// empty returns facts of nothing, which reuse the memory.
func (f *sideFacts) empty() sideFacts {
	return sideFacts{stamps: f.stamps[:0], begins: f.begins[:0], segments: f.segments[:0], ipids: f.ipids[:0], scale: -1}
}

func (f *sideFacts) learn(h *half, protocol record.Protocol) {
	if !h.has(spoke) {
		return
	}
	if !f.spoke || h.ttl < f.least {
		f.least = h.ttl
	}
	f.most = max(f.most, h.ttl)
	if h.ipid != 0 && (h.has(begun) || protocol != record.TCP) {
		f.ipids = addOnce(f.ipids, h.ipid)
	}
	f.spoke = true
	f.carried = f.carried || h.has(carried)
	for _, s := range h.stamps[:h.stamped] {
		f.stamps = addOnce(f.stamps, s)
	}
	if b := (begin{h.begin, h.beginLength}); b.length > 0 {
		f.begins = addOnce(f.begins, b)
	}
	for _, s := range h.segments {
		if s != 0 {
			f.segments = addOnce(f.segments, s)
		}
	}
	if h.has(begun) {
		f.mss, f.scale = max(f.mss, h.mss), max(f.scale, h.scale)
	}
}

// addOnce adds to a short set, which ends growing at 16.
func addOnce[T comparable](set []T, x T) []T {
	if len(set) >= 16 || slices.Contains(set, x) {
		return set
	}
	return append(set, x)
}

func meet[T comparable](a, b []T) bool {
	return slices.ContainsFunc(a, func(x T) bool { return slices.Contains(b, x) })
}

// beginsDiffer is true when both know as many first bytes and they differ.
func beginsDiffer(a, b []begin) bool {
	for _, x := range a {
		for _, y := range b {
			if x.length == y.length && x.hash == y.hash {
				return false
			}
		}
	}
	return slices.ContainsFunc(a, func(x begin) bool {
		return slices.ContainsFunc(b, func(y begin) bool { return x.length == y.length })
	})
}
