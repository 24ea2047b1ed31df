package proxy

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestAccessRow(t *testing.T) {
	const (
		istio = `[2026-10-06T23:29:57.452Z] "GET /a/b HTTP/1.1" 200 - via_upstream - "-" 0 5 3 2 "1.2.3.4" "curl/8" "id" "web" "10.0.0.2:80" outbound|80||web.shop.svc.cluster.local 10.0.0.1:5 10.96.0.9:80 10.0.0.1:4 - default`
		tcp   = `[2026-10-06T23:29:57.452Z] "- - -" 0 - - - "-" 1 1 17000 - "-" "-" "-" "-" "10.0.0.2:80" outbound|80||web.shop.svc.cluster.local 10.0.0.1:5 10.96.0.9:80 10.0.0.1:4 - -`
		tun   = "2025-01-23T05:07:25.806642Z\tinfo\taccess\tconnection complete\tsrc.addr=10.129.0.48:40978 dst.addr=10.129.0.43:15008 direction=\"outbound\" bytes_sent=1 bytes_recv=2 duration=\"2ms\""
	)
	with := func(row, old, new string) string { return strings.Replace(row, old, new, 1) }
	for name, c := range map[string]struct{ in, want string }{
		"a request":                   {istio, istio},
		"a connection":                {tcp, tcp},
		"a query":                     {with(istio, "/a/b", "/a/b?token=SECRET"), with(istio, "/a/b", "/a/b?...")},
		"a query with a blank":        {with(istio, "/a/b", "/a/b?token=SECRET SECRET\"x"), with(istio, "/a/b", "/a/b?...")},
		"a referer's query":           {with(istio, `"curl/8"`, `"http://x/?k=SECRET&l=2"`), with(istio, `"curl/8"`, `"http://x/?..."`)},
		"a bearer in a row":           {with(istio, `"curl/8"`, `"Bearer SECRET"`), ""},
		"ztunnel":                     {tun, tun},
		"ztunnel's other":             {"2025-01-23T05:07:25.806642Z\tinfo\tstate_manager\tpod SECRET", ""},
		"istio's other":               {"2023-01-07T20:52:22.129639Z\tinfo\txdsproxy\tSECRET", ""},
		"Envoy's own log":             {"[2023-01-07 20:52:22.129][1][info] SECRET", ""},
		"a line of an application":    {`password=SECRET token=SECRET and more and more`, ""},
		"JSON of an application":      {`{"level":"info","time":"2023-05-10T17:43:55Z","msg":"SECRET"}`, ""},
		"JSON":                        {`{"path":"/a?k=SECRET","upstream_host":"10.0.0.2:80","authorization":"SECRET","user_agent":"a?b","n":1}`, `{"path":"/a?...","upstream_host":"10.0.0.2:80","authorization":"[left out]","user_agent":"a?b","n":1}`},
		"JSON with a quoted query":    {`{"path":"/a?k=SE\"CRET","upstream_host":"h"}`, `{"path":"/a?...","upstream_host":"h"}`},
		"JSON with an escaped query":  {`{"path":"/a\u003fk=SECRET","upstream_host":"h"}`, `{"path":"/a?...","upstream_host":"h"}`},
		"JSON that is cut":            {`{"path":"/a?k=SECRET","upstream_host":"h`, ""},
		"ztunnel as JSON":             {`{"level":"info","time":"2025-01-01T00:00:00Z","scope":"access","message":"connection complete","src.addr":"1.1.1.1:1","dst.addr":"1.1.1.2:2"}`, `{"level":"info","time":"2025-01-01T00:00:00Z","scope":"access","message":"connection complete","src.addr":"1.1.1.1:1","dst.addr":"1.1.1.2:2"}`},
		"a runtime's mark":            {"2026-10-06T23:29:57.452123456Z stdout F " + with(istio, "/a/b", "/?SECRET"), "2026-10-06T23:29:57.452123456Z stdout F " + with(istio, "/a/b", "/?...")},
		"a runtime's mark, an offset": {"2026-10-06T23:29:57.452123456+02:00 stderr F " + tcp, "2026-10-06T23:29:57.452123456+02:00 stderr F " + tcp},
		"docker's":                    {`{"log":"[2026-10-06T23:29:57.452Z] \"GET /a?k=SECRET\u0026b=1 HTTP/1.1\" 200 - x\n","stream":"stdout","attrs":{"DB_PASSWORD":"SECRET"},"time":"2026-10-06T23:29:57Z"}`, `{"log":"[2026-10-06T23:29:57.452Z] \"GET /a?... HTTP/1.1\" 200 - x\n","stream":"stdout","time":"2026-10-06T23:29:57Z"}`},
		"docker's other":              {`{"log":"SECRET\n","stream":"stdout","time":"2026-10-06T23:29:57Z"}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := string(accessRow([]byte(c.in)))
			if got != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
			if got == "" {
				return
			}
			if r := analyze(t, []byte(got+"\n")); r.Unknown > 0 && strings.Contains(got, "downstream") {
				t.Errorf("%d lines unknown: %q", r.Unknown, r.Problems)
			}
		})
	}
}

func FuzzAccessRow(f *testing.F) {
	f.Add([]byte(`[2026-10-06T23:29:57.452Z] "GET /a?SECRET HTTP/1.1" 200 - "?"`))
	f.Add([]byte("2025-01-23T05:07:25.806642Z stdout F {\"upstream_host\":\"?\"}"))
	f.Add([]byte(`{"log":"x\n"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		if out := accessRow(line); strings.Contains(string(out), "\n") && !strings.Contains(string(line), "\n") {
			t.Errorf("%q became two lines: %q", line, out)
		}
	})
}

func writeLog(t *testing.T, root, name, text string) Log {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return Log{Root: root, Path: "/" + name}
}

func readLog(t *testing.T, l Log, most int64) (string, *Tail, error) {
	t.Helper()
	tail, err := LogTail(context.Background(), l, most)
	if err != nil {
		return "", nil, err
	}
	defer tail.Close()
	b, err := io.ReadAll(tail)
	return string(b), tail, err
}

func TestLogTail(t *testing.T) {
	const stamp = "2026-10-06T23:29:57.452123456Z stdout "
	row := func(n string) string { return `[2026-10-06T23:29:57.452Z] "GET /` + n + ` HTTP/1.1" 200 - x` + "\n" }
	root := t.TempDir()
	for name, c := range map[string]struct {
		text string
		most int64
		want string
		cut  bool
	}{
		"all of it":           {row("1") + "SECRET\n" + row("2"), 1 << 20, row("1") + row("2"), false},
		"from a line on":      {row("1") + row("2") + row("3"), int64(len(row("2") + row("3"))), row("2") + row("3"), true},
		"from within a line":  {row("1") + row("2") + row("3"), int64(len(row("2")+row("3"))) - 1, row("3"), true},
		"without a line end":  {row("1") + strings.TrimSpace(row("2")), 1 << 20, row("1"), false},
		"a line of megabytes": {row("1") + strings.Repeat("x", 3<<20) + row("SECRET") + row("2"), 4 << 20, row("1") + row("2"), false},
		"a row in two parts":  {stamp + "F " + row("1") + stamp + "P [SECRET\n" + stamp + "F " + row("SECRET") + stamp + "F " + row("2"), 1 << 20, stamp + "F " + row("1") + stamp + "F " + row("2"), false},
	} {
		t.Run(name, func(t *testing.T) {
			got, tail, err := readLog(t, writeLog(t, root, "log", c.text), c.most)
			if err != nil || got != c.want || tail.Cut != c.cut {
				t.Errorf("cut %v, %v\n got %.300q\nwant %.300q", tail.Cut, err, got, c.want)
			}
		})
	}
	if _, _, err := readLog(t, writeLog(t, root, "log", "SECRET\n"), 100); !errors.Is(err, ErrNoRows) {
		t.Errorf("a log without rows: %v", err)
	}
}

// TestLogStaysInRoot: a container decides what its links lead to.
func TestLogStaysInRoot(t *testing.T) {
	top := t.TempDir()
	writeLog(t, top, "outside", `[2026-10-06T23:29:57.452Z] "GET /SECRET HTTP/1.1" 200 - x`+"\n")
	root := filepath.Join(top, "root")
	writeLog(t, root, "inside", `[2026-10-06T23:29:57.452Z] "GET /fine HTTP/1.1" 200 - x`+"\n")
	for link, to := range map[string]string{"absolute": filepath.Join(top, "outside"), "relative": "../outside", "good": "/inside"} {
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(root, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"absolute", "relative", "pipe", "."} {
		if got, _, err := readLog(t, Log{Root: root, Path: "/" + bad}, 1<<20); err == nil {
			t.Errorf("%s: gave %q", bad, got)
		}
	}
	if got, _, err := readLog(t, Log{Root: root, Path: "/good"}, 1<<20); err != nil || !strings.Contains(got, "fine") {
		t.Errorf("a link inside: %q, %v", got, err)
	}
}

func TestPodLogs(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"shop_web-0_1/istio-proxy/0.log", "shop_web-0_1/istio-proxy/10.log", "shop_web-0_1/istio-proxy/9.log",
		"shop_web-0_1/istio-proxy/10.log.20260101", "shop_web-0_1/app/0.log", "shop_web-01_2/istio-proxy/0.log"} {
		writeLog(t, root, "var/log/pods/"+name, "x\n")
	}
	for _, uid := range []string{"1", ""} {
		logs := PodLogs(root, "shop", "web-0", uid)
		if len(logs) != 1 || logs[0].Path != "/var/log/pods/shop_web-0_1/istio-proxy/10.log" || logs[0].Name != "istio-proxy-access-log.txt" {
			t.Errorf("uid %q: %+v", uid, logs)
		}
	}
	if logs := PodLogs(root, "*", "web-0", ""); logs != nil {
		t.Errorf("a pattern for a namespace: %+v", logs)
	}
	id := strings.Repeat("0a", 32)
	writeLog(t, root, "var/lib/docker/containers/"+id+"/"+id+"-json.log", "x\n")
	if logs := DockerLog(root, id); len(logs) != 1 {
		t.Errorf("docker: %+v", logs)
	}
	if logs := DockerLog(root, "../../etc"); logs != nil {
		t.Errorf("a path for an id: %+v", logs)
	}
}
