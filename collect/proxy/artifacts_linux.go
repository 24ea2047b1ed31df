package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"time"
)

// Artifact is one thing that a proxy tells.
type Artifact struct {
	// Name is that of its file in the bundle.
	Name string
	// Why says what it is asked for.
	Why string
	// Path is what is asked for with GET.
	Path string
	// Whole is true for a document, of which a part tells nothing.
	Whole bool

	limit int64
	wait  time.Duration
	begin string // what the first line of a listing has in it
	root  rule   // of a document
	of    *Admin
}

// statsFilter keeps how many connections each listener and cluster has, and how
// old the proxy is.
const statsFilter = `((down|up)stream_cx_(active|total|connect_fail|connect_timeout)|^server\.(uptime|live|state|version|concurrency))$`

var envoyArtifacts = []Artifact{
	{Name: "envoy-clusters", Path: "/clusters", begin: "::", limit: 256 * mib, wait: 20 * time.Second,
		Why: "The hosts of each cluster as the proxy uses them, with their connections and their health."},
	{Name: "envoy-stats", Path: "/stats?filter=" + url.QueryEscape(statsFilter), begin: ": ", limit: 64 * mib, wait: 10 * time.Second,
		Why: "How many connections each listener and cluster has."},
	{Name: "envoy-listeners", Path: "/listeners", begin: "::", limit: 16 * mib, wait: 10 * time.Second,
		Why: "The addresses that the proxy listens on."},
	{Name: "envoy-server_info", Path: "/server_info", root: serverInfo.rule, limit: 16 * mib, wait: 10 * time.Second,
		Why: "Which pod the proxy is in, its version, and since when its counters count; no environment, no command line."},
	{Name: "envoy-config_dump", Path: "/config_dump?include_eds", root: configDump, limit: 1024 * mib, wait: 60 * time.Second,
		Why: "Which listener leads to which cluster, and its endpoints; secrets, keys and other extensions are left out."},
}

var ztunnelArtifacts = []Artifact{
	{Name: "ztunnel-config_dump", Path: "/config_dump", root: ztunnel, limit: 1024 * mib, wait: 60 * time.Second,
		Why: "The connections that ztunnel holds, each with where it leads, and the workloads and services it knows; certificates are left out."},
}

// Artifacts are the things to read of a proxy, in this order: first what changes
// fastest. There are none where Err is set.
func (a *Admin) Artifacts() []Artifact {
	var list []Artifact
	switch a.Kind {
	case Envoy:
		list = slices.Clone(envoyArtifacts)
	case Ztunnel:
		list = slices.Clone(ztunnelArtifacts)
	}
	for i := range list {
		kind := ".txt"
		if list[i].root != nil {
			kind, list[i].Whole = ".json", true
		}
		list[i].Name += a.suffix + kind
		list[i].of = a
	}
	return list
}

// Open asks for an artifact. What is read of it ends with io.EOF only when the
// proxy said all it had; else with an error that is ErrTooLarge,
// os.ErrDeadlineExceeded, the ctx's, or another. One artifact of a proxy is open
// at a time.
func (t *Artifact) Open(ctx context.Context) (io.ReadCloser, error) {
	ans, err := t.of.link.get(ctx, t.Path, t.limit, t.wait)
	if err != nil {
		return nil, t.wrap(err)
	}
	r := &reading{Artifact: t, ans: ans}
	if t.root != nil {
		f := newFilter(ans, t.root)
		f.text = t.of.noteLog
		r.in = f
		return r, nil
	}
	br := bufio.NewReaderSize(ans, 64<<10)
	r.in = br
	head, err := br.Peek(4096)
	if err != nil && err != io.EOF {
		ans.Close()
		return nil, t.wrap(err)
	}
	first, _, _ := bytes.Cut(head, []byte("\n"))
	if len(head) > 0 && !bytes.Contains(first, []byte(t.begin)) {
		ans.Close()
		return nil, t.wrap(errors.New("the answer is no listing of Envoy"))
	}
	return r, nil
}

func (t *Artifact) wrap(err error) error {
	return fmt.Errorf("%s: GET %s: %w", t.of.Address, t.Path, err)
}

// reading is an artifact while it is read.
type reading struct {
	*Artifact
	ans *answer
	in  io.Reader
}

func (r *reading) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	if err != nil && err != io.EOF {
		err = r.wrap(err)
	}
	return n, err
}

// Close ends the reading, also before its end.
func (r *reading) Close() error { return r.ans.Close() }

// maxLogs bounds the log files that are followed for a proxy.
const maxLogs = 8

// noteLog notes the files that a configuration has access logs written to.
func (a *Admin) noteLog(o *object, key string, raw []byte) []byte {
	if o.typ == "FileAccessLog" && key == "path" && len(a.logs) < maxLogs && len(raw) < 4096 && !slices.Contains(a.logs, string(raw)) {
		a.logs = append(a.logs, string(raw))
	}
	return raw
}
