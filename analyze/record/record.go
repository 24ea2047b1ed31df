// Package record holds one plain struct for each kind of statement that an
// artifact can make, each with the place where it stands. Parsers write them,
// the store keeps them, the resolver reads them. The package does no work and
// imports nothing of the project: however different netstat, conntrack, Envoy
// and Cilium look, they end up here as the same few kinds of sentence.
package record

import (
	"net/netip"
	"time"
)

// Pos says where a statement stands. Exactly one of Line, Packet and Pointer
// leads to it, except that a JSON document inside a longer text carries the
// line on which the document begins as well as the pointer inside it.
type Pos struct {
	// Section is the number of the section (see Section) within the case. It
	// tells artifact, scope, format and tool. Parsers leave it to the driver.
	Section int
	// Line counts from 1 within the artifact. 0: no line.
	Line int
	// Packet counts from 1 within a capture. 0: no packet.
	Packet int
	// Pointer is a JSON pointer (RFC 6901) into a JSON or YAML document.
	Pointer string
}

// ScopeKind says what kind of place a scope is.
type ScopeKind string

// The kinds of scope. A host scope is the host's own network namespace.
const (
	ScopeHost      ScopeKind = "host"
	ScopePod       ScopeKind = "pod"       // the network namespace of a pod
	ScopeContainer ScopeKind = "container" // the network namespace of a container
	ScopeNetns     ScopeKind = "netns"     // a network namespace known by name or inode number
	ScopePID       ScopeKind = "pid"       // the network namespace of a process, as in nsenter -t PID -n
	ScopeCluster   ScopeKind = "cluster"   // API objects: true in the whole cluster
)

// Scope is where a statement is true: a host and a network namespace on it.
type Scope struct {
	Host      string // "" is the unnamed host
	Kind      ScopeKind
	Namespace string // Kubernetes namespace, of a pod
	Name      string // pod, container, network namespace or process id
}

// Section is a run of lines of one artifact that one format owns. Most
// artifacts are one section; a pasted transcript has many.
type Section struct {
	ID       int
	Artifact int    // number of the artifact within the case
	Line     int    // first line, from 1
	Format   string // name in the table of formats; "" when nobody claimed it
	Tool     string // tool and version that wrote it, as far as the text tells: "conntrack 1.4.7"
	Command  string // the command line a transcript or manifest shows for it
	Scope    Scope
	// Lines = Understood + Ignored + Unknown. Understood lines made a record
	// or are a part of one, ignored ones are known to say nothing that the
	// question needs, unknown ones are problems.
	Lines, Understood, Ignored, Unknown int
}

// Artifact is one file of a bundle.
type Artifact struct {
	ID    int
	Input int    // number of the input on the command line, from 0
	Path  string // as in the bundle, below the folder that wraps everything
	// Scope is what its place in the bundle says; a section may say more.
	Scope  Scope
	Size   int64
	SHA256 string
	// Recorded is when it was recorded, where a manifest tells; zero otherwise.
	Recorded time.Time
	// Truncated says that the collector cut it, or that the archive ends in it.
	Truncated bool
}

// Problem is a line that was not understood, or an artifact that is broken.
type Problem struct {
	Pos
	Text string // the raw text, cut to a few hundred bytes
	Why  string
}

// Protocol is an IP protocol number (IANA).
type Protocol uint8

// The protocols that listings name. Any other number is kept as it is.
const (
	ICMP    Protocol = 1
	TCP     Protocol = 6
	UDP     Protocol = 17
	DCCP    Protocol = 33
	GRE     Protocol = 47
	ICMPv6  Protocol = 58
	SCTP    Protocol = 132
	UDPLite Protocol = 136
)

// Tuple is one direction of a connection. The zero AddrPort means: not known.
type Tuple struct {
	Source, Destination netip.AddrPort
}

// Socket is one row of netstat, ss or /proc/net/{tcp,udp}{,6}.
type Socket struct {
	Pos
	Protocol Protocol
	// State is in netstat's words: ESTABLISHED, SYN_SENT, SYN_RECV, FIN_WAIT1,
	// FIN_WAIT2, TIME_WAIT, CLOSE, CLOSE_WAIT, LAST_ACK, LISTEN, CLOSING,
	// UNCONN (an unconnected UDP socket) or "" where the listing has none.
	State string
	// Local and Remote have IPv4-mapped IPv6 addresses unmapped. A wildcard
	// address is 0.0.0.0 or ::, a wildcard port is 0. Zone (%eth0) is dropped
	// from the address and kept in Device.
	Local, Remote netip.AddrPort
	// LocalCut and RemoteCut hold the text of an IPv6 address that the tool
	// cut short ("fd00:10:244:1:aaa"), a prefix of the real one's text form;
	// the address of Local or Remote is then not valid and its port is right.
	LocalCut, RemoteCut      string
	Device                   string
	RecvQ, SendQ             int64 // bytes; of a listener under ss: accept queue and backlog
	UID                      int   // -1: not said
	PID                      int   // 0: not said
	Program                  string
	Inode                    uint64 // 0: not said
	Cookie                   uint64 // ss -e "sk:", 0: not said
	BytesSent, BytesReceived uint64 // ss -i; 0: not said
	// BytesAcked are the bytes that the other end has acknowledged, and one more
	// for the SYN where this end opened the connection. It stays true where the
	// kernel counts a segment as sent that never left the machine. 0: not said.
	BytesAcked uint64
	Timer      string // as the tool prints it
}

// Via says which table or log a translation was read from. Two translations
// of different Via are independent witnesses, two of the same Via in the same
// scope are one table read twice.
type Via string

// The tables and logs that name translations.
const (
	ViaConntrack  Via = "conntrack"        // conntrack -L, /proc/net/nf_conntrack
	ViaEvent      Via = "conntrack-events" // conntrack -E: history, not state
	ViaIPVS       Via = "ipvs"             // ipvsadm -Lnc, /proc/net/ip_vs_conn
	ViaCiliumCT   Via = "cilium-ct"        // cilium bpf ct list
	ViaCiliumNAT  Via = "cilium-nat"       // cilium bpf nat list
	ViaAccessLog  Via = "access-log"       // Envoy or Istio access log
	ViaZtunnel    Via = "ztunnel"          // ztunnel config_dump, istioctl ztunnel-config connections
	ViaZtunnelLog Via = "ztunnel-log"      // ztunnel access log
	ViaCapture    Via = "capture"          // one connection seen on two sides in packet captures
)

// Translation is one observed fact: a connection that enters as Before leaves
// as After. When both are equal the table saw the connection pass unchanged.
// Source and destination may both be rewritten at once.
type Translation struct {
	Pos
	Protocol      Protocol
	Via           Via
	Before, After Tuple
	// State is the table's own word (ESTABLISHED, SYN_SENT, TIME_WAIT, ...),
	// "" when it has none.
	State     string
	Unreplied bool // conntrack [UNREPLIED]; Cilium: no answer seen
	Assured   bool
	Offloaded bool
	// Closing: the table holds the entry although the connection is being
	// closed or has expired.
	Closing bool
	Event   string // NEW, UPDATE, DESTROY for ViaEvent
	// Timeout is the seconds left before the entry goes, -1 when not said.
	Timeout int64
	Zone    uint32 // conntrack zone (both directions, or the original one)
	Mark    uint32
	ID      uint64 // the table's id of the entry, 0: not said
	// Bytes and Packets count both directions together; 0: not said.
	Packets, Bytes uint64

	// Service is the number by which the table links entries to a service:
	// Cilium's RevNAT. 0: none.
	Service uint32
	// Selects is true for an entry that records a load-balancing choice
	// without carrying the packets itself (a Cilium service entry). Its After
	// may have no destination; then Backend is the only name of the choice.
	Selects bool
	// Backend is the table's own number of the backend, true only on the
	// host of the scope. 0: none.
	Backend uint32
	// Loopback marks a hairpin leg: the source address is a stand-in for the
	// client's own (Cilium LBLoopback).
	Loopback bool
	// Ingress marks an entry that the destination's side made (Cilium IN).
	Ingress bool
	// Proxied marks a connection that a proxy on the host takes over, and that
	// the proxy may lead elsewhere (Cilium ProxyRedirect).
	Proxied bool

	// Request is true for a row of an HTTP access log: the row is one request
	// of a connection, and others may have gone elsewhere.
	Request bool
	// RequestID, Cluster and Flags are what an access log says: x-request-id,
	// the upstream cluster (without a trailing ";") and response flags.
	RequestID, Cluster, Flags string
	// Start and Duration bound a logged row in time, where the log tells. Of an
	// event (ViaEvent) Start is when it happened.
	Start    time.Time
	Duration time.Duration
	// Peer names the workload at After.Destination, where a log tells:
	// "namespace/name".
	Peer string
	// Tunnel is the address of the next socket when it differs from the
	// address that serves: a ztunnel's HBONE peer or a waypoint.
	Tunnel netip.AddrPort

	// Tier says how two sides of a connection in captures were recognised, and
	// Behind is the packet that shows After; Pos shows Before. Only of
	// ViaCapture. Relay is true where a proxy took one connection and opened
	// another, rather than the kernel rewriting one.
	Tier   Tier
	Behind Pos
	Relay  bool
	// Requests is how many requests of a downstream connection were seen to go
	// to this upstream connection, others may have gone unseen. 0: the
	// connection as a whole did, or nobody counted. Only with Relay.
	Requests int
}

// Tier is how surely two flows of captures are one connection.
type Tier string

// The tiers, from the surest. The first three are of one connection on two
// sides of a NAT, the others of a proxy's two connections.
const (
	// TierExact: both initial sequence numbers are equal, at the same time.
	TierExact Tier = "exact"
	// TierStrong: the client's sequence number and timestamps are equal (a SYN
	// proxy changes the server's), or several segments are equal in sequence
	// number, length, content and timestamp.
	TierStrong Tier = "strong"
	// TierWeak: the client's sequence number alone, or equal datagrams, and
	// nothing else fits.
	TierWeak Tier = "weak"
	// TierAnnounced: the proxy itself says whose connection it carries on: a
	// PROXY header, or one x-request-id on both sides.
	TierAnnounced Tier = "announced"
	// TierPayload: the same first bytes, and nothing else fits.
	TierPayload Tier = "payload"
	// TierSizes: nested in time and the same sizes, and nothing else fits.
	TierSizes Tier = "sizes"
	// TierTiming: nested in time, and nothing else fits.
	TierTiming Tier = "timing"
)

// Source says which kind of listing a service was read from.
type Source string

// The listings that name services or their backends.
const (
	FromRules         Source = "rules"            // iptables-save, nft list ruleset
	FromIPVS          Source = "ipvs"             // ipvsadm -Ln, -Sn, /proc/net/ip_vs
	FromKubernetes    Source = "kubernetes"       // Service, Endpoints, EndpointSlice objects
	FromDocker        Source = "docker"           // docker service, network inspect -v, published ports
	FromCiliumLB      Source = "cilium-lb"        // cilium bpf lb list: the datapath's view
	FromCiliumAgent   Source = "cilium-agent"     // cilium service list: the agent's view
	FromEnvoyListener Source = "envoy-listener"   // an address and the clusters behind it
	FromEnvoyCluster  Source = "envoy-cluster"    // a cluster and its hosts
	FromZtunnel       Source = "ztunnel-services" // ztunnel config_dump services
)

// Service is a virtual address and the backends that it may choose from, or
// one half of that: an API object may name only the address, another only the
// backends. Halves meet by Namespace and Name, by Cluster, by Mark or by ID.
type Service struct {
	Pos
	Source    Source
	Mechanism string   // of the closed set in PRODUCT.md; "" when the listing does not tell
	Protocol  Protocol // 0: not said, or any
	// Address is the VIP and port. Not valid: the listing names none. An
	// unspecified address (0.0.0.0, ::) means any address of the host
	// (a NodePort, a published port). Port 0: every port.
	Address netip.AddrPort
	// Mark is the firewall mark that stands for the address (IPVS FWM). 0: none.
	Mark uint32
	// ID is the table's own number of the service (Cilium RevNAT). 0: none.
	ID                    uint32
	Namespace, Name, Port string // Port is the port's name, "" when it has none
	// Type is the Kubernetes or Cilium word: ClusterIP, NodePort,
	// LoadBalancer, ExternalIPs, HostPort; docker: ingress, host, vip.
	Type string
	// TargetPort is the port that backends serve on, where only that is
	// known (a Kubernetes Service object, a Swarm published port). 0: not known.
	TargetPort uint16
	// Cluster is the Envoy cluster that serves (a listener), or that this is.
	Cluster string
	// HTTP is true when an HTTP proxy picks a backend anew for each request.
	HTTP bool
	// Scheduler is the listing's word for how a backend is chosen (IPVS: rr,
	// wlc, sh); "" when it does not tell.
	Scheduler string
	// Affinity is true when a client keeps its backend.
	Affinity bool
	// Local is true when only backends on the same node are chosen.
	Local bool
	// Inside is true when only clients inside the cluster (pods, and the host
	// itself) choose from these backends. The same address then stands in
	// another service, which is for all other clients (Kubernetes'
	// externalTrafficPolicy Local, Cilium's scope "/i").
	Inside bool
	// Complete is true when the listing is known to name every backend.
	// A table cut by "+ 2 more..." is not complete.
	Complete bool
	Backends []Backend
}

// Backend is one choice of a service.
type Backend struct {
	Address     netip.AddrPort // port 0: the same port as the service's
	ID          uint32         // the table's own number (Cilium), 0: none
	Slot        int            // its place in the service's table, from 1 (Cilium), 0: not said
	Weight      int            // -1: not said
	Probability float64        // of this backend for a new connection; 0: not said
	// State is "" for active, else the listing's word in lower case: "not
	// ready", "terminating", "quarantined", "maintenance", "unhealthy".
	State string
	// Active is the number of live connections the listing counts, -1: not said.
	Active                int64
	Namespace, Name, Host string // the workload, where the listing tells
	Pos                   Pos    // where it stands, when not where the service does
}

// OwnerKind is what kind of thing holds an address.
type OwnerKind string

// The kinds of owner.
const (
	OwnerPod       OwnerKind = "pod"
	OwnerContainer OwnerKind = "container"
	OwnerNode      OwnerKind = "node"
	OwnerBalancer  OwnerKind = "balancer" // a Swarm network's load-balancer endpoint on this host
	// OwnerProcess is a process of this host, told with its PID and Netns: it
	// ties a PID to a network namespace, and holds no address of its own.
	OwnerProcess OwnerKind = "process"
	// OwnerName is a name that a capture gives to an address: in a DNS answer
	// or in a name resolution block. It says nothing of who holds it.
	OwnerName OwnerKind = "name"
)

// Owner says who holds an address, or whose network namespace is whose.
type Owner struct {
	Pos
	Address   netip.Addr // not valid: only the namespace or process is told
	Kind      OwnerKind
	Namespace string // Kubernetes namespace; Docker: the network's name
	Name      string
	Host      string // the host it runs on, "" when not said
	// Workload is the service or controller that it belongs to, where told:
	// a Swarm service, an app label.
	Workload string
	// State is the listing's word: Running, Completed, Terminating, exited.
	State string
	// HostNetwork: it shares the host's network namespace, so that the
	// address is the host's.
	HostNetwork bool
	ContainerID string // full or short
	PID         int    // a process inside its network namespace; 0: not said
	Netns       string // name or inode of its network namespace; "": not said
	// Containers are the names of a pod's containers, where told.
	Containers []string
	// Ready and Total are the READY column of kubectl get pods; 0, 0: not said.
	Ready, Total int
}

// Address says that a network namespace holds an address (ip addr).
type Address struct {
	Pos
	Prefix netip.Prefix // the address itself with its prefix length
	Device string
	// Peer is where the other end of the device is: the name after link-netns,
	// or "link-netnsid N" as printed; "" when the listing does not tell.
	Peer string
}

// Reading is what a listing says of the state of something at its moment: a
// counter of a table, a limit of the kernel, what a neighbour or a proxy is
// said to be.
type Reading struct {
	Pos
	// Subject is what it is said of, "" when of the whole place: "cpu 0",
	// "10.244.1.3 dev eth0", "proxy default/client".
	Subject string
	// Name is what is said, in the listing's own word: insert_failed,
	// nf_conntrack_max, state, CDS.
	Name string
	// Value is the listing's own word, or the number as printed.
	Value string
	// Number is Value where that is a number, else 0.
	Number int64
}
