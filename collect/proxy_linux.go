package collect

import (
	"errors"
	"io"

	"whichbackend/collect/proxy"
)

// logTail is as much as is looked at of an access log, from its end.
const logTail = 8 * mib

// proxies records what the proxies of a namespace tell, and their access logs.
func proxies(e *env, add adder) error {
	var pids []int
	for _, p := range e.r.processes.InNamespace(e.s.id) {
		pids = append(pids, p.PID)
	}
	admins, err := proxy.Find(e.ctx, e.host.file("proc"), pids)
	if err != nil {
		return err
	}
	if len(admins) == 0 {
		return absent{errors.New("no admin endpoint of Envoy or ztunnel here")}
	}
	any := false
	for _, a := range admins {
		err := e.proxy(a, add)
		any = any || a.Err == nil
		a.Close()
		if err != nil {
			return err
		}
	}
	if any {
		return e.containerLogs(add)
	}
	return nil
}

// proxy records one proxy. The error is one of the bundle.
func (e *env) proxy(a *proxy.Admin, add adder) error {
	if errors.Is(a.Err, proxy.ErrOther) {
		add.missed("proxy at "+a.Address, absent{a.Err})
		return nil
	}
	if a.Err != nil {
		add.missed("proxy at "+a.Address, a.Err)
		return nil
	}
	for _, t := range a.Artifacts() {
		in, err := t.Open(e.ctx)
		if err != nil {
			add.missed(t.Name, err)
			continue
		}
		if err := add.add(t.Name, in, t.Whole); err != nil {
			return err
		}
	}
	return e.logs(a.Logs(), add)
}

// containerLogs records what the pods and containers of the namespace that are
// proxies wrote to their standard output.
func (e *env) containerLogs(add adder) error {
	var logs []proxy.Log
	seen := map[string]bool{}
	for _, o := range e.s.owners {
		if key := o.Namespace + "/" + o.Name; o.Kind == "pod" && !seen[key] {
			seen[key] = true
			logs = append(logs, proxy.PodLogs(e.host.file(), o.Namespace, o.Name, "")...)
		}
		for id, c := range e.r.containers {
			if o.Kind == "container" && c.Name == o.Name {
				logs = append(logs, proxy.DockerLog(e.host.file(), id)...)
			}
		}
	}
	return e.logs(logs, add)
}

func (e *env) logs(logs []proxy.Log, add adder) error {
	for _, l := range logs {
		t, err := proxy.LogTail(e.ctx, l, logTail)
		if err != nil {
			add.missed(l.Name, err)
			continue
		}
		if err := add.add(l.Name, &log{Tail: t}, true); err != nil {
			return err
		}
	}
	return nil
}

// log tells of a log without a row that there is none, and not that reading it
// failed.
type log struct{ *proxy.Tail }

func (l *log) Read(p []byte) (int, error) {
	n, err := l.Tail.Read(p)
	if errors.Is(err, proxy.ErrNoRows) {
		err = absent{err}
	}
	return n, err
}

var _ io.ReadCloser = (*log)(nil)
