package cilium

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A library for BPF would add more to the collector than all of this package.

// notSupported is what the kernel says, beside unix.EINVAL, when it has no batches
// of a kind of map. It is no error that programs were to see.
const notSupported = unix.Errno(524) // ENOTSUPP

// Of a batch, in entries. It must hold all of a hash table's bucket, and grows
// when it does not.
const (
	batch     = 2048
	batchMost = 64 << 10
)

// pinned is a map that was opened for reading.
type pinned struct {
	fd         int
	name       string
	kind       uint32
	key, value int
	max        int64
}

func bpf(cmd int, attr unsafe.Pointer, size uintptr) (int, error) {
	for {
		r, _, e := unix.Syscall(unix.SYS_BPF, uintptr(cmd), uintptr(attr), size)
		if e == unix.EINTR && cmd != unix.BPF_MAP_LOOKUP_BATCH {
			continue
		}
		if e != 0 {
			return 0, e
		}
		return int(r), nil
	}
}

// openPinned opens a map for reading alone: the kernel refuses every write
// through what this gives.
func openPinned(dir, name string) (*pinned, error) {
	path, err := unix.BytePtrFromString(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	get := struct {
		path  unsafe.Pointer
		fd    uint32
		flags uint32
	}{path: unsafe.Pointer(path), flags: unix.BPF_F_RDONLY}
	fd, err := bpf(unix.BPF_OBJ_GET, unsafe.Pointer(&get), unsafe.Sizeof(get))
	if err != nil {
		return nil, &os.PathError{Op: "open BPF map", Path: filepath.Join(dir, name), Err: err}
	}
	m := &pinned{fd: fd, name: name}
	var info [40]byte // struct bpf_map_info, as far as it is of use
	ask := struct {
		fd, size uint32
		info     unsafe.Pointer
	}{uint32(fd), uint32(len(info)), unsafe.Pointer(&info)}
	if _, err := bpf(unix.BPF_OBJ_GET_INFO_BY_FD, unsafe.Pointer(&ask), unsafe.Sizeof(ask)); err != nil {
		m.close()
		return nil, &os.PathError{Op: "ask for the sizes of BPF map", Path: filepath.Join(dir, name), Err: err}
	}
	m.kind = u32(info[0:])
	m.key, m.value, m.max = int(u32(info[8:])), int(u32(info[12:])), int64(u32(info[16:]))
	return m, nil
}

func (m *pinned) close() {
	if m.fd >= 0 {
		unix.Close(m.fd)
	}
	m.fd = -1
}

// known finds the layout of a map. Of maps that have a value per processor
// nothing is known.
func (m *pinned) known(layouts []layout) (layout, error) {
	switch m.kind {
	case unix.BPF_MAP_TYPE_HASH, unix.BPF_MAP_TYPE_LRU_HASH, unix.BPF_MAP_TYPE_LPM_TRIE:
		return find(layouts, m.name, m.key, m.value)
	}
	return layout{}, fmt.Errorf("map %s is of kind %d: %w; record it with cilium-dbg in the agent's pod", m.name, m.kind, ErrUnknown)
}

// cursor goes through a map. Its size was checked: it is one of a layout.
type cursor struct {
	m            *pinned
	single       bool // the kernel has no batches of this map
	begun        bool
	over         bool
	calls, seen  int64
	count        int
	token, after []byte // where the next batch begins, and the one after it
	keys, values []byte
}

func newCursor(m *pinned) *cursor {
	c := &cursor{m: m, token: make([]byte, max(m.key, 8)), after: make([]byte, max(m.key, 8))}
	c.resize(batch)
	return c
}

func (c *cursor) resize(count int) {
	c.count = count
	c.keys, c.values = make([]byte, count*c.m.key), make([]byte, count*c.m.value)
}

// next gives entries, and io.EOF at the end. They are true until the next call.
// However fast the map changes, it ends.
func (c *cursor) next() (n int, err error) {
	for n == 0 && err == nil {
		most := 2*c.m.max + batch
		if c.calls++; c.calls > most || c.seen > most {
			return 0, fmt.Errorf("map %s: %w", c.m.name, ErrChanged)
		}
		switch {
		case c.over:
			return 0, io.EOF
		case c.single:
			n, err = c.one()
		default:
			n, err = c.batch()
		}
	}
	c.seen += int64(n)
	return n, err
}

func (c *cursor) entry(i int) (key, value []byte) {
	return c.keys[i*c.m.key : (i+1)*c.m.key], c.values[i*c.m.value : (i+1)*c.m.value]
}

// batch reads as many entries as the kernel gives at once.
func (c *cursor) batch() (int, error) {
	ask := struct {
		in, out, keys, values unsafe.Pointer
		count, fd             uint32
		elem, flags           uint64
	}{
		out: unsafe.Pointer(&c.after[0]), keys: unsafe.Pointer(&c.keys[0]), values: unsafe.Pointer(&c.values[0]),
		count: uint32(c.count), fd: uint32(c.m.fd),
	}
	if c.begun {
		ask.in = unsafe.Pointer(&c.token[0])
	}
	_, err := bpf(unix.BPF_MAP_LOOKUP_BATCH, unsafe.Pointer(&ask), unsafe.Sizeof(ask))
	runtime.KeepAlive(c)
	n := min(int(ask.count), c.count)
	switch {
	case err == nil, errors.Is(err, unix.EINTR) && n > 0 && n < c.count:
		c.token, c.after = c.after, c.token
		c.begun = true
		return n, nil
	case errors.Is(err, unix.ENOENT):
		c.over = true
		return n, nil
	case errors.Is(err, unix.ENOSPC) && c.count < batchMost:
		c.resize(2 * c.count)
		return 0, nil
	case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
		return 0, nil
	case !c.begun && (errors.Is(err, unix.EINVAL) || errors.Is(err, notSupported) || errors.Is(err, unix.EOPNOTSUPP)):
		c.single = true
		return 0, nil
	}
	return 0, fmt.Errorf("map %s: %w", c.m.name, os.NewSyscallError("bpf", err))
}

// one reads one entry, on kernels before 5.6. An entry that went away meanwhile
// makes the kernel begin again from the first.
func (c *cursor) one() (int, error) {
	ask := struct {
		fd         uint32
		_          uint32
		key, value unsafe.Pointer
		flags      uint64
	}{fd: uint32(c.m.fd), value: unsafe.Pointer(&c.after[0])}
	if c.begun {
		ask.key = unsafe.Pointer(&c.token[0])
	}
	_, err := bpf(unix.BPF_MAP_GET_NEXT_KEY, unsafe.Pointer(&ask), unsafe.Sizeof(ask))
	if errors.Is(err, unix.ENOENT) {
		c.over = true
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("map %s: %w", c.m.name, os.NewSyscallError("bpf", err))
	}
	c.token, c.after = c.after, c.token
	c.begun = true
	ask.key, ask.value = unsafe.Pointer(&c.token[0]), unsafe.Pointer(&c.values[0])
	_, err = bpf(unix.BPF_MAP_LOOKUP_ELEM, unsafe.Pointer(&ask), unsafe.Sizeof(ask))
	runtime.KeepAlive(c)
	if errors.Is(err, unix.ENOENT) {
		return 0, nil // it went away
	}
	if err != nil {
		return 0, fmt.Errorf("map %s: %w", c.m.name, os.NewSyscallError("bpf", err))
	}
	copy(c.keys, c.token[:c.m.key])
	return 1, nil
}

// uptime is the clock of the datapath, in seconds.
func uptime() uint64 {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) != nil || t.Sec < 0 {
		return 0
	}
	return uint64(t.Sec)
}
