package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"whichbackend/collect/bundle"
)

const (
	allTools = "ss\nnetstat\ncat\ntcp_diag\nudp_diag\n"
	noShell  = `error: Internal error occurred: exec: "sh": executable file not found in $PATH: unknown`
)

// twoNodes has a pod with each way to its sockets, and kube-proxy on one node.
func twoNodes(more ...reply) []reply {
	pods := []string{
		podObject("shop", "web-1", "n1", "web", "side"), podObject("shop", "bare", "n2", "bare"),
		podObject("other", "old", "n2", "old"), podObject("kube-system", "kube-proxy-1", "n1", kubeProxy),
	}
	return append(append(more, objects(pods, "n1", "n2")...),
		reply{Match: `web-1 -c web -- sh`, Err: noShell, Exit: 1},
		reply{Match: `web-1 -c side -- sh`, Out: allTools},
		reply{Match: `web-1 -c side -- ss -tanpie`, Out: "State Recv-Q\nESTAB 0\n"},
		reply{Match: `web-1 -c side -- ss -uanpe`, Out: "State Recv-Q\n"},
		reply{Match: `bare -c bare -- sh`, Err: noShell, Exit: 1},
		reply{Match: `old -c old -- sh`, Out: "ss\nnetstat\ncat\nwhat-ever\n"},
		reply{Match: `old -c old -- cat /proc/net/(tcp|tcp6|udp|udp6)$`, Out: "  sl  local_address\n"},
		reply{Match: `old -c old -- netstat -anp`, Err: "netstat: invalid option -- 'p'\ncommand terminated with exit code 1", Exit: 1},
		reply{Match: `old -c old -- netstat -an$`, Out: "Active Internet connections\n"},
		reply{Match: `kube-proxy-1 .* conntrack`, Out: "ipv4 2 tcp 6 1 ESTABLISHED\n", Err: "conntrack v1.4.7 (conntrack-tools): 1 flow entries have been shown."},
		reply{Match: `kube-proxy-1 .* iptables-save`, Out: "# Generated\n"},
		reply{Match: `kube-proxy-1 .* ip6tables-save`, Out: "# Generated\n"},
		reply{Match: `kube-proxy-1 .* iptables -V`, Out: "iptables v1.8.9 (legacy)\n"},
		reply{Match: `kube-proxy-1 .* cat /proc/net/(tcp|udp)6?`, Out: "  sl  local_address\n"},
		reply{Match: `kube-proxy-1 .* cat /proc/net/ip_vs`, Err: "cat: can't open '/proc/net/ip_vs': No such file or directory\ncommand terminated with exit code 1", Exit: 1},
	)
}

func TestRecord(t *testing.T) {
	f := newFake(t, twoNodes()...)
	o := f.options()
	o.Context, o.Kubeconfig, o.Note = "prod", "/home/me/CONFIG", "ticket"
	t.Setenv("CREDENTIAL", "CREDENTIAL-VALUE")
	o.Env = append(o.Env, "CREDENTIAL=CREDENTIAL-VALUE")
	g := f.record(o)
	for path, text := range map[string]string{
		"n1/pods/shop/web-1/ss-tanpie.txt": "State Recv-Q\nESTAB 0\n", "n1/pods/shop/web-1/ss-uanpe.txt": "State Recv-Q\n",
		"n2/pods/other/old/proc-net-tcp.txt": "  sl  local_address\n", "n2/pods/other/old/netstat-an.txt": "Active Internet connections\n",
		"n1/conntrack-L.txt": "ipv4 2 tcp 6 1 ESTABLISHED\n", "n1/iptables-save.txt": "# Generated\n", "n1/proc-net-tcp6.txt": "  sl  local_address\n",
	} {
		if g.files[path] != text {
			t.Errorf("%s: %q", path, g.files[path])
		}
	}
	for _, secret := range []string{"SECRET", "CREDENTIAL", "CONFIG", "prod"} {
		if i := strings.Index(g.raw, secret); i >= 0 {
			t.Errorf("%s is in the bundle: %.100q", secret, g.raw[max(0, i-50):])
		}
	}
	for _, keeps := range []string{`"clusterIP": "10.96.0.1"`, `"nodeName": "n1"`, `"kubernetes.io/service-name": "web"`, `"architecture": `, `"reason": "Why"`} {
		if !strings.Contains(g.raw, keeps) {
			t.Errorf("%s is not in the bundle", keeps)
		}
	}
	for _, m := range []bundle.Missing{
		{Host: "n2", What: "pods/shop/bare sockets", Because: failed, Detail: "bare: has no shell; --node-agent IMAGE records them from the node"},
		{Host: "n1", What: "nft-list-ruleset", Because: excluded, Detail: "iptables there does not work on nf_tables, which nft would load"},
		{Host: "n1", What: "proc-net-ip_vs", Because: notFound, Detail: "exit 1: cat: can't open '/proc/net/ip_vs': No such file or directory"},
		{Host: "n2", What: "connection table, rules and sockets of the node", Because: failed, Detail: "no pod of kube-proxy runs there to read them through; --node-agent IMAGE records them from the node"},
	} {
		if got := g.missing(m.Host, m.What); got != m {
			t.Errorf("missing: %+v, not %+v", got, m)
		}
	}
	if !g.Partly() || g.Pods != 4 || g.Manifest.Note != "ticket" || len(g.Manifest.Hosts) != 2 || g.Manifest.Hosts[0].Name != "n1" {
		t.Errorf("%+v", g.Result)
	}
	for _, l := range f.calls() {
		if !strings.HasPrefix(l, "--context=prod --kubeconfig=/home/me/CONFIG ") || !strings.HasSuffix(l, " < 0") {
			t.Errorf("called: %s", l)
		}
	}
	if f.called("old -c old -- ss") > 0 {
		t.Error("ss was run where it would load a module")
	}
}

func TestSelectors(t *testing.T) {
	label := reply{Match: `get pods -A -l app=old -o jsonpath`, Out: "other/old\n"}
	for name, c := range map[string]struct {
		change func(*Options)
		pods   string // of which sockets were asked for
		nodes  string
	}{
		"namespace": {func(o *Options) { o.Namespaces = []string{"other"} }, "other/old", "n2"},
		"node":      {func(o *Options) { o.Nodes = []string{"n1"} }, "shop/web-1", "n1"},
		"label":     {func(o *Options) { o.Labels = "app=old" }, "other/old", "n2"},
		"service":   {func(o *Options) { o.Services = []Name{{"shop", "web"}} }, "shop/web-1", "n1"},
		"pod":       {func(o *Options) { o.Pods = []Name{{"other", "old"}} }, "other/old", "n2"},
		"both":      {func(o *Options) { o.Services, o.Labels = []Name{{"shop", "web"}}, "app=old" }, "other/old shop/web-1", "n1 n2"},
		"apart":     {func(o *Options) { o.Nodes, o.Labels = []string{"n1"}, "app=old" }, "", "n1"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, twoNodes(label)...)
			o := f.options()
			c.change(&o)
			g := f.record(o)
			var pods, nodes []string
			for _, p := range []string{"shop/web-1", "shop/bare", "other/old"} {
				ns, n, _ := strings.Cut(p, "/")
				if f.called("exec -n "+ns+" "+n+" ") > 0 {
					pods = append(pods, p)
				}
			}
			for _, h := range g.Manifest.Hosts {
				nodes = append(nodes, h.Name)
			}
			slices.Sort(pods)
			if strings.Join(pods, " ") != c.pods || strings.Join(nodes, " ") != c.nodes {
				t.Errorf("pods %v, nodes %v", pods, nodes)
			}
		})
	}
}

func TestNothingChosen(t *testing.T) {
	for says, change := range map[string]func(*Options){
		"service shop/nope: is not in the cluster": func(o *Options) { o.Services = []Name{{"shop", "nope"}} },
		"pod shop/nope: is not in the cluster":     func(o *Options) { o.Pods = []Name{{"shop", "nope"}} },
		"node n9: is not in the cluster":           func(o *Options) { o.Nodes = []string{"n9"} },
		"no running pod is chosen":                 func(o *Options) { o.Namespaces = []string{"empty"} },
	} {
		f := newFake(t, twoNodes()...)
		o := f.options()
		change(&o)
		if _, err := Record(context.Background(), "-", &bytes.Buffer{}, o); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
	f := newFake(t, reply{Match: `get pods`, Err: `Error from server (Forbidden): pods is forbidden: User "u" cannot list resource`, Exit: 1})
	name := filepath.Join(t.TempDir(), "b.tar.gz")
	_, err := Record(context.Background(), name, nil, f.options())
	if err == nil || !strings.Contains(err.Error(), "kubectl get pods -A -o json: exit 1: Error from server (Forbidden)") || !strings.Contains(err.Error(), "with -n") {
		t.Error(err)
	}
	if _, err := os.Stat(name); err == nil {
		t.Error("a bundle was written")
	}
}

// TestOneFails holds that what fails on a node, or never ends, costs no other.
func TestOneFails(t *testing.T) {
	f := newFake(t, twoNodes(
		reply{Match: `old -c old -- sh`, Hang: true},
		reply{Match: `get services`, Err: "Error from server (Forbidden): services is forbidden", Exit: 1},
		reply{Match: `kube-proxy-1 .* conntrack`, Out: "one\ntwo\nthr", Err: "\x1b[31mred\x00 \u202ealert\n" + strings.Repeat("x", 5000), Exit: 137},
	)...)
	o := f.options()
	o.Timeout = 6 * time.Second
	g := f.record(o)
	if g.files["n1/pods/shop/web-1/ss-tanpie.txt"] == "" || g.files["cluster/pods.json"] == "" {
		t.Errorf("lost: %v", g.Manifest.Artifacts)
	}
	if m := g.missing("n2", "pods/other/old sockets"); m.Because != timedOut {
		t.Errorf("%+v", m)
	}
	if m := g.missing("", "cluster/services"); m.Because != permission {
		t.Errorf("%+v", m)
	}
	m := g.missing("n1", "conntrack-L")
	if m.Because != failed || strings.ContainsAny(m.Detail, "\x1b\x00\u202e") || len(m.Detail) > 500 || !strings.Contains(m.Detail, "the 8 bytes that it gave are recorded") {
		t.Errorf("%+v", m)
	}
	if g.files["n1/conntrack-L.txt"] != "one\ntwo\n" {
		t.Errorf("%q", g.files["n1/conntrack-L.txt"])
	}
}

// TestHostileNames holds that no name becomes a path or an option.
func TestHostileNames(t *testing.T) {
	pods := []string{podObject("shop", "../../etc", "n1", "c"), podObject("shop", "--as=root", "n1", "c"), podObject("..", "x", "n1", "c"),
		podObject("shop", "good", "cluster", "c", "-x", "a/b"), `{"metadata": 7}`, `[[1]]`, `"x"`}
	f := newFake(t, append(objects(pods, "n1", "../n"),
		reply{Match: `good -c c -- sh`, Out: "cat; rm -rf /\n../x\n"}, reply{Match: `good`, Err: noShell, Exit: 1})...)
	g := f.record(f.options())
	for p := range g.files {
		if strings.HasPrefix(p, "n1/pods") || strings.Contains(p, "..") {
			t.Errorf("%s is in the bundle", p)
		}
	}
	if m := g.missing("cluster", "pods/shop/good sockets"); m.Because != failed || !strings.Contains(m.Detail, "c: has none of ss, netstat and cat") {
		t.Errorf("%+v", m)
	}
	for _, l := range f.calls() {
		if strings.Contains(l, "--as") || strings.Contains(l, "..") {
			t.Errorf("called: %s", l)
		}
	}
}

// TestInterrupted holds that nothing is written, and nothing runs on.
func TestInterrupted(t *testing.T) {
	f := newFake(t, twoNodes(reply{Match: `old -c old -- sh`, Hang: true})...)
	ctx, cancel := context.WithCancel(context.Background())
	name := filepath.Join(t.TempDir(), "b.tar.gz")
	done := make(chan error)
	go func() {
		_, err := Record(ctx, name, nil, f.options())
		done <- err
	}()
	await(t, func() bool { return f.called("old -c old -- sh") > 0 })
	cancel()
	if err := <-done; !errors.Is(err, errInterrupted) {
		t.Error(err)
	}
	if _, err := os.Stat(name); err == nil {
		t.Error("a bundle was written")
	}
	var st syscall.WaitStatus
	if pid, err := syscall.Wait4(-1, &st, syscall.WNOHANG, nil); err != syscall.ECHILD {
		t.Errorf("a child is left: %d %v", pid, err)
	}
}

// TestKilled holds that no kubectl outlives this program, also when it is killed.
func TestKilled(t *testing.T) {
	f := newFake(t, twoNodes(reply{Match: `old -c old -- sh`, Hang: true})...)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "RECORD="+f.dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	pid := 0
	await(t, func() bool {
		text, _ := os.ReadFile(filepath.Join(f.dir, "hangs"))
		pid, _ = strconv.Atoi(string(text))
		return pid > 0
	})
	cmd.Process.Kill()
	cmd.Wait()
	await(t, func() bool { return syscall.Kill(pid, 0) == syscall.ESRCH || zombie(pid) })
}

// zombie tells a process that has ended, and that nobody has buried.
func zombie(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(text), ") Z ")
}

func await(t *testing.T, ok func() bool) {
	t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("waited ten seconds in vain")
}

func TestFilter(t *testing.T) {
	k := keep{"name": nil, "list": nil, "deep": {"kept": nil}, "many": {"ip": nil}}
	in := `{"kind": "List", "other": {"a": [1, {"b": 2}]}, "items": [
		{"name": "a", "gone": "SECRET", "list": ["x", {"y": "SECRET"}, ["SECRET"], 7], "deep": {"kept": 1.50, "gone": "SECRET"}, "many": [{"ip": "1", "no": "SECRET"}]},
		{"name": {"not": "SECRET"}, "deep": "SECRET"}, {"name": "c"}]}`
	var out strings.Builder
	var seen int
	cut, err := filter(strings.NewReader(in), &out, k, mib, func(any) error { seen++; return nil })
	if err != nil || cut || seen != 3 || strings.Contains(out.String(), "SECRET") || !strings.Contains(out.String(), `"kept": 1.50`) || !strings.HasSuffix(out.String(), listEnd) {
		t.Errorf("%v %v %d %s", cut, err, seen, out.String())
	}
	out.Reset()
	cut, err = filter(strings.NewReader(in), &out, k, int64(len(listEnd))+150, func(any) error { return nil })
	if err != nil || !cut || out.Len() > len(listEnd)+150 || !strings.HasSuffix(out.String(), listEnd) {
		t.Errorf("%v %v %d %s", cut, err, out.Len(), out.String())
	}
	for _, bad := range []string{"", "[]", "{}", `{"items": {}}`, `{"items": [`, `{"items": [{"name": "a"}`, `{"items": [{]}`, "no", strings.Repeat(`{"items":`, 20000)} {
		if _, err := filter(strings.NewReader(bad), &strings.Builder{}, k, mib, func(any) error { return nil }); err == nil {
			t.Errorf("%.20q passed", bad)
		}
	}
}

func TestSpool(t *testing.T) {
	s, err := newSpool(10)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	stopped := false
	s.stop = func() { stopped = true }
	if n, err := s.Write([]byte("one\ntwo\nthree\n")); n != 10 || !errors.Is(err, errFull) || !s.full || !stopped {
		t.Error(n, err)
	}
	s.cut()
	var b bytes.Buffer
	if b.ReadFrom(s.reader()); b.String() != "one\ntwo\n" {
		t.Errorf("%q", b.String())
	}
}

func TestPlan(t *testing.T) {
	f := newFake(t, twoNodes()...)
	o := f.options()
	steps, err := Plan(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, s := range steps {
		all = append(all, s.Where+" "+s.Command)
		if s.Why == "" {
			t.Errorf("%s: no reason", s.Command)
		}
	}
	for _, want := range []string{"cluster kubectl get pods -A -o json", "n1/pods/shop/web-1 kubectl exec -n shop web-1 -c web -- ss -tanpie",
		"n1 kubectl exec -n kube-system kube-proxy-1 -c kube-proxy -- conntrack -L -o extended,id"} {
		if !slices.Contains(all, want) {
			t.Errorf("%q is not planned: %q", want, all)
		}
	}
	o.Agent = "busybox"
	if steps, err = Plan(context.Background(), o); err != nil || !slices.ContainsFunc(steps, func(s Step) bool { return s.Command == "kubectl create -f -" }) {
		t.Error(err, steps)
	}
	if f.called("exec")+f.called("create") > 0 {
		t.Errorf("called: %q", f.calls())
	}
}

// TestProxyWithoutTools has a kube-proxy whose image has not what was looked for.
func TestProxyWithoutTools(t *testing.T) {
	const absent = `OCI runtime exec failed: exec failed: unable to start container process: exec: "x": executable file not found in $PATH: unknown`
	const crio = "error executing command in container: time=\"x\" level=error msg=\"exec failed: unable to start: executable file `x` not found in $PATH: No such file or directory\""
	pods := []string{podObject("kube-system", "kube-proxy-1", "n1", kubeProxy), podObject("kube-system", "kube-proxy-2", "n2", kubeProxy)}
	f := newFake(t, append(objects(pods, "n1", "n2"),
		reply{Match: `kube-proxy-1 .* cat /proc/net/nf_conntrack`, Out: "ipv4 2 tcp\n"},
		reply{Match: `kube-proxy-1 .* (conntrack -L|nft)`, Err: absent, Exit: 1},
		reply{Match: `kube-proxy-1 .* iptables -V`, Out: "iptables v1.8.9 (nf_tables)\n"},
		reply{Match: `kube-proxy-1 `, Out: "x\n"},
		reply{Match: `kube-proxy-2 .* cat /proc/net/nf_conntrack`, Err: "cat: can't open '/proc/net/nf_conntrack': No such file or directory", Exit: 1},
		reply{Match: `kube-proxy-2 `, Err: crio, Exit: 1})...)
	g := f.record(f.options())
	if g.files["n1/proc-net-nf_conntrack.txt"] != "ipv4 2 tcp\n" {
		t.Errorf("%q", g.files)
	}
	for _, m := range []bundle.Missing{
		{Host: "n1", What: "nft-list-ruleset", Because: failed, Detail: "kube-proxy's image has no nft; --node-agent IMAGE records it from the node"},
		{Host: "n2", What: "iptables-save", Because: failed, Detail: "kube-proxy's image has no iptables-save; --node-agent IMAGE records it from the node"},
		{Host: "n2", What: "proc-net-nf_conntrack", Because: failed, Detail: "the kernel does not show its connections there, and kube-proxy's image has no conntrack; --node-agent IMAGE records them from the node"},
	} {
		if got := g.missing(m.Host, m.What); got != m {
			t.Errorf("missing: %+v, not %+v", got, m)
		}
	}
}

// TestCilium asks an agent of before 1.15, whose program has another name.
func TestCilium(t *testing.T) {
	pods := []string{podObject("kube-system", "cilium-1", "n1", ciliumAgent)}
	f := newFake(t, append(objects(pods, "n1"),
		reply{Match: `cilium-1 -c cilium-agent -- cilium-dbg`, Err: `exec: "cilium-dbg": executable file not found in $PATH`, Exit: 1},
		reply{Match: `cilium-1 -c cilium-agent -- cilium bpf ct list global`, Out: "TCP OUT\n"},
		reply{Match: `cilium-1 -c cilium-agent -- cilium service list`, Err: "Cannot get services list", Exit: 1},
		reply{Match: `cilium-1 -c cilium-agent -- cilium `, Out: "x\n"})...)
	g := f.record(f.options())
	if g.files["n1/cilium-bpf-ct-list-global.txt"] != "TCP OUT\n" || g.files["n1/cilium-bpf-lb-list-backends.txt"] != "x\n" || f.called("cilium-dbg") != 1 {
		t.Errorf("%q, %q", g.files, f.calls())
	}
	if m := g.missing("n1", "cilium-service-list"); m.Because != failed || g.missing("n1", "connection table, rules and sockets of the node").Because != notFound {
		t.Errorf("%+v", g.Manifest.Missing)
	}
	if g.files["cluster/ciliumendpoints.json"] == "" {
		t.Error("Cilium's objects were not asked for")
	}
}
