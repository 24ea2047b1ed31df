package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// kubectl runs kubectl, a bounded number of times at once.
type kubectl struct {
	exe   string
	flags []string // the context, before every other argument
	env   []string // as it was given to us: kubectl and its credential plugins need it
	slots chan struct{}
}

func newKubectl(o *Options) (*kubectl, error) {
	exe, err := exec.LookPath("kubectl")
	if err != nil {
		return nil, errors.New("kubectl is not on PATH; install it, a cluster is recorded through it")
	}
	k := &kubectl{exe: exe, env: o.Env, slots: make(chan struct{}, o.Parallel)}
	if o.Context != "" {
		k.flags = append(k.flags, "--context="+o.Context)
	}
	if o.Kubeconfig != "" {
		k.flags = append(k.flags, "--kubeconfig="+o.Kubeconfig)
	}
	return k, nil
}

// call is one run of kubectl.
type call struct {
	args     []string
	in       io.Reader // nil closes its standard input
	deadline time.Duration
	limit    int64 // of what it prints, in bytes
}

// outcome tells what became of a call.
type outcome struct {
	exit    int
	said    string // to stderr
	timeout bool   // stopped at a deadline
	full    bool   // stopped at its limit
	kept    int64  // bytes of what it gave before that, which are recorded
	err     error
}

func (o outcome) good() bool { return o.exit == 0 && !o.timeout && !o.full && o.err == nil }

// leftovers is how long what kubectl left behind may hold its output open.
const leftovers = 2 * time.Second

// run runs kubectl to its end or its deadline. What it printed is in the spool,
// which the caller closes.
func (k *kubectl) run(ctx context.Context, c call) (*spool, outcome) {
	s, err := newSpool(c.limit)
	if err != nil {
		return nil, outcome{err: err}
	}
	select {
	case k.slots <- struct{}{}:
		defer func() { <-k.slots }()
	case <-ctx.Done():
		return s, outcome{timeout: true}
	}
	limited, cancel := context.WithTimeout(ctx, c.deadline)
	defer cancel()
	var said head
	cmd := k.command(limited, c.args)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.in, s, &said
	s.stop = cancel
	err = onThread(cmd.Run)
	return s, s.outcome(limited, cmd, said.String(), err)
}

// onThread keeps its thread until the child has ended: a child dies with the
// thread that started it, which is how none outlives this program.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		done <- f()
	}()
	return <-done
}

// command prepares kubectl in a process group of its own, so that a Ctrl-C on
// the terminal reaches this program alone, and all of the group ends at once.
func (k *kubectl) command(ctx context.Context, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, k.exe, append(append([]string(nil), k.flags...), args...)...)
	cmd.Env = k.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = leftovers
	return cmd
}

// outcome puts together how a child ended.
func (s *spool) outcome(ctx context.Context, cmd *exec.Cmd, said string, err error) outcome {
	o := outcome{said: said, full: s.full, timeout: errors.Is(ctx.Err(), context.DeadlineExceeded) && !s.full}
	var exit *exec.ExitError
	switch {
	case err == nil:
		return outcome{said: said}
	case o.full || o.timeout:
	case ctx.Err() != nil:
		o.timeout = true
	case errors.As(err, &exit):
		if o.exit = exit.ExitCode(); o.exit < 0 {
			o.err = fmt.Errorf("kubectl was killed: %w", err)
		}
	case errors.Is(err, exec.ErrWaitDelay):
		o.err = errors.New("something that kubectl started holds its output open")
	default:
		o.err = err
	}
	if s.err != nil {
		o.err = s.err
	}
	if cmd.ProcessState != nil && !o.good() && o.exit == 0 {
		o.exit = cmd.ProcessState.ExitCode()
	}
	return o
}

// text runs kubectl for something that is needed here.
func (k *kubectl) text(ctx context.Context, c call) (string, outcome) {
	s, o := k.run(ctx, c)
	if s == nil {
		return "", o
	}
	defer s.close()
	b, err := io.ReadAll(s.reader())
	if err != nil && o.err == nil {
		o.err = err
	}
	return string(b), o
}

// forward is a port of a pod that kubectl brings to this machine.
type forward struct {
	address string // 127.0.0.1:PORT
	close   func()
}

// forward opens a port of a pod until it is closed. It holds one of the places
// of the runs at once.
func (k *kubectl) forward(ctx context.Context, p *pod, port string) (*forward, outcome) {
	select {
	case k.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, outcome{timeout: true}
	}
	free := func() { <-k.slots }
	ctx, cancel := context.WithCancel(ctx)
	r, w, err := os.Pipe()
	if err != nil {
		cancel()
		free()
		return nil, outcome{err: err}
	}
	var said head
	cmd := k.command(ctx, []string{"port-forward", "-n", p.id.Namespace, "pod/" + p.id.Name, "--address=127.0.0.1", ":" + port})
	cmd.Stdout, cmd.Stderr = w, &said
	ended := make(chan error, 1)
	go func() {
		err := onThread(cmd.Run)
		w.Close()
		ended <- err
	}()
	stop := func() error {
		cancel()
		err := <-ended
		r.Close()
		free()
		return err
	}
	r.SetReadDeadline(time.Now().Add(quick))
	line := make([]byte, 256)
	n, err := r.Read(line)
	// Forwarding from 127.0.0.1:40123 -> 15000
	address, ok := strings.CutPrefix(string(line[:n]), "Forwarding from ")
	address, _, found := strings.Cut(address, " -> ")
	if !ok || !found || !strings.HasPrefix(address, "127.0.0.1:") {
		e := stop()
		var exit *exec.ExitError
		o := outcome{said: said.String(), timeout: errors.Is(err, os.ErrDeadlineExceeded), exit: 1}
		if e != nil && !errors.As(e, &exit) && !o.timeout {
			o.err = e
		}
		return nil, o
	}
	return &forward{address: address, close: func() { stop() }}, outcome{}
}
