package collect

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"whichbackend/collect/bundle"
)

// host is the machine that is recorded.
type host struct {
	root   string
	path   string // of commands
	chroot bool

	name   string
	dir    string // the name as a folder of the bundle
	kernel string
}

func newHost(o Options) *host {
	h := &host{root: o.Root, path: o.Path, chroot: o.Chroot}
	h.name = h.word("proc/sys/kernel/hostname")
	if h.name == "" {
		h.name, _ = os.Hostname()
	}
	h.dir = folder(h.name)
	h.kernel = h.word("proc/sys/kernel/osrelease")
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
	return d
}

// net is a file of the network namespace that the calling thread is in.
func (h *host) net(name string) string { return h.file("proc/thread-self/net", name) }

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
		if info, err := os.Lstat(h.behind(exe)); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return exe
		}
	}
	return ""
}

// behind follows the links of a command to its program: a path of this machine
// also when the command is one below the root of another.
func (h *host) behind(exe string) string {
	if !h.chroot {
		if real, err := filepath.EvalSymlinks(exe); err == nil {
			return real
		}
		return exe
	}
	at, links := "/", 0
	for todo := strings.Split(exe, "/"); len(todo) > 0; {
		next := filepath.Join(at, todo[0])
		todo = todo[1:]
		target, err := os.Readlink(h.file(next))
		if err != nil {
			at = next
			continue
		}
		if links++; links > 40 {
			return exe
		}
		todo = append(strings.Split(target, "/"), todo...)
		if filepath.IsAbs(target) {
			at = "/"
		}
	}
	return h.file(at)
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
