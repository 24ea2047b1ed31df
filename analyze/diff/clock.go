package diff

import (
	"maps"
	"slices"
	"time"

	"whichbackend/analyze/load"
	"whichbackend/analyze/record"
)

// span is from when to when something was recorded.
type span struct{ first, last time.Time }

func (s *span) add(t time.Time) {
	if s.first.IsZero() || t.Before(s.first) {
		s.first = t
	}
	if t.After(s.last) {
		s.last = t
	}
}

// clocks tells when each host was recorded, by its own clock and by the one
// that captures hold it against.
func (m *Moment) clocks(k source) error {
	list, err := k.Load.Clocks()
	if err != nil {
		return err
	}
	m.info.Clocks = list
	byHost := map[string]load.Clock{}
	for _, c := range list {
		byHost[c.Host] = c
	}
	spans := map[string]*span{}
	sections, err := k.Load.Sections()
	if err != nil {
		return err
	}
	for _, s := range sections {
		t := k.Recorded(s.ID)
		if t.IsZero() || !k.Current(s.ID) || s.Scope.Kind == record.ScopeCluster {
			continue
		}
		if spans[s.Scope.Host] == nil {
			spans[s.Scope.Host] = &span{}
		}
		spans[s.Scope.Host].add(t)
	}
	for _, name := range slices.Sorted(maps.Keys(spans)) {
		s := spans[name]
		h := Host{Host: name, First: stamp(s.first), Last: stamp(s.last)}
		if c, ok := byHost[name]; ok {
			off := -time.Duration(c.Seconds * float64(time.Second))
			s = &span{s.first.Add(off), s.last.Add(off)}
			h.Reference, h.CorrectedFirst, h.CorrectedLast = c.Reference, stamp(s.first), stamp(s.last)
		}
		m.created.add(s.first)
		m.created.add(s.last)
		m.info.Hosts = append(m.info.Hosts, h)
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// apart is the time from one moment to the next, by corrected clocks.
func apart(before, after *Moment) (time.Duration, bool) {
	if before.created.first.IsZero() || after.created.first.IsZero() {
		return 0, false
	}
	return after.created.first.Sub(before.created.first), true
}
