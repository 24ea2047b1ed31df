package netns

import (
	"regexp"
	"strings"
)

// container is what the control group of a process says of its container.
type container struct {
	id     string // 64 hexadecimal digits; "" where a name is all there is
	name   string // of LXC and systemd-nspawn
	pod    string // the uid, "" outside Kubernetes
	within string // the key of the container that it runs in
}

// key tells containers of a host apart.
func (c *container) key() string {
	if c.id != "" {
		return c.id
	}
	if c.pod != "" {
		return "pod " + c.pod
	}
	return "name " + c.name
}

// The folders of control groups that are containers, as the drivers write
// them. Of cgroupfs:
//
//	/kubepods/burstable/pod0620566e-0cac-4a74-a0a8-ded941824462/158047db637d...
//	/docker/22dd9d076000...
//	/libpod_parent/libpod-22dd9d076000...
//
// and of systemd:
//
//	/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0620566e_0cac_4a74_a0a8_ded941824462.slice/cri-containerd-158047db637d....scope
//	/system.slice/docker-22dd9d076000....scope
//	/machine.slice/libpod-22dd9d076000....scope/container
//	/lxc.payload.web/system.slice/ssh.service
//
// A static pod has a hash in place of the uid. A runtime that takes the systemd
// notation for a folder leaves kubepods-burstable-pod....slice:cri-containerd:158047db637d....
var (
	podFolder       = regexp.MustCompile(`(?:^|-)pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?(?::|$)`)
	containerFolder = regexp.MustCompile(`(?:^|[-:_])([0-9a-f]{64})(?:\.scope)?$`)
	lxcFolder       = regexp.MustCompile(`^lxc\.payload\.([^/]+)$`)
	nspawnFolder    = regexp.MustCompile(`^(?:machine-([^/]+)\.scope|systemd-nspawn@([^/]+)\.service)$`)
)

// containersOf reads /proc/PID/cgroup: the containers that a process is in, the
// outermost first. A host may have the old hierarchies, the new one or both,
// and not each knows of the container.
func containersOf(text string) (chain []container) {
	for line := range strings.Lines(text) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		if c := containersIn(parts[2]); len(c) > len(chain) {
			chain = c
		}
	}
	return chain
}

// containersIn reads the path of one control group.
func containersIn(path string) (chain []container) {
	pod, last := "", ""
	add := func(c container) {
		c.within = last
		chain = append(chain, c)
		last, pod = c.key(), ""
	}
	folders := strings.Split(path, "/")
	for i, folder := range folders {
		if m := podFolder.FindStringSubmatch(folder); m != nil {
			pod = strings.ReplaceAll(m[1], "_", "-")
		}
		switch {
		case strings.Contains(folder, "conmon"): // watches a container, from outside
		case containerFolder.MatchString(folder):
			add(container{id: containerFolder.FindStringSubmatch(folder)[1], pod: pod})
		default:
			if name := named(folders, i); name != "" {
				add(container{name: name})
			}
		}
	}
	if pod != "" { // the pod's own group
		add(container{pod: pod})
	}
	return chain
}

// named reads folders that are called after a container of LXC or
// systemd-nspawn.
func named(folders []string, i int) string {
	if i > 0 && (folders[i-1] == "lxc" || folders[i-1] == "lxc.payload") {
		return folders[i]
	}
	if m := lxcFolder.FindStringSubmatch(folders[i]); m != nil {
		return m[1]
	}
	m := nspawnFolder.FindStringSubmatch(folders[i])
	if m == nil {
		return ""
	}
	name := strings.ReplaceAll(m[1]+m[2], `\x2d`, "-")
	if strings.HasPrefix(name, "qemu-") || strings.HasPrefix(name, "lxc-") {
		return "" // of libvirt: a virtual machine is no container
	}
	return name
}
