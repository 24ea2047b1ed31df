package collect

import (
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

const inChild = "WHICHBACKEND_TEST_CILIUM"

// TestCilium records a host with a map of Cilium's and an agent. It runs itself
// again in a mount namespace, where the file system for maps is mounted.
func TestCilium(t *testing.T) {
	if os.Getenv(inChild) == "" {
		if os.Geteuid() != 0 && os.Getenv("CI") != "true" {
			t.Skip("not root")
		}
		c := exec.Command(os.Args[0], "-test.run=^TestCilium$", "-test.v")
		c.Env = append(os.Environ(), inChild+"=1")
		c.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS} // which makes its mounts private
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	root := fakeRoot(t, host1("run/cilium/x", "", "sys/fs/bpf/x", ""))
	bpffs := filepath.Join(root, "sys/fs/bpf")
	must(t, unix.Mount("bpf", bpffs, "bpf", 0, ""))
	t.Cleanup(func() { unix.Unmount(bpffs, unix.MNT_DETACH) })
	must(t, os.MkdirAll(filepath.Join(bpffs, "tc/globals"), 0o755))
	pinConnection(t, filepath.Join(bpffs, "tc/globals/cilium_ct4_global"))
	l, err := net.Listen("unix", filepath.Join(root, "run/cilium/cilium.sock"))
	must(t, err)
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/healthz":
			io.WriteString(w, `{"cilium": {"msg": "1.16.15 (v1.16.15-0)"}}`)
		case "/v1/endpoint":
			io.WriteString(w, `[{"id": 7, "status": {"external-identifiers": {"pod-name": "default/client"}, "labels": {"security-relevant": ["a=secret"]}}}]`)
		case "/v1/service":
			io.WriteString(w, `[{"spec": {"id": 1`) // and dies
		default:
			http.Error(w, "no", http.StatusInternalServerError)
		}
	})}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })

	g := record(t, Options{Root: root, Privileged: true})
	const want = "TCP SVC 10.0.0.1:40000 -> 10.96.0.10:80 expires=0 Packets=0 Bytes=0 RxFlagsSeen=0x00 LastRxReport=0 TxFlagsSeen=0x00 LastTxReport=0 Flags=0x0000 [ ] RevNAT=0 SourceSecurityID=0 IfIndex=0 BackendID=7 \n\n"
	if got := g.files["node-1/cilium-bpf-ct-list-global.txt"]; got != want {
		t.Errorf("%q", got)
	}
	if a := g.artifact(t, "node-1/cilium-bpf-ct-list-global.txt"); strings.Join(a.Command, " ") != "cilium-dbg bpf ct list global" || a.NetNS != "" {
		t.Errorf("%+v", a)
	}
	if got := g.files["node-1/cilium-endpoint-list.json"]; !strings.Contains(got, `"pod-name": "default/client"`) || strings.Contains(got, "secret") {
		t.Errorf("%s", got)
	}
	for what, because := range map[string]string{"cilium-bpf-nat-list": notFound, "cilium-bpf-lb-list": notFound, "cilium-service-list": failed, "cilium-ip-list": failed} {
		if m := g.missing(what); m.Because != because {
			t.Errorf("%s: %+v", what, m)
		}
	}
	first, then := 0, 0
	for i, a := range g.Manifest.Artifacts {
		switch filepath.Base(a.Path) {
		case "cilium-bpf-ct-list-global.txt":
			first = i
		case "ip-addr.txt":
			then = i
		}
	}
	if first > then {
		t.Error("the connections were recorded after what changes seldom")
	}
}

// pinConnection pins a map with the entry of a service.
func pinConnection(t *testing.T, path string) {
	t.Helper()
	call := func(cmd int, attr unsafe.Pointer, size uintptr) uintptr {
		r, _, e := unix.Syscall(unix.SYS_BPF, uintptr(cmd), uintptr(attr), size)
		if e != 0 {
			t.Fatal(e)
		}
		return r
	}
	create := struct{ kind, key, value, most uint32 }{unix.BPF_MAP_TYPE_LRU_HASH, 14, 56, 16}
	fd := call(unix.BPF_MAP_CREATE, unsafe.Pointer(&create), unsafe.Sizeof(create))
	defer unix.Close(int(fd))
	key := []byte{10, 96, 0, 10, 10, 0, 0, 1, 0x9c, 0x40, 0, 80, 6, 4}
	value := make([]byte, 56)
	value[8] = 7
	update := struct {
		fd, _      uint32
		key, value unsafe.Pointer
		flags      uint64
	}{fd: uint32(fd), key: unsafe.Pointer(&key[0]), value: unsafe.Pointer(&value[0])}
	call(unix.BPF_MAP_UPDATE_ELEM, unsafe.Pointer(&update), unsafe.Sizeof(update))
	name, err := unix.BytePtrFromString(path)
	must(t, err)
	pin := struct {
		path  unsafe.Pointer
		fd, _ uint32
	}{path: unsafe.Pointer(name), fd: uint32(fd)}
	call(unix.BPF_OBJ_PIN, unsafe.Pointer(&pin), unsafe.Sizeof(pin))
}
