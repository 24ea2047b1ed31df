package load

import (
	"bytes"
	"io"

	"whichbackend/analyze/pcap"
	"whichbackend/analyze/pcap/flow"
	"whichbackend/analyze/record"
)

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
	sum, err := flow.Read(r, &captured{f, s})
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
	sec *record.Section
}

func (c *captured) Interface(i *record.Interface) {
	i.Section = c.sec.ID
	c.s.Interface(i)
}

func (c *captured) Flow(f *record.Flow) {
	f.Section = c.sec.ID
	c.s.Flow(f)
}

func (c *captured) Undecoded(u *record.Undecoded) {
	u.Section = c.sec.ID
	c.s.Undecoded(u)
}

func (c *captured) Name(n *flow.Name) {
	c.s.Owner(&record.Owner{Pos: record.Pos{Section: c.sec.ID, Packet: n.Packet}, Kind: record.OwnerName, Address: n.Addr.Unmap(), Name: n.Name})
}
