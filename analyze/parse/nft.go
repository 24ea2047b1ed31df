package parse

import (
	"bytes"
	"strings"

	"whichbackend/analyze/record"
)

// nft list ruleset (also with -a), and the commands that nft -f reads, as in
//
//	table ip kube-proxy {
//		map service-ips {
//			type ipv4_addr . inet_proto . inet_service : verdict
//			elements = { 172.30.0.41 . tcp . 80 : goto service-ULMVA6XW-ns1/svc1/tcp/p80 }
//		}
//		chain service-ULMVA6XW-ns1/svc1/tcp/p80 {
//			numgen random mod 1 vmap { 0 : goto endpoint-5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80 }
//		}
//	}
//
// (nft 1.0.6). The tables of iptables-nft look alike, without the comments and
// with matches that nft has no words for ("xt match recent").

var nftFamilies = map[string]bool{"ip": true, "ip6": true, "inet": true, "arp": true, "bridge": true, "netdev": true}

func nftHead(b []byte) bool {
	if len(b) < 8 {
		return false
	}
	switch b[0] {
	case 't':
		return nftOpens(b, "table ") || nftRow(b, "tcp dport ", "tcp sport ", "th dport ")
	case 'c':
		return nftOpens(b, "chain ") || nftRow(b, "counter packets ", "ct state ", "ct status ")
	case 'm':
		return nftOpens(b, "map ") || nftRow(b, "meta l4proto ", "meta mark ", "meta random ", "masquerade fully-random")
	case 's':
		return nftOpens(b, "set ")
	case 'i':
		return nftRow(b, "ip daddr ", "ip saddr ", "ip6 daddr ", "ip6 saddr ", "iifname ")
	case 'u':
		return nftRow(b, "udp dport ", "udp sport ")
	case 'o':
		return nftRow(b, "oifname ")
	case 'n':
		return nftRow(b, "numgen random mod ", "numgen inc mod ")
	case 'e':
		return nftRow(b, "elements = {")
	case 'f':
		return nftRow(b, "fib daddr ", "fib saddr ", "flush table i", "flush ruleset")
	case 'a':
		return nftRow(b, "add table i", "add chain i", "add rule i", "add map i", "add set i", "add element i")
	case '#':
		return nftRow(b, "# Warning: table ")
	}
	return false
}

// nftRow tells a line that begins with one of some words and has more.
func nftRow(b []byte, begins ...string) bool {
	for _, s := range begins {
		if len(b) >= len(s) && string(b[:len(s)]) == s {
			return true
		}
	}
	return false
}

// nftOpens tells "WORD [FAMILY] NAME {", perhaps with a handle after it.
func nftOpens(b []byte, word string) bool {
	if !nftRow(b, word) {
		return false
	}
	if i := bytes.Index(b, []byte(" # handle ")); i > 0 {
		b = b[:i]
	}
	n := bytes.Count(b, []byte(" "))
	if word == "table " {
		family, _, _ := bytes.Cut(b[len(word):], []byte(" "))
		if !nftFamilies[string(family)] {
			return false
		}
		n--
	}
	return b[len(b)-1] == '{' && n == 2
}

type nft struct {
	out    *Out
	set    rulesSet
	table  *rulesTable
	added  map[string]*rulesTable // by family and name
	object string                 // chain, map, set or another word, "" between objects
	name   string
	inside int // braces open inside the object
	inList bool
	rule   []byte // a rule whose braces are still open
	open   int    // how many of them
	begin  int    // the line on which it begins
}

func openNft(out *Out) (func([]byte), func()) {
	p := &nft{out: out}
	return p.line, func() { p.set.walk(out) }
}

func (p *nft) line(b []byte) {
	s := nftBare(string(bytes.TrimSpace(b)))
	if s == "" || s[0] == '#' || strings.HasPrefix(s, "```") {
		p.out.Ignore()
		return
	}
	if p.inList {
		p.elements(s)
		return
	}
	if strings.HasPrefix(s, "table ") || strings.HasPrefix(s, "add ") || strings.HasPrefix(s, "flush ") && p.object == "" {
		p.command(s)
		return
	}
	switch {
	case p.object == "chain":
		p.inChain(s)
	case p.object == "map" || p.object == "set":
		p.inMap(s)
	case p.object != "":
		p.inOther(s)
	default:
		p.between(s)
	}
}

// nftBare takes a handle off a line.
func nftBare(s string) string {
	i := strings.LastIndex(s, "# handle ")
	if i < 0 || strings.Trim(s[i+9:], "0123456789") != "" {
		return s
	}
	return strings.TrimRight(s[:i], " ")
}

// enter makes the table that a line names. A listing shows each table once,
// commands name theirs every time.
func (p *nft) enter(family, name string) {
	key := family + " " + name
	if p.object == "add" && p.added[key] != nil {
		p.table = p.added[key]
		return
	}
	p.table = p.set.open(name, family == "ip6")
	p.table.inet = family == "inet"
	if p.added == nil {
		p.added = map[string]*rulesTable{}
	}
	p.added[key] = p.table
}

// current is the table of a line; a cut listing may not name it.
func (p *nft) current() *rulesTable {
	if p.table == nil {
		p.enter("ip", "")
	}
	return p.table
}

// command reads a line that names its table: "table ip nat {" of a listing,
// or "add rule ip nat PREROUTING ...".
func (p *nft) command(s string) {
	f := strings.Fields(s)
	p.rule, p.open, p.inList, p.inside = nil, 0, false, 0
	if f[0] == "table" {
		p.object = ""
		if len(f) < 3 || !nftFamilies[f[1]] {
			p.out.Problem("expected table FAMILY NAME {")
			return
		}
		p.enter(f[1], f[2])
		p.out.Understood()
		return
	}
	if f[0] == "flush" && len(f) > 1 {
		p.out.Ignore()
		return
	}
	if len(f) < 4 || !nftFamilies[f[2]] {
		p.out.Problem("expected add WHAT FAMILY TABLE ...")
		return
	}
	p.object = "add"
	p.enter(f[2], f[3])
	p.object = ""
	switch {
	case f[1] == "table":
		p.out.Understood()
	case len(f) < 5:
		p.out.Problem("expected a name after the table")
	case f[1] == "chain":
		c := p.set.chain(p.table, f[4])
		nftHook(c, f[5:])
		p.out.Understood()
	case f[1] == "rule":
		_, rest, _ := strings.Cut(s, " "+f[4]+" ")
		p.add(f[4], rest, p.out.Line())
	default:
		p.out.Ignore()
	}
}

// nftHook reads "type nat hook prerouting priority dstnat".
func nftHook(c *rulesChain, f []string) {
	for i := 0; i+1 < len(f); i++ {
		if f[i] == "hook" {
			c.hook = strings.TrimRight(f[i+1], ";")
		}
	}
}

// between reads a line between the objects of a table.
func (p *nft) between(s string) {
	if s == "}" {
		p.table = nil
		p.out.Understood()
		return
	}
	f := strings.Fields(s)
	if f[len(f)-1] == "{" && len(f) >= 2 {
		p.object, p.name, p.inside = f[0], f[len(f)-2], 0
		switch p.object {
		case "chain":
			p.set.chain(p.current(), p.name)
			p.out.Understood()
		case "map", "set":
			p.current()
			p.out.Understood()
		case "flowtable", "ct", "counter", "quota", "limit", "secmark", "synproxy", "tunnel", "meter":
			p.out.Ignore()
		default:
			p.object = ""
			p.out.Problem("expected a chain, a map or a set")
		}
		return
	}
	switch {
	case strings.HasPrefix(s, "elements = {"):
		p.object, p.name = "map", ""
		p.elements(s[len("elements = {"):])
	case nftBegins(f[0]) && nftHead([]byte(s)):
		p.add("", s, p.out.Line()) // a cut listing
	case f[0] == "comment" || f[0] == "flags":
		p.out.Ignore()
	default:
		p.out.Problem("expected a table, a chain, a map or a set")
	}
}

func (p *nft) inChain(s string) {
	if p.open > 0 {
		p.rest(s)
		return
	}
	switch {
	case s == "}":
		p.object = ""
		p.out.Understood()
	case strings.HasPrefix(s, "type "):
		nftHook(p.set.chain(p.current(), p.name), strings.Fields(s))
		p.out.Understood()
	case strings.HasPrefix(s, "comment ") || strings.HasPrefix(s, "policy "):
		p.out.Ignore()
	case nftDepth(s) > 0:
		p.rule, p.open, p.begin = append(p.rule[:0], s...), nftDepth(s), p.out.Line()
		p.out.Understood()
	default:
		p.add(p.name, s, p.out.Line())
	}
}

// nftMaxRule bounds a rule that goes over several lines.
const nftMaxRule = 1 << 20

// rest reads the lines of a rule that goes over several.
func (p *nft) rest(s string) {
	p.rule = append(append(p.rule, ' '), s...)
	p.open += nftDepth(s)
	switch {
	case strings.HasPrefix(s, "chain ") && strings.HasSuffix(s, "{"):
		p.open, p.object = 0, ""
		p.between(s) // the rule before was cut off
	case p.open <= 0:
		p.open = 0
		p.add(p.name, string(p.rule), p.begin)
	case len(p.rule) > nftMaxRule:
		p.open = 0
		p.out.Problem("a brace is not closed")
	default:
		p.out.Understood()
	}
}

// nftDepth counts braces that stay open, outside of quotes.
func nftDepth(s string) (n int) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case quoted:
		case s[i] == '{':
			n++
		case s[i] == '}':
			n--
		}
	}
	return n
}

func (p *nft) add(chain, s string, line int) {
	r := &rulesRule{pos: record.Pos{Line: line}, probability: 1}
	words, ok := nftWords(s)
	if !ok {
		p.out.Problem("a quote is not closed")
		return
	}
	if len(words) == 0 || !nftBegins(words[0]) {
		p.out.Problem("expected a match or a statement")
		return
	}
	if why := nftRule(r, words); why != "" {
		p.out.Problem(why)
		return
	}
	if p.set.add(p.current(), chain, r) {
		p.out.Understood()
	} else {
		p.out.Ignore()
	}
}

func (p *nft) inMap(s string) {
	word, _, _ := strings.Cut(s, " ")
	switch {
	case s == "}":
		p.object = ""
		p.out.Understood()
	case strings.HasPrefix(s, "elements = {"):
		p.elements(s[len("elements = {"):])
	case word == "type" || word == "typeof" || word == "flags" || word == "timeout" || word == "size" || word == "comment" ||
		word == "gc-interval" || word == "policy" || word == "auto-merge" || word == "counter" || word == "quota" || word == "limit":
		p.out.Ignore()
	default:
		p.out.Problem("expected a property of the map, or its elements")
	}
}

// inOther passes over an object that has nothing for us.
func (p *nft) inOther(s string) {
	p.inside += nftDepth(s)
	if p.inside < 0 {
		p.object = ""
	}
	p.out.Ignore()
}

// nftMaps are the maps that name services.
var nftMaps = map[string]bool{"service-ips": true, "service-nodeports": true, "no-endpoint-services": true, "no-endpoint-nodeports": true}

// elements reads elements of a map or set. They wrap over lines, but each one
// stands on one line.
func (p *nft) elements(s string) {
	p.inList = nftDepth(s) >= 0
	if !p.inList {
		s = s[:strings.LastIndexByte(s, '}')]
	}
	t := p.current()
	if p.object != "map" {
		p.out.Ignore()
		return
	}
	words, ok := nftWords(s)
	bad := !ok
	for len(words) > 0 {
		n := nftIndex(words, ",")
		if n > 0 {
			e, ok := nftElement(words[:n])
			e.pos = record.Pos{Line: p.out.Line()}
			bad = bad || !ok
			t.maps[p.name] = append(t.maps[p.name], e)
		}
		words = words[min(n+1, len(words)):]
	}
	switch {
	case bad:
		p.out.Problem("expected KEY : VALUE")
	case nftMaps[p.name] && t.kube:
		p.out.Understood()
	default:
		p.out.Ignore()
	}
}

// nftElement reads "KEY . KEY timeout 3h comment "x" : goto CHAIN".
func nftElement(words []string) (e rulesElement, ok bool) {
	colon := nftIndex(words, ":")
	if colon == len(words) || colon == 0 || colon+1 == len(words) {
		return e, false
	}
	i := 0
	for ; i < colon; i += 2 {
		e.key = append(e.key, strings.Trim(words[i], `"`))
		if i+1 < colon && words[i+1] != "." {
			break
		}
	}
	for ; i+1 < colon; i++ {
		if words[i] == "comment" {
			e.comment = strings.Trim(words[i+1], `"`)
		}
	}
	verdict := words[colon+1:]
	e.target = verdict[0]
	if len(verdict) > 1 && (verdict[0] == "goto" || verdict[0] == "jump") {
		e.target = verdict[1]
	}
	return e, true
}

func nftIndex(words []string, w string) int {
	if i := indexOf(words, w); i >= 0 {
		return i
	}
	return len(words)
}

// nftWords splits a line at blanks, braces, commas and semicolons. A quoted
// word keeps its quotes.
func nftWords(s string) (words []string, ok bool) {
	for i := 0; i < len(s); {
		switch c := s[i]; c {
		case ' ', '\t':
			i++
		case '{', '}', ',', ';':
			words = append(words, s[i:i+1])
			i++
		case '"':
			n := strings.IndexByte(s[i+1:], '"')
			if n < 0 {
				return words, false
			}
			words = append(words, s[i:i+n+2])
			i += n + 2
		default:
			start := i
			for i < len(s) && !strings.ContainsRune(" \t{},;", rune(s[i])) {
				i++
			}
			words = append(words, s[start:i])
		}
	}
	return words, true
}
