package cilium

import (
	"errors"
	"io"
	"io/fs"
	"slices"
)

const backendTitle = "BACKEND ADDRESS (REVNAT_ID) (SLOT)"

// title is the second column's of the listings of services.
func (f format) title() string {
	if f.release < 12 {
		return "BACKEND ADDRESS"
	}
	return backendTitle
}

// Services lists the services of the datapath and their backends, as cilium-dbg
// bpf lb list.
func (d *Datapath) Services() (io.ReadCloser, error) {
	backends := map[uint32]backend{}
	err := d.walk(d.backendNames(), backendLayouts, func(l layout, key, value []byte) error {
		if len(backends) >= mostRows {
			return ErrTooLarge
		}
		backends[backendID(key)] = readBackend(l, value)
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err // every row would say that its backend is not found
	}
	return d.table("SERVICE ADDRESS", d.format.title(), serviceNames, serviceLayouts, func(t *table, l layout, key, value []byte) error {
		return t.add(
			func(b []byte) []byte { return d.format.appendServiceKey(b, l, key) },
			func(b []byte) []byte { return d.format.appendService(b, l, key, value, backends) })
	})
}

// Frontends lists the same services with the numbers of their backends, as
// cilium-dbg bpf lb list --frontends.
func (d *Datapath) Frontends() (io.ReadCloser, error) {
	return d.table("SERVICE ADDRESS", "BACKEND ID", serviceNames, serviceLayouts, func(t *table, l layout, key, value []byte) error {
		return t.add(
			func(b []byte) []byte { return d.format.appendServiceKey(b, l, key) },
			func(b []byte) []byte { return d.format.appendFrontend(b, value) })
	})
}

// Backends lists the backends with their numbers, as cilium-dbg bpf lb list
// --backends.
func (d *Datapath) Backends() (io.ReadCloser, error) {
	return d.table("ID", d.format.title(), d.backendNames(), backendLayouts, func(t *table, l layout, key, value []byte) error {
		return t.add(
			func(b []byte) []byte { return word(b, "", uint64(backendID(key))) },
			func(b []byte) []byte { return d.format.appendBackend(b, l, value) })
	})
}

// backendNames are the maps of backends: of each family the newest, since an
// older one is left from before an upgrade.
func (d *Datapath) backendNames() (names []string) {
	for _, family := range []string{"cilium_lb4_backends", "cilium_lb6_backends"} {
		for _, kind := range []string{"_v3", "_v2", ""} {
			if slices.Contains(d.names, family+kind) || kind == "" {
				names = append(names, family+kind)
				break
			}
		}
	}
	return names
}

// RevNAT lists which number is which service, as cilium-dbg bpf lb list --revnat.
func (d *Datapath) RevNAT() (io.ReadCloser, error) {
	return d.table("ID", d.format.title(), revnatNames, revnatLayouts, func(t *table, l layout, key, value []byte) error {
		n := l.ip()
		return t.add(
			func(b []byte) []byte { return word(b, "", uint64(port(key))) },
			func(b []byte) []byte { return appendAddress(b, value[:n], port(value[n:])) })
	})
}

// Endpoints lists the endpoints of this node, as cilium-dbg bpf endpoint list.
func (d *Datapath) Endpoints() (io.ReadCloser, error) {
	return d.table("IP ADDRESS", "LOCAL ENDPOINT INFO", []string{"cilium_lxc"}, endpointLayouts, func(t *table, l layout, key, value []byte) error {
		return t.add(
			func(b []byte) []byte { return appendEndpointKey(b, key) },
			func(b []byte) []byte { return d.format.appendEndpoint(b, value) })
	})
}

// IPCache lists which identity and node are behind an address, as cilium-dbg bpf
// ipcache list.
func (d *Datapath) IPCache() (io.ReadCloser, error) {
	name := "cilium_ipcache"
	if slices.Contains(d.names, "cilium_ipcache_v2") {
		name = "cilium_ipcache_v2"
	}
	return d.table("IP PREFIX/ADDRESS", "IDENTITY", []string{name}, ipcacheLayouts, func(t *table, l layout, key, value []byte) error {
		return t.add(
			func(b []byte) []byte { return appendIPCacheKey(b, key) },
			func(b []byte) []byte { return d.format.appendIPCache(b, l, value) })
	})
}

// table reads maps into a table. What of them cannot be read its end tells.
func (d *Datapath) table(first, second string, names []string, layouts []layout, add func(*table, layout, []byte, []byte) error) (io.ReadCloser, error) {
	t := newTable(first, second)
	t.err = d.walk(names, layouts, func(l layout, key, value []byte) error { return add(t, l, key, value) })
	if t.err != nil && len(t.rows) == 0 {
		return nil, t.err
	}
	t.end()
	return &listing{from: t}, nil
}

// walk gives every entry of maps to a function.
func (d *Datapath) walk(names []string, layouts []layout, do func(l layout, key, value []byte) error) error {
	return d.each(names, layouts, func(m *pinned, l layout) error {
		c := newCursor(m)
		for {
			n, err := c.next()
			for i := range n {
				key, value := c.entry(i)
				if err := do(l, key, value); err != nil {
					return err
				}
			}
			if err == io.EOF {
				m.close()
				return nil
			}
			if err != nil {
				return err
			}
		}
	})
}
