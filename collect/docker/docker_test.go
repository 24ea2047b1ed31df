package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"whichbackend/analyze/parse"
	"whichbackend/analyze/record"
	"whichbackend/collect/bundle"
)

// all records every item.
func all(t *testing.T, d *daemon) map[string]string {
	t.Helper()
	c := d.open(t)
	files := map[string]string{}
	for name, open := range map[string]func(context.Context) (io.Reader, error){
		"docker-ps": c.Ps, "docker-inspect": c.Containers, "docker-network-inspect": c.Networks, "docker-node-ls": c.NodeTable, "docker-node-inspect": c.Nodes,
		"docker-service-ls": c.ServiceTable, "docker-service-inspect": c.Services, "docker-task-inspect": c.Tasks,
	} {
		r, err := open(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		files[name] = string(b)
	}
	return files
}

// understood is what the analyzer makes of files: owners and services.
func understood(t *testing.T, files ...string) []string {
	t.Helper()
	k := &sink{t: t}
	for _, f := range files {
		n := 0
		sections, err := parse.Artifact(&record.Artifact{}, strings.NewReader(f), nil, k, func() int { n++; return n })
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range sections {
			if s.Unknown > 0 || s.Format == "" {
				t.Errorf("format %q, %d lines unknown", s.Format, s.Unknown)
			}
		}
	}
	slices.Sort(k.said)
	if len(k.said) == 0 {
		t.Error("nothing was understood")
	}
	return k.said
}

// sink keeps owners and services as text, without their lines.
type sink struct {
	parse.Sink
	t    *testing.T
	said []string
}

func (k *sink) Reading(*record.Reading)   {}
func (k *sink) Problem(p *record.Problem) { k.t.Errorf("not understood: %+v", p) }

func (k *sink) Owner(o *record.Owner) {
	c := *o
	c.Section, c.Pos = 0, record.Pos{}
	k.said = append(k.said, fmt.Sprintf("%+v", c))
}

func (k *sink) Service(s *record.Service) {
	c := *s
	c.Section, c.Pos = 0, record.Pos{}
	c.Backends = slices.Clone(s.Backends)
	for i := range c.Backends {
		c.Backends[i].Pos = record.Pos{}
	}
	k.said = append(k.said, fmt.Sprintf("%+v", c))
}

func TestSaysWhatDockerPrints(t *testing.T) {
	d, printed := recorded(t)
	got := all(t, d)
	for _, table := range []string{"docker-node-ls", "docker-service-ls"} {
		if diff := cmp.Diff(printed[table+".txt"], got[table]); diff != "" {
			t.Errorf("%s (-docker +ours):\n%s", table, diff)
		}
	}
	var networks []string
	for name, text := range printed {
		if strings.HasPrefix(name, "docker-network-inspect-v-") {
			networks = append(networks, text)
		}
	}
	for ours, theirs := range map[string][]string{
		"docker-inspect":         {printed["docker-inspect-all.json"]},
		"docker-network-inspect": networks,
		"docker-service-inspect": {printed["docker-service-inspect-demo_nginx.json"], printed["docker-service-inspect-demo_client.json"]},
		"docker-task-inspect":    {tasks},
		"docker-node-inspect":    {nodes},
	} {
		if diff := cmp.Diff(understood(t, theirs...), understood(t, got[ours])); diff != "" {
			t.Errorf("%s is understood as (-docker's +ours):\n%s", ours, diff)
		}
	}
	if n := len(understood(t, got["docker-ps"])); n != len(d.inspect) {
		t.Errorf("docker-ps tells %d containers, of %d:\n%s", n, len(d.inspect), got["docker-ps"])
	}
}

func TestNoSecretComesOut(t *testing.T) {
	d, _ := recorded(t)
	for name, text := range all(t, d) {
		if strings.Contains(text, secret) {
			t.Errorf("%s holds the secret:\n%s", name, text)
		}
		for _, word := range []string{"Env", "Args", "Cmd", "Secret", "token", "password"} {
			if strings.Contains(text, word) {
				t.Errorf("%s speaks of %q", name, word)
			}
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, q := range d.asked {
		if !strings.HasPrefix(q, "GET ") {
			t.Errorf("asked %s: only GET changes nothing", q)
		}
	}
}

func TestNames(t *testing.T) {
	d, _ := recorded(t)
	names, err := d.open(t).Names(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := names["22dd9d076000fc2a8afb14181be62b3130d76a87a622de24fe23a41289cca21c"]
	want := Container{Name: "demo_client.1.jklkbn7pz1pnh0wb0bk7enwln", PID: 948, NetNS: "/var/run/docker/netns/2363dda8e72d", NetworkMode: "default"}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if len(names) != 3 {
		t.Errorf("%d containers, want 3", len(names))
	}
}

func TestPodOfDocker(t *testing.T) {
	d := listen(t)
	const id = "aaaabbbbccccddddaaaabbbbccccddddaaaabbbbccccddddaaaabbbbccccdddd"
	d.says("/v1.41/containers/json", `[{"Id":"`+id+`"}]`)
	d.says("/v1.41/containers/"+id+"/json", `{"Id":"`+id+`","Name":"/k8s_app_web-1_shop_uid_0","State":{"Pid":5},"HostConfig":{"NetworkMode":"container:ffff"},
		"Config":{"Labels":{"io.kubernetes.pod.name":"web-1","io.kubernetes.pod.namespace":"shop","io.kubernetes.container.name":"app","io.kubernetes.docker.type":"container"}}}`)
	names, err := d.open(t).Names(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if o, want := names[id].Owner(), (bundle.Owner{Kind: "pod", Namespace: "shop", Name: "web-1", Container: "app", PID: 5}); o != want || !names[id].Shares() {
		t.Errorf("got %+v, shares %v; want %+v in a namespace that is shared", o, names[id].Shares(), want)
	}
}

func TestNoDaemonIsStarted(t *testing.T) {
	d := listen(t)
	os.Remove(filepath.Join(d.root, "proc/77/comm"))
	if _, err := Open(d.root); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a socket without a daemon: %v, want that there is none", err)
	}
	if _, err := Open(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no socket: %v, want that there is none", err)
	}
	if len(d.asked) > 0 {
		t.Errorf("the socket was asked: %v", d.asked)
	}
}

func TestNoSwarm(t *testing.T) {
	d := listen(t)
	d.mux.HandleFunc("/v1.41/services", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, `{"message":"This node is not a swarm manager. Use \"docker swarm init\"."}`)
	})
	if _, err := d.open(t).Services(t.Context()); !errors.Is(err, ErrNoSwarm) || !strings.Contains(err.Error(), "not a swarm manager") {
		t.Errorf("got %v, want ErrNoSwarm in the daemon's words", err)
	}
}

// TestUnwell tries what a sick daemon, or one that is none, may answer.
func TestUnwell(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request)
		want   string
		is     error
	}{
		"hangs":          {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "no answer within", os.ErrDeadlineExceeded},
		"hangs in a row": {func(w http.ResponseWriter, r *http.Request) { hang(w, r) }, "no answer within", os.ErrDeadlineExceeded},
		"huge": {func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `[{"Id":"a","Image":"%s"}]`, strings.Repeat("x", 1<<20))
		}, "has more than", errTooLarge},
		"cut":      {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `[{"Id":"a"`) }, "broken or cut", nil},
		"no JSON":  {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }, "broken or cut", nil},
		"nothing":  {func(http.ResponseWriter, *http.Request) {}, "broken or cut", nil},
		"no list":  {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"a":1}`) }, "no list", nil},
		"a trap":   {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `[{"Id":"../../x?y"}]`) }, "whose id is none", nil},
		"no type":  {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `[{"Id":{"`+secret+`":1}}]`) }, "another shape", nil},
		"an error": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInternalServerError) }, "status 500", nil},
		"a move": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://example.org/", http.StatusFound)
		}, "status 302", nil},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			d := listen(t)
			d.mux.HandleFunc("/v1.41/containers/json", c.answer)
			client := d.open(t)
			client.patience, client.most = 200*time.Millisecond, 1<<16
			_, err := client.Containers(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("the error quotes what was answered: %v", err)
			}
		})
	}
}

func hang(w http.ResponseWriter, r *http.Request) {
	io.WriteString(w, `[{"Id":"a"},`)
	w.(http.Flusher).Flush()
	<-r.Context().Done()
}

func TestOneContainerHangsOneIsGone(t *testing.T) {
	d := listen(t)
	d.says("/v1.41/containers/json", `[{"Id":"a"},{"Id":"gone"},{"Id":"sick"},{"Id":"b"}]`)
	d.says("/v1.41/containers/a/json", `{"Id":"a","Name":"/a"}`)
	d.says("/v1.41/containers/b/json", `{"Id":"b","Name":"/b"}`)
	d.mux.HandleFunc("/v1.41/containers/sick/json", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	c := d.open(t)
	c.patience = 200 * time.Millisecond
	r, err := c.Containers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if !errors.Is(err, os.ErrDeadlineExceeded) || !strings.Contains(err.Error(), "1 objects are missing") {
		t.Errorf("got %v, want that one is missing", err)
	}
	if got := objects(t, string(b)); len(got) != 2 || got[0]["Id"] != "a" || got[1]["Id"] != "b" {
		t.Errorf("got %v, want a and b", got)
	}
}

func TestCanceled(t *testing.T) {
	d := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	d.mux.HandleFunc("/v1.41/containers/json", func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() })
	if _, err := d.open(t).Names(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that it was canceled", err)
	}
}

func TestAgree(t *testing.T) {
	for _, c := range []struct{ theirs, least, want string }{
		{"1.41", "1.12", "1.41"}, {"1.99", "1.44", newest}, {"1.99", "1.60", "1.60"}, {"1.9", "", "1.9"}, {"", "", newest}, {"2.0", "", newest},
		{"../x", "", newest},
	} {
		if got := agree(c.theirs, c.least); got != c.want {
			t.Errorf("a daemon of %q, at least %q: speaks %s, want %s", c.theirs, c.least, got, c.want)
		}
	}
}

func TestPorts(t *testing.T) {
	any := func(public, private int) published { return published{"0.0.0.0", private, public, "tcp"} }
	for want, all := range map[string][]published{
		"80/tcp":    {{"", 80, 0, "tcp"}},
		"80-81/tcp": {{"", 81, 0, "tcp"}, {"", 80, 0, "tcp"}},
		"53/udp, 0.0.0.0:7000-7002->7000-7002/tcp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp": {
			any(7001, 7001), any(7000, 7000), any(7002, 7002), any(8080, 80), {"::", 80, 8080, "tcp"}, {"", 53, 0, "udp"}},
	} {
		if got := ports(all); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
