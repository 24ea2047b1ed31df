package load

import (
	"fmt"
	"io"
	"path"

	"whichbackend/analyze/pcap/match"
	"whichbackend/analyze/record"
	"whichbackend/collect/bundle"
	"whichbackend/store"
)

// database reads the artifacts of a database that an earlier load kept: it
// holds their text, so it is as good as its bundles.
func (f *filler) database(name string) error {
	c, err := fromDatabase(name)
	if err != nil {
		return err
	}
	defer c.Close()
	old, err := c.Artifacts()
	if err != nil {
		return err
	}
	sections, err := c.Sections()
	if err != nil {
		return err
	}
	base := len(f.inputs)
	if err := f.databaseInputs(c, base); err != nil {
		return err
	}
	firstSection := len(f.sections)
	f.captures.renumbered = map[int]int{}
	if f.captures.unanswered == nil {
		f.captures.unanswered = map[string]int{}
	}
	for _, a := range old {
		if err := f.databaseArtifact(c, base, a, sections); err != nil {
			return fmt.Errorf("%s: %w", path.Join(name, a.Path), err)
		}
	}
	f.scopes(f.sections[firstSection:])
	if err := f.databaseCaptures(c); err != nil {
		return err
	}
	f.warnings = append(f.warnings, c.Warnings...)
	if f.damaged == nil {
		f.damaged = c.Damaged
	}
	digest, err := bundle.Digest(name)
	f.digests = append(f.digests, digest)
	return err
}

// databaseInputs takes over the bundles that a database was loaded from: each
// stays an input of its own, with its moment.
func (f *filler) databaseInputs(c *Case, base int) error {
	inputs, err := c.Inputs()
	if err != nil {
		return err
	}
	for i, in := range inputs {
		in.ID = base + i
		f.inputs = append(f.inputs, in)
		f.notes = append(f.notes, c.note(i))
	}
	missing, err := c.AllMissing()
	for _, m := range missing {
		f.s.Missing(base+m.Input, m)
	}
	return err
}

// note is what the manifest of an input says of it.
func (c *Case) note(input int) string {
	if input < len(c.notes) {
		return c.notes[input]
	}
	return ""
}

// databaseArtifact reads one artifact again. A capture or another file that is
// no text left none in the database: what was said of it is taken over.
func (f *filler) databaseArtifact(c *Case, base int, a record.Artifact, sections []record.Section) error {
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(c.Copy(a.ID, pw)) }()
	text := &counter{}
	err := f.artifact(base+a.Input, a.Path, a.Scope, io.TeeReader(pr, text), nil)
	pr.Close()
	if err != nil {
		return err
	}
	n := f.artifacts[len(f.artifacts)-1]
	n.Recorded, n.Truncated, n.Size, n.SHA256 = a.Recorded, a.Truncated, a.Size, a.SHA256
	if text.n > 0 || a.Size == 0 {
		return nil
	}
	for _, s := range sections {
		if s.Artifact != a.ID {
			continue
		}
		problems, err := c.Problems(s.ID)
		if err != nil {
			return err
		}
		old := s.ID
		s.ID, s.Artifact = len(f.sections)+1, n.ID
		f.sections = append(f.sections, &s)
		for _, p := range problems {
			p.Section = s.ID
			f.s.Problem(&p)
		}
		if s.Format == "pcap" || s.Format == "pcapng" {
			if err := f.databaseCapture(c, old, &s); err != nil {
				return err
			}
		}
	}
	return nil
}

// databaseCapture takes over the flows of a capture: the packets are not in a
// database.
func (f *filler) databaseCapture(c *Case, section int, s *record.Section) error {
	f.captures.renumbered[section] = s.ID
	to := f.captured(f.artifacts[s.Artifact-1], s)
	return c.FlowsIn(section, func(x *store.Flow) error {
		x.Section = s.ID
		f.s.Flow(&x.Flow)
		if to.holds() {
			f.captures.matcher.Add(&x.Flow, match.Place{Capture: s.Artifact, Clock: clockKey(s.Artifact)})
		}
		return nil
	})
}

// databaseCaptures takes over what else a database says of its captures, and
// what proxies carried on, which its flows tell no more.
func (f *filler) databaseCaptures(c *Case) error {
	now := f.captures.renumbered
	interfaces, err := c.Interfaces()
	if err != nil {
		return err
	}
	for _, i := range interfaces {
		i.Section = now[i.Section]
		f.s.Interface(&i)
	}
	undecoded, err := c.AllUndecoded()
	if err != nil {
		return err
	}
	for _, u := range undecoded {
		u.Section = now[u.Section]
		f.s.Undecoded(&u)
	}
	owners, err := c.Owners()
	if err != nil {
		return err
	}
	for _, o := range owners {
		if o.Section = now[o.Section]; o.Section != 0 { // a listing says so again itself
			f.s.Owner(&o)
		}
	}
	found, err := c.found()
	if err != nil {
		return err
	}
	for _, u := range found.Unused {
		if u.Proxy {
			f.captures.unanswered[u.Why] += u.Flows
		}
	}
	list, err := c.Crossings()
	for _, t := range list {
		if t.Relay {
			t.Section, t.Behind.Section = now[t.Section], now[t.Behind.Section]
			f.s.Translation(&t)
		}
	}
	return err
}
