package netns

import (
	"bufio"
	"context"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// mounts looks for namespaces that a mount keeps: ip netns, docker's
// balancers and most pods have one. Each mount namespace has its own mounts, so
// those of a docker in a container are only seen there.
func (s *survey) mounts(ctx context.Context) error {
	s.mountsIn("self", "/")
	delete(s.mountsOf, s.ownMounts)
	var pids []int
	for _, pid := range s.mountsOf {
		pids = append(pids, pid)
	}
	slices.Sort(pids)
	for _, pid := range pids {
		if ctx.Err() != nil {
			return stopped(ctx.Err())
		}
		dir := strconv.Itoa(pid)
		s.mountsIn(dir, filepath.Join(s.proc, dir, "root"))
	}
	return nil
}

// mountsIn reads the mounts that one process sees. Root is the way to its
// root folder.
func (s *survey) mountsIn(process, root string) {
	f, err := os.Open(filepath.Join(s.proc, process, "mountinfo"))
	if err != nil {
		return
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 64<<10)
	for {
		line, err := r.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull {
			if err != io.EOF || len(line) == 0 {
				return
			}
		}
		if inode, point, ok := nsfs(line); ok {
			s.mounted(inode, point, filepath.Join(root, point))
		}
		if err == io.EOF {
			return
		}
	}
}

// mounted notes a mount of a namespace.
func (s *survey) mounted(inode uint64, point, way string) {
	p := s.place(inode)
	if len(p.mounted) < mostWays {
		p.mounted = append(p.mounted, way)
	}
	point = strings.TrimSuffix(point, "//deleted") // the kernel's word for a file that is gone
	name := path.Base(point)
	if name == "net" || name == "netns" { // /var/run/crio/ns/ID/net
		name = path.Base(path.Dir(point))
	}
	if len(p.names) < mostOwners && !slices.Contains(p.names, name) && !strings.HasPrefix(point, "/proc/") {
		p.names = append(p.names, name)
	}
}

// nsfs reads a line of mountinfo that shows the mount of a network namespace:
//
//	1063 24 0:4 net:[4026532182] /run/docker/netns/ingress_sbox rw shared:446 - nsfs nsfs rw
func nsfs(line []byte) (inode uint64, point string, ok bool) {
	if !strings.Contains(string(line), " net:[") {
		return 0, "", false
	}
	words := strings.Fields(string(line))
	if len(words) < 5 {
		return 0, "", false
	}
	if dash := slices.Index(words, "-"); dash < 5 || dash+1 >= len(words) || words[dash+1] != "nsfs" {
		return 0, "", false
	}
	inode, ok = inodeOf(words[3])
	point = unescape(words[4])
	return inode, point, ok && path.IsAbs(point)
}

// unescape undoes what the kernel does to blanks in names: \040.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
