package netns

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"whichbackend/collect/bundle"
)

// index names containers and pods from what the kubelet and the runtimes leave
// in the host's folders. That needs no daemon, and works with every runtime.
type index struct {
	root       string
	containers map[string]bundle.Owner // by id
	pods       map[string]bundle.Owner // by uid
	asked      map[string]bool         // ids that were looked for in the runtimes' folders
}

// logName is a link in /var/log/containers. Names of Kubernetes hold no _.
var logName = regexp.MustCompile(`^([^_]+)_([^_]+)_(.+)-([0-9a-f]{64})\.log$`)

func newIndex(root string) *index {
	x := &index{root: root, containers: map[string]bundle.Owner{}, pods: map[string]bundle.Owner{}, asked: map[string]bool{}}
	for _, name := range list(filepath.Join(root, "var/log/containers")) {
		if m := logName.FindStringSubmatch(name); m != nil {
			x.containers[m[4]] = bundle.Owner{Kind: "pod", Namespace: m[2], Name: m[1], Container: m[3]}
		}
	}
	for _, name := range list(filepath.Join(root, "var/log/pods")) {
		if p := strings.Split(name, "_"); len(p) == 3 {
			x.pods[p[2]] = bundle.Owner{Kind: "pod", Namespace: p[0], Name: p[1]}
		}
	}
	x.podman()
	return x
}

// list gives the names in a folder; none when it cannot be read.
func list(dir string) []string {
	d, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	return names
}

// podman reads the names of podman's containers from its list of layers.
func (x *index) podman() {
	var all []struct {
		ID    string   `json:"id"`
		Names []string `json:"names"`
	}
	if !x.read(&all, "var/lib/containers/storage/overlay-containers/containers.json") {
		return
	}
	for _, c := range all {
		if _, known := x.containers[c.ID]; known || len(c.Names) == 0 || strings.HasPrefix(c.Names[0], "k8s_") {
			continue // CRI-O keeps its containers in the same list
		}
		x.containers[c.ID] = bundle.Owner{Kind: "container", Name: c.Names[0]}
	}
}

// of names a container of the host; ok is false when nothing does.
func (x *index) of(c *container) (o bundle.Owner, ok bool) {
	if c.id == "" {
		o, ok = x.pods[c.pod]
		return o, ok
	}
	if o, ok = x.containers[c.id]; ok {
		return o, true
	}
	if !x.asked[c.id] {
		x.asked[c.id] = true
		if o, ok = x.runtimes(c.id); ok {
			x.containers[c.id] = o
			return o, true
		}
	}
	if o, ok = x.pods[c.pod]; ok && c.pod != "" {
		o.Container = x.only(c.pod)
		return o, true
	}
	return bundle.Owner{}, false
}

// only gives the name of a pod's container when it has but one. Its sandbox
// gets the name too, which does no harm.
func (x *index) only(uid string) string {
	names := list(filepath.Join(x.root, "var/lib/kubelet/pods", uid, "containers"))
	if len(names) != 1 {
		return ""
	}
	return names[0]
}

// runtimes looks for a container in the folders of containerd, CRI-O and
// docker.
func (x *index) runtimes(id string) (bundle.Owner, bool) {
	const task = "run/containerd/io.containerd.runtime.v2.task"
	for _, file := range []string{
		filepath.Join(task, "k8s.io", id, "config.json"),
		filepath.Join("run/containers/storage/overlay-containers", id, "userdata/config.json"),
		filepath.Join("var/run/containers/storage/overlay-containers", id, "userdata/config.json"),
		filepath.Join(task, "default", id, "config.json"),
	} {
		var config struct {
			Annotations annotations `json:"annotations"`
		}
		if x.read(&config, file) {
			if o, ok := config.Annotations.owner(); ok {
				return o, true
			}
		}
	}
	var config struct{ Name string }
	if x.read(&config, filepath.Join("var/lib/docker/containers", id, "config.v2.json")) && config.Name != "" {
		return bundle.Owner{Kind: "container", Name: strings.TrimPrefix(config.Name, "/")}, true
	}
	return bundle.Owner{}, false
}

// annotations are those few of a container's that hold names, of containerd,
// CRI-O and nerdctl. All else, the environment above all, is never decoded.
type annotations struct {
	Pod        string `json:"io.kubernetes.cri.sandbox-name"`
	Namespace  string `json:"io.kubernetes.cri.sandbox-namespace"`
	Container  string `json:"io.kubernetes.cri.container-name"`
	PodO       string `json:"io.kubernetes.pod.name"`
	NamespaceO string `json:"io.kubernetes.pod.namespace"`
	ContainerO string `json:"io.kubernetes.container.name"`
	Nerdctl    string `json:"nerdctl/name"`
}

func (a *annotations) owner() (bundle.Owner, bool) {
	switch {
	case a.Pod != "":
		return bundle.Owner{Kind: "pod", Namespace: a.Namespace, Name: a.Pod, Container: a.Container}, true
	case a.PodO != "":
		o := bundle.Owner{Kind: "pod", Namespace: a.NamespaceO, Name: a.PodO, Container: a.ContainerO}
		if o.Container == "POD" { // CRI-O's name for a sandbox
			o.Container = ""
		}
		return o, true
	}
	return bundle.Owner{Kind: "container", Name: a.Nerdctl}, a.Nerdctl != ""
}

// read decodes a JSON file of a runtime. A config.json has some 10 KB; the list
// of a host with many containers a few 100.
func (x *index) read(v any, name string) bool {
	f, err := os.Open(filepath.Join(x.root, name))
	if err != nil {
		return false
	}
	defer f.Close()
	return json.NewDecoder(io.LimitReader(f, 16<<20)).Decode(v) == nil
}
