// Package load brings bundles, listings and databases together into one case:
// it reads every artifact once, has it parsed, and stores what it says. It
// knows where artifacts lie and what a manifest says of them; it knows no
// format and no connection.
package load

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"runtime/debug"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"whichbackend/analyze/parse"
	"whichbackend/analyze/pcap"
	"whichbackend/analyze/record"
	"whichbackend/collect/bundle"
	"whichbackend/store"
)

// Options say how to load.
type Options struct {
	Stdin io.Reader
	// Cache is the folder that keeps loaded cases by content; "" keeps none.
	Cache string
	// Key is what besides the content decides about the result: the program
	// that parses. A case of another key is loaded again.
	Key string
	// Stop is asked while artifacts are read; its error ends the load. Nil
	// never stops.
	Stop func() error
}

// Case is a loaded case.
type Case struct {
	*store.Store
	// Warnings say what was refused, cut or not as its manifest says.
	Warnings []string
	// Damaged is the first input that ends early or whose checksum does not
	// match, nil when all are whole. What was readable of it is in the case.
	Damaged *bundle.Error
	// notes are what the manifests say of the inputs, in the order of inputs.
	notes []string
	kept  string // the file in the cache, "" when it is none of ours to drop
}

// Open reads the inputs as one case. One input may be a database that an
// earlier load kept. The error is a *bundle.Error when an input is unusable.
func Open(inputs []string, opt Options) (*Case, error) {
	if len(inputs) == 1 && store.IsDatabase(inputs[0]) {
		return fromDatabase(inputs[0])
	}
	k := key(inputs, opt)
	if c := cached(k, opt); c != nil {
		return c, nil
	}
	s, name, finish, err := newCase(k, opt)
	if err != nil {
		return nil, err
	}
	f, err := fill(s, inputs, opt)
	if err != nil {
		s.Close()
		finish("")
		return nil, err
	}
	return f.reopen(name, opt, finish)
}

// Into loads the inputs into a new database file, and tells what Warnings and
// Damaged of a Case would.
func Into(file string, inputs []string, opt Options) (warnings []string, damaged *bundle.Error, err error) {
	s, err := store.Create(file)
	if err != nil {
		return nil, nil, err
	}
	f, err := fill(s, inputs, opt)
	if e := s.Close(); err == nil {
		err = e
	}
	if err != nil {
		return nil, nil, err
	}
	return f.warnings, f.damaged, nil
}

func fromDatabase(file string) (*Case, error) {
	s, err := store.Open(file)
	if err != nil {
		if errors.Is(err, store.ErrNotACase) || store.IsDamage(err) {
			return nil, unusableDatabase(file, err)
		}
		return nil, unreadable(file, err)
	}
	c := &Case{Store: s}
	if err := c.readRemarks(); err != nil {
		s.Close()
		return nil, unusableDatabase(file, err)
	}
	return c, nil
}

func unusableDatabase(file string, err error) error {
	why := "an SQLite database, but damaged"
	if errors.Is(err, store.ErrNotACase) {
		why = "an SQLite database, but " + store.ErrNotACase.Error()
	}
	return &bundle.Error{Path: file, Why: why, Do: "load the bundle again with: whichbackend load BUNDLE --db " + file}
}

// unreadable says of an input that cannot be opened what to do.
func unreadable(name string, err error) error {
	var p *fs.PathError
	if !errors.As(err, &p) {
		return err
	}
	do := "copy or record it again"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		do = "check the path"
	case errors.Is(err, fs.ErrPermission):
		do = "read it as a user who may, or change its permissions"
	}
	return &bundle.Error{Path: name, Why: p.Err.Error(), Do: do}
}

// readRemarks reads what the load said of its inputs.
func (c *Case) readRemarks() error {
	for key, v := range map[string]any{"warnings": &c.Warnings, "damaged": &c.Damaged, "notes": &c.notes} {
		text, err := c.Meta(key)
		if err == nil && text != "" {
			err = json.Unmarshal([]byte(text), v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Understood tells whether any line of the case was understood.
func (c *Case) Understood() (bool, error) {
	sections, err := c.Sections()
	for _, s := range sections {
		if s.Understood > 0 || s.Ignored > 0 && s.Format != "" {
			return true, err
		}
	}
	return false, err
}

// IsDamage tells whether an error says that a database is damaged.
func IsDamage(err error) bool { return store.IsDamage(err) }

// filler is the state of one load.
type filler struct {
	s         *store.Store
	artifacts []*record.Artifact
	sections  []*record.Section
	inputs    []store.Input
	// names and digests are the arguments and the hashes of what was read.
	names, digests []string
	notes          []string // of each input, "" where its manifest has none
	warnings       []string
	damaged        *bundle.Error
	captures       captures
}

// garbage is how much may wait to be collected during a load, in hundredths of
// what is in use. What a load keeps of 200,000 flows has hardly a pointer, so that
// collecting costs little: with Go's 100 it takes a third more memory, and an
// eighth less time.
const garbage = 25

// fill reads all inputs into the store.
func fill(s *store.Store, inputs []string, opt Options) (*filler, error) {
	defer debug.SetGCPercent(debug.SetGCPercent(garbage))
	f := &filler{s: s, names: inputs}
	for _, name := range inputs {
		var err error
		if store.IsDatabase(name) {
			err = f.database(name)
		} else {
			err = f.bundle(name, opt)
		}
		if err != nil {
			return nil, err
		}
	}
	f.connect()
	sort.Strings(f.warnings)
	f.warnings = slices.Compact(f.warnings)
	for _, x := range []struct {
		key   string
		value any
		set   bool
	}{{"warnings", f.warnings, len(f.warnings) > 0}, {"damaged", f.damaged, f.damaged != nil}, {"captures", f.captures.found, f.captures.matcher != nil},
		{"notes", f.notes, strings.Join(f.notes, "") != ""}} {
		if !x.set {
			continue
		}
		text, err := json.Marshal(x.value)
		if err != nil {
			return nil, err
		}
		s.SetMeta(x.key, string(text))
	}
	return f, s.Finish(f.inputs, f.artifacts, f.sections)
}

// bundle reads one bundle.
func (f *filler) bundle(name string, opt Options) error {
	r, err := bundle.Open(name, opt.Stdin, bundle.DefaultLimits())
	if err != nil {
		return unreadable(name, err)
	}
	defer r.Close()
	input := len(f.inputs)
	first := len(f.artifacts)
	firstSection := len(f.sections)
	for {
		e, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if path.Base(e.Path) == "expect.yaml" {
			continue // what is expected of the bundle is no part of it
		}
		if err := f.artifact(input, e.Path, record.Scope{}, stoppable{e, opt.Stop}, e.SHA256); err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
	}
	m := r.Manifest()
	if len(f.artifacts) == first && m == nil {
		return holdsNothing(name, r.Warnings())
	}
	f.place(f.artifacts[first:], r.Wrapper(), m)
	f.scopes(f.sections[firstSection:])
	in, note := store.Input{ID: input, Path: name, SHA256: r.SHA256()}, ""
	if m != nil {
		note = m.Note
		if !m.Created.IsZero() {
			in.Created = m.Created.UnixNano()
		}
		for _, x := range m.Missing {
			f.s.Missing(input, store.Missing{Host: x.Host, What: x.What, Because: x.Because, Detail: x.Detail})
		}
	}
	f.inputs = append(f.inputs, in)
	f.notes = append(f.notes, note)
	f.digests = append(f.digests, in.SHA256)
	for _, w := range r.Warnings() {
		f.warnings = append(f.warnings, name+": "+w)
	}
	var damaged *bundle.Error
	if errors.As(r.Damaged(), &damaged) && f.damaged == nil {
		f.damaged = damaged
	}
	return nil
}

// holdsNothing refuses an input without a single file.
func holdsNothing(name string, warnings []string) error {
	why := "holds no files"
	if len(warnings) > 0 {
		why += " that can be read: " + warnings[0]
	}
	return &bundle.Error{Path: name, Why: why, Do: "give it listings such as conntrack -L and netstat -an"}
}

// stoppable is a reader that ends when it is told to.
type stoppable struct {
	io.Reader
	stop func() error
}

func (s stoppable) Read(p []byte) (int, error) {
	if s.stop != nil {
		if err := s.stop(); err != nil {
			return 0, err
		}
	}
	return s.Reader.Read(p)
}

// artifact reads one artifact. Where sum is not nil it gives the hash of what
// was read, at the end.
func (f *filler) artifact(input int, name string, scope record.Scope, body io.Reader, sum func() string) error {
	a := &record.Artifact{ID: len(f.artifacts) + 1, Input: input, Path: name, Scope: scope}
	f.artifacts = append(f.artifacts, a)
	count := &counter{}
	seen := io.Writer(count)
	if sum == nil {
		own := sha256.New()
		seen = io.MultiWriter(own, count)
		sum = func() string { return hex.EncodeToString(own.Sum(nil)) }
	}
	in := bufio.NewReaderSize(io.TeeReader(body, seen), 64<<10)
	if head, _ := in.Peek(12); pcap.Is(head) {
		err := f.capture(a, in, head)
		if _, e := io.Copy(io.Discard, in); err == nil {
			err = e // what stands behind the end of a damaged capture belongs to its hash
		}
		a.Size, a.SHA256 = count.n, sum()
		return err
	}
	text := f.s.Text(a.ID)
	sections, err := parse.Artifact(a, in, text, sink{f.s, f}, func() int {
		f.sections = append(f.sections, nil)
		return len(f.sections)
	})
	for _, s := range sections {
		f.sections[s.ID-1] = s
	}
	if e := text.Close(); err == nil {
		err = e
	}
	a.Size, a.SHA256 = count.n, sum()
	return err
}

// sink is the store, and keeps the addresses of namespaces in mind: captures
// tell by them which belong to one machine.
type sink struct {
	*store.Store
	f *filler
}

// maxOwnAddresses bounds the addresses that are kept in mind.
const maxOwnAddresses = 1 << 16

func (s sink) Address(a *record.Address) {
	s.Store.Address(a)
	if list := &s.f.captures.own; len(*list) < maxOwnAddresses {
		*list = append(*list, ownAddress{a.Section, a.Prefix.Addr().Unmap()})
	}
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) { c.n += int64(len(p)); return len(p), nil }

// Time reads the moment that --at asks for: RFC 3339, or seconds since 1970.
func Time(text string) (time.Time, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.Unix(n, 0).UTC(), nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return t, fmt.Errorf("%q is no time; write it as 2026-11-23T08:14:00Z", text)
	}
	return t, nil
}

func unixNano(n int64) string { return time.Unix(0, n).UTC().Format(time.RFC3339Nano) }
