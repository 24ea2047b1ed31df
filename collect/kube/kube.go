// Package kube records a cluster into a bundle through kubectl: the API objects
// that tell whose address is whose, the sockets of pods, the tables of nodes
// through the pods of kube-proxy and Cilium that run there already, the admin
// interfaces of proxies, and, when it is given an image, all that package
// collect records of a host, by a pod on each node that lives as long as that
// takes.
//
// It speaks to the cluster through kubectl alone, and starts nothing there but
// those pods. It parses no more than the objects that tell what there is to
// record. It never records environments, command lines, annotations, Secrets
// or ConfigMaps, and never what kubectl is configured with. What fails on one
// node or pod costs that part: it is noted as missing, and recording goes on.
package kube

import (
	"context"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"whichbackend/collect/bundle"
)

// Options say what to record of which cluster.
type Options struct {
	// Context and Kubeconfig are passed on to kubectl; "" leaves its own choice.
	Context, Kubeconfig string
	// Env is the environment of kubectl, and of nothing else.
	Env []string

	// Namespaces bound the objects that are asked for, and the pods; none is all.
	Namespaces []string
	// Labels is a label selector for pods, as kubectl -l takes it.
	Labels string
	// Nodes bound the pods to these, whose own tables are recorded.
	Nodes []string
	// Services and Pods add the pods behind a service, and single pods, each
	// with its node. Given alone they are all that is recorded.
	Services, Pods []Name

	// Agent is an image for a pod on each node that records the node; "" starts
	// none. AgentNamespace is where these pods live.
	Agent, AgentNamespace string
	// Binaries are builds of this program to copy into the image, one for each
	// architecture. The program itself is the last of them.
	Binaries []string

	// Parallel bounds how many kubectl run at once.
	Parallel int
	// Timeout bounds all together. Pods that were started are deleted even so.
	Timeout time.Duration
	// Note is what a person has to say about the bundle.
	Note string
	// Collector goes into the manifest.
	Collector bundle.Collector
	// Progress, when it is not nil, is told of each part when it is done. It is
	// called from several goroutines, but not at once.
	Progress func(done, of int, name string)
}

// Result is what came of recording.
type Result struct {
	Manifest bundle.Manifest
	// Warnings are for a person: they concern the cluster, not an item.
	Warnings []string
	// Pods is how many pods were chosen.
	Pods int
}

// Partly tells that something which is there could not be recorded.
func (r *Result) Partly() bool {
	return slices.ContainsFunc(r.Manifest.Missing, func(m bundle.Missing) bool {
		return m.Because != notFound && m.Because != excluded
	})
}

// Record records a cluster into a bundle at out, or to stdout when out is "-".
// The bundle is whole or not there at all. An error means that there is none; a
// canceled ctx is one, while a Timeout that is over only ends the recording.
func Record(ctx context.Context, out string, stdout io.Writer, o Options) (*Result, error) {
	k, err := newKubectl(&o)
	if err != nil {
		return nil, err
	}
	created := time.Now().UTC()
	w, err := bundle.Create(out, stdout, "whichbackend-cluster-"+created.Format("20060102T150405Z"))
	if err != nil {
		return nil, err
	}
	defer w.Abort()
	r := &recorder{o: o, kubectl: k, w: w, have: map[string]bool{}}
	r.m = bundle.Manifest{Created: created, Collector: o.Collector, Note: o.Note}
	if err := r.all(ctx); err != nil {
		return nil, err
	}
	slices.SortStableFunc(r.m.Artifacts, func(a, b bundle.Artifact) int { return strings.Compare(a.Path, b.Path) })
	slices.SortStableFunc(r.m.Missing, func(a, b bundle.Missing) int {
		return strings.Compare(a.Host+"\x00"+a.What, b.Host+"\x00"+b.What)
	})
	slices.SortFunc(r.m.Hosts, func(a, b bundle.Host) int { return strings.Compare(a.Name, b.Name) })
	slices.Sort(r.warnings)
	if err := w.Close(&r.m); err != nil {
		return nil, err
	}
	return &Result{Manifest: r.m, Warnings: slices.Compact(r.warnings), Pods: r.pods}, nil
}

// recorder fills one bundle, from several goroutines.
type recorder struct {
	o       Options
	kubectl *kubectl
	pods    int

	mu       sync.Mutex // over all below
	w        *bundle.Writer
	m        bundle.Manifest
	have     map[string]bool // the paths in the bundle
	warnings []string
	err      error // of writing the bundle
	done, of int
}

var errInterrupted = errors.New("interrupted; nothing was written")

func (r *recorder) all(parent context.Context) error {
	ctx := parent
	if r.o.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(parent, r.o.Timeout)
		defer cancel()
	}
	r.expect(len(resources()))
	c, err := r.objects(ctx)
	if parent.Err() != nil {
		return errInterrupted
	}
	if err != nil {
		return err
	}
	pods, nodes, err := r.o.choose(c)
	if err != nil {
		return err
	}
	if len(pods) == 0 && len(nodes) == 0 {
		return errors.New("no running pod is chosen; give other selectors, or -A for all namespaces")
	}
	r.pods = len(pods)
	r.expect(len(pods) + len(nodes))
	agents := r.newAgents(c)
	var all sync.WaitGroup
	for _, n := range nodes {
		all.Go(func() { r.node(ctx, agents, c, n, pods) })
	}
	all.Wait()
	agents.clean(parent)
	if parent.Err() != nil {
		return errInterrupted
	}
	return r.err
}

// node records one node: by an agent, and what that does not bring, or could
// not, through the pods that are there.
func (r *recorder) node(ctx context.Context, agents *agents, c *cluster, name string, chosen []*pod) {
	r.host(name)
	defer r.tell(name)
	brought := agents != nil && agents.record(ctx, name, chosen)
	var all sync.WaitGroup
	for _, p := range chosen {
		if p.node != name {
			continue
		}
		all.Go(func() {
			if !brought && !p.hostNetwork {
				r.sockets(ctx, p)
			}
			r.proxies(ctx, p, brought)
			r.tell(p.id.String())
		})
	}
	all.Go(func() { r.tables(ctx, c, name, brought) })
	all.Wait()
}

// host makes sure that the manifest has the node.
func (r *recorder) host(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.m.Hosts = append(r.m.Hosts, bundle.Host{Name: name})
}

// folder makes a node's name a folder that no reader of bundles takes for
// something else.
func folder(node string) string {
	switch node {
	case "cluster", "pods", "containers", "netns":
		return "host-" + node
	}
	return node
}

func (p *pod) folder() string {
	return path.Join(folder(p.node), "pods", p.id.Namespace, p.id.Name)
}

// expect and tell keep the progress.
func (r *recorder) expect(more int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.of += more
}

func (r *recorder) tell(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done++
	if r.o.Progress != nil {
		r.o.Progress(r.done, r.of, name)
	}
}

func (r *recorder) missing(host, what, because, detail string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.m.Missing = append(r.m.Missing, bundle.Missing{Host: host, What: what, Because: because, Detail: detail})
}

func (r *recorder) warn(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.warnings = append(r.warnings, text)
}

// has tells whether a path is in the bundle already.
func (r *recorder) has(path string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.have[path]
}

// add puts an artifact into the bundle and the manifest. A path that is there
// already keeps its first content.
func (r *recorder) add(a bundle.Artifact, in io.Reader) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil || r.have[a.Path] || r.w == nil { // nil in a dry run
		return
	}
	var err error
	if a.Size, a.SHA256, err = r.w.Add(a.Path, in); err != nil {
		r.err = err
		return
	}
	r.have[a.Path] = true
	r.m.Artifacts = append(r.m.Artifacts, a)
}
