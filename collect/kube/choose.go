package kube

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// The containers by which the pods of the cluster's own network are known.
const (
	kubeProxy   = "kube-proxy"
	ciliumAgent = "cilium-agent"
)

// Name is a namespace and a name in it.
type Name struct{ Namespace, Name string }

// ParseName reads NAMESPACE/NAME, or NAME in the namespace default.
func ParseName(s string) (Name, error) {
	n := Name{Namespace: "default", Name: s}
	if ns, name, ok := strings.Cut(s, "/"); ok {
		n = Name{ns, name}
	}
	if !isName(n.Namespace) || !isName(n.Name) {
		return Name{}, fmt.Errorf("%q: is no name; write it as NAMESPACE/NAME", s)
	}
	return n, nil
}

// String is the name as ParseName reads it.
func (n Name) String() string { return n.Namespace + "/" + n.Name }

// isName holds for what Kubernetes allows as a name: it can be a folder of a
// bundle and an argument, and is no option.
func isName(s string) bool {
	if s == "" || len(s) > 253 || s[0] == '-' || s[0] == '.' || strings.Contains(s, "..") {
		return false
	}
	return !strings.ContainsFunc(s, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.')
	})
}

// pod is what is to be known of a pod to record it.
type pod struct {
	id          Name
	node        string
	hostNetwork bool
	running     bool
	labels      map[string]string
	containers  []string // that run for as long as the pod
}

func (p *pod) has(container string) bool { return slices.Contains(p.containers, container) }

// containerSpec is a container of a pod's specification.
type containerSpec struct{ Name, RestartPolicy string }

// readPod reads a pod from its filtered object. It is nil when a name in it is
// none: the API would not have such, and it must not become a path or an option.
func readPod(object any) *pod {
	var o struct {
		Metadata struct {
			Namespace, Name   string
			Labels            map[string]string
			DeletionTimestamp string
		}
		Spec struct {
			NodeName                   string
			HostNetwork                bool
			Containers, InitContainers []containerSpec
		}
		Status struct{ Phase string }
	}
	if !decode(object, &o) || !isName(o.Metadata.Namespace) || !isName(o.Metadata.Name) || !isName(o.Spec.NodeName) {
		return nil
	}
	p := &pod{
		id: Name{o.Metadata.Namespace, o.Metadata.Name}, node: o.Spec.NodeName, hostNetwork: o.Spec.HostNetwork,
		running: o.Status.Phase == "Running", labels: o.Metadata.Labels,
	}
	for _, c := range o.Spec.Containers {
		if isName(c.Name) {
			p.containers = append(p.containers, c.Name)
		}
	}
	for _, c := range o.Spec.InitContainers {
		if isName(c.Name) && c.RestartPolicy == "Always" {
			p.containers = append(p.containers, c.Name)
		}
	}
	return p
}

func decode(object, into any) bool {
	b, err := json.Marshal(object)
	return err == nil && json.Unmarshal(b, into) == nil
}

// node is what is to be known of a node.
type node struct{ name, arch, os string }

func readNode(object any) *node {
	var o struct {
		Metadata struct{ Name string }
		Status   struct {
			NodeInfo struct{ Architecture, OperatingSystem string }
		}
	}
	if !decode(object, &o) || !isName(o.Metadata.Name) {
		return nil
	}
	return &node{o.Metadata.Name, o.Status.NodeInfo.Architecture, o.Status.NodeInfo.OperatingSystem}
}

// readBackends gives the service that an EndpointSlice or Endpoints belongs to,
// and the pods in it.
func readBackends(object any) (service Name, pods []Name) {
	type ref struct {
		TargetRef struct{ Kind, Namespace, Name string }
	}
	var o struct {
		Metadata struct {
			Namespace, Name string
			Labels          map[string]string
			OwnerReferences []struct{ Kind, Name string }
		}
		Endpoints []ref
		Subsets   []struct{ Addresses, NotReadyAddresses []ref }
	}
	if !decode(object, &o) {
		return Name{}, nil
	}
	service = Name{o.Metadata.Namespace, o.Metadata.Name}
	for _, r := range o.Metadata.OwnerReferences {
		if r.Kind == "Service" {
			service.Name = r.Name
		}
	}
	if n := o.Metadata.Labels["kubernetes.io/service-name"]; n != "" {
		service.Name = n
	}
	refs := o.Endpoints
	for _, s := range o.Subsets {
		refs = append(append(refs, s.Addresses...), s.NotReadyAddresses...)
	}
	for _, r := range refs {
		if r.TargetRef.Kind == "Pod" {
			pods = append(pods, Name{r.TargetRef.Namespace, r.TargetRef.Name})
		}
	}
	return service, pods
}

// cluster is what the API objects said that decides what is recorded.
type cluster struct {
	pods     map[Name]*pod
	nodes    map[string]*node
	services map[Name]bool
	backends map[Name][]Name // of each service
	labelled map[Name]bool   // that kubectl chose by label
}

// everything tells that no selector was given but namespaces.
func (o *Options) everything() bool {
	return o.Labels == "" && len(o.Nodes) == 0 && len(o.Services) == 0 && len(o.Pods) == 0
}

// choose gives the running pods and the nodes to record, sorted.
func (o *Options) choose(c *cluster) (pods []*pod, nodes []string, err error) {
	chosen, err := o.named(c)
	if err != nil {
		return nil, nil, err
	}
	general := o.everything() || len(o.Namespaces) > 0 || o.Labels != "" || len(o.Nodes) > 0
	on := map[string]bool{}
	for _, n := range o.Nodes {
		on[n] = true
	}
	for name, p := range c.pods {
		if !p.running || !chosen[name] && !(general && o.selects(c, p)) {
			continue
		}
		pods = append(pods, p)
		on[p.node] = true
	}
	if o.everything() && len(o.Namespaces) == 0 {
		for n := range c.nodes {
			on[n] = true
		}
	}
	slices.SortFunc(pods, func(a, b *pod) int { return strings.Compare(a.id.String(), b.id.String()) })
	for n := range on {
		nodes = append(nodes, n)
	}
	slices.Sort(nodes)
	return pods, nodes, nil
}

// named gives the pods that were named, and those behind services that were.
func (o *Options) named(c *cluster) (map[Name]bool, error) {
	chosen := map[Name]bool{}
	for _, s := range o.Services {
		if !c.services[s] && c.backends[s] == nil {
			return nil, fmt.Errorf("service %s: is not in the cluster; kubectl get services -A lists those that are", s)
		}
		for _, p := range c.backends[s] {
			chosen[p] = true
		}
	}
	for _, p := range o.Pods {
		if c.pods[p] == nil {
			return nil, fmt.Errorf("pod %s: is not in the cluster; kubectl get pods -A lists those that are", p)
		}
		chosen[p] = true
	}
	for _, n := range o.Nodes {
		if c.nodes[n] == nil && len(c.nodes) > 0 {
			return nil, fmt.Errorf("node %s: is not in the cluster; kubectl get nodes lists those that are", n)
		}
	}
	return chosen, nil
}

// selects tells whether a pod fits all of the selectors that are not names.
func (o *Options) selects(c *cluster, p *pod) bool {
	return (len(o.Namespaces) == 0 || slices.Contains(o.Namespaces, p.id.Namespace)) &&
		(o.Labels == "" || c.labelled[p.id]) &&
		(len(o.Nodes) == 0 || slices.Contains(o.Nodes, p.node))
}

// objectNamespaces are those whose objects are recorded; nil is all.
func (o *Options) objectNamespaces() (list []string) {
	if len(o.Namespaces) == 0 {
		return nil
	}
	list = append(list, o.Namespaces...)
	for _, n := range append(append([]Name(nil), o.Services...), o.Pods...) {
		list = append(list, n.Namespace)
	}
	slices.Sort(list)
	return slices.Compact(list)
}
