package cilium

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"whichbackend/analyze/parse"
	"whichbackend/analyze/record"
)

// lack skips a test that cannot run here; in CI it must.
func lack(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// kv is an entry of a map.
type kv struct{ key, value []byte }

// testNode is a host with pinned maps, in a mount namespace of its own.
type testNode struct {
	t    testing.TB
	root string
}

// newNode mounts a file system for maps where only this test sees it. The thread
// ends with the test, and with it the namespace, the mount and the maps.
func newNode(t testing.TB) *testNode {
	t.Helper()
	if os.Geteuid() != 0 {
		lack(t, "not root")
	}
	n := &testNode{t, t.TempDir()}
	at := filepath.Join(n.root, "sys/fs/bpf")
	must(t, os.MkdirAll(at, 0o755))
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		lack(t, "unshare: "+err.Error())
	}
	must(t, unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	if err := unix.Mount("bpf", at, "bpf", 0, ""); err != nil {
		lack(t, "mount bpf: "+err.Error())
	}
	t.Cleanup(func() { unix.Unmount(at, unix.MNT_DETACH) })
	must(t, os.MkdirAll(filepath.Join(at, "tc/globals"), 0o755))
	return n
}

// pin makes a map, fills it and pins it, and gives a descriptor to write to it.
func (n *testNode) pin(name string, kind, key, value, most int, entries []kv) int {
	n.t.Helper()
	create := struct{ kind, key, value, most, flags uint32 }{uint32(kind), uint32(key), uint32(value), uint32(most), 0}
	if kind == unix.BPF_MAP_TYPE_LPM_TRIE {
		create.flags = unix.BPF_F_NO_PREALLOC
	}
	fd, err := bpf(unix.BPF_MAP_CREATE, unsafe.Pointer(&create), unsafe.Sizeof(create))
	if err != nil {
		lack(n.t, "make a map: "+err.Error())
	}
	n.t.Cleanup(func() { unix.Close(fd) })
	for _, e := range entries {
		must(n.t, put(fd, e))
	}
	path, err := unix.BytePtrFromString(filepath.Join(n.root, "sys/fs/bpf/tc/globals", name))
	must(n.t, err)
	pin := struct {
		path  unsafe.Pointer
		fd    uint32
		flags uint32
	}{path: unsafe.Pointer(path), fd: uint32(fd)}
	_, err = bpf(unix.BPF_OBJ_PIN, unsafe.Pointer(&pin), unsafe.Sizeof(pin))
	must(n.t, err)
	return fd
}

// hash pins a map of connections, services or the like.
func (n *testNode) hash(name string, entries ...kv) int {
	n.t.Helper()
	kind := unix.BPF_MAP_TYPE_HASH
	if len(entries[0].value) >= 40 && len(entries[0].value) != 48 {
		kind = unix.BPF_MAP_TYPE_LRU_HASH
	}
	return n.pin(name, kind, len(entries[0].key), len(entries[0].value), 4096, entries)
}

func put(fd int, e kv) error {
	ask := struct {
		fd         uint32
		_          uint32
		key, value unsafe.Pointer
		flags      uint64
	}{fd: uint32(fd), key: unsafe.Pointer(&e.key[0]), value: unsafe.Pointer(&e.value[0])}
	_, err := bpf(unix.BPF_MAP_UPDATE_ELEM, unsafe.Pointer(&ask), unsafe.Sizeof(ask))
	return err
}

func remove(fd int, key []byte) error {
	ask := struct {
		fd         uint32
		_          uint32
		key, value unsafe.Pointer
		flags      uint64
	}{fd: uint32(fd), key: unsafe.Pointer(&key[0])}
	_, err := bpf(unix.BPF_MAP_DELETE_ELEM, unsafe.Pointer(&ask), unsafe.Sizeof(ask))
	return err
}

func (n *testNode) open() *Datapath {
	n.t.Helper()
	d, err := Open(context.Background(), n.root)
	must(n.t, err)
	return d
}

// all reads a listing to its end, and sees that the analyzer knows every line.
func all(t testing.TB, in io.ReadCloser, err error) string {
	t.Helper()
	must(t, err)
	defer in.Close()
	b, err := io.ReadAll(in)
	must(t, err)
	understood(t, b)
	return string(b)
}

// understood sees that the analyzer reads every line of a text.
func understood(t testing.TB, text []byte) {
	t.Helper()
	var p problems
	n := 0
	sections, err := parse.Artifact(&record.Artifact{ID: 1, Path: "input"}, bytes.NewReader(text), nil, &p, func() int { n++; return n })
	must(t, err)
	for _, s := range sections {
		if s.Unknown > 0 {
			t.Errorf("%d unknown lines as %q in\n%s", s.Unknown, s.Format, text)
		}
	}
	for _, text := range p {
		t.Error(text)
	}
}

type problems []string

func (p *problems) Socket(*record.Socket)           {}
func (p *problems) Translation(*record.Translation) {}
func (p *problems) Service(*record.Service)         {}
func (p *problems) Owner(*record.Owner)             {}
func (p *problems) Address(*record.Address)         {}
func (p *problems) Reading(*record.Reading)         {}
func (p *problems) Problem(r *record.Problem)       { *p = append(*p, r.Why+": "+r.Text) }
