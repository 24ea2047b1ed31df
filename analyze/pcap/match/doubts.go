package match

import "slices"

const (
	maxExamples = 20
	maxIDs      = 8
)

// doubts counts what was not used, by reason.
type doubts map[string]*Ambiguity

func (d doubts) add(why string, w *world, legs ...int32) {
	if len(legs) == 0 {
		return
	}
	a := d[why]
	if a == nil {
		a = &Ambiguity{Why: why}
		d[why] = a
	}
	a.Groups++
	var ids []int
	for _, i := range legs {
		l := &w.legs[i]
		a.Flows += int(l.hi - l.lo)
		for _, m := range w.members[l.lo:l.hi] {
			if len(ids) < maxIDs && len(a.Examples) < maxExamples {
				ids = append(ids, int(w.views.at(m.view).id))
			}
		}
	}
	if len(a.Examples) < maxExamples {
		slices.Sort(ids)
		a.Examples = append(a.Examples, ids)
	}
}

// list returns the counts in the order of the Why constants.
func (d doubts) list() []Ambiguity {
	var out []Ambiguity
	for _, why := range []string{WhyCrowd, WhyRepeated, WhyContradict, WhyCopy, WhyOrder, WhyThin} {
		if a := d[why]; a != nil {
			out = append(out, *a)
		}
	}
	return out
}
