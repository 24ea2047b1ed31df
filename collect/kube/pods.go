package kube

import (
	"context"
	"path"
	"strings"
	"time"

	"whichbackend/collect/bundle"
)

// item is one thing to record in a container.
type item struct {
	name  string // of its file in the bundle, without .txt
	why   string
	args  []string
	limit int64
	or    *item // where the tool is not there, or does not know its option, as the netstat of some busyboxes
}

// The ways to the sockets of a pod, the best first. The files of the kernel
// have no processes, but nothing that netstat might have cut.
var (
	bySS = []item{
		{name: "ss-tanpie", why: "TCP sockets with process, inode and byte counters.", args: []string{"ss", "-tanpie"}, limit: 256 * mib},
		{name: "ss-uanpe", why: "UDP sockets with process and inode.", args: []string{"ss", "-uanpe"}, limit: 256 * mib},
	}
	byNetstat = []item{
		{name: "netstat-anp", why: "Sockets with their process.", args: []string{"netstat", "-anp"}, limit: 256 * mib,
			or: &item{name: "netstat-an", why: "Sockets.", args: []string{"netstat", "-an"}, limit: 256 * mib}},
	}
	byProc = []item{
		{name: "proc-net-tcp", why: "TCP sockets over IPv4 as the kernel lists them.", args: []string{"cat", "/proc/net/tcp"}, limit: 256 * mib},
		{name: "proc-net-tcp6", why: "TCP sockets over IPv6, and those of servers that accept both.", args: []string{"cat", "/proc/net/tcp6"}, limit: 256 * mib},
		{name: "proc-net-udp", why: "UDP sockets over IPv4.", args: []string{"cat", "/proc/net/udp"}, limit: 256 * mib},
		{name: "proc-net-udp6", why: "UDP sockets over IPv6.", args: []string{"cat", "/proc/net/udp6"}, limit: 256 * mib},
	}
)

// probe tells which tools a container has. ss makes the kernel load a module
// that is not there, so it is only used where that is loaded, or where the
// kernel has no modules at all.
const probe = `for t in ss netstat cat; do command -v $t >/dev/null 2>&1 && echo $t; done; ` +
	`for m in tcp_diag udp_diag; do [ -e /sys/module/$m ] && echo $m; done; [ -e /proc/modules ] || echo no-modules; :`

// ways gives what to run, from the words that the probe said.
func ways(said string) []item {
	has := map[string]bool{}
	for w := range strings.FieldsSeq(said) {
		has[w] = true
	}
	var list []item
	switch {
	case has["ss"] && (has["no-modules"] || has["tcp_diag"] && has["udp_diag"]):
		return bySS
	case has["cat"]:
		list = append(list, byProc...)
	}
	if has["netstat"] {
		list = append(list, byNetstat...)
	}
	return list
}

// sockets records the sockets of a pod through the first of its containers that
// has a way to list them: they share one network namespace.
func (r *recorder) sockets(ctx context.Context, p *pod) {
	var why []string
	because := failed
	for _, c := range p.containers {
		call := call{args: p.exec(c, "sh", "-c", probe), deadline: quick, limit: mib}
		said, o := r.kubectl.text(ctx, call)
		if o.good() {
			if list := ways(said); len(list) > 0 {
				r.items(ctx, p, c, p.folder(), list)
				return
			}
			why = append(why, c+": has none of ss, netstat and cat")
			continue
		}
		b, detail := o.judge(call)
		if o.noTool() {
			detail = "has no shell"
		} else {
			because = b
		}
		why = append(why, c+": "+detail)
		if ctx.Err() != nil || b == permission {
			break
		}
	}
	r.missing(p.node, "pods/"+p.id.String()+" sockets", because,
		strings.Join(why, "; ")+r.advise("them"))
}

// advise names the other way, unless it was tried.
func (r *recorder) advise(what string) string {
	if r.o.Agent != "" {
		return ""
	}
	return "; --node-agent IMAGE records " + what + " from the node"
}

// exec is kubectl exec in a container.
func (p *pod) exec(container string, command ...string) []string {
	return append([]string{"exec", "-n", p.id.Namespace, p.id.Name, "-c", container, "--"}, command...)
}

// items records what commands in a container print.
func (r *recorder) items(ctx context.Context, p *pod, container, folder string, list []item) {
	for _, it := range list {
		r.item(ctx, p, container, folder, it)
	}
}

// item records what a command in a container prints, or why not. It gives the
// outcome, for those who know another way.
func (r *recorder) item(ctx context.Context, p *pod, container, folder string, it item) outcome {
	o := r.try(ctx, p, container, folder, it)
	if it.or != nil && (o.noTool() || o.exit != 0 && contains(o.said, "invalid option", "unrecognized option")) {
		return r.item(ctx, p, container, folder, *it.or)
	}
	if c := (call{deadline: slow, limit: it.limit}); !o.good() {
		because, detail := o.judge(c)
		r.missing(p.node, what(p, folder, it), because, detail)
	}
	return o
}

func what(p *pod, folder string, it item) string {
	if folder == p.folder() {
		return "pods/" + p.id.String() + " " + it.name
	}
	return it.name
}

// try records what a command in a container prints. What it gave before it
// broke is recorded, whole lines of it, unless it is nothing: an empty file
// would say that the table is empty.
func (r *recorder) try(ctx context.Context, p *pod, container, folder string, it item) outcome {
	c := call{args: p.exec(container, it.args...), deadline: slow, limit: it.limit}
	a := bundle.Artifact{Path: path.Join(folder, it.name+".txt"), Command: append([]string{"kubectl"}, c.args...), Started: time.Now().UTC()}
	s, o := r.kubectl.run(ctx, c)
	if s == nil {
		return o
	}
	defer s.close()
	a.Took, a.Exit, a.Truncated = time.Since(a.Started).Round(time.Microsecond), o.exit, o.full || o.timeout
	if !o.good() {
		s.cut()
		if s.size == 0 || o.noTool() {
			return o
		}
		o.kept = s.size
	}
	r.add(a, s.reader())
	return o
}
