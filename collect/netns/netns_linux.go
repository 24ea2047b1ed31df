// Package netns finds every network namespace of a host, each once, tells who
// lives in it, and enters it.
//
// It reads links and small files below /proc, the mounts of every mount
// namespace, and the names that the kubelet and the container runtimes leave on
// disk: no daemon is asked, so that a daemon which hangs costs nothing. Of the
// files of container runtimes it takes names alone; they also hold
// environments.
package netns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"whichbackend/collect/bundle"
	"whichbackend/collect/docker"
)

// Options say where to look.
type Options struct {
	// Root is the folder below which the host's run and var lie. "" is the
	// host's own, also for a collector in a container that sees the host's
	// processes.
	Root string
	// Proc is where the host's /proc is mounted; "" is proc below Root.
	Proc string
	// Host is the host's name; "" is what the kernel says.
	Host string
	// Docker is what its daemon says of the containers, by id; nil when it
	// was not asked.
	Docker map[string]docker.Container
}

// Found is what a host has. It holds a few files open; Close it.
type Found struct {
	// Namespaces has the host's own first, then the others by ID.
	Namespaces []*Namespace
	// Hidden counts processes whose namespace could not be told: without root
	// those of other users.
	Hidden int

	first *os.File // where the collector was at first
}

// Namespace is a network namespace.
type Namespace struct {
	ID string // the inode
	// Host tells that it is the one of the first process. When that may not be
	// looked at, the collector's own is taken for the host's.
	Host bool
	// Self tells that the collector itself started in it.
	Self bool
	// Owners live in it, at most 20: whose namespace it is comes first.
	Owners []bundle.Owner

	inode uint64
	ways  []string // processes' first, then mounts
	kept  bool     // by a mount
	held  *os.File // nil when there is a mount, or many are held already
}

// hold is how many files at most are held open, of namespaces that nothing but
// a process keeps. A mount does not go away as easily.
const hold = 64

// most bounds the ways into one namespace, and the owners of one.
const (
	mostWays   = 4
	mostOwners = 20
)

// List finds the namespaces of the host; call it before any Enter. One that
// goes away meanwhile may still be in the list, and Enter tells.
func List(ctx context.Context, o Options) (*Found, error) {
	s := newSurvey(o)
	if err := s.processes(ctx); err != nil {
		return nil, err
	}
	if err := s.mounts(ctx); err != nil {
		return nil, err
	}
	f := &Found{Hidden: s.hidden}
	// Without the file there is no way back, which Return says.
	f.first, _ = os.Open("/proc/thread-self/ns/net")
	s.names(ctx)
	for _, p := range s.found {
		f.Namespaces = append(f.Namespaces, p.namespace(s))
	}
	slices.SortFunc(f.Namespaces, func(a, b *Namespace) int {
		switch {
		case a.Host != b.Host && a.Host, a.Host == b.Host && a.inode < b.inode:
			return -1
		}
		return 1
	})
	f.hold()
	if err := ctx.Err(); err != nil {
		f.Close()
		return nil, stopped(err)
	}
	return f, nil
}

func stopped(err error) error { return fmt.Errorf("listing the network namespaces: %w", err) }

// Close gives back what is held open.
func (f *Found) Close() {
	f.first.Close()
	for _, n := range f.Namespaces {
		n.held.Close()
		n.held = nil
	}
}

// survey is what is known while the host is looked at.
type survey struct {
	o    Options
	proc string
	root string // below which the host's files lie

	self, first uint64 // the namespaces of the collector and of process 1; 0 is unknown
	me          int    // the collector
	ownMounts   string // the mount namespace of the collector
	found       map[uint64]*place
	mountsOf    map[string]int // a process in each mount namespace
	hidden      int
	index       *index
}

// place is a namespace while its inhabitants are gathered.
type place struct {
	inode   uint64
	ways    []string
	mounted []string // ways by mounts
	names   []string // of its mounts
	tenants map[string]*tenant
	loose   map[string]int // processes in no container: by name, the lowest number
}

// tenant is a container with processes in a namespace.
type tenant struct {
	container
	pid   int
	owner bundle.Owner
}

func newSurvey(o Options) *survey {
	s := &survey{o: o, proc: o.Proc, root: o.Root, found: map[uint64]*place{}, mountsOf: map[string]int{}}
	if s.proc == "" {
		s.proc = filepath.Join("/", o.Root, "proc")
	}
	s.self, _ = s.inode("self/ns/net")
	s.first, _ = s.inode("1/ns/net")
	if s.first == 0 && word(filepath.Join(s.proc, "2/comm")) == "kthreadd" { // a guarded process 1 next to an open kernel
		s.first, _ = s.inode("2/ns/net")
	}
	if s.first == 0 {
		s.first = s.self
	}
	me, _ := os.Readlink(filepath.Join(s.proc, "self"))
	s.me, _ = strconv.Atoi(me)
	s.ownMounts, _ = os.Readlink(filepath.Join(s.proc, "self/ns/mnt"))
	hosts, _ := os.Readlink(filepath.Join(s.proc, "1/ns/mnt"))
	if s.root == "" {
		s.root = "/"
		if hosts != "" && hosts != s.ownMounts {
			s.root = filepath.Join(s.proc, "1/root")
		}
	}
	if s.o.Host == "" {
		s.o.Host = word(filepath.Join(s.proc, "sys/kernel/hostname"))
	}
	s.index = newIndex(s.root)
	return s
}

// inode reads a link such as net:[4026531833].
func (s *survey) inode(name string) (uint64, error) {
	link, err := os.Readlink(filepath.Join(s.proc, name))
	if err != nil {
		return 0, err
	}
	n, ok := inodeOf(link)
	if !ok {
		return 0, errors.New(name + " is no network namespace")
	}
	return n, nil
}

func inodeOf(link string) (uint64, bool) {
	const before, after = "net:[", "]"
	if len(link) <= len(before)+len(after) || link[:len(before)] != before || link[len(link)-1:] != after {
		return 0, false
	}
	n, err := strconv.ParseUint(link[len(before):len(link)-1], 10, 64)
	return n, err == nil && n > 0
}

func (s *survey) place(inode uint64) *place {
	p := s.found[inode]
	if p == nil {
		p = &place{inode: inode, tenants: map[string]*tenant{}, loose: map[string]int{}}
		s.found[inode] = p
	}
	return p
}

func (p *place) namespace(s *survey) *Namespace {
	n := &Namespace{ID: strconv.FormatUint(p.inode, 10), inode: p.inode, Host: p.inode == s.first, Self: p.inode == s.self,
		kept: len(p.mounted) > 0}
	n.ways = append(p.ways, p.mounted...)
	n.Owners = p.owners(s)
	return n
}
