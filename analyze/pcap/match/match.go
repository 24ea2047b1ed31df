// Package match recognises one connection in the flows of many captures: the
// same tuple seen in several places, and the same connection under different
// tuples on two sides of a NAT. It reads flows, never packets, and it rather
// says nothing than something wrong: what could as well be a copy, a scan or
// chance is counted as ambiguous.
package match

import (
	"time"

	"whichbackend/analyze/record"
)

// Place is where a flow was captured.
type Place struct {
	// Capture is the number of the capture within the case.
	Capture int
	// Clock names the host whose clock stamped the packets. Times of one clock
	// are compared as they are, those of two only after the skew is known.
	Clock string
}

// Matcher collects the flows of all captures of a case.
type Matcher struct {
	views  chunks
	clocks []string
	number map[string]uint16
}

// New returns an empty Matcher.
func New() *Matcher {
	return &Matcher{number: map[string]uint16{}}
}

// Add takes in one flow. Nothing of f is kept but a digest of fixed size.
func (m *Matcher) Add(f *record.Flow, place Place) {
	clock, ok := m.number[place.Clock]
	if !ok {
		clock = uint16(len(m.clocks))
		m.number[place.Clock] = clock
		m.clocks = append(m.clocks, place.Clock)
	}
	m.views.next().digest(f, place.Capture, clock)
}

// Rename gives a clock another name, for when its host is known only after its
// flows were added. Two clocks of one name are one.
func (m *Matcher) Rename(from, to string) {
	if n, ok := m.number[from]; ok {
		m.clocks[n] = to
	}
}

// Result is what the flows of a case say about each other.
type Result struct {
	// Conversations are the IDs of flows that are views of one connection under
	// one tuple: each group has two or more, in ascending order.
	Conversations [][]int
	// Translations have one entry for each step between two tuples of one
	// connection, in the order of the way.
	//
	// State is SYN_SENT when no answer was seen, CLOSE after a reset, and
	// otherwise ESTABLISHED; it is "" for UDP. Unreplied is true where no
	// packet of the server was seen on either side, and of TCP only where the
	// client got no further than its SYN.
	Translations []record.Translation
	Skews        []Skew
	Ambiguous    []Ambiguity
}

// Skew is how far a clock is from the reference, the clock with the most
// certain pairs.
type Skew struct {
	Clock, Reference string
	// Offset is what the clock shows more than the reference. 0 when Pairs is 0:
	// nothing is known.
	Offset time.Duration
	// Pairs are the pairs of flows that it was estimated from, Spread is how far
	// the tenth of them at either end lie apart.
	Pairs  int
	Spread time.Duration
	// Certain is true when both directions of handshakes told it, of enough
	// pairs that agree. Only then does it say which of two flows came first.
	Certain bool
}

// Ambiguity counts groups of flows that look like one connection and were not
// used.
type Ambiguity struct {
	Why           string // one of the Why constants
	Groups, Flows int
	// Examples are the flow IDs of the first groups, at most 20 groups of 8.
	Examples [][]int
}

// Why groups were not used.
const (
	WhyCrowd      = "more than four tuples share their marks at one time: a scan, a test or copies"
	WhyRepeated   = "the same marks come back at other times: a constant sequence number or payload"
	WhyContradict = "they share sequence numbers and contradict each other elsewhere"
	WhyCopy       = "nothing tells a NAT from a copy: no hop between them and no delay that runs both ways"
	WhyOrder      = "it is not clear which of them is nearer to the client"
	WhyThin       = "they share too little to be sure"
)

// Find compares all flows added so far. The result depends on the flows alone,
// not on the order in which they were added.
func (m *Matcher) Find() Result {
	w := m.world()
	w.estimate()
	w.fold()
	var r Result
	r.Conversations = w.conversations()
	r.Skews = w.skews()
	j := newJoin(w)
	j.sequences()
	j.segments()
	j.datagrams()
	r.Translations = j.resolve()
	r.Ambiguous = j.doubts.list()
	return r
}
