// Package resolve follows one connection from record to record, and keeps the
// evidence of each hop. It knows sentences (sockets, translations, services,
// owners) and scopes; it knows no notation of any tool, and it never guesses:
// when the evidence is short, it says candidates or unknown.
package resolve

import "whichbackend/store"

// Schema names the JSON form of an answer. Fields are added within a version,
// never renamed.
const Schema = "whichbackend.answer/v1"

// Answer is the answer to one question.
type Answer struct {
	Schema      string       `json:"schema" yaml:"schema"`
	Tool        string       `json:"tool" yaml:"tool"`
	Inputs      []Input      `json:"inputs" yaml:"inputs"`
	Connections []Connection `json:"connections" yaml:"connections"`
	Coverage    Coverage     `json:"coverage" yaml:"coverage"`
	Warnings    []string     `json:"warnings" yaml:"warnings"`
}

// Input is one bundle that was read.
type Input struct {
	Path   string `json:"path" yaml:"path"`
	SHA256 string `json:"sha256,omitempty" yaml:"sha256,omitempty"`
}

// Coverage counts how much of the inputs was understood. Ignored lines are
// known and say nothing that the question needs.
type Coverage struct {
	Artifacts  int `json:"artifacts" yaml:"artifacts"`
	Lines      int `json:"lines" yaml:"lines"`
	Understood int `json:"understood" yaml:"understood"`
	Ignored    int `json:"ignored" yaml:"ignored"`
	Unknown    int `json:"unknown" yaml:"unknown"`
}

// Verdict says how far the evidence carries.
type Verdict string

// The verdicts, as PRODUCT.md defines them.
const (
	Proven     Verdict = "proven"
	Observed   Verdict = "observed"
	Deduced    Verdict = "deduced"
	Candidates Verdict = "candidates"
	None       Verdict = "none"
	Conflicted Verdict = "conflict"
	Unknown    Verdict = "unknown"
)

// Verdicts is the closed set, from the strongest, with what each means.
var Verdicts = []struct {
	Verdict Verdict
	Holds   string
}{
	{Proven, "a state table or log of the right scope names the backend, and an independent artifact agrees"},
	{Observed, "a state table or log of the right scope names the backend"},
	{Deduced, "no table names this connection, but elimination or correlation leaves one backend"},
	{Candidates, "several backends remain; each is listed with the reason it is still possible"},
	{None, "the evidence shows that nothing serves it"},
	{Conflicted, "two artifacts of equal strength name different backends"},
	{Unknown, "the evidence is not in the bundle; gaps say what would settle it"},
}

// Mechanisms is the closed set of mechanisms, with what each stands for.
var Mechanisms = []struct{ Name, Means string }{
	{"docker-swarm", "IPVS in a Swarm network's load-balancer namespace, or the ingress network"},
	{"docker", "a port that docker publishes on the host"},
	{"kube-proxy", "a Kubernetes Service on the node: iptables, nftables or IPVS"},
	{"istio", "an Istio sidecar or ztunnel"},
	{"envoy", "another Envoy"},
	{"cilium", "Cilium's eBPF load balancing"},
	{"ipvs", "an IPVS whose owner the bundle does not tell"},
	{"netfilter", "a NAT whose owner the bundle does not tell"},
	{"direct", "no translation: the client dialled the backend itself"},
}

// Connection is one connection, from its client's side.
type Connection struct {
	Protocol    string `json:"protocol" yaml:"protocol"`
	State       string `json:"state,omitempty" yaml:"state,omitempty"`
	Granularity string `json:"granularity" yaml:"granularity"` // connection, or request
	// Seen is false in the one entry that stands for a connection that the
	// bundle does not hold, and omitted otherwise.
	Seen     *bool     `json:"seen,omitempty" yaml:"seen,omitempty"`
	Client   Party     `json:"client" yaml:"client"`
	Service  Party     `json:"service" yaml:"service"`
	Verdict  Verdict   `json:"verdict" yaml:"verdict"`
	Reason   string    `json:"reason" yaml:"reason"`
	Backends []Backend `json:"backends" yaml:"backends"`
	// MayHaveDialled names the services that the connection may have come
	// through before the socket showed the backend: socket load balancing
	// leaves no trace of the address that was asked for.
	MayHaveDialled []Party  `json:"may_have_dialled,omitempty" yaml:"may_have_dialled,omitempty"`
	Mechanisms     []string `json:"mechanisms" yaml:"mechanisms"`
	Sockets        []End    `json:"sockets,omitempty" yaml:"sockets,omitempty"`
	Hops           []Hop    `json:"hops" yaml:"hops"`
	// ServerName is the name that the client asks for (TLS SNI), where a capture
	// shows it.
	ServerName string `json:"server_name,omitempty" yaml:"server_name,omitempty"`
	// Handshake is how the connection began and ended, and Captures where it
	// was seen, as packet captures show it.
	Handshake *Handshake `json:"handshake,omitempty" yaml:"handshake,omitempty"`
	Captures  []Sighting `json:"captures,omitempty" yaml:"captures,omitempty"`
	Gaps      []Gap      `json:"gaps" yaml:"gaps"`
	Conflicts []Conflict `json:"conflicts" yaml:"conflicts"`
	seen      []Seen
	of        *conn // what it was written from
}

// SeenIn are the flows of captures that show the connection, along its path.
// They are of the answer itself, and not in its written forms.
func (c *Connection) SeenIn() []Seen { return c.seen }

// Seen is a flow, and the path of the capture that shows it.
type Seen struct {
	Artifact string
	Flow     store.Flow
}

// Party is an address and who holds it.
type Party struct {
	Address   string `json:"address,omitempty" yaml:"address,omitempty"` // ip:port or [v6]:port
	Kind      string `json:"kind,omitempty" yaml:"kind,omitempty"`
	Namespace string `json:"namespace,omitempty" yaml:"namespace,omitempty"`
	Name      string `json:"name,omitempty" yaml:"name,omitempty"`
	Host      string `json:"host,omitempty" yaml:"host,omitempty"`
	workload  string
}

// Workload is what made the party, as a Deployment makes pods; "" when that is
// not known. It is not in the written forms.
func (p Party) Workload() string { return p.workload }

// Backend is one backend of a connection.
type Backend struct {
	Party `yaml:",inline"`
	// Reason says why this one is possible, where several are.
	Reason string `json:"reason,omitempty" yaml:"reason,omitempty"`
	// Evidence is where that is written.
	Evidence []Evidence `json:"evidence,omitempty" yaml:"evidence,omitempty"`
}

// End is a socket at one end of the connection.
type End struct {
	Role     string     `json:"role" yaml:"role"` // client, or server
	Scope    string     `json:"scope,omitempty" yaml:"scope,omitempty"`
	Local    string     `json:"local" yaml:"local"`
	Remote   string     `json:"remote" yaml:"remote"`
	State    string     `json:"state,omitempty" yaml:"state,omitempty"`
	Program  string     `json:"program,omitempty" yaml:"program,omitempty"`
	Evidence []Evidence `json:"evidence" yaml:"evidence"`
}

// Hop is one step of a path.
type Hop struct {
	Mechanism string `json:"mechanism" yaml:"mechanism"`
	Via       string `json:"via" yaml:"via"` // the table or log
	Scope     string `json:"scope,omitempty" yaml:"scope,omitempty"`
	State     string `json:"state,omitempty" yaml:"state,omitempty"`
	// Tier says how two sides of the connection were recognised in captures.
	Tier     string     `json:"tier,omitempty" yaml:"tier,omitempty"`
	Before   Side       `json:"before" yaml:"before"`
	After    Side       `json:"after" yaml:"after"`
	Evidence []Evidence `json:"evidence" yaml:"evidence"`
}

// Handshake is how a TCP connection began and ended, as captures show it.
type Handshake struct {
	Outcome string `json:"outcome" yaml:"outcome"`               // answered, refused, unanswered, unreachable
	By      string `json:"by,omitempty" yaml:"by,omitempty"`     // who answered, refused, or said that it is unreachable
	Took    string `json:"took,omitempty" yaml:"took,omitempty"` // from the SYN to the answer or the refusal
	SYNs    int    `json:"syns,omitempty" yaml:"syns,omitempty"` // how often the SYN was sent
	// End is open, closed, reset by client or reset by server.
	End      string     `json:"end,omitempty" yaml:"end,omitempty"`
	Evidence []Evidence `json:"evidence" yaml:"evidence"`
}

// Sighting is one place in which a capture saw the connection.
type Sighting struct {
	Scope         string `json:"scope,omitempty" yaml:"scope,omitempty"`
	Device        string `json:"device,omitempty" yaml:"device,omitempty"`
	Leg           string `json:"leg,omitempty" yaml:"leg,omitempty"` // in, out: of a capture of all interfaces that does not tell which
	Encapsulation string `json:"encapsulation,omitempty" yaml:"encapsulation,omitempty"`
	Source        string `json:"source" yaml:"source"`
	Destination   string `json:"destination" yaml:"destination"`
	// State is open, closed, reset by client, reset by server, refused,
	// unanswered or unreachable; of datagrams answered or unanswered.
	State string `json:"state,omitempty" yaml:"state,omitempty"`
	First string `json:"first" yaml:"first"`
	Last  string `json:"last" yaml:"last"`
	// Packets of both directions on the wire; Sent and Received are the bytes
	// of the client's and the server's application.
	Packets  uint64     `json:"packets" yaml:"packets"`
	Sent     uint64     `json:"sent" yaml:"sent"`
	Received uint64     `json:"received" yaml:"received"`
	Evidence []Evidence `json:"evidence" yaml:"evidence"`
}

// Side is what a connection looks like before or after a hop.
type Side struct {
	Source      string `json:"source,omitempty" yaml:"source,omitempty"`
	Destination string `json:"destination,omitempty" yaml:"destination,omitempty"`
}

// Evidence points to where something is written, and quotes it.
type Evidence struct {
	Artifact string `json:"artifact" yaml:"artifact"`
	Line     int    `json:"line,omitempty" yaml:"line,omitempty"`
	Packet   int    `json:"packet,omitempty" yaml:"packet,omitempty"`
	Pointer  string `json:"pointer,omitempty" yaml:"pointer,omitempty"`
	Time     string `json:"time,omitempty" yaml:"time,omitempty"` // when a packet passed, by the capturing host's clock
	Text     string `json:"text,omitempty" yaml:"text,omitempty"`
}

// Gap is what is missing for a better verdict.
type Gap struct {
	Missing string `json:"missing" yaml:"missing"`
	Effect  string `json:"effect" yaml:"effect"`
	Command string `json:"command,omitempty" yaml:"command,omitempty"`
}

// Conflict is a contradiction between artifacts.
type Conflict struct {
	Reason string  `json:"reason" yaml:"reason"`
	Claims []Claim `json:"claims" yaml:"claims"`
}

// Claim is what one artifact says in a conflict.
type Claim struct {
	Backend  string     `json:"backend" yaml:"backend"`
	Evidence []Evidence `json:"evidence" yaml:"evidence"`
}

// Settled tells whether the answer ends the question: exactly one backend, or
// a proven none.
func (c *Connection) Settled() bool {
	switch c.Verdict {
	case Proven, Observed, Deduced, None:
		return true
	}
	return false
}
