package kernel

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// As many processes, and as many of their sockets, are remembered: some 20 MB.
const (
	maxProcesses = 1 << 18
	maxHeld      = 1 << 20
)

// Process is a process of the host.
type Process struct {
	PID int
	// Name is its short name as ss prints it, without control characters.
	Name string
}

// Processes tells which processes hold a socket, and in which network namespace
// each process is. A nil *Processes knows none. It changes no more once it was
// read, so that several goroutines may ask.
type Processes struct {
	all        []process
	held       []holder // by inode, and the last one read first
	unreadable int
	leftOut    int
}

type process struct {
	Process
	namespace string // the inode; "" when it may not be known
}

// holder is one open socket of a process. Inodes of sockets have 32 bits.
type holder struct{ inode, process, fd uint32 }

// ReadProcesses goes once over the processes of a folder like /proc. It reads
// the links of their open files and of their network namespace, and their short
// name, but never a command line or an environment. A process that ends
// meanwhile is left out.
func ReadProcesses(ctx context.Context, proc string) (*Processes, error) {
	dir, err := os.Open(proc)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	r := processReader{ctx: ctx, proc: proc, p: &Processes{}, known: map[string]string{}}
	err = eachName(ctx, dir, func(name string) {
		if pid, err := strconv.ParseInt(name, 10, 32); err == nil && pid > 0 {
			r.process(int(pid), name)
		}
	})
	if err != nil {
		return nil, err
	}
	// ss prints the process first that it read last.
	slices.SortFunc(r.p.held, func(a, b holder) int {
		return cmp.Or(cmp.Compare(a.inode, b.inode), cmp.Compare(b.process, a.process), cmp.Compare(b.fd, a.fd))
	})
	return r.p, nil
}

// eachName calls do for each name of a folder, in the folder's own order, which
// is the kernel's and so by number.
func eachName(ctx context.Context, dir *os.File, do func(name string)) error {
	for {
		names, err := dir.Readdirnames(256)
		for _, name := range names {
			if ctx.Err() != nil {
				break
			}
			do(name)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", dir.Name(), context.Cause(ctx))
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// processReader fills a Processes.
type processReader struct {
	ctx   context.Context
	proc  string
	p     *Processes
	known map[string]string // texts that many processes share
	buf   [128]byte
}

func (r *processReader) process(pid int, name string) {
	if len(r.p.all) >= maxProcesses {
		r.p.leftOut++
		return
	}
	at := filepath.Join(r.proc, name)
	comm, err := os.ReadFile(filepath.Join(at, "comm"))
	if err != nil {
		r.denied(err)
		return
	}
	one := process{Process: Process{PID: pid, Name: r.same(shownName(comm))}}
	n, err := unix.Readlink(filepath.Join(at, "ns/net"), r.buf[:])
	if err == nil {
		one.namespace = r.same(string(between(r.buf[:n], "net:[")))
	}
	r.p.all = append(r.p.all, one)
	r.denied(cmp.Or(err, r.sockets(filepath.Join(at, "fd"))))
}

// denied counts a process that is there still and could not be read.
func (r *processReader) denied(err error) {
	if err != nil && !gone(err) {
		r.p.unreadable++
	}
}

// gone tells of a process that ended, or waits for its parent to see its end.
func gone(err error) bool { return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) }

// sockets remembers the sockets of the process read last.
func (r *processReader) sockets(fds string) error {
	dir, err := os.Open(fds)
	if err != nil {
		return err
	}
	defer dir.Close()
	at, index := int(dir.Fd()), uint32(len(r.p.all)-1)
	var denied error
	err = eachName(r.ctx, dir, func(name string) {
		n, err := unix.Readlinkat(at, name, r.buf[:])
		if err != nil {
			if !gone(err) {
				denied = err
			}
			return
		}
		inode, err := strconv.ParseUint(string(between(r.buf[:n], "socket:[")), 10, 32)
		if err != nil {
			return // no socket
		}
		fd, err := strconv.ParseUint(name, 10, 32)
		switch {
		case err != nil:
		case len(r.p.held) >= maxHeld:
			r.p.leftOut++
		default:
			r.p.held = append(r.p.held, holder{uint32(inode), index, uint32(fd)})
		}
	})
	return cmp.Or(denied, err)
}

// same gives one text for all that are equal.
func (r *processReader) same(text string) string {
	if t, ok := r.known[text]; ok {
		return t
	}
	r.known[text] = text
	return text
}

// between gives what is between a prefix that ends in [ and the ] at the end,
// or nothing.
func between(link []byte, prefix string) []byte {
	rest, ok := bytes.CutPrefix(link, []byte(prefix))
	inner, closed := bytes.CutSuffix(rest, []byte("]"))
	if !ok || !closed {
		return nil
	}
	return inner
}

// shownName makes of a process's comm what ss prints. It reads the name in
// /proc/PID/stat, where the kernel escapes newlines and backslashes, up to the
// first closing parenthesis.
func shownName(comm []byte) string {
	comm = bytes.TrimSuffix(comm, []byte("\n"))
	comm, _, _ = bytes.Cut(comm, []byte(")"))
	comm = bytes.ReplaceAll(comm, []byte(`\`), []byte(`\\`))
	comm = bytes.ReplaceAll(comm, []byte("\n"), []byte(`\n`))
	return string(appendPrintable(nil, comm))
}

// appendPrintable appends a text with ? for each control character and each
// byte that is no UTF-8.
func appendPrintable(out, text []byte) []byte {
	for len(text) > 0 {
		c, n := utf8.DecodeRune(text)
		if c == utf8.RuneError && n == 1 || unicode.IsControl(c) {
			c = '?'
		}
		out = utf8.AppendRune(out, c)
		text = text[n:]
	}
	return out
}

// Unreadable is the number of processes whose sockets or namespace could not be
// read: those of other users, when this program is not root.
func (p *Processes) Unreadable() int {
	if p == nil {
		return 0
	}
	return p.unreadable
}

// LeftOut is the number of processes and of open sockets beyond what is
// remembered of a host. It is 0 but on a host with hundreds of thousands.
func (p *Processes) LeftOut() int {
	if p == nil {
		return 0
	}
	return p.leftOut
}

// Namespaces gives the inodes of all network namespaces that a process is in,
// in the order of the first process of each.
func (p *Processes) Namespaces() []string {
	if p == nil {
		return nil
	}
	var inodes []string
	seen := map[string]bool{"": true}
	for i := range p.all {
		if n := p.all[i].namespace; !seen[n] {
			seen[n] = true
			inodes = append(inodes, n)
		}
	}
	return inodes
}

// InNamespace gives the processes of the network namespace with an inode, as
// "4026531840", in the order of their ids. The kernel's own threads are among
// those of the host's namespace.
func (p *Processes) InNamespace(inode string) []Process {
	if p == nil || inode == "" {
		return nil
	}
	var in []Process
	for i := range p.all {
		if p.all[i].namespace == inode {
			in = append(in, p.all[i].Process)
		}
	}
	return in
}

// appendUsers appends the processes that hold a socket, as ss does.
func (p *Processes) appendUsers(out []byte, inode uint32) []byte {
	if p == nil || inode == 0 {
		return out
	}
	i, found := slices.BinarySearchFunc(p.held, inode, func(h holder, inode uint32) int { return cmp.Compare(h.inode, inode) })
	if !found {
		return out
	}
	for sep := " users:("; i < len(p.held) && p.held[i].inode == inode; i++ {
		h := p.held[i]
		one := p.all[h.process]
		out = append(append(append(append(out, sep...), `("`...), one.Name...), `",pid=`...)
		out = strconv.AppendInt(out, int64(one.PID), 10)
		out = strconv.AppendUint(append(out, ",fd="...), uint64(h.fd), 10)
		out = append(out, ')')
		sep = ","
	}
	return append(out, ')')
}
