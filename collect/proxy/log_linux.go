package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// ErrNoRows ends a log that has no row of an access log in its tail.
var ErrNoRows = errors.New("has no row of an access log")

// Log is a file in which the rows of a proxy's access log may be.
type Log struct {
	// Name is that of its file in the bundle.
	Name string
	// Why says what it is read for.
	Why string
	// Root is the folder below which Path is: that of the host, or of a process.
	Root, Path string
}

const whyLog = "Rows of the access log: which backend a request or a finished connection had. Only these rows, without the queries of their paths."

// proxyContainers are the containers of a pod that are proxies. A ztunnel's has
// the same name as a sidecar.
var proxyContainers = []string{"istio-proxy", "ztunnel", "envoy", "cilium-envoy", "consul-dataplane", "kuma-sidecar", "envoy-sidecar"}

var (
	kubeName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*$`)
	hexName  = regexp.MustCompile(`^[0-9a-f]{12,64}$`)
	logName  = regexp.MustCompile(`^[0-9]+\.log$`)
)

// PodLogs are the logs that a pod's proxies write now, as kubelet keeps them
// below root, the host's root folder. Without a uid any pod of that name is it.
func PodLogs(root, namespace, name, uid string) []Log {
	if !kubeName.MatchString(namespace) || !kubeName.MatchString(name) || uid != "" && !kubeName.MatchString(uid) {
		return nil
	}
	if uid == "" {
		uid = "*"
	}
	var logs []Log
	for _, c := range proxyContainers {
		dirs, _ := filepath.Glob(filepath.Join(root, "var/log/pods", namespace+"_"+name+"_"+uid, c))
		for _, dir := range dirs {
			if newest := newestLog(dir); newest != "" {
				rel, _ := filepath.Rel(root, filepath.Join(dir, newest))
				logs = append(logs, Log{Name: numbered(c+"-access-log", len(logs)), Why: whyLog, Root: root, Path: "/" + rel})
			}
		}
	}
	return logs
}

// newestLog is the log of the container's last start: they are numbered.
func newestLog(dir string) (name string) {
	entries, _ := os.ReadDir(dir)
	best := -1
	for _, e := range entries {
		if n, err := strconv.Atoi(strings.TrimSuffix(e.Name(), ".log")); err == nil && logName.MatchString(e.Name()) && n > best {
			best, name = n, e.Name()
		}
	}
	return name
}

// DockerLog is the log of a container as docker's json-file driver keeps it
// below root. There is none when another driver does.
func DockerLog(root, id string) []Log {
	path := "/var/lib/docker/containers/" + id + "/" + id + "-json.log"
	if !hexName.MatchString(id) {
		return nil
	}
	if _, err := os.Stat(filepath.Join(root, path)); os.IsNotExist(err) {
		return nil
	}
	return []Log{{Name: "proxy-access-log.txt", Why: whyLog, Root: root, Path: path}}
}

// Logs are the files that the proxy's configuration has its access log written
// to. They are known once its config dump was read, and only where the process
// is. Standard output is no file.
func (a *Admin) Logs() []Log {
	var logs []Log
	for _, path := range a.logs {
		if a.PID == 0 || !filepath.IsAbs(path) || strings.HasPrefix(path, "/dev/") || strings.HasPrefix(path, "/proc/") || strings.Contains(path, `\`) {
			continue
		}
		root := filepath.Join(a.link.proc, strconv.Itoa(a.PID), "root")
		logs = append(logs, Log{Name: numbered("envoy-access-log"+a.suffix, len(logs)), Why: whyLog, Root: root, Path: path})
	}
	return logs
}

func numbered(name string, before int) string {
	if before > 0 {
		name += "-" + strconv.Itoa(before+1)
	}
	return name + ".txt"
}

// maxRow bounds a row; a longer line is none of an access log.
const maxRow = 64 << 10

// LogTail opens a log and gives those of its rows that stand in its last most
// bytes, and ended when it was opened. The rows are those that accessRow knows;
// it ends with ErrNoRows when there is none.
func LogTail(ctx context.Context, l Log, most int64) (*Tail, error) {
	f, err := openIn(l.Root, l.Path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	t := &Tail{ctx: ctx, f: f, path: l.Path}
	from := max(0, info.Size()-most-1) // one byte more tells whether a line begins here
	t.Cut = from > 0
	t.in = bufio.NewReaderSize(io.NewSectionReader(f, from, info.Size()-from), maxRow)
	t.skip = t.Cut
	return t, nil
}

// Tail reads the last rows of a log.
type Tail struct {
	// Cut tells that the log has more before.
	Cut bool

	ctx   context.Context
	f     *os.File
	path  string
	in    *bufio.Reader
	skip  bool // the line that is next is not whole
	store []byte
	out   []byte
	rows  bool
	err   error
}

// Read gives whole rows.
func (t *Tail) Read(p []byte) (int, error) {
	if len(t.out) == 0 && t.err == nil {
		t.out = t.store[:0]
		for len(t.out) < enough && t.err == nil {
			t.err = t.line()
		}
		t.store = t.out
	}
	if len(t.out) == 0 {
		return 0, t.err
	}
	n := copy(p, t.out)
	t.out = t.out[n:]
	return n, nil
}

// line reads one line.
func (t *Tail) line() error {
	if err := t.ctx.Err(); err != nil {
		return err
	}
	b, err := t.in.ReadSlice('\n')
	switch {
	case err == bufio.ErrBufferFull:
		t.skip = true
		return nil
	case err == io.EOF && !t.rows: // what has no end yet is left
		return fmt.Errorf("%s: %w", t.path, ErrNoRows)
	case err != nil:
		return err
	}
	b = bytes.TrimRight(b, "\r\n")
	skip := t.skip
	if t.skip = isPart(b); skip || t.skip {
		return nil
	}
	if row := accessRow(b); row != nil {
		t.out = append(append(t.out, row...), '\n')
		t.rows = true
	}
	return nil
}

// Close closes the log.
func (t *Tail) Close() error { return t.f.Close() }
