package load

import (
	"sort"
	"time"

	"whichbackend/analyze/pcap/decode"
	"whichbackend/analyze/record"
)

// InspectSchema names the JSON form of an inspection.
const InspectSchema = "whichbackend.inspect/v1"

// Inspection says what is in a case, and how much of it was understood.
type Inspection struct {
	Schema    string      `json:"schema" yaml:"schema"`
	Tool      string      `json:"tool" yaml:"tool"`
	Inputs    []InputInfo `json:"inputs" yaml:"inputs"`
	Artifacts []Inspected `json:"artifacts" yaml:"artifacts"`
	Formats   []FormatSum `json:"formats" yaml:"formats"`
	Captures  []Captured  `json:"captures,omitempty" yaml:"captures,omitempty"`
	Clocks    []Clock     `json:"clocks,omitempty" yaml:"clocks,omitempty"`
	Unused    []Unused    `json:"unused,omitempty" yaml:"unused,omitempty"`
	Missing   []Missing   `json:"missing,omitempty" yaml:"missing,omitempty"`
	Warnings  []string    `json:"warnings" yaml:"warnings"`
}

// InputInfo is one input.
type InputInfo struct {
	Path    string `json:"path" yaml:"path"`
	SHA256  string `json:"sha256,omitempty" yaml:"sha256,omitempty"`
	Created string `json:"created,omitempty" yaml:"created,omitempty"`
	Note    string `json:"note,omitempty" yaml:"note,omitempty"` // as the manifest has it
}

// Inspected is one artifact, or one section of an artifact that holds several
// listings.
type Inspected struct {
	Path       string        `json:"path" yaml:"path"`
	Line       int           `json:"line,omitempty" yaml:"line,omitempty"` // first line of a section that does not begin the artifact
	Format     string        `json:"format,omitempty" yaml:"format,omitempty"`
	Tool       string        `json:"tool,omitempty" yaml:"tool,omitempty"`
	Command    string        `json:"command,omitempty" yaml:"command,omitempty"`
	Host       string        `json:"host,omitempty" yaml:"host,omitempty"`
	Scope      string        `json:"scope,omitempty" yaml:"scope,omitempty"`
	Lines      int           `json:"lines" yaml:"lines"`
	Understood int           `json:"understood" yaml:"understood"`
	Ignored    int           `json:"ignored" yaml:"ignored"`
	Unknown    int           `json:"unknown" yaml:"unknown"`
	Truncated  bool          `json:"truncated,omitempty" yaml:"truncated,omitempty"`
	Problems   []ProblemInfo `json:"problems" yaml:"problems"`
}

// ProblemInfo is one line that was not understood.
type ProblemInfo struct {
	Line    int    `json:"line,omitempty" yaml:"line,omitempty"`
	Packet  int    `json:"packet,omitempty" yaml:"packet,omitempty"`
	Pointer string `json:"pointer,omitempty" yaml:"pointer,omitempty"`
	Text    string `json:"text" yaml:"text"`
	Why     string `json:"why" yaml:"why"`
}

// Captured is what a packet capture holds, and what is missing in it: what was
// not seen there may have passed nevertheless.
type Captured struct {
	Path       string      `json:"path" yaml:"path"`
	Packets    uint64      `json:"packets" yaml:"packets"`
	Flows      int         `json:"flows" yaml:"flows"`
	Interfaces []Interface `json:"interfaces" yaml:"interfaces"`
	// Undecoded are packets of which no flow was made.
	Undecoded []Undecoded `json:"undecoded,omitempty" yaml:"undecoded,omitempty"`
	Truncated bool        `json:"truncated,omitempty" yaml:"truncated,omitempty"`
}

// Interface is one interface of a capture.
type Interface struct {
	Name     string `json:"name,omitempty" yaml:"name,omitempty"`
	LinkType string `json:"link_type" yaml:"link_type"`
	Snaplen  uint32 `json:"snaplen,omitempty" yaml:"snaplen,omitempty"` // omitted: no limit
	Filter   string `json:"filter,omitempty" yaml:"filter,omitempty"`
	Packets  uint64 `json:"packets" yaml:"packets"`
	Cut      uint64 `json:"cut" yaml:"cut"` // packets kept only in part
	// Dropped is omitted where the file does not tell it.
	Dropped *uint64 `json:"dropped,omitempty" yaml:"dropped,omitempty"`
	First   string  `json:"first,omitempty" yaml:"first,omitempty"`
	Last    string  `json:"last,omitempty" yaml:"last,omitempty"`
}

// Undecoded counts packets of which no flow was made, by the reason.
type Undecoded struct {
	Reason  string `json:"reason" yaml:"reason"`
	Packets uint64 `json:"packets" yaml:"packets"`
	Packet  int    `json:"packet" yaml:"packet"` // the first of them
	// Known is true for packets of no conversation, which nobody misses.
	Known bool `json:"known" yaml:"known"`
}

// FormatSum sums the coverage of one format.
type FormatSum struct {
	Format     string `json:"format" yaml:"format"`
	Sections   int    `json:"sections" yaml:"sections"`
	Lines      int    `json:"lines" yaml:"lines"`
	Understood int    `json:"understood" yaml:"understood"`
	Ignored    int    `json:"ignored" yaml:"ignored"`
	Unknown    int    `json:"unknown" yaml:"unknown"`
}

// Missing is what the collector could not record.
type Missing struct {
	Host    string `json:"host,omitempty" yaml:"host,omitempty"`
	What    string `json:"what" yaml:"what"`
	Because string `json:"because" yaml:"because"`
	Detail  string `json:"detail,omitempty" yaml:"detail,omitempty"`
}

// Inspect lists artifacts, coverage and problems of a case.
func (c *Case) Inspect() (*Inspection, error) {
	out := &Inspection{Schema: InspectSchema, Inputs: []InputInfo{}, Artifacts: []Inspected{}, Formats: []FormatSum{}, Warnings: []string{}}
	out.Warnings = append(out.Warnings, c.Warnings...)
	inputs, err := c.Inputs()
	if err != nil {
		return nil, err
	}
	for n, i := range inputs {
		info := InputInfo{Path: i.Path, SHA256: i.SHA256, Note: c.note(n)}
		if i.Created != 0 {
			info.Created = unixNano(i.Created)
		}
		out.Inputs = append(out.Inputs, info)
	}
	missing, err := c.AllMissing()
	if err != nil {
		return nil, err
	}
	for _, m := range missing {
		out.Missing = append(out.Missing, Missing{Host: m.Host, What: m.What, Because: m.Because, Detail: m.Detail})
	}
	artifacts, err := c.Artifacts()
	if err != nil {
		return nil, err
	}
	sections, err := c.Sections()
	if err != nil {
		return nil, err
	}
	bySection := map[int][]record.Section{}
	sums := map[string]int{}
	for _, s := range sections {
		bySection[s.Artifact] = append(bySection[s.Artifact], s)
		out.sum(sums, s)
	}
	sortFormats(out.Formats)
	if err := out.captures(c, artifacts, bySection); err != nil {
		return nil, err
	}
	for _, a := range artifacts {
		list := bySection[a.ID]
		if len(list) == 0 {
			list = []record.Section{{Format: "empty", Scope: a.Scope}}
		}
		for _, s := range list {
			x := Inspected{Path: a.Path, Format: s.Format, Tool: s.Tool, Command: s.Command, Host: s.Scope.Host, Scope: scopeText(s.Scope),
				Lines: s.Lines, Understood: s.Understood, Ignored: s.Ignored, Unknown: s.Unknown, Truncated: a.Truncated, Problems: []ProblemInfo{}}
			if s.Line > 1 {
				x.Line = s.Line
			}
			problems, err := c.Problems(s.ID)
			if err != nil {
				return nil, err
			}
			for _, p := range problems {
				x.Problems = append(x.Problems, ProblemInfo{Line: p.Line, Packet: p.Packet, Pointer: p.Pointer, Text: p.Text, Why: p.Why})
			}
			out.Artifacts = append(out.Artifacts, x)
		}
	}
	return out, nil
}

// captures lists what the captures of a case hold.
func (out *Inspection) captures(c *Case, artifacts []record.Artifact, sections map[int][]record.Section) error {
	interfaces, err := c.Interfaces()
	if err != nil {
		return err
	}
	undecoded, err := c.AllUndecoded()
	if err != nil {
		return err
	}
	flows, err := c.CountFlows()
	if err != nil {
		return err
	}
	found, err := c.found()
	if err != nil {
		return err
	}
	out.Clocks, out.Unused = found.Clocks, found.Unused
	byInterface, byReason := map[int][]Interface{}, map[int][]Undecoded{}
	for _, i := range interfaces {
		x := Interface{Name: i.Name, LinkType: decode.LinkName(uint16(i.LinkType)), Snaplen: i.Snaplen, Filter: i.Filter, Packets: i.Packets, Cut: i.Cut}
		if i.Lossy {
			x.Dropped = &i.Dropped
		}
		if !i.First.IsZero() {
			x.First, x.Last = i.First.Format(time.RFC3339Nano), i.Last.Format(time.RFC3339Nano)
		}
		byInterface[i.Section] = append(byInterface[i.Section], x)
	}
	for _, u := range undecoded {
		byReason[u.Section] = append(byReason[u.Section], Undecoded{Reason: u.Reason, Packets: u.Packets, Packet: u.Packet, Known: u.Known})
	}
	for _, a := range artifacts {
		for _, s := range sections[a.ID] {
			if s.Format == "pcap" || s.Format == "pcapng" {
				out.Captures = append(out.Captures, Captured{Path: a.Path, Packets: uint64(s.Lines), Flows: flows[s.ID], Interfaces: append([]Interface{}, byInterface[s.ID]...), Undecoded: byReason[s.ID], Truncated: a.Truncated})
			}
		}
	}
	return nil
}

func (out *Inspection) sum(index map[string]int, s record.Section) {
	i, ok := index[s.Format]
	if !ok {
		i = len(out.Formats)
		index[s.Format] = i
		out.Formats = append(out.Formats, FormatSum{Format: s.Format})
	}
	f := &out.Formats[i]
	f.Sections++
	f.Lines += s.Lines
	f.Understood += s.Understood
	f.Ignored += s.Ignored
	f.Unknown += s.Unknown
}

func scopeText(s record.Scope) string {
	switch s.Kind {
	case record.ScopePod:
		return "pod/" + s.Namespace + "/" + s.Name
	case record.ScopeContainer, record.ScopeNetns, record.ScopePID:
		return string(s.Kind) + "/" + s.Name
	}
	return string(s.Kind)
}

func sortFormats(list []FormatSum) {
	sort.Slice(list, func(i, j int) bool { return list[i].Format < list[j].Format })
}
