package kube

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"whichbackend/collect/bundle"
)

const listLimit = 512 * mib

// query is one kubectl get.
type query struct {
	resource
	namespace string // "" is all
	labels    string
}

func (q query) args() []string {
	a := []string{"get", q.name}
	switch {
	case q.global:
	case q.namespace == "":
		a = append(a, "-A")
	default:
		a = append(a, "-n", q.namespace)
	}
	if q.labels != "" {
		a = append(a, "-l", q.labels)
	}
	return append(a, "-o", "json")
}

func (q query) path() string {
	return path.Join("cluster", q.namespace, q.name+".json")
}

// queries are the lists of objects to ask for.
func (o *Options) queries() (list []query) {
	namespaces := o.objectNamespaces()
	for _, res := range resources() {
		if namespaces == nil || res.global {
			list = append(list, query{resource: res})
			continue
		}
		for _, n := range namespaces {
			list = append(list, query{resource: res, namespace: n})
		}
	}
	return list
}

// network is asked where only some namespaces are: the pods through which the
// tables of nodes are read live in others.
const network = "k8s-app in (kube-proxy,cilium)"

// objects records the API objects, and gives what decides about the rest. The
// error is for pods that could not be listed: then there is nothing to record.
func (r *recorder) objects(ctx context.Context) (*cluster, error) {
	c := &cluster{pods: map[Name]*pod{}, nodes: map[string]*node{}, services: map[Name]bool{}, backends: map[Name][]Name{}, labelled: map[Name]bool{}}
	for _, q := range r.o.queries() {
		if q.when != "" && !c.runs(q.when) {
			continue
		}
		if err := r.list(ctx, q, c.take(q.name)); err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	r.done = len(resources())
	r.mu.Unlock()
	if r.o.objectNamespaces() != nil {
		pods := resources()[0]
		q := query{resource: pods, labels: network}
		if err := r.list(ctx, q, c.take(pods.name)); err != nil {
			r.missing("", "pods of kube-proxy and Cilium", permission, err.Error())
		}
	}
	if r.o.Labels == "" {
		return c, nil
	}
	return c, r.labelled(ctx, c)
}

// take gives what is to be done with each object of a kind.
func (c *cluster) take(resource string) func(any) error {
	switch resource {
	case "pods":
		return func(o any) error {
			if p := readPod(o); p != nil {
				c.pods[p.id] = p
			}
			return nil
		}
	case "nodes":
		return func(o any) error {
			if n := readNode(o); n != nil {
				c.nodes[n.name] = n
			}
			return nil
		}
	case "services":
		return func(o any) error {
			s, _ := readBackends(o)
			c.services[s] = true
			return nil
		}
	case "endpointslices", "endpoints":
		return func(o any) error {
			s, pods := readBackends(o)
			c.backends[s] = append(c.backends[s], pods...)
			return nil
		}
	}
	return func(any) error { return nil }
}

// runs tells whether any pod has a container of this name.
func (c *cluster) runs(container string) bool {
	for _, p := range c.pods {
		if p.running && p.has(container) {
			return true
		}
	}
	return false
}

// list records one list of objects. Only pods must be had.
func (r *recorder) list(ctx context.Context, q query, each func(any) error) error {
	a := bundle.Artifact{Path: q.path(), Command: append([]string{"kubectl"}, q.args()...), Started: time.Now().UTC()}
	if q.labels != "" {
		a.Path = path.Join("cluster", q.name+"-of-the-network.json")
	}
	call := call{args: q.args(), deadline: lists, limit: 4 * listLimit}
	s, o := r.kubectl.run(ctx, call)
	if s == nil {
		return o.err
	}
	defer s.close()
	a.Took, a.Exit = time.Since(a.Started).Round(time.Microsecond), o.exit
	because, detail := o.judge(call)
	if because == "" {
		because, detail = r.filtered(&a, s, q, each)
	}
	switch {
	case because == "":
		return nil
	case q.name == "pods" && (because != tooLarge || !r.has(a.Path)):
		return fmt.Errorf("kubectl %s: %s", strings.Join(q.args(), " "), plain(detail)+advice(because, q))
	case strings.Contains(detail, "the server doesn't have a resource type"):
		because = notFound
	}
	r.missing("", strings.TrimSuffix(a.Path, ".json"), because, detail)
	return nil
}

// filtered writes the list into the bundle with the fields that are kept.
func (r *recorder) filtered(a *bundle.Artifact, s *spool, q query, each func(any) error) (because, detail string) {
	kept, err := newSpool(2 * listLimit)
	if err != nil {
		return failed, plain(err.Error())
	}
	defer kept.close()
	a.Truncated, err = filter(s.reader(), kept, q.keep, listLimit, each)
	if err != nil {
		return failed, plain(err.Error())
	}
	r.add(*a, kept.reader())
	if a.Truncated {
		return tooLarge, fmt.Sprintf("cut after an object before %d bytes", listLimit)
	}
	return "", ""
}

func advice(because string, q query) string {
	switch {
	case because == permission && q.namespace == "" && q.labels == "":
		return "; choose namespaces that you may read with -n"
	case because == timedOut:
		return "; is the cluster reachable?"
	}
	return ""
}

// labelled asks kubectl which pods a label selector chooses.
func (r *recorder) labelled(ctx context.Context, c *cluster) error {
	namespaces := r.o.objectNamespaces()
	if namespaces == nil {
		namespaces = []string{""}
	}
	for _, n := range namespaces {
		args := query{resource: resource{name: "pods"}, namespace: n, labels: r.o.Labels}.args()
		args[len(args)-1] = `jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name}{"\n"}{end}`
		call := call{args: args, deadline: lists, limit: 64 * mib}
		text, o := r.kubectl.text(ctx, call)
		if because, detail := o.judge(call); because != "" {
			return errors.New("kubectl get pods -l " + r.o.Labels + ": " + detail)
		}
		for _, word := range slices.Sorted(strings.FieldsSeq(text)) {
			if name, err := ParseName(word); err == nil {
				c.labelled[name] = true
			}
		}
	}
	return nil
}
