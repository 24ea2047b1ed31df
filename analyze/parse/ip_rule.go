package parse

import (
	"bytes"
	"strconv"
	"strings"
)

// ip rule and ip -6 rule, also -j (iproute2 6.1.0):
//
//	0:	from all lookup local
//	9:	from all fwmark 0x200/0xf00 lookup 2004
//	32766:	from all lookup main
//
// Rules make no records: which backend a connection reaches is decided before
// they are asked. They are read so that a broken listing is noticed.
var ipRuleFormat = Format{Name: "ip-rule", Head: ipRuleHead, Open: ipRuleOpen, Claim: ipRuleClaim, Doc: ipRuleDoc}

func ipRuleHead(line []byte) bool {
	if len(line) < 10 || line[0] < '0' || line[0] > '9' {
		return false
	}
	i := bytes.IndexByte(line, ':')
	if i < 1 || i > 10 || i+1 == len(line) || line[i+1] != '\t' && line[i+1] != ' ' {
		return false
	}
	if _, ok := number(line[:i]); !ok {
		return false
	}
	rest := bytes.TrimLeft(line[i+1:], " \t")
	return bytes.HasPrefix(rest, []byte("from ")) || bytes.HasPrefix(rest, []byte("not from "))
}

// ipRuleWord tells how many words follow a word of a rule.
func ipRuleWord(word string) (follow int, ok bool) {
	switch word {
	case "from", "to", "tos", "dsfield", "dscp", "flowlabel", "fwmark", "iif", "oif", "uidrange", "ipproto", "sport", "dport", "tun_id",
		"lookup", "table", "suppress_prefixlength", "suppress_ifgroup", "realms", "map-to", "goto", "proto":
		return 1, true
	case "not", "nop", "masquerade", "[detached]", "[unresolved]", "blackhole", "unreachable", "prohibit", "throw", "unicast", "none":
		return 0, true
	}
	return 0, false
}

func ipRuleOpen(out *Out) (func([]byte), func()) {
	return func(b []byte) {
		line := bytes.TrimSpace(b)
		if len(line) == 0 {
			return
		}
		if !ipRuleHead(line) {
			out.Problem("expected a number and from")
			return
		}
		if why := ipRule(strings.Fields(string(line))); why != "" {
			out.Problem(why)
			return
		}
		out.Understood()
	}, nil
}

// ipRule checks the words of a rule, of which the first is its number.
func ipRule(words []string) (why string) {
	for i := 1; i < len(words); i++ {
		w := words[i]
		follow, ok := ipRuleWord(w)
		switch {
		case !ok:
			return "expected a word of a rule instead of " + strconv.Quote(w)
		case i+follow >= len(words):
			return "expected more after " + w
		case (w == "from" || w == "to") && !ipRuleSelector(words[i+1]):
			return "expected an address or a prefix after " + w
		}
		i += follow
	}
	return ""
}

func ipRuleSelector(w string) bool {
	return w == "all" || strings.HasPrefix(w, "0/") || ipIsDestination([]byte(w))
}

func ipRuleClaim(d *Doc) bool {
	first := ipFirst(d)
	return first != nil && first.Has("priority", "src") && (first.Has("table") || first.Has("action") || first.Has("goto") || first.Has("nop") || first.Has("l3mdev"))
}

func ipRuleDoc(d *Doc, out *Out) {
	for i, raw := range d.Elements() {
		var e struct {
			Src string `json:"src"`
		}
		at := "/" + strconv.Itoa(i)
		dockerDecode(raw, &e, at, out)
		if e.Src != "" && e.Src != "0" && !ipRuleSelector(e.Src) {
			out.At(at + "/src")
			out.Problem("expected an address or all")
		}
	}
}
