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
	root := fakeRoot(t, host1("proc/thread-self/net/tcp", "sl\n 0:\n", "proc/thread-self/net/udp", ""))
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
		{name: "proc-net-tcp", file: "thread-self/net/tcp", deadline: time.Second, limit: 100},
		{name: "proc-net-udp", file: "thread-self/net/udp", deadline: time.Second, limit: 100},
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
	root := fakeRoot(t, host1("proc/thread-self/net/tcp", strings.Repeat("0123456789\n", 20)))
	tools := fakeTools(t, map[string]string{
		"denied": `echo "you must be root" >&2; exit 4`, "slow": `echo one; echo two; printf half; exec /bin/sleep 30`,
		"mute": `exec /bin/sleep 30`, "large": `while :; do echo 0123456789; done`, "broken": `exit 1`,
		"gated": `echo never`, "worker": `echo "This node is not a swarm manager" >&2; exit 1`, "longline": `while :; do printf 0123456789; done`,
		"noisy": `echo fine; echo "some are hidden" >&2`,
	})
	short := func(name string) item { i := command(name); i.deadline = 800 * time.Millisecond; return i }
	small := func(name string) item { i := command(name); i.limit = 100; return i }
	gated, worker := command("gated"), command("worker")
	gated.gate, worker.absent = needs("tcp_diag", "ask elsewhere"), []string{"not a Swarm manager"}
	g := record(t, Options{Root: root, Path: tools, Privileged: true, table: []item{
		command("absent"), command("denied"), short("slow"), short("mute"), small("large"), small("longline"), command("broken"), gated, worker,
		{name: "tcp", file: "thread-self/net/tcp", deadline: time.Second, limit: 100}, {name: "ip_vs", file: "thread-self/net/ip_vs", deadline: time.Second, limit: 100},
		command("noisy"),
	}})
	for what, want := range map[string]string{
		"absent": notFound, "denied": permission, "slow": timedOut, "mute": timedOut, "large": tooLarge, "longline": tooLarge, "broken": failed, "gated": excluded,
		"worker": notFound, "tcp": tooLarge, "ip_vs": notFound, "noisy": "",
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
	if len(g.files) != 4 {
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

// TestNamespaces: what is true in another namespace must not be filed as the
// host's own, and what is missing is told once, with the namespaces.
func TestNamespaces(t *testing.T) {
	uname := command("uname")
	uname.scope = onHost
	bad := command("bad")
	spaces := append(self(), &space{id: "77", dir: "node-1/netns/77", owners: []bundle.Owner{{Kind: "pod", Namespace: "shop", Name: "web-0", Container: "app", PID: 7}}},
		&space{id: "78", dir: "node-1/netns/78"})
	o := Options{Root: fakeRoot(t, host1("proc/thread-self/net/tcp", "sl\n")), Privileged: true, spaces: spaces,
		Path: fakeTools(t, map[string]string{"uname": "echo Linux", "bad": "exit 1"}), table: []item{
			{name: "proc-net-tcp", file: "thread-self/net/tcp", deadline: time.Second, limit: 100}, uname, bad, command("absent")}}
	g := record(t, o)
	if g.artifact(t, "node-1/proc-net-tcp.txt").NetNS != "4026531840" || g.artifact(t, "node-1/netns/77/proc-net-tcp.txt").NetNS != "77" || g.artifact(t, "node-1/uname.txt").NetNS != "" {
		t.Errorf("%+v", g.Manifest.Artifacts)
	}
	if len(g.files) != 4 || len(g.Manifest.Missing) != 2 || g.Namespaces != 3 || fmt.Sprint(g.Manifest.Hosts[0].Namespaces[1].Owners) != fmt.Sprint(spaces[1].owners) {
		t.Errorf("%+v", g.Manifest)
	}
	for pattern, want := range map[string]int{"77": 2, "shop/*": 2, "web-0": 2, "pod/web-0": 2, "7*": 3, "node-1": 2, "web": 1} {
		o.Namespaces = []string{pattern}
		for _, s := range spaces {
			s.had = nil
		}
		if g := record(t, o); len(g.files) != want || (g.missing("network namespace "+pattern).Because == notFound) != (want == 1) || want == 1 && (!g.lost || len(g.Warnings) != 1) {
			t.Errorf("%s: %v, missing %+v", pattern, g.files, g.Manifest.Missing)
		}
	}
}

// TestUnless: the second way to the same table is for when the first fails.
func TestUnless(t *testing.T) {
	gated := command("gated")
	gated.gate = needs("tcp_diag", "other has the same")
	file := func(unless string) item {
		return item{name: "other", file: "thread-self/net/tcp", unless: unless, deadline: time.Second, limit: 100}
	}
	tools := fakeTools(t, map[string]string{"good": "echo x", "bad": "echo part; exit 1", "gated": "echo never"})
	for _, c := range []struct {
		first       item
		there       bool
		other, lost bool
	}{
		{command("good"), true, false, false}, {command("bad"), true, true, true}, {command("absent"), true, true, false},
		{gated, true, true, false}, {gated, false, false, true}, {command("absent"), false, false, false},
	} {
		root := host1()
		if c.there {
			root = host1("proc/thread-self/net/tcp", "sl\n")
		}
		g := record(t, Options{Root: fakeRoot(t, root), Path: tools, Privileged: true, table: []item{c.first, file(c.first.name)}})
		if _, other := g.files["node-1/other.txt"]; other != c.other || g.Partly() != c.lost {
			t.Errorf("%s, there %v: other %v, partly %v; missing %+v", c.first.name, c.there, other, g.Partly(), g.Manifest.Missing)
		}
	}
}

// TestSizeOfAll: a full bundle ends at a line, and says what it left out.
func TestSizeOfAll(t *testing.T) {
	tools := fakeTools(t, map[string]string{"a": "echo 12345; echo 12345", "b": "echo 12345; echo 12345", "c": "echo 1"})
	g := record(t, Options{Root: fakeRoot(t, host1()), Path: tools, Privileged: true, Size: 18, table: []item{command("a"), command("b"), command("c")}})
	if g.files["node-1/b.txt"] != "12345\n" || !g.artifact(t, "node-1/b.txt").Truncated || g.missing("b").Because != tooLarge || g.missing("a").Because != "" {
		t.Errorf("%v %+v", g.files, g.Manifest.Missing)
	}
	g = record(t, Options{Root: fakeRoot(t, host1()), Path: tools, Privileged: true, Size: 12, table: []item{command("a"), command("b")}})
	if m := g.missing("b"); m.Because != tooLarge || !strings.HasPrefix(m.Detail, "not begun") || len(g.files) != 1 {
		t.Errorf("%+v", m)
	}
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
	_, err := Record(ctx, filepath.Join(dir, "b.tar.gz"), nil, Options{Root: fakeRoot(t, host1()), spaces: self(), Path: fakeTools(t, map[string]string{"slow": "exec /bin/sleep 30"}), table: []item{command("slow")}})
	if left, _ := os.ReadDir(dir); err == nil || len(left) != 0 {
		t.Errorf("error %v, left %v", err, left)
	}
}

func TestStdout(t *testing.T) {
	var out bytes.Buffer
	res, err := Record(context.Background(), "-", &out, Options{Root: fakeRoot(t, host1("proc/thread-self/net/tcp", "sl\n")), spaces: self(),
		table: []item{{name: "proc-net-tcp", file: "thread-self/net/tcp", deadline: time.Second, limit: 100}}})
	must(t, err)
	if g := readBack(t, &out, res); g.files["node-1/proc-net-tcp.txt"] != "sl\n" {
		t.Errorf("%v", g.files)
	}
}

func TestProgress(t *testing.T) {
	var said []string
	record(t, Options{Root: fakeRoot(t, host1()), table: []item{command("a"), command("b")},
		Progress: func(done, of int, name string) { said = append(said, fmt.Sprintf("%d/%d %s", done, of, name)) }})
	if !slices.Equal(said, []string{"0/2 a of node-1", "1/2 b of node-1"}) {
		t.Errorf("%q", said)
	}
}
