package cilium

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Datapath is what the maps of this node hold.
type Datapath struct {
	dir     string
	names   []string
	format  format
	version string
}

// Open finds the maps of the host whose files lie below root; "" is this host. It
// asks the agent, if one answers, which version it is, since the maps alone tell
// that only roughly. An error that is fs.ErrNotExist says that there are none.
func Open(ctx context.Context, root string) (*Datapath, error) {
	d := &Datapath{dir: filepath.Join("/", root, "sys/fs/bpf/tc/globals")}
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return nil, fmt.Errorf("no maps of Cilium: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "cilium_") {
			d.names = append(d.names, e.Name())
		}
	}
	if len(d.names) == 0 {
		return nil, fmt.Errorf("no maps of Cilium in %s: %w", d.dir, fs.ErrNotExist)
	}
	d.format.uptime = uptime()
	var h health
	if a, err := OpenAgent(root); err == nil {
		h, _ = a.health(ctx)
		a.Close()
	}
	d.format.now = h.now(d.format.uptime)
	var ok bool
	if d.format.release, ok = parseRelease(h.Cilium.Msg); ok {
		d.version, _, _ = strings.Cut(h.Cilium.Msg, " ")
		return d, nil
	}
	d.format.release = d.byMaps()
	d.version = fmt.Sprintf("1.%d or so, by its maps", d.format.release)
	return d, nil
}

// Version is that of the agent, or what the maps tell of it.
func (d *Datapath) Version() string { return d.version }

// byMaps tells the release from the maps: by their names, and by the first
// entry of a table of connections that tells on which side of 1.16 it was made.
func (d *Datapath) byMaps() release {
	named := byNames(d.names)
	if named < 12 || named > 16 {
		return named
	}
	for _, name := range ctNames {
		if side, ok := d.peek(name); ok {
			if side < 16 {
				return min(named, side)
			}
			return max(named, side)
		}
	}
	return named
}

func (d *Datapath) peek(name string) (release, bool) {
	m, err := d.open(name)
	if err != nil {
		return 0, false
	}
	defer m.close()
	l, err := m.known(ctLayouts)
	if err != nil {
		return 0, false
	}
	c := newCursor(m)
	for range 8 {
		n, err := c.next()
		if err != nil {
			return 0, false
		}
		for i := range n {
			key, value := c.entry(i)
			if r, ok := ctRelease(l, key, value); ok {
				return r, true
			}
		}
	}
	return 0, false
}

// open opens a map that is pinned here, or gives fs.ErrNotExist.
func (d *Datapath) open(name string) (*pinned, error) {
	if !slices.Contains(d.names, name) {
		return nil, fmt.Errorf("no map %s in %s: %w", name, d.dir, fs.ErrNotExist)
	}
	return openPinned(d.dir, name)
}

var (
	ctNames      = []string{"cilium_ct4_global", "cilium_ct_any4_global", "cilium_ct6_global", "cilium_ct_any6_global"}
	natNames     = []string{"cilium_snat_v4_external", "cilium_snat_v6_external"}
	serviceNames = []string{"cilium_lb4_services_v2", "cilium_lb6_services_v2"}
	revnatNames  = []string{"cilium_lb4_reverse_nat", "cilium_lb6_reverse_nat"}
)

// Connections lists the connections that the datapath tracks, as cilium-dbg bpf
// ct list global does. Where endpoints have tables of their own, these follow.
func (d *Datapath) Connections() (io.ReadCloser, error) {
	names := slices.Clone(ctNames)
	for _, n := range d.names {
		if isLocal(n) {
			names = append(names, n)
		}
	}
	return d.stream(names, ctLayouts, d.format.appendCT)
}

// isLocal tells the name of the table of connections of one endpoint.
func isLocal(name string) bool {
	for _, prefix := range []string{"cilium_ct4_", "cilium_ct_any4_", "cilium_ct6_", "cilium_ct_any6_"} {
		if id, ok := strings.CutPrefix(name, prefix); ok && id != "" && strings.Trim(id, "0123456789") == "" {
			return true
		}
	}
	return false
}

// NAT lists the addresses that the datapath rewrites, as cilium-dbg bpf nat list.
func (d *Datapath) NAT() (io.ReadCloser, error) {
	f := d.format
	if f.uptime = uptime(); f.now != 0 {
		f.now = f.uptime
	}
	return d.stream(natNames, natLayouts, f.appendNAT)
}

// stream lists maps entry by entry: it needs the memory of one batch.
func (d *Datapath) stream(names []string, layouts []layout, line func([]byte, layout, []byte, []byte) []byte) (io.ReadCloser, error) {
	s := &stream{line: line}
	err := d.each(names, layouts, func(m *pinned, l layout) error {
		s.maps = append(s.maps, section{m, l, newCursor(m)})
		return nil
	})
	if len(s.maps) == 0 {
		return nil, err
	}
	s.err = err
	return &listing{from: s}, nil
}

// each opens those of some maps that are there. The error is of one that is there
// and cannot be read, or says that none is there.
func (d *Datapath) each(names []string, layouts []layout, do func(*pinned, layout) error) error {
	var broken error
	any := false
	for _, name := range names {
		m, err := d.open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		any = true
		if err == nil {
			var l layout
			if l, err = m.known(layouts); err == nil {
				err = do(m, l)
			}
			if err != nil {
				m.close()
			}
		}
		if err != nil && broken == nil {
			broken = err
		}
	}
	if !any {
		return fmt.Errorf("no map %s in %s: %w", strings.Join(names, ", "), d.dir, fs.ErrNotExist)
	}
	return broken
}

// stream is a listing of which each entry is a line. An empty line is behind each
// map.
type stream struct {
	maps []section
	line func([]byte, layout, []byte, []byte) []byte
	err  error // of a map that is not listed
}

type section struct {
	m *pinned
	l layout
	c *cursor
}

func (s *stream) more(dst []byte) ([]byte, error) {
	if len(s.maps) == 0 {
		if s.err != nil {
			return dst, s.err
		}
		return dst, io.EOF
	}
	at := s.maps[0]
	n, err := at.c.next()
	for i := range n {
		key, value := at.c.entry(i)
		dst = s.line(dst, at.l, key, value)
	}
	if err == nil {
		return dst, nil
	}
	if err != io.EOF && s.err == nil {
		s.err = err
	}
	at.m.close()
	s.maps = s.maps[1:]
	return append(dst, '\n'), nil
}

func (s *stream) close() {
	for _, at := range s.maps {
		at.m.close()
	}
	s.maps = nil
}
