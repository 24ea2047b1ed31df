package netns

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	idA = strings.Repeat("a1", 32)
	idB = strings.Repeat("b2", 32)
	idC = strings.Repeat("c3", 32)
)

const (
	uid  = "0620566e-0cac-4a74-a0a8-ded941824462"
	hash = "0123456789abcdef0123456789abcdef"
)

func TestContainersOf(t *testing.T) {
	under := strings.ReplaceAll(uid, "-", "_")
	for text, want := range map[string][]container{
		"0::/\n":                         nil,
		"0::/system.slice/ssh.service\n": nil,
		"0::/user.slice/user-1000.slice/x.scope\n":                                                                                 nil,
		"9:name=systemd:/kubepods/burstable/pod" + uid + "/" + idA + "\n8:pids:/\n0::/\n":                                          {{id: idA, pod: uid}},
		"0::/kubepods/pod" + hash + "/" + idA + "\n":                                                                               {{id: idA, pod: hash}},
		"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + under + ".slice/cri-containerd-" + idA + ".scope\n": {{id: idA, pod: uid}},
		"0::/kubepods.slice/kubepods-pod" + under + ".slice/crio-" + idA + ".scope/container\n":                                    {{id: idA, pod: uid}},
		"0::/kubepods.slice/kubepods-pod" + under + ".slice/crio-conmon-" + idA + ".scope\n":                                       {{pod: uid}},
		"0::/kubepods.slice/kubepods-pod" + under + ".slice/docker-" + idA + ".scope\n":                                            {{id: idA, pod: uid}},
		"0::/system.slice/containerd.service/kubepods-besteffort-pod" + under + ".slice:cri-containerd:" + idA + "\n":              {{id: idA, pod: uid}},
		"0::/../../pod" + uid + "/" + idA + "\n":                                                                                   {{id: idA, pod: uid}},
		"12:cpuset:/docker/" + idA + "\n11:cpu:/docker/" + idA + "\n":                                                              {{id: idA}},
		"0::/system.slice/docker-" + idA + ".scope\n":                                                                              {{id: idA}},
		"0::/machine.slice/libpod-" + idA + ".scope/container\n":                                                                   {{id: idA}},
		"0::/machine.slice/libpod-conmon-" + idA + ".scope\n":                                                                      nil,
		"1:name=systemd:/libpod_parent/libpod-" + idA + "\n":                                                                       {{id: idA}},
		"0::/lxc.payload.web/system.slice/ssh.service\n":                                                                           {{name: "web"}},
		"4:memory:/lxc/web\n":                                 {{name: "web"}},
		"0::/lxc.monitor.web\n":                               nil,
		"0::/machine.slice/machine-my\\x2dbox.scope/init\n":   {{name: "my-box"}},
		"0::/machine.slice/systemd-nspawn@box.service/init\n": {{name: "box"}},
		"0::/machine.slice/machine-qemu\\x2d1\\x2dvm.scope\n": nil,
		"0::/system.slice/docker-" + idB + ".scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" + under + ".slice/cri-containerd-" + idA + ".scope\n": {
			{id: idB}, {id: idA, pod: uid, within: idB}},
		"\x00:::/\n:\n" + strings.Repeat("/", 1000): nil,
	} {
		if diff := cmp.Diff(want, containersOf(text), cmp.AllowUnexported(container{})); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

func TestNsfs(t *testing.T) {
	for line, want := range map[string]string{
		"1063 24 0:4 net:[4026532182] /run/docker/netns/ingress_sbox rw shared:446 - nsfs nsfs rw": "/run/docker/netns/ingress_sbox",
		`10 24 0:4 net:[4026532182] /run/my\040ns/a\134b rw - nsfs nsfs rw`:                        `/run/my ns/a\b`,
		"10 24 0:4 mnt:[4026532182] /run/snapd/ns/x.mnt rw - nsfs nsfs rw":                         "",
		"10 24 8:1 /net:[4026532182] /mnt rw - ext4 /dev/sda1 rw":                                  "",
		"10 24 8:1 net:[4026532182] /mnt rw - ext4 /dev/sda1 rw":                                   "",
		"10 24 0:4 net:[99999999999999999999] /run/x rw - nsfs nsfs rw":                            "",
		"10 24 0:4 net:[] /run/x rw - nsfs nsfs rw":                                                "",
		"10 24 0:4 net:[4026532182] /run/x rw - nsfs":                                              "/run/x",
		"10 24 0:4 net:[4026532182] /run/x rw -":                                                   "",
		"- net:[1] -":                                                                              "",
	} {
		inode, point, ok := nsfs([]byte(line))
		if ok != (want != "") || ok && (point != want || inode != 4026532182) {
			t.Errorf("%q: %d %q %v, want %q", line, inode, point, ok, want)
		}
	}
}
