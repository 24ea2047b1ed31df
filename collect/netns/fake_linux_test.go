package netns

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"whichbackend/collect/bundle"
	"whichbackend/collect/docker"
)

const secret = "hunter2-do-not-record"

// Network namespaces of fake hosts.
const (
	ofHost = 4026531840
	first  = 4026532100
	second = 4026532200
)

// fake is a host of files.
type fake struct {
	t    *testing.T
	root string
	pid  int
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{t: t, root: t.TempDir()}
	f.file("proc/sys/kernel/hostname", "node1\n")
	f.link("proc/self/ns/net", fmt.Sprintf("net:[%d]", ofHost))
	f.link("proc/self/ns/mnt", "mnt:[1]")
	f.process(ofHost, "systemd", "/init.scope")
	return f
}

func (f *fake) file(name, text string) {
	f.t.Helper()
	name = filepath.Join(f.root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fake) link(name, to string) {
	f.t.Helper()
	name = filepath.Join(f.root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Symlink(to, name); err != nil {
		f.t.Fatal(err)
	}
}

// process starts one in a namespace and a control group; the first is 1.
func (f *fake) process(inode int, comm, cgroup string) (dir string) {
	f.t.Helper()
	f.pid++
	dir = fmt.Sprintf("proc/%d/", f.pid)
	f.link(dir+"ns/net", fmt.Sprintf("net:[%d]", inode))
	f.link(dir+"ns/mnt", "mnt:[1]")
	f.file(dir+"comm", comm+"\n")
	if strings.HasPrefix(cgroup, "/") {
		cgroup = "0::" + cgroup
	}
	f.file(dir+"cgroup", cgroup+"\n")
	return dir
}

// list gives the owners of every namespace in short form.
func (f *fake) list(o Options) map[string][]string {
	f.t.Helper()
	o.Root = f.root
	found, err := List(f.t.Context(), o)
	if err != nil {
		f.t.Fatal(err)
	}
	defer found.Close()
	if len(found.Namespaces) == 0 || !found.Namespaces[0].Host {
		f.t.Error("the host's namespace is not the first")
	}
	got := map[string][]string{}
	for _, n := range found.Namespaces {
		if got[n.ID] != nil {
			f.t.Errorf("namespace %s stands there twice", n.ID)
		}
		got[n.ID] = []string{}
		for _, o := range n.Owners {
			got[n.ID] = append(got[n.ID], text(o))
		}
	}
	return got
}

// text writes an owner as kind namespace/name/container pid.
func text(o bundle.Owner) string {
	s := o.Kind + " "
	if o.Namespace != "" {
		s += o.Namespace + "/"
	}
	s += o.Name
	if o.Container != "" {
		s += "/" + o.Container
	}
	if o.PID != 0 {
		s += fmt.Sprint(" ", o.PID)
	}
	return s
}

// wants compares the owners of one namespace.
func wants(t *testing.T, got map[string][]string, inode int, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got[fmt.Sprint(inode)]); diff != "" {
		t.Errorf("owners of %d (-want +got):\n%s", inode, diff)
	}
}

func v1(path string) string { return "9:name=systemd:" + path + "\n4:memory:" + path + "\n0::/" }

// TestKubelet has the names of the recorded cluster: cgroupfs, and systemd.
func TestKubelet(t *testing.T) {
	under := strings.ReplaceAll(uid, "-", "_")
	for driver, group := range map[string]func(id string) string{
		"cgroupfs-v1": func(id string) string { return v1("/kubepods/burstable/pod" + uid + "/" + id) },
		"cgroupfs-v2": func(id string) string { return "/kubepods/burstable/pod" + uid + "/" + id },
		"systemd-v1": func(id string) string {
			return v1("/kubepods.slice/kubepods-pod" + under + ".slice/cri-containerd-" + id + ".scope")
		},
		"systemd-v2": func(id string) string { return "/kubepods.slice/kubepods-pod" + under + ".slice/crio-" + id + ".scope" },
	} {
		t.Run(driver, func(t *testing.T) {
			f := newFake(t)
			f.process(first, "pause", group(idA))
			f.process(first, "nginx", group(idB))
			f.process(first, "nginx", group(idB))
			f.process(first, "envoy", group(idC))
			f.file("var/log/pods/shop_api-9dd4f94cb-v7vmj_"+uid+"/api/0.log", "")
			f.link("var/log/containers/api-9dd4f94cb-v7vmj_shop_api-"+idB+".log", "/var/log/pods/x")
			f.link("var/log/containers/api-9dd4f94cb-v7vmj_shop_istio-proxy-"+idC+".log", "/var/log/pods/x")
			got := f.list(Options{})
			wants(t, got, first, "pod shop/api-9dd4f94cb-v7vmj/api 3", "pod shop/api-9dd4f94cb-v7vmj/istio-proxy 5")
			wants(t, got, ofHost, "host node1")
		})
	}
}

func TestStaticPodOnTheHostsNetwork(t *testing.T) {
	f := newFake(t)
	f.process(ofHost, "pause", "/kubepods/pod"+hash+"/"+idA)
	f.process(ofHost, "etcd", "/kubepods/pod"+hash+"/"+idB)
	f.process(ofHost, "registry", "/docker/"+idC)
	f.file("var/log/pods/kube-system_etcd-node1_"+hash+"/etcd/0.log", "")
	f.link("var/log/containers/etcd-node1_kube-system_etcd-"+idB+".log", "/var/log/pods/x")
	got := f.list(Options{Docker: map[string]docker.Container{idC: {Name: "registry", PID: 4, NetworkMode: "host"}}})
	wants(t, got, ofHost, "host node1", "pod kube-system/etcd-node1/etcd 3", "container registry 4")
}

// TestWithoutLogs finds names where the kubelet's folders of logs are absent.
func TestWithoutLogs(t *testing.T) {
	env := `"process":{"env":["PASSWORD=` + secret + `"],"args":["` + secret + `"]}`
	for name, c := range map[string]struct {
		file, text string
		want       string
	}{
		"containerd": {"run/containerd/io.containerd.runtime.v2.task/k8s.io/" + idA + "/config.json",
			`{"ociVersion":"1.1.0",` + env + `,"annotations":{"io.kubernetes.cri.sandbox-name":"web-1","io.kubernetes.cri.sandbox-namespace":"shop","io.kubernetes.cri.container-name":"app","token":"` + secret + `"}}`,
			"pod shop/web-1/app 2"},
		"cri-o": {"run/containers/storage/overlay-containers/" + idA + "/userdata/config.json",
			`{` + env + `,"annotations":{"io.kubernetes.pod.name":"web-1","io.kubernetes.pod.namespace":"shop","io.kubernetes.container.name":"app","io.kubernetes.cri-o.Annotations":"` + secret + `"}}`,
			"pod shop/web-1/app 2"},
		"cri-o-sandbox": {"run/containers/storage/overlay-containers/" + idA + "/userdata/config.json",
			`{"annotations":{"io.kubernetes.pod.name":"web-1","io.kubernetes.pod.namespace":"shop","io.kubernetes.container.name":"POD"}}`, "pod shop/web-1 2"},
		"kubelet":  {"var/lib/kubelet/pods/" + uid + "/containers/app/5f2a", "", "pod shop/web-1/app 2"},
		"hostname": {"proc/2/root/etc/hostname", "web-1\n", "pod web-1 2"},
		"nothing":  {"var/lib/unrelated", "", "process nginx 2"},
		"broken":   {"run/containerd/io.containerd.runtime.v2.task/k8s.io/" + idA + "/config.json", `{"annotations":{"io.kubernetes.cri.sandbox-name":"` + secret, "process nginx 2"},
		"no name":  {"proc/2/root/etc/hostname", "!" + secret + "\n", "process nginx 2"},
		"the host": {"proc/2/root/etc/hostname", "node1\n", "process nginx 2"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.process(first, "nginx", "/kubepods/pod"+uid+"/"+idA)
			f.file(c.file, c.text)
			if name == "kubelet" {
				f.file("var/log/pods/shop_web-1_"+uid+"/app/0.log", "")
			}
			wants(t, f.list(Options{}), first, c.want)
		})
	}
}

// TestSandboxLearnsFromItsSibling: the sandbox has no log, and its hostname
// alone would make a second pod of it.
func TestSandboxLearnsFromItsSibling(t *testing.T) {
	f := newFake(t)
	dir := f.process(first, "pause", "/kubepods/pod"+uid+"/"+idA)
	f.file(dir+"root/etc/hostname", "web-1\n")
	f.process(first, "nginx", "/kubepods/pod"+uid+"/"+idB)
	f.link("var/log/containers/web-1_shop_app-"+idB+".log", "/var/log/pods/x")
	wants(t, f.list(Options{}), first, "pod shop/web-1/app 3")
}

// TestHostnameIsATrap: a container may put anything in the place of the file.
func TestHostnameIsATrap(t *testing.T) {
	f := newFake(t)
	f.file("etc/hostname", secret+"\n")
	dir := f.process(first, "link", "/kubepods/pod"+uid+"/"+idA)
	f.link(dir+"root/etc/hostname", filepath.Join(f.root, "etc/hostname"))
	dir = f.process(second, "pipe", "/kubepods/pod"+hash+"/"+idB)
	f.file(dir+"root/etc/x", "")
	if err := syscall.Mkfifo(filepath.Join(f.root, dir, "root/etc/hostname"), 0o644); err != nil {
		t.Fatal(err)
	}
	got := f.list(Options{})
	wants(t, got, first, "process link 2")
	wants(t, got, second, "process pipe 3")
}

func TestContainersWithoutKubernetes(t *testing.T) {
	f := newFake(t)
	all := []struct{ cgroup, want string }{
		{"/system.slice/docker-" + idA + ".scope", "container demo_nginx.1.x 2"},
		{"/machine.slice/libpod-" + idB + ".scope/container", "container web 3"},
		{"/docker/" + idC, "container old 4"},
		{"/system.slice/docker-" + strings.Repeat("d4", 32) + ".scope", "container d4d4d4d4d4d4 5"},
		{"/lxc.payload.box/init.scope", "container box 6"},
		{"/default/" + strings.Repeat("e5", 32), "container nerd 7"},
		{"/system.slice/named.service", "process named 8"},
	}
	for i, c := range all {
		f.process(first+i, "named", c.cgroup)
	}
	f.file("var/lib/containers/storage/overlay-containers/containers.json", `[{"id":"`+idB+`","names":["web"],"metadata":"`+secret+`"}]`)
	f.file("var/lib/docker/containers/"+idC+"/config.v2.json", `{"Config":{"Env":["P=`+secret+`"]},"Name":"/old"}`)
	f.file("run/containerd/io.containerd.runtime.v2.task/default/"+strings.Repeat("e5", 32)+"/config.json", `{"annotations":{"nerdctl/name":"nerd","nerdctl/extraHosts":"`+secret+`"}}`)
	got := f.list(Options{Docker: map[string]docker.Container{idA: {Name: "demo_nginx.1.x", PID: 2}}})
	for i, c := range all {
		wants(t, got, first+i, c.want)
	}
}

// TestDockersNamespaces has the mounts of the recorded swarm. A container whose
// process is not seen is told by the name of its namespace.
func TestDockersNamespaces(t *testing.T) {
	f := newFake(t)
	f.file("proc/self/mountinfo", "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"+
		"3 1 0:4 net:[4026532182] /run/docker/netns/ingress_sbox rw shared:4 - nsfs nsfs rw\n"+
		"3 1 0:4 net:[4026532182] /var/run/docker/netns/ingress_sbox rw shared:4 - nsfs nsfs rw\n"+
		"4 1 0:4 net:[4026532237] /run/docker/netns/lb_632qywu7e rw - nsfs nsfs rw\n"+
		"5 1 0:4 net:[4026532463] /run/docker/netns/2363dda8e72d rw - nsfs nsfs rw\n"+
		"6 1 0:4 net:[4026532500] /run/netns/blue rw - nsfs nsfs rw\n"+
		"7 1 0:4 net:[4026532600] /var/run/crio/ns/9b2c/net rw - nsfs nsfs rw") // cut: no newline
	f.process(4026532500, "nc", "/user.slice")
	got := f.list(Options{Docker: map[string]docker.Container{idA: {Name: "demo_client.1.x", PID: 948, NetNS: "/var/run/docker/netns/2363dda8e72d"}}})
	wants(t, got, 4026532182, "netns ingress_sbox")
	wants(t, got, 4026532237, "netns lb_632qywu7e")
	wants(t, got, 4026532463, "container demo_client.1.x 948", "netns 2363dda8e72d")
	wants(t, got, 4026532500, "netns blue")
	wants(t, got, 4026532600, "netns 9b2c")
	if len(got) != 6 {
		t.Errorf("%d namespaces, want 6: %v", len(got), got)
	}
}

// TestNodeInAContainer: to the host a kind node is a container, in whose
// namespace pods lie. It is the node's all the same.
func TestNodeInAContainer(t *testing.T) {
	f := newFake(t)
	node := "/system.slice/docker-" + idA + ".scope"
	f.process(first, "kubelet", node+"/kubelet.slice")
	dir := f.process(first, "kube-proxy", node+"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod"+strings.ReplaceAll(uid, "-", "_")+".slice/cri-containerd-"+idB+".scope")
	f.file(dir+"root/etc/hostname", "kind-worker\n")
	wants(t, f.list(Options{Docker: map[string]docker.Container{idA: {Name: "kind-worker"}}}), first, "container kind-worker 2", "pod kind-worker 3")
}

// TestSharedNamespace: docker run --network container:web.
func TestSharedNamespace(t *testing.T) {
	f := newFake(t)
	f.process(first, "debug", "/docker/"+idA)
	f.process(first, "web", "/docker/"+idB)
	got := f.list(Options{Docker: map[string]docker.Container{idA: {Name: "a-debug", NetworkMode: "container:" + idB}, idB: {Name: "web"}}})
	wants(t, got, first, "container web 3", "container a-debug 2")
}

func TestManyOwners(t *testing.T) {
	f := newFake(t)
	for i := range 100 {
		f.process(first, fmt.Sprint("p", i), "/")
	}
	got := f.list(Options{})[fmt.Sprint(first)]
	if len(got) != mostOwners || !slices.Contains(got, "process p0 2") {
		t.Errorf("%d owners, want %d: %v", len(got), mostOwners, got)
	}
	if again := f.list(Options{})[fmt.Sprint(first)]; !slices.Equal(got, again) {
		t.Errorf("another order the second time: %v, then %v", got, again)
	}
}

// TestCollectorInAContainer: its own namespace is not the host's.
func TestCollectorInAContainer(t *testing.T) {
	f := newFake(t)
	f.process(first, "collect", "/docker/"+idA)
	os.Remove(filepath.Join(f.root, "proc/self/ns/net"))
	f.link("proc/self/ns/net", fmt.Sprintf("net:[%d]", first))
	found, err := List(t.Context(), Options{Root: f.root})
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	if n := found.Namespaces; len(n) != 2 || !n[0].Host || n[0].Self || n[1].Host || !n[1].Self || n[1].ID != fmt.Sprint(first) {
		t.Errorf("got %+v and %+v, want the host's, then the collector's own", n[0], n[1])
	}
}
