package collect

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// source is what an item reads: a file, or a command's output.
type source interface {
	io.Reader
	// end stops it, when it goes on still, and tells what became of it.
	end() ended
}

// ended tells what became of a source.
type ended struct {
	exit    int
	said    string // to stderr
	timeout bool   // it was stopped at its deadline
	cut     bool   // it was larger than its limit
	none    bool   // there was nothing to ask for
	err     error
}

func (e *ended) good() bool { return e.exit == 0 && !e.timeout && !e.cut && e.err == nil }

// file is a file below /proc.
type file struct {
	ctx context.Context
	f   *os.File
	e   ended
}

func openFile(ctx context.Context, name string) (source, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return &file{ctx: ctx, f: f}, nil
}

// Read looks at the deadline between two reads: a read of /proc cannot be
// stopped, but gives little at a time.
func (f *file) Read(p []byte) (int, error) {
	if f.ctx.Err() != nil {
		f.e.timeout = true
		return 0, errEarly
	}
	return f.f.Read(p)
}

func (f *file) end() ended {
	f.f.Close()
	return f.e
}

// child is a command that runs, in a process group of its own.
type child struct {
	cmd  *exec.Cmd
	out  *os.File
	said head
	stop func() bool
	done chan struct{}

	mu      sync.Mutex
	exited  bool
	timeout bool
}

// leftovers is how long a process that left the group of its command may hold
// the command's output open after its end.
var leftovers = 2 * time.Second

// start runs a command with nothing in its environment that could be a secret,
// or change what it prints.
func start(ctx context.Context, path, exe string, args []string) (source, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	c := &child{out: r, done: make(chan struct{})}
	c.cmd = &exec.Cmd{
		Path: exe, Args: append([]string{exe}, args...), Dir: "/",
		Env:    []string{"PATH=" + path, "LC_ALL=C"},
		Stdout: w, Stderr: &c.said, WaitDelay: leftovers,
		// Pdeathsig: nothing stays behind when the collector itself is killed.
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
	}
	if err := c.cmd.Start(); err != nil {
		r.Close()
		return nil, err
	}
	go c.wait()
	c.stop = context.AfterFunc(ctx, func() { c.kill(true) })
	return c, nil
}

// wait kills what the command left in its group before it is reaped: only until
// then is the number of the group sure to be ours.
func (c *child) wait() {
	const byPID, exited, leave = 1, 4, 0x1000000 // P_PID, WEXITED, WNOWAIT
	for {
		_, _, e := syscall.Syscall6(syscall.SYS_WAITID, byPID, uintptr(c.cmd.Process.Pid), 0, exited|leave, 0, 0)
		if e != syscall.EINTR {
			break
		}
	}
	c.mu.Lock()
	syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
	c.exited = true
	c.mu.Unlock()
	c.out.SetReadDeadline(time.Now().Add(leftovers))
	c.cmd.Wait()
	close(c.done)
}

// kill ends the whole group, unless the command has ended by itself.
func (c *child) kill(timeout bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.exited {
		c.timeout = c.timeout || timeout
		syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
	}
}

// Read gives the output, and io.EOF only when the command said all it had.
func (c *child) Read(p []byte) (int, error) {
	n, err := c.out.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return n, errors.New("a process that it left behind holds its output open")
	}
	if err == io.EOF {
		<-c.done
		if c.cmd.ProcessState.ExitCode() < 0 { // killed, by us or by another
			return n, errEarly
		}
	}
	return n, err
}

func (c *child) end() ended {
	c.stop()
	c.kill(false)
	<-c.done
	c.out.Close()
	return ended{exit: c.cmd.ProcessState.ExitCode(), said: c.said.String(), timeout: c.timeout}
}

// head keeps the first bytes that are written to it.
type head struct{ strings.Builder }

func (h *head) Write(p []byte) (int, error) {
	h.Builder.Write(p[:min(len(p), max(0, 4096-h.Len()))])
	return len(p), nil
}

// output runs a command whose output is needed here, and not in the bundle.
func (r *recorder) output(ctx context.Context, exe string, args []string) (string, ended) {
	src, err := start(ctx, r.o.Path, exe, args)
	if err != nil {
		return "", ended{err: err}
	}
	c := &cutter{in: src, max: mib}
	b, _ := io.ReadAll(c)
	e := src.end()
	e.cut = c.full
	e.err = c.broke
	return string(b), e
}

// argument is what may be handed on to a command: names, and no options.
var argument = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)

// arguments gives the arguments of an item's command. Where it goes over what
// another command lists, and that fails, the item ends as that did.
func (r *recorder) arguments(ctx context.Context, it *item, exe string) ([]string, ended) {
	args := append([]string(nil), it.args...)
	if it.each == nil {
		return args, ended{}
	}
	text, e := r.output(ctx, exe, it.each)
	if !e.good() {
		return nil, e
	}
	for _, w := range strings.Fields(text) {
		if !argument.MatchString(w) {
			return nil, ended{err: errors.New(quoted(it.each) + ": lists " + plain(w) + ", which is no name")}
		}
		args = append(args, w)
	}
	return args, ended{none: len(args) == len(it.args)}
}

// version asks a tool once, and takes its first line, whatever its exit.
func (r *recorder) version(ctx context.Context, it *item, exe string) string {
	if it.version == "" {
		return ""
	}
	v, ok := r.tools[exe]
	if !ok {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		text, _ := r.output(ctx, exe, []string{it.version})
		first, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
		if first != "" && len(first) < 200 {
			v = plain(first)
		}
		r.tools[exe] = v
	}
	return v
}

// lowPriority makes this thread give way to the host's own work, on the
// processor and on the disk. Where it may not, the commands run as they are.
func lowPriority() {
	const nice, idle, process = 10, 3 << 13, 1
	if now, err := syscall.Getpriority(syscall.PRIO_PROCESS, 0); err == nil && 20-now < nice {
		syscall.Setpriority(syscall.PRIO_PROCESS, 0, nice)
	}
	syscall.Syscall(syscall.SYS_IOPRIO_SET, process, 0, idle)
}

// ntp asks the kernel, without changing anything, whether its clock is set.
func ntp() string {
	var t syscall.Timex
	state, err := syscall.Adjtimex(&t)
	const unset, bad = 0x40, 5 // STA_UNSYNC, TIME_ERROR
	switch {
	case err != nil:
		return ""
	case state == bad || t.Status&unset != 0:
		return "unsynchronised"
	}
	return "synchronised"
}
