package netns

import (
	"cmp"
	"context"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"whichbackend/collect/bundle"
)

// resident is an owner with what decides about its place among the others.
type resident struct {
	bundle.Owner
	guest bool // it lives in the namespace of another container or of the host
	id    string
}

// kinds is the order of owners of one namespace: whose it is, before what
// merely lies in it.
var kinds = []string{"host", "pod", "container", "netns", "process"}

// owners tells whose namespace it is.
func (p *place) owners(s *survey) []bundle.Owner {
	var all []resident
	if p.inode == s.first {
		all = append(all, resident{Owner: bundle.Owner{Kind: "host", Name: s.o.Host}})
	}
	all = append(all, s.index.residents(p, s)...)
	all = append(all, p.sandboxes(s, all)...)
	for _, name := range p.names {
		all = append(all, resident{Owner: bundle.Owner{Kind: "netns", Name: name}})
	}
	if len(all) == 0 {
		for comm, pid := range p.loose {
			all = append(all, resident{Owner: bundle.Owner{Kind: "process", Name: comm, PID: pid}})
		}
	}
	slices.SortFunc(all, func(a, b resident) int {
		return cmp.Or(boolean(a.guest, b.guest), cmp.Compare(slices.Index(kinds, a.Kind), slices.Index(kinds, b.Kind)),
			strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name), strings.Compare(a.Container, b.Container), a.PID-b.PID)
	})
	var owners []bundle.Owner
	for _, r := range all {
		if len(owners) == mostOwners {
			break
		}
		owners = append(owners, r.Owner)
	}
	return owners
}

func boolean(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// residents names the containers that have processes in a namespace. The
// sandbox of a pod counts only when the pod has nothing else.
func (x *index) residents(p *place, s *survey) []resident {
	var all []resident
	pods := map[string]bool{} // those with a container that has a name
	for _, t := range p.tenants {
		r := resident{Owner: t.owner, id: t.id, guest: p.inode == s.first || p.tenants[t.within] != nil || s.o.Docker[t.id].Shares()}
		r.PID = t.pid
		all = append(all, r)
		if r.Kind == "pod" && r.Container != "" {
			pods[r.Namespace+"/"+r.Name] = true
		}
	}
	slices.SortFunc(all, func(a, b resident) int { return a.PID - b.PID })
	seen := map[bundle.Owner]bool{}
	return slices.DeleteFunc(all, func(r resident) bool {
		o := r.Owner
		o.PID = 0
		twice := seen[o] // a pod's sandbox and a container whose name is not known
		seen[o] = true
		return twice || r.Name == "" || r.Kind == "pod" && r.Container == "" && pods[r.Namespace+"/"+r.Name]
	})
}

// sandboxes are docker's containers whose processes cannot be seen, but whose
// namespace has the name that docker gave it.
func (p *place) sandboxes(s *survey, known []resident) []resident {
	var all []resident
	for id, c := range s.o.Docker {
		if c.NetNS == "" || !slices.Contains(p.names, path.Base(c.NetNS)) {
			continue
		}
		if !slices.ContainsFunc(known, func(r resident) bool { return r.id == id }) {
			all = append(all, resident{Owner: c.Owner(), id: id})
		}
	}
	return all
}

// names finds who the containers are, while their processes are still there.
// What a pod calls itself is asked last: another container of the same pod may
// tell more.
func (s *survey) names(ctx context.Context) {
	for _, last := range []bool{false, true} {
		for _, p := range s.found {
			for _, t := range p.tenants {
				if ctx.Err() == nil && t.owner.Kind == "" {
					s.name(ctx, p, t, last)
				}
			}
		}
	}
}

func (s *survey) name(ctx context.Context, p *place, t *tenant, last bool) {
	c, inDocker := s.o.Docker[t.id]
	o, known := s.index.of(&t.container)
	switch {
	case known && (o.Kind == "pod" || !inDocker):
		t.owner = o
	case inDocker:
		t.owner = c.Owner()
	case t.pod != "" && last:
		t.owner = bundle.Owner{Kind: "pod", Name: s.hostname(ctx, t.pid)}
	case t.pod != "":
		return
	case t.name != "":
		t.owner = bundle.Owner{Kind: "container", Name: t.name}
	default:
		t.owner = bundle.Owner{Kind: "container", Name: t.id[:12]} // as docker ps shows it
	}
	if t.owner.Name == "" {
		s.loose(p, t.pid)
	}
	if t.pod != "" && t.owner.Namespace != "" {
		s.index.pods[t.pod] = bundle.Owner{Kind: "pod", Namespace: t.owner.Namespace, Name: t.owner.Name}
	}
}

// dnsName is what a pod may be called.
var dnsName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)

// patience is how long a file in a container may take.
const patience = time.Second

// hostname reads the name that a pod gives itself: "" when it has the host's,
// or none. The file is the container's own, and may be anything: a link out of
// it is not followed, a pipe not waited for, and a file system that hangs costs
// a second.
func (s *survey) hostname(ctx context.Context, pid int) string {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answer := make(chan string, 1)
	go func() { answer <- firstLine(filepath.Join(s.proc, strconv.Itoa(pid), "root"), "etc/hostname") }()
	select {
	case name := <-answer:
		if name != s.o.Host && dnsName.MatchString(name) {
			return name
		}
	case <-ctx.Done():
	}
	return ""
}

// firstLine reads the first line of a regular file below a folder.
func firstLine(dir, name string) string {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return ""
	}
	defer root.Close()
	if info, err := root.Stat(name); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, 512))
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(line)
}
