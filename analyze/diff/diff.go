// Package diff tells what changed between moments of the same hosts, by
// meaning: connections that moved to another backend, appeared or ended,
// backends that came and went, who stayed with one that is gone, findings that
// are new or gone. What one side did not record it calls not seen, never gone.
// It resolves nothing itself: each moment is a case that was checked.
package diff

import (
	"whichbackend/analyze/check"
	"whichbackend/analyze/load"
	"whichbackend/analyze/resolve"
)

// Schema names the JSON form of a difference. Fields are added within a
// version, never renamed.
const Schema = "whichbackend.diff/v1"

// Diff is what changed between two moments or more. Step says between which:
// step 1 is from the first moment to the second.
type Diff struct {
	Schema       string          `json:"schema" yaml:"schema"`
	Tool         string          `json:"tool" yaml:"tool"`
	Inputs       []resolve.Input `json:"inputs" yaml:"inputs"`
	Moments      []Info          `json:"moments" yaml:"moments"`
	Steps        []Step          `json:"steps" yaml:"steps"`
	Outlived     []Outlived      `json:"outlived" yaml:"outlived"`
	Moved        []Moved         `json:"moved" yaml:"moved"`
	Services     []Change        `json:"services" yaml:"services"`
	Findings     []Finding       `json:"findings" yaml:"findings"`
	Ended        []Connection    `json:"ended" yaml:"ended"`
	Appeared     []Connection    `json:"appeared" yaml:"appeared"`
	Undetermined []Undetermined  `json:"undetermined" yaml:"undetermined"`
	NotSeen      []NotSeen       `json:"not_seen" yaml:"not_seen"`
	// Timeline has a line for each client and service, when there are more
	// than two moments.
	Timeline []Line   `json:"timeline,omitempty" yaml:"timeline,omitempty"`
	Warnings []string `json:"warnings" yaml:"warnings"`
}

// Info is one moment.
type Info struct {
	Moment      int    `json:"moment" yaml:"moment"` // from 1
	Input       string `json:"input" yaml:"input"`
	Hosts       []Host `json:"hosts" yaml:"hosts"`
	Connections int    `json:"connections" yaml:"connections"`
	// Open counts the connections without a settled answer.
	Open int `json:"open" yaml:"open"`
	// Clocks are how far the clocks of hosts are apart, as connections seen on
	// both ends in captures tell.
	Clocks []load.Clock `json:"clocks,omitempty" yaml:"clocks,omitempty"`
}

// Host is when a host was recorded in a moment: by its own clock, and by the
// clock that others are held against, where captures tell how far it is off.
type Host struct {
	Host      string `json:"host,omitempty" yaml:"host,omitempty"`
	First     string `json:"first" yaml:"first"`
	Last      string `json:"last" yaml:"last"`
	Reference string `json:"reference,omitempty" yaml:"reference,omitempty"`
	// CorrectedFirst and CorrectedLast are First and Last by the clock of Reference.
	CorrectedFirst string `json:"corrected_first,omitempty" yaml:"corrected_first,omitempty"`
	CorrectedLast  string `json:"corrected_last,omitempty" yaml:"corrected_last,omitempty"`
}

// Step counts what happened between two moments.
type Step struct {
	Step int `json:"step" yaml:"step"`
	// Apart is the time between the two, where their manifests tell it.
	Apart string `json:"apart,omitempty" yaml:"apart,omitempty"`
	// Same are connections with the same backend in both, ByRequest those whose
	// backend each request chooses, Open those without a settled answer in both,
	// Over those that were over before and are not listed any more.
	Same      int `json:"same" yaml:"same"`
	ByRequest int `json:"by_request" yaml:"by_request"`
	Open      int `json:"open" yaml:"open"`
	Over      int `json:"over" yaml:"over"`
	// The others count the entries of the lists; of NotSeen the connections.
	Moved        int `json:"moved" yaml:"moved"`
	MovedClients int `json:"moved_clients" yaml:"moved_clients"`
	Outlived     int `json:"outlived" yaml:"outlived"`
	Services     int `json:"services" yaml:"services"`
	Findings     int `json:"findings" yaml:"findings"`
	Ended        int `json:"ended" yaml:"ended"`
	Appeared     int `json:"appeared" yaml:"appeared"`
	Undetermined int `json:"undetermined" yaml:"undetermined"`
	NotSeen      int `json:"not_seen" yaml:"not_seen"`
}

// Spread is a backend and how many connections it had.
type Spread struct {
	resolve.Party `yaml:",inline"`
	Count         int `json:"count" yaml:"count"`
	// Gone is true when it is not among the service's backends any more.
	Gone bool `json:"gone,omitempty" yaml:"gone,omitempty"`
}

// Moved is a connection that has another backend now, or a client whose
// connections to a service go to others than before.
type Moved struct {
	Step        int           `json:"step" yaml:"step"`
	Granularity string        `json:"granularity" yaml:"granularity"` // connection, or client
	Protocol    string        `json:"protocol" yaml:"protocol"`
	Client      resolve.Party `json:"client" yaml:"client"` // of a client: without a port
	Service     resolve.Party `json:"service" yaml:"service"`
	Before      []Spread      `json:"before" yaml:"before"`
	After       []Spread      `json:"after" yaml:"after"`
	Reason      string        `json:"reason" yaml:"reason"`
	// The lines that name the backends of a connection.
	EvidenceBefore []resolve.Evidence `json:"evidence_before,omitempty" yaml:"evidence_before,omitempty"`
	EvidenceAfter  []resolve.Evidence `json:"evidence_after,omitempty" yaml:"evidence_after,omitempty"`
}

// Connection is a connection that one of the moments has.
type Connection struct {
	Step     int                `json:"step" yaml:"step"`
	Protocol string             `json:"protocol" yaml:"protocol"`
	State    string             `json:"state,omitempty" yaml:"state,omitempty"`
	Client   resolve.Party      `json:"client" yaml:"client"`
	Service  resolve.Party      `json:"service" yaml:"service"`
	Verdict  resolve.Verdict    `json:"verdict" yaml:"verdict"`
	Backends []resolve.Party    `json:"backends" yaml:"backends"`
	Because  string             `json:"because,omitempty" yaml:"because,omitempty"` // omitted in what was not seen
	Evidence []resolve.Evidence `json:"evidence,omitempty" yaml:"evidence,omitempty"`
}

// Outlived is a connection that is there after its backend has gone.
type Outlived struct {
	Step     int                `json:"step" yaml:"step"`
	Protocol string             `json:"protocol" yaml:"protocol"`
	State    string             `json:"state,omitempty" yaml:"state,omitempty"`
	Client   resolve.Party      `json:"client" yaml:"client"`
	Service  resolve.Party      `json:"service" yaml:"service"`
	Backend  resolve.Party      `json:"backend" yaml:"backend"` // as it was called before
	Because  []string           `json:"because" yaml:"because"`
	Evidence []resolve.Evidence `json:"evidence" yaml:"evidence"`
	// New is true where the connection itself was not there before.
	New bool `json:"new,omitempty" yaml:"new,omitempty"`
}

// Change is a service, or a backend of a service, that came, went or is in
// another state.
type Change struct {
	Step    int            `json:"step" yaml:"step"`
	Change  string         `json:"change" yaml:"change"` // appeared, gone, changed
	Service resolve.Party  `json:"service" yaml:"service"`
	Backend *resolve.Party `json:"backend,omitempty" yaml:"backend,omitempty"` // omitted: the service itself
	Before  string         `json:"before,omitempty" yaml:"before,omitempty"`   // the state, of one that changed
	After   string         `json:"after,omitempty" yaml:"after,omitempty"`
	// Listings are those that say so, StillIn those that name it nevertheless.
	Listings []string `json:"listings" yaml:"listings"`
	StillIn  []string `json:"still_in,omitempty" yaml:"still_in,omitempty"`
}

// Undetermined is a connection of which nobody can tell whether it moved.
type Undetermined struct {
	Step     int           `json:"step" yaml:"step"`
	Protocol string        `json:"protocol" yaml:"protocol"`
	Client   resolve.Party `json:"client" yaml:"client"`
	Service  resolve.Party `json:"service" yaml:"service"`
	// Before and After are the verdicts, omitted where a side has no such entry.
	Before resolve.Verdict `json:"before,omitempty" yaml:"before,omitempty"`
	After  resolve.Verdict `json:"after,omitempty" yaml:"after,omitempty"`
	Reason string          `json:"reason" yaml:"reason"`
}

// NotSeen is what one side did not record.
type NotSeen struct {
	Step    int    `json:"step" yaml:"step"`
	Side    string `json:"side" yaml:"side"` // before, or after: the side that lacks it
	What    string `json:"what" yaml:"what"` // connections, or services
	Missing string `json:"missing" yaml:"missing"`
	Count   int    `json:"count" yaml:"count"`
	// Connections are those of the other side that the missing would show.
	Connections []Connection `json:"connections,omitempty" yaml:"connections,omitempty"`
}

// Finding is a finding that one side has and the other has not.
type Finding struct {
	Step    int           `json:"step" yaml:"step"`
	Change  string        `json:"change" yaml:"change"`                       // new, gone, not judged
	Side    string        `json:"side,omitempty" yaml:"side,omitempty"`       // not judged: the side that cannot tell
	Missing string        `json:"missing,omitempty" yaml:"missing,omitempty"` // not judged: what it lacks
	Finding check.Finding `json:"finding" yaml:"finding"`
}

// Line is what became of the connections of a client to a service.
type Line struct {
	Protocol string        `json:"protocol" yaml:"protocol"`
	Client   resolve.Party `json:"client" yaml:"client"`
	Service  resolve.Party `json:"service" yaml:"service"`
	Changed  bool          `json:"changed" yaml:"changed"`
	Moments  []Cell        `json:"moments" yaml:"moments"`
}

// Cell is where the connections of a client to a service went at one moment.
type Cell struct {
	Moment   int      `json:"moment" yaml:"moment"`
	Backends []Spread `json:"backends" yaml:"backends"`
	// Open counts connections without a settled answer.
	Open int `json:"open" yaml:"open"`
}

// Found tells whether something differs that matters.
func (d *Diff) Found() bool {
	for _, f := range d.Findings {
		if f.Change != "not judged" {
			return true
		}
	}
	return len(d.Moved)+len(d.Outlived)+len(d.Services)+len(d.Ended)+len(d.Appeared) > 0
}

// Inconclusive tells whether something could not be told.
func (d *Diff) Inconclusive() bool {
	return len(d.NotSeen)+len(d.Undetermined)+len(d.Findings) > 0
}
