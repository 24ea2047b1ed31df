package collect

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"whichbackend/collect/bundle"
)

func TestManifest(t *testing.T) {
	root := fakeRoot(t, host1("proc/net/tcp", "sl\n 0:\n", "proc/net/udp", ""))
	tools := fakeTools(t, map[string]string{
		"ip":    `[ "$1" = -V ] && { echo "ip utility, 6.1"; echo more; exit 3; }; echo "$*"`,
		"uname": `echo Linux`,
		"half":  `echo part; echo "oh no" >&2; exit 7`,
	})
	ip := command("ip", "addr")
	ip.version = "-V"
	uname := command("uname", "-a")
	uname.scope = onHost
	before := time.Now()
	g := record(t, Options{Root: root, Path: tools, Privileged: true, Note: "ticket", Collector: bundle.Collector{Version: "9"}, table: []item{
		{name: "proc-net-tcp", file: "net/tcp", deadline: time.Second, limit: 100},
		{name: "proc-net-udp", file: "net/udp", deadline: time.Second, limit: 100},
		ip, uname, command("half"),
	}})
	m := g.Manifest
	want := bundle.Host{Name: "node-1", Kernel: "6.1.0-18-amd64", Clock: bundle.Clock{Wall: m.Created, Boot: 81233.12},
		Namespaces: []bundle.Namespace{{ID: "4026531840", Owners: []bundle.Owner{{Kind: "host", Name: "node-1"}}}}}
	if len(m.Hosts) != 1 || fmt.Sprint(m.Hosts[0]) != fmt.Sprint(want) || m.Created.Before(before.Add(-time.Second)) || m.Note != "ticket" || m.Collector.Version != "9" {
		t.Errorf("manifest %+v", m)
	}
	for path, text := range map[string]string{"node-1/proc-net-tcp.txt": "sl\n 0:\n", "node-1/proc-net-udp.txt": "", "node-1/ip.txt": "addr\n", "node-1/uname.txt": "Linux\n", "node-1/half.txt": "part\n"} {
		a := g.artifact(t, path)
		if got := g.files[path]; got != text || a.Size != int64(len(text)) || a.SHA256 != fmt.Sprintf("%x", sha256.Sum256([]byte(text))) {
			t.Errorf("%s: %q, %+v", path, got, a)
		}
		if a.Host != "node-1" || a.Truncated || a.Started.Before(before.Add(-time.Second)) || a.Took <= 0 || (a.NetNS == "4026531840") != (path != "node-1/uname.txt") {
			t.Errorf("%s: %+v", path, a)
		}
	}
	a := g.artifact(t, "node-1/ip.txt")
	if !slices.Equal(a.Command, []string{"ip", "addr"}) || a.Tool != "ip utility, 6.1" || a.Exit != 0 {
		t.Errorf("%+v", a)
	}
	if a := g.artifact(t, "node-1/half.txt"); a.Exit != 7 || len(m.Missing) != 1 || m.Missing[0] != (bundle.Missing{Host: "node-1", What: "half", Because: failed, Detail: "exit 7: oh no; the 5 bytes that it gave are recorded"}) || !g.Partly() {
		t.Errorf("%+v, missing %+v", a, m.Missing)
	}
	if a := g.artifact(t, "node-1/proc-net-tcp.txt"); a.Command != nil {
		t.Errorf("%+v", a)
	}
}

func TestMissing(t *testing.T) {
	root := fakeRoot(t, host1("proc/net/tcp", strings.Repeat("0123456789\n", 20)))
	tools := fakeTools(t, map[string]string{
		"denied": `echo "you must be root" >&2; exit 4`, "slow": `echo one; echo two; printf half; exec /bin/sleep 30`,
		"mute": `exec /bin/sleep 30`, "large": `while :; do echo 0123456789; done`, "broken": `exit 1`,
		"gated": `echo never`, "worker": `echo "This node is not a swarm manager" >&2; exit 1`, "longline": `while :; do printf 0123456789; done`,
		"names": `case $1 in ls) echo a1; echo b2;; lsnone) ;; lsbad) echo --all;; lsfail) echo no >&2; exit 1;; *) echo "$*";; esac`,
		"noisy": `echo fine; echo "some are hidden" >&2`,
	})
	short := func(name string) item { i := command(name); i.deadline = 800 * time.Millisecond; return i }
	small := func(name string) item { i := command(name); i.limit = 100; return i }
	gated, worker := command("gated"), command("worker")
	gated.gate, worker.absent = needs("tcp_diag", "ask elsewhere"), noSwarm
	each := func(name, list string) item {
		i := command("names", "inspect")
		i.name, i.each = name, []string{list}
		return i
	}
	g := record(t, Options{Root: root, Path: tools, Privileged: true, table: []item{
		command("absent"), command("denied"), short("slow"), short("mute"), small("large"), small("longline"), command("broken"), gated, worker,
		{name: "tcp", file: "net/tcp", deadline: time.Second, limit: 100}, {name: "ip_vs", file: "net/ip_vs", deadline: time.Second, limit: 100},
		each("some", "ls"), each("none", "lsnone"), each("bad", "lsbad"), each("fail", "lsfail"), command("noisy"),
	}})
	for what, want := range map[string]string{
		"absent": notFound, "denied": permission, "slow": timedOut, "mute": timedOut, "large": tooLarge, "longline": tooLarge, "broken": failed, "gated": excluded,
		"worker": notFound, "tcp": tooLarge, "ip_vs": notFound, "some": "", "none": notFound, "bad": failed, "fail": failed, "noisy": "",
	} {
		if m := g.missing(what); m.Because != want || want != "" && m.Detail == "" {
			t.Errorf("%s: %+v, want %q", what, m, want)
		}
	}
	for path, text := range map[string]string{"node-1/slow.txt": "one\ntwo\n", "node-1/large.txt": strings.Repeat("0123456789\n", 9), "node-1/tcp.txt": strings.Repeat("0123456789\n", 9)} {
		if a := g.artifact(t, path); !a.Truncated || g.files[path] != text {
			t.Errorf("%s: %+v %q", path, a, g.files[path])
		}
	}
	if g.files["node-1/some.txt"] != "inspect a1 b2\n" || !slices.Equal(g.artifact(t, "node-1/some.txt").Command, []string{"names", "inspect", "a1", "b2"}) {
		t.Errorf("%q", g.files["node-1/some.txt"])
	}
	if len(g.files) != 5 {
		t.Errorf("files %v", g.files)
	}
	if !slices.Equal(g.Warnings, []string{"noisy: recorded, and it said: some are hidden"}) {
		t.Errorf("warnings %q", g.Warnings)
	}
}

func TestPartly(t *testing.T) {
	for because, want := range map[string]bool{notFound: false, excluded: false, permission: true, timedOut: true, tooLarge: true, failed: true} {
		r := Result{Manifest: bundle.Manifest{Missing: []bundle.Missing{{Because: because}}}}
		if r.Partly() != want {
			t.Errorf("%s: partly %v", because, !want)
		}
	}
}

func TestNotRoot(t *testing.T) {
	g := record(t, Options{Root: fakeRoot(t, host1()), table: []item{}})
	if m := g.missing("processes of other users"); m.Because != permission || !g.Partly() {
		t.Errorf("missing %+v", g.Manifest.Missing)
	}
}

// TestOtherNamespace: what is true in another namespace must not be filed as
// the host's own.
func TestOtherNamespace(t *testing.T) {
	root := fakeRoot(t, host1("proc/net/tcp", "sl\n", "proc/self/ns/net", "-> net:[77]"))
	uname := command("uname")
	uname.scope = onHost
	g := record(t, Options{Root: root, Path: fakeTools(t, map[string]string{"uname": "echo Linux"}), table: []item{
		{name: "proc-net-tcp", file: "net/tcp", deadline: time.Second, limit: 100}, uname}})
	if a := g.artifact(t, "node-1/netns/77/proc-net-tcp.txt"); a.NetNS != "77" || len(g.Manifest.Hosts[0].Namespaces[0].Owners) != 0 {
		t.Errorf("%+v %+v", a, g.Manifest.Hosts)
	}
	g.artifact(t, "node-1/uname.txt")
}

func TestTimeoutOfAll(t *testing.T) {
	tools := fakeTools(t, map[string]string{"slow": "exec /bin/sleep 30", "next": "echo x"})
	start := time.Now()
	g := record(t, Options{Root: fakeRoot(t, host1()), Path: tools, Privileged: true, Timeout: 200 * time.Millisecond, table: []item{command("slow"), command("next"), command("absent")}})
	if time.Since(start) > 5*time.Second || g.missing("slow").Because != timedOut || g.missing("next").Because != timedOut ||
		!strings.HasPrefix(g.missing("next").Detail, "not begun") || g.missing("absent").Because != notFound {
		t.Errorf("after %v: %+v", time.Since(start), g.Manifest.Missing)
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(100*time.Millisecond, cancel)
	dir := t.TempDir()
	_, err := Record(ctx, filepath.Join(dir, "b.tar.gz"), nil, Options{Root: fakeRoot(t, host1()), Path: fakeTools(t, map[string]string{"slow": "exec /bin/sleep 30"}), table: []item{command("slow")}})
	if left, _ := os.ReadDir(dir); err == nil || len(left) != 0 {
		t.Errorf("error %v, left %v", err, left)
	}
}

func TestStdout(t *testing.T) {
	var out bytes.Buffer
	res, err := Record(context.Background(), "-", &out, Options{Root: fakeRoot(t, host1("proc/net/tcp", "sl\n")),
		table: []item{{name: "proc-net-tcp", file: "net/tcp", deadline: time.Second, limit: 100}}})
	must(t, err)
	if g := readBack(t, &out, res); g.files["node-1/proc-net-tcp.txt"] != "sl\n" {
		t.Errorf("%v", g.files)
	}
}

func TestProgress(t *testing.T) {
	var said []string
	record(t, Options{Root: fakeRoot(t, host1()), table: []item{command("a"), command("b")},
		Progress: func(done, of int, name string) { said = append(said, fmt.Sprintf("%d/%d %s", done, of, name)) }})
	if !slices.Equal(said, []string{"0/2 a", "1/2 b"}) {
		t.Errorf("%q", said)
	}
}
