package load

import (
	"bytes"
	"io"
	"strconv"

	"whichbackend/analyze/pcap"
	"whichbackend/analyze/pcap/flow"
	"whichbackend/analyze/pcap/match"
	"whichbackend/analyze/record"
)

// captures is what is put together of all captures of a case.
type captures struct {
	matcher *match.Matcher // nil without a capture
	list    []int          // artifacts
	found   Found
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
}

// maxCaptures bounds the captures of a case that are held against each other.
const maxCaptures = 1 << 15

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
		if name == "" {
			// Without a host nothing says that two captures have one clock.
			name = strconv.Itoa(a.Input) + "/" + a.Path
			shown[name] = a.Path
		}
		c.matcher.Rename(clockKey(id), name)
	}
	r := c.matcher.Find()
	for _, ids := range r.Conversations {
		f.s.Conversation(ids)
	}
	for i := range r.Translations {
		f.s.Translation(&r.Translations[i])
	}
	for _, k := range r.Skews {
		if k.Pairs > 0 && k.Clock != k.Reference {
			c.found.Clocks = append(c.found.Clocks, Clock{shown[k.Clock], shown[k.Reference], k.Offset.Seconds(), k.Spread.Seconds(), k.Pairs})
		}
	}
	for _, a := range r.Ambiguous {
		c.found.Unused = append(c.found.Unused, Unused{a.Why, a.Groups, a.Flows})
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
	if f.captures.matcher == nil {
		f.captures.matcher = match.New()
	}
	if len(f.captures.list) < maxCaptures {
		f.captures.list = append(f.captures.list, a.ID)
	} else {
		f.warnings = append(f.warnings, a.Path+": more captures than are held against each other; its flows stand alone")
	}
	sum, err := flow.Read(r, &captured{f, s, f.captures.list[len(f.captures.list)-1] == a.ID})
	s.Lines, s.Understood, s.Ignored, s.Unknown = int(sum.Packets), int(sum.InFlows), int(sum.Known), int(sum.Unknown)
	for _, i := range r.Interfaces() {
		if s.Tool == "" {
			s.Tool = i.Application
		}
	}
	for _, m := range r.Remarks() {
		f.s.Problem(&record.Problem{Pos: record.Pos{Section: s.ID, Packet: m.Packet}, Why: m.Text})
	}
	a.Truncated = r.Truncated()
	return err
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
}

func (c *captured) Flow(f *record.Flow) {
	f.Section = c.sec.ID
	c.s.Flow(f)
	if c.matched {
		c.captures.matcher.Add(f, match.Place{Capture: c.sec.Artifact, Clock: clockKey(c.sec.Artifact)})
	}
}

func (c *captured) Undecoded(u *record.Undecoded) {
	u.Section = c.sec.ID
	c.s.Undecoded(u)
}

func (c *captured) Name(n *flow.Name) {
	c.s.Owner(&record.Owner{Pos: record.Pos{Section: c.sec.ID, Packet: n.Packet}, Kind: record.OwnerName, Address: n.Addr.Unmap(), Name: n.Name})
}
