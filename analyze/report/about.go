package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"whichbackend/analyze/check"
	"whichbackend/analyze/record"
	"whichbackend/analyze/resolve"
)

// about is what the case is.
type about struct {
	Tool       text             `json:"tool"`
	Inputs     []input          `json:"inputs"`
	Hosts      []host           `json:"hosts"`
	First      text             `json:"first,omitempty"`
	Last       text             `json:"last,omitempty"`
	At         text             `json:"at,omitempty"`
	Mechanisms []mechanism      `json:"mechanisms"`
	Coverage   resolve.Coverage `json:"coverage"`
	Captures   int              `json:"captures"`
	Missing    []missing        `json:"missing"`
	Warnings   []text           `json:"warnings"`
	Clocks     []text           `json:"clocks,omitempty"`
	Elsewhen   int              `json:"elsewhen,omitempty"` // artifacts of other moments
	Rules      int              `json:"rules"`              // how many judged the case
	Ask        text             `json:"ask"`                // the command that asks this case
}

type input struct {
	Path    text `json:"path"`
	SHA256  text `json:"sha256,omitempty"`
	Created text `json:"created,omitempty"`
	Note    text `json:"note,omitempty"`
}

type host struct {
	Name  text `json:"name"`
	Count int  `json:"count"` // artifacts
	First text `json:"first,omitempty"`
	Last  text `json:"last,omitempty"`
}

type mechanism struct {
	Name  text `json:"name"`
	Means text `json:"means"`
	Count int  `json:"count"`
}

type missing struct {
	Host    text `json:"host,omitempty"`
	What    text `json:"what"`
	Because text `json:"because"`
	Detail  text `json:"detail,omitempty"`
}

func (p *page) about() (*about, error) {
	out := &about{Tool: text(p.Tool), Inputs: []input{}, Hosts: []host{}, At: text(p.At), Mechanisms: []mechanism{}, Coverage: p.Answer.Coverage,
		Captures: len(p.Inspection.Captures), Missing: []missing{}, Warnings: []text{}, Rules: len(check.Rules) - len(p.Found.Unjudged), Ask: text(askCommand(p.Bundles, p.At))}
	for _, i := range p.Inspection.Inputs {
		out.Inputs = append(out.Inputs, input{text(i.Path), text(i.SHA256), text(i.Created), text(i.Note)})
	}
	for _, m := range p.Inspection.Missing {
		out.Missing = append(out.Missing, missing{text(m.Host), text(m.What), text(m.Because), text(m.Detail)})
	}
	warnings := slices.Concat(p.Answer.Warnings, p.Inspection.Warnings, p.Found.Warnings)
	slices.Sort(warnings)
	out.Warnings = texts(slices.Compact(warnings))
	for _, c := range p.Inspection.Clocks {
		out.Clocks = append(out.Clocks, text(fmt.Sprintf("the clock of %s is %+.6f s from that of %s, give or take %.6f s, by %d connections seen on both", orUnnamed(c.Host), c.Seconds, orUnnamed(c.Reference), c.Spread, c.Pairs)))
	}
	out.mechanisms(p.Answer)
	return out, out.hosts(p.Case)
}

func orUnnamed(host string) string {
	if host == "" {
		return "the unnamed host"
	}
	return host
}

// mechanisms counts the connections of each mechanism, in the order of the
// closed set.
func (a *about) mechanisms(answer *resolve.Answer) {
	counts := map[string]int{}
	for i := range answer.Connections {
		for _, m := range answer.Connections[i].Mechanisms {
			counts[m]++
		}
	}
	for _, m := range resolve.Mechanisms {
		if n := counts[m.Name]; n > 0 {
			a.Mechanisms = append(a.Mechanisms, mechanism{text(m.Name), text(m.Means), n})
		}
	}
}

// hosts tells the hosts of the case, and when each was recorded.
func (a *about) hosts(c Case) error {
	sections, err := c.Load.Sections()
	if err != nil {
		return err
	}
	type seen struct {
		artifacts   map[int]bool
		first, last time.Time
	}
	byHost, elsewhen := map[string]*seen{}, map[int]bool{}
	var first, last time.Time
	for _, s := range sections {
		if !c.Current(s.ID) {
			elsewhen[s.Artifact] = true
			continue
		}
		t := c.Recorded(s.ID)
		stretch(&first, &last, t)
		if s.Scope.Kind == record.ScopeCluster {
			continue
		}
		h := byHost[s.Scope.Host]
		if h == nil {
			h = &seen{artifacts: map[int]bool{}}
			byHost[s.Scope.Host] = h
		}
		h.artifacts[s.Artifact] = true
		stretch(&h.first, &h.last, t)
	}
	for _, name := range sorted(byHost) {
		h := byHost[name]
		a.Hosts = append(a.Hosts, host{text(name), len(h.artifacts), moment(h.first), moment(h.last)})
	}
	a.First, a.Last, a.Elsewhen = moment(first), moment(last), len(elsewhen)
	return nil
}

// stretch makes a span of time hold a moment.
func stretch(first, last *time.Time, t time.Time) {
	if t.IsZero() {
		return
	}
	if first.IsZero() || t.Before(*first) {
		*first = t
	}
	if t.After(*last) {
		*last = t
	}
}

func moment(t time.Time) text {
	if t.IsZero() {
		return ""
	}
	return text(t.UTC().Format("2006-01-02 15:04:05 UTC"))
}

// askCommand is the command that asks the same case, for a shell.
func askCommand(arguments []string, at string) string {
	list := []string{"whichbackend", "ask"}
	for _, a := range arguments {
		if strings.HasPrefix(a, "-") && a != "-" {
			a = "./" + a
		}
		list = append(list, quoted(a))
	}
	if at != "" {
		list = append(list, "--at", quoted(at))
	}
	return strings.Join(list, " ")
}

// quoted is a word as a shell reads it back.
func quoted(s string) string {
	safe := func(r rune) bool {
		return r < 0x7f && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:@%+=,", r))
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !safe(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// verdict is one of the closed set, with how many connections have it.
type verdict struct {
	Name  string `json:"name"`
	Holds string `json:"holds"`
	Count int    `json:"count"`
}

func (p *page) verdicts() []verdict {
	out := make([]verdict, len(resolve.Verdicts))
	for i, v := range resolve.Verdicts {
		out[i] = verdict{Name: string(v.Verdict), Holds: v.Holds}
	}
	for _, v := range p.table.Verdict {
		out[v].Count++
	}
	return out
}
