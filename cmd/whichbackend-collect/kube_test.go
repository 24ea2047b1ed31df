package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKubeUsage(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	out := filepath.Join(t.TempDir(), "b.tar.gz")
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{nil, exitUsage, "-o bundle.tar.gz"},
		{[]string{"-o", out, "extra"}, exitUsage, "takes no arguments"},
		{[]string{"-o", out, "--service", "a/b/c"}, exitUsage, "--service \"a/b/c\": is no name"},
		{[]string{"-o", out, "--pod", "-x"}, exitUsage, "--pod \"-x\": is no name"},
		{[]string{"-o", out, "-n", "../x"}, exitUsage, "is no name of a namespace or node"},
		{[]string{"-o", out, "-A", "-n", "x"}, exitUsage, "contradict"},
		{[]string{"-o", out, "--parallel", "0"}, exitUsage, "--parallel 0"},
		{[]string{"-o", out, "--binary", "x"}, exitUsage, "--node-agent"},
		{[]string{"-o", out, "--timeout", "0s"}, exitUsage, "--timeout 0s"},
		{[]string{"-o", out, "--pcap", "10s"}, exitUsage, "unknown flag"},
		{[]string{"-o", out}, exitRuntime, "kubectl is not on PATH; install it"},
		{[]string{"--dry-run"}, exitRuntime, "kubectl is not on PATH; install it"},
	} {
		code, stdout, stderr := do(append([]string{"kube"}, c.args...)...)
		if code != c.code || stdout != "" || !strings.Contains(stderr, c.says) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: exit %d, %q, %q", c.args, code, stdout, stderr)
		}
	}
	if code, stdout, _ := do("kube", "--help"); code != 0 || !strings.Contains(stdout, "--node-agent") || strings.Contains(stdout, "host-root") {
		t.Errorf("exit %d, %s", code, stdout)
	}
}

// TestKube records a cluster that a script stands for.
func TestKube(t *testing.T) {
	dir := t.TempDir()
	script := `#!/bin/sh
case "$*" in
"get pods"*) echo '{"items": [{"metadata": {"namespace": "shop", "name": "web"}, "spec": {"nodeName": "n1", "containers": [{"name": "c"}]}, "status": {"phase": "Running"}}]}' ;;
"get nodes"*) echo '{"items": [{"metadata": {"name": "n1"}}]}' ;;
get*) echo '{"items": []}' ;;
*"-- sh -c"*) echo cat ;;
*"-- cat"*) echo "  sl  local_address" ;;
*) echo "no such thing" >&2; exit 1 ;;
esac
`
	if err := os.WriteFile(filepath.Join(dir, "kubectl"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	code, stdout, stderr := do("kube", "-o", "-", "--note", "a test")
	if code != exitPartly || !strings.Contains(stderr, "warning: n1 connection table, rules and sockets of the node: failed: ") ||
		!strings.Contains(stderr, "standard output: 9 artifacts of 1 node and 1 pod; 1 could not be recorded\n") {
		t.Errorf("exit %d, %q", code, stderr)
	}
	files, m := read(t, strings.NewReader(stdout))
	found := false
	for p := range files {
		found = found || strings.HasSuffix(p, "/n1/pods/shop/web/proc-net-tcp.txt")
	}
	if !found || m.Note != "a test" || m.Collector.Version != version {
		t.Errorf("%v, %+v", files, m)
	}
	code, stdout, stderr = do("kube", "--dry-run", "-n", "shop")
	if code != 0 || stderr != "" || !strings.Contains(stdout, "\nn1/pods/shop/web\n  what  kubectl exec -n shop web -c c -- ss -tanpie\n") {
		t.Errorf("exit %d, %q, %q", code, stderr, stdout)
	}
}
