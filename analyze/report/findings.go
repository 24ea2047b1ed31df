package report

// finding is a finding with the rows of its connections.
type finding struct {
	ID       text       `json:"id"`
	Severity string     `json:"severity"`
	Title    text       `json:"title"`
	Why      text       `json:"why,omitempty"`
	Do       text       `json:"do,omitempty"`
	See      []text     `json:"see,omitempty"`
	Count    int        `json:"count"`
	Rows     []int      `json:"rows"`
	Objects  []object   `json:"objects,omitempty"`
	Evidence []evidence `json:"evidence,omitempty"`
}

type object struct {
	Kind    text `json:"kind"`
	Name    text `json:"name,omitempty"`
	Address text `json:"address,omitempty"`
	Host    text `json:"host,omitempty"`
}

func (p *page) findings() []finding {
	out := make([]finding, 0, len(p.Found.Findings))
	q := quoting{p: p}
	for _, f := range p.Found.Findings {
		x := finding{ID: text(f.ID), Severity: string(f.Severity), Title: text(f.Title), Why: text(f.Why), Do: text(f.Do), See: texts(f.See), Count: f.Count, Rows: []int{}}
		for _, c := range f.Connections {
			if row, ok := p.table.rows[keyOf(c.Protocol, c.Client, c.Service)]; ok {
				x.Rows = append(x.Rows, row)
			}
		}
		var addresses []string
		for _, o := range f.Objects {
			x.Objects = append(x.Objects, object{text(o.Kind), text(joined(o.Namespace, o.Name)), text(o.Address), text(o.Host)})
			addresses = append(addresses, o.Address)
		}
		x.Evidence = q.of(f.Evidence, addresses...)
		out = append(out, x)
	}
	if p.err == nil {
		p.err = q.err
	}
	return out
}

// unjudged is a rule that the case does not hold enough for.
type unjudged struct {
	ID    text `json:"id"`
	Finds text `json:"finds"`
	Needs text `json:"needs"`
}

func (p *page) unjudged() []unjudged {
	out := make([]unjudged, 0, len(p.Found.Unjudged))
	for _, u := range p.Found.Unjudged {
		out = append(out, unjudged{text(u.ID), text(u.Finds), text(u.Needs)})
	}
	return out
}

// maxProblems bounds the problems that the page quotes of one artifact and of
// all, and maxArtifacts the artifacts. All are counted.
const (
	maxProblemsEach = 20
	maxProblems     = 2000
	maxArtifacts    = 5000
)

// artifact is one artifact, or a section of one, with how much was understood.
type artifact struct {
	Path       text      `json:"path"`
	Line       int       `json:"line,omitempty"`
	Format     text      `json:"format,omitempty"`
	Tool       text      `json:"tool,omitempty"`
	Scope      text      `json:"scope,omitempty"`
	Lines      int       `json:"lines"`
	Understood int       `json:"understood"`
	Ignored    int       `json:"ignored"`
	Unknown    int       `json:"unknown"`
	Truncated  bool      `json:"truncated,omitempty"`
	Problems   []problem `json:"problems,omitempty"`
	Count      int       `json:"count,omitempty"` // of problems, shown or not
}

type problem struct {
	Line    int  `json:"line,omitempty"`
	Packet  int  `json:"packet,omitempty"`
	Pointer text `json:"pointer,omitempty"`
	Text    text `json:"text"`
	Why     text `json:"why"`
}

// artifactList is the artifacts that are shown, and how many there are.
type artifactList struct {
	Count int        `json:"count"`
	List  []artifact `json:"list"`
}

func (p *page) artifacts() artifactList {
	all := p.Inspection.Artifacts
	out := artifactList{Count: len(all), List: []artifact{}}
	left := maxProblems
	for _, a := range all[:min(len(all), maxArtifacts)] {
		x := artifact{Path: text(a.Path), Line: a.Line, Format: text(a.Format), Tool: text(a.Tool), Scope: text(a.Scope), Lines: a.Lines,
			Understood: a.Understood, Ignored: a.Ignored, Unknown: a.Unknown, Truncated: a.Truncated, Count: len(a.Problems)}
		if a.Host != "" && a.Scope != "cluster" {
			x.Scope = text(a.Host + "/" + a.Scope)
		}
		n := min(len(a.Problems), maxProblemsEach, left)
		left -= n
		for _, b := range a.Problems[:n] {
			x.Problems = append(x.Problems, problem{b.Line, b.Packet, text(b.Pointer), text(clipped(b.Text)), text(b.Why)})
		}
		out.List = append(out.List, x)
	}
	return out
}
