package cilium

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// connection is an entry of a table of connections, of 1.14.
func connection(i int) kv {
	k := append(binary.BigEndian.AppendUint32(nil, 10<<24|uint32(i)), 10, 1, 0, 1, 0, 80, byte(i>>8), byte(i), 6, tupleIn)
	v := make([]byte, 56)
	v[0] = 1
	return kv{k, v}
}

func connections(n int) (all []kv) {
	for i := range n {
		all = append(all, connection(i))
	}
	return all
}

func TestOpenNothing(t *testing.T) {
	if _, err := Open(context.Background(), t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	root := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(root, "sys/fs/bpf/tc/globals/other"), 0o755))
	if _, err := Open(context.Background(), root); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	// What is no map at all is said to be none, and nothing else happens.
	must(t, os.WriteFile(filepath.Join(root, "sys/fs/bpf/tc/globals/cilium_ct4_global"), nil, 0o600))
	d, err := Open(context.Background(), root)
	must(t, err)
	if _, err := d.Connections(); err == nil || !strings.Contains(err.Error(), "cilium_ct4_global") {
		t.Error(err)
	}
	if _, err := d.NAT(); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestUnknownSizes: a map that no version has so is not read, and said to be
// there; what lies beside it is listed.
func TestUnknownSizes(t *testing.T) {
	n := newNode(t)
	n.pin("cilium_ct4_global", unix.BPF_MAP_TYPE_HASH, 14, 56, 16, connections(3))
	n.pin("cilium_ct_any4_global", unix.BPF_MAP_TYPE_HASH, 14, 64, 16, nil)
	n.pin("cilium_snat_v4_external", unix.BPF_MAP_TYPE_HASH, 14, 48, 16, nil)
	n.pin("cilium_lxc", unix.BPF_MAP_TYPE_ARRAY, 4, 48, 16, nil)
	d := n.open()
	in, err := d.Connections()
	must(t, err)
	b, err := io.ReadAll(in)
	in.Close()
	if !errors.Is(err, ErrUnknown) || strings.Count(string(b), "TCP IN 10.") != 3 {
		t.Errorf("%v, %s", err, b)
	}
	if _, err := d.NAT(); !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "48 bytes") {
		t.Error(err)
	}
	if _, err := d.Endpoints(); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
}

// TestBackendsUnknown: without its backends a service would seem to have lost them.
func TestBackendsUnknown(t *testing.T) {
	n := newNode(t)
	n.hash("cilium_lb4_services_v2", kv{make([]byte, 12), make([]byte, 12)})
	n.pin("cilium_lb4_backends_v3", unix.BPF_MAP_TYPE_HASH, 4, 16, 16, nil)
	if _, err := n.open().Services(); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
}

// TestReadOnly: through what is opened here nothing can be changed.
func TestReadOnly(t *testing.T) {
	n := newNode(t)
	n.pin("cilium_ct4_global", unix.BPF_MAP_TYPE_LRU_HASH, 14, 56, 1024, connections(3))
	m, err := openPinned(filepath.Join(n.root, "sys/fs/bpf/tc/globals"), "cilium_ct4_global")
	must(t, err)
	defer m.close()
	if err := put(m.fd, connection(9)); !errors.Is(err, unix.EPERM) {
		t.Errorf("put: %v", err)
	}
	if err := remove(m.fd, connection(1).key); !errors.Is(err, unix.EPERM) {
		t.Errorf("remove: %v", err)
	}
	before, _ := os.ReadDir(filepath.Join(n.root, "sys/fs/bpf/tc/globals"))
	in, err := n.open().Connections()
	if got := all(t, in, err); strings.Count(got, "\n") != 4 {
		t.Errorf("%q", got)
	}
	after, _ := os.ReadDir(filepath.Join(n.root, "sys/fs/bpf/tc/globals"))
	if len(before) != 1 || len(after) != 1 {
		t.Error(before, after)
	}
}

// TestLarge reads more entries than a batch has, in the memory of one, with
// batches and without; each entry once.
func TestLarge(t *testing.T) {
	const many = 20000
	n := newNode(t)
	n.pin("cilium_ct4_global", unix.BPF_MAP_TYPE_HASH, 14, 56, many, connections(many))
	for _, single := range []bool{false, true} {
		m, err := openPinned(filepath.Join(n.root, "sys/fs/bpf/tc/globals"), "cilium_ct4_global")
		must(t, err)
		c := newCursor(m)
		c.single = single
		seen := map[string]int{}
		for {
			k, err := c.next()
			for i := range k {
				key, _ := c.entry(i)
				seen[string(key)]++
			}
			if err == io.EOF {
				break
			}
			must(t, err)
		}
		m.close()
		for key, times := range seen {
			if times != 1 {
				t.Errorf("%x: %d times", key, times)
			}
		}
		if len(seen) != many || !single && cap(c.keys) > batchMost*14 {
			t.Errorf("%d entries, %d bytes of keys", len(seen), cap(c.keys))
		}
	}
}

// TestLocal: tables of single endpoints stand behind the global ones.
func TestLocal(t *testing.T) {
	n := newNode(t)
	n.pin("cilium_ct4_00123", unix.BPF_MAP_TYPE_LRU_HASH, 14, 56, 1024, connections(2))
	n.pin("cilium_ct4_global", unix.BPF_MAP_TYPE_LRU_HASH, 14, 56, 1024, connections(1))
	n.pin("cilium_ct4_other", unix.BPF_MAP_TYPE_LRU_HASH, 14, 56, 1024, connections(3))
	in, err := n.open().Connections()
	if got := all(t, in, err); strings.Count(got, "TCP IN") != 3 || strings.Index(got, "\n\n") > strings.LastIndex(got, "TCP") {
		t.Errorf("%s", got)
	}
}

// TestChanging reads a map that changes as fast as it can be: the listing ends,
// with every line whole.
func TestChanging(t *testing.T) {
	for name, single := range map[string]bool{"batches": false, "one by one": true} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			fd := n.pin("cilium_ct4_global", unix.BPF_MAP_TYPE_HASH, 14, 56, 5000, connections(2500))
			var stop atomic.Bool
			done := make(chan bool)
			go func() {
				defer close(done)
				for i := 2500; !stop.Load(); i++ {
					put(fd, connection(i&0xffff))
					remove(fd, connection((i-2500)&0xffff).key)
				}
			}()
			defer func() { stop.Store(true); <-done }()
			d := n.open()
			for range 5 {
				in, err := d.Connections()
				must(t, err)
				in.(*listing).from.(*stream).maps[0].c.single = single
				began := time.Now()
				b, err := io.ReadAll(in)
				in.Close()
				if err != nil && !errors.Is(err, ErrChanged) {
					t.Fatal(err)
				}
				understood(t, b)
				if lines := strings.Count(string(b), "TCP IN"); lines == 0 || lines > 2*5000+2*batch || time.Since(began) > 10*time.Second {
					t.Errorf("%d lines in %v", lines, time.Since(began))
				}
			}
		})
	}
}

// TestOtherThread: a listing is read wherever it is opened.
func TestOtherThread(t *testing.T) {
	n := newNode(t)
	n.pin("cilium_ct4_global", unix.BPF_MAP_TYPE_LRU_HASH, 14, 56, 1024, connections(3))
	in, err := n.open().Connections()
	must(t, err)
	got := make(chan string)
	go func() {
		runtime.LockOSThread()
		b, _ := io.ReadAll(in)
		got <- string(b)
	}()
	if s := <-got; strings.Count(s, "TCP IN") != 3 {
		t.Errorf("%q", s)
	}
	in.Close()
}

// TestVersionOfMaps: without an agent an entry tells the version, and a hanging
// agent costs no more than its patience.
func TestVersionOfMaps(t *testing.T) {
	n := newNode(t)
	later := connection(1)
	later.value[0] = 0
	n.pin("cilium_lb4_backends_v3", unix.BPF_MAP_TYPE_HASH, 4, 12, 16, nil)
	n.pin("cilium_ct4_global", unix.BPF_MAP_TYPE_LRU_HASH, 14, 56, 1024, []kv{later})
	d := n.open()
	in, err := d.Connections()
	if got := all(t, in, err); d.Version() != "1.16 or so, by its maps" || !strings.Contains(got, " Packets=0 Bytes=0 ") {
		t.Errorf("%s: %s", d.Version(), got)
	}
	n.agent(answers{"/v1/healthz": `{"cilium": {"msg": "1.17.3 (v1.17.3-0)"}}`})
	if d := n.open(); d.Version() != "1.17.3" {
		t.Error(d.Version())
	}
}

func BenchmarkConnections(b *testing.B) {
	const many = 1 << 20
	n := newNode(b)
	n.pin("cilium_ct4_global", unix.BPF_MAP_TYPE_LRU_HASH, 14, 56, 2*many, connections(many))
	d := n.open()
	b.ReportAllocs()
	for b.Loop() {
		in, err := d.Connections()
		must(b, err)
		size, err := io.Copy(io.Discard, in)
		must(b, err)
		in.Close()
		b.SetBytes(size)
	}
}
