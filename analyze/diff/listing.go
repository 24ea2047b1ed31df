package diff

import (
	"fmt"
	"net/netip"
	"path"
	"slices"

	"whichbackend/analyze/record"
)

// listing is one listing of a moment, as far as it matters to find the same
// kind of listing in another moment.
type listing struct {
	place         record.Scope
	where         string // how answers call the place
	format        string
	path, command string
	sole          bool   // its artifact is the only one of the moment
	lack          string // why it may not show everything; "" when it does
}

// kind is what listings of two moments have in common.
type kind struct {
	place  record.Scope
	format string
}

// called names a listing in a message.
func (l *listing) called() string {
	if l.where == "" {
		return l.format + " (" + l.path + ")"
	}
	return l.format + " of " + l.where + " (" + path.Base(l.path) + ")"
}

// alike tells whether two listings were made in the same way. Commands decide
// where both are known; else a file of the same name does.
func alike(a, b *listing) bool {
	switch {
	case a.command != "" && b.command != "":
		return a.command == b.command
	case a.sole && b.sole:
		return true
	}
	return path.Base(a.path) == path.Base(b.path)
}

// again tells whether a moment has the same listing as another one again,
// whole, so that what it does not show was not there; and if not, what is
// missing.
func (m *Moment) again(l *listing) (missing string) {
	missing = l.called() + " was not recorded"
	for _, i := range m.kinds[kind{l.place, l.format}] {
		c := &m.listings[i]
		switch {
		case !alike(l, c):
			if c.command != "" && l.command != "" {
				missing = l.called() + " was recorded in another way: " + c.command
			}
		case c.lack != "":
			missing = c.called() + " " + c.lack
		default:
			return ""
		}
	}
	return missing
}

// listed notes every listing of the moment.
func (m *Moment) listed(k source) error {
	sections, err := k.Load.Sections()
	if err != nil {
		return err
	}
	artifacts, err := k.Load.Artifacts()
	if err != nil {
		return err
	}
	byID := map[int]record.Artifact{}
	for _, a := range artifacts {
		byID[a.ID] = a
	}
	for i := range sections {
		s := &sections[i]
		if !k.Current(s.ID) || s.Format == "" {
			continue
		}
		a := byID[s.Artifact]
		l := listing{place: k.Place(s.ID), where: k.PlaceName(s.ID), format: s.Format, path: a.Path, command: s.Command, sole: len(artifacts) == 1}
		switch {
		case a.Truncated:
			l.lack = "was cut"
		case s.Unknown > 0:
			l.lack = fmt.Sprintf("has %d lines that were not understood", s.Unknown)
		}
		m.bySection[s.ID] = len(m.listings)
		m.kinds[kind{l.place, l.format}] = append(m.kinds[kind{l.place, l.format}], len(m.listings))
		m.listings = append(m.listings, l)
	}
	return nil
}

// A row is a line of a listing, as a number that the same line has in every
// moment: a million lines are held against each other by it.
type row uint64

// mark makes the number of a row. FNV-1a: it is the same in every run.
func mark(place record.Scope, table string, p record.Protocol, t record.Tuple) row {
	h := uint64(14695981039346656037)
	add := func(b byte) { h = (h ^ uint64(b)) * 1099511628211 }
	text := func(s string) {
		for i := range len(s) {
			add(s[i])
		}
		add(0)
	}
	for _, s := range []string{place.Host, string(place.Kind), place.Namespace, place.Name, table} {
		text(s)
	}
	add(byte(p))
	for _, a := range []netip.AddrPort{t.Source, t.Destination} {
		for _, b := range a.Addr().As16() {
			add(b)
		}
		add(byte(a.Port() >> 8))
		add(byte(a.Port()))
	}
	return row(h)
}

const (
	sockets = "sockets" // the table of sockets
	tables  = "tables"  // any other table, wherever it is
)

var anywhere record.Scope

// rowsOf notes every row that sockets and tables of the moment have.
func (m *Moment) rowsOf(k source) error {
	places := map[int]record.Scope{}
	place := func(section int) record.Scope {
		p, ok := places[section]
		if !ok {
			p = k.Place(section)
			places[section] = p
		}
		return p
	}
	err := k.Load.Sockets(func(s *record.Socket) error {
		i, ok := m.bySection[s.Section]
		switch {
		case !ok:
		case s.LocalCut != "" || s.RemoteCut != "":
			m.listings[i].lack = "has addresses that were cut short"
		case s.Remote.IsValid() && s.Remote.Port() != 0:
			m.rows = append(m.rows, mark(place(s.Section), sockets, s.Protocol, record.Tuple{Source: s.Local, Destination: s.Remote}))
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = k.Load.Translations(func(t *record.Translation) error {
		if _, ok := m.bySection[t.Section]; ok && stateTable(t.Via) {
			m.rows = append(m.rows, mark(place(t.Section), string(t.Via), t.Protocol, t.Before), mark(anywhere, tables, t.Protocol, t.Before))
		}
		return nil
	})
	slices.Sort(m.rows)
	m.rows = slices.Compact(m.rows)
	return err
}

// has tells whether a listing of the moment has a row.
func (m *Moment) has(r row) bool {
	_, ok := slices.BinarySearch(m.rows, r)
	return ok
}

// stateTable tells whether a table holds what is there now. Logs, events and
// captures are history: what they lack may be there nevertheless.
func stateTable(v record.Via) bool {
	switch v {
	case record.ViaConntrack, record.ViaIPVS, record.ViaCiliumCT, record.ViaCiliumNAT, record.ViaZtunnel:
		return true
	}
	return false
}
