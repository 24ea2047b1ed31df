package collect

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
)

// A command that only lists can still load a kernel module: the kernel does it
// by itself when a program asks for a protocol that is in none. So a command
// runs only when what it asks for is there. A gate tells why it must not run;
// because is "" when it may.
type gate func(h *host, exe string) (because, detail string)

// module tells whether a module is loaded, built in, or cannot be loaded by
// anything, so that asking for it is harmless.
func (h *host) module(name string) bool {
	if !h.exists("proc/modules") && !h.exists("proc/sys/kernel/modprobe") {
		return true // a kernel without modules
	}
	if h.word("proc/sys/kernel/modules_disabled") == "1" || h.exists("sys/module/"+name) {
		return true
	}
	if b, _ := os.ReadFile(h.file("proc/modules")); bytes.Contains(append([]byte("\n"), b...), []byte("\n"+name+" ")) {
		return true
	}
	built, _ := os.ReadFile(h.file("lib/modules", h.kernel, "modules.builtin"))
	built = bytes.ReplaceAll(built, []byte("-"), []byte("_"))
	return bytes.Contains(built, []byte("/"+name+".ko\n"))
}

// loaded names the modules that are loaded now.
func (h *host) loaded() []string {
	b, _ := os.ReadFile(h.file("proc/modules"))
	var names []string
	for line := range strings.Lines(string(b)) {
		name, _, _ := strings.Cut(line, " ")
		names = append(names, name)
	}
	return names
}

// newIn gives what stands in after and not in before.
func newIn(after, before []string) (names []string) {
	had := map[string]bool{}
	for _, n := range before {
		had[n] = true
	}
	for _, n := range after {
		if !had[n] {
			names = append(names, n)
		}
	}
	return names
}

// needs refuses a command that would load a module. Instead says what tells
// the same.
func needs(module, instead string) gate {
	return func(h *host, exe string) (string, string) {
		if h.module(module) {
			return "", ""
		}
		return excluded, "asking for it would load the kernel module " + module + "; " + instead
	}
}

// needsConntrack: the table is nf_conntrack's, and nf_conntrack_netlink prints it.
func needsConntrack(h *host, exe string) (string, string) {
	if !h.exists("proc/sys/net/netfilter/nf_conntrack_count") && !h.exists("proc/thread-self/net/nf_conntrack") {
		return notFound, "connections are not tracked here: nf_conntrack is not loaded"
	}
	return needs("nf_conntrack_netlink", "proc-net-nf_conntrack has the same table where the kernel offers it")(h, exe)
}

// needsIPVS: asking for its netlink family would load the module.
func needsIPVS(h *host, _ string) (string, string) {
	if !h.exists("proc/thread-self/net/ip_vs") {
		return notFound, "no IPVS here: ip_vs is not loaded"
	}
	return "", ""
}

// needsRules serves iptables-save and ip6tables-save, each of which is one of
// two programs: the older asks ip_tables, the newer nf_tables. When the name
// behind the link does not tell which, both must be there.
func needsRules(names string) gate {
	return func(h *host, exe string) (because, detail string) {
		tables, err := os.ReadFile(h.net(names))
		older, newer := len(bytes.TrimSpace(tables)) > 0, h.module("nf_tables")
		base := filepath.Base(h.behind(exe))
		switch {
		case strings.Contains(base, "nft"):
			if !newer {
				return notFound, "no rules here: nf_tables is not loaded"
			}
			return needs("nft_compat", "nft-list-ruleset has the same rules where nft is installed")(h, exe)
		case os.IsPermission(err):
			return permission, "/proc/net/" + names + ": only root may read it; run as root"
		case strings.Contains(base, "legacy"), strings.HasSuffix(base, "tables-multi"):
			if !older {
				return notFound, "no rules here: /proc/net/" + names + " lists no table"
			}
		case !older && !newer:
			return notFound, "no rules here: neither ip_tables nor nf_tables is in use"
		case !older || !newer || !h.module("nft_compat"):
			return excluded, exe + ": does not tell by its name whether it would load ip_tables or nf_tables; record it by hand"
		}
		return "", ""
	}
}

// needsLegacyRules serves the older programs where both are installed: each
// shows only its own rules, and both may be in force.
func needsLegacyRules(names, usual string) gate {
	return func(h *host, exe string) (because, detail string) {
		if u := h.lookup(usual); u != "" && h.behind(u) == h.behind(exe) {
			return excluded, usual + " is the same program"
		}
		return needsRules(names)(h, exe)
	}
}

// needsNft: without nf_tables there are no rules to list.
func needsNft(h *host, _ string) (string, string) {
	if !h.module("nf_tables") {
		return notFound, "no rules here: nf_tables is not loaded"
	}
	return "", ""
}

// needsDocker: talking to the socket of a daemon that does not run would make
// systemd start it.
func needsDocker(h *host, _ string) (string, string) {
	if !h.exists("var/run/docker.sock") || !h.running("dockerd") && !h.exists("var/run/docker.pid") {
		return notFound, "no docker daemon runs on /var/run/docker.sock"
	}
	return "", ""
}

// needsCRI: crictl tries these sockets by itself, and says little when none is there.
func needsCRI(h *host, _ string) (string, string) {
	for _, s := range []string{"run/containerd/containerd.sock", "run/crio/crio.sock", "var/run/cri-dockerd.sock"} {
		if h.exists(s) {
			return "", ""
		}
	}
	return notFound, "no container runtime of Kubernetes listens here"
}

// needsCiliumMaps: reading them neither loads nor mounts anything.
func needsCiliumMaps(h *host, _ string) (string, string) {
	entries, err := os.ReadDir(h.file("sys/fs/bpf/tc/globals"))
	switch {
	case os.IsPermission(err):
		return permission, "/sys/fs/bpf: only root may read it; run as root"
	case err != nil:
		return notFound, "no maps of Cilium in /sys/fs/bpf/tc/globals"
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "cilium_") {
			return "", ""
		}
	}
	return notFound, "no maps of Cilium in /sys/fs/bpf/tc/globals"
}

func needsCiliumAgent(h *host, _ string) (string, string) {
	if !h.exists("run/cilium/cilium.sock") && !h.exists("var/run/cilium/cilium.sock") {
		return notFound, "no agent of Cilium listens on /var/run/cilium/cilium.sock"
	}
	return "", ""
}
