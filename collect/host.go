package collect

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"whichbackend/collect/bundle"
)

// host is the machine that is recorded, and the network namespace that the
// collector runs in.
type host struct {
	root string
	path string // of commands

	name   string
	dir    string // the name as a folder of the bundle
	kernel string
	netns  string // the inode, "" when it cannot be told
	// other tells that this is not the namespace of the host's first process,
	// so that it would be wrong to call it the host's.
	other bool
}

// scope is where an item is true.
type scope int

const (
	inNamespace scope = iota // in the network namespace
	onHost                   // on the host, whatever the namespace
)

func newHost(o Options) *host {
	h := &host{root: o.Root, path: o.Path}
	h.name = h.word("proc/sys/kernel/hostname")
	if h.name == "" {
		h.name, _ = os.Hostname()
	}
	h.dir = folder(h.name)
	h.kernel = h.word("proc/sys/kernel/osrelease")
	h.netns = h.inode("self")
	first := h.inode("1") // only root may read it
	h.other = first != "" && first != h.netns
	return h
}

// describe is what the manifest says of the host.
func (h *host) describe(now time.Time) bundle.Host {
	d := bundle.Host{Name: h.name, Kernel: h.kernel, Clock: bundle.Clock{Wall: now}}
	up, _, _ := strings.Cut(h.word("proc/uptime"), " ")
	d.Clock.Boot, _ = strconv.ParseFloat(up, 64)
	if h.root == "" {
		d.Clock.NTP = ntp()
	}
	if h.netns != "" {
		n := bundle.Namespace{ID: h.netns}
		if !h.other {
			n.Owners = []bundle.Owner{{Kind: "host", Name: h.name}}
		}
		d.Namespaces = []bundle.Namespace{n}
	}
	return d
}

// place is the folder of the bundle for what is true in a scope.
func (h *host) place(s scope) string {
	if s == inNamespace && h.other {
		return path.Join(h.dir, "netns", h.netns)
	}
	return h.dir
}

// file is a path on the host.
func (h *host) file(name ...string) string {
	root := h.root
	if root == "" {
		root = "/"
	}
	return filepath.Join(root, filepath.Join(name...))
}

func (h *host) exists(name string) bool {
	_, err := os.Stat(h.file(name))
	return err == nil
}

// word reads a file of one line; "" when it cannot be read.
func (h *host) word(name string) string {
	b, _ := os.ReadFile(h.file(name))
	return strings.TrimSpace(string(b))
}

// inode names the network namespace of a process: net:[4026531833] is 4026531833.
func (h *host) inode(process string) string {
	link, _ := os.Readlink(h.file("proc", process, "ns/net"))
	link, _ = strings.CutPrefix(link, "net:[")
	return strings.TrimSuffix(link, "]")
}

// running tells whether a process of this name runs.
func (h *host) running(name string) bool {
	found, _ := filepath.Glob(h.file("proc/[0-9]*/comm"))
	return slices.ContainsFunc(found, func(f string) bool {
		b, _ := os.ReadFile(f)
		return strings.TrimSpace(string(b)) == name
	})
}

// lookup finds a command on the path. Folders that depend on where the
// collector was started are not searched.
func (h *host) lookup(name string) string {
	for _, dir := range filepath.SplitList(h.path) {
		if !filepath.IsAbs(dir) {
			continue
		}
		exe := filepath.Join(dir, name)
		if info, err := os.Stat(exe); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return exe
		}
	}
	return ""
}

// folder makes a host's name a folder that no reader of bundles takes for
// something else.
func folder(name string) string {
	clean := strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.ContainsRune("-_.", c):
			return c
		}
		return '_'
	}, name)
	switch {
	case clean == "", clean[0] == '.':
		return "host" + clean
	case slices.Contains([]string{"cluster", "pods", "containers", "netns", "__MACOSX"}, clean):
		return "host-" + clean
	}
	return clean
}
