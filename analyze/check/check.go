// Package check finds problems in a case that nobody asked about: each rule in
// a file of its own. A rule that the case does not hold enough for says so,
// since silence would look like health. The package resolves nothing and
// parses nothing; it reads what the resolver and the store know.
package check

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"whichbackend/analyze/load"
	"whichbackend/analyze/record"
	"whichbackend/analyze/resolve"
)

// Schema names the JSON form of a result. Fields are added within a version,
// never renamed.
const Schema = "whichbackend.check/v1"

// Severity says how bad a finding is.
type Severity string

// The severities. An error breaks connections now, a warning may or did, an
// info is worth knowing in a postmortem.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
	Info    Severity = "info"
)

// Severities is the closed set, from the worst.
var Severities = []Severity{Error, Warning, Info}

// AtLeast tells whether a severity is as bad as another.
func (s Severity) AtLeast(other Severity) bool {
	return slices.Index(Severities, s) <= slices.Index(Severities, other)
}

// Result is what a check of a case found.
type Result struct {
	Schema   string          `json:"schema" yaml:"schema"`
	Tool     string          `json:"tool" yaml:"tool"`
	Inputs   []resolve.Input `json:"inputs" yaml:"inputs"`
	Findings []Finding       `json:"findings" yaml:"findings"`
	Judged   int             `json:"judged" yaml:"judged"` // rules that looked
	// Unjudged are the rules that the case does not hold enough for.
	Unjudged []Unjudged `json:"unjudged" yaml:"unjudged"`
	Warnings []string   `json:"warnings" yaml:"warnings"`
}

// Unjudged is a rule that could not tell, and what it would need.
type Unjudged struct {
	ID    string `json:"id" yaml:"id"`
	Finds string `json:"finds" yaml:"finds"`
	Needs string `json:"needs" yaml:"needs"`
}

// Finding is one problem.
type Finding struct {
	ID       string   `json:"id" yaml:"id"` // of the rule
	Severity Severity `json:"severity" yaml:"severity"`
	Title    string   `json:"title" yaml:"title"`
	// Connections are those concerned, at most MaxListed of them, Count of all.
	Connections []Connection       `json:"connections" yaml:"connections"`
	Count       int                `json:"connection_count" yaml:"connection_count"`
	Objects     []Object           `json:"objects" yaml:"objects"`
	Evidence    []resolve.Evidence `json:"evidence" yaml:"evidence"`
	Why         string             `json:"why" yaml:"why"`
	Do          string             `json:"do" yaml:"do"`
	See         []string           `json:"see" yaml:"see"`
}

// MaxListed bounds the connections and MaxEvidence the lines of one finding:
// a thousand clients of one dead backend are one problem.
const (
	MaxListed   = 200
	MaxEvidence = 20
)

// Connection is a connection that a finding concerns. `whichbackend ask
// --from CLIENT` tells all of it.
type Connection struct {
	Protocol string          `json:"protocol" yaml:"protocol"`
	State    string          `json:"state,omitempty" yaml:"state,omitempty"`
	Client   resolve.Party   `json:"client" yaml:"client"`
	Service  resolve.Party   `json:"service" yaml:"service"`
	Verdict  resolve.Verdict `json:"verdict" yaml:"verdict"`
	Backends []resolve.Party `json:"backends" yaml:"backends"`
}

// Object is a thing that a finding concerns: a pod, a service, a node, a
// table, a proxy.
type Object struct {
	Kind      string `json:"kind" yaml:"kind"`
	Namespace string `json:"namespace,omitempty" yaml:"namespace,omitempty"`
	Name      string `json:"name,omitempty" yaml:"name,omitempty"`
	Address   string `json:"address,omitempty" yaml:"address,omitempty"`
	Host      string `json:"host,omitempty" yaml:"host,omitempty"`
}

// Rule finds one kind of problem.
type Rule struct {
	ID       string
	Severity Severity // the worst that its findings have
	Finds    string   // what it finds, in one line
	Needs    string   // what the case must hold for it to tell
	Why, Do  string   // of every finding that does not say better
	See      []string // threads that describe the problem
	// over are the rules whose findings say less of the same connections: they
	// are left out where this one found those connections too.
	over []string
	// judge returns what it finds, and whether the case held enough to tell.
	judge func(*Case) (found []Finding, judged bool)
}

// Case is what rules look at.
type Case struct {
	*resolve.Case
	Load   *load.Case
	Answer *resolve.Answer // every connection
	failed error
	chosen []*chosen                     // by choices, once
	owners map[netip.Addr][]record.Owner // by holders, once
	cilium *ciliumTables                 // what the rules about Cilium share, once it is read
	spaces map[record.Scope]*space       // once read
}

// fail keeps the first error of a look-up; the check ends with it.
func (k *Case) fail(err error) {
	if k.failed == nil {
		k.failed = err
	}
}

// Open resolves every connection of a case, ready to be checked.
func Open(c *load.Case, view resolve.View) (*Case, error) {
	r, err := resolve.Resolve(c.Store, view)
	if err != nil {
		return nil, err
	}
	a, err := r.Ask(resolve.Question{})
	if err != nil {
		return nil, err
	}
	return &Case{Case: r, Load: c, Answer: a}, nil
}

// Check runs every rule but those to ignore. The tool's name and warnings are
// the caller's to add.
func (k *Case) Check(ignore ...string) (*Result, error) {
	out := &Result{Schema: Schema, Inputs: k.Answer.Inputs, Findings: []Finding{}, Unjudged: []Unjudged{}, Warnings: []string{}}
	var all []Finding
	for i := range Rules {
		r := &Rules[i]
		if slices.Contains(ignore, r.ID) {
			continue
		}
		found, judged := r.judge(k)
		if !judged && len(found) == 0 {
			out.Unjudged = append(out.Unjudged, Unjudged{r.ID, r.Finds, r.Needs})
		} else {
			out.Judged++
		}
		for _, f := range found {
			f.ID = r.ID
			all = append(all, f)
		}
	}
	for _, f := range leaveOut(all) {
		out.Findings = append(out.Findings, Rules[ruleOrder(f.ID)].finish(f))
	}
	slices.SortStableFunc(out.Findings, func(a, b Finding) int {
		return cmp.Or(slices.Index(Severities, a.Severity)-slices.Index(Severities, b.Severity), ruleOrder(a.ID)-ruleOrder(b.ID), strings.Compare(a.Title, b.Title))
	})
	return out, cmp.Or(k.failed, k.Failed())
}

// leaveOut drops the findings of which a rule that says more has every
// connection.
func leaveOut(all []Finding) []Finding {
	type key struct{ rule, protocol, client, service string }
	told := map[key]bool{}
	for _, f := range all {
		for _, less := range Rules[ruleOrder(f.ID)].over {
			for _, c := range f.Connections {
				told[key{less, c.Protocol, c.Client.Address, c.Service.Address}] = true
			}
		}
	}
	return slices.DeleteFunc(all, func(f Finding) bool {
		for _, c := range f.Connections {
			if !told[key{f.ID, c.Protocol, c.Client.Address, c.Service.Address}] {
				return false
			}
		}
		return len(f.Connections) > 0
	})
}

func ruleOrder(id string) int {
	return slices.IndexFunc(Rules, func(r Rule) bool { return r.ID == id })
}

// finish completes a finding with what the rule says of all of its kind.
func (r *Rule) finish(f Finding) Finding {
	f.Severity = cmp.Or(f.Severity, r.Severity)
	f.Why, f.Do = cmp.Or(f.Why, r.Why), cmp.Or(f.Do, r.Do)
	if f.See == nil {
		f.See = r.See
	}
	if f.Connections == nil {
		f.Connections = []Connection{}
	}
	f.Count = max(f.Count, len(f.Connections))
	if len(f.Connections) > MaxListed {
		f.Connections = f.Connections[:MaxListed]
	}
	if len(f.Evidence) > MaxEvidence {
		f.Evidence = f.Evidence[:MaxEvidence]
	}
	return f
}

// concerned is a connection as findings list it.
func concerned(c *resolve.Connection) Connection {
	out := Connection{Protocol: c.Protocol, State: c.State, Client: c.Client, Service: c.Service, Verdict: c.Verdict, Backends: []resolve.Party{}}
	for _, b := range c.Backends {
		out.Backends = append(out.Backends, b.Party)
	}
	return out
}

// object is a party as findings list it.
func object(p resolve.Party) Object {
	return Object{Kind: cmp.Or(p.Kind, "address"), Namespace: p.Namespace, Name: p.Name, Address: p.Address, Host: p.Host}
}

// called is how titles name a party: by its name, else by its address.
func called(p resolve.Party) string {
	switch {
	case p.Name == "":
		return p.Address
	case p.Namespace == "":
		return p.Name
	}
	return p.Namespace + "/" + p.Name
}

// named is a party with its name, where it has one, and its address.
func named(p resolve.Party) string {
	if p.Name == "" {
		return p.Address
	}
	return called(p) + " " + p.Address
}

// evidence quotes the first positions of a finding; the rest is counted in its
// title or connections.
func (k *Case) evidence(list ...record.Pos) []resolve.Evidence {
	slices.SortStableFunc(list, k.order)
	list = slices.Compact(list)
	return k.Evidence(list[:min(len(list), MaxEvidence)]...)
}
