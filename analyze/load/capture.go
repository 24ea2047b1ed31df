package load

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strconv"

	"whichbackend/analyze/pcap"
	"whichbackend/analyze/pcap/flow"
	"whichbackend/analyze/pcap/match"
	"whichbackend/analyze/pcap/relay"
	"whichbackend/analyze/record"
)

// captures is what is put together of all captures of a case.
type captures struct {
	matcher *match.Matcher // nil without a capture
	relays  *relay.Relays
	flows   int   // held against each other
	list    []int // artifacts
	// renumbered leads from the sections of the database that is being read to
	// those of this case.
	renumbered map[int]int
	unanswered map[string]int // connections through proxies, of databases, by reason
	own        []ownAddress
	found      Found
}

// ownAddress is an address that a network namespace holds, as a listing tells.
type ownAddress struct {
	section int
	address netip.Addr
}

// Found is what the captures of a case say about each other.
type Found struct {
	// Clocks are the clocks of the capturing hosts, as far as the captures tell
	// how far they are apart.
	Clocks []Clock `json:"clocks,omitempty"`
	// Unused counts flows that look like one connection and were not taken for
	// one, by the reason.
	Unused []Unused `json:"unused,omitempty"`
}

// Clock is how far one host's clock is before another's.
type Clock struct {
	Host      string  `json:"host" yaml:"host"`
	Reference string  `json:"reference" yaml:"reference"`
	Seconds   float64 `json:"seconds" yaml:"seconds"`
	Spread    float64 `json:"spread" yaml:"spread"`
	Pairs     int     `json:"pairs" yaml:"pairs"`
}

// Unused is how many flows look like one connection and were not taken for one.
type Unused struct {
	Why    string `json:"why" yaml:"why"`
	Groups int    `json:"groups" yaml:"groups"`
	Flows  int    `json:"flows" yaml:"flows"`
	// Proxy is true for connections that may have gone on through a proxy.
	Proxy bool `json:"proxy,omitempty" yaml:"proxy,omitempty"`
}

// maxCaptures bounds the captures of a case that are held against each other,
// and maxMatched their flows: each costs about a kilobyte until the end.
const (
	maxCaptures = 1 << 15
	maxMatched  = 4 << 20
)

// clockKey stands for the clock of a capture until its host is known.
func clockKey(artifact int) string { return "\x00" + strconv.Itoa(artifact) }

// connect finds the connections that several flows show.
func (f *filler) connect() {
	c := &f.captures
	if c.matcher == nil {
		return
	}
	shown := map[string]string{}
	for _, id := range c.list {
		a := f.artifacts[id-1]
		name := a.Scope.Host
		shown[name] = name
		if name != "" {
			c.relays.Clock(id, name)
		} else {
			// Without a host nothing says that two captures have one clock.
			name = strconv.Itoa(a.Input) + "/" + a.Path
			shown[name] = a.Path
		}
		c.matcher.Rename(clockKey(id), name)
	}
	f.machines()
	// Either takes one core, and the database's indices are made meanwhile.
	f.s.FlowsDone()
	relayed := make(chan []record.Translation, 1)
	go func() { relayed <- c.relays.Find() }()
	r := c.matcher.Find()
	for _, ids := range r.Conversations {
		f.s.Conversation(ids)
	}
	for i := range r.Translations {
		f.s.Translation(&r.Translations[i])
	}
	for _, t := range <-relayed {
		f.s.Translation(&t)
	}
	for _, why := range []string{relay.WhySeveral, relay.WhyDoubtful, relay.WhyDisagree} {
		if n := c.relays.Abstained()[why] + c.unanswered[why]; n > 0 {
			c.found.Unused = append(c.found.Unused, Unused{Why: why, Groups: n, Flows: n, Proxy: true})
		}
	}
	for _, k := range r.Skews {
		if k.Pairs > 0 && k.Clock != k.Reference {
			c.found.Clocks = append(c.found.Clocks, Clock{shown[k.Clock], shown[k.Reference], k.Offset.Seconds(), k.Spread.Seconds(), k.Pairs})
		}
	}
	for _, a := range r.Ambiguous {
		c.found.Unused = append(c.found.Unused, Unused{Why: a.Why, Groups: a.Groups, Flows: a.Flows})
	}
}

// machines tells of each capture which addresses its network namespace holds: a
// proxy takes connections on one and opens others from another.
func (f *filler) machines() {
	byScope := map[record.Scope][]netip.Addr{}
	for _, o := range f.captures.own {
		if !o.address.IsLoopback() {
			scope := f.sections[o.section-1].Scope
			byScope[scope] = append(byScope[scope], o.address)
		}
	}
	for _, id := range f.captures.list {
		if a := f.artifacts[id-1]; a.Scope.Host != "" || a.Scope.Kind != record.ScopeHost {
			f.captures.relays.Machine(relay.Place{Capture: id}, byScope[a.Scope]...)
		}
	}
}

// capture reads an artifact that is a packet capture. It makes one section,
// whose lines are packets.
func (f *filler) capture(a *record.Artifact, body io.Reader, head []byte) error {
	format := "pcap"
	if bytes.HasPrefix(head, []byte("\x0a\x0d\x0d\x0a")) {
		format = "pcapng"
	}
	s := &record.Section{ID: len(f.sections) + 1, Artifact: a.ID, Line: 1, Format: format}
	f.sections = append(f.sections, s)
	r, err := pcap.Open(body)
	if err != nil {
		f.s.Problem(&record.Problem{Pos: record.Pos{Section: s.ID}, Why: err.Error()})
		return nil
	}
	sum, err := flow.Read(r, f.captured(a, s))
	s.Lines, s.Understood, s.Ignored, s.Unknown = int(sum.Packets), int(sum.InFlows), int(sum.Known), int(sum.Unknown)
	for _, i := range r.Interfaces() {
		if s.Tool == "" {
			s.Tool = i.Application
		}
	}
	for _, m := range r.Remarks() {
		if !m.Harmless {
			f.s.Problem(&record.Problem{Pos: record.Pos{Section: s.ID, Packet: m.Packet}, Why: m.String()})
		}
	}
	a.Truncated = r.Truncated()
	return err
}

// captured begins to take in a capture.
func (f *filler) captured(a *record.Artifact, s *record.Section) *captured {
	c := &f.captures
	if c.matcher == nil {
		c.matcher, c.relays = match.New(), relay.New()
	}
	matched := len(c.list) < maxCaptures
	if matched {
		c.list = append(c.list, a.ID)
	} else {
		f.warnings = append(f.warnings, a.Path+": more captures than are held against each other; its flows stand alone")
	}
	return &captured{f, s, matched}
}

// found is what the captures of a kept case say about each other.
func (c *Case) found() (out Found, err error) {
	text, err := c.Meta("captures")
	if err == nil && text != "" {
		err = json.Unmarshal([]byte(text), &out)
	}
	return out, err
}

// Clocks are how far the clocks of hosts are apart, as captures tell.
func (c *Case) Clocks() ([]Clock, error) {
	found, err := c.found()
	return found.Clocks, err
}

// captured takes what a capture says into the store.
type captured struct {
	*filler
	sec     *record.Section
	matched bool
}

func (c *captured) Interface(i *record.Interface) {
	i.Section = c.sec.ID
	c.s.Interface(i)
	if c.matched {
		c.captures.relays.AddInterface(i, relay.Place{Capture: c.sec.Artifact})
	}
}

func (c *captured) Flow(f *record.Flow) {
	f.Section = c.sec.ID
	c.s.Flow(f)
	if c.holds() {
		c.captures.matcher.Add(f, match.Place{Capture: c.sec.Artifact, Clock: clockKey(c.sec.Artifact)})
		c.captures.relays.Add(f, relay.Place{Capture: c.sec.Artifact})
	}
}

// holds tells whether one more flow of the capture is held against others.
func (c *captured) holds() bool {
	if !c.matched {
		return false
	}
	if c.captures.flows++; c.captures.flows == maxMatched+1 {
		c.warnings = append(c.warnings, fmt.Sprintf("the captures show more than %d flows: those from %s on are not held against others", maxMatched, c.artifacts[c.sec.Artifact-1].Path))
	}
	return c.captures.flows <= maxMatched
}

func (c *captured) Undecoded(u *record.Undecoded) {
	u.Section = c.sec.ID
	c.s.Undecoded(u)
}

func (c *captured) Name(n *flow.Name) {
	c.s.Owner(&record.Owner{Pos: record.Pos{Section: c.sec.ID, Packet: n.Packet}, Kind: record.OwnerName, Address: n.Addr.Unmap(), Name: n.Name})
}
