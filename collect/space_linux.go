package collect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"whichbackend/collect/bundle"
	"whichbackend/collect/kernel"
	"whichbackend/collect/netns"
)

// space is a network namespace of the host.
type space struct {
	id     string // the inode, "" when it cannot be told
	dir    string // of the bundle
	owners []bundle.Owner
	n      *netns.Namespace  // nil: the thread is in it
	had    map[string]string // what became of each item: "" is recorded
	closed bool              // it could not be entered, which was told
}

// has tells whether an item was recorded here whole.
func (s *space) has(name string) bool {
	because, ok := s.had[name]
	return ok && because == ""
}

// was tells why an item is missing here.
func (s *space) was(name string) string { return s.had[name] }

func (s *space) got(name, because string) {
	if s == nil {
		return
	}
	if s.had == nil {
		s.had = map[string]string{}
	}
	s.had[name] = because
}

// title names a namespace for a person.
func (s *space) title() string {
	if len(s.owners) == 0 {
		return s.id
	}
	return path.Join(s.owners[0].Namespace, s.owners[0].Name)
}

// matches tells whether a pattern of Options.Namespaces means this one.
func (s *space) matches(pattern string) bool {
	names := []string{s.id}
	for _, o := range s.owners {
		names = append(names, o.Name, o.Namespace+"/"+o.Name, o.Kind+"/"+o.Name)
	}
	return slices.ContainsFunc(names, func(n string) bool { ok, _ := path.Match(pattern, n); return ok })
}

// findSpaces lists the namespaces to record, the host's first.
func (r *recorder) findSpaces(ctx context.Context) {
	r.spaces = r.o.spaces
	if r.spaces == nil {
		r.spaces = r.listSpaces(ctx)
	}
	for _, s := range r.spaces {
		r.m.Hosts[0].Namespaces = append(r.m.Hosts[0].Namespaces, bundle.Namespace{ID: s.id, Owners: s.owners})
	}
	if len(r.o.Namespaces) == 0 {
		return
	}
	r.spaces = slices.DeleteFunc(slices.Clone(r.spaces), func(s *space) bool { return !slices.ContainsFunc(r.o.Namespaces, s.matches) })
	r.unmatched("network namespace ", r.o.Namespaces, r.spaces)
}

// unmatched notes the patterns that mean no namespace of a list. A person asked
// for something else than what there is, so that it is a loss.
func (r *recorder) unmatched(what string, patterns []string, in []*space) {
	for _, p := range patterns {
		if !slices.ContainsFunc(in, func(s *space) bool { return s.matches(p) }) {
			const why = "no network namespace that is recorded has this inode or such an owner"
			r.missing(nil, what+p, notFound, why)
			r.warn(what + p + ": " + why + "; --dry-run lists them")
			r.lost = true
		}
	}
}

// listSpaces lists all of the host.
func (r *recorder) listSpaces(ctx context.Context) (spaces []*space) {
	found, err := netns.List(ctx, netns.Options{Root: r.host.root, Host: r.host.name, Docker: r.dockerNames(ctx)})
	if err != nil {
		// Whose the collector's own is, nobody has told: it must not be filed as the host's.
		r.missing(nil, "network namespaces", failed, plain(err.Error())+"; only that of the collector is recorded")
		return []*space{{dir: path.Join(r.host.dir, "netns", "collector")}}
	}
	r.found = found
	if found.Hidden > 0 {
		why := "run as root"
		if r.o.Privileged {
			why = "something forbids it to root too"
		}
		r.missing(nil, "network namespaces of processes", permission, fmt.Sprintf("%d did not tell theirs: %s", found.Hidden, why))
	}
	for _, n := range found.Namespaces {
		s := &space{id: n.ID, dir: r.host.dir, owners: n.Owners, n: n}
		if !n.Host {
			s.dir = path.Join(r.host.dir, "netns", n.ID)
		}
		if n.Self && !r.o.Privileged {
			s.n = nil // it cannot enter even this one, and is in it
		}
		spaces = append(spaces, s)
	}
	return spaces
}

// enter moves the thread into a namespace, or with nil to where it started. It
// says whether that went well; if not, it has noted why, once.
func (r *recorder) enter(s *space) bool {
	switch {
	case s == nil && !r.away, s != nil && s.n == nil:
		return true
	case s == nil:
		r.away = false
		if err := r.found.Return(); err != nil {
			r.warn(plain(err.Error())) // items of the host ask files and daemons: no loss
		}
		return true
	case s.closed:
		return false
	}
	err := s.n.Enter()
	if err == nil {
		r.away = true
		return true
	}
	s.closed = true
	because := failed
	switch {
	case errors.Is(err, fs.ErrNotExist):
		because = notFound
	case errors.Is(err, fs.ErrPermission):
		because = permission
	}
	r.missing(nil, "network namespace "+s.id, because, plain(err.Error()))
	return false
}

// readProcesses reads who holds which socket, for the listings of sockets.
func (r *recorder) readProcesses(ctx context.Context) {
	p, err := kernel.ReadProcesses(ctx, r.host.file("proc"))
	if err != nil {
		r.missing(nil, "processes of sockets", failed, plain(err.Error()))
	}
	if n := p.Unreadable(); n > 0 && r.o.Privileged && r.processes == nil {
		r.missing(nil, "processes of sockets", permission, fmt.Sprintf("%d did not show their sockets: something forbids it to root too", n))
	}
	if n := p.LeftOut(); n > 0 {
		r.missing(nil, "processes of sockets", tooLarge, fmt.Sprintf("%d processes and open sockets beyond what is remembered of a host", n))
	}
	r.processes = p
}
