package capture

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// A filter is written in words of pcap-filter(7), of which these are known:
//
//	[ip|ip6|arp|tcp|udp|sctp] [src|dst|src or dst|src and dst] host|net|port|portrange ID
//	ip, ip6, arp, tcp, udp, sctp, icmp, icmp6, inbound, outbound
//	and, or, not, &&, ||, !, parentheses
//
// They mean what they mean to tcpdump: and binds no stronger than or; port 80 or
// 443 is both ports; what is inside a tunnel or behind IPv6's extension headers
// is not looked at.

// test is a condition on a packet: one of the words, or a combination of others.
type test struct {
	op   string // "and", "or", "not", or "" for a primitive
	a, b *test
	primitive
}

// primitive is what one packet is asked for.
type primitive struct {
	protocol    string // of the words above, or ""
	direction   string // "src", "dst", "src and dst", or "" for either
	kind        string // "host", "net", "port", "portrange", or "" for the protocol alone
	prefix      netip.Prefix
	first, last uint16 // of ports
}

// parseFilter reads an expression; nil is the empty one, for all packets.
func parseFilter(text string) (*test, error) {
	p := &filterParser{words: filterWords(text)}
	if len(p.words) == 0 {
		return nil, nil
	}
	t, err := p.expression(0)
	if err == nil && p.at < len(p.words) {
		err = fmt.Errorf("%q has nothing before it that it belongs to", p.words[p.at])
	}
	if err != nil {
		return nil, fmt.Errorf("filter %q: %w", text, err)
	}
	return t, nil
}

// filterWords splits an expression at blanks, parentheses and marks.
func filterWords(text string) []string {
	for _, mark := range []string{"(", ")", "&&", "||", "!"} {
		text = strings.ReplaceAll(text, mark, " "+mark+" ")
	}
	words := strings.Fields(text)
	for i, w := range words {
		switch w {
		case "&&":
			words[i] = "and"
		case "||":
			words[i] = "or"
		case "!":
			words[i] = "not"
		}
	}
	return words
}

// deepestFilter bounds parentheses, and longestFilter words: the kernel takes
// 4096 instructions.
const (
	deepestFilter = 50
	longestFilter = 100
)

type filterParser struct {
	words []string
	at    int
	last  primitive // what an ID without words of its own is taken for
}

func (p *filterParser) peek() string {
	if p.at < len(p.words) {
		return p.words[p.at]
	}
	return ""
}

// take moves on when the next word is one of these.
func (p *filterParser) take(words ...string) (string, bool) {
	next := p.peek()
	for _, w := range words {
		if next == w && next != "" {
			p.at++
			return w, true
		}
	}
	return "", false
}

func (p *filterParser) expression(depth int) (*test, error) {
	left, err := p.term(depth)
	if err != nil {
		return nil, err
	}
	for {
		op, ok := p.take("and", "or")
		if !ok {
			return left, nil
		}
		right, err := p.term(depth)
		if err != nil {
			return nil, err
		}
		left = &test{op: op, a: left, b: right}
	}
}

func (p *filterParser) term(depth int) (*test, error) {
	switch {
	case depth > deepestFilter || len(p.words) > longestFilter:
		return nil, fmt.Errorf("it has more than %d words or %d parentheses in one another", longestFilter, deepestFilter)
	case p.peek() == "":
		return nil, fmt.Errorf("it ends where more must follow")
	}
	if _, ok := p.take("not"); ok {
		t, err := p.term(depth + 1)
		return &test{op: "not", a: t}, err
	}
	if _, ok := p.take("("); ok {
		t, err := p.expression(depth + 1)
		if err != nil {
			return nil, err
		}
		if _, ok := p.take(")"); !ok {
			return nil, fmt.Errorf("a parenthesis is not closed")
		}
		return t, nil
	}
	return p.primitive()
}

// primitive reads protocol, direction, kind and ID, of which some may be left out.
func (p *filterParser) primitive() (*test, error) {
	var q primitive
	begin := p.at
	if w, ok := p.take("inbound", "outbound"); ok {
		return &test{primitive: primitive{protocol: w}}, nil
	}
	q.protocol, _ = p.take("ip", "ip6", "arp", "tcp", "udp", "sctp", "icmp", "icmp6")
	if err := p.direction(&q); err != nil {
		return nil, err
	}
	q.kind, _ = p.take("host", "net", "port", "portrange")
	switch {
	case q.kind == "" && q.direction == "" && q.protocol != "":
		if next := p.peek(); next != "" && next != "and" && next != "or" && next != ")" {
			return nil, fmt.Errorf("%q does not fit after %q: say what it is, as in host, net, port or portrange", next, q.protocol)
		}
		p.last = q
		return &test{primitive: q}, nil
	case q.kind == "" && p.at == begin && p.last.kind != "":
		q = p.last
	case q.kind == "" && p.at == begin:
		return nil, fmt.Errorf("%q is no word that is known here; known are host, net, port, portrange, src, dst, ip, ip6, arp, tcp, udp, sctp, icmp, icmp6, inbound, outbound, and, or, not", p.peek())
	case q.kind == "":
		q.kind = "host"
	}
	if err := q.fits(); err != nil {
		return nil, err
	}
	id := p.peek()
	if id == "" {
		return nil, fmt.Errorf("%s must have something after it", q.kind)
	}
	p.at++
	if err := q.read(id); err != nil {
		return nil, err
	}
	p.last = q
	return &test{primitive: q}, nil
}

// direction reads src, dst, src or dst, src and dst.
func (p *filterParser) direction(q *primitive) error {
	first, ok := p.take("src", "dst")
	if !ok {
		return nil
	}
	q.direction = first
	if p.at+1 >= len(p.words) {
		return nil
	}
	op, second := p.words[p.at], p.words[p.at+1]
	if (op != "and" && op != "or") || (second != "src" && second != "dst") || second == first {
		return nil
	}
	// src host A and dst host B has an ID before its and
	p.at += 2
	q.direction = ""
	if op == "and" {
		q.direction = "src and dst"
	}
	return nil
}

// fits refuses what no packet has.
func (q *primitive) fits() error {
	ports := q.kind == "port" || q.kind == "portrange"
	switch q.protocol {
	case "tcp", "udp", "sctp":
		if !ports {
			return fmt.Errorf("%s has ports, and no %s", q.protocol, q.kind)
		}
	case "icmp", "icmp6":
		return fmt.Errorf("%s has no %s", q.protocol, q.kind)
	case "ip", "ip6", "arp":
		if ports {
			return fmt.Errorf("%s has no %s: write %s and %s", q.protocol, q.kind, q.protocol, q.kind)
		}
	}
	return nil
}

// read reads an ID.
func (q *primitive) read(id string) error {
	var err error
	switch q.kind {
	case "port":
		q.first, err = portNumber(id)
		q.last = q.first
	case "portrange":
		first, last, ok := strings.Cut(id, "-")
		if !ok {
			return fmt.Errorf("portrange %q: expected two numbers, as in 8000-8080", id)
		}
		if q.first, err = portNumber(first); err == nil {
			q.last, err = portNumber(last)
		}
		if q.first > q.last {
			q.first, q.last = q.last, q.first
		}
	case "host":
		a, e := netip.ParseAddr(id)
		if e != nil || a.Zone() != "" {
			return fmt.Errorf("%q is no address: names are not looked up", id)
		}
		q.prefix = netip.PrefixFrom(a, a.BitLen())
	case "net":
		q.prefix, err = network(id)
	}
	if err != nil {
		return err
	}
	six := q.prefix.IsValid() && q.prefix.Addr().Is6()
	if six && (q.protocol == "ip" || q.protocol == "arp") || q.prefix.IsValid() && !six && q.protocol == "ip6" {
		return fmt.Errorf("%s has no address like %s", q.protocol, id)
	}
	return nil
}

func portNumber(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("port %q: expected a number up to 65535", s)
	}
	return uint16(n), nil
}

// network reads a prefix, or the first bytes of one of IPv4, as in net 10.1.
func network(s string) (netip.Prefix, error) {
	address, bits, found := strings.Cut(s, "/")
	n := strings.Count(address, ".")
	if !strings.Contains(address, ":") && n < 3 {
		address += strings.Repeat(".0", 3-n)
		if !found {
			bits = strconv.Itoa(8 * (n + 1))
		}
	}
	a, err := netip.ParseAddr(address)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("net %q: expected a prefix, as in 10.0.0.0/8", s)
	}
	if bits == "" && !found {
		bits = strconv.Itoa(a.BitLen())
	}
	p, err := netip.ParsePrefix(address + "/" + bits)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("net %q: expected a prefix, as in 10.0.0.0/8", s)
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("net %q: has bits beyond its length; did you mean %s?", s, p.Masked())
	}
	return p, nil
}
