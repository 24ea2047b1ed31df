package collect

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for i, it := range table {
		if seen[it.name] || folder(it.name) != it.name {
			t.Errorf("%s: not a name of its own", it.name)
		}
		seen[it.name] = true
		ways := 0
		for _, way := range []bool{it.file != "", it.kernel != nil, it.many != nil, it.tools != nil} {
			if way {
				ways++
			}
		}
		if !strings.HasSuffix(it.why, ".") || it.deadline <= 0 || it.limit <= 0 || ways != 1 || it.file == "" && it.args == nil || (it.row == 0) != (it.count == nil) {
			t.Errorf("%s: %+v", it.name, it)
		}
		if it.unless != "" && !seen[it.unless] {
			t.Errorf("%s: stands before %s, which it is for want of", it.name, it.unless)
		}
		if i > 0 && it.when < table[i-1].when {
			t.Errorf("%s: its phase was over", it.name)
		}
		safe := it.file != "" || it.args[0] == "ip" || it.name == "proxies"
		if !safe && it.gate == nil {
			t.Errorf("%s: may load a module or start a daemon, and has no gate", it.name)
		}
	}
}

func TestGates(t *testing.T) {
	builtin := "lib/modules/6.1.0-18-amd64/modules.builtin"
	bin := t.TempDir()
	for _, f := range []string{"xtables-nft-multi", "xtables-legacy-multi", "wrapper"} {
		must(t, os.WriteFile(filepath.Join(bin, f), nil, 0o755))
	}
	nft, legacy, wrapper := filepath.Join(bin, "xtables-nft-multi"), filepath.Join(bin, "xtables-legacy-multi"), filepath.Join(bin, "wrapper")
	must(t, os.Symlink("xtables-legacy-multi", filepath.Join(bin, "iptables-save")))
	rules, both := needsRules("ip_tables_names"), []string{"proc/thread-self/net/ip_tables_names", "nat\n", "proc/modules", "nf_tables 1\nnft_compat 1\n"}
	for _, c := range []struct {
		name string
		gate gate
		exe  string
		have []string
		want string
	}{
		{"nothing loaded", needs("tcp_diag", ""), "ss", nil, excluded},
		{"loaded", needs("tcp_diag", ""), "ss", []string{"proc/modules", "x 1\ntcp_diag 16384 0 - Live 0x0\n"}, ""},
		{"another of its beginning", needs("tcp", ""), "ss", []string{"proc/modules", "tcp_diag 1\n"}, excluded},
		{"in sys", needs("tcp_diag", ""), "ss", []string{"sys/module/tcp_diag/refcnt", "1"}, ""},
		{"built in", needs("tcp_diag", ""), "ss", []string{builtin, "kernel/net/ipv4/tcp-diag.ko\n"}, ""},
		{"modules disabled", needs("tcp_diag", ""), "ss", []string{"proc/sys/kernel/modules_disabled", "1\n"}, ""},
		{"no conntrack", needsConntrack, "conntrack", nil, notFound},
		{"conntrack without netlink", needsConntrack, "conntrack", []string{"proc/sys/net/netfilter/nf_conntrack_count", "1"}, excluded},
		{"conntrack", needsConntrack, "conntrack", []string{"proc/thread-self/net/nf_conntrack", "", "proc/modules", "nf_conntrack_netlink 1\n"}, ""},
		{"no IPVS", needsIPVS, "ipvsadm", nil, notFound},
		{"IPVS", needsIPVS, "ipvsadm", []string{"proc/thread-self/net/ip_vs", ""}, ""},
		{"nft", needsNft, "nft", []string{"proc/modules", "nf_tables 1\n"}, ""},
		{"no nft", needsNft, "nft", nil, notFound},
		{"newer iptables, no nf_tables", rules, nft, []string{"proc/thread-self/net/ip_tables_names", "nat\n"}, notFound},
		{"newer iptables, no compat", rules, nft, []string{"proc/modules", "nf_tables 1\n"}, excluded},
		{"newer iptables", rules, nft, both[2:], ""},
		{"older iptables, no file", rules, legacy, both[2:], notFound},
		{"older iptables, no table", rules, legacy, []string{"proc/thread-self/net/ip_tables_names", ""}, notFound},
		{"older iptables", rules, legacy, both[:2], ""},
		{"unknown iptables, nothing", rules, wrapper, nil, notFound},
		{"unknown iptables, one", rules, wrapper, both[:2], excluded},
		{"unknown iptables, both", rules, wrapper, both, ""},
		{"the same program", needsLegacyRules("ip_tables_names", "iptables-save"), legacy, both, excluded},
		{"another program", needsLegacyRules("ip_tables_names", "ip6tables-save"), legacy, both, ""},
		{"no docker", needsDocker, "docker", nil, notFound},
		{"docker would be started", needsDocker, "docker", []string{"var/run/docker.sock", ""}, notFound},
		{"docker", needsDocker, "docker", []string{"var/run/docker.sock", "", "proc/12/comm", "dockerd\n"}, ""},
		{"docker hidden", needsDocker, "docker", []string{"var/run/docker.sock", "", "var/run/docker.pid", "12"}, ""},
		{"no CRI", needsCRI, "crictl", nil, notFound},
		{"CRI", needsCRI, "crictl", []string{"run/containerd/containerd.sock", ""}, ""},
		{"no maps", needsCiliumMaps, "cilium", nil, notFound},
		{"maps", needsCiliumMaps, "cilium", []string{"sys/fs/bpf/tc/globals/cilium_lb4", ""}, ""},
		{"no agent", needsCiliumAgent, "cilium", nil, notFound},
		{"agent", needsCiliumAgent, "cilium", []string{"var/run/cilium/cilium.sock", ""}, ""},
	} {
		h := newHost(Options{Root: fakeRoot(t, host1(c.have...)), Path: bin})
		if because, detail := c.gate(h, c.exe); because != c.want || (because == "") != (detail == "") {
			t.Errorf("%s: %s (%s), want %q", c.name, because, detail, c.want)
		}
	}
}

func TestModules(t *testing.T) {
	h := newHost(Options{Root: fakeRoot(t, map[string]string{"proc/uptime": "1"})})
	if !h.module("tcp_diag") {
		t.Error("a kernel without modules can load none")
	}
	if got := newIn([]string{"a", "b", "c"}, []string{"a", "c"}); !slices.Equal(got, []string{"b"}) {
		t.Errorf("%q", got)
	}
}

// TestLoadedWhileRecording: what no gate foresaw is at least said.
func TestLoadedWhileRecording(t *testing.T) {
	root := fakeRoot(t, host1("proc/modules", "a 1\n"))
	g := record(t, Options{Root: root, Privileged: true, Path: fakeTools(t, map[string]string{"loads": "echo 'b 1' >>" + root + "/proc/modules"}), spaces: self(), table: []item{command("loads")}})
	if len(g.Warnings) != 1 || !strings.HasSuffix(g.Warnings[0], ": b") {
		t.Errorf("%q", g.Warnings)
	}
}

func TestPlan(t *testing.T) {
	ran := filepath.Join(t.TempDir(), "ran")
	tools := fakeTools(t, map[string]string{"iptables-save": "touch " + ran, "crictl": "touch " + ran})
	p := MakePlan(context.Background(), Options{Root: fakeRoot(t, host1("proc/thread-self/net/tcp", "sl\n")), Path: tools, spaces: self()}, true)
	if p.Host != "node-1" || len(p.Steps) != len(table) || !slices.Equal(p.Namespaces, []string{"4026531840 node-1"}) {
		t.Fatalf("%+v", p)
	}
	for i, s := range p.Steps {
		if s.Name != table[i].name || s.How == "" || s.Why != table[i].why || s.Deadline == 0 || s.Limit == 0 {
			t.Errorf("%+v", s)
		}
		there := strings.HasPrefix(s.Name, "ip-") || s.Name == "proxies" || strings.HasPrefix(s.Name, "proc-net-tcp") && !strings.Contains(s.Name, "6")
		if (s.Because == "") != there || s.Rows >= 0 {
			t.Errorf("%+v", s)
		}
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("a plan ran a command")
	}
}

func TestJudgePermission(t *testing.T) {
	it := item{file: "net/ip_vs"}
	if because, detail := it.judge(ended{err: &os.PathError{Op: "open", Path: "x", Err: os.ErrPermission}}, 0); because != permission || !strings.HasPrefix(detail, "/proc/net/ip_vs: ") {
		t.Errorf("%s %s", because, detail)
	}
}

func TestFolder(t *testing.T) {
	for name, want := range map[string]string{"node-1.example.org": "node-1.example.org", "": "host", ".": "host.", "..": "host..", "._x": "host._x", "a/b c": "a_b_c", "cluster": "host-cluster", "pods": "host-pods", "Ä": "_"} {
		if got := folder(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func TestPlain(t *testing.T) {
	if got := plain(" a\n\tb\x1b[31m \x00c\xff "); got != "a b[31m c?" {
		t.Errorf("%q", got)
	}
	if got := plain(strings.Repeat("ä", 400)); len([]rune(got)) != 304 {
		t.Errorf("%d", len(got))
	}
}
