package parse

import (
	"strconv"
	"strings"
	"whichbackend/analyze/record"
)

// nftStarters are the words that begin a match or a statement. A match that
// is not known ends where the next of them stands.
var nftStarters = nftWordSet(`ip ip6 tcp udp sctp dccp udplite th icmp icmpv6 igmp ether arp vlan meta ct iif oif iifname oifname
iifgroup oifgroup mark skuid skgid fib rt socket numgen jhash symhash counter limit quota log accept drop return jump goto continue
queue reject snat dnat masquerade redirect tproxy notrack xt update add delete set exthdr frag hbh dst mh srh tunnel ipsec osf dup fwd
synproxy flow comment last cgroup time hour day pkttype l4proto nfproto rtclassid nftrace protocol priority length comp esp ah inner
vxlan geneve gre ibrname obrname cpu iiftype oiftype secmark vmap nop`)

func nftWordSet(words string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(words) {
		m[w] = true
	}
	return m
}

func nftBegins(word string) bool { return nftStarters[word] || strings.HasPrefix(word, "@") }

// nftCursor walks over the words of a rule.
type nftCursor struct {
	words []string
	i     int
}

// next takes a word, "" at the end.
func (c *nftCursor) next() string {
	w := c.peek()
	c.i++
	return w
}

func (c *nftCursor) peek() string {
	if c.i < len(c.words) {
		return c.words[c.i]
	}
	return ""
}

// skip passes over everything up to the next match or statement.
func (c *nftCursor) skip() {
	for c.i < len(c.words) && !nftBegins(c.words[c.i]) {
		if c.words[c.i] == "{" {
			c.group()
			continue
		}
		c.i++
	}
}

// group takes the words between braces.
func (c *nftCursor) group() []string {
	if c.peek() != "{" {
		return nil
	}
	depth, start := 0, c.i+1
	for ; c.i < len(c.words); c.i++ {
		switch c.words[c.i] {
		case "{":
			depth++
		case "}":
			if depth--; depth == 0 {
				c.i++
				return c.words[start : c.i-1]
			}
		}
	}
	return c.words[min(start, len(c.words)):]
}

// operand takes what a match compares with: a value, several with commas or
// in braces. plain is false for anything else (a named set, a concatenation).
func (c *nftCursor) operand() (values []string, not, plain bool) {
	switch c.peek() {
	case "!=":
		not = true
		c.i++
	case "==":
		c.i++
	}
	switch w := c.peek(); {
	case w == "{":
		for _, v := range c.group() {
			if v != "," {
				values = append(values, v)
			}
		}
		return values, not, true
	case w == "vmap" || w == "map":
		return nil, not, false
	case w == "" || w == "." || w == "&" || w == "and" || w == "<" || w == ">" || strings.HasPrefix(w, "@"):
		c.i++
		c.skipConcat()
		return nil, not, false
	}
	values = append(values, c.next())
	for c.peek() == "," {
		c.i++
		values = append(values, c.next())
	}
	return values, not, true
}

// skipConcat passes over the rest of a concatenation (ip daddr . meta l4proto
// . th dport), whose words would otherwise read as matches of their own.
func (c *nftCursor) skipConcat() {
	for c.i < len(c.words) {
		switch c.words[c.i] {
		case "vmap", "{", "!=", "==", "}":
			return
		}
		if strings.HasPrefix(c.words[c.i], "@") {
			c.i++
			return
		}
		if c.words[c.i-1] != "." && c.i+1 < len(c.words) && c.words[c.i+1] != "." && c.words[c.i] != "." && nftBegins(c.words[c.i]) {
			return
		}
		c.i++
	}
}

// nftRule reads the words of a rule. why is "" when all is well.
func nftRule(r *rulesRule, words []string) (why string) {
	c := &nftCursor{words: words}
	for c.i < len(c.words) && why == "" {
		before := c.i
		switch word := c.next(); word {
		case "ip", "ip6":
			why = nftAddress(r, c)
		case "tcp", "udp", "sctp", "dccp", "udplite", "th":
			why = nftPort(r, c, word)
		case "meta":
			why = nftMeta(r, c)
		case "mark":
			why = nftMark(r, c)
		case "iif", "iifname", "oif", "oifname":
			values, not, plain := c.operand()
			if word[0] == 'i' && plain && len(values) == 1 {
				r.in, r.inNot = strings.Trim(values[0], `"`), not
			} else if word[0] == 'i' || !not {
				r.other = true
			}
		case "fib":
			nftFib(r, c)
		case "ct":
			nftConntrack(r, c)
		case "xt":
			nftXtables(r, c)
		case "numgen", "jhash", "symhash":
			why = nftNumgen(r, c)
		case "comment":
			r.comment = strings.Trim(c.next(), `"`)
		case "counter", "log", "last", "nop", "meter", "nftrace":
			c.skip()
		case "update", "add", "delete", "set":
			c.skip()
		case "vmap":
			why = nftVmap(r, c, 0)
		default:
			why = nftStatement(r, c, word)
		}
		if c.i == before {
			c.i++
		}
		if c.i < len(c.words) && !nftBegins(c.peek()) {
			c.skip()
		}
	}
	return why
}

// nftStatement reads a verdict or another statement.
func nftStatement(r *rulesRule, c *nftCursor, word string) (why string) {
	switch word {
	case "jump", "goto":
		if r.target = c.next(); r.target == "" {
			return "expected a chain after " + word
		}
	case "accept", "drop", "return", "reject", "masquerade", "snat", "queue", "continue", "notrack":
		if r.target == "" {
			r.target = strings.ToUpper(word)
		}
		if word == "reject" || word == "snat" {
			c.i = len(c.words) // "with icmp type ...", "to ..." are no matches
		}
	case "dnat", "redirect", "tproxy":
		return nftRewrite(r, c, word)
	default:
		r.other = true
		c.skip()
	}
	return ""
}

func nftAddress(r *rulesRule, c *nftCursor) (why string) {
	field := c.next()
	values, not, plain := c.operand()
	if field != "saddr" && field != "daddr" {
		if field != "protocol" && field != "nexthdr" {
			r.other = true
		} else if p, ok := nftProtocol(values); ok && !not {
			r.protocol = p
		}
		return ""
	}
	switch {
	case !plain || len(values) != 1:
		r.other, r.unclear = true, r.unclear || field == "daddr"
		if field == "saddr" {
			r.recent = r.recent || strings.HasPrefix(c.words[c.i-1], "@affinity-")
		}
		return ""
	case strings.Contains(values[0], "-"):
		r.other, r.unclear = true, r.unclear || field == "daddr"
		_, ok := rulesTo(values[0])
		return iptablesWhy(ok, "expected an address")
	}
	p, ok := rulesPrefix(values[0])
	if !ok {
		return "expected an address"
	}
	if field == "saddr" {
		r.source, r.sourceNot = p, not
	} else {
		r.destination, r.destinationNot = p, not
	}
	return ""
}

func nftPort(r *rulesRule, c *nftCursor, word string) (why string) {
	field := c.next()
	values, not, plain := c.operand()
	if p, ok := protocolNumber(word); ok && r.protocol == 0 {
		r.protocol = p
	}
	if field != "dport" || !plain {
		r.other = r.other || field != "flags"
		r.unclear = r.unclear || field == "dport" && c.peek() != "vmap" // a named set of ports
		return ""
	}
	list, ok := rulesPortList(strings.Join(values, ","))
	if !ok {
		return "expected a port"
	}
	r.ports, r.portsNot = list, not
	return ""
}

func nftMeta(r *rulesRule, c *nftCursor) (why string) {
	switch key := c.next(); key {
	case "l4proto", "protocol", "nfproto":
		values, not, plain := c.operand()
		p, ok := nftProtocol(values)
		if key == "l4proto" && plain && ok && !not {
			r.protocol = p
		}
		return ""
	case "mark":
		return nftMark(r, c)
	case "random":
		// meta random & 2147483647 < 715827883
		if c.next() != "&" {
			r.probabilityUnknown = true
			return ""
		}
		mask, errMask := strconv.ParseUint(c.next(), 0, 32)
		op := c.next()
		n, err := strconv.ParseUint(c.next(), 0, 32)
		if errMask != nil || err != nil || op != "<" || n > mask {
			return "expected meta random & MASK < NUMBER"
		}
		r.probability = float64(n) / float64(mask+1)
		return ""
	case "skuid", "skgid", "iif", "iifname", "oif", "oifname":
		c.i-- // the same without meta
		return ""
	}
	r.other = true
	c.operand()
	return ""
}

func nftProtocol(values []string) (p record.Protocol, ok bool) {
	if len(values) != 1 {
		return 0, false
	}
	return protocolNumber(values[0])
}

// nftMark reads a match of the packet mark, or a statement that sets it.
func nftMark(r *rulesRule, c *nftCursor) (why string) {
	if c.peek() != "set" {
		r.other = true
		c.skip()
		return ""
	}
	c.i++
	r.target = "MARK"
	value := c.next()
	n, err := strconv.ParseUint(value, 0, 32)
	r.mark, r.markWhole = uint32(n), err == nil && (c.peek() == "" || nftBegins(c.peek()))
	for c.i < len(c.words) && c.peek() != "comment" {
		c.i++ // an expression, whose words are no matches
	}
	return ""
}

func nftFib(r *rulesRule, c *nftCursor) {
	of, kind := c.next(), c.next()
	values, not, plain := c.operand()
	local := kind == "type" && plain && !not && len(values) == 1 && values[0] == "local"
	switch {
	case local && of == "saddr":
		r.sourceLocal = true
	case local && of == "daddr":
	default:
		r.other = true
	}
}

func nftConntrack(r *rulesRule, c *nftCursor) {
	key := c.next()
	if c.peek() == "set" {
		c.i++
		c.next()
		c.skip()
		return
	}
	values, not, _ := c.operand()
	if key == "state" && !not && indexOf(values, "new") >= 0 {
		return
	}
	r.other = true
}

// nftXtables reads what nft has no words for.
func nftXtables(r *rulesRule, c *nftCursor) {
	kind, name := c.next(), strings.Trim(c.next(), `"`)
	if kind == "target" {
		r.target = name
		return
	}
	switch name {
	case "comment", "tcp", "udp", "sctp", "nfacct", "multiport":
		r.other = r.other || name == "multiport"
	case "recent":
		r.recent = true
	case "statistic":
		r.probabilityUnknown = true
	default:
		r.other = true
	}
}

// nftNumgen reads a choice by number: numgen random mod 2 vmap { 0 : goto a, 1 : goto b }.
func nftNumgen(r *rulesRule, c *nftCursor) (why string) {
	i := indexOf(c.words[c.i:], "mod")
	if i < 0 {
		r.other = true
		return ""
	}
	c.i += i + 1
	mod, err := strconv.ParseUint(c.next(), 10, 32)
	if err != nil || mod == 0 {
		return "expected a number after mod"
	}
	for c.peek() == "offset" || c.peek() == "seed" {
		c.i += 2
	}
	switch c.next() {
	case "vmap":
		return nftVmap(r, c, mod)
	case "map":
		return nftVmap(r, c, mod)
	case "<":
		n, err := strconv.ParseUint(c.next(), 10, 32)
		if err != nil || n > mod {
			return "expected a number after <"
		}
		r.probability = float64(n) / float64(mod)
	default:
		r.probability = 1 / float64(mod)
	}
	return ""
}

// nftVmap reads a map of keys to verdicts or addresses. mod is the number of
// keys where they are numbers that are drawn, 0 otherwise.
func nftVmap(r *rulesRule, c *nftCursor, mod uint64) (why string) {
	if name, ok := strings.CutPrefix(c.peek(), "@"); ok {
		r.lookup = name
		c.i++
		return ""
	}
	words := c.group()
	for len(words) > 0 {
		n := nftIndex(words, ",")
		if n > 0 {
			e, ok := nftElement(words[:n])
			if !ok {
				return "expected KEY : VALUE"
			}
			choice := rulesChoice{target: e.target}
			if value := words[nftIndex(words, ":")+1 : n]; len(value) == 3 && value[1] == "." {
				choice.to, _ = rulesTo(nftJoin(value[0], value[2]))
			} else {
				choice.to, _ = rulesTo(e.target)
			}
			if mod > 0 {
				choice.share = nftShare(e.key[0], mod)
			}
			r.choices = append(r.choices, choice)
		}
		words = words[min(n+1, len(words)):]
	}
	return ""
}

// nftShare is the share of a key, a number or a range of them.
func nftShare(key string, mod uint64) float64 {
	first, last, isRange := strings.Cut(key, "-")
	if !isRange {
		last = first
	}
	a, okA := number([]byte(first))
	b, okB := number([]byte(last))
	if !okA || !okB || a > b || b >= mod {
		return 0
	}
	return float64(b-a+1) / float64(mod)
}

// nftJoin joins an address and a port as dnat writes them.
func nftJoin(a, p string) string {
	if strings.Contains(a, ":") && !strings.HasPrefix(a, "[") {
		a = "[" + a + "]"
	}
	return a + ":" + p
}

// nftRewrite reads dnat [ip|ip6] [addr . port] to X, redirect [to :PORT] and
// tproxy [ip|ip6] to [ADDRESS]:PORT.
func nftRewrite(r *rulesRule, c *nftCursor, word string) (why string) {
	r.target = strings.ToUpper(word)
	for c.peek() == "ip" || c.peek() == "ip6" || c.peek() == "addr" || c.peek() == "." || c.peek() == "port" {
		c.i++
	}
	if c.peek() != "to" {
		return ""
	}
	c.i++
	to := c.peek()
	switch {
	case word == "dnat" && (to == "numgen" || to == "jhash" || to == "symhash"):
		c.i++
		return nftNumgen(r, c)
	case nftBegins(to):
		c.i = len(c.words) // an expression: what it says is not in the text
		return ""
	}
	c.i++
	d, ok := rulesTo(to)
	if !ok {
		return "expected an address after to"
	}
	if word == "dnat" {
		r.to = d
	} else if d.port == d.lastPort {
		r.toPort = d.port
	}
	return ""
}
