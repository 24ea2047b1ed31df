package collect

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"whichbackend/collect/cilium"
	"whichbackend/collect/docker"
	"whichbackend/collect/kernel"
)

const (
	mib   = 1 << 20
	quick = 5 * time.Second
	slow  = 20 * time.Second // tables that grow with the connections
)

var noCRI = []string{"unknown service runtime"}

const (
	rowOfSockets   = 420 // bytes, as measured: TCP with its counters
	rowOfConntrack = 200
)

// table is all that is recorded. Within a phase it goes namespace by namespace,
// in this order.
var table = []item{
	{name: "ss-tanpie", when: first, args: []string{"ss", "-tanpie"}, kernel: tcp, gate: needs("tcp_diag", "proc-net-tcp has the same sockets"),
		why: "TCP sockets with process, inode, cookie and byte counters, which tell two legs of a proxy apart.", deadline: slow, limit: 512 * mib, row: rowOfSockets, count: countTCP},
	{name: "proc-net-tcp", when: first, file: "thread-self/net/tcp", unless: "ss-tanpie", why: "TCP sockets over IPv4, where the kernel does not give more.", deadline: slow, limit: 256 * mib},
	{name: "proc-net-tcp6", when: first, file: "thread-self/net/tcp6", unless: "ss-tanpie", why: "TCP sockets over IPv6, and those of servers that accept both.", deadline: slow, limit: 256 * mib},
	{name: "conntrack-L", when: first, args: []string{"conntrack", "-L", "-o", "extended,id"}, kernel: conntrack, gate: needsConntrack,
		why: "The table of tracked connections: it names the backend behind a NAT.", deadline: slow, limit: 512 * mib, row: rowOfConntrack, count: countConntrack},
	{name: "proc-net-nf_conntrack", when: first, file: "thread-self/net/nf_conntrack", unless: "conntrack-L", why: "Tracked connections, where netlink does not give them.", deadline: slow, limit: 512 * mib},
	{name: "ipvsadm-Lnc", when: first, args: []string{"ipvsadm", "-Lnc"}, kernel: ipvsConnections, gate: needsIPVS,
		why: "The connections of IPVS: it names the backend of each.", deadline: slow, limit: 256 * mib},
	{name: "ipvsadm-Ln", when: first, args: []string{"ipvsadm", "-Ln"}, kernel: ipvsServices, gate: needsIPVS,
		why: "The services of IPVS and the backends they may choose, with weights and counts of connections.", deadline: quick, limit: 64 * mib},
	{name: "proc-net-ip_vs", when: first, file: "thread-self/net/ip_vs", unless: "ipvsadm-Ln", why: "The services of IPVS, where netlink does not give them.", deadline: quick, limit: 64 * mib},
	{name: "ss-uanpe", when: first, args: []string{"ss", "-uanpe"}, kernel: udp, gate: needs("udp_diag", "proc-net-udp has the same sockets"),
		why: "UDP sockets with process and inode: the client's end of DNS and QUIC.", deadline: slow, limit: 256 * mib},
	{name: "proc-net-udp", when: first, file: "thread-self/net/udp", unless: "ss-uanpe", why: "UDP sockets over IPv4, where the kernel does not give more.", deadline: slow, limit: 256 * mib},
	{name: "proc-net-udp6", when: first, file: "thread-self/net/udp6", unless: "ss-uanpe", why: "UDP sockets over IPv6.", deadline: slow, limit: 256 * mib},

	{name: "cilium-bpf-ct-list-global", when: first, scope: onHost, args: []string{"cilium-dbg", "bpf", "ct", "list", "global"}, kernel: ciliumMaps((*cilium.Datapath).Connections), gate: needsCiliumMaps,
		why: "The connections of Cilium's datapath: which backend a service chose for each.", deadline: slow, limit: 512 * mib},
	{name: "cilium-bpf-nat-list", when: first, scope: onHost, args: []string{"cilium-dbg", "bpf", "nat", "list"}, kernel: ciliumMaps((*cilium.Datapath).NAT), gate: needsCiliumMaps,
		why: "The addresses that Cilium's datapath rewrites: what a backend on another node sees of the client.", deadline: slow, limit: 512 * mib},

	{name: "proxies", when: then, args: []string{"GET of the admin endpoints of Envoy and ztunnel, and the end of their access logs"}, many: proxies,
		why: "Which listener of a proxy leads to which cluster, its endpoints and their connections; what ztunnel holds; rows of access logs. Without secrets.", deadline: 60 * time.Second, limit: 512 * mib},
	{name: "ip-addr", when: then, args: []string{"ip", "addr"}, kernel: addresses,
		why: "The addresses of a namespace: which end of a connection is here.", deadline: quick, limit: 16 * mib},
	{name: "ip-route", when: then, args: []string{"ip", "route", "show", "table", "all"}, kernel: routes,
		why: "Where packets for a backend leave, and which addresses are local.", deadline: quick, limit: 64 * mib},
	{name: "ip-rule", when: then, args: []string{"ip", "rule"}, kernel: rules,
		why: "Which packets take another table of routes, as those to a transparent proxy do.", deadline: quick, limit: 16 * mib},
	{name: "ip-neigh", when: then, args: []string{"ip", "neigh"}, kernel: neighbours,
		why: "Which neighbour answers for an address: a backend that moved shows here.", deadline: quick, limit: 16 * mib},
	{name: "conntrack-S", when: then, args: []string{"conntrack", "-S"}, kernel: conntrackStats, gate: needsConntrack,
		why: "What connection tracking dropped or could not insert: connections that a NAT lost.", deadline: quick, limit: mib},
	{name: "proc-net-stat-nf_conntrack", when: then, file: "thread-self/net/stat/nf_conntrack", unless: "conntrack-S", why: "The same, where netlink does not give it.", deadline: quick, limit: mib},
	{name: "sysctl-net", when: then, args: []string{"sysctl", "-a", "-r", sysctlPattern}, kernel: settings, gate: needsSysctl,
		why: "How full the table of tracked connections is and may be, its timeouts, the range of source ports.", deadline: quick, limit: mib},
	{name: "iptables-save", when: then, tools: []string{"iptables-save"}, args: []string{"-c"}, version: "-V", gate: needsRules("ip_tables_names"),
		why: "The rules that choose a backend (kube-proxy, docker), with how often each was used.", deadline: slow, limit: 64 * mib},
	{name: "ip6tables-save", when: then, tools: []string{"ip6tables-save"}, args: []string{"-c"}, version: "-V", gate: needsRules("ip6_tables_names"),
		why: "The same rules for IPv6.", deadline: slow, limit: 64 * mib},
	{name: "iptables-legacy-save", when: then, tools: []string{"iptables-legacy-save"}, args: []string{"-c"}, version: "-V", gate: needsLegacyRules("ip_tables_names", "iptables-save"),
		why: "Rules of the older kernel tables, which a newer iptables-save does not show.", deadline: slow, limit: 64 * mib},
	{name: "ip6tables-legacy-save", when: then, tools: []string{"ip6tables-legacy-save"}, args: []string{"-c"}, version: "-V", gate: needsLegacyRules("ip6_tables_names", "ip6tables-save"),
		why: "The same for IPv6.", deadline: slow, limit: 64 * mib},
	{name: "nft-list-ruleset", when: then, tools: []string{"nft"}, args: []string{"list", "ruleset"}, version: "-v", gate: needsNft, usual: []string{"is managed by iptables-nft, do not touch"},
		why: "The rules of nf_tables, of kube-proxy in nftables mode and of Swarm's namespaces.", deadline: slow, limit: 64 * mib},

	{name: "docker-ps", when: then, scope: onHost, args: []string{"docker", "ps", "--no-trunc"}, many: dockerFile((*docker.Client).Ps), gate: needsDocker,
		why: "The containers that run here, without their command lines.", deadline: 10 * time.Second, limit: 64 * mib},
	{name: "docker-inspect", when: then, scope: onHost, args: []string{"docker", "inspect"}, many: dockerFile((*docker.Client).Containers), gate: needsDocker,
		why: "Which container has which address, process and namespace; no environment, no command line.", deadline: 10 * time.Second, limit: 64 * mib},
	{name: "docker-network-inspect", when: then, scope: onHost, args: []string{"docker", "network", "inspect", "-v"}, many: dockerFile((*docker.Client).Networks), gate: needsDocker,
		why: "Swarm's services, their virtual addresses and tasks, also those on other hosts.", deadline: 10 * time.Second, limit: 64 * mib},
	{name: "docker-node-ls", when: then, scope: onHost, args: []string{"docker", "node", "ls"}, many: dockerFile((*docker.Client).NodeTable), gate: needsDocker,
		why: "The nodes of the Swarm, and which is down.", deadline: 10 * time.Second, limit: 16 * mib},
	{name: "docker-node-inspect", when: then, scope: onHost, args: []string{"docker", "node", "inspect"}, many: dockerFile((*docker.Client).Nodes), gate: needsDocker,
		why: "The addresses of the Swarm's nodes, which packets between hosts carry.", deadline: 10 * time.Second, limit: 16 * mib},
	{name: "docker-service-ls", when: then, scope: onHost, args: []string{"docker", "service", "ls"}, many: dockerFile((*docker.Client).ServiceTable), gate: needsDocker,
		why: "The services of the Swarm with their published ports.", deadline: 10 * time.Second, limit: 16 * mib},
	{name: "docker-service-inspect", when: then, scope: onHost, args: []string{"docker", "service", "inspect"}, many: dockerFile((*docker.Client).Services), gate: needsDocker,
		why: "The virtual addresses of the Swarm's services on every network; no environment, no arguments.", deadline: 10 * time.Second, limit: 64 * mib},
	{name: "docker-task-inspect", when: then, scope: onHost, args: []string{"docker", "inspect", "--type", "task"}, many: dockerFile((*docker.Client).Tasks), gate: needsDocker,
		why: "Which task runs on which node under which address, also on other hosts.", deadline: 10 * time.Second, limit: 64 * mib},
	{name: "cilium-bpf-lb-list", when: then, scope: onHost, args: []string{"cilium-dbg", "bpf", "lb", "list"}, kernel: ciliumMaps((*cilium.Datapath).Services), gate: needsCiliumMaps,
		why: "The services of Cilium's datapath and the backends they may choose.", deadline: slow, limit: 128 * mib},
	{name: "cilium-bpf-lb-list-frontends", when: then, scope: onHost, args: []string{"cilium-dbg", "bpf", "lb", "list", "--frontends"}, kernel: ciliumMaps((*cilium.Datapath).Frontends), gate: needsCiliumMaps,
		why: "The same services with the numbers of their backends, which connections carry.", deadline: slow, limit: 128 * mib},
	{name: "cilium-bpf-lb-list-backends", when: then, scope: onHost, args: []string{"cilium-dbg", "bpf", "lb", "list", "--backends"}, kernel: ciliumMaps((*cilium.Datapath).Backends), gate: needsCiliumMaps,
		why: "Which number is which backend.", deadline: slow, limit: 128 * mib},
	{name: "cilium-bpf-lb-list-revnat", when: then, scope: onHost, args: []string{"cilium-dbg", "bpf", "lb", "list", "--revnat"}, kernel: ciliumMaps((*cilium.Datapath).RevNAT), gate: needsCiliumMaps,
		why: "Which number is which service.", deadline: slow, limit: 128 * mib},
	{name: "cilium-bpf-endpoint-list", when: then, scope: onHost, args: []string{"cilium-dbg", "bpf", "endpoint", "list"}, kernel: ciliumMaps((*cilium.Datapath).Endpoints), gate: needsCiliumMaps,
		why: "The endpoints of this node, their interfaces and identities.", deadline: slow, limit: 128 * mib},
	{name: "cilium-bpf-ipcache-list", when: then, scope: onHost, args: []string{"cilium-dbg", "bpf", "ipcache", "list"}, kernel: ciliumMaps((*cilium.Datapath).IPCache), gate: needsCiliumMaps,
		why: "Which node an address of a pod is on.", deadline: slow, limit: 128 * mib},
	{name: "cilium-endpoint-list", when: then, scope: onHost, args: []string{"cilium-dbg", "endpoint", "list", "-o", "json"}, many: ciliumAgent((*cilium.Agent).Endpoints), gate: needsCiliumAgent,
		why: "Which pod an endpoint of this node is; no labels.", deadline: slow, limit: 256 * mib},
	{name: "cilium-service-list", when: then, scope: onHost, args: []string{"cilium-dbg", "service", "list", "-o", "json"}, many: ciliumAgent((*cilium.Agent).Services), gate: needsCiliumAgent,
		why: "The services as Cilium's agent has them, with their names.", deadline: slow, limit: 256 * mib},
	{name: "cilium-node-list", when: then, scope: onHost, args: []string{"cilium-dbg", "node", "list", "-o", "json"}, many: ciliumAgent((*cilium.Agent).Nodes), gate: needsCiliumAgent,
		why: "The nodes of the cluster and their addresses.", deadline: slow, limit: 256 * mib},
	{name: "cilium-ip-list", when: then, scope: onHost, args: []string{"cilium-dbg", "ip", "list", "-o", "json"}, many: ciliumAgent((*cilium.Agent).Addresses), gate: needsCiliumAgent,
		why: "Which pod has which address, also on other nodes; no labels.", deadline: slow, limit: 256 * mib},
	{name: "crictl-pods", when: then, scope: onHost, tools: []string{"crictl"}, args: []string{"pods", "--no-trunc"}, version: "-v", gate: needsCRI, absent: noCRI,
		why: "The pods of this node.", deadline: 10 * time.Second, limit: 16 * mib},
	{name: "crictl-ps", when: then, scope: onHost, tools: []string{"crictl"}, args: []string{"ps", "--no-trunc"}, version: "-v", gate: needsCRI, absent: noCRI,
		why: "The containers of these pods.", deadline: 10 * time.Second, limit: 16 * mib},

	{name: "ss-tanpie.end", when: last, args: []string{"ss", "-tanpie"}, kernel: tcp, gate: needs("tcp_diag", "proc-net-tcp.end has the same sockets"),
		why: "The TCP sockets once more at the end: which connections lived through the recording.", deadline: slow, limit: 512 * mib, row: rowOfSockets, count: countTCP},
	{name: "proc-net-tcp.end", when: last, file: "thread-self/net/tcp", unless: "ss-tanpie.end", why: "The same, where the kernel does not give more.", deadline: slow, limit: 256 * mib},
	{name: "proc-net-tcp6.end", when: last, file: "thread-self/net/tcp6", unless: "ss-tanpie.end", why: "The same over IPv6.", deadline: slow, limit: 256 * mib},
}

func tcp(e *env) (io.ReadCloser, error)           { return kernel.TCPSockets(e.r.processes) }
func udp(e *env) (io.ReadCloser, error)           { return kernel.UDPSockets(e.r.processes) }
func conntrack(*env) (io.ReadCloser, error)       { return kernel.Conntrack() }
func conntrackStats(*env) (io.ReadCloser, error)  { return kernel.ConntrackStats() }
func ipvsServices(*env) (io.ReadCloser, error)    { return kernel.IPVSServices() }
func ipvsConnections(*env) (io.ReadCloser, error) { return kernel.IPVSConnections() }
func addresses(*env) (io.ReadCloser, error)       { return kernel.Addresses() }
func routes(*env) (io.ReadCloser, error)          { return kernel.Routes() }
func rules(*env) (io.ReadCloser, error)           { return kernel.Rules() }
func neighbours(*env) (io.ReadCloser, error)      { return kernel.Neighbours() }

// countConntrack is the kernel's own count.
func countConntrack(*env) (int64, error) {
	n, err := kernel.ConntrackCount()
	return int64(n), err
}

// countTCP adds up what the kernel counts of TCP: IPv4 and IPv6 in use, and in
// TIME_WAIT.
func countTCP(e *env) (n int64, err error) {
	for _, file := range []string{"sockstat", "sockstat6"} {
		b, err := os.ReadFile(e.host.net(file))
		if err != nil {
			return 0, err
		}
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if len(f) < 3 || f[0] != "TCP:" && f[0] != "TCP6:" {
				continue
			}
			for i := 1; i+1 < len(f); i += 2 {
				if f[i] != "inuse" && f[i] != "tw" {
					continue
				}
				v, err := strconv.ParseInt(f[i+1], 10, 64)
				if err != nil {
					return 0, fmt.Errorf("%s: %w", file, err)
				}
				n += v
			}
		}
	}
	return n, nil
}

func (o *Options) items() []item {
	if o.table != nil {
		return o.table
	}
	return table
}

// find tells which command an item runs here, or why it is not even begun.
func (it *item) find(h *host) (exe, because, detail string) {
	switch {
	case it.file != "":
		f, err := os.Open(h.file("proc", it.file))
		if err != nil {
			because, detail = it.judge(ended{err: err}, 0)
			return "", because, detail
		}
		f.Close()
		return "", "", ""
	case it.tools != nil:
		for _, t := range it.tools {
			if exe = h.lookup(t); exe != "" {
				break
			}
		}
		if exe == "" {
			return "", notFound, strings.Join(it.tools, " or ") + ": not on PATH; install it to have this"
		}
	}
	if it.gate != nil {
		because, detail = it.gate(h, exe)
	}
	return exe, because, detail
}

// how tells a person how an item is recorded.
func (it *item) how(exe string) string {
	switch {
	case it.file != "":
		return "/proc/" + it.file
	case it.kernel != nil && it.args[0] == "cilium-dbg":
		return "pinned BPF maps, as " + quoted(it.args) + " prints them"
	case it.kernel != nil:
		return "netlink, as " + quoted(it.args) + " prints it"
	case it.many != nil:
		return strings.Join(it.args, " ")
	case exe == "":
		exe = it.tools[0]
	}
	return quoted(append([]string{filepath.Base(exe)}, it.args...))
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
