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
	matters = matters || p.chain == "" && p.table.kubeKind(r.target) >= kubeService
	switch {
	case !matters:
		p.out.Ignore()
	case hidden != "":
		p.out.Problem(hidden)
	default:
		p.out.Understood()
	}
}

// columns reads what comes before the words of matches and targets. The
// target may be empty, and old ip6tables leaves the column of options blank.
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
	opt := -1
	for i := 1; i < len(f) && i < 3; i++ {
		if f[i] == "--" || f[i] == "-f" || f[i] == "!f" {
			opt = i
			break
		}
	}
	_, isProtocol := iptablesProtocol(f[0])
	switch {
	case opt == 2:
		r.target, f = f[0], append([]string{f[1]}, f[3:]...)
	case opt == 1:
		f = append([]string{f[0]}, f[2:]...)
	case !isProtocol:
		r.target, f = f[0], f[1:]
	}
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
	if !okDestination {
		r.portsNot = true // a name: the rule's address is not known
	}
	return f[2:], ""
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
	if r.portsNot {
		hidden = "the destination is a name; list with -n"
	}
	not := false
	for i := 0; i < len(f); i++ {
		next := func(n int) string {
			if i+n < len(f) {
				return f[i+n]
			}
			return ""
		}
		word, value, _ := strings.Cut(f[i], ":")
		switch {
		case f[i] == "!":
			not = true
			continue
		case word == "dpt" || word == "dpts":
			if why := iptablesDport(r, value); why != "" {
				hidden = why
			}
		case f[i] == "dports":
			if why := iptablesDport(r, next(1)); why != "" {
				hidden = why
			}
			i++
		case word == "to" && r.target == "DNAT":
			r.to, _ = rulesTo(value)
		case f[i] == "redir" && next(1) == "ports":
			n, _ := port([]byte(next(2)))
			r.toPort = n
			i += 2
		case f[i] == "TPROXY" && next(1) == "redirect":
			a, _ := addressPort([]byte(next(2)))
			r.toPort = a.Port()
			i += 4
		case f[i] == "MARK" && (next(1) == "set" || next(1) == "xset"):
			r.mark, r.markWhole, _ = rulesMark(next(2))
			i += 2
		case f[i] == "MARK" || f[i] == "CONNMARK":
			i += 2
		case f[i] == "dst-type":
			r.other = r.other || next(1) != "LOCAL" || not
			i++
		case f[i] == "src-type":
			r.sourceLocal = next(1) == "LOCAL" && !not
			i++
		case f[i] == "probability":
			r.probability, hidden = iptablesShare(next(1), hidden)
			i++
		case f[i] == "every":
			if n, err := strconv.Atoi(next(1)); err == nil && n > 0 {
				r.probability = 1 / float64(n)
			}
			i++
		case f[i] == "CHECK" || f[i] == "UPDATE":
			r.recent = true
		case f[i] == "name:" || f[i] == "side:" || f[i] == "mask:" || f[i] == "seconds:" || f[i] == "nfacct-name" || f[i] == "mode" || f[i] == "packet":
			i++
		case f[i] == "ctstate" || f[i] == "state":
			r.other = r.other || not || !strings.Contains(next(1), "NEW")
			i++
		case iptablesWordNeutral[f[i]]:
		default:
			r.other = true
		}
		not = false
	}
	return hidden
}

var iptablesWordNeutral = map[string]bool{"tcp": true, "udp": true, "sctp": true, "multiport": true, "ADDRTYPE": true, "match": true,
	"statistic": true, "recent:": true, "SET": true, "reap": true, "random-fully": true, "random": true, "persistent": true, "[goto]": true}

func iptablesDport(r *rulesRule, value string) (why string) {
	value, not := strings.CutPrefix(value, "!")
	list, ok := rulesPortList(value)
	if !ok {
		r.portsNot = true
		return "the port is a name; list with -n"
	}
	r.ports, r.portsNot = list, r.portsNot || not
	return ""
}

func iptablesShare(s, hidden string) (float64, string) {
	p, err := strconv.ParseFloat(s, 64)
	if err != nil || !(p >= 0 && p <= 1) {
		return 1, "the probability is no number from 0 to 1"
	}
	return p, hidden
}
