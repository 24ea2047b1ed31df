package load

import (
	"sort"

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
	Missing   []Missing   `json:"missing,omitempty" yaml:"missing,omitempty"`
	Warnings  []string    `json:"warnings" yaml:"warnings"`
}

// InputInfo is one input.
type InputInfo struct {
	Path    string `json:"path" yaml:"path"`
	SHA256  string `json:"sha256,omitempty" yaml:"sha256,omitempty"`
	Created string `json:"created,omitempty" yaml:"created,omitempty"`
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
	Pointer string `json:"pointer,omitempty" yaml:"pointer,omitempty"`
	Text    string `json:"text" yaml:"text"`
	Why     string `json:"why" yaml:"why"`
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
	for _, i := range inputs {
		info := InputInfo{Path: i.Path, SHA256: i.SHA256}
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
				x.Problems = append(x.Problems, ProblemInfo{Line: p.Line, Pointer: p.Pointer, Text: p.Text, Why: p.Why})
			}
			out.Artifacts = append(out.Artifacts, x)
		}
	}
	return out, nil
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
