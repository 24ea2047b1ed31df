package parse

import "bytes"

// Envoy's /stats as text, JSON and for Prometheus (Envoy 1.24, Istio 1.16):
//
//	cluster.xds-grpc.upstream_cx_active: 1
//	envoy_cluster_upstream_cx_active{cluster_name="xds-grpc"} 1
//
// Counters are by cluster and never by host, so nothing here tells backends
// apart: all of it is known and ignored.

var envoyStatsRoots = [][]byte{[]byte("cluster."), []byte("listener."), []byte("http."), []byte("server."), []byte("cluster_manager."),
	[]byte("listener_manager."), []byte("http1."), []byte("http2."), []byte("tcp."), []byte("runtime."), []byte("filesystem."),
	[]byte("main_thread."), []byte("overload."), []byte("access_logs."), []byte("control_plane."), []byte("vhost."), []byte("dns."),
	[]byte("tls_inspector."), []byte("workers."), []byte("wasm."), []byte("thread_local_cluster_manager."), []byte("listener_admin."),
	[]byte("component."), []byte("reporter="), []byte("istiocustom.")}

var (
	envoyMetric  = []byte("envoy_")
	istioMetric  = []byte("istio_")
	envoyComment = [][]byte{[]byte("# TYPE "), []byte("# HELP ")}
)

func envoyStatsHead(b []byte) bool {
	if len(b) < 12 {
		return false
	}
	switch c := b[0]; {
	case c == '#':
		for _, p := range envoyComment {
			if bytes.HasPrefix(b, p) {
				return bytes.HasPrefix(b[len(p):], envoyMetric) || bytes.HasPrefix(b[len(p):], istioMetric)
			}
		}
	case bytes.HasPrefix(b, envoyMetric), bytes.HasPrefix(b, istioMetric):
		return envoyMetricRow(b)
	case c >= 'a' && c <= 'z':
		for _, p := range envoyStatsRoots {
			if bytes.HasPrefix(b, p) {
				return envoyStatRow(b)
			}
		}
	}
	return false
}

// envoyStatRow tells name: value, where the value is a number, a histogram or
// a quoted text.
func envoyStatRow(b []byte) bool {
	i := bytes.LastIndex(b, []byte(": "))
	if i <= 0 || i+2 >= len(b) {
		return false
	}
	v := b[i+2:]
	return v[0] >= '0' && v[0] <= '9' || v[0] == '"' || v[0] == '-' || bytes.HasPrefix(v, []byte("P0(")) || string(v) == "No recorded values"
}

// envoyMetricRow tells name{labels} value.
func envoyMetricRow(b []byte) bool {
	i := bytes.LastIndexByte(b, ' ')
	if i <= 0 || i+1 >= len(b) {
		return false
	}
	name := b[:i]
	if open := bytes.IndexByte(name, '{'); open >= 0 {
		name = name[:open]
	}
	if len(name) == 0 || bytes.ContainsAny(name, " \t") {
		return false
	}
	c := b[i+1]
	return c >= '0' && c <= '9' || c == '-' || c == '+' || c == 'N'
}

func envoyStatsOpen(out *Out) (func([]byte), func()) {
	line := func(b []byte) {
		b = bytes.TrimSpace(b)
		switch {
		case len(b) == 0:
		case b[0] == '#', envoyMetricRow(b), envoyStatRow(b):
			out.Ignore()
		default:
			out.Problem("expected NAME: VALUE or NAME{LABELS} VALUE")
		}
	}
	return line, nil
}

func envoyStatsClaim(d *Doc) bool {
	if !d.Has("stats") {
		return false
	}
	var list []map[string]any
	d.Get("stats", &list)
	return len(list) == 0 || list[0]["name"] != nil || list[0]["histograms"] != nil
}

func envoyStatsDoc(*Doc, *Out) {}
