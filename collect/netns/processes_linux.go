package netns

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// processes looks at every process, and at the threads of each: a thread may
// have gone into a namespace of its own.
func (s *survey) processes(ctx context.Context) error {
	pids, err := numbers(s.proc)
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if ctx.Err() != nil {
			return stopped(ctx.Err())
		}
		s.process(pid)
	}
	return nil
}

// process looks at one. One that ends meanwhile is not there.
func (s *survey) process(pid int) {
	dir := strconv.Itoa(pid)
	main, err := s.inode(dir + "/ns/net")
	if errors.Is(err, fs.ErrPermission) {
		s.hidden++
		return
	}
	if main != 0 {
		s.inhabits(main, pid, dir+"/ns/net")
		if m, err := os.Readlink(filepath.Join(s.proc, dir, "ns/mnt")); err == nil && s.mountsOf[m] == 0 {
			s.mountsOf[m] = pid
		}
	}
	if pid == s.me {
		return // our own threads come and go between namespaces
	}
	for _, tid := range s.threads(dir) {
		if tid == pid {
			continue
		}
		way := filepath.Join(dir, "task", strconv.Itoa(tid), "ns/net")
		if inode, _ := s.inode(way); inode != 0 && inode != main {
			s.inhabits(inode, pid, way)
		}
	}
}

// threads gives the threads of a process that has more than its first.
func (s *survey) threads(pid string) []int {
	task := filepath.Join(s.proc, pid, "task")
	if !many(task) {
		return nil
	}
	tids, _ := numbers(task)
	return tids
}

// inhabits notes a process in a namespace.
func (s *survey) inhabits(inode uint64, pid int, way string) {
	p := s.place(inode)
	if len(p.ways) < mostWays {
		p.ways = append(p.ways, filepath.Join(s.proc, way))
	}
	text, _ := head(filepath.Join(s.proc, strconv.Itoa(pid), "cgroup"), 64<<10)
	chain := containersOf(text)
	if len(chain) == 0 {
		if inode != s.first { // nobody asks which processes run on the host
			s.loose(p, pid)
		}
		return
	}
	inner := chain[len(chain)-1]
	if t := p.tenants[inner.key()]; t != nil {
		return // the processes come by number: the lowest is known
	}
	p.tenants[inner.key()] = &tenant{container: inner, pid: pid}
}

func (s *survey) loose(p *place, pid int) {
	comm := word(filepath.Join(s.proc, strconv.Itoa(pid), "comm"))
	if _, known := p.loose[comm]; !known && comm != "" && len(p.loose) < 10*mostOwners {
		p.loose[comm] = pid
	}
}

// numbers lists the entries of a folder that are numbers, in their order.
func numbers(dir string) ([]int, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	var list []int
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil && n > 0 {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	return list, err
}

// head reads the beginning of a file.
func head(name string, most int64) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most))
	return string(b), err
}

// word reads a file of one short line; "" when it cannot be read.
func word(name string) string {
	text, _ := head(name, 4096)
	return strings.ToValidUTF8(strings.TrimSpace(text), "?")
}
