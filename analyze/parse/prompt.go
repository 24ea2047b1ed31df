package parse

import (
	"bytes"
	"path"
	"regexp"
	"strings"

	"whichbackend/analyze/record"
)

// prompt is a shell prompt with its command line in a pasted transcript.
type prompt struct {
	command string
	words   []string     // of the command that printed, without what it was wrapped in
	scope   record.Scope // where the command ran, as far as the line tells
	listing bool         // the command prints something that a format may know
}

var (
	promptUserHost = regexp.MustCompile(`^(?:\([\w.:@/-]+\) ?)?[\w.-]+@([\w.-]+)[: ]?[^#$%>|"]{0,80}[#$%] ?(.*)$`)
	promptBracket  = regexp.MustCompile(`^\[[\w.-]+@([\w.-]+) [^\]]{0,80}\][#$%] ?(.*)$`)
	promptShell    = regexp.MustCompile(`^(?:(?:sh|bash|ash|zsh)-[\d.]+|[~/][\w./~-]*) ?[#$] ?(.*)$`)
	promptHostPath = regexp.MustCompile(`^([\w.-]+):[~/][\w./~-]* [#$] *(.*)$`)
	promptWatch    = regexp.MustCompile(`^Every [\d.]+s: (.*?)(?:  .*)?$`)
	promptBare     = regexp.MustCompile(`^[#$%>+] ?((?:sudo +)?([\w./-]+).*)$`)
)

// parsePrompt tells whether a line is a prompt, and reads it.
func parsePrompt(b []byte) (prompt, bool) {
	if len(b) < 2 || len(b) > 2000 {
		return prompt{}, false
	}
	if bytes.HasPrefix(b, []byte("Every ")) { // the heading that watch prints
		if m := promptWatch.FindStringSubmatch(string(b)); m != nil {
			return ranOn("", m[1]), true
		}
	}
	if !bytes.ContainsAny(b[:min(len(b), 120)], "#$%>+") {
		return prompt{}, false
	}
	c := b[0]
	if c == ' ' || c == '\t' || c == '{' || c == '"' || c == '}' || c == '-' || c == ':' {
		return prompt{}, false
	}
	// No pattern matches without one of these. Rows with an arrow come by the
	// million, so this is worth a look before the patterns are tried.
	if strings.IndexByte("[~/#$%>+", c) < 0 && bytes.IndexByte(b, '@') < 0 && !bytes.Contains(b[:min(len(b), 5)], []byte("sh-")) &&
		!bytes.Contains(b[:min(len(b), 80)], []byte(":/")) && !bytes.Contains(b[:min(len(b), 80)], []byte(":~")) {
		return prompt{}, false
	}
	s := string(b)
	if m := promptUserHost.FindStringSubmatch(s); m != nil {
		return ranOn(m[1], m[2]), true
	}
	if m := promptBracket.FindStringSubmatch(s); m != nil {
		return ranOn(m[1], m[2]), true
	}
	if m := promptHostPath.FindStringSubmatch(s); m != nil {
		return ranOn(m[1], m[2]), true
	}
	if m := promptShell.FindStringSubmatch(s); m != nil {
		return ranOn("", m[1]), true
	}
	if m := promptBare.FindStringSubmatch(s); m != nil {
		word := m[2]
		if s[0] == '$' && s[1] == ' ' || knownCommand(path.Base(word)) {
			return ranOn("", m[1]), true
		}
	}
	return prompt{}, false
}

// listingCommands print listings or files that hold some.
var listingCommands = map[string]bool{
	"netstat": true, "ss": true, "conntrack": true, "ipvsadm": true, "ip": true, "iptables-save": true,
	"ip6tables-save": true, "iptables": true, "ip6tables": true, "iptables-legacy-save": true, "iptables-nft-save": true,
	"nft": true, "docker": true, "podman": true, "kubectl": true, "oc": true, "crictl": true, "cilium": true,
	"cilium-dbg": true, "istioctl": true, "curl": true, "wget": true, "cat": true, "zcat": true, "grep": true,
	"egrep": true, "tail": true, "head": true, "lsns": true, "pilot-agent": true, "jq": true, "less": true, "more": true,
	"busybox": true, "ovs-appctl": true, "hubble": true, "k": true, "calicoctl": true, "journalctl": true, "sysctl": true,
}

// wrapperCommands run another command, perhaps in another scope.
var wrapperCommands = map[string]bool{"sudo": true, "ssh": true, "nsenter": true, "watch": true, "time": true, "timeout": true, "nerdctl": true, "microk8s": true, "k3s": true, "minikube": true}

func knownCommand(word string) bool { return listingCommands[word] || wrapperCommands[word] }

// ranOn reads a command line typed on a host.
func ranOn(host, command string) prompt {
	p := prompt{command: strings.TrimSpace(command), scope: record.Scope{Host: host, Kind: record.ScopeHost}}
	words := shellWords(p.command)
	p.read(words)
	return p
}

// shellWords splits a command line up to the first pipe, separator or
// redirection. Quotes group; nothing is expanded.
func shellWords(s string) []string {
	var words []string
	var w strings.Builder
	var quote rune
	inWord := false
	flush := func() {
		if inWord {
			words = append(words, w.String())
			w.Reset()
			inWord = false
		}
	}
	for _, c := range s {
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			} else {
				w.WriteRune(c)
			}
		case c == '\'' || c == '"':
			quote, inWord = c, true
		case c == ' ' || c == '\t':
			flush()
		case c == '|' || c == ';' || c == '>' || c == '&':
			flush()
			return words
		default:
			w.WriteRune(c)
			inWord = true
		}
	}
	flush()
	return words
}

// read follows wrappers (sudo, ssh, nsenter, docker exec, kubectl exec, ip
// netns exec) to the command that printed the listing, and notes its scope.
func (p *prompt) read(words []string) {
	for depth := 0; len(words) > 0 && depth < 8; depth++ {
		if strings.Contains(words[0], "=") && !strings.HasPrefix(words[0], "-") {
			words = words[1:]
			continue
		}
		name, rest := path.Base(words[0]), words[1:]
		switch name {
		case "sudo":
			words = skipFlags(rest, "u", "g", "p")
		case "watch", "time", "microk8s", "k3s", "minikube":
			words = skipFlags(rest, "n", "p")
		case "timeout":
			if rest = skipFlags(rest, "s", "k"); len(rest) > 0 {
				words = rest[1:]
			} else {
				return
			}
		case "ssh":
			rest = skipFlags(rest, "i", "p", "l", "o", "F", "J")
			if len(rest) == 0 {
				return
			}
			host := rest[0][strings.LastIndexByte(rest[0], '@')+1:]
			p.scope = record.Scope{Host: host, Kind: record.ScopeHost}
			words = rest[1:]
			if len(words) == 1 {
				words = shellWords(words[0])
			}
		case "nsenter":
			words = p.nsenter(rest)
		case "ip":
			if i := indexOf(rest, "exec"); i > 0 && strings.HasPrefix("netns", rest[i-1]) && i+1 < len(rest) {
				p.scope = record.Scope{Host: p.scope.Host, Kind: record.ScopeNetns, Name: rest[i+1]}
				words = rest[i+2:]
				continue
			}
			p.listing = true
			return
		case "docker", "podman", "nerdctl", "crictl":
			next, ok := p.containerExec(rest)
			if !ok {
				return
			}
			words = next
		case "kubectl", "oc", "k":
			next, ok := p.kubectl(rest)
			if !ok {
				return
			}
			words = next
		case "istioctl":
			p.istioctl(rest)
			return
		case "sh", "bash", "ash":
			if len(rest) == 2 && strings.HasSuffix(rest[0], "c") {
				words = shellWords(rest[1])
				continue
			}
			return
		default:
			p.words, p.listing = words, listingCommands[name]
			return
		}
	}
}

// skipFlags drops leading flags, and the values of those that take one.
func skipFlags(words []string, valued ...string) []string {
	for len(words) > 0 && strings.HasPrefix(words[0], "-") && words[0] != "-" {
		flag := strings.TrimLeft(words[0], "-")
		words = words[1:]
		if flag == "" {
			return words
		}
		for _, v := range valued {
			if flag == v && len(words) > 0 {
				words = words[1:]
				break
			}
		}
	}
	return words
}

func indexOf(words []string, w string) int {
	for i := range words {
		if words[i] == w {
			return i
		}
	}
	return -1
}

// nsenter reads the target of nsenter: a process or a namespace file.
func (p *prompt) nsenter(words []string) []string {
	pid, file := "", ""
	for len(words) > 0 && strings.HasPrefix(words[0], "-") {
		flag := words[0]
		words = words[1:]
		value := func() string {
			if i := strings.IndexByte(flag, '='); i >= 0 {
				return flag[i+1:]
			}
			if len(words) > 0 {
				v := words[0]
				words = words[1:]
				return v
			}
			return ""
		}
		switch {
		case flag == "--":
			goto done
		case strings.HasPrefix(flag, "--net="), strings.HasPrefix(flag, "-n="):
			file = value()
		case strings.HasPrefix(flag, "-n/"):
			file = flag[2:]
		case flag == "-t", strings.HasPrefix(flag, "--target"):
			pid = value()
		case strings.HasPrefix(flag, "-t") && len(flag) > 2 && flag[2] >= '0' && flag[2] <= '9':
			pid = flag[2:]
		case flag == "-S", flag == "-G", flag == "-W", flag == "--wd":
			value()
		}
	}
done:
	switch {
	case file != "":
		p.scope = record.Scope{Host: p.scope.Host, Kind: record.ScopeNetns, Name: path.Base(file)}
	case pid == "1":
		p.scope = record.Scope{Host: p.scope.Host, Kind: record.ScopeHost}
	case pid != "":
		p.scope = record.Scope{Host: p.scope.Host, Kind: record.ScopePID, Name: pid}
	}
	return words
}

// dockerListings are the subcommands that list or show objects.
var dockerListings = map[string]bool{"ps": true, "pods": true, "ls": true, "inspect": true, "inspectp": true, "network": true, "service": true,
	"node": true, "stack": true, "port": true, "info": true, "version": true, "logs": true, "images": true}

// containerExec reads docker exec and its likes. ok is false for any other
// subcommand, which lists something of the host.
func (p *prompt) containerExec(words []string) (rest []string, ok bool) {
	words = skipFlags(words, "H", "n", "host", "context", "namespace", "r")
	if len(words) > 1 && words[0] == "container" {
		words = words[1:]
	}
	if len(words) == 0 || words[0] != "exec" {
		p.listing = len(words) > 0 && dockerListings[words[0]] && (len(words) == 1 || words[0] != "stack" && words[0] != "service" || words[1] != "deploy" && words[1] != "create" && words[1] != "update" && words[1] != "scale" && words[1] != "rm")
		return nil, false
	}
	words = skipFlags(words[1:], "u", "e", "w", "user", "env", "workdir")
	if len(words) == 0 {
		return nil, true
	}
	p.scope = record.Scope{Host: p.scope.Host, Kind: record.ScopeContainer, Name: words[0]}
	return words[1:], true
}

// kubectl reads kubectl exec and logs; everything else speaks of the cluster.
func (p *prompt) kubectl(words []string) (rest []string, ok bool) {
	var inner, plain []string
	namespace := ""
	if i := indexOf(words, "--"); i >= 0 {
		words, inner = words[:i], words[i+1:]
	}
	for i := 0; i < len(words); i++ {
		w := words[i]
		switch {
		case w == "-n" || w == "--namespace":
			if i++; i < len(words) {
				namespace = words[i]
			}
		case strings.HasPrefix(w, "--namespace="):
			namespace = strings.TrimPrefix(w, "--namespace=")
		case strings.HasPrefix(w, "-n="):
			namespace = w[3:]
		case w == "-c" || w == "--container" || w == "--context" || w == "--kubeconfig" || w == "-l" || w == "-o" || w == "-s":
			i++
		case strings.HasPrefix(w, "-"):
		default:
			plain = append(plain, w)
		}
	}
	if len(plain) == 0 {
		return nil, false
	}
	pod := ""
	if len(plain) > 1 {
		pod = strings.TrimPrefix(strings.TrimPrefix(plain[1], "pod/"), "pods/")
		if strings.Contains(pod, "/") {
			pod = "" // a controller: which of its pods answered is not said
		}
	}
	switch plain[0] {
	case "exec":
		if inner == nil && len(plain) > 2 {
			inner = plain[2:]
		}
		p.scope = record.Scope{Kind: record.ScopePod, Namespace: namespace, Name: pod}
		return inner, true
	case "logs":
		p.scope = record.Scope{Kind: record.ScopePod, Namespace: namespace, Name: pod}
		p.listing = true
	case "get", "describe":
		p.scope = record.Scope{Kind: record.ScopeCluster}
		p.listing = true
	default:
		p.scope = record.Scope{Kind: record.ScopeCluster}
	}
	return nil, false
}

// istioctl reads the pod of istioctl proxy-config TABLE POD[.NAMESPACE].
func (p *prompt) istioctl(words []string) {
	p.listing = true
	p.scope = record.Scope{Kind: record.ScopeCluster}
	var plain []string
	namespace := ""
	for i := 0; i < len(words); i++ {
		switch w := words[i]; {
		case w == "-n" || w == "--namespace":
			if i++; i < len(words) {
				namespace = words[i]
			}
		case w == "-o" || w == "--fqdn" || w == "--port" || w == "--cluster":
			i++
		case strings.HasPrefix(w, "-"):
		default:
			plain = append(plain, w)
		}
	}
	if len(plain) < 3 || plain[0] != "proxy-config" && plain[0] != "pc" {
		return
	}
	pod := strings.TrimPrefix(plain[2], "pod/")
	if strings.Contains(pod, "/") {
		return
	}
	if i := strings.LastIndexByte(pod, '.'); i > 0 && namespace == "" {
		pod, namespace = pod[:i], pod[i+1:]
	}
	p.scope = record.Scope{Kind: record.ScopePod, Namespace: namespace, Name: pod}
}

var noisePrefixes = []string{
	"Defaulted container ", "Defaulting container name ", "Unable to use a TTY", "command terminated with exit code",
	"If you don't see a command prompt", "```", "^C", "(No info could be read for", "(Not all processes could be identified",
	"will not be shown, you would have to be root", "Use 'kubectl describe", "[sudo] password", "Trying ", "Connected to ",
	"Escape character is", "Connection closed by foreign host", "error: Internal error occurred", "No resources found",
	"Warning: ", "# ", "<?xml ",
}

// noise tells lines that tools and people add around listings. It is asked
// after the formats.
func noise(b []byte) bool {
	if len(b) == 0 || b[0] >= '0' && b[0] <= '9' {
		return false
	}
	for _, p := range noisePrefixes {
		if len(b) >= len(p) && string(b[:len(p)]) == p {
			return true
		}
	}
	return false
}
