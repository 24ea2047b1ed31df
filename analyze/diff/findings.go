package diff

import (
	"fmt"
	"slices"

	"whichbackend/analyze/check"
	"whichbackend/analyze/record"
)

// findings compares what checks of both moments found.
func (s *step) findings() {
	before, after := index(s.before.findings), index(s.after.findings)
	for _, side := range []struct {
		change, lacking, own string
		has, lacks           *Moment
		list                 []check.Finding
		other                map[string]bool
	}{{"new", "before", "after", s.after, s.before, s.after.findings.Findings, before}, {"gone", "after", "before", s.before, s.after, s.before.findings.Findings, after}} {
		for _, f := range side.list {
			if side.other[sameFinding(&f)] {
				continue
			}
			x := Finding{Step: s.n, Change: side.change, Finding: f}
			akin := kin(&f, side.lacks.findings)
			if x.Missing = unjudged(&f, side.has, side.lacks, akin || side.change == "gone"); x.Missing != "" {
				x.Change, x.Side = "not judged", side.lacking
			} else if missing := unjudged(&f, side.lacks, side.has, true); akin && missing != "" {
				x.Change, x.Side, x.Missing = "not judged", side.own, missing
			}
			s.Findings = append(s.Findings, x)
		}
	}
}

func index(r *check.Result) map[string]bool {
	out := map[string]bool{}
	for i := range r.Findings {
		out[sameFinding(&r.Findings[i])] = true
	}
	return out
}

// sameFinding is what a finding is recognised by: its rule and what it concerns.
func sameFinding(f *check.Finding) string {
	list := []string{}
	for _, o := range f.Objects {
		list = append(list, fmt.Sprintf("%q", []string{o.Kind, o.Namespace, o.Name, o.Address, o.Host}))
	}
	slices.Sort(list)
	return fmt.Sprintf("%q", append([]string{f.ID}, list...))
}

// kin tells whether the other side has a finding of the same rule of something
// at the same address: it may be the same one, with names that only one side
// has listings for.
func kin(f *check.Finding, other *check.Result) bool {
	addresses := map[string]bool{}
	for _, o := range f.Objects {
		addresses[o.Address] = o.Address != ""
	}
	for i := range other.Findings {
		for _, o := range other.Findings[i].Objects {
			if other.Findings[i].ID == f.ID && addresses[o.Address] {
				return true
			}
		}
	}
	return false
}

// unjudged says why a moment without a finding may have the problem
// nevertheless, "" when it would have shown it: its rule could not tell, or
// something was not recorded that the other moment has. A place that is new
// could not be recorded before; one that is not there any more may be gone, or
// may only not have been looked at.
func unjudged(f *check.Finding, has, lacking *Moment, strict bool) string {
	for _, u := range lacking.findings.Unjudged {
		if u.ID == f.ID {
			return "the rule needs " + u.Needs
		}
	}
	places := map[record.Scope]bool{}
	for i := range lacking.listings {
		places[lacking.listings[i].place] = true
	}
	proves := map[string]bool{}
	for _, e := range f.Evidence {
		proves[e.Artifact] = true
	}
	for i := range has.listings {
		l := &has.listings[i]
		if !strict && !places[l.place] && !proves[l.path] {
			continue
		}
		if missing := lacking.again(l); missing != "" {
			return missing
		}
	}
	return ""
}
