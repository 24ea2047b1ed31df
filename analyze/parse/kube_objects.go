package parse

// {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-0", "namespace": "shop"}, "spec": {...}, "status": {...}}
//
// API objects of Kubernetes 1.x, alone or in lists, as kubectl get -o json or
// -o yaml prints them (1.34.1). encoding/json finds fields in either case, so
// that the structs here need no tags.

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"whichbackend/analyze/record"
)

type kubeMeta struct {
	Name, Namespace     string
	Labels, Annotations map[string]string
	DeletionTimestamp   string
	OwnerReferences     []struct{ Kind, Name string }
}

// kubeReader reads one object of a document.
type kubeReader struct {
	out *Out
	raw json.RawMessage
	at  string // JSON pointer of the object, "" when it is the document
}

func kubeClaim(d *Doc) bool {
	if first := d.First(); first != nil {
		return first.Has("apiVersion", "kind")
	}
	return d.Has("apiVersion", "kind") || d.Has("clientVersion") && (d.Has("kustomizeVersion") || d.Has("serverVersion"))
}

func kubeDoc(d *Doc, out *Out) {
	var client struct{ GitVersion string }
	if d.Get("clientVersion", &client) && client.GitVersion != "" {
		out.Tool("kubectl " + client.GitVersion)
	}
	if d.IsArray() {
		kubeItems(d.Elements(), "", "", out)
		return
	}
	var kind string
	var items []json.RawMessage
	d.Get("kind", &kind)
	switch {
	case !strings.HasSuffix(kind, "List"):
		kubeObject(kind, kubeReader{out, d.Raw, ""})
	case d.Get("items", &items):
		kubeItems(items, strings.TrimSuffix(kind, "List"), "/items", out)
	default:
		out.At("/items")
		out.ProblemAt(out.Line(), string(clip(d.Raw)), "expected a list of items")
	}
}

// kubeItems reads the items of a list. In what the API itself returns, such
// as a PodList, the items do not say their kind.
func kubeItems(items []json.RawMessage, kind, at string, out *Out) {
	for i, raw := range items {
		r := kubeReader{out, raw, at + "/" + strconv.Itoa(i)}
		if raw[0] != '{' {
			out.At(r.at)
			r.problem(string(raw), "expected an object")
			continue
		}
		var item struct{ Kind string }
		json.Unmarshal(raw, &item) // what does not fit is told below
		if item.Kind == "" {
			item.Kind = kind
		}
		kubeObject(item.Kind, r)
	}
}

// kubeObject reads one object. Kinds that are not listed here say nothing
// that is needed.
func kubeObject(kind string, r kubeReader) {
	r.out.At(r.at)
	switch kind {
	case "Pod":
		r.pod()
	case "Service":
		r.service()
	case "Endpoints":
		r.endpoints()
	case "EndpointSlice":
		r.slice()
	case "Node":
		r.node()
	case "CiliumEndpoint":
		r.ciliumEndpoint()
	case "CiliumNode":
		r.ciliumNode()
	}
}

// decode decodes the object into v, of which meta is a part. A field of
// another type than expected is a problem, and the rest is there all the same.
func (r *kubeReader) decode(v any, meta *kubeMeta) bool {
	err := json.Unmarshal(r.raw, v)
	var other *json.UnmarshalTypeError
	if errors.As(err, &other) {
		r.problem(string(clip(r.raw)), fmt.Sprintf("field %s holds a %s", other.Field, other.Value))
	} else if err != nil {
		r.problem(string(clip(r.raw)), "broken: "+err.Error())
		return false
	}
	if meta.Name == "" {
		r.problem(string(clip(r.raw)), "an object without a name")
	}
	return meta.Name != ""
}

func (r *kubeReader) problem(text, why string) { r.out.ProblemAt(r.out.Line(), text, why) }

// address reads an address, which is a problem at pos when it is none.
func (r *kubeReader) address(text string, pos record.Pos) (netip.Addr, bool) {
	a, ok := address([]byte(text))
	if !ok {
		r.out.At(pos.Pointer)
		r.problem(text, "expected an IP address")
	}
	return a, ok
}

// pos is the position of a member of the object.
func (r *kubeReader) pos(format string, args ...any) record.Pos {
	return record.Pos{Line: r.out.Line(), Pointer: r.at + fmt.Sprintf(format, args...)}
}

// owner emits an owner for one address, where there is one.
func (r *kubeReader) owner(w record.Owner, text string, pos record.Pos) bool {
	if text == "" {
		return false
	}
	a, ok := r.address(text, pos)
	if !ok {
		return false
	}
	w.Address, w.Pos = a, pos
	r.out.Owner(w)
	return true
}

func (r *kubeReader) node() {
	var o struct {
		Metadata kubeMeta
		Status   struct {
			Addresses  []struct{ Type, Address string }
			Conditions []struct{ Type, Status string }
		}
	}
	if !r.decode(&o, &o.Metadata) {
		return
	}
	w := record.Owner{Kind: record.OwnerNode, Name: o.Metadata.Name, Host: o.Metadata.Name, State: "Unknown"}
	for _, c := range o.Status.Conditions {
		if c.Type == "Ready" && c.Status == "True" {
			w.State = "Ready"
		} else if c.Type == "Ready" {
			w.State = "NotReady"
		}
	}
	found := false
	for i, a := range o.Status.Addresses {
		if a.Type == "InternalIP" || a.Type == "ExternalIP" {
			found = r.owner(w, a.Address, r.pos("/status/addresses/%d/address", i)) || found
		}
	}
	if !found {
		w.Pos = r.pos("/metadata/name")
		r.out.Owner(w)
	}
}

func (r *kubeReader) ciliumNode() {
	var o struct {
		Metadata kubeMeta
		Spec     struct{ Addresses []struct{ Type, IP string } }
	}
	if !r.decode(&o, &o.Metadata) {
		return
	}
	w := record.Owner{Kind: record.OwnerNode, Name: o.Metadata.Name, Host: o.Metadata.Name}
	for i, a := range o.Spec.Addresses {
		switch a.Type {
		case "InternalIP", "ExternalIP", "CiliumInternalIP":
			r.owner(w, a.IP, r.pos("/spec/addresses/%d/ip", i))
		}
	}
}

// ciliumEndpoint tells a pod's addresses. The node is told by its address
// alone, and the container is the pod's sandbox, so that neither is kept.
func (r *kubeReader) ciliumEndpoint() {
	var o struct {
		Metadata kubeMeta
		Status   struct {
			State    string
			External struct {
				Pod string `json:"pod-name"` // namespace/name
			} `json:"external-identifiers"`
			Networking struct{ Addressing []struct{ IPv4, IPv6 string } }
		}
	}
	if !r.decode(&o, &o.Metadata) {
		return
	}
	w := record.Owner{Kind: record.OwnerPod, Namespace: o.Metadata.Namespace, Name: o.Metadata.Name, State: o.Status.State, Workload: kubeWorkload(o.Metadata.Labels)}
	if namespace, name, ok := strings.Cut(o.Status.External.Pod, "/"); ok {
		w.Namespace, w.Name = namespace, name
	}
	found := false
	for i, a := range o.Status.Networking.Addressing {
		found = r.owner(w, a.IPv4, r.pos("/status/networking/addressing/%d/ipv4", i)) || found
		found = r.owner(w, a.IPv6, r.pos("/status/networking/addressing/%d/ipv6", i)) || found
	}
	if !found {
		w.Pos = r.pos("/metadata/name")
		r.out.Owner(w)
	}
}
