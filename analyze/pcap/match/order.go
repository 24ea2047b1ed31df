package match

import (
	"time"
)

const (
	// maxDelay is the longest way between two places, maxProxied that between a
	// SYN and the one that a SYN proxy sends once the client has answered.
	maxDelay   = int64(time.Second)
	maxProxied = sameTime
	// jitter is how wrong the times of two interfaces of one host may be.
	jitter = int64(time.Millisecond)
	// grain is what two differences of times in microseconds may be apart when
	// nothing lies between.
	grain = int64(time.Microsecond)
	// maxNear is how far apart two interfaces of a bridge see one packet.
	maxNear = int64(20 * time.Microsecond)
	// maxProof is the longest delay that proves anything: what is later may be
	// the repetition of a lost packet, which comes after 200 ms at the earliest.
	maxProof = int64(100 * time.Millisecond)
)

// verdict says which of two legs is nearer to the client, and whether they are
// two places on a way at all.
type verdict struct {
	first int // 1: a, -1: b, 0: not known
	// why is set when the signs contradict each other.
	why string
	// passed: something lies between them that a copy would not show: a hop, or
	// delayed, a delay of both directions.
	passed, delayed bool
	// same: one clock saw both at the same times in both directions. Then a
	// delay by another clock is one between places, and not between the legs.
	same bool
	// oneWay: one direction alone showed a short delay.
	oneWay bool
	// near: one clock saw both within moments, in one direction almost at once
	// and in the other not: a copy would be late by the same in both.
	near bool
}

// vote adds a sign for one order.
func (v *verdict) vote(first int) {
	if v.first != 0 && first != 0 && v.first != first {
		v.why = WhyContradict
	}
	if v.first == 0 {
		v.first = first
	}
}

// order compares two legs of one connection. proxied tells that the server's
// sequence numbers differ: then the hop answers itself, and neither the time to
// live nor the handshake's answer speaks of the way.
func (w *world) order(a, b *facts, proxied bool) verdict {
	var v verdict
	if !proxied {
		v.hops(&a.side[0], &b.side[0], 1)
		v.hops(&a.side[1], &b.side[1], -1)
	}
	for i := range a.moments {
		for j := range b.moments {
			w.times(&v, &a.moments[i], &b.moments[j], proxied)
		}
	}
	// No copy has other numbers.
	v.passed = v.passed || v.delayed && !v.same || proxied && v.first != 0
	return v
}

// hops looks at the time to live, which falls along the way; sign is -1 for
// packets that come from the server.
func (v *verdict) hops(a, b *sideFacts, sign int) {
	switch {
	case !a.spoke || !b.spoke:
	case a.least > b.most:
		v.vote(sign)
		v.passed = true
	case b.least > a.most:
		v.vote(-sign)
		v.passed = true
	}
}

// times looks at two moments: directly when one clock, or clocks of known skew,
// timed both, and else at how long the answer took, which is longer the nearer
// the client is.
func (w *world) times(v *verdict, a, b *moment, proxied bool) {
	first, second := eventSYN, eventAnswer
	if proxied {
		first, second = eventData, eventReply
	}
	there, thereOK := late(a, b, first, eventData)
	back, backOK := late(a, b, second, eventReply)
	wrong, known := w.agreed(a.clock, b.clock)
	if thereOK && backOK && a.clock != b.clock && abs(there-back) > 2*grain {
		v.vote(sign(there - back))
	}
	if !known {
		return
	}
	skew := int64(0)
	if a.clock != b.clock {
		skew = w.clocks[b.clock].offset - w.clocks[a.clock].offset
	}
	if proxied {
		v.opened(a, b, skew, wrong)
	}
	there, back = there-skew, back-skew
	v.delays(there, back, thereOK, backOK, wrong)
}

// opened holds against a SYN proxy what it does: it opens its own connection
// once it has answered the client. Mirrored traffic does not wait.
func (v *verdict) opened(a, b *moment, skew, wrong int64) {
	there, ok := late(a, b, eventSYN)
	there -= skew
	if !ok || abs(there) <= wrong {
		return
	}
	if there < 0 {
		a, b, skew = b, a, -skew
	}
	answer := a.events[eventAnswer].time
	waited := b.events[eventSYN].time - skew - answer
	switch {
	case answer == 0:
	case waited < -wrong || abs(there) > maxProxied+wrong:
		v.why = WhyContradict
	case waited > wrong:
		v.vote(sign(there))
	}
}

// late returns how much later b saw an event than a: of the kind first, or of
// second where the first is not known to both.
func late(a, b *moment, kinds ...int) (int64, bool) {
	for _, k := range kinds {
		x, y := a.events[k], b.events[k]
		if x.time != 0 && y.time != 0 && x.mark == y.mark {
			return y.time - x.time, true
		}
	}
	return 0, false
}

// delays judges the delays of both directions, wrong by at most wrong.
func (v *verdict) delays(there, back int64, thereOK, backOK bool, wrong int64) {
	if thereOK && abs(there) > maxDelay+wrong || backOK && abs(back) > maxDelay+wrong {
		v.why = WhyContradict
		return
	}
	switch {
	case thereOK && backOK && (there > wrong && back < -wrong || there < -wrong && back > wrong):
		v.vote(sign(there))
		v.delayed = v.delayed || max(abs(there), abs(back)) <= maxProof+wrong
	case thereOK && backOK && sign(there) == sign(back) && min(abs(there), abs(back)) > jitter+wrong:
		v.why = WhyCopy // late in both directions
	case thereOK && backOK && wrong == 0 && max(abs(there), abs(back)) <= grain:
		v.same = true
	case thereOK && backOK && wrong == 0 && abs(there-back) > 2*grain:
		v.vote(sign(there - back))
		v.near = min(abs(there), abs(back)) <= maxNear && max(abs(there), abs(back)) <= jitter
	case thereOK && backOK:
	case thereOK && abs(there) > wrong:
		v.vote(sign(there))
		v.oneWay = abs(there) <= maxProof
	case backOK && abs(back) > wrong:
		v.vote(-sign(back))
		v.oneWay = abs(back) <= maxProof
	}
}

func abs(n int64) int64 { return max(n, -n) }

func sign(n int64) int {
	switch {
	case n > 0:
		return 1
	case n < 0:
		return -1
	}
	return 0
}
