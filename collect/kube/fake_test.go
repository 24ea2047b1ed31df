package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"whichbackend/collect/bundle"
)

// TestMain makes the test itself the kubectl that it finds on its PATH.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "kubectl" {
		os.Exit(fakeKubectl(os.Getenv("FAKE"), strings.Join(os.Args[1:], " ")))
	}
	if dir := os.Getenv("RECORD"); dir != "" { // what TestKilled kills
		Record(context.Background(), filepath.Join(dir, "b"), nil, (&fake{dir: dir}).options())
		return
	}
	os.Exit(m.Run())
}

// reply is what the fake kubectl answers to what matches; the first is taken.
type reply struct {
	Match    string // of the whole command line
	Out, Err string
	File     string // whose content comes behind Out
	Exit     int
	Hang     bool
	Serve    string // what it serves over HTTP on a port that it names
}

func fakeKubectl(dir, line string) int {
	log, err := os.OpenFile(filepath.Join(dir, "calls"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return 99
	}
	in, _ := io.ReadAll(os.Stdin)
	fmt.Fprintf(log, "%q\n", line+" < "+fmt.Sprint(len(in)))
	text, err := os.ReadFile(filepath.Join(dir, "replies.json"))
	var replies []reply
	if err != nil || json.Unmarshal(text, &replies) != nil {
		return 98
	}
	for strings.HasPrefix(line, "--") {
		_, line, _ = strings.Cut(line, " ")
	}
	for _, r := range replies {
		if regexp.MustCompile(r.Match).MatchString(line) {
			return r.give()
		}
	}
	fmt.Fprintf(os.Stderr, "Error from server (NotFound): no reply to %s\n", line)
	return 1
}

func (r reply) give() int {
	if r.Serve != "" {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 97
		}
		fmt.Printf("Forwarding from %s -> 15000\n", l.Addr())
		http.Serve(l, http.FileServer(http.Dir(r.Serve)))
	}
	io.WriteString(os.Stdout, r.Out)
	io.WriteString(os.Stderr, r.Err)
	if r.File != "" {
		f, err := os.Open(r.File)
		if err != nil {
			return 96
		}
		io.Copy(os.Stdout, f)
	}
	if r.Hang {
		os.WriteFile(filepath.Join(os.Getenv("FAKE"), "hangs"), []byte(fmt.Sprint(os.Getpid())), 0o600)
		signal.Ignore(syscall.SIGTERM)
		time.Sleep(time.Hour)
	}
	return r.Exit
}

// fake is a cluster that answers from a list.
type fake struct {
	t   *testing.T
	dir string
}

func newFake(t *testing.T, replies ...reply) *fake {
	t.Helper()
	f := &fake{t, t.TempDir()}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(f.dir, "kubectl")); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(replies)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(f.dir, "replies.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", f.dir+":"+os.Getenv("PATH"))
	return f
}

// options are those with which the fake is asked.
func (f *fake) options() Options {
	return Options{Env: append(os.Environ(), "FAKE="+f.dir, "GORACE=atexit_sleep_ms=0"), Parallel: 8, Timeout: time.Minute, AgentNamespace: "kube-system"}
}

// calls are the command lines that kubectl was run with.
func (f *fake) calls() (lines []string) {
	text, _ := os.ReadFile(filepath.Join(f.dir, "calls"))
	for l := range strings.Lines(string(text)) {
		lines = append(lines, strings.Trim(strings.TrimSpace(l), `"`))
	}
	return lines
}

func (f *fake) called(part string) (n int) {
	for _, l := range f.calls() {
		if strings.Contains(l, part) {
			n++
		}
	}
	return n
}

// got is a bundle that was read back.
type got struct {
	*Result
	files map[string]string
	raw   string
}

func (f *fake) record(o Options) *got {
	f.t.Helper()
	var out bytes.Buffer
	r, err := Record(context.Background(), "-", &out, o)
	if err != nil {
		f.t.Fatal(err)
	}
	g := &got{Result: r, files: map[string]string{}}
	b, err := bundle.Open("-", &out, bundle.Limits{})
	if err != nil {
		f.t.Fatal(err)
	}
	defer b.Close()
	for {
		e, err := b.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			f.t.Fatal(err)
		}
		text, err := io.ReadAll(e)
		if err != nil {
			f.t.Fatal(err)
		}
		_, p, _ := strings.Cut(e.Path, "/")
		g.files[p] = string(text)
		g.raw += string(text)
	}
	if len(b.Warnings()) > 0 || b.Damaged() != nil {
		f.t.Errorf("the bundle: %q, %v", b.Warnings(), b.Damaged())
	}
	m, err := json.Marshal(b.Manifest())
	if err != nil {
		f.t.Fatal(err)
	}
	g.raw += string(m)
	return g
}

// missing gives why a thing is missing.
func (g *got) missing(host, what string) bundle.Missing {
	for _, m := range g.Manifest.Missing {
		if m.Host == host && m.What == what {
			return m
		}
	}
	return bundle.Missing{}
}

// list makes a list of objects as kubectl prints it.
func list(items ...string) string {
	return `{"apiVersion": "v1", "kind": "List", "items": [` + strings.Join(items, ",") + `], "metadata": {"resourceVersion": ""}}`
}

// podObject is a pod with secrets wherever they are in one.
func podObject(ns, name, node string, containers ...string) string {
	var list []string
	for _, c := range containers {
		list = append(list, fmt.Sprintf(`{"name": %q, "image": "i", "command": ["sh", "-c", "SECRET"], "args": ["--password=SECRET"],
			"env": [{"name": "P", "value": "SECRET"}], "volumeMounts": [{"name": "SECRET"}], "livenessProbe": {"exec": {"command": ["SECRET"]}}}`, c))
	}
	return fmt.Sprintf(`{"apiVersion": "v1", "kind": "Pod",
		"metadata": {"namespace": %q, "name": %q, "labels": {"app": %q, "secret": "SECRET"}, "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "SECRET"},
			"managedFields": [{"manager": "SECRET"}]},
		"spec": {"nodeName": %q, "hostNetwork": %v, "containers": [%s], "volumes": [{"name": "SECRET"}], "imagePullSecrets": [{"name": "SECRET"}]},
		"status": {"phase": "Running", "message": "SECRET", "podIP": "10.0.0.1", "containerStatuses": [{"name": "c", "state": {"waiting": {"reason": "Why", "message": "SECRET"}}}]}}`,
		ns, name, name, node, containers[0] == kubeProxy || containers[0] == ciliumAgent, strings.Join(list, ","))
}

func nodeObject(name string) string {
	return fmt.Sprintf(`{"apiVersion": "v1", "kind": "Node", "metadata": {"name": %q, "annotations": {"a": "SECRET"}},
		"status": {"nodeInfo": {"architecture": %q, "operatingSystem": "linux"}, "images": [{"names": ["SECRET"]}]}}`, name, runtime.GOARCH)
}

// objects are the replies to all lists of objects.
func objects(pods []string, nodes ...string) []reply {
	var ns []string
	for _, n := range nodes {
		ns = append(ns, nodeObject(n))
	}
	return []reply{
		{Match: `^get pods (-A|-n \S+) -o json`, Out: list(pods...)},
		{Match: `^get nodes`, Out: list(ns...)},
		{Match: `^get services`, Out: list(`{"kind": "Service", "metadata": {"namespace": "shop", "name": "web"}, "spec": {"clusterIP": "10.96.0.1", "selector": {"x": "SECRET"}}}`)},
		{Match: `^get endpointslices`, Out: list(`{"kind": "EndpointSlice", "metadata": {"namespace": "shop", "name": "web-x7", "labels": {"kubernetes.io/service-name": "web"}},
			"endpoints": [{"addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod", "namespace": "shop", "name": "web-1"}}]}`)},
		{Match: `^get endpoints`, Out: list(), Err: "Warning: v1 Endpoints is deprecated in v1.33+"},
		{Match: `^get cilium`, Out: list()},
	}
}
