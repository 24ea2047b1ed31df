package cilium

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// answers is what an agent says, by path.
type answers map[string]string

// agent runs an agent on the node's socket until the test ends.
func (n *testNode) agent(says answers) {
	n.t.Helper()
	serve(n.t, n.root, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := says[r.URL.Path]
		if r.Method != http.MethodGet || !ok {
			http.Error(w, "no", http.StatusNotFound)
			return
		}
		io.WriteString(w, text)
	}))
}

func listen(t testing.TB, root string) net.Listener {
	t.Helper()
	must(t, os.MkdirAll(filepath.Join(root, "run/cilium"), 0o755))
	l, err := net.Listen("unix", filepath.Join(root, "run/cilium/cilium.sock"))
	must(t, err)
	return l
}

func serve(t testing.TB, root string, h http.Handler) {
	t.Helper()
	s := &http.Server{Handler: h}
	done := make(chan bool)
	l := listen(t, root)
	go func() { s.Serve(l); close(done) }()
	t.Cleanup(func() { s.Close(); <-done })
}

// shortRoot is a folder whose sockets have names that are short enough.
func shortRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cilium")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func openAgent(t *testing.T, root string) *Agent {
	t.Helper()
	a, err := OpenAgent(root)
	must(t, err)
	t.Cleanup(a.Close)
	return a
}

// TestAgentRecorded asks an agent that answers as recorded ones did, and sees that
// what is written has the names and nothing of what may be secret.
func TestAgentRecorded(t *testing.T) {
	for _, name := range []string{"cilium-1.14", "cilium-1.16-socket-lb"} {
		files := recorded(t, name, "node1")
		root := shortRoot(t)
		n := &testNode{t, root}
		n.agent(answers{
			"/v1/endpoint":      files["cilium-endpoint-list.json"],
			"/v1/service":       files["cilium-service-list.json"],
			"/v1/cluster/nodes": `{"client-id": 7, "nodes-removed": [{}], "nodes-added": [{"name": "lab/node1", "labels": {"a": "secret-1"}, "primary-address": {"ipv4": {"enabled": true, "ip": "192.168.50.11"}}}], "self": "x"}`,
			"/v1/ip":            `[{"cidr": "10.0.1.26/32", "hostIP": "192.168.50.11", "identity": 7, "metadata": {"name": "client", "namespace": "default", "source": "k8s"}}]`,
		})
		a := openAgent(t, root)
		for _, c := range []struct {
			ask  func(context.Context) (io.ReadCloser, error)
			want []string
		}{
			{a.Endpoints, []string{`"k8s-pod-name": "nginx-`, `"ipv4": "10.0.1.`, `"id": `}},
			{a.Services, []string{`"name": "nginx-sticky"`, `"ip": "10.96.43.209"`, `"nodeName": "node2"`}},
			{a.Nodes, []string{`"name": "lab/node1"`, `"ip": "192.168.50.11"`}},
			{a.Addresses, []string{`"name": "client"`, `"cidr": "10.0.1.26/32"`}},
		} {
			in, err := c.ask(context.Background())
			got := all(t, in, err)
			for _, w := range c.want {
				if !strings.Contains(got, w) {
					t.Errorf("no %s in\n%s", w, got)
				}
			}
			for _, w := range []string{"labels", "k8s:", "policy-", "options", "controllers", "secret"} {
				if strings.Contains(got, w) {
					t.Errorf("%s in\n%s", w, got)
				}
			}
		}
	}
}

// TestAgentAsBefore: of services nothing is left out, and what is written is what
// the tool printed, byte for byte but for the order of members.
func TestAgentAsBefore(t *testing.T) {
	files := recorded(t, "cilium-1.14", "node1")
	root := shortRoot(t)
	(&testNode{t, root}).agent(answers{"/v1/service": files["cilium-service-list.json"]})
	in, err := openAgent(t, root).Services(context.Background())
	if got, want := all(t, in, err), files["cilium-service-list.json"]; got != want {
		t.Error(cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")))
	}
}

func TestAgentBad(t *testing.T) {
	hang := make(chan bool)
	defer close(hang)
	for name, c := range map[string]struct {
		say  func(w http.ResponseWriter)
		want error
	}{
		"garbage":      {func(w http.ResponseWriter) { io.WriteString(w, "\x00\xff<html>") }, nil},
		"an object":    {func(w http.ResponseWriter) { io.WriteString(w, `{"a": 1}`) }, nil},
		"an end":       {func(w http.ResponseWriter) { io.WriteString(w, `[{"cidr": "10.0.0.1/32"},`) }, io.ErrUnexpectedEOF},
		"numbers":      {func(w http.ResponseWriter) { io.WriteString(w, `[1, 2]`) }, nil},
		"nothing":      {func(w http.ResponseWriter) {}, io.ErrUnexpectedEOF},
		"null":         {func(w http.ResponseWriter) { io.WriteString(w, "null") }, fs.ErrNotExist},
		"none":         {func(w http.ResponseWriter) { io.WriteString(w, "[]") }, fs.ErrNotExist},
		"an error":     {func(w http.ResponseWriter) { http.Error(w, "no", 500) }, nil},
		"elsewhere":    {func(w http.ResponseWriter) { w.Header().Set("Location", "http://localhost/x"); w.WriteHeader(302) }, nil},
		"no answer":    {func(w http.ResponseWriter) { <-hang }, os.ErrDeadlineExceeded},
		"a hang":       {func(w http.ResponseWriter) { io.WriteString(w, `[`); w.(http.Flusher).Flush(); <-hang }, context.DeadlineExceeded},
		"one GB":       {func(w http.ResponseWriter) { flood(w, "[", `{"cidr": "10.0.0.1/32"},`) }, ErrTooLarge},
		"one long row": {func(w http.ResponseWriter) { flood(w, `[{"cidr": "`, "0123456789abcdef") }, ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			root := shortRoot(t)
			serve(t, root, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { c.say(w) }))
			a := openAgent(t, root)
			a.patience, a.answer, a.ofElements = 200*time.Millisecond, 4<<20, 1<<20
			ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
			if c.want == ErrTooLarge {
				ctx, cancel = context.WithTimeout(context.Background(), time.Minute)
			}
			defer cancel()
			in, err := a.Addresses(ctx)
			if err == nil {
				_, err = io.Copy(io.Discard, in)
				in.Close()
			}
			if err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

// flood writes 1 GB, as long as someone reads.
func flood(w io.Writer, first, more string) {
	b := bufio.NewWriter(w)
	b.WriteString(first)
	for range (1 << 30) / len(more) {
		if _, err := b.WriteString(more); err != nil {
			return
		}
	}
}

// TestAgentGone: a socket that a dead agent left is no agent.
func TestAgentGone(t *testing.T) {
	root := shortRoot(t)
	if _, err := OpenAgent(root); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	l := listen(t, root)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	_, err := openAgent(t, root).Endpoints(context.Background())
	if !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
