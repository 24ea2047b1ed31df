// Package collect records what a host knows of its connections at one moment
// into a bundle: in every network namespace the sockets, tracked connections,
// IPVS, packet filter rules, addresses and proxies, and who owns what, as the
// kernel tells it and as the host's own tools would print it.
//
// What it records is a fixed table, in table.go. It asks the kernel itself, reads
// files below /proc, and runs commands that only list, where nothing else can
// tell. It never parses what it records, never changes the host (it loads no
// module, writes no setting, leaves no process behind and no file but the
// bundle), never hands its environment to a command, and never records
// environments or command lines, where secrets are. One item that fails costs
// that item, and a namespace that ends meanwhile that namespace: it is noted as
// missing, and recording goes on.
package collect

import (
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"time"

	"whichbackend/collect/bundle"
	"whichbackend/collect/docker"
	"whichbackend/collect/kernel"
	"whichbackend/collect/netns"
)

// Options say how to record.
type Options struct {
	// Root is the folder below which the host's proc, sys, run and lib lie; ""
	// is the host itself. A container that mounts its host gives that folder,
	// a test gives another.
	Root string
	// Chroot makes commands run with Root as their root folder: the host's own
	// tools, seen from a container.
	Chroot bool
	// Path is where commands are looked for below Root when Chroot is set, and
	// else on this machine; and the PATH that they get.
	Path string
	// Privileged tells that the collector runs as root.
	Privileged bool
	// Timeout bounds all items together; 0 leaves each its own deadline.
	Timeout time.Duration
	// Size bounds what is recorded, in bytes before compression; 0 is no bound.
	Size int64
	// Namespaces are the network namespaces to record, by inode or by a name
	// of an owner, with * as a wildcard; none means all.
	Namespaces []string
	// Packets say what to capture meanwhile.
	Packets Packets
	// Note is what a person has to say about the bundle.
	Note string
	// Collector goes into the manifest.
	Collector bundle.Collector
	// Progress, when it is not nil, is told of each item before it is recorded.
	Progress func(done, of int, name string)

	table  []item   // nil is the table of this package
	spaces []*space // nil are those of the host
	spool  string   // a folder
}

// Result is what came of recording.
type Result struct {
	Manifest bundle.Manifest
	// Warnings are for a person: they concern the host, not an item.
	Warnings []string
	// Namespaces is how many network namespaces were recorded.
	Namespaces int

	lost bool // what was left out is in no other artifact either
}

// Partly tells that something which is there could not be recorded. A tool or
// a table that this host does not have is no loss, and neither is what was left
// out because another artifact has it.
func (r *Result) Partly() bool {
	for _, m := range r.Manifest.Missing {
		switch m.Because {
		case notFound, excluded:
		default:
			return true
		}
	}
	return r.lost
}

// The reasons of the bundle format for what is missing.
const (
	notFound   = "not-found"
	permission = "permission"
	timedOut   = "timeout"
	tooLarge   = "too-large"
	failed     = "failed"
	excluded   = "excluded"
)

// Record records this host into a bundle at out, or to stdout when out is "-".
// The bundle is whole or not there at all. An error means that there is none; a
// canceled ctx is one, while a Timeout that is over only ends the recording.
func Record(ctx context.Context, out string, stdout io.Writer, o Options) (*Result, error) {
	h := newHost(o)
	o.spool = spoolOf(out)
	created := time.Now().UTC()
	w, err := bundle.Create(out, stdout, "whichbackend-"+h.dir+"-"+created.Format("20060102T150405Z"))
	if err != nil {
		return nil, err
	}
	defer w.Abort()
	r := newRecorder(h, o, created)
	r.w = w

	// The thread gets a low priority, which the commands inherit, and goes from
	// one network namespace to the next. Only its end takes both away again: the
	// goroutine never unlocks it.
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		lowPriority()
		done <- r.all(ctx)
	}()
	if err := <-done; err != nil {
		return nil, err
	}
	r.tellMissing()
	if err := w.Close(&r.m); err != nil {
		return nil, err
	}
	return &Result{Manifest: r.m, Warnings: r.warnings, Namespaces: len(r.spaces), lost: r.lost}, nil
}

// recorder fills one bundle.
type recorder struct {
	host       *host
	w          *bundle.Writer
	m          bundle.Manifest
	o          Options
	spaces     []*space
	found      *netns.Found // nil when the spaces are a test's
	processes  *kernel.Processes
	docker     *docker.Client              // nil when no daemon runs
	containers map[string]docker.Container // of docker, by id
	left       int64                       // bytes that may still be recorded, when o.Size is set
	tools      map[string]string           // the version of each tool that was asked
	warnings   []string
	missed     map[miss][]string // the namespaces in which it is missing
	order      []miss
	lost       bool
	captures   []running
	until      time.Time // for the captures
	done, of   int       // for the progress
}

func newRecorder(h *host, o Options, created time.Time) *recorder {
	return &recorder{host: h, o: o, left: o.Size, tools: map[string]string{}, missed: map[miss][]string{},
		m: bundle.Manifest{Created: created, Collector: o.Collector, Note: o.Note, Hosts: []bundle.Host{h.describe(created)}}}
}

// miss is something missing, the same in any number of namespaces.
type miss struct{ what, because, detail string }

// all records the items of the table one after the other, so that the load on
// the host stays that of one command: in every namespace first what changes
// fastest, then the rest, and at last the sockets again.
func (r *recorder) all(parent context.Context) error {
	ctx := parent
	if r.o.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(parent, r.o.Timeout)
		defer cancel()
	}
	before := r.host.loaded()
	defer r.close()
	r.findSpaces(ctx)
	items := r.o.items()
	for i := range items {
		r.of += 1
		if items[i].scope == inNamespace {
			r.of += len(r.spaces) - 1
		}
	}
	r.startCaptures(ctx)
	for when := first; when <= last; when++ {
		if when == last {
			r.awaitPackets(ctx)
		}
		if err := r.phase(parent, ctx, items, when); err != nil {
			return err
		}
	}
	if err := r.stopCaptures(ctx); err != nil {
		return err
	}
	if !r.o.Privileged {
		r.missing(nil, "processes of other users", permission, "not root: a socket of another user has no process, and another namespace cannot be entered; run as root to have all")
	}
	if loaded := newIn(r.host.loaded(), before); len(loaded) > 0 {
		r.warnings = append(r.warnings, "kernel modules were loaded while recording, by a command or by someone else: "+strings.Join(loaded, ", "))
	}
	return nil
}

func (r *recorder) close() {
	for _, x := range r.captures {
		x.c.Close()
	}
	if r.found != nil {
		r.found.Close()
	}
	if r.docker != nil {
		r.docker.Close()
	}
}

// phase records the items of one phase, namespace after namespace, so that what
// is read of one namespace is read closely together; then those of the host.
func (r *recorder) phase(parent, ctx context.Context, items []item, when phase) error {
	if when != then {
		r.readProcesses(ctx)
	}
	for _, s := range append(r.spaces, nil) {
		if !r.enter(s) {
			continue
		}
		for i := range items {
			it := &items[i]
			if it.when != when || (it.scope == onHost) != (s == nil) {
				continue
			}
			if r.o.Progress != nil {
				r.o.Progress(r.done, r.of, it.title(s))
			}
			r.done++
			err := r.item(ctx, it, s)
			if parent.Err() != nil {
				return errors.New("interrupted; nothing was written")
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}
