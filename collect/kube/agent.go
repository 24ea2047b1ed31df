package kube

import (
	"bytes"
	"context"
	"crypto/rand"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	// agentStart is how long a node may take to fetch the image and start it.
	agentStart = 90 * time.Second
	// agentLook is how long is waited before it is looked what keeps it.
	agentLook = 5 * time.Second
	// agentRun is how long it may record.
	agentRun   = 2 * time.Minute
	agentLimit = 2 << 30 // of its bundle

	agentRunLabel = "whichbackend/run"
	agentProgram  = "whichbackend-collect"
	agentFolder   = "/whichbackend" // an empty folder of the pod, for the program
)

// agents are the pods that record nodes, one each, of one run.
type agents struct {
	r     *recorder
	run   string // a name for this run, by which its pods are found again
	nodes map[string]*node

	mu      sync.Mutex
	started bool
}

// newAgents is nil when none are wanted.
func (r *recorder) newAgents(c *cluster) *agents {
	if r.o.Agent == "" {
		return nil
	}
	id := make([]byte, 5)
	rand.Read(id)
	return &agents{r: r, run: hex.EncodeToString(id), nodes: c.nodes}
}

// record records a node through a pod of its own. It gives false when that
// brought nothing, and says why in what is missing.
func (a *agents) record(ctx context.Context, name string, chosen []*pod) bool {
	because, detail := a.try(ctx, name, chosen)
	if because != "" {
		a.r.missing(name, "what a pod on the node records (--node-agent)", because, detail)
	}
	return because == ""
}

func (a *agents) try(ctx context.Context, name string, chosen []*pod) (because, detail string) {
	n := a.nodes[name]
	if n == nil {
		n = &node{name: name}
	}
	if n.os != "" && n.os != "linux" {
		return excluded, "the node runs " + plain(n.os) + ", and the collector knows Linux alone"
	}
	p := a.pod(name)
	if because, detail = a.start(ctx, p); because != "" {
		return because, detail
	}
	defer a.remove(ctx, p)
	program, because, detail := a.bring(ctx, p, n)
	if because != "" {
		return because, detail
	}
	left := agentRun
	if at, ok := ctx.Deadline(); ok {
		left = min(left, time.Until(at)-5*time.Second)
	}
	if left <= 0 {
		return timedOut, "not begun: the time for all was over; give more with --timeout"
	}
	c := call{args: p.exec(agentProgram, append([]string{program}, a.arguments(name, chosen, left)...)...), deadline: left + 20*time.Second, limit: agentLimit}
	s, o := a.r.kubectl.run(ctx, c)
	if s == nil {
		return failed, plain(o.err.Error())
	}
	defer s.close()
	if !o.good() && (o.exit != 6 || o.timeout || o.full) { // 6 is partly, which its manifest tells
		because, detail = o.judge(c)
		return because, detail
	}
	return a.r.merge(name, s)
}

// arguments are those of the collector on a node. Where pods were chosen, it
// records their network namespaces and that of the node.
func (a *agents) arguments(name string, chosen []*pod, left time.Duration) []string {
	args := []string{"-o", "-", "--host-root", "/host", "--timeout", left.Round(time.Second).String()}
	if a.r.o.everything() && len(a.r.o.Namespaces) == 0 {
		return args
	}
	args = append(args, "--netns", "host/*")
	for _, p := range chosen {
		if p.node == name && !p.hostNetwork {
			args = append(args, "--netns", p.id.String())
		}
	}
	return args
}

// pod is the pod on a node. Its name has a hash of the node's, which may be too
// long for one.
func (a *agents) pod(name string) *pod {
	h := fnv.New32a()
	h.Write([]byte(name))
	return &pod{
		id:   Name{a.r.o.AgentNamespace, fmt.Sprintf("whichbackend-%s-%08x", a.run, h.Sum32())},
		node: name, hostNetwork: true, containers: []string{agentProgram},
	}
}

// object is the pod as the API takes it. It sees the host's processes, network
// and files, the files read-only, and has no way into the API.
func (a *agents) object(p *pod) map[string]any {
	life := agentStart + agentRun + time.Minute
	return map[string]any{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": map[string]any{
			"name": p.id.Name, "namespace": p.id.Namespace,
			"labels": map[string]string{"app.kubernetes.io/name": agentProgram, "app.kubernetes.io/managed-by": agentProgram, agentRunLabel: a.run},
		},
		"spec": map[string]any{
			"nodeName": p.node, "hostPID": true, "hostNetwork": true, "dnsPolicy": "Default",
			"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "activeDeadlineSeconds": int(life.Seconds()),
			"automountServiceAccountToken": false, "enableServiceLinks": false,
			"tolerations": []any{map[string]string{"operator": "Exists"}},
			"containers": []any{map[string]any{
				"name": agentProgram, "image": a.r.o.Agent, "imagePullPolicy": "IfNotPresent",
				"command":         []string{"sleep", fmt.Sprint(int(life.Seconds()))},
				"securityContext": map[string]any{"privileged": true, "runAsUser": 0, "runAsGroup": 0},
				"volumeMounts": []any{
					map[string]any{"name": "host", "mountPath": "/host", "readOnly": true},
					map[string]any{"name": "program", "mountPath": agentFolder},
				},
			}},
			"volumes": []any{
				map[string]any{"name": "host", "hostPath": map[string]string{"path": "/"}},
				map[string]any{"name": "program", "emptyDir": map[string]any{}},
			},
		},
	}
}

// The commands that start, fill and delete a pod.

var createAgent = []string{"create", "-f", "-"}

func awaitAgent(p *pod) []string {
	return []string{"wait", "--for=condition=Ready", "--timeout=" + agentLook.String(), "-n", p.id.Namespace, "pod/" + p.id.Name}
}

func copyIn(p *pod, program string) []string {
	args := p.exec(agentProgram, "sh", "-c", "cat > "+program+" && chmod 755 "+program)
	return append([]string{args[0], "-i"}, args[1:]...)
}

func deleteAgent(p *pod) []string {
	return []string{"delete", "pod", "-n", p.id.Namespace, p.id.Name, "--ignore-not-found", "--wait=false"}
}

// start creates the pod and waits until it runs.
func (a *agents) start(ctx context.Context, p *pod) (because, detail string) {
	text, err := json.Marshal(a.object(p))
	if err != nil {
		return failed, err.Error()
	}
	c := call{args: createAgent, in: bytes.NewReader(text), deadline: slow, limit: mib}
	_, o := a.r.kubectl.text(ctx, c)
	because, detail = o.judge(c)
	if because != permission { // else it may be there, whatever became of the call
		a.mu.Lock()
		a.started = true
		a.mu.Unlock()
	}
	if because != "" {
		return because, detail
	}
	because, detail = a.await(ctx, p)
	if because != "" {
		a.remove(ctx, p)
	}
	return because, detail
}

// await waits until the pod runs, at most half of the time that is left, so that
// enough remains to ask the pods of the node instead. It gives up at once when
// the image is not to be had.
func (a *agents) await(ctx context.Context, p *pod) (because, detail string) {
	limit := agentStart
	if at, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(at)/2)
	}
	for end := time.Now().Add(limit); ; {
		c := call{args: awaitAgent(p), deadline: agentLook + quick, limit: mib}
		_, o := a.r.kubectl.text(ctx, c)
		if o.good() {
			return "", ""
		}
		because, detail = o.judge(c)
		if ctx.Err() != nil {
			return because, detail
		}
		state := a.state(ctx, p)
		if state != "" {
			detail += "; the pod: " + state + ". The image " + a.r.o.Agent + " must be one that the node can fetch, with sh, cat, chmod and sleep, as busybox has"
		}
		if time.Now().After(end) || contains(state, "ImagePull", "InvalidImage", "ErrImage", "CreateContainer", "RunContainer", "Error") || because == permission {
			return because, detail
		}
	}
}

// state tells what a pod waits for, or why it ended; "" when nobody says.
func (a *agents) state(ctx context.Context, p *pod) string {
	const path = `jsonpath={.status.reason} {.status.containerStatuses[*].state.waiting.reason} {.status.containerStatuses[*].state.terminated.reason}`
	text, o := a.r.kubectl.text(ctx, call{args: []string{"get", "pod", "-n", p.id.Namespace, p.id.Name, "-o", path}, deadline: quick, limit: mib})
	if text = strings.TrimSpace(text); !o.good() || text == "" {
		return ""
	}
	return plain(text)
}

// bring gives the path of the program in the pod: that of the image, or else a
// copy of one of ours.
func (a *agents) bring(ctx context.Context, p *pod, n *node) (program, because, detail string) {
	c := call{args: p.exec(agentProgram, agentProgram, "--version"), deadline: quick, limit: mib}
	if _, o := a.r.kubectl.text(ctx, c); o.good() {
		return agentProgram, "", ""
	}
	file, err := a.binary(n.arch)
	if err != nil {
		return "", failed, err.Error()
	}
	in, err := os.Open(file)
	if err != nil {
		return "", failed, err.Error()
	}
	defer in.Close()
	program = agentFolder + "/" + agentProgram
	c = call{args: copyIn(p, program), in: in, deadline: agentStart, limit: mib}
	if _, o := a.r.kubectl.text(ctx, c); !o.good() {
		because, detail = o.judge(c)
		return "", because, "the program could not be copied into the image " + a.r.o.Agent + ", which needs sh, cat and chmod, as busybox has: " + detail
	}
	return program, "", ""
}

// machines are the architectures of nodes in the words of ELF.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// binary chooses the build for an architecture; "" is one that nobody told.
func (a *agents) binary(arch string) (string, error) {
	var have []string
	for _, name := range a.r.o.Binaries {
		f, err := elf.Open(name)
		if err != nil {
			return "", fmt.Errorf("%s: is no Linux program: %w; give a build for Linux with --binary", name, err)
		}
		f.Close()
		if arch == "" || f.Machine == machines[arch] {
			return name, nil
		}
		have = append(have, strings.TrimPrefix(f.Machine.String(), "EM_"))
	}
	return "", fmt.Errorf("the node is %s, and there is only a program for %s; give a build for it with --binary FILE", plain(arch), strings.Join(have, ", "))
}

// remove deletes one pod without waiting, so that the node is rid of it soon.
func (a *agents) remove(ctx context.Context, p *pod) {
	ctx = context.WithoutCancel(ctx)
	a.r.kubectl.text(ctx, call{args: deleteAgent(p), deadline: quick, limit: mib})
}

// clean deletes all pods of this run and waits until they are gone, also after
// an interruption or the end of the time for all.
func (a *agents) clean(ctx context.Context) {
	if a == nil || !a.started {
		return
	}
	ctx = context.WithoutCancel(ctx)
	ns := a.r.o.AgentNamespace
	c := call{args: []string{"delete", "pods", "-n", ns, "-l", agentRunLabel + "=" + a.run, "--ignore-not-found", "--timeout=30s"},
		deadline: 40 * time.Second, limit: mib}
	if _, o := a.r.kubectl.text(ctx, c); !o.good() {
		_, detail := o.judge(c)
		a.r.warn(fmt.Sprintf("the pods of the node agent may still be there (%s); delete them with: kubectl delete pods -n %s -l %s=%s", detail, ns, agentRunLabel, a.run))
	}
}
