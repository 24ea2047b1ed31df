package docker

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"whichbackend/collect/bundle"
)

// secret is planted wherever a daemon's answer may hold one.
const secret = "hunter2-do-not-record"

// daemon is a docker daemon of one swarm node: it answers with what docker
// 20.10.24 answered on the recorded host, with secrets added.
type daemon struct {
	root    string
	mux     *http.ServeMux
	mu      sync.Mutex
	asked   []string
	inspect []map[string]any
}

// listen starts a daemon whose socket lies where a host has it.
func listen(t *testing.T) *daemon {
	t.Helper()
	d := &daemon{root: t.TempDir(), mux: http.NewServeMux()}
	for _, dir := range []string{"run", "proc/77"} {
		if err := os.MkdirAll(filepath.Join(d.root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(d.root, "proc/77/comm"), []byte("dockerd\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(d.root, "run/docker.sock"))
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		d.asked = append(d.asked, r.Method+" "+r.URL.RequestURI())
		d.mu.Unlock()
		d.mux.ServeHTTP(w, r)
	})}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	d.says("/version", `{"Version":"20.10.24","ApiVersion":"1.41","MinAPIVersion":"1.12"}`)
	return d
}

func (d *daemon) says(where, text string) {
	d.mux.HandleFunc(where, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) })
}

func (d *daemon) open(t *testing.T) *Client {
	t.Helper()
	c, err := Open(d.root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// recorded is the daemon of the recorded swarm.
func recorded(t *testing.T) (*daemon, map[string]string) {
	t.Helper()
	files := recording(t)
	d := listen(t)
	var list []any
	for _, o := range objects(t, files["docker-inspect-all.json"]) {
		plant(o)
		id := o["Id"].(string)
		d.says("/v1.41/containers/"+id+"/json", text(t, o))
		d.inspect = append(d.inspect, o)
		list = append(list, map[string]any{"Id": id, "Names": []any{o["Name"]}, "Image": "nginx:1.22.1", "Command": secret, "Created": 1764059586,
			"Status": "Up 6 minutes", "Labels": map[string]any{"token": secret},
			"Ports": []any{map[string]any{"PrivatePort": 80, "Type": "tcp"}}})
	}
	d.says("/v1.41/containers/json", text(t, list))
	var networks []any
	for name, content := range files {
		if !strings.HasPrefix(name, "docker-network-inspect-v-") {
			continue
		}
		for _, o := range objects(t, content) {
			plant(o)
			id := o["Id"].(string)
			networks = append(networks, map[string]any{"Id": id, "Name": o["Name"]})
			d.mux.HandleFunc("/v1.41/networks/"+id, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Get("verbose") != "true" {
					delete(o, "Services")
				}
				io.WriteString(w, text(t, o))
			})
		}
	}
	d.says("/v1.41/networks", text(t, networks))
	var services []any
	for _, name := range []string{"docker-service-inspect-demo_nginx.json", "docker-service-inspect-demo_client.json"} {
		for _, o := range objects(t, files[name]) {
			plant(o)
			replicas := o["Spec"].(map[string]any)["Mode"].(map[string]any)["Replicated"].(map[string]any)["Replicas"]
			o["ServiceStatus"] = map[string]any{"RunningTasks": replicas, "DesiredTasks": replicas}
			services = append(services, o)
		}
	}
	d.says("/v1.41/services", text(t, services))
	d.says("/v1.41/tasks", fmt.Sprintf(tasks, secret))
	d.says("/v1.41/nodes", fmt.Sprintf(nodes, secret))
	d.says("/v1.41/info", `{"ID":"x","Swarm":{"NodeID":"ewfmmfrq0s3el9fa8lmy8qwnm","Cluster":{"JoinTokens":"`+secret+`"}},"HttpProxy":"http://u:`+secret+`@p"}`)
	return d, files
}

// recording gives the files of the recorded swarm node that docker printed.
func recording(t *testing.T) map[string]string {
	t.Helper()
	r, err := bundle.Open("../../fixtures/swarm/bundle.tar.gz", nil, bundle.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	files := map[string]string{}
	for {
		e, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(path.Base(e.Path), "docker-") {
			continue
		}
		b, err := io.ReadAll(e)
		if err != nil {
			t.Fatal(err)
		}
		files[path.Base(e.Path)] = string(b)
	}
	if len(files) < 10 {
		t.Fatalf("the recording has only %d files of docker", len(files))
	}
	return files
}

func objects(t *testing.T, s string) (all []map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(s), &all); err != nil {
		t.Fatal(err)
	}
	return all
}

func text(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// plant puts the secret into every object of an answer, also of an answer to
// come: under a name that nobody knows, among labels and options, and in place
// of what is never to be recorded.
func plant(o map[string]any) {
	for k, v := range o {
		switch v := v.(type) {
		case map[string]any:
			plant(v)
		case []any:
			for _, e := range v {
				if m, ok := e.(map[string]any); ok {
					plant(m)
				}
			}
		}
		switch k {
		case "Env", "Cmd", "Args", "Entrypoint", "Binds", "ExtraHosts":
			o[k] = []any{"PASSWORD=" + secret}
		case "Labels", "Options", "DriverOpts":
			m, _ := v.(map[string]any)
			if m == nil {
				m = map[string]any{}
			}
			m["com.example.token"], m["com.docker.swarm.mine"], m["password"] = secret, secret, secret
			o[k] = m
		case "ContainerSpec":
			m := v.(map[string]any)
			m["Env"], m["Args"], m["Command"] = []any{secret}, []any{secret}, []any{secret}
			m["Secrets"] = []any{map[string]any{"SecretName": secret, "File": map[string]any{"Name": secret}}}
			m["Configs"] = []any{map[string]any{"ConfigName": secret}}
		case "State":
			v.(map[string]any)["Health"] = map[string]any{"Log": []any{map[string]any{"Output": secret}}}
		}
	}
	switch {
	case o["IPAM"] != nil, o["State"] != nil, o["Spec"] != nil, o["Config"] != nil:
		o["SomethingNew"] = map[string]any{"Key": secret}
	}
}

const tasks = `[{"ID":"jklkbn7pz1pnh0wb0bk7enwln","Version":{"Index":20},"CreatedAt":"2026-11-23T08:32:23.5Z","UpdatedAt":"2026-11-23T08:33:24.4Z","Labels":{"token":"%[1]s"},
 "Spec":{"ContainerSpec":{"Image":"busybox:1.35","Command":["sleep","%[1]s"],"Env":["PASSWORD=%[1]s"],"Secrets":[{"SecretID":"%[1]s"}]}},
 "ServiceID":"v24mdo6z914dmv38yfseb02w7","Slot":1,"NodeID":"ewfmmfrq0s3el9fa8lmy8qwnm",
 "Status":{"Timestamp":"2026-11-23T08:33:24.4Z","State":"running","Message":"%[1]s","Err":"%[1]s","ContainerStatus":{"ContainerID":"22dd9d076000fc2a8afb14181be62b3130d76a87a622de24fe23a41289cca21c","PID":948,"ExitCode":0},"PortStatus":{}},
 "DesiredState":"running","NetworksAttachments":[{"Network":{"ID":"632qywu7edokp119ehuqulyl8","Spec":{"Name":"demo_default","Labels":{"x":"%[1]s"}},"IPAMOptions":{}},"Addresses":["10.0.1.3/24"]}]}]`

const nodes = `[{"ID":"ewfmmfrq0s3el9fa8lmy8qwnm","Version":{"Index":9},"CreatedAt":"2026-11-23T08:32:21Z","UpdatedAt":"2026-11-23T08:32:21Z","Spec":{"Labels":{"token":"%[1]s"},"Role":"manager","Availability":"active"},
 "Description":{"Hostname":"swarm1","Platform":{"Architecture":"x86_64","OS":"linux"},"Resources":{},"Engine":{"EngineVersion":"20.10.24+dfsg1","Labels":{"token":"%[1]s"},"Plugins":[]},"TLSInfo":{"TrustRoot":"%[1]s","CertIssuerPublicKey":"%[1]s"}},
 "Status":{"State":"ready","Addr":"10.99.0.1"},"ManagerStatus":{"Leader":true,"Reachability":"reachable","Addr":"10.99.0.1:2377"}}]`
