package collect

import (
	"context"
	"runtime"
	"time"
)

// Step is what a dry run tells of one item.
type Step struct {
	Name     string // of its file, or of the group of files
	How      string // the file, the command, or what is asked
	Why      string
	Each     bool // recorded in each network namespace
	Deadline time.Duration
	Limit    int64 // in bytes, of each
	// Because and Detail say, as in a manifest, why it would not be recorded
	// now, in the namespace that the collector runs in. They are "" when it
	// would.
	Because, Detail string
	// Rows and Size, in bytes before compression, are an estimate over all
	// namespaces; -1 where it cannot be told without recording.
	Rows, Size int64
	// Uncounted is the number of namespaces that the estimate could not count.
	Uncounted int
}

// A Plan is what a run would record.
type Plan struct {
	Host       string
	Namespaces []string // what each is called
	Steps      []Step
}

// MakePlan lists every item of the table and what would come of it now. It runs
// no command. With estimate it goes through every namespace and asks the kernel
// how many rows its large tables have.
func MakePlan(ctx context.Context, o Options, estimate bool) *Plan {
	p := &Plan{}
	done := make(chan bool)
	go func() {
		runtime.LockOSThread() // and never unlocks it: see Record
		p.make(ctx, o, estimate)
		close(done)
	}()
	<-done
	return p
}

func (p *Plan) make(ctx context.Context, o Options, estimate bool) {
	r := newRecorder(newHost(o), o, time.Now())
	defer r.close()
	p.Host = r.host.name
	r.findSpaces(ctx)
	for _, s := range r.spaces {
		name := s.id
		if t := s.title(); t != s.id {
			name += " " + t
		}
		p.Namespaces = append(p.Namespaces, name)
	}
	items := o.items()
	for i := range items {
		it := &items[i]
		s := Step{Name: it.name, Why: it.why, Each: it.scope == inNamespace, Deadline: it.deadline, Limit: it.limit, Rows: -1, Size: -1}
		var exe string
		exe, s.Because, s.Detail = it.find(r.host)
		s.How = it.how(exe)
		p.Steps = append(p.Steps, s)
	}
	if estimate {
		r.estimate(ctx, items, p.Steps)
	}
}

// estimate counts the rows of every item that has a count.
func (r *recorder) estimate(ctx context.Context, items []item, steps []Step) {
	for _, s := range r.spaces {
		entered := r.enter(s)
		for i := range items {
			it := &items[i]
			if it.count == nil || steps[i].Because != "" {
				continue
			}
			n, err := int64(0), error(nil)
			if entered {
				n, err = it.count(&env{ctx: ctx, host: r.host, s: s, r: r})
			}
			if !entered || err != nil {
				steps[i].Uncounted++
				continue
			}
			steps[i].Rows = max(steps[i].Rows, 0) + n
			steps[i].Size = min(steps[i].Rows*it.row, it.limit*int64(len(r.spaces)))
		}
	}
	r.enter(nil)
}
