// Package collect records what a host knows of its connections at one moment
// into a bundle: socket tables, connection tracking, IPVS, packet filter rules,
// addresses and who owns them, as the kernel and the host's own tools print it.
//
// What it records is a fixed table, in table.go. It reads files below /proc and
// runs commands that only list. It never parses what it records, never changes
// the host (it loads no module, writes no setting, leaves no process behind and
// no file but the bundle), never hands its environment to a command, and never
// records environments or command lines, where secrets are. One item that fails
// costs that item: it is noted as missing, and recording goes on.
package collect

import (
	"context"
	"errors"
	"io"
	"path"
	"runtime"
	"strings"
	"time"

	"whichbackend/collect/bundle"
)

// Options say how to record.
type Options struct {
	// Root is the folder below which proc, sys, run and lib lie; "" is the
	// host itself. A test gives another.
	Root string
	// Path is where commands are looked for, and the PATH that they get.
	Path string
	// Privileged tells that the collector runs as root.
	Privileged bool
	// Timeout bounds all items together; 0 leaves each its own deadline.
	Timeout time.Duration
	// Note is what a person has to say about the bundle.
	Note string
	// Collector goes into the manifest.
	Collector bundle.Collector
	// Progress, when it is not nil, is told of each item before it is recorded.
	Progress func(done, of int, name string)

	table []item // nil is the table of this package
}

// Result is what came of recording.
type Result struct {
	Manifest bundle.Manifest
	// Warnings are for a person: they concern the host, not an item.
	Warnings []string
}

// Partly tells that something which is there could not be recorded. A tool or
// a table that this host does not have is no loss, and neither is what was left
// out on purpose.
func (r *Result) Partly() bool {
	for _, m := range r.Manifest.Missing {
		switch m.Because {
		case notFound, excluded:
		default:
			return true
		}
	}
	return false
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
	created := time.Now().UTC()
	w, err := bundle.Create(out, stdout, "whichbackend-"+h.dir+"-"+created.Format("20060102T150405Z"))
	if err != nil {
		return nil, err
	}
	defer w.Abort()
	r := &recorder{host: h, w: w, o: o, tools: map[string]string{}}
	r.m = bundle.Manifest{Created: created, Collector: o.Collector, Note: o.Note, Hosts: []bundle.Host{h.describe(created)}}

	// The thread gets a low priority, which the commands inherit, and which
	// only its end takes away again: the goroutine never unlocks it.
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		lowPriority()
		done <- r.all(ctx)
	}()
	if err := <-done; err != nil {
		return nil, err
	}
	if err := w.Close(&r.m); err != nil {
		return nil, err
	}
	return &Result{Manifest: r.m, Warnings: r.warnings}, nil
}

// recorder fills one bundle.
type recorder struct {
	host     *host
	w        *bundle.Writer
	m        bundle.Manifest
	o        Options
	tools    map[string]string // the version of each tool that was asked
	warnings []string
}

// all records the items of the table one after the other, so that the load on
// the host stays that of one command.
func (r *recorder) all(parent context.Context) error {
	ctx := parent
	if r.o.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(parent, r.o.Timeout)
		defer cancel()
	}
	before := r.host.loaded()
	items := r.o.items()
	for i := range items {
		if r.o.Progress != nil {
			r.o.Progress(i, len(items), items[i].name)
		}
		err := r.item(ctx, &items[i])
		if parent.Err() != nil {
			return errors.New("interrupted; nothing was written")
		}
		if err != nil {
			return err
		}
	}
	if !r.o.Privileged {
		r.missing("processes of other users", permission, "not root: a socket of another user has no process; run as root to have all")
	}
	if loaded := newIn(r.host.loaded(), before); len(loaded) > 0 {
		r.warnings = append(r.warnings, "kernel modules were loaded while recording, by a command or by someone else: "+strings.Join(loaded, ", "))
	}
	return nil
}

// item records one item, or why it is missing. The error is one of writing the
// bundle.
func (r *recorder) item(ctx context.Context, it *item) error {
	exe, because, detail := it.find(r.host)
	if because == "" && ctx.Err() != nil {
		because, detail = timedOut, "not begun: the time for all was over; give more with --timeout"
	}
	if because != "" {
		r.missing(it.name, because, detail)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, it.deadline)
	defer cancel()
	a := bundle.Artifact{Path: path.Join(r.host.place(it.scope), it.name+".txt"), Host: r.host.name}
	if it.scope == inNamespace {
		a.NetNS = r.host.netns
	}
	if it.file != "" {
		a.Started = time.Now().UTC()
		return r.copy(it, &a, func() (source, error) { return openFile(ctx, r.host.file("proc", it.file)) })
	}
	args, e := r.arguments(ctx, it, exe)
	if because, detail = it.judge(e, 0); because != "" {
		r.missing(it.name, because, detail)
		return nil
	}
	a.Command = append([]string{path.Base(exe)}, args...)
	a.Tool = r.version(ctx, it, exe)
	a.Started = time.Now().UTC()
	return r.copy(it, &a, func() (source, error) { return start(ctx, r.o.Path, exe, args) })
}

// copy copies what an item gives into the bundle, cut at a line when it is too
// large or ended early.
func (r *recorder) copy(it *item, a *bundle.Artifact, open func() (source, error)) error {
	src, err := open()
	if err != nil {
		because, detail := it.judge(ended{err: err}, 0)
		r.missing(it.name, because, detail)
		return nil
	}
	c := &cutter{in: src, max: it.limit}
	rec := &recording{cutter: c, src: src}
	size, sum, err := r.w.Add(a.Path, rec)
	e := rec.finish()
	a.Took = time.Since(a.Started).Round(time.Microsecond)
	if err != nil && !errors.Is(err, errNothing) {
		return err
	}
	because, detail := it.judge(e, size)
	switch {
	case because != "":
		r.missing(it.name, because, detail)
	case strings.TrimSpace(e.said) != "":
		r.warnings = append(r.warnings, it.name+": recorded, and it said: "+plain(e.said))
	}
	if err != nil {
		return nil
	}
	a.Exit, a.Size, a.SHA256, a.Truncated = e.exit, size, sum, c.cut
	r.m.Artifacts = append(r.m.Artifacts, *a)
	return nil
}

func (r *recorder) missing(what, because, detail string) {
	r.m.Missing = append(r.m.Missing, bundle.Missing{Host: r.host.name, What: what, Because: because, Detail: detail})
}

// errNothing leaves an item that failed without a word out of the bundle, where
// an empty file would say that the host's table is empty.
var errNothing = errors.New("failed, and gave nothing")

// recording is the content of an artifact while it is made.
type recording struct {
	*cutter
	src  source
	over bool
	e    ended
}

// Read ends with what became of the source, since that decides whether an
// empty artifact is kept.
func (r *recording) Read(p []byte) (int, error) {
	n, err := r.cutter.Read(p)
	if err != io.EOF {
		return n, err
	}
	if e := r.finish(); r.passed == 0 && !e.good() {
		return n, errNothing
	}
	return n, io.EOF
}

// finish ends the source, if it has not ended by itself.
func (r *recording) finish() ended {
	if !r.over {
		r.over = true
		r.e = r.src.end()
		r.e.cut = r.full
		if r.e.err == nil {
			r.e.err = r.broke
		}
	}
	return r.e
}
