// Package expect holds recorded bundles to what is expected of them: the
// questions of an expect.yaml, each with the backend, verdict and mechanism
// that the answer must have. It asks as a person would, through the resolver.
package expect

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"gopkg.in/yaml.v3"

	"whichbackend/analyze/resolve"
)

// File is one expect.yaml.
type File struct {
	// Path is where it was read; Bundle is relative to its folder.
	Path      string     `yaml:"-"`
	Bundle    Bundles    `yaml:"bundle"`
	Questions []Question `yaml:"questions"`
}

// Bundles is one bundle, or several that are read as one case.
type Bundles []string

// UnmarshalYAML accepts one name or a list.
func (b *Bundles) UnmarshalYAML(n *yaml.Node) error { return oneOrMore(n, (*[]string)(b)) }

// MarshalYAML writes one name plainly.
func (b Bundles) MarshalYAML() (any, error) { return plain(b), nil }

// Names are addresses or names of backends.
type Names []string

// UnmarshalYAML accepts one name or a list.
func (n *Names) UnmarshalYAML(node *yaml.Node) error { return oneOrMore(node, (*[]string)(n)) }

// MarshalYAML writes one name plainly.
func (n Names) MarshalYAML() (any, error) { return plain(n), nil }

func oneOrMore(n *yaml.Node, out *[]string) error {
	if n.Kind == yaml.SequenceNode {
		return n.Decode(out)
	}
	var one string
	if err := n.Decode(&one); err != nil {
		return err
	}
	*out = []string{one}
	return nil
}

func plain(list []string) any {
	if len(list) == 1 {
		return list[0]
	}
	return list
}

// Question is one expectation.
type Question struct {
	Name string `yaml:"name,omitempty"`
	From string `yaml:"from,omitempty"`
	To   string `yaml:"to,omitempty"`
	// Backend is the address, or the pod or container name, of the backend; a
	// list stands for candidates, or for the backends of several connections.
	Backend Names `yaml:"backend,omitempty,flow"`
	// Verdict is the weakest that will do: proven, observed, deduced; any
	// other verdict must be met exactly.
	Verdict   resolve.Verdict `yaml:"verdict,omitempty"`
	Mechanism string          `yaml:"mechanism,omitempty"`
}

// Title is how a question is called.
func (q Question) Title() string {
	if q.Name != "" {
		return q.Name
	}
	title := "from " + q.From
	if q.From == "" {
		title = "from anyone"
	}
	if q.To != "" {
		title += " to " + q.To
	}
	return title
}

// Result is the outcome of one question.
type Result struct {
	File     string
	Question Question
	Why      []string // empty: as expected
	Answer   *resolve.Answer
}

// OK tells whether the answer is as expected.
func (r Result) OK() bool { return len(r.Why) == 0 }

// ErrNone says that there is nothing to hold an answer to.
var ErrNone = errors.New("no expect.yaml in it")

// Find lists the expect.yaml files below the paths, each once, sorted.
func Find(paths []string) ([]string, error) {
	seen := map[string]bool{}
	var out []string
	for _, p := range paths {
		found := false
		err := filepath.WalkDir(p, func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if e.IsDir() || filepath.Base(path) != "expect.yaml" && path != p {
				return nil
			}
			found = true
			if path = filepath.Clean(path); !seen[path] {
				seen[path] = true
				out = append(out, path)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if !found {
			return nil, fmt.Errorf("%s: %w", p, ErrNone)
		}
	}
	sort.Strings(out)
	return out, nil
}

// Read reads one expect.yaml.
func Read(path string) (*File, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f := &File{Path: path}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(f); err != nil && err != io.EOF {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(f.Questions) == 0 {
		return nil, fmt.Errorf("%s: it asks no questions; docs/testing.md shows how to write them", path)
	}
	if len(f.Bundle) == 0 {
		f.Bundle = Bundles{"."}
	}
	for i, q := range f.Questions {
		if err := check(q); err != nil {
			return nil, fmt.Errorf("%s: question %d (%s): %w", path, i+1, q.Title(), err)
		}
	}
	return f, nil
}

// check refuses questions that cannot fail or be understood.
func check(q Question) error {
	if q.From == "" && q.To == "" {
		return fmt.Errorf("it names neither from nor to")
	}
	if len(q.Backend) == 0 && q.Verdict == "" && q.Mechanism == "" {
		return fmt.Errorf("it expects nothing: name a backend, a verdict or a mechanism")
	}
	if q.Verdict != "" && strength(q.Verdict) < 0 {
		return fmt.Errorf("there is no verdict %q", q.Verdict)
	}
	return resolve.Question{From: q.From, To: q.To}.Check()
}

// Inputs are the bundles of a file, as paths.
func (f *File) Inputs() []string {
	var out []string
	for _, b := range f.Bundle {
		if !filepath.IsAbs(b) {
			b = filepath.Join(filepath.Dir(f.Path), b)
		}
		out = append(out, b)
	}
	return out
}

// Ask asks one question of a case and holds the answer to it.
func Ask(k *resolve.Case, file string, q Question) (Result, error) {
	r := Result{File: file, Question: q}
	a, err := k.Ask(resolve.Question{From: q.From, To: q.To})
	if err != nil {
		return r, err
	}
	r.Answer = a
	if len(a.Connections) == 0 {
		if q.Verdict != resolve.Unknown || len(q.Backend) > 0 || q.Mechanism != "" {
			r.Why = append(r.Why, "no connection matches")
		}
		return r, nil
	}
	for i := range a.Connections {
		r.Why = append(r.Why, judge(q, &a.Connections[i])...)
	}
	r.Why = append(r.Why, missing(q, a.Connections)...)
	return r, nil
}

// judge holds one connection to a question.
func judge(q Question, c *resolve.Connection) []string {
	var why []string
	at := c.Client.Address + " -> " + c.Service.Address + ": "
	want := q.Verdict
	if want == "" && len(q.Backend) == 1 {
		want = resolve.Deduced
	}
	if want != "" && !meets(c.Verdict, want) {
		why = append(why, fmt.Sprintf("%sverdict %s, want %s (%s)", at, c.Verdict, want, c.Reason))
	}
	if q.Mechanism != "" && !contains(c.Mechanisms, q.Mechanism) {
		why = append(why, fmt.Sprintf("%smechanism %s, want %s", at, strings.Join(c.Mechanisms, ", "), q.Mechanism))
	}
	for _, b := range c.Backends {
		if len(q.Backend) > 0 && !named(q.Backend, b.Party) {
			why = append(why, fmt.Sprintf("%sbackend %s %s, want %s", at, b.Address, b.Name, strings.Join(q.Backend, ", ")))
		}
	}
	return why
}

// missing lists the expected backends that no connection names.
func missing(q Question, list []resolve.Connection) []string {
	var why []string
	for _, name := range q.Backend {
		found := false
		for _, c := range list {
			for _, b := range c.Backends {
				found = found || named([]string{name}, b.Party)
			}
		}
		if !found {
			why = append(why, "no connection names the backend "+name)
		}
	}
	return why
}

func named(names []string, p resolve.Party) bool {
	for _, n := range names {
		if ok, err := resolve.Matches(n, p); err == nil && ok {
			return true
		}
	}
	return false
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// strength orders the verdicts; -1 is none of them.
func strength(v resolve.Verdict) int {
	for i, x := range resolve.Verdicts {
		if x.Verdict == v {
			return len(resolve.Verdicts) - i
		}
	}
	return -1
}

// meets tells whether a verdict is at least as strong as wanted.
func meets(got, want resolve.Verdict) bool {
	one := func(v resolve.Verdict) bool {
		return v == resolve.Proven || v == resolve.Observed || v == resolve.Deduced
	}
	if one(got) && one(want) {
		return strength(got) >= strength(want)
	}
	return got == want
}

// Update writes what is answered now into the questions of a file, for a
// person to review.
func (f *File) Update(results []Result) error {
	for i, r := range results {
		q := &f.Questions[i]
		q.Backend, q.Verdict, q.Mechanism = nil, resolve.Unknown, ""
		weakest := resolve.Proven
		seen := map[string]bool{}
		for _, c := range r.Answer.Connections {
			if strength(c.Verdict) < strength(weakest) {
				weakest = c.Verdict
			}
			for _, b := range c.Backends {
				if !seen[b.Address] {
					seen[b.Address] = true
					q.Backend = append(q.Backend, b.Address)
				}
			}
			if len(c.Mechanisms) > 0 {
				q.Mechanism = c.Mechanisms[len(c.Mechanisms)-1]
			}
		}
		if len(r.Answer.Connections) > 0 {
			q.Verdict = weakest
		}
		sort.Strings(q.Backend)
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(f); err != nil {
		return err
	}
	return os.WriteFile(f.Path, b.Bytes(), 0o644)
}
