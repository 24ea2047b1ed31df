package kube

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// keep is a tree of the fields of an object that are recorded. A field that
// leads to nil is kept when it is a text, a number, a truth, or a list of them.
// What is not named is not recorded: environments, command lines, annotations,
// messages and volumes are where secrets are.
type keep map[string]keep

// resource is a kind of object that is recorded.
type resource struct {
	name   string // as kubectl get knows it
	why    string
	global bool   // in no namespace
	when   string // only where a pod has a container of this name
	keep   keep
}

var (
	ports  = keep{"name": nil, "protocol": nil, "port": nil, "appProtocol": nil}
	target = keep{"kind": nil, "namespace": nil, "name": nil}
	labels = keep{
		"app": nil, "app.kubernetes.io/name": nil, "k8s-app": nil, "component": nil,
		"kubernetes.io/service-name": nil, "kubernetes.io/hostname": nil,
		"service.istio.io/canonical-name": nil, "istio.io/dataplane-mode": nil, "gateway.networking.k8s.io/gateway-name": nil,
	}
	state = keep{
		"waiting": {"reason": nil}, "running": {"startedAt": nil},
		"terminated": {"reason": nil, "exitCode": nil, "signal": nil, "startedAt": nil, "finishedAt": nil},
	}
	status    = keep{"name": nil, "containerID": nil, "image": nil, "ready": nil, "started": nil, "restartCount": nil, "state": state}
	container = keep{"name": nil, "image": nil, "restartPolicy": nil, "ports": {"name": nil, "containerPort": nil, "hostPort": nil, "protocol": nil}}
	addresses = keep{"ip": nil, "hostname": nil, "nodeName": nil, "targetRef": target}
)

// object adds to the fields of a kind those that every object has.
func object(fields keep) keep {
	fields["apiVersion"], fields["kind"] = nil, nil
	fields["metadata"] = keep{
		"name": nil, "namespace": nil, "uid": nil, "creationTimestamp": nil, "deletionTimestamp": nil, "labels": labels,
		"annotations":     {"endpoints.kubernetes.io/over-capacity": nil},
		"ownerReferences": {"kind": nil, "name": nil},
	}
	return fields
}

// resources are all kinds that are recorded, pods first.
func resources() []resource {
	return []resource{
		{name: "pods", why: "Who holds which address, on which node.", keep: object(keep{
			"spec": {"nodeName": nil, "hostNetwork": nil, "containers": container, "initContainers": container},
			"status": {
				"phase": nil, "reason": nil, "podIP": nil, "hostIP": nil, "startTime": nil, "podIPs": {"ip": nil},
				"conditions":        {"type": nil, "status": nil, "reason": nil, "lastTransitionTime": nil},
				"containerStatuses": status, "initContainerStatuses": status,
			},
		})},
		{name: "services", why: "The virtual addresses and ports that clients dial.", keep: object(keep{
			"spec": {
				"type": nil, "clusterIP": nil, "clusterIPs": nil, "externalIPs": nil, "externalName": nil, "ipFamilies": nil, "ipFamilyPolicy": nil,
				"sessionAffinity": nil, "externalTrafficPolicy": nil, "internalTrafficPolicy": nil,
				"ports": {"name": nil, "protocol": nil, "port": nil, "nodePort": nil, "targetPort": nil, "appProtocol": nil},
			},
			"status": {"loadBalancer": {"ingress": {"ip": nil, "hostname": nil}}},
		})},
		{name: "endpointslices", why: "The backends that each service may choose.", keep: object(keep{
			"addressType": nil, "ports": ports,
			"endpoints": {"addresses": nil, "conditions": {"ready": nil, "serving": nil, "terminating": nil}, "nodeName": nil, "zone": nil,
				"targetRef": target, "topology": {"kubernetes.io/hostname": nil}},
		})},
		{name: "endpoints", why: "The same in the older form, where nothing fills the newer.", keep: object(keep{
			"subsets": {"addresses": addresses, "notReadyAddresses": addresses, "ports": ports},
		})},
		{name: "nodes", why: "The nodes, their addresses and versions.", global: true, keep: object(keep{
			"spec": {"podCIDR": nil, "podCIDRs": nil, "unschedulable": nil},
			"status": {
				"addresses":  {"type": nil, "address": nil},
				"conditions": {"type": nil, "status": nil, "reason": nil},
				"nodeInfo": {"architecture": nil, "operatingSystem": nil, "kernelVersion": nil, "osImage": nil,
					"containerRuntimeVersion": nil, "kubeletVersion": nil, "kubeProxyVersion": nil},
			},
		})},
		{name: "ciliumendpoints", why: "Which addresses Cilium gave to which pod.", when: ciliumAgent, keep: object(keep{
			"status": {"state": nil, "external-identifiers": {"pod-name": nil}, "networking": {"addressing": {"ipv4": nil, "ipv6": nil}, "node": nil}},
		})},
		{name: "ciliumnodes", why: "The addresses of the nodes, Cilium's own too.", global: true, when: ciliumAgent, keep: object(keep{
			"spec": {"addresses": {"type": nil, "ip": nil}},
		})},
	}
}

// only gives what of v is kept; ok is false when that is nothing.
func only(v any, k keep) (kept any, ok bool) {
	switch v := v.(type) {
	case map[string]any:
		if k == nil {
			return nil, false
		}
		m := map[string]any{}
		for name, below := range k {
			if in, had := v[name]; had {
				if out, ok := only(in, below); ok {
					m[name] = out
				}
			}
		}
		return m, true
	case []any:
		list := make([]any, 0, len(v))
		for _, e := range v {
			if _, nested := e.([]any); nested {
				continue
			}
			if out, ok := only(e, k); ok {
				list = append(list, out)
			}
		}
		return list, true
	}
	return v, k == nil
}

// filter copies a list of objects as kubectl get -o json prints it, with the
// fields that are kept. Each object that is copied is also given to each. It
// holds one object in memory at a time. Past limit bytes it ends the list with
// the last object that fits, and cut is true.
func filter(in io.Reader, out io.Writer, k keep, limit int64, each func(any) error) (cut bool, err error) {
	d := json.NewDecoder(in)
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return false, notAList(err)
	}
	w := &listWriter{out: out, limit: limit}
	found := false
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return false, notAList(err)
		}
		if name != "items" {
			var skip json.RawMessage
			if err := d.Decode(&skip); err != nil {
				return false, notAList(err)
			}
			continue
		}
		if found = true; !w.begin() {
			return false, w.err
		}
		if err := filterItems(d, w, k, each); err != nil {
			return false, err
		}
	}
	if !found {
		return false, notAList(nil)
	}
	return w.cut, w.finish()
}

func filterItems(d *json.Decoder, w *listWriter, k keep, each func(any) error) error {
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return notAList(err)
	}
	for d.More() {
		var item any
		if err := d.Decode(&item); err != nil {
			return notAList(err)
		}
		kept, ok := only(item, k)
		if _, isObject := kept.(map[string]any); !ok || !isObject {
			continue
		}
		if w.add(kept); w.err != nil {
			return w.err
		}
		if err := each(kept); err != nil {
			return err
		}
	}
	_, err := d.Token()
	return err
}

func notAList(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return errors.New("kubectl gave no list of objects")
	}
	return fmt.Errorf("kubectl gave no list of objects: %w", err)
}

// listWriter writes a list in the shape that kubectl gives it.
type listWriter struct {
	out   io.Writer
	limit int64
	size  int64
	some  bool
	cut   bool
	err   error
}

const listEnd = "    ],\n    \"kind\": \"List\",\n    \"metadata\": {\n        \"resourceVersion\": \"\"\n    }\n}\n"

func (w *listWriter) write(s string) bool {
	if w.err == nil {
		_, w.err = io.WriteString(w.out, s)
		w.size += int64(len(s))
	}
	return w.err == nil
}

func (w *listWriter) begin() bool {
	return w.write("{\n    \"apiVersion\": \"v1\",\n    \"items\": [\n")
}

// add adds an object, unless one before it did not fit.
func (w *listWriter) add(item any) {
	b, err := json.MarshalIndent(item, "        ", "    ")
	if err != nil {
		w.err = err
		return
	}
	text := "        " + string(b)
	if w.some {
		text = ",\n" + text
	}
	if w.cut || w.size+int64(len(text)+len(listEnd)) > w.limit {
		w.cut = true
		return
	}
	w.some = true
	w.write(text)
}

func (w *listWriter) finish() error {
	if w.some {
		w.write("\n")
	}
	w.write(listEnd)
	return w.err
}
