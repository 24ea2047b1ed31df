package collect

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// item is one thing to record: a file below /proc, or what a command prints.
type item struct {
	name  string // of its file in the bundle, without .txt
	why   string // why it is asked for
	scope scope

	file string // below /proc; or:

	tools   []string // the first of these that is on the path
	args    []string
	each    []string // arguments with which it lists, a line each, what is appended to args
	version string   // the argument with which the tool tells its version
	gate    gate
	absent  []string // what it says when there is none of this here

	deadline time.Duration
	limit    int64 // of bytes; cut at a line
}

const (
	mib   = 1 << 20
	quick = 5 * time.Second
	slow  = 20 * time.Second // tables that grow with the connections
)

// docker, always of this host: a context in root's own settings may lead to another.
const dockerSocket = "unix:///var/run/docker.sock"

// dockerInspect prints what docker inspect prints, in its shape, but only what
// tells whose address is whose. The environment, the command line, the output
// of health checks and other labels may hold secrets.
const dockerInspect = `{{$c := ""}}{"Id":{{json .Id}},"Name":{{json .Name}},` +
	`"State":{"Status":{{json .State.Status}},"Running":{{json .State.Running}},"Pid":{{json .State.Pid}},"StartedAt":{{json .State.StartedAt}}},` +
	`"HostConfig":{"NetworkMode":{{json .HostConfig.NetworkMode}}},` +
	`"Config":{"Labels":{ {{range $k, $v := .Config.Labels}}{{if eq (printf "%.17s" $k) "com.docker.swarm."}}{{$c}}{{json $k}}:{{json $v}}{{$c = ","}}{{end}}{{end}} }},` +
	`"NetworkSettings":{{json .NetworkSettings}}}`

// dockerPs has no column COMMAND, for the same reason.
const dockerPs = `table {{.ID}}\t{{.Image}}\t{{.CreatedAt}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}`

var (
	noDocker = []string{"is the docker daemon running"}
	noSwarm  = []string{"not a swarm manager", "not part of a swarm"}
	noObject = []string{"no such object", "no such container", "no such network", "not found"}
	noCRI    = []string{"unknown service runtime"}
	noAgent  = []string{`unknown command "bpf"`, `unknown command "service"`, `unknown command "endpoint"`}
	cilium   = []string{"cilium-dbg", "cilium"}
)

// table is all that is recorded, in this order: first what changes fastest.
// An item of it never needs another.
var table = []item{
	{name: "proc-net-tcp", file: "net/tcp", why: "TCP sockets over IPv4 as the kernel lists them: who holds which connection.", deadline: slow, limit: 256 * mib},
	{name: "proc-net-tcp6", file: "net/tcp6", why: "TCP sockets over IPv6, and those of servers that accept both.", deadline: slow, limit: 256 * mib},
	{name: "proc-net-udp", file: "net/udp", why: "UDP sockets over IPv4: the client's end of DNS and QUIC.", deadline: slow, limit: 256 * mib},
	{name: "proc-net-udp6", file: "net/udp6", why: "UDP sockets over IPv6.", deadline: slow, limit: 256 * mib},
	{name: "proc-net-nf_conntrack", file: "net/nf_conntrack", why: "The table of tracked connections: it names the backend behind a NAT.", deadline: slow, limit: 256 * mib},
	{name: "proc-net-ip_vs", file: "net/ip_vs", why: "The services of IPVS and the backends they may choose.", deadline: slow, limit: 64 * mib},
	{name: "proc-net-ip_vs_conn", file: "net/ip_vs_conn", why: "The connections of IPVS: it names the backend of each.", deadline: slow, limit: 256 * mib},

	{name: "ss-tanpie", tools: []string{"ss"}, args: []string{"-tanpie"}, version: "-V", gate: needs("tcp_diag", "proc-net-tcp has the same sockets"),
		why: "TCP sockets with process, inode, cookie and byte counters, which tell two legs of a proxy apart.", deadline: slow, limit: 256 * mib},
	{name: "ss-uanpe", tools: []string{"ss"}, args: []string{"-uanpe"}, version: "-V", gate: needs("udp_diag", "proc-net-udp has the same sockets"),
		why: "UDP sockets with process and inode.", deadline: slow, limit: 256 * mib},
	{name: "netstat-anp", tools: []string{"netstat"}, args: []string{"-anp"}, version: "-V",
		why: "Sockets with their process, also where ss is not installed.", deadline: slow, limit: 256 * mib},
	{name: "conntrack-L", tools: []string{"conntrack"}, args: []string{"-L", "-o", "extended,id"}, version: "-V", gate: needsConntrack,
		why: "Tracked connections with their ids, also where /proc does not show them.", deadline: slow, limit: 256 * mib},
	{name: "ipvsadm-Lnc", tools: []string{"ipvsadm"}, args: []string{"-Lnc"}, gate: needsIPVS,
		why: "Connections of IPVS in readable form.", deadline: slow, limit: 256 * mib},
	{name: "ipvsadm-Ln", tools: []string{"ipvsadm"}, args: []string{"-Ln"}, gate: needsIPVS,
		why: "Services of IPVS with weights and counts of connections.", deadline: quick, limit: 64 * mib},

	{name: "iptables-save", tools: []string{"iptables-save"}, args: []string{"-c"}, version: "-V", gate: needsRules("ip_tables_names"),
		why: "The rules that choose a backend (kube-proxy, docker), with how often each was used.", deadline: slow, limit: 64 * mib},
	{name: "ip6tables-save", tools: []string{"ip6tables-save"}, args: []string{"-c"}, version: "-V", gate: needsRules("ip6_tables_names"),
		why: "The same rules for IPv6.", deadline: slow, limit: 64 * mib},
	{name: "iptables-legacy-save", tools: []string{"iptables-legacy-save"}, args: []string{"-c"}, version: "-V", gate: needsLegacyRules("ip_tables_names", "iptables-save"),
		why: "Rules of the older kernel tables, which a newer iptables-save does not show.", deadline: slow, limit: 64 * mib},
	{name: "ip6tables-legacy-save", tools: []string{"ip6tables-legacy-save"}, args: []string{"-c"}, version: "-V", gate: needsLegacyRules("ip6_tables_names", "ip6tables-save"),
		why: "The same for IPv6.", deadline: slow, limit: 64 * mib},
	{name: "nft-list-ruleset", tools: []string{"nft"}, args: []string{"list", "ruleset"}, version: "-v", gate: needsNft,
		why: "The rules of nf_tables, of kube-proxy in nftables mode and of Swarm's namespaces.", deadline: slow, limit: 64 * mib},

	{name: "ip-addr", tools: []string{"ip"}, args: []string{"addr"}, version: "-V",
		why: "The addresses of this namespace: which end of a connection is here.", deadline: quick, limit: 16 * mib},
	{name: "ip-route", tools: []string{"ip"}, args: []string{"route", "show", "table", "all"}, version: "-V",
		why: "Where packets for a backend leave, and which addresses are local.", deadline: quick, limit: 64 * mib},
	{name: "ip-neigh", tools: []string{"ip"}, args: []string{"neigh"}, version: "-V",
		why: "Which neighbour answers for an address: a backend that moved shows here.", deadline: quick, limit: 16 * mib},
	{name: "lsns", tools: []string{"lsns"}, args: []string{"-t", "net", "-o", "NS,TYPE,NPROCS,PID,USER,NETNSID,NSFS"}, version: "-V", scope: onHost,
		why: "The network namespaces of the host and a process in each, without its command line.", deadline: quick, limit: 16 * mib},

	{name: "docker-ps", tools: []string{"docker"}, args: []string{"-H", dockerSocket, "ps", "--no-trunc", "--format", dockerPs}, version: "-v", scope: onHost,
		gate: needsDocker, absent: noDocker, why: "The containers that run here, without their command lines.", deadline: 10 * time.Second, limit: 16 * mib},
	{name: "docker-inspect", tools: []string{"docker"}, args: []string{"-H", dockerSocket, "inspect", "--type", "container", "--format", dockerInspect},
		each: []string{"-H", dockerSocket, "ps", "-q", "--no-trunc"}, version: "-v", scope: onHost, gate: needsDocker, absent: append(noDocker, noObject...),
		why: "Which container has which address, process and namespace; no environment, no command line.", deadline: 10 * time.Second, limit: 64 * mib},
	{name: "docker-network-inspect", tools: []string{"docker"}, args: []string{"-H", dockerSocket, "network", "inspect", "-v"},
		each: []string{"-H", dockerSocket, "network", "ls", "-q", "--no-trunc"}, version: "-v", scope: onHost, gate: needsDocker, absent: append(noDocker, noObject...),
		why: "Swarm's services, their virtual addresses and tasks, also those on other hosts.", deadline: 10 * time.Second, limit: 64 * mib},
	{name: "docker-node-ls", tools: []string{"docker"}, args: []string{"-H", dockerSocket, "node", "ls"}, version: "-v", scope: onHost,
		gate: needsDocker, absent: append(noDocker, noSwarm...), why: "The nodes of the Swarm, and which is down.", deadline: 10 * time.Second, limit: 16 * mib},
	{name: "docker-service-ls", tools: []string{"docker"}, args: []string{"-H", dockerSocket, "service", "ls"}, version: "-v", scope: onHost,
		gate: needsDocker, absent: append(noDocker, noSwarm...), why: "The services of the Swarm with their published ports.", deadline: 10 * time.Second, limit: 16 * mib},
	{name: "crictl-pods", tools: []string{"crictl"}, args: []string{"pods", "--no-trunc"}, version: "-v", scope: onHost, gate: needsCRI, absent: noCRI,
		why: "The pods of this node.", deadline: 10 * time.Second, limit: 16 * mib},
	{name: "crictl-ps", tools: []string{"crictl"}, args: []string{"ps", "--no-trunc"}, version: "-v", scope: onHost, gate: needsCRI, absent: noCRI,
		why: "The containers of these pods.", deadline: 10 * time.Second, limit: 16 * mib},

	{name: "cilium-bpf-ct-list-global", tools: cilium, args: []string{"bpf", "ct", "list", "global"}, scope: onHost, gate: needsCiliumMaps, absent: noAgent,
		why: "Cilium's table of connections: it names the backend of each.", deadline: slow, limit: 256 * mib},
	{name: "cilium-bpf-nat-list", tools: cilium, args: []string{"bpf", "nat", "list"}, scope: onHost, gate: needsCiliumMaps, absent: noAgent,
		why: "Which addresses Cilium rewrites on the way out.", deadline: slow, limit: 256 * mib},
	{name: "cilium-bpf-lb-list", tools: cilium, args: []string{"bpf", "lb", "list"}, scope: onHost, gate: needsCiliumMaps, absent: noAgent,
		why: "Cilium's services and backends as the datapath has them.", deadline: quick, limit: 64 * mib},
	{name: "cilium-bpf-lb-list-backends", tools: cilium, args: []string{"bpf", "lb", "list", "--backends"}, scope: onHost, gate: needsCiliumMaps, absent: noAgent,
		why: "The backends by the ids that the table of connections names.", deadline: quick, limit: 64 * mib},
	{name: "cilium-bpf-lb-list-revnat", tools: cilium, args: []string{"bpf", "lb", "list", "--revnat"}, scope: onHost, gate: needsCiliumMaps, absent: noAgent,
		why: "The services by the ids that the table of connections names.", deadline: quick, limit: 64 * mib},
	{name: "cilium-service-list", tools: cilium, args: []string{"service", "list"}, scope: onHost, gate: needsCiliumAgent, absent: noAgent,
		why: "Cilium's services as the agent means them.", deadline: quick, limit: 64 * mib},
	{name: "cilium-endpoint-list", tools: cilium, args: []string{"endpoint", "list"}, scope: onHost, gate: needsCiliumAgent, absent: noAgent,
		why: "The pods of this node with their addresses.", deadline: quick, limit: 16 * mib},

	{name: "uname", tools: []string{"uname"}, args: []string{"-a"}, scope: onHost,
		why: "The kernel, whose version decides how its tables are to be read.", deadline: quick, limit: mib},
}

func (o *Options) items() []item {
	if o.table != nil {
		return o.table
	}
	return table
}

// find tells which command an item runs here, or why it is not even begun.
func (it *item) find(h *host) (exe, because, detail string) {
	if it.file != "" {
		f, err := os.Open(h.file("proc", it.file))
		if err != nil {
			because, detail = it.judge(ended{err: err}, 0)
			return "", because, detail
		}
		f.Close()
		return "", "", ""
	}
	for _, t := range it.tools {
		if exe = h.lookup(t); exe != "" {
			break
		}
	}
	if exe == "" {
		return "", notFound, strings.Join(it.tools, " or ") + ": not on PATH; install it to have this"
	}
	if it.gate != nil {
		because, detail = it.gate(h, exe)
	}
	return exe, because, detail
}

// judge puts what became of an item into the words of the bundle format;
// because is "" when all is well. Size is what was recorded of it.
func (it *item) judge(e ended, size int64) (because, detail string) {
	kept := ""
	if size > 0 {
		kept = fmt.Sprintf("; the %d bytes that it gave are recorded", size)
	}
	switch {
	case e.cut:
		return tooLarge, fmt.Sprintf("cut at a line before %d bytes", it.limit) + kept
	case e.timeout:
		return timedOut, "stopped at its deadline, of " + it.deadline.String() + " or what --timeout left" + kept
	case errors.Is(e.err, os.ErrNotExist) && it.file != "":
		return notFound, "/proc/" + it.file + ": the kernel does not have it, or its module is not loaded"
	case errors.Is(e.err, os.ErrPermission) && it.file != "":
		return permission, "/proc/" + it.file + ": only root may read it; run as root"
	case errors.Is(e.err, os.ErrPermission):
		return permission, plain(e.err.Error()) + kept
	case e.err != nil:
		return failed, plain(e.err.Error()) + kept
	case e.none:
		return notFound, "there is none here"
	case e.exit == 0:
		return "", ""
	}
	detail = fmt.Sprintf("exit %d: %s", e.exit, plain(e.said)) + kept
	said := strings.ToLower(e.said)
	switch {
	case contains(said, it.absent):
		return notFound, detail
	case contains(said, []string{"permission denied", "not permitted", "be root", "as root", "root privileges"}):
		return permission, detail
	}
	return failed, detail
}

func contains(s string, any []string) bool {
	for _, a := range any {
		if strings.Contains(s, strings.ToLower(a)) {
			return true
		}
	}
	return false
}

// plain makes one short line of what a command said.
func plain(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f && c < 0xa0 {
			return -1
		}
		return c
	}, s)
	if r := []rune(s); len(r) > 300 {
		s = string(r[:300]) + " ..."
	}
	if s == "" {
		s = "it did not say why"
	}
	return s
}

// Step is what a dry run tells of one item.
type Step struct {
	Name     string // of its file in the bundle
	How      string // the file that is read, or the command that is run
	Why      string
	Deadline time.Duration
	Limit    int64 // in bytes
	// Because and Detail say, as in a manifest, why it would not be recorded
	// now. They are "" when it would.
	Because, Detail string
}

// Plan lists every item of the table and what would come of it now. It runs
// nothing. Place is the folder of the bundle that the host's items go to.
func Plan(o Options) (place string, steps []Step) {
	h := newHost(o)
	items := o.items()
	for i := range items {
		it := &items[i]
		s := Step{Name: filepath.Join(h.place(it.scope), it.name+".txt"), Why: it.why, Deadline: it.deadline, Limit: it.limit}
		var exe string
		exe, s.Because, s.Detail = it.find(h)
		switch {
		case it.file != "":
			s.How = "/proc/" + it.file
		case exe != "":
			s.How = quoted(append([]string{filepath.Base(exe)}, it.args...))
		default:
			s.How = quoted(append([]string{it.tools[0]}, it.args...))
		}
		if it.each != nil {
			s.How += " $(" + quoted(append([]string{it.tools[0]}, it.each...)) + ")"
		}
		steps = append(steps, s)
	}
	return h.dir, steps
}

// quoted writes a command as a shell reads it.
func quoted(words []string) string {
	q := make([]string, len(words))
	for i, w := range words {
		if strings.ContainsAny(w, " {}$\"\\'|*") {
			w = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		q[i] = w
	}
	return strings.Join(q, " ")
}
