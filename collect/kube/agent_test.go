package kube

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"whichbackend/collect/bundle"
)

// part writes the bundle that a node sends.
func part(t *testing.T, host string, files map[string]string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "part.tar.gz")
	w, err := bundle.Create(name, nil, "whichbackend-"+host)
	if err != nil {
		t.Fatal(err)
	}
	m := bundle.Manifest{
		Hosts: []bundle.Host{{Name: host, Kernel: "6.1", Namespaces: []bundle.Namespace{
			{ID: "1", Owners: []bundle.Owner{{Kind: "host", Name: host}}},
			{ID: "2", Owners: []bundle.Owner{{Kind: "pod", Namespace: "shop", Name: "web-1"}}},
		}}},
		Missing: []bundle.Missing{{Host: host, What: "cilium", Because: notFound, Detail: "none\nhere"}},
	}
	for p, text := range files {
		a := bundle.Artifact{Path: p, Host: host, NetNS: "1", Command: []string{"conntrack", "-L"}}
		if a.Size, a.SHA256, err = w.Add(p, strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
		m.Artifacts = append(m.Artifacts, a)
	}
	if err := w.Close(&m); err != nil {
		t.Fatal(err)
	}
	return name
}

func (f *fake) agentOptions() Options {
	o := f.options()
	self, err := os.Executable()
	if err != nil {
		f.t.Fatal(err)
	}
	o.Agent, o.Binaries = "busybox:1", []string{self}
	return o
}

// agentOf matches what is run in the pod on a node.
func agentOf(f *fake, node string) string {
	a := agents{r: &recorder{o: f.options()}, run: "RUN"}
	return strings.ReplaceAll(regexp.QuoteMeta(a.pod(node).id.Name), "RUN", "[0-9a-f]+")
}

// TestAgent has one node whose pod brings its bundle, and one whose image is not
// to be had.
func TestAgent(t *testing.T) {
	f := newFake(t)
	n1, n2 := agentOf(f, "n1"), agentOf(f, "n2")
	file := part(t, "ip-10-0-0-1", map[string]string{
		"ip-10-0-0-1/conntrack-L.txt": "tcp\n", "ip-10-0-0-1/netns/2/ss-tanpie.txt": "ESTAB\n", "cluster/secrets.json": "SECRET",
	})
	f = newFake(t, twoNodes(
		reply{Match: `^create -f -`}, reply{Match: `^delete pod`},
		reply{Match: `^wait .*` + n1}, reply{Match: `^wait .*` + n2, Err: "error: timed out waiting for the condition on pods/x", Exit: 1},
		reply{Match: `^get pod .*` + n2, Out: " ImagePullBackOff "},
		reply{Match: n1 + `.* whichbackend-collect --version`, Err: noShell, Exit: 1},
		reply{Match: n1 + `.* -- sh -c cat > /whichbackend/whichbackend-collect`},
		reply{Match: n1 + `.* /whichbackend/whichbackend-collect -o - --host-root /host`, File: file, Exit: 6, Err: "warning: x\ncommand terminated with exit code 6"},
	)...)
	g := f.record(f.agentOptions())
	for path, text := range map[string]string{
		"n1/conntrack-L.txt": "tcp\n", "n1/netns/2/ss-tanpie.txt": "ESTAB\n", "n2/pods/other/old/proc-net-tcp.txt": "  sl  local_address\n",
	} {
		if g.files[path] != text {
			t.Errorf("%s: %q", path, g.files[path])
		}
	}
	if strings.Contains(g.raw, "SECRET") || strings.Contains(g.raw, "ip-10-0-0-1") {
		t.Error("the bundle holds what it should not")
	}
	m := g.Manifest
	if len(m.Hosts) != 2 || m.Hosts[0].Kernel != "6.1" || m.Hosts[0].Namespaces[0].Owners[0].Name != "n1" || m.Hosts[0].Namespaces[1].Owners[0].Name != "web-1" {
		t.Errorf("hosts %+v", m.Hosts)
	}
	i := slices.IndexFunc(m.Artifacts, func(a bundle.Artifact) bool { return a.Path == "n1/conntrack-L.txt" })
	if i < 0 || m.Artifacts[i].Host != "n1" || m.Artifacts[i].NetNS != "1" || m.Artifacts[i].Command[0] != "conntrack" {
		t.Errorf("%+v", m.Artifacts)
	}
	if got := g.missing("n1", "cilium"); got.Detail != "none here" {
		t.Errorf("%+v", got)
	}
	lost := g.missing("n2", "what a pod on the node records (--node-agent)")
	if lost.Because != failed || !strings.Contains(lost.Detail, "ImagePullBackOff") || !strings.Contains(lost.Detail, "busybox:1") {
		t.Errorf("%+v", lost)
	}
	if f.called("exec -n shop web-1") > 0 {
		t.Error("a pod was asked again that its node's pod had recorded")
	}
	if f.called("delete pods -n kube-system -l whichbackend/run=") != 1 || f.called("create -f - < 0") > 0 || f.called("create -f -") != 2 {
		t.Errorf("%q", f.calls())
	}
}

// TestAgentsGo holds that the pods are deleted whatever becomes of the run.
func TestAgentsGo(t *testing.T) {
	f := newFake(t, twoNodes(reply{Match: `^create`}, reply{Match: `^delete`}, reply{Match: `^wait`, Hang: true})...)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		_, err := Record(ctx, filepath.Join(t.TempDir(), "b"), nil, f.agentOptions())
		done <- err
	}()
	await(t, func() bool { return f.called("wait --for") > 0 })
	cancel()
	if err := <-done; !errors.Is(err, errInterrupted) {
		t.Error(err)
	}
	if f.called("delete pods -n kube-system -l whichbackend/run=") != 1 {
		t.Errorf("%q", f.calls())
	}
	f = newFake(t, twoNodes(reply{Match: `^create`, Err: "connection lost", Exit: 1}, reply{Match: `^delete`, Err: "boom", Exit: 1})...)
	g := f.record(f.agentOptions())
	if len(g.Warnings) != 1 || !strings.Contains(g.Warnings[0], "kubectl delete pods -n kube-system -l whichbackend/run=") {
		t.Errorf("%q", g.Warnings)
	}
	f = newFake(t, twoNodes(reply{Match: `^create`, Err: "pods is forbidden", Exit: 1})...)
	g = f.record(f.agentOptions())
	if m := g.missing("n1", "what a pod on the node records (--node-agent)"); m.Because != permission || len(g.Warnings) > 0 || f.called("delete") > 0 {
		t.Errorf("%+v, %q", m, g.Warnings)
	}
}

// TestAgentSends holds that a node that sends something else than a bundle
// brings nothing, and its pods are then asked.
func TestAgentSends(t *testing.T) {
	hostile := filepath.Join(t.TempDir(), "evil.tar")
	out, err := os.Create(hostile)
	if err != nil {
		t.Fatal(err)
	}
	tw := tar.NewWriter(out)
	tw.WriteHeader(&tar.Header{Name: "../../x", Size: 1, Mode: 0o600})
	tw.Write([]byte("x"))
	if err := errors.Join(tw.Close(), out.Close()); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(part(t, "n1", map[string]string{"n1/conntrack-L.txt": strings.Repeat("tcp\n", 100000)}))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		answer reply
		says   string
	}{
		"text":    {reply{Out: "not found\n"}, "no manifest"},
		"nothing": {reply{Exit: 1, Err: "panic: x"}, "panic: x"},
		"evil":    {reply{File: hostile}, "leads out of the bundle"},
		"cut":     {reply{Out: string(whole[:20])}, "no bundle"},
	} {
		t.Run(name, func(t *testing.T) {
			c.answer.Match = `whichbackend-collect -o -`
			f := newFake(t, twoNodes(reply{Match: `^(create|delete|wait)`}, reply{Match: `--version$`}, c.answer)...)
			g := f.record(f.agentOptions())
			if m := g.missing("n1", "what a pod on the node records (--node-agent)"); m.Because != failed || !strings.Contains(m.Detail, c.says) {
				t.Errorf("%+v", m)
			}
			if g.files["n1/pods/shop/web-1/ss-tanpie.txt"] == "" {
				t.Error("the pods of the node were not asked")
			}
		})
	}
}

// TestAgentPod holds what the pod may do, and that it ends by itself.
func TestAgentPod(t *testing.T) {
	a := agents{r: &recorder{o: Options{Agent: "busybox:1", AgentNamespace: "tools"}}, run: "cafe"}
	b, err := json.Marshal(a.object(a.pod("n1.example")))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"nodeName":"n1.example"`, `"automountServiceAccountToken":false`, `"restartPolicy":"Never"`, `"activeDeadlineSeconds":`,
		`"terminationGracePeriodSeconds":0`, `"tolerations":[{"operator":"Exists"}]`, `"readOnly":true`, `"whichbackend/run":"cafe"`, `"namespace":"tools"`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%s is not in %s", want, b)
		}
	}
	if n := a.pod(strings.Repeat("long.", 50)).id; !isName(n.Name) || len(n.Name) > 63 || n == a.pod(strings.Repeat("long.", 51)).id {
		t.Errorf("%s", n)
	}
}

func TestBinary(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "x.sh")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		files      []string
		arch, says string
	}{
		{[]string{self}, "", ""},
		{[]string{self}, "s390x", "the node is s390x"},
		{[]string{script}, "amd64", "is no Linux program"},
		{[]string{filepath.Join(t.TempDir(), "absent")}, "amd64", "no such file"},
	} {
		a := agents{r: &recorder{o: Options{Binaries: c.files}}}
		got, err := a.binary(c.arch)
		if c.says == "" && (err != nil || got != c.files[0]) || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%v for %s: %s, %v", c.files, c.arch, got, err)
		}
	}
}
