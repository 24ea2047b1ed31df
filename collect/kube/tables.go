package kube

import (
	"context"
	"path"
	"slices"
	"strings"
)

// nodeTables are read through the pod of kube-proxy, which shares the network
// of its node and has these tools for its own use: what they ask the kernel
// for, kube-proxy has asked for before.
var nodeTables = []item{
	{name: "conntrack-L", why: "Tracked connections: they name the backend behind a service.", args: []string{"conntrack", "-L", "-o", "extended,id"}, limit: 256 * mib,
		or: &item{name: "proc-net-nf_conntrack", why: "Tracked connections, where kube-proxy's image has no conntrack.", args: []string{"cat", "/proc/net/nf_conntrack"}, limit: 256 * mib}},
	{name: "iptables-save", why: "The rules with which kube-proxy chooses a backend.", args: []string{"iptables-save", "-c"}, limit: 64 * mib},
	{name: "ip6tables-save", why: "The same rules for IPv6.", args: []string{"ip6tables-save", "-c"}, limit: 64 * mib},
	{name: "nft-list-ruleset", why: "The rules of kube-proxy in nftables mode.", args: []string{"nft", "list", "ruleset"}, limit: 64 * mib},
}

// nodeFiles are files of the kernel that are there or not.
var nodeFiles = []item{
	{name: "proc-net-tcp", why: "TCP sockets of the node and of pods in its network.", args: []string{"cat", "/proc/net/tcp"}, limit: 256 * mib},
	{name: "proc-net-tcp6", why: "The same over IPv6.", args: []string{"cat", "/proc/net/tcp6"}, limit: 256 * mib},
	{name: "proc-net-udp", why: "UDP sockets of the node.", args: []string{"cat", "/proc/net/udp"}, limit: 256 * mib},
	{name: "proc-net-udp6", why: "The same over IPv6.", args: []string{"cat", "/proc/net/udp6"}, limit: 256 * mib},
	{name: "proc-net-ip_vs", why: "The services of IPVS, where kube-proxy uses that.", args: []string{"cat", "/proc/net/ip_vs"}, limit: 64 * mib},
	{name: "proc-net-ip_vs_conn", why: "The connections of IPVS.", args: []string{"cat", "/proc/net/ip_vs_conn"}, limit: 256 * mib},
}

// ciliumTables are read through Cilium's agent; the first word is the name that
// the program has since version 1.15.
var ciliumTables = []item{
	{name: "cilium-bpf-ct-list-global", why: "Cilium's table of connections: it names the backend of each.", args: []string{"cilium-dbg", "bpf", "ct", "list", "global"}, limit: 256 * mib},
	{name: "cilium-bpf-nat-list", why: "Which addresses Cilium rewrites on the way out.", args: []string{"cilium-dbg", "bpf", "nat", "list"}, limit: 256 * mib},
	{name: "cilium-bpf-lb-list", why: "Cilium's services and backends as the datapath has them.", args: []string{"cilium-dbg", "bpf", "lb", "list"}, limit: 64 * mib},
	{name: "cilium-bpf-lb-list-backends", why: "The backends by the numbers that the table of connections has.", args: []string{"cilium-dbg", "bpf", "lb", "list", "--backends"}, limit: 64 * mib},
	{name: "cilium-bpf-lb-list-revnat", why: "The services by the numbers that the table of connections has.", args: []string{"cilium-dbg", "bpf", "lb", "list", "--revnat"}, limit: 64 * mib},
	{name: "cilium-service-list", why: "Cilium's services as the agent means them.", args: []string{"cilium-dbg", "service", "list"}, limit: 64 * mib},
	{name: "cilium-endpoint-list", why: "The pods of the node with their addresses.", args: []string{"cilium-dbg", "endpoint", "list"}, limit: 16 * mib},
}

// on finds the pod on a node that runs a container of this name.
func (c *cluster) on(node, container string) *pod {
	var found *pod
	for _, p := range c.pods {
		if p.node == node && p.running && p.has(container) && p.hostNetwork && (found == nil || p.id.String() < found.id.String()) {
			found = p
		}
	}
	return found
}

// tables records the tables of a node through the pods that are there. Cilium's
// agent is asked even when an agent of ours was there: its program is nowhere
// else.
func (r *recorder) tables(ctx context.Context, c *cluster, node string, brought bool) {
	cilium, proxy := c.on(node, ciliumAgent), c.on(node, kubeProxy)
	if cilium != nil {
		r.cilium(ctx, cilium)
	}
	switch {
	case brought:
	case proxy != nil:
		r.throughProxy(ctx, proxy)
	default:
		because := failed
		if cilium != nil {
			because = notFound
		}
		r.missing(node, "connection table, rules and sockets of the node", because,
			"no pod of kube-proxy runs there to read them through"+r.advise("them"))
	}
}

// cilium asks Cilium's agent, whose program was named cilium before version 1.15.
func (r *recorder) cilium(ctx context.Context, p *pod) {
	f := folder(p.node)
	older := false
	for _, it := range ciliumTables {
		if r.has(path.Join(f, it.name+".txt")) {
			continue
		}
		if !older {
			o := r.try(ctx, p, ciliumAgent, f, it)
			if older = o.noTool(); !older {
				r.lost(p, f, it, o)
				continue
			}
		}
		it.args = append([]string{"cilium"}, it.args[1:]...)
		r.item(ctx, p, ciliumAgent, f, it)
	}
}

// lost notes what became of an item when that is not all well.
func (r *recorder) lost(p *pod, folder string, it item, o outcome) {
	if o.good() {
		return
	}
	because, detail := o.judge(call{deadline: slow, limit: it.limit})
	r.missing(p.node, what(p, folder, it), because, detail)
}

// throughProxy reads a node through its kube-proxy. nft would make the kernel
// load nf_tables, so it is run only where iptables says that it works on that.
func (r *recorder) throughProxy(ctx context.Context, p *pod) {
	f := folder(p.node)
	nft := false
	for _, it := range append(slices.Clone(nodeTables), nodeFiles...) {
		if it.args[0] == "nft" && !nft {
			r.missing(p.node, it.name, excluded, "iptables there does not work on nf_tables, which nft would load")
			continue
		}
		o := r.try(ctx, p, kubeProxy, f, it)
		if o.noTool() && it.or != nil {
			it = *it.or
			o = r.try(ctx, p, kubeProxy, f, it)
		}
		switch {
		case o.noTool():
			r.missing(p.node, it.name, failed, "kube-proxy's image has no "+it.args[0]+r.advise("it"))
		case it.name == "proc-net-nf_conntrack" && o.noFile():
			r.missing(p.node, it.name, failed, "the kernel does not show its connections there, and kube-proxy's image has no conntrack"+r.advise("them"))
		default:
			r.lost(p, f, it, o)
		}
		if it.args[0] == "iptables-save" {
			nft = r.usesNft(ctx, p)
		}
	}
}

// usesNft asks iptables which of the two it is: iptables v1.8.9 (nf_tables).
func (r *recorder) usesNft(ctx context.Context, p *pod) bool {
	text, o := r.kubectl.text(ctx, call{args: p.exec(kubeProxy, "iptables", "-V"), deadline: quick, limit: mib})
	return o.good() && strings.Contains(text, "nf_tables")
}
