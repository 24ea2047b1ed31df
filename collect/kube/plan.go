package kube

import (
	"context"
	"strings"
)

// Step is a command that a run would run, as far as that can be told before.
type Step struct {
	Where   string // the folder of the bundle that what it prints goes to
	Command string
	Why     string
}

// Plan asks the cluster for its objects, as a run does, and lists what a run
// would do then. It runs nothing in the cluster and writes nothing.
func Plan(ctx context.Context, o Options) ([]Step, error) {
	k, err := newKubectl(&o)
	if err != nil {
		return nil, err
	}
	r := &recorder{o: o, kubectl: k, have: map[string]bool{}}
	c, err := r.objects(ctx)
	if err != nil {
		return nil, err
	}
	pods, nodes, err := o.choose(c)
	if err != nil {
		return nil, err
	}
	var p planner
	for _, q := range o.queries() {
		if q.when == "" || c.runs(q.when) {
			p.add("cluster", q.args(), q.why+" Only the fields that tell it are recorded.")
		}
	}
	agents := r.newAgents(c)
	for _, n := range nodes {
		p.node(c, n, pods, agents)
		for _, pod := range pods {
			if pod.node == n {
				p.pod(pod, agents != nil)
			}
		}
	}
	return p.steps, nil
}

type planner struct{ steps []Step }

func (p *planner) add(where string, args []string, why string) {
	p.steps = append(p.steps, Step{where, quoted(append([]string{"kubectl"}, args...)), why})
}

func (p *planner) node(c *cluster, name string, chosen []*pod, agents *agents) {
	f := folder(name)
	if agents != nil {
		pod := agents.pod(name)
		program := agentFolder + "/" + agentProgram
		p.add(f, createAgent, "A privileged pod on "+name+" from "+agents.r.o.Agent+", which sees the node's network, processes and, read-only, files.")
		p.add(f, awaitAgent(pod), "The pod has to run.")
		p.add(f, copyIn(pod, program), "This program, where the image does not have it.")
		p.add(f, pod.exec(agentProgram, append([]string{program}, agents.arguments(name, chosen, agentRun)...)...), "All that this program records of a host.")
		p.add(f, deleteAgent(pod), "Nothing stays behind.")
	}
	if cilium := c.on(name, ciliumAgent); cilium != nil {
		for _, it := range ciliumTables {
			p.add(f, cilium.exec(ciliumAgent, it.args...), it.why)
		}
	}
	proxy := c.on(name, kubeProxy)
	if proxy == nil || agents != nil {
		return
	}
	for _, it := range append(append([]item(nil), nodeTables...), nodeFiles...) {
		p.add(f, proxy.exec(kubeProxy, it.args...), it.why)
	}
}

func (p *planner) pod(pod *pod, brought bool) {
	if brought || pod.hostNetwork {
		return
	}
	for i, c := range pod.containers {
		if i == 0 {
			p.add(pod.folder(), pod.exec(c, "sh", "-c", probe), "Which way there is to the pod's sockets; the next container is tried when there is none.")
			p.add(pod.folder(), pod.exec(c, bySS[0].args...), bySS[0].why+" Else netstat -anp and the files below /proc/net.")
		}
	}
}

// quoted writes a command as a shell reads it.
func quoted(words []string) string {
	q := make([]string, len(words))
	for i, w := range words {
		if strings.ContainsAny(w, " {}$\"\\'|*;>&()[]") {
			w = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		q[i] = w
	}
	return strings.Join(q, " ")
}
