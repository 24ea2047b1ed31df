package collect

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
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
	err     error
}

func (e *ended) good() bool { return e.exit == 0 && !e.timeout && !e.cut && e.err == nil }

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
func (r *recorder) start(ctx context.Context, exe string, args []string) (source, error) {
	root := ""
	if r.o.Chroot {
		root = r.o.Root
	}

	out, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	// No input, also where there is no /dev/null: in an empty container.
	in, none, err := os.Pipe()
	if err != nil {
		out.Close()
		return nil, err
	}
	defer in.Close()
	none.Close()
	c := &child{out: out, done: make(chan struct{})}
	c.cmd = &exec.Cmd{
		Path: exe, Args: append([]string{exe}, args...), Dir: "/",
		Env:   []string{"PATH=" + r.o.Path, "LC_ALL=C"},
		Stdin: in, Stdout: w, Stderr: &c.said, WaitDelay: leftovers,
		// Pdeathsig: nothing stays behind when the collector itself is killed.
		SysProcAttr: &syscall.SysProcAttr{Chroot: root, Setpgid: true, Pdeathsig: syscall.SIGKILL},
	}
	if err := c.cmd.Start(); err != nil {
		out.Close()
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

// output runs a command whose output is needed here, and not in the bundle. It
// gives what there was of it, up to a limit.
func (r *recorder) output(ctx context.Context, exe string, args []string) string {
	src, err := r.start(ctx, exe, args)
	if err != nil {
		return ""
	}
	b, _ := io.ReadAll(io.LimitReader(src, 64<<10))
	src.end()
	return string(b)
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
		text := r.output(ctx, exe, []string{it.version})
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
