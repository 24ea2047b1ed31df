package parse

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"

	"whichbackend/analyze/record"
)

// iptables -L, with or without -n, -v and --line-numbers, as in
//
//	Chain KUBE-SERVICES (2 references)
//	 pkts bytes target     prot opt in     out     source               destination
//	   17  1020 KUBE-SVC-P4Q3KNUAWJVP4ILH  6    --  *      *       0.0.0.0/0            10.96.51.37          /* default/nginx:http cluster IP */ tcp dpt:80
//
// (iptables 1.8.9, which prints protocols as numbers under -n). The listing
// does not name its table.

func iptablesListHead(b []byte) bool {
	if len(b) < 12 {
		return false
	}
	switch b[0] {
	case 'C':
		return bytes.HasPrefix(b, []byte("Chain ")) && b[len(b)-1] == ')' &&
			(bytes.Contains(b, []byte(" (policy ")) || bytes.HasSuffix(b, []byte(" references)")))
	case 't', 'p', 'n':
		_, ok := iptablesColumns(b)
		return ok
	case 'K', 'D', 'R':
		return iptablesListRow(b)
	}
	if b[0] >= '0' && b[0] <= '9' {
		return iptablesListRow(b)
	}
	return false
}

// iptablesListRow tells a row that lost its header: counters, a target that
// only iptables has, a protocol and the column of options.
func iptablesListRow(b []byte) bool {
	for n := 0; n < 3; n++ {
		i := 0
		for i < len(b) && b[i] >= '0' && b[i] <= '9' {
			i++
		}
		if i > 0 && i < len(b) && (b[i] == 'K' || b[i] == 'M' || b[i] == 'G') && n > 0 {
			i++
		}
		if i == 0 || i == len(b) || b[i] != ' ' {
			break
		}
		b = bytes.TrimLeft(b[i:], " ")
	}
	if !bytes.HasPrefix(b, []byte("KUBE-")) && !bytes.HasPrefix(b, []byte("DNAT ")) && !bytes.HasPrefix(b, []byte("REDIRECT ")) &&
		!bytes.HasPrefix(b, []byte("DOCKER")) {
		return false
	}
	var buf [8][]byte
	f := fields(b[:min(len(b), 120)], buf[:])
	return len(f) > 4 && string(f[2]) == "--"
}

// iptablesLayout says which columns come before the target.
type iptablesLayout struct{ number, counters, interfaces bool }

func iptablesColumns(b []byte) (l iptablesLayout, ok bool) {
	if b[0] != 't' && b[0] != 'p' && b[0] != 'n' {
		return l, false
	}
	var buf [12][]byte
	f := fields(b[:min(len(b), 200)], buf[:])
	if len(f) > 0 && string(f[0]) == "num" {
		l.number = true
		f = f[1:]
	}
	if len(f) > 2 && string(f[0]) == "pkts" && string(f[1]) == "bytes" {
		l.counters = true
		f = f[2:]
	}
	if len(f) < 5 || string(f[0]) != "target" || string(f[1]) != "prot" || string(f[2]) != "opt" {
		return l, false
	}
	l.interfaces = string(f[3]) == "in"
	return l, string(f[len(f)-1]) == "destination"
}

type iptablesList struct {
	out    *Out
	set    rulesSet
	table  *rulesTable
	chain  string
	layout iptablesLayout
	header bool // layout was read
}

func openIptablesList(out *Out) (func([]byte), func()) {
	p := &iptablesList{out: out}
	return p.line, func() { p.set.walk(out) }
}

func (p *iptablesList) line(b []byte) {
	b = bytes.TrimSpace(b)
	if len(b) == 0 {
		p.out.Ignore()
		return
	}
	if p.table == nil {
		p.begin()
	}
	if bytes.HasPrefix(b, []byte("Chain ")) {
		p.heading(b)
		return
	}
	if l, ok := iptablesColumns(b); ok {
		p.layout, p.header = l, true
		p.out.Understood()
		return
	}
	if bytes.HasPrefix(b, []byte("```")) || bytes.HasPrefix(b, []byte("# Warning")) {
		p.out.Ignore()
		return
	}
	p.row(string(b))
}

func (p *iptablesList) begin() {
	command := p.out.Command()
	name := ""
	if _, rest, ok := strings.Cut(command+" ", "-t "); ok {
		if word, _, _ := strings.Cut(strings.TrimLeft(rest, " "), " "); iptablesTables[word] {
			name = word
		}
	}
	p.table = p.set.open(name, strings.Contains(command, "ip6tables"))
}

// heading reads "Chain INPUT (policy ACCEPT 0 packets, 0 bytes)" or "Chain
// DOCKER (2 references)". A chain that comes again is of another table.
func (p *iptablesList) heading(b []byte) {
	f := fields(b, nil)
	if len(f) < 3 || f[2][0] != '(' {
		p.out.Problem("expected Chain NAME (policy ...) or (N references)")
		return
	}
	p.chain = string(f[1])
	if p.table.chains[p.chain] != nil {
		p.begin()
	}
	p.set.chain(p.table, p.chain)
	p.out.Understood()
}

func (p *iptablesList) row(s string) {
	r := &rulesRule{pos: record.Pos{Line: p.out.Line()}, probability: 1}
	if before, rest, ok := strings.Cut(s, "/* "); ok {
		if i := strings.LastIndex(rest, " */"); i >= 0 {
			r.comment = rest[:i]
			s = before + rest[i+3:]
		} else {
			p.out.Problem("the comment is not closed")
			return
		}
	}
	words, why := p.columns(r, strings.Fields(s))
	if why != "" {
		p.out.Problem(why)
		return
	}
	hidden := iptablesExtra(r, words)
	matters := p.set.add(p.table, p.chain, r)
	matters = matters || p.chain == "" && p.table.kubeChainKind(r.target) >= kubeChainService
	switch {
	case !matters:
		p.out.Ignore()
	case hidden != "":
		p.out.Problem(hidden)
	default:
		p.out.Understood()
	}
}

// columns reads what comes before the words of matches and targets.
func (p *iptablesList) columns(r *rulesRule, f []string) (rest []string, why string) {
	l := p.layout
	if !p.header {
		l = iptablesGuess(f)
	}
	if skip := l.width(); len(f) < skip+3 {
		return nil, "too few columns for a rule"
	} else {
		for _, n := range f[:skip] {
			if n[0] < '0' || n[0] > '9' {
				return nil, "expected numbers before the target"
			}
		}
		f = f[skip:]
	}
	r.target, f = iptablesTarget(f)
	need := 3
	if l.interfaces {
		need = 5
	}
	if len(f) < need {
		return nil, "too few columns for a rule"
	}
	protocol, ok := iptablesProtocol(f[0])
	if !ok {
		return nil, "the protocol is not known"
	}
	r.protocol = protocol
	r.other = strings.HasPrefix(f[0], "!")
	f = f[1:]
	if l.interfaces {
		if f[0] != "*" && f[0] != "any" {
			r.in, r.inNot = strings.CutPrefix(f[0], "!")
		}
		f = f[2:]
	}
	p.table.v6 = p.table.v6 || f[0] == "::/0" || f[1] == "::/0"
	okSource, okDestination := false, false
	r.source, r.sourceNot, okSource = iptablesAddress(f[0])
	r.destination, r.destinationNot, okDestination = iptablesAddress(f[1])
	r.other = r.other || !okSource || !okDestination
	r.unclear = !okDestination // a name: the rule's address is not known
	return f[2:], ""
}

// iptablesTarget takes the target, which may be empty, and the column of
// options, which old ip6tables leaves blank.
func iptablesTarget(f []string) (target string, rest []string) {
	for i := 1; i < 3; i++ {
		if f[i] != "--" && f[i] != "-f" && f[i] != "!f" {
			continue
		}
		if i == 2 {
			target = f[0]
		}
		return target, append([]string{f[i-1]}, f[i+1:]...)
	}
	if _, ok := iptablesProtocol(f[0]); ok {
		return "", f
	}
	return f[0], f[1:]
}

func (l iptablesLayout) width() (n int) {
	if l.number {
		n++
	}
	if l.counters {
		n += 2
	}
	return n
}

// iptablesGuess tells the columns of rows without a header, by the counters
// before the target.
func iptablesGuess(f []string) (l iptablesLayout) {
	n := 0
	for n < len(f) && n < 3 && f[n][0] >= '0' && f[n][0] <= '9' {
		n++
	}
	l.number = n == 1 || n == 3
	l.counters = n >= 2
	l.interfaces = l.counters
	return l
}

func iptablesProtocol(s string) (record.Protocol, bool) {
	s = strings.TrimPrefix(s, "!")
	switch s {
	case "all", "0", "esp", "ah", "vrrp", "ospf", "igmp", "ipencap", "ipv6-icmp", "icmpv6", "ipv6":
		return 0, true
	}
	return protocolNumber(s)
}

func iptablesAddress(s string) (p netip.Prefix, not, ok bool) {
	s, not = strings.CutPrefix(s, "!")
	switch s {
	case "anywhere":
		return netip.Prefix{}, not, true
	case "localhost", "loopback/8":
		s = "127.0.0.0/8"
	}
	p, ok = rulesPrefix(s)
	return p, not, ok
}

// iptablesExtra reads the words of matches and targets. hidden says why the
// text is not enough to know what the rule matches, "" otherwise.
func iptablesExtra(r *rulesRule, f []string) (hidden string) {
	if r.unclear {
		hidden = "the destination is a name; list with -n"
	}
	not := false
	for i := 0; i < len(f); i++ {
		if f[i] == "!" {
			not = true
			continue
		}
		var rest [3]string // the words that follow
		copy(rest[:], f[i+1:])
		used, why := iptablesMatchWords(r, f[i], rest, not)
		if used < 0 {
			used, why = iptablesTargetWords(r, f[i], rest)
		}
		if why != "" {
			hidden = why
		}
		if used < 0 {
			used = 0
			r.other = r.other || !iptablesWordNeutral[f[i]]
		}
		i += used
		not = false
	}
	return hidden
}

// iptablesMatchWords reads one word of a match. used is how many of the rest
// belong to it, -1 when it is no match that matters.
func iptablesMatchWords(r *rulesRule, word string, rest [3]string, not bool) (used int, why string) {
	if name, value, ok := strings.Cut(word, ":"); ok && (name == "dpt" || name == "dpts") {
		return 0, iptablesDport(r, value)
	}
	switch word {
	case "dports":
		return 1, iptablesDport(r, rest[0])
	case "dst-type":
		r.other = r.other || rest[0] != "LOCAL" || not
		return 1, ""
	case "src-type":
		r.sourceLocal = rest[0] == "LOCAL" && !not
		r.other = r.other || !r.sourceLocal
		return 1, ""
	case "probability":
		p, err := strconv.ParseFloat(rest[0], 64)
		if err != nil || !(p >= 0 && p <= 1) {
			r.probabilityUnknown = true
			return 1, "the probability is no number from 0 to 1"
		}
		r.probability = p
		return 1, ""
	case "every":
		if n, err := strconv.Atoi(rest[0]); err == nil && n > 0 {
			r.probability = 1 / float64(n)
		}
		return 1, ""
	case "match-set", "destination":
		r.other, r.unclear = true, true
		return 2, ""
	case "CHECK", "UPDATE":
		r.recent = true
		return 0, ""
	case "name:", "side:", "mask:", "seconds:", "nfacct-name", "mode", "packet":
		return 1, ""
	case "ctstate", "state":
		r.other = r.other || not || !strings.Contains(rest[0], "NEW")
		return 1, ""
	}
	return -1, ""
}

// iptablesTargetWords reads one word of a target, like iptablesMatchWords.
func iptablesTargetWords(r *rulesRule, word string, rest [3]string) (used int, why string) {
	var ok bool
	switch {
	case strings.HasPrefix(word, "to:") && r.target == "DNAT":
		r.to, ok = rulesTo(word[3:])
		return 0, iptablesWhy(ok, "the new destination is no address")
	case word == "redir" && rest[0] == "ports":
		r.toPort, ok = port([]byte(rest[1]))
		return 2, iptablesWhy(ok, "the new port is no number")
	case word == "TPROXY" && rest[0] == "redirect":
		a, ok := addressPort([]byte(rest[1]))
		r.toPort = a.Port()
		return 2, iptablesWhy(ok, "the proxy's address is no address")
	case word == "MARK" && (rest[0] == "set" || rest[0] == "xset"):
		r.mark, r.markWhole, ok = rulesMark(rest[1])
		return 2, iptablesWhy(ok, "the mark is no number")
	case word == "MARK", word == "CONNMARK":
		return 2, ""
	}
	return -1, ""
}

var iptablesWordNeutral = map[string]bool{"tcp": true, "udp": true, "sctp": true, "multiport": true, "ADDRTYPE": true, "match": true,
	"statistic": true, "recent:": true, "SET": true, "reap": true, "random-fully": true, "random": true, "persistent": true, "[goto]": true}

func iptablesDport(r *rulesRule, value string) (why string) {
	value, not := strings.CutPrefix(value, "!")
	list, ok := rulesPortList(value)
	if !ok {
		r.unclear = true
		return "the port is a name; list with -n"
	}
	r.ports, r.portsNot = list, r.portsNot || not
	return ""
}
