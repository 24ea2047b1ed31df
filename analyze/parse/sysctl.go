package parse

import (
	"bytes"
	"path"
	"strings"

	"whichbackend/analyze/record"
)

// Settings and counts of the kernel: sysctl (procps 4.0.2), /proc/sys as grep
// and head print it, and one file of it where the command is known:
//
//	net.netfilter.nf_conntrack_max = 262144
//	/proc/sys/net/netfilter/nf_conntrack_max:262144
//
// What has nothing to do with connections is known and says nothing.
var sysctlFormat = Format{Name: "sysctl", Head: sysctlHead, Open: sysctlOpen, Prints: sysctlPrints}

// sysctlRoots are the folders of /proc/sys.
var sysctlRoots = []string{"abi.", "crypto.", "debug.", "dev.", "fs.", "fscache.", "kernel.", "net.", "sunrpc.", "user.", "vm."}

const procSys = "/proc/sys/"

// sysctlWanted are the settings that tell something of connections: whole
// names, and what ends in a dot, or *, is the begin of some.
var sysctlWanted = []string{
	"net.netfilter.nf_conntrack_*", "net.nf_conntrack_max", "net.ipv4.netfilter.ip_conntrack_*", "net.ipv4.vs.*",
	"net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding",
	"net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_tw_reuse",
	"net.ipv4.tcp_max_tw_buckets", "net.ipv4.tcp_max_syn_backlog", "net.ipv4.tcp_syncookies", "net.core.somaxconn",
}

func sysctlHead(b []byte) bool {
	if len(b) < 8 || b[0] != '/' && (b[0] < 'a' || b[0] > 'v') {
		return false
	}
	name, _, ok := sysctlLine(b)
	return ok && name != "" || bytes.HasPrefix(b, []byte("sysctl: "))
}

// sysctlLine reads NAME = VALUE, or the same as a file of /proc/sys.
func sysctlLine(b []byte) (name, value string, ok bool) {
	if b[0] == '/' {
		if !bytes.HasPrefix(b, []byte(procSys)) {
			return "", "", false
		}
		file, value, ok := strings.Cut(string(b[len(procSys):]), ":")
		name := strings.ReplaceAll(file, "/", ".")
		return name, value, ok && sysctlName(name)
	}
	i := bytes.IndexByte(b[:min(len(b), 200)], '=')
	if i < 3 || b[i-1] != ' ' || i+1 < len(b) && b[i+1] != ' ' {
		return "", "", false
	}
	name = string(bytes.TrimRight(b[:i], " "))
	return name, strings.TrimSpace(string(b[i+1:])), sysctlName(name)
}

func sysctlName(name string) bool {
	if strings.ContainsAny(name, " \t\"'(){}[],;:") || strings.HasSuffix(name, ".") {
		return false
	}
	for _, root := range sysctlRoots {
		if strings.HasPrefix(name, root) {
			return true
		}
	}
	return false
}

// sysctlAsked is the one setting whose value a command prints alone.
func sysctlAsked(words []string) string {
	var plain []string
	bare := false
	for _, w := range words[1:] {
		switch {
		case w == "-n" || w == "--values":
			bare = true
		case strings.HasPrefix(w, "-"):
			return ""
		default:
			plain = append(plain, w)
		}
	}
	if len(plain) != 1 {
		return ""
	}
	name := plain[0]
	switch path.Base(words[0]) {
	case "cat":
		file, ok := strings.CutPrefix(name, procSys)
		if !ok {
			return ""
		}
		name = strings.ReplaceAll(file, "/", ".")
	case "sysctl":
		if !bare {
			return ""
		}
		name = strings.ReplaceAll(name, "/", ".")
	default:
		return ""
	}
	if !sysctlName(name) || strings.ContainsAny(name, "*?") {
		return ""
	}
	return name
}

func sysctlPrints(words []string, line []byte) bool {
	return sysctlAsked(words) != "" && len(line) > 0 && line[0] >= '0' && line[0] <= '9'
}

func sysctlOpen(out *Out) (func([]byte), func()) {
	asked := ""
	if words := ranOn("", out.Command()).words; len(words) > 0 {
		asked = sysctlAsked(words)
	}
	return func(raw []byte) {
		b := bytes.TrimSpace(raw)
		if len(b) == 0 {
			return
		}
		name, value, ok := sysctlLine(b)
		switch {
		case ok:
			sysctlEmit(out, name, value)
		case bytes.HasPrefix(b, []byte("sysctl: ")):
			out.Ignore() // a setting that may not be read, or is not there
		case asked != "":
			sysctlEmit(out, asked, string(b))
			asked = ""
		}
	}, nil
}

func sysctlEmit(out *Out, name, value string) {
	for _, w := range sysctlWanted {
		begin, open := strings.CutSuffix(w, "*")
		if name != w && !(open && strings.HasPrefix(name, begin)) {
			continue
		}
		n, _ := number([]byte(value))
		out.Reading(record.Reading{Name: name[strings.LastIndexByte(name, '.')+1:], Value: value, Number: readingNumber(n)})
		return
	}
	out.Ignore()
}
