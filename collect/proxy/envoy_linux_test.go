package proxy

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// envoyConfig has a secret, each with PLANTED in it, wherever one may be.
// ADMIN, DIR, CERT and KEY stand for what is made at the time.
const envoyConfig = `
node:
  id: sidecar~10.0.0.7~web-0.shop~shop.svc.cluster.local
  cluster: web.shop
  metadata: {ISTIO_VERSION: "1.24.0", INSTANCE_IPS: "10.0.0.7,fd00::7", ENV: {DB_PASSWORD: PLANTED-env}, labels: {token: PLANTED-label}, PLATFORM: PLANTED-m}
admin: ADMIN
static_resources:
  secrets:
  - name: bearer
    generic_secret: {secret: {inline_string: PLANTED-generic}}
  - name: pair
    tls_certificate: {certificate_chain: {inline_string: "CERT"}, private_key: {inline_string: "KEY"}}
  listeners:
  - name: tcp
    address: {socket_address: {address: 127.0.0.1, port_value: 18081}}
    additional_addresses: [{address: {socket_address: {address: "::1", port_value: 18081}}}]
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: tcp
          weighted_clusters: {clusters: [{name: "outbound|80||web.shop.svc.cluster.local", weight: 1}, {name: tunnel, weight: 1}]}
          tunneling_config: {hostname: "a:1", headers_to_add: [{header: {key: proxy-authorization, value: Basic UExBTlRFRC1oZWFkZXIgUExBTlRFRA}}, {header: {key: x, value: PLANTED-tunnel}}]}
  - name: http
    address: {socket_address: {address: 127.0.0.1, port_value: 18080}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: DIR/access.log
          - name: envoy.access_loggers.file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: DIR/access.json
              log_format:
                json_format: {path: "%REQ(:PATH)%", upstream_host: "%UPSTREAM_HOST%", upstream_cluster: "%UPSTREAM_CLUSTER%", upstream_local_address: "%UPSTREAM_LOCAL_ADDRESS%",
                  downstream_local_address: "%DOWNSTREAM_LOCAL_ADDRESS%", downstream_remote_address: "%DOWNSTREAM_REMOTE_ADDRESS%", start_time: "%START_TIME%", method: "%REQ(:METHOD)%",
                  authorization: "%REQ(AUTHORIZATION)%", fixed: "Bearer PLANTED-fixed-in-a-format"}
          http_filters:
          - name: lua
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
              default_source_code: {inline_string: "function envoy_on_request(h) local key = 'PLANTED-lua' end"}
          - name: jwt
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
              providers:
                p: {issuer: a, local_jwks: {inline_string: '{"keys":[{"kty":"oct","kid":"PLANTED-jwks","k":"UExBTlRFRA"}]}'}}
          - name: ext
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
              failure_mode_allow: true
              grpc_service: {envoy_grpc: {cluster_name: tunnel}, initial_metadata: [{key: authorization, value: PLANTED-initial}], timeout: 0.01s}
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            name: "80"
            virtual_hosts:
            - name: web.shop.svc.cluster.local:80
              domains: ["web.shop", "10.96.0.9", "127.0.0.1:18080"]
              request_headers_to_add: [{header: {key: x-key, value: PLANTED-vhost}}]
              routes:
              - match: {prefix: /told, headers: [{name: x-key, string_match: {exact: PLANTED-match}}], query_parameters: [{name: k, string_match: {exact: PLANTED-parameter}}]}
                direct_response: {status: 200, body: {inline_string: PLANTED-body}}
              - match: {prefix: /}
                route: {cluster: "outbound|80||web.shop.svc.cluster.local"}
                response_headers_to_add: [{header: {key: set-cookie, value: PLANTED-cookie}}]
                metadata: {filter_metadata: {mine: {api: PLANTED-metadata}}}
                typed_per_filter_config:
                  lua: {"@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.LuaPerRoute, source_code: {inline_string: "-- PLANTED-route"}}
  - name: tls
    address: {socket_address: {address: 127.0.0.1, port_value: 18443}}
    filter_chains:
    - filter_chain_match: {prefix_ranges: [{address_prefix: 10.96.0.9, prefix_len: 32}]}
      filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: tls, cluster: tunnel}
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context: {tls_certificates: [{certificate_chain: {inline_string: "CERT"}, private_key: {inline_string: "KEY"}}]}
          session_ticket_keys: {keys: [{inline_string: "PLANTED-ticket-PLANTED-ticket-PLANTED-ticket-PLANTED-ticket-PLANTED-ticket-PLANT"}]}
  clusters:
  - name: "outbound|80||web.shop.svc.cluster.local"
    type: STATIC
    connect_timeout: 1s
    metadata: {filter_metadata: {istio: {services: [{host: web.shop.svc.cluster.local, name: web, namespace: shop}]}, mine: {password: PLANTED-cluster}}}
    health_checks: [{timeout: 1s, interval: 60s, unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: {path: /, request_headers_to_add: [{header: {key: k, value: PLANTED-health}}]}}]
    load_assignment:
      cluster_name: "outbound|80||web.shop.svc.cluster.local"
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 18090}}}, metadata: {filter_metadata: {istio: {workload: "web;shop;web;v1;c"}, mine: {k: PLANTED-host}}}}]}]
  - name: tunnel
    type: STRICT_DNS
    connect_timeout: 1s
    load_assignment: {cluster_name: tunnel, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: "::1", port_value: 9}}}}, {endpoint: {address: {pipe: {path: /nowhere}}}}]}]}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: web.shop
        common_tls_context: {tls_certificates: [{certificate_chain: {inline_string: "CERT"}, private_key: {inline_string: "KEY"}}]}
`

// envoyBinary finds the real Envoy, as the lab does.
func envoyBinary(t *testing.T) string {
	t.Helper()
	if exe := os.Getenv("ENVOY"); exe != "" {
		return exe
	}
	if exe, err := filepath.Abs("../../.cache/envoy/envoy/_bin/envoy"); err == nil {
		if _, err := os.Stat(exe); err == nil {
			return exe
		}
	}
	if exe, err := exec.LookPath("envoy"); err == nil {
		return exe
	}
	why := "no envoy: run make envoy, or set ENVOY to the program"
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
	return ""
}

// selfSigned makes a certificate and its key, as YAML strings.
func selfSigned(t *testing.T) (cert, key string, secrets []string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	of := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"web.shop"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, of, of, &k.PublicKey, k)
	must(t, err)
	raw, err := x509.MarshalECPrivateKey(k)
	must(t, err)
	line := func(kind string, b []byte) string {
		text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b})
		secrets = append(secrets, strings.Split(string(text), "\n")[1])
		return strings.ReplaceAll(string(text), "\n", `\n`)
	}
	return line("CERTIFICATE", der), line("EC PRIVATE KEY", raw), secrets
}

// startEnvoy starts one in the namespace of the calling thread.
func startEnvoy(t *testing.T, exe, dir string, args ...string) int {
	t.Helper()
	cmd := exec.Command(exe, append([]string{"--disable-hot-restart", "--concurrency", "1", "-l", "error", "--file-flush-interval-msec", "50"}, args...)...)
	var said bytes.Buffer
	cmd.Dir, cmd.Stderr = dir, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("envoy said:\n%.4000s", &said)
		}
	})
	return cmd.Process.Pid
}

// await tries until it is so.
func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); !so(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 30 s", what)
		}
	}
}

// findEnvoys waits until so many answer, and are LIVE.
func findEnvoys(t *testing.T, n int, pids ...int) []*Admin {
	t.Helper()
	var good []*Admin
	await(t, fmt.Sprintf("%d Envoys", n), func() bool {
		good = nil
		for _, a := range find(t, pids...) {
			if a.Err != nil {
				continue
			}
			if got, err := readAll(t, pick(t, a, "/server_info")); err == nil && strings.Contains(got, `"LIVE"`) {
				good = append(good, a)
			}
		}
		return len(good) == n
	})
	return good
}

func raw(t *testing.T, a *Admin, path string) []byte {
	t.Helper()
	ans, err := a.link.get(t.Context(), path, 64*mib, 10*time.Second)
	must(t, err)
	defer ans.Close()
	b, err := io.ReadAll(ans)
	must(t, err)
	return b
}

// TestEnvoy reads a real one: nothing that was planted comes through, the
// analyzer understands every line, and reads the same as of what Envoy itself
// prints.
func TestEnvoy(t *testing.T) {
	exe := envoyBinary(t)
	inNamespace(t, func() {
		dir := t.TempDir()
		cert, key, planted := selfSigned(t)
		planted = append(planted, "PLANTED", "UExBTlRFRC")
		config := strings.NewReplacer("ADMIN", "{address: {socket_address: {address: 127.0.0.1, port_value: 15000}}}", "DIR", dir, "CERT", cert, "KEY", key).Replace(envoyConfig)
		must(t, os.WriteFile(filepath.Join(dir, "envoy.yaml"), []byte(config), 0o600))
		backend := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") })}
		l, err := net.Listen("tcp", "127.0.0.1:18090")
		must(t, err)
		go backend.Serve(l)
		defer backend.Close()
		pid := startEnvoy(t, exe, dir, "-c", "envoy.yaml")
		a := findEnvoys(t, 1, pid)[0]
		if a.PID != pid || a.Address != "127.0.0.1:15000" {
			t.Errorf("found %+v, started %d", a, pid)
		}
		askEnvoy(t)
		unfiltered := string(raw(t, a, "/config_dump?include_eds")) + string(raw(t, a, "/server_info"))
		if n := strings.Count(unfiltered, "PLANTED"); n < 15 {
			t.Errorf("Envoy itself shows only %d secrets", n)
		}
		for _, x := range a.Artifacts() {
			checkArtifact(t, a, &x, planted)
		}
		checkLogs(t, a, planted)
	})
}

// askEnvoy sends a request through the proxy, with secrets in it.
func askEnvoy(t *testing.T) {
	t.Helper()
	await(t, "an answer of the backend", func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:18080")
		must(t, err)
		defer c.Close()
		io.WriteString(c, "GET /a?token=PLANTED-query HTTP/1.1\r\nHost: web.shop\r\nAuthorization: Bearer PLANTED-header\r\nConnection: close\r\n\r\n")
		b, _ := io.ReadAll(c)
		return bytes.Contains(b, []byte("hello"))
	})
}

func checkArtifact(t *testing.T, a *Admin, x *Artifact, planted []string) {
	t.Helper()
	got, err := readAll(t, x)
	if err != nil {
		t.Error(err)
		return
	}
	for _, p := range planted {
		if i := strings.Index(got, p); i >= 0 {
			t.Errorf("%s: a secret: %s", x.Name, got[max(0, i-200):min(len(got), i+100)])
		}
	}
	if x.Whole && !json.Valid([]byte(got)) {
		t.Errorf("%s: is no JSON:\n%s", x.Name, got)
	}
	read := analyze(t, []byte(got))
	if read.Unknown > 0 || len(read.Problems) > 0 || !strings.HasPrefix(read.Formats, strings.TrimSuffix(strings.TrimSuffix(x.Name, ".txt"), ".json")+" ") {
		t.Errorf("%s: read as %s, %d unknown: %q\n%s", x.Name, read.Formats, read.Unknown, read.Problems, got)
	}
	if !x.Whole {
		return
	}
	own := analyze(t, raw(t, a, x.Path))
	if d := cmp.Diff(own.Lines, read.Lines); d != "" || len(own.Lines) == 0 || own.Formats != read.Formats {
		t.Errorf("%s: %s, %s (-Envoy's own +recorded)\n%s", x.Name, own.Formats, read.Formats, d)
	}
}

// checkLogs holds that the files of the access log are found by the config dump,
// and their rows read.
func checkLogs(t *testing.T, a *Admin, planted []string) {
	t.Helper()
	logs := a.Logs()
	if len(logs) != 2 || logs[0].Name != "envoy-access-log.txt" || logs[1].Name != "envoy-access-log-2.txt" {
		t.Fatalf("logs %+v", logs)
	}
	for _, l := range logs {
		var got []byte
		await(t, "rows in "+l.Path, func() bool {
			tail, err := LogTail(context.Background(), l, mib)
			if err != nil {
				return false
			}
			defer tail.Close()
			got, _ = io.ReadAll(tail)
			return len(got) > 0
		})
		for _, p := range planted {
			if bytes.Contains(got, []byte(p)) {
				t.Errorf("%s: a secret: %s", l.Path, got)
			}
		}
		if r := analyze(t, got); r.Unknown > 0 || len(r.Lines) == 0 || !bytes.Contains(got, []byte("/a?...")) {
			t.Errorf("%s: %+v\n%s", l.Path, r, got)
		}
	}
}

// TestEnvoyEndpoints: a proxy is found wherever its command line says that its
// endpoint is, and nothing is sent to a usual port that it has for its traffic.
func TestEnvoyEndpoints(t *testing.T) {
	exe := envoyBinary(t)
	inNamespace(t, func() {
		dir := t.TempDir()
		admin := func(address string) string { return "admin: {address: " + address + "}\n" }
		port := func(p int) string { return fmt.Sprintf("{socket_address: {address: 127.0.0.1, port_value: %d}}", p) }
		pids := []int{
			startEnvoy(t, exe, dir, "--config-yaml", admin("{pipe: {path: "+dir+"/admin.sock}}")),
			startEnvoy(t, exe, dir, "--config-yaml", admin("{pipe: {path: '@admin'}}")),
			startEnvoy(t, exe, dir, "--config-yaml", admin(port(0)), "--admin-address-path", dir+"/address"),
			startEnvoy(t, exe, dir, "--config-yaml", admin(port(14000))+traffic),
		}
		got := map[string]int{}
		for _, a := range findEnvoys(t, 4, pids...) {
			got[a.Address] = a.PID
			if out, err := readAll(t, pick(t, a, "/config_dump")); err != nil || analyze(t, []byte(out)).Unknown > 0 {
				t.Errorf("%s: %v", a.Address, err)
			}
		}
		address, _ := os.ReadFile(dir + "/address")
		want := map[string]int{dir + "/admin.sock": pids[0], "@admin": pids[1], strings.TrimSpace(string(address)): pids[2], "127.0.0.1:14000": pids[3]}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
		for _, a := range find(t, pids...) {
			if a.Address == "127.0.0.1:15000" {
				t.Errorf("asked on a port that is for traffic: %+v", a)
			}
		}
	})
}

// traffic is a listener on a port that is usual for admin endpoints.
const traffic = `static_resources:
  listeners:
  - name: ingress
    address: {socket_address: {address: 127.0.0.1, port_value: 15000}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: a, cluster: b}
  clusters:
  - {name: b, type: STATIC, connect_timeout: 1s}
`
