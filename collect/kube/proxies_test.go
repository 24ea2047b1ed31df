package kube

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestProxies has a sidecar, a gateway whose admin port is the second that is
// tried, and a proxy that does not answer.
func TestProxies(t *testing.T) {
	admin := t.TempDir()
	for name, text := range map[string]string{
		"server_info": `{"version": "x/1.35.0/Clean/RELEASE/BoringSSL", "state": "LIVE", "command_line_options": {"config_yaml": "SECRET"}, "node": {"id": "sidecar", "metadata": {"TOKEN": "SECRET"}}}`,
		"clusters":    "outbound|80||web::10.0.0.1:80::cx_active::1\n", "listeners": "virtualOutbound::0.0.0.0:15001\n", "stats": "server.live: 1\n",
		"config_dump": `{"configs": [{"@type": "type.googleapis.com/envoy.admin.v3.SecretsConfigDump", "dynamic_active_secrets": ["SECRET"]}]}`,
	} {
		if err := os.WriteFile(filepath.Join(admin, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pods := []string{podObject("shop", "side", "n1", "app", istioProxy), podObject("gw", "edge", "n1", "envoy"), podObject("shop", "deaf", "n1", istioProxy)}
	const row = `[2026-11-24T14:00:00.000Z] "- - -" 0 - - - "-" 5 5 1 - "-" "-" "-" "-" "10.0.0.1:80" outbound|80||web 10.0.0.2:4000 10.96.0.1:80 10.0.0.2:5000 - -`
	f := newFake(t, append(objects(pods, "n1"),
		reply{Match: `^port-forward -n shop pod/side --address=127.0.0.1 :15000`, Serve: admin},
		reply{Match: `^port-forward -n gw pod/edge --address=127.0.0.1 :9901`, Serve: admin},
		reply{Match: `^port-forward -n shop pod/deaf`, Err: "error: unable to forward port because pod is not running", Exit: 1},
		reply{Match: `^logs -n shop side -c istio-proxy`, Out: "2026-11-24 info token=SECRET\n" + row + "\n"},
		reply{Match: `^logs`, Out: "nothing known\n"},
		reply{Match: ` -- sh`, Err: noShell, Exit: 1})...)
	g := f.record(f.options())
	for _, p := range []string{"n1/pods/shop/side/", "n1/pods/gw/edge/"} {
		for _, name := range []string{"envoy-clusters.txt", "envoy-listeners.txt", "envoy-stats.txt", "envoy-server_info.json", "envoy-config_dump.json"} {
			if g.files[p+name] == "" {
				t.Errorf("%s: nothing", p+name)
			}
		}
	}
	if got := g.files["n1/pods/shop/side/istio-proxy-access-log.txt"]; got != row+"\n" {
		t.Errorf("the log: %q, %+v", got, g.Manifest.Missing)
	}
	if i := strings.Index(g.raw, "SECRET"); i >= 0 {
		t.Errorf("a secret: %q", g.raw[max(0, i-100):i])
	}
	if m := g.missing("n1", "pods/shop/deaf proxy in istio-proxy"); m.Because != failed || !strings.Contains(m.Detail, "port 15000: exit 1: error: unable to forward") {
		t.Errorf("%+v", m)
	}
	if m := g.missing("n1", "pods/gw/edge envoy-access-log"); m.Because != notFound {
		t.Errorf("%+v", m)
	}
}
