// Package load brings bundles, listings and databases together into one case:
// it reads every artifact once, has it parsed, and stores what it says. It
// knows where artifacts lie and what a manifest says of them; it knows no
// format and no connection.
package load

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"sort"
	"strconv"
	"strings"
	"time"

	"whichbackend/analyze/parse"
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
}

// Case is a loaded case.
type Case struct {
	*store.Store
	// Warnings say what was refused, cut or not as its manifest says.
	Warnings []string
}

// Open reads the inputs as one case. One input may be a database that an
// earlier load kept. The error is a *bundle.Error when an input is unusable.
func Open(inputs []string, opt Options) (*Case, error) {
	if len(inputs) == 1 && store.IsDatabase(inputs[0]) {
		return fromDatabase(inputs[0])
	}
	if c := cached(inputs, opt); c != nil {
		return c, nil
	}
	s, name, finish, err := newCase(inputs, opt)
	if err != nil {
		return nil, err
	}
	warnings, err := fill(s, inputs, opt)
	if err != nil {
		s.Close()
		finish(false)
		return nil, err
	}
	return reopen(s, name, finish, warnings)
}

// Into loads the inputs into a new database file.
func Into(file string, inputs []string, opt Options) (warnings []string, err error) {
	s, err := store.Create(file)
	if err != nil {
		return nil, err
	}
	warnings, err = fill(s, inputs, opt)
	if e := s.Close(); err == nil {
		err = e
	}
	return warnings, err
}

func fromDatabase(file string) (*Case, error) {
	s, err := store.Open(file)
	if err != nil {
		if errors.Is(err, store.ErrNotACase) {
			return nil, &bundle.Error{Path: file, Why: "an SQLite database, but " + store.ErrNotACase.Error(), Do: "load the bundle again with: whichbackend load BUNDLE --db " + file}
		}
		return nil, err
	}
	c := &Case{Store: s}
	return c, c.readWarnings()
}

func (c *Case) readWarnings() error {
	text, err := c.Meta("warnings")
	if err == nil && text != "" {
		err = json.Unmarshal([]byte(text), &c.Warnings)
	}
	return err
}

// filler is the state of one load.
type filler struct {
	s         *store.Store
	artifacts []*record.Artifact
	sections  []*record.Section
	inputs    []store.Input
	warnings  []string
}

// fill reads all inputs into the store.
func fill(s *store.Store, inputs []string, opt Options) ([]string, error) {
	f := &filler{s: s}
	for i, name := range inputs {
		var err error
		if store.IsDatabase(name) {
			err = f.database(i, name)
		} else {
			err = f.bundle(i, name, opt)
		}
		if err != nil {
			return nil, err
		}
	}
	sort.Strings(f.warnings)
	if f.warnings != nil {
		text, err := json.Marshal(f.warnings)
		if err != nil {
			return nil, err
		}
		s.SetMeta("warnings", string(text))
	}
	return f.warnings, s.Finish(f.inputs, f.artifacts, f.sections)
}

// bundle reads one bundle.
func (f *filler) bundle(input int, name string, opt Options) error {
	r, err := bundle.Open(name, opt.Stdin, bundle.DefaultLimits())
	if err != nil {
		return err
	}
	defer r.Close()
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
		if err := f.artifact(input, e.Path, record.Scope{}, e); err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
	}
	m := r.Manifest()
	f.place(f.artifacts[first:], r.Wrapper(), m)
	f.scopes(f.sections[firstSection:])
	in := store.Input{ID: input, Path: name, SHA256: r.SHA256()}
	if m != nil {
		if !m.Created.IsZero() {
			in.Created = m.Created.UnixNano()
		}
		for _, x := range m.Missing {
			f.s.Missing(input, store.Missing{Host: x.Host, What: x.What, Because: x.Because, Detail: x.Detail})
		}
	}
	f.inputs = append(f.inputs, in)
	for _, w := range r.Warnings() {
		f.warnings = append(f.warnings, name+": "+w)
	}
	return nil
}

// artifact reads one artifact.
func (f *filler) artifact(input int, name string, scope record.Scope, body io.Reader) error {
	a := &record.Artifact{ID: len(f.artifacts) + 1, Input: input, Path: name, Scope: scope}
	f.artifacts = append(f.artifacts, a)
	sum := sha256.New()
	count := &counter{}
	text := f.s.Text(a.ID)
	sections, err := parse.Artifact(a, io.TeeReader(body, io.MultiWriter(sum, count)), text, f.s, func() int {
		f.sections = append(f.sections, nil)
		return len(f.sections)
	})
	for _, s := range sections {
		f.sections[s.ID-1] = s
	}
	if e := text.Close(); err == nil {
		err = e
	}
	a.Size, a.SHA256 = count.n, hex.EncodeToString(sum.Sum(nil))
	return err
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) { c.n += int64(len(p)); return len(p), nil }

// place gives artifacts their path below the wrapping folder and their scope.
func (f *filler) place(artifacts []*record.Artifact, wrapper string, m *bundle.Manifest) {
	said := map[string]*bundle.Artifact{}
	namespaces := map[string]*bundle.Namespace{}
	if m != nil {
		for i := range m.Artifacts {
			said[m.Artifacts[i].Path] = &m.Artifacts[i]
		}
		for _, h := range m.Hosts {
			for i := range h.Namespaces {
				n := &h.Namespaces[i]
				namespaces[h.Name+"/"+string(n.ID)] = n
			}
		}
	}
	for _, a := range artifacts {
		a.Path = strings.TrimPrefix(strings.TrimPrefix(a.Path, wrapper), "/")
		a.Scope = parse.ScopeOfPath(a.Path)
		if m != nil {
			a.Recorded = m.Created
		}
		x := said[a.Path]
		if x == nil {
			continue
		}
		a.Truncated = x.Truncated
		if !x.Started.IsZero() {
			a.Recorded = x.Started
		}
		if x.Host != "" {
			a.Scope = scopeOfManifest(x, namespaces[x.Host+"/"+string(x.NetNS)])
		}
	}
}

// scopeOfManifest tells the scope of an artifact from its manifest: its
// network namespace is the pod's or container's that owns it alone.
func scopeOfManifest(a *bundle.Artifact, n *bundle.Namespace) record.Scope {
	s := record.Scope{Host: a.Host, Kind: record.ScopeHost}
	if a.NetNS == "" {
		return s
	}
	s.Kind, s.Name = record.ScopeNetns, string(a.NetNS)
	if n == nil || len(n.Owners) == 0 {
		return s
	}
	first := n.Owners[0]
	for _, o := range n.Owners {
		if o.Kind != first.Kind || o.Namespace != first.Namespace || o.Name != first.Name {
			return s
		}
	}
	switch first.Kind {
	case "pod":
		return record.Scope{Host: a.Host, Kind: record.ScopePod, Namespace: first.Namespace, Name: first.Name}
	case "container":
		return record.Scope{Host: a.Host, Kind: record.ScopeContainer, Name: first.Name}
	case "host", "node":
		return record.Scope{Host: a.Host, Kind: record.ScopeHost}
	case "netns":
		s.Name = first.Name
	}
	return s
}

// scopes puts together what the place of an artifact and its own text say.
func (f *filler) scopes(sections []*record.Section) {
	for _, s := range sections {
		s.Scope = parse.MergeScopes(f.artifacts[s.Artifact-1].Scope, s.Scope)
	}
}

// database reads the artifacts of a database that an earlier load kept: it
// holds their text, so it is as good as its bundle.
func (f *filler) database(input int, name string) error {
	c, err := fromDatabase(name)
	if err != nil {
		return err
	}
	defer c.Close()
	old, err := c.Artifacts()
	if err != nil {
		return err
	}
	inputs, err := c.Inputs()
	if err != nil {
		return err
	}
	firstSection := len(f.sections)
	in := store.Input{ID: input, Path: name}
	for _, i := range inputs {
		in.SHA256, in.Created = i.SHA256, max(in.Created, i.Created)
	}
	for _, a := range old {
		pr, pw := io.Pipe()
		go func() { pw.CloseWithError(c.Copy(a.ID, pw)) }()
		err := f.artifact(input, a.Path, a.Scope, pr)
		pr.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", path.Join(name, a.Path), err)
		}
		n := f.artifacts[len(f.artifacts)-1]
		n.Recorded, n.Truncated, n.Size, n.SHA256 = a.Recorded, a.Truncated, a.Size, a.SHA256
	}
	f.scopes(f.sections[firstSection:])
	f.inputs = append(f.inputs, in)
	f.warnings = append(f.warnings, c.Warnings...)
	return nil
}

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
