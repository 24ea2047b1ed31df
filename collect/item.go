package collect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"whichbackend/collect/bundle"
)

// scope is where an item is true.
type scope int

const (
	inNamespace scope = iota // in a network namespace: recorded in each
	onHost                   // on the host, whatever the namespace
)

// phase is when an item is recorded.
type phase int

const (
	first phase = iota // what changes with every connection
	then               // what changes seldom
	last               // once more, to tell what lived through the recording
)

// item is one thing to record: a file below /proc, a listing that the kernel
// gives, what a command prints, or several artifacts from one place.
type item struct {
	name  string // of its file in the bundle, without .txt
	why   string // why it is asked for
	scope scope
	when  phase

	// unless names another item, of the same phase and before this one, that
	// tells the same: this one is for where that cannot be recorded.
	unless string

	file string // below /proc; or:

	kernel func(e *env) (io.ReadCloser, error) // with args: the command that prints the same; or:

	many func(e *env, add adder) error // or:

	tools   []string // the first of these that is on the path
	args    []string
	version string // the argument with which the tool tells its version
	gate    gate
	absent  []string // what it says when there is none of this here
	usual   []string // what it says when all is well

	deadline time.Duration
	limit    int64 // of bytes; cut at a line
	row      int64 // bytes that a row takes, of an item with a count
	count    func(e *env) (int64, error)
}

// env is where an item is recorded, and what it may use.
type env struct {
	ctx  context.Context
	host *host
	s    *space // nil on the host
	r    *recorder
}

// adder adds one of several artifacts of an item, by its file name with its
// ending. One of which a part tells nothing is there whole or not at all. What
// cannot be had is told with missed.
type adder struct {
	name   string // of the item
	add    func(file string, in io.ReadCloser, whole bool) error
	missed func(name string, err error)
}

// absent tells that there is none of something here, which is no loss.
type absent struct{ error }

func (absent) Is(target error) bool { return target == fs.ErrNotExist }

func (a absent) Unwrap() error { return a.error }

// title names an item for the progress line.
func (it *item) title(s *space) string {
	if s == nil || s.title() == "" {
		return it.name
	}
	return it.name + " of " + s.title()
}

// item records one item, or why it is missing. The error is one of writing the
// bundle.
func (r *recorder) item(ctx context.Context, it *item, s *space) error {
	if it.unless != "" && s.has(it.unless) {
		return nil
	}
	exe, because, detail := it.find(r.host)
	if because == "" && ctx.Err() != nil {
		because, detail = timedOut, "not begun: the time for all was over; give more with --timeout"
	}
	if because == "" && r.o.Size > 0 && r.left <= 0 {
		because, detail = tooLarge, "not begun: the bundle was full; give more with --max-size"
	}
	if because != "" {
		r.missing(s, it.name, because, detail)
		// Left out for the sake of another artifact, which is not there.
		r.lost = r.lost || it.unless != "" && s.was(it.unless) == excluded
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, it.deadline)
	defer cancel()
	e := &env{ctx: ctx, host: r.host, s: s, r: r}
	if it.many != nil {
		return r.several(e, it)
	}
	a := r.artifact(s, it.name+".txt")
	a.Started = r.now()
	switch {
	case it.file != "":
		return r.copy(e, it, it.name, false, &a, func() (source, error) { return openFile(ctx, r.host.file("proc", it.file)) })
	case it.kernel != nil:
		a.Command, a.Tool = it.args, r.self()
		return r.copy(e, it, it.name, false, &a, func() (source, error) { return openListing(e, it.kernel) })
	}
	a.Command = append([]string{path.Base(exe)}, it.args...)
	a.Tool = r.version(ctx, it, exe)
	a.Started = r.now()
	return r.copy(e, it, it.name, false, &a, func() (source, error) { return r.start(ctx, exe, it.args) })
}

// self is how the manifest names this program as the writer of a listing.
func (r *recorder) self() string {
	return strings.TrimSpace("whichbackend-collect " + r.o.Collector.Version)
}

// at gives a time as the manifest has it: the wall clock as it was when recording
// began, plus what has gone by on the clock that nobody sets. So the difference
// to the host's clock.wall, added to clock.boot, is the time on the boot clock.
func (r *recorder) at(t time.Time) time.Time {
	return r.m.Created.Add(t.Sub(r.m.Created)).UTC()
}

func (r *recorder) now() time.Time { return r.at(time.Now()) }

// artifact is what the manifest says of a file before it is recorded.
func (r *recorder) artifact(s *space, file string) bundle.Artifact {
	a := bundle.Artifact{Path: path.Join(r.host.dir, file), Host: r.host.name}
	if s != nil {
		a.Path, a.NetNS = path.Join(s.dir, file), s.id
	}
	return a
}

// several records an item that is more than one artifact.
func (r *recorder) several(e *env, it *item) error {
	var broken error // of the bundle
	err := it.many(e, adder{
		name: it.name,
		add: func(file string, in io.ReadCloser, whole bool) error {
			a := r.artifact(e.s, file)
			a.Tool, a.Started = r.self(), r.now()
			if it.scope == onHost {
				a.Command = it.args
			}
			name := strings.TrimSuffix(file, path.Ext(file))
			broken = r.copy(e, it, name, whole, &a, func() (source, error) { return &stream{ctx: e.ctx, in: in}, nil })
			return broken
		},
		missed: func(name string, err error) {
			because, detail := it.judge(ended{err: err}, 0)
			r.missing(e.s, name, because, detail)
		},
	})
	if broken != nil {
		return broken
	}
	if err != nil {
		because, detail := it.judge(ended{err: err, timeout: e.ctx.Err() != nil}, 0)
		r.missing(e.s, it.name, because, detail)
	}
	return nil
}

// copy copies what an item gives into the bundle, cut at a line when it is too
// large or ended early.
func (r *recorder) copy(e *env, it *item, name string, whole bool, a *bundle.Artifact, open func() (source, error)) error {
	src, err := open()
	if err != nil {
		because, detail := it.judge(ended{err: err}, 0)
		r.missing(e.s, name, because, detail)
		return nil
	}
	limit := it.limit
	if r.o.Size > 0 {
		limit = min(limit, r.left)
	}
	c := &cutter{in: src, max: limit}
	rec := &recording{cutter: c, src: src, whole: whole}
	size, sum, err := r.w.Add(a.Path, rec)
	end := rec.finish()
	a.Took = time.Since(a.Started).Round(time.Microsecond)
	r.left -= size
	if err != nil && !errors.Is(err, errNothing) {
		return err
	}
	if err != nil {
		size = 0
	}
	because, detail := it.judge(end, size)
	if end.cut && size > 0 {
		detail = fmt.Sprintf("cut at a line before %d bytes; the %d bytes before are recorded", limit, size)
	}
	switch {
	case because != "":
		r.missing(e.s, name, because, detail)
	case strings.TrimSpace(end.said) != "" && !contains(end.said, it.usual):
		r.warn(name + ": recorded, and it said: " + plain(end.said))
	}
	if because == "" || size > 0 {
		e.s.got(name, because)
	}
	if err != nil {
		return nil
	}
	a.Exit, a.Size, a.SHA256, a.Truncated = end.exit, size, sum, c.cut
	r.m.Artifacts = append(r.m.Artifacts, *a)
	return nil
}

// warn tells a person something, once.
func (r *recorder) warn(text string) {
	if !slices.Contains(r.warnings, text) {
		r.warnings = append(r.warnings, text)
	}
}

// missing notes what cannot be had; s is nil for what is missing on the host.
func (r *recorder) missing(s *space, what, because, detail string) {
	m := miss{what, because, detail}
	if _, ok := r.missed[m]; !ok {
		r.order = append(r.order, m)
	}
	in := ""
	if s != nil {
		in = s.id
		s.got(what, because)
	}
	r.missed[m] = append(r.missed[m], in)
}

// tellMissing puts what is missing into the manifest: once, when it is missing
// in every namespace, and else with the namespaces.
func (r *recorder) tellMissing() {
	for _, m := range r.order {
		in := r.missed[m]
		if in[0] != "" && len(in) < len(r.spaces) {
			const most = 20
			more := ""
			if len(in) > most {
				more = fmt.Sprintf(" and %d more", len(in)-most)
			}
			m.detail += "; in network namespace " + strings.Join(in[:min(len(in), most)], ", ") + more
		}
		r.m.Missing = append(r.m.Missing, bundle.Missing{Host: r.host.name, What: m.what, Because: m.because, Detail: m.detail})
	}
}

// errNothing leaves an item that failed without a word out of the bundle, where
// an empty file would say that the host's table is empty.
var errNothing = errors.New("failed, and gave nothing")

// recording is the content of an artifact while it is made.
type recording struct {
	*cutter
	src   source
	whole bool // a part of it is worth nothing
	over  bool
	e     ended
}

// Read ends with what became of the source, since that decides whether an
// artifact that is empty or not whole is kept.
func (r *recording) Read(p []byte) (int, error) {
	n, err := r.cutter.Read(p)
	if err != io.EOF {
		return n, err
	}
	if e := r.finish(); (r.passed == 0 || r.whole) && !e.good() {
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

// stream is a file below /proc, or a listing that this program makes itself.
type stream struct {
	ctx context.Context
	in  io.ReadCloser
	e   ended
}

func openFile(ctx context.Context, name string) (source, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return &stream{ctx: ctx, in: f}, nil
}

func openListing(e *env, open func(*env) (io.ReadCloser, error)) (source, error) {
	l, err := open(e)
	if err != nil {
		return nil, err
	}
	return &stream{ctx: e.ctx, in: l}, nil
}

// Read looks at the deadline between two reads: a read of /proc cannot be
// stopped, but gives little at a time.
func (f *stream) Read(p []byte) (int, error) {
	if f.ctx.Err() != nil {
		f.e.timeout = true
		return 0, errEarly
	}
	return f.in.Read(p)
}

func (f *stream) end() ended {
	f.in.Close()
	return f.e
}

// judge puts what became of an item into the words of the bundle format;
// because is "" when all is well. Size is what was recorded of it.
func (it *item) judge(e ended, size int64) (because, detail string) {
	kept := ""
	if size > 0 {
		kept = fmt.Sprintf("; the %d bytes that it gave are recorded", size)
	}
	switch {
	case e.cut:
		return tooLarge, fmt.Sprintf("cut at a line before %d bytes", it.limit) + kept
	case e.timeout, errors.Is(e.err, context.DeadlineExceeded), errors.Is(e.err, os.ErrDeadlineExceeded):
		return timedOut, "stopped at its deadline, of " + it.deadline.String() + " or what --timeout left" + kept
	case errors.Is(e.err, fs.ErrNotExist) && it.file != "":
		return notFound, "/proc/" + it.file + ": the kernel does not have it, or its module is not loaded"
	case errors.Is(e.err, fs.ErrPermission) && it.file != "":
		return permission, "/proc/" + it.file + ": only root may read it; run as root"
	case errors.Is(e.err, fs.ErrNotExist):
		return notFound, plain(e.err.Error()) + kept
	case errors.Is(e.err, fs.ErrPermission):
		return permission, plain(e.err.Error()) + kept
	case e.err != nil:
		return failed, plain(e.err.Error()) + kept
	case e.exit == 0:
		return "", ""
	}
	detail = fmt.Sprintf("exit %d: %s", e.exit, plain(e.said)) + kept
	said := strings.ToLower(e.said)
	switch {
	case contains(said, it.absent):
		return notFound, detail
	case contains(said, []string{"permission denied", "not permitted", "be root", "as root", "root privileges"}):
		return permission, detail
	}
	return failed, detail
}

func contains(s string, any []string) bool {
	for _, a := range any {
		if strings.Contains(s, strings.ToLower(a)) {
			return true
		}
	}
	return false
}

// plain makes one short line of what a command said.
func plain(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f && c < 0xa0 {
			return -1
		}
		return c
	}, s)
	if r := []rune(s); len(r) > 300 {
		s = string(r[:300]) + " ..."
	}
	if s == "" {
		s = "it did not say why"
	}
	return s
}
