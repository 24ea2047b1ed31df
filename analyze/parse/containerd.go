package parse

import (
	"bytes"
	"strconv"
	"strings"

	"whichbackend/analyze/record"
)

// containerd's ctr (1.6.20: ctr -n k8s.io tasks ls, containers ls, containers
// info) and runc (1.1.5: runc list, runc list -f json, runc state):
//
//	TASK                                                                PID    STATUS
//	623b3b19bfc6dd41f460280daf7e5d13468d37fad67287fe7fb7358c6f8de4f9    539    RUNNING
//
//	{"ociVersion": "1.0.2-dev", "id": "623b3b19...", "pid": 539, "status": "running", "bundle": "...",
//	 "annotations": {"io.kubernetes.cri.sandbox-name": "nginx-677f5bbd6f-4bzgv", "io.kubernetes.cri.sandbox-namespace": "default"}}
//
// They tie a container's id to a process, and the JSON also to a pod.
var containerdFormat = Format{Name: "containerd", Head: containerdHead, Open: containerdOpen, Claim: containerdClaim, Doc: containerdDoc}

func containerdHead(line []byte) bool {
	if len(line) < 12 {
		return false
	}
	switch c := line[0]; {
	case c == 'T' || c == 'C' || c == 'I':
		return containerdHeader(line) != ""
	case c >= '0' && c <= '9' || c >= 'a' && c <= 'f':
		if bytes.IndexByte(line, ' ') != 64 || !dockerIsHex(string(line[:64])) {
			return false
		}
		_, ok := containerdRow(strings.Fields(string(line)))
		return ok
	}
	return false
}

// containerdHeader names the table that a header begins; "" for none.
func containerdHeader(line []byte) string {
	for _, first := range []string{"TASK ", "CONTAINER ", "ID "} {
		if !bytes.HasPrefix(line, []byte(first)) {
			continue
		}
		switch s := strings.Join(strings.Fields(string(line)), " "); s {
		case "TASK PID STATUS", "CONTAINER IMAGE RUNTIME", "ID PID STATUS BUNDLE CREATED OWNER":
			return s
		}
	}
	return ""
}

func containerdOpen(out *Out) (func([]byte), func()) {
	return func(b []byte) {
		trimmed := bytes.TrimSpace(b)
		if len(trimmed) == 0 {
			return
		}
		if containerdHeader(trimmed) != "" {
			out.Understood()
			return
		}
		o, ok := containerdRow(strings.Fields(string(trimmed)))
		switch {
		case !ok:
			out.Problem("expected a container with its process and status, or its image and runtime")
		case o.State == "":
			out.Understood() // an id and its image
		default:
			out.Owner(o)
		}
	}, nil
}

// containerdRow reads a row of any of the tables; State is "" where the row
// tells only the image.
func containerdRow(words []string) (record.Owner, bool) {
	o := record.Owner{Kind: record.OwnerContainer}
	if len(words) < 3 {
		return o, false
	}
	o.ContainerID = words[0]
	if strings.HasPrefix(words[2], "io.containerd.") {
		return o, len(words) == 3
	}
	pid, ok := number([]byte(words[1]))
	if !ok || pid > 1<<31-1 {
		return o, false
	}
	switch words[2] {
	case "RUNNING", "PAUSED", "CREATED", "PAUSING", "running", "paused", "created":
		o.PID = int(pid)
	case "STOPPED", "UNKNOWN", "stopped": // the process is gone
	default:
		return o, false
	}
	o.State = words[2]
	return o, true
}

type containerdObject struct {
	// ctr containers info
	Labels map[string]string
	Spec   criRuntimeSpec
	// runc state and list; ID is in both
	ID          string `json:"id"`
	PID         int    `json:"pid"`
	Status      string `json:"status"`
	Annotations map[string]string
}

func containerdIs(d *Doc) bool {
	return d.Has("ociVersion", "id", "status", "bundle") || d.Has("ID", "Labels", "Runtime", "Spec")
}

func containerdClaim(d *Doc) bool {
	if d.IsArray() {
		d = d.First()
	}
	return d != nil && containerdIs(d)
}

func containerdDoc(d *Doc, out *Out) {
	if !d.IsArray() {
		containerdRead(d.Raw, "", out)
		return
	}
	for i, raw := range d.Elements() {
		containerdRead(raw, "/"+strconv.Itoa(i), out)
	}
}

func containerdRead(raw []byte, at string, out *Out) {
	var c containerdObject
	dockerDecode(raw, &c, at, out)
	out.At(at)
	if c.ID == "" {
		out.Problem("expected a container's id")
		return
	}
	o := record.Owner{Kind: record.OwnerContainer, ContainerID: c.ID, State: c.Status}
	if c.Status != "stopped" {
		o.PID = max(c.PID, 0)
	}
	netns, pid := c.Spec.netns()
	o.Netns = netns
	if o.PID == 0 {
		o.PID = pid // the pod's sandbox process, in the same namespace
	}
	if pod := containerdNote(&c, "io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"); pod != "" {
		o.Kind, o.Name = record.OwnerPod, pod
		o.Namespace = containerdNote(&c, "io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace")
		name := containerdNote(&c, "io.kubernetes.cri.container-name", "io.kubernetes.container.name")
		if name != "" && name != "POD" { // CRI-O calls a sandbox so
			o.Containers = []string{name}
		}
	}
	out.Owner(o)
}

// containerdNote finds what is noted under the first of the keys: containerd
// and CRI-O annotate under different ones, and both keep labels.
func containerdNote(c *containerdObject, keys ...string) string {
	for _, notes := range []map[string]string{c.Annotations, c.Spec.Annotations, c.Labels} {
		for _, k := range keys {
			if v := notes[k]; v != "" {
				return v
			}
		}
	}
	return ""
}
