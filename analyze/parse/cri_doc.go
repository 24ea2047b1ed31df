package parse

import (
	"encoding/json"
	"strconv"
	"strings"

	"whichbackend/analyze/record"
)

// Documents of crictl: ps -o json {"containers": [...]}, pods -o json
// {"items": [...]}, inspect and inspectp {"status": {...}, "info": {...}},
// where a list of several may stand for one (cri-tools 1.31 on):
//
//	{"status": {"id": "623b3b19...", "metadata": {"name": "nginx-677f5bbd6f-4bzgv", "namespace": "default"}, "state": "SANDBOX_READY",
//	   "network": {"additionalIps": [{"ip": "fd00:10:244:1::3"}], "ip": "10.244.1.3"}}, "info": {"pid": 539}}
type criMetadata struct{ Name, Namespace string }

type criItem struct {
	ID       string            `json:"id"`
	Metadata criMetadata       `json:"metadata"`
	State    string            `json:"state"`
	Labels   map[string]string `json:"labels"`
}

type criInspect struct {
	Status struct {
		criItem
		Network *struct {
			IP            string `json:"ip"`
			AdditionalIPs []struct {
				IP string `json:"ip"`
			} `json:"additionalIps"`
		} `json:"network"`
		Linux struct {
			Namespaces struct {
				Options struct {
					Network string `json:"network"`
				} `json:"options"`
			} `json:"namespaces"`
		} `json:"linux"`
	} `json:"status"`
	Info struct {
		PID         int            `json:"pid"`
		RuntimeSpec criRuntimeSpec `json:"runtimeSpec"`
	} `json:"info"`
}

// criRuntimeSpec is the part of an OCI runtime spec that tells namespaces.
type criRuntimeSpec struct {
	Annotations map[string]string `json:"annotations"`
	Linux       struct {
		Namespaces []struct {
			Type string `json:"type"`
			Path string `json:"path"`
		} `json:"namespaces"`
	} `json:"linux"`
}

// netns tells the network namespace: its name, or a process inside it.
func (s *criRuntimeSpec) netns() (name string, pid int) {
	for _, n := range s.Linux.Namespaces {
		if n.Type != "network" {
			continue
		}
		if p, ok := strings.CutPrefix(n.Path, "/proc/"); ok {
			p, _, _ = strings.Cut(p, "/")
			if v, ok := number([]byte(p)); ok && v < 1<<31 {
				pid = int(v)
			}
			return "", pid
		}
		return dockerNetns(n.Path), 0
	}
	return "", 0
}

func crictlClaim(d *Doc) bool {
	if d.IsArray() {
		if d = d.First(); d == nil {
			return false
		}
		return criIsInspect(d)
	}
	if criIsInspect(d) {
		return true
	}
	var items []struct {
		PodSandboxID string      `json:"podSandboxId"`
		Metadata     criMetadata `json:"metadata"`
		State        string      `json:"state"`
	}
	if d.Has("containers") {
		return d.Get("containers", &items) && (len(items) == 0 || items[0].PodSandboxID != "")
	}
	if d.Has("items") && !d.Has("kind") && !d.Has("apiVersion") {
		return d.Get("items", &items) && (len(items) == 0 || strings.HasPrefix(items[0].State, "SANDBOX_"))
	}
	return false
}

func criIsInspect(d *Doc) bool {
	var s struct {
		ID       string       `json:"id"`
		Metadata *criMetadata `json:"metadata"`
		State    string       `json:"state"`
	}
	if !d.Has("status", "info") || !d.Get("status", &s) || s.Metadata == nil {
		return false
	}
	return strings.HasPrefix(s.State, "SANDBOX_") || strings.HasPrefix(s.State, "CONTAINER_")
}

func crictlDoc(d *Doc, out *Out) {
	if d.IsArray() {
		for i, raw := range d.Elements() {
			criInspected(raw, "/"+strconv.Itoa(i), out)
		}
		return
	}
	if d.Has("status") {
		criInspected(d.Raw, "", out)
		return
	}
	var list struct {
		Containers []criItem `json:"containers"`
		Items      []criItem `json:"items"`
	}
	dockerDecode(d.Raw, &list, "", out)
	for i := range list.Containers {
		out.At("/containers/" + strconv.Itoa(i))
		criEmit(list.Containers[i].owner(), out)
	}
	for i := range list.Items {
		out.At("/items/" + strconv.Itoa(i))
		criEmit(list.Items[i].owner(), out)
	}
}

func criEmit(o record.Owner, out *Out) {
	if o.ContainerID == "" {
		out.Problem("expected an id")
		return
	}
	out.Owner(o)
}

// owner is the pod that an item is, or is a container of. States are in the
// words of crictl's tables.
func (c *criItem) owner() record.Owner {
	o := record.Owner{Kind: record.OwnerPod, ContainerID: c.ID, Name: c.Metadata.Name, Namespace: c.Metadata.Namespace, State: c.State}
	if s, ok := strings.CutPrefix(c.State, "CONTAINER_"); ok {
		o.Name, o.Namespace = c.Labels["io.kubernetes.pod.name"], c.Labels["io.kubernetes.pod.namespace"]
		o.Containers = []string{c.Metadata.Name}
		o.State = s
	}
	switch s := strings.TrimPrefix(o.State, "SANDBOX_"); {
	case s == "NOTREADY":
		o.State = "NotReady"
	case len(s) > 1:
		o.State = s[:1] + strings.ToLower(s[1:])
	}
	return o
}

// criInspected reads one object of crictl inspect or inspectp.
func criInspected(raw json.RawMessage, at string, out *Out) {
	var c criInspect
	dockerDecode(raw, &c, at, out)
	o := c.Status.owner()
	o.PID = max(c.Info.PID, 0)
	o.Netns, _ = c.Info.RuntimeSpec.netns()
	o.HostNetwork = c.Status.Linux.Namespaces.Options.Network == "NODE"
	if c.Status.Network == nil || c.Status.Network.IP == "" {
		out.At(at + "/status")
		criEmit(o, out)
		return
	}
	texts := []string{c.Status.Network.IP}
	pointers := []string{at + "/status/network/ip"}
	for i, a := range c.Status.Network.AdditionalIPs {
		texts = append(texts, a.IP)
		pointers = append(pointers, at+"/status/network/additionalIps/"+strconv.Itoa(i)+"/ip")
	}
	for i, text := range texts {
		out.At(pointers[i])
		a, ok := address([]byte(text))
		if !ok {
			out.Problem("expected an IP address")
			continue
		}
		w := o
		w.Address = a
		criEmit(w, out)
	}
}
