// Package relay tells from the flows of captures alone which upstream
// connection of a proxy carries on which downstream one; of a proxy that
// shares its upstream connections among requests (pooled HTTP), which upstream
// connection each request went to. It answers only where one connection fits
// and nothing else does, and counts why it did not answer the others. It reads
// no packets, and looks at TCP alone.
package relay

import (
	"fmt"
	"net/netip"
	"sort"
	"time"

	"whichbackend/analyze/record"
)

// Place is where a flow was captured.
type Place struct {
	// Capture is the number of the capture (one file) within the case.
	Capture int
	// Clock names the clock of its times, such as a host's name. Flows of one
	// clock are compared with each other, others never. "" is a clock of the
	// capture's own.
	Clock string
}

// Relays collects flows and finds the proxies among them.
type Relays struct {
	addresses []netip.Addr
	numbers   map[addressKey]uint32
	clocks    map[string]int
	worlds    []*world
	named     map[int]string // clocks of captures, told late
	abstained map[string]int
}

// addressKey is an address as one machine has it: loopback and link-local
// addresses mean another machine in each capture.
type addressKey struct {
	address netip.Addr
	capture int
}

// New returns an empty set of flows.
func New() *Relays {
	return &Relays{numbers: map[addressKey]uint32{}, clocks: map[string]int{}}
}

// Add takes a flow. It keeps nothing of what f points to but its exchanges'
// values. Flows may come in any order.
func (r *Relays) Add(f *record.Flow, place Place) {
	if f.Protocol != record.TCP || !f.Tuple.Source.IsValid() || !f.Tuple.Destination.IsValid() {
		return
	}
	w := r.world(place)
	c := conn{
		section: f.Section, packet: f.Packet,
		source:      r.number(f.Tuple.Source.Addr(), place.Capture),
		destination: r.number(f.Tuple.Destination.Addr(), place.Capture),
		sourcePort:  f.Tuple.Source.Port(), destinationPort: f.Tuple.Destination.Port(),
		first: f.First.UnixNano(), last: f.Last.UnixNano(),
		up: half(&f.Client), down: half(&f.Server),
		announced: -1, exchanged: f.Exchanged, capture: place.Capture,
		hello: f.Name != "" && !f.HTTP,
	}
	switch f.Leg {
	case "in":
		c.legs = legIn
	case "out":
		c.legs = legOut
	}
	if len(f.Client.Stamps) > 0 {
		c.stamp = f.Client.Stamps[0]
	}
	if f.Announced.Source.IsValid() {
		c.announced = len(w.announced)
		w.announced = append(w.announced, f.Announced)
	}
	c.requests, c.requestsEnd = len(w.requests), len(w.requests)+len(f.Exchanges)
	for i := range f.Exchanges {
		w.requests = append(w.requests, r.request(&f.Exchanges[i], place.Capture))
	}
	w.conns = append(w.conns, c)
}

// AddInterface takes what a capture tells of its losses. Without it nothing is
// known to be complete, and more is left unanswered.
func (r *Relays) AddInterface(i *record.Interface, place Place) {
	w := r.world(place)
	if w.losses == nil {
		w.losses = map[int]loss{}
	}
	l := w.losses[place.Capture]
	l.untold = l.untold || !i.Lossy || i.Filter != ""
	l.dropped += i.Dropped
	w.losses[place.Capture] = l
}

// Machine says that addresses belong to one machine (one network namespace),
// as a listing of its addresses tells. Call it for each place that shows it.
func (r *Relays) Machine(place Place, addresses ...netip.Addr) {
	w := r.world(place)
	for i := 1; i < len(addresses); i++ {
		w.same = append(w.same, [2]uint32{r.number(addresses[0], place.Capture), r.number(addresses[i], place.Capture)})
	}
}

// Clock names the clock of a capture that was added without one, for when its
// host is known only afterwards.
func (r *Relays) Clock(capture int, name string) {
	if r.named == nil {
		r.named = map[int]string{}
	}
	r.named[capture] = "clock " + name
}

// byClock puts the flows of captures together that turned out to have one clock.
func (r *Relays) byClock() []*world {
	var out []*world
	at := map[string]*world{}
	for _, w := range r.worlds {
		name := w.name
		for c := range w.captures {
			if len(w.captures) == 1 && r.named[c] != "" {
				name = r.named[c]
			}
		}
		to := at[name]
		if to == nil {
			at[name], w.name = w, name
			out = append(out, w)
			continue
		}
		to.absorb(w)
	}
	return out
}

// world returns the flows of the place's clock.
func (r *Relays) world(place Place) *world {
	name := "clock " + place.Clock
	if place.Clock == "" {
		name = fmt.Sprint("capture ", place.Capture)
	}
	n, ok := r.clocks[name]
	if !ok {
		n = len(r.worlds)
		r.clocks[name] = n
		r.worlds = append(r.worlds, &world{name: name, captures: map[int]bool{}})
	}
	r.worlds[n].captures[place.Capture] = true
	return r.worlds[n]
}

// number returns the number of an address.
func (r *Relays) number(a netip.Addr, capture int) uint32 {
	a = a.Unmap()
	key := addressKey{a, -1}
	if a.IsLoopback() || a.IsLinkLocalUnicast() {
		key.capture = capture
	}
	n, ok := r.numbers[key]
	if !ok {
		n = uint32(len(r.addresses))
		r.addresses = append(r.addresses, a)
		r.numbers[key] = n
	}
	return n
}

// Find returns a translation for each downstream connection with its upstream
// one; where a downstream connection's requests went to several, one for each.
func (r *Relays) Find() []record.Translation {
	r.abstained = map[string]int{}
	order := r.byClock()
	sort.Slice(order, func(i, j int) bool { return order[i].name < order[j].name })
	var all []record.Translation
	var origin []int
	for i, w := range order {
		w.addresses = r.addresses
		w.abstained = r.abstained
		all = append(all, w.find()...)
		for len(origin) < len(all) {
			origin = append(origin, i)
		}
	}
	all = r.merge(all, origin)
	sort.SliceStable(all, func(i, j int) bool { return before(&all[i], &all[j]) })
	return all
}

// Abstained counts the downstream connections and requests to a proxy that
// Find left without an answer, by reason.
func (r *Relays) Abstained() map[string]int { return r.abstained }

// The reasons of Abstained.
const (
	WhySeveral    = "several upstream connections fit"
	reasonNone    = "no upstream connection fits"
	reasonNothing = "nothing was sent"
	reasonCut     = "begin or end was not captured"
	WhyDoubtful   = "one fits, but others may have been missed"
	WhyDisagree   = "captures disagree"
)

// rank orders the tiers from the surest.
func rank(t record.Tier) int {
	switch t {
	case record.TierAnnounced:
		return 0
	case record.TierPayload:
		return 1
	case record.TierSizes:
		return 2
	}
	return 3
}

// merge makes one of what captures of several clocks say alike, the surest,
// and drops what they contradict each other about. origin tells the clock.
func (r *Relays) merge(all []record.Translation, origin []int) []record.Translation {
	if len(r.worlds) < 2 {
		return all
	}
	byBefore := map[record.Tuple][]int{}
	for i := range all {
		byBefore[all[i].Before] = append(byBefore[all[i].Before], i)
	}
	drop := map[int]bool{}
	for i := range all {
		for _, j := range byBefore[all[i].Before] {
			if j <= i || origin[i] == origin[j] || drop[i] || drop[j] || !overlap(&all[i], &all[j]) {
				continue
			}
			switch {
			case all[i].After == all[j].After && rank(all[j].Tier) < rank(all[i].Tier):
				drop[i] = true
			case all[i].After == all[j].After:
				drop[j] = true
			case !all[i].Request || !all[j].Request:
				drop[i], drop[j] = true, true
				r.abstained[WhyDisagree]++
			}
		}
	}
	kept := all[:0]
	for i := range all {
		if !drop[i] {
			kept = append(kept, all[i])
		}
	}
	return kept
}

// overlap says whether two connections may be one by their times, whatever
// the clocks: ports are used again only after minutes.
func overlap(a, b *record.Translation) bool {
	const skew = 5 * time.Second
	return !a.Start.After(b.Start.Add(b.Duration+skew)) && !b.Start.After(a.Start.Add(a.Duration+skew))
}

// before orders translations by the place where they are shown.
func before(a, b *record.Translation) bool {
	switch {
	case a.Section != b.Section:
		return a.Section < b.Section
	case a.Packet != b.Packet:
		return a.Packet < b.Packet
	case a.Behind.Section != b.Behind.Section:
		return a.Behind.Section < b.Behind.Section
	}
	return a.Behind.Packet < b.Behind.Packet
}
