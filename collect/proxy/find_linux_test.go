package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const info = `{"version":"a/1.40.0/Clean/RELEASE/BoringSSL","state":"LIVE","command_line_options":{"config_yaml":"SECRET","concurrency":2},` +
	`"node":{"id":"sidecar~10.0.0.7~web-0.shop~shop.svc.cluster.local","metadata":{"ENV":"SECRET","INSTANCE_IPS":"10.0.0.7"}}}`

// fake is an admin endpoint whose answers a test chooses. It counts.
type fake struct {
	pages                 map[string]http.HandlerFunc
	connections, requests atomic.Int32
}

func (f *fake) serve(t *testing.T, address string) {
	l, err := net.Listen("tcp", address)
	must(t, err)
	s := &http.Server{Handler: f, ConnState: func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			f.connections.Add(1)
		}
	}}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.requests.Add(1)
	if page := f.pages[r.URL.Path]; page != nil {
		page(w, r)
		return
	}
	http.NotFound(w, r)
}

func text(s string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, s) }
}

func envoyPages() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{"/server_info": text(info), "/clusters": text("c::added_via_api::false\n"), "/listeners": text("l-1::0.0.0.0:80\n"),
		"/stats": text("server.live: 1\n"), "/config_dump": text(`{"configs":[]}`)}
}

func find(t *testing.T, pids ...int) []*Admin {
	t.Helper()
	found, err := Find(t.Context(), "/proc", pids)
	must(t, err)
	t.Cleanup(func() {
		for _, a := range found {
			a.Close()
		}
	})
	return found
}

// TestOneConnection: an endpoint that is an Envoy is read over one connection.
func TestOneConnection(t *testing.T) {
	inNamespace(t, func() {
		f := &fake{pages: envoyPages()}
		f.serve(t, "127.0.0.1:15000")
		found := find(t)
		if len(found) != 1 || found[0].Err != nil || found[0].Kind != Envoy || found[0].Address != "127.0.0.1:15000" {
			t.Fatalf("found %+v", found)
		}
		for _, a := range found[0].Artifacts() {
			if got, err := readAll(t, &a); err != nil || got == "" || strings.Contains(got, "SECRET") {
				t.Errorf("%s: %q, %v", a.Name, got, err)
			}
		}
		if n := f.connections.Load(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

// TestNamespaces: two proxies of a namespace have files of different names, and
// what listens elsewhere in the host is none of them.
func TestNamespaces(t *testing.T) {
	inNamespace(t, func() {
		for _, at := range []string{"127.0.0.1:15000", "[::]:9901", "127.0.0.1:9902"} {
			(&fake{pages: envoyPages()}).serve(t, at)
		}
		names := map[string]bool{}
		for _, a := range find(t) {
			if a.Err != nil {
				t.Error(a.Err)
			}
			for _, x := range a.Artifacts() {
				names[x.Name] = true
			}
		}
		if !names["envoy-config_dump.json"] || !names["envoy-config_dump-9901.json"] || !names["envoy-clusters-9901.txt"] || len(names) != 10 {
			t.Errorf("names %v", names)
		}
	})
	inNamespace(t, func() {
		if found := find(t); len(found) != 0 {
			t.Errorf("in an empty namespace: %+v", found)
		}
	})
}

// TestZtunnel: it does not know the question what it is, and is known by its
// process. Another that does not know it gets no further question.
func TestZtunnel(t *testing.T) {
	inNamespace(t, func() {
		f := &fake{pages: map[string]http.HandlerFunc{"/config_dump": text(
			`{"certificates":[{"pem":"SECRET"}],"config":{"fakeSecret":"SECRET","proxyMetadata":{"ISTIO_VERSION":"1.24","K":"SECRET"}},"services":[],` +
				`"workloads":[{"uid":"c//Pod/shop/web","name":"web","namespace":"shop","workloadIps":["10.0.0.7"]}],"workloadState":{}}`)}}
		f.serve(t, "127.0.0.1:15000")
		proc := t.TempDir()
		must(t, os.MkdirAll(filepath.Join(proc, "4711"), 0o755))
		must(t, os.MkdirAll(filepath.Join(proc, "thread-self"), 0o755))
		must(t, os.WriteFile(filepath.Join(proc, "4711/comm"), []byte("ztunnel\n"), 0o644))
		must(t, os.Symlink("/proc/thread-self/net", filepath.Join(proc, "thread-self/net")))
		found, err := Find(t.Context(), proc, []int{4711})
		must(t, err)
		if len(found) != 1 || found[0].Err != nil || found[0].Kind != Ztunnel || len(found[0].Artifacts()) != 1 {
			t.Fatalf("found %+v", found)
		}
		defer found[0].Close()
		a := &found[0].Artifacts()[0]
		got, err := readAll(t, a)
		if r := analyze(t, []byte(got)); err != nil || a.Name != "ztunnel-config_dump.json" || strings.Contains(got, "SECRET") || r.Unknown > 0 || len(r.Lines) != 1 {
			t.Errorf("%s: %v, %+v\n%s", a.Name, err, r, got)
		}
		found, err = Find(t.Context(), proc, nil)
		if n := f.requests.Load(); err != nil || len(found) != 1 || !errors.Is(found[0].Err, ErrOther) || n != 3 {
			t.Errorf("without the process: %+v, %v, %d requests", found, err, n)
		}
	})
}

// TestOthers: what is no proxy gets one request, and what hangs costs only
// itself.
func TestOthers(t *testing.T) {
	for name, c := range map[string]struct {
		handle func(net.Conn)
		want   error
	}{
		"says nothing":  {func(c net.Conn) {}, os.ErrDeadlineExceeded},
		"closes":        {func(c net.Conn) { io.ReadFull(c, make([]byte, 10)); c.Close() }, nil},
		"speaks first":  {func(c net.Conn) { io.WriteString(c, "SSH-2.0-x\r\n") }, ErrOther},
		"is a web page": {func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>") }, ErrOther},
		"has no page":   {func(c net.Conn) { io.WriteString(c, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n") }, ErrOther},
		"other JSON": {func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"version\":\"1\"}")
		}, ErrOther},
		"endless heads": {func(c net.Conn) { flood(c, "HTTP/1.1 200 OK\r\n", strings.Repeat("A: b\r\n", 1000)) }, ErrOther},
		"endless body":  {func(c net.Conn) { flood(c, "HTTP/1.1 200 OK\r\n\r\n{", strings.Repeat(" ", 8192)) }, ErrOther},
		"trickles":      {func(c net.Conn) { trickle(c, "HTTP/1.1 200 OK\r\n\r\n") }, os.ErrDeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inNamespace(t, func() {
				var n atomic.Int32
				serve(t, "127.0.0.1:15000", func(conn net.Conn) { n.Add(1); c.handle(conn) })
				f := &fake{pages: envoyPages()}
				f.serve(t, "127.0.0.1:19000")
				found := find(t)
				if len(found) != 2 {
					t.Fatalf("found %+v", found)
				}
				if err := found[0].Err; err == nil || c.want != nil && !errors.Is(err, c.want) || found[0].Artifacts() != nil {
					t.Errorf("%v, want %v", err, c.want)
				}
				if found[1].Err != nil || found[1].Artifacts()[0].Name != "envoy-clusters.txt" {
					t.Errorf("the other: %+v", found[1])
				}
				if n.Load() != 1 {
					t.Errorf("%d connections", n.Load())
				}
			})
		})
	}
}

func flood(c net.Conn, head, body string) {
	_, err := io.WriteString(c, head)
	for err == nil {
		_, err = io.WriteString(c, body)
	}
}

func trickle(c net.Conn, head string) {
	_, err := io.WriteString(c, head)
	for tick := time.NewTicker(10 * time.Millisecond); err == nil; <-tick.C {
		_, err = io.WriteString(c, " ")
	}
}

// hostilePages are answers of what says that it is an Envoy.
func hostilePages() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"hangs": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"trickles": func(w http.ResponseWriter, r *http.Request) {
			for tick := time.NewTicker(10 * time.Millisecond); r.Context().Err() == nil; <-tick.C {
				io.WriteString(w, "a::b::1\n")
				w.(http.Flusher).Flush()
			}
		},
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			for line := []byte(strings.Repeat("c::10.0.0.1:80::cx_active::1\n", 1000)); ; {
				if _, err := w.Write(line); err != nil {
					return
				}
			}
		},
		"refuses": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "SECRET", http.StatusForbidden) },
		"garbage": text("\x00\x01 and more"),
		"cut": func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "c::10.0.0.1:80::cx_active::1\n")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		},
	}
}

// TestHostile: each kind of bad answer ends in an error that tells it, in time,
// and the next thing is still read.
func TestHostile(t *testing.T) {
	want := map[string]struct {
		is   error
		text string
	}{
		"hangs": {os.ErrDeadlineExceeded, "within 500ms"}, "trickles": {os.ErrDeadlineExceeded, "within 500ms"}, "endless": {ErrTooLarge, "larger"},
		"refuses": {nil, "403 Forbidden"}, "garbage": {nil, "no listing"}, "cut": {errEnded, "middle"},
	}
	for name, page := range hostilePages() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inNamespace(t, func() {
				f := &fake{pages: envoyPages()}
				f.pages["/clusters"], f.pages["/config_dump"] = page, page
				f.serve(t, "127.0.0.1:15000")
				a := find(t)[0]
				must(t, a.Err)
				for _, path := range []string{"/clusters", "/config_dump"} {
					bad := pick(t, a, path)
					bad.limit = 1 << 20
					if want[name].is == os.ErrDeadlineExceeded {
						bad.wait = 500 * time.Millisecond
					}
					_, err := readAll(t, bad)
					if err == nil {
						t.Fatalf("%s: no error", path)
					}
					if w := want[name]; path == "/clusters" && (w.is != nil && !errors.Is(err, w.is) || !strings.Contains(err.Error(), w.text)) ||
						!strings.HasPrefix(err.Error(), "127.0.0.1:15000: GET /") || strings.Contains(err.Error(), "SECRET") {
						t.Errorf("%s: %v, want %v", path, err, w)
					}
					if got, err := readAll(t, pick(t, a, "/listeners")); err != nil || got != "l-1::0.0.0.0:80\n" {
						t.Errorf("the next: %q, %v", got, err)
					}
				}
			})
		})
	}
}

// TestCanceled: who waits no longer gets his own reason back at once.
func TestCanceled(t *testing.T) {
	inNamespace(t, func() {
		asked := make(chan struct{}, 1)
		f := &fake{pages: envoyPages()}
		f.pages["/clusters"] = func(_ http.ResponseWriter, r *http.Request) { asked <- struct{}{}; <-r.Context().Done() }
		f.serve(t, "127.0.0.1:15000")
		a := find(t)[0]
		must(t, a.Err)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-asked; cancel() }()
		if _, err := pick(t, a, "/clusters").Open(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// TestIdle: a proxy that closed the connection meanwhile is asked over another.
func TestIdle(t *testing.T) {
	inNamespace(t, func() {
		f := &fake{pages: envoyPages()}
		f.pages["/clusters"] = func(w http.ResponseWriter, _ *http.Request) {
			c, _, _ := w.(http.Hijacker).Hijack()
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			c.Close()
		}
		f.serve(t, "127.0.0.1:15000")
		a := find(t)[0]
		must(t, a.Err)
		for _, path := range []string{"/clusters", "/listeners"} {
			if _, err := readAll(t, pick(t, a, path)); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestListenRows(t *testing.T) {
	const tcp = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:3A98 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000 100 0 0 10 0
   1: short
   2: 00000000000000000000000001000000:26AD 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4712 1
   3: 0100007F:1F90 0100007F:A000 01 00000000:00000000 00:00000000 00000000     0        0 4713 1
   4: 0100007F:4A38 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4714 1
`
	rows, err := listenRows(strings.NewReader(tcp), nil)
	want := []row{{netip.MustParseAddrPort("127.0.0.1:15000"), 4711}, {netip.MustParseAddrPort("[::1]:9901"), 4712}}
	if err != nil || len(rows) != 2 || rows[0] != want[0] || rows[1] != want[1] {
		t.Errorf("%v, %v", rows, err)
	}
}

func TestConfigured(t *testing.T) {
	for in, want := range map[string]string{
		`{"admin":{"address":{"socket_address":{"address":"127.0.0.1","port_value":15000}}},"x":1}`:                                                                  "127.0.0.1:15000",
		`{"admin":{"address":{"socketAddress":{"address":"::1","portValue":9901}}}}`:                                                                                 "[::1]:9901",
		`{"admin":{"address":{"pipe":{"path":"/run/a.sock"}}}}`:                                                                                                      "/run/a.sock",
		"admin: {address: {pipe: {path: '@a'}}}":                                                                                                                     "@a",
		"static_resources:\n  x: y\nadmin:\n  address:\n    socket_address: {address: localhost, port_value: 19001}\nz: 1\n":                                         "127.0.0.1:19001",
		"static_resources:\n" + strings.Repeat("  - x\n", 20000) + "admin:\n  address:\n    socket_address:\n      address: 0.0.0.0\n      port_value: 9901\nz: 1\n": "0.0.0.0:9901",
		`{"admin":{"address":{"pipe":{"path":"relative"}}}}`:                                                                                                         "", "": "", "{": "", "\x00\xff": "", "admin: [": "", "admin: {address: {socket_address: {address: a.example, port_value: 1}}}": "",
	} {
		if got, ok := configured([]byte(in)); ok != (want != "") || ok && got.String() != want {
			t.Errorf("%.60q: %s, %v, want %q", in, got, ok, want)
		}
	}
}
