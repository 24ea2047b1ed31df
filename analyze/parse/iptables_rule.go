package parse

import (
	"strconv"
	"strings"
)

// iptablesRule reads the options of a rule. why is "" when all is well.
func iptablesRule(r *rulesRule, words []iptablesWord) (why string) {
	o := iptablesOptions{rule: r}
	for i := 0; i < len(words); {
		not := false
		if words[i].text == "!" && !words[i].quoted {
			not = true
			i++
		}
		if i >= len(words) || words[i].quoted || len(words[i].text) < 2 || words[i].text[0] != '-' {
			return "expected an option"
		}
		option := words[i].text
		i++
		start := i
		for i < len(words) && (words[i].quoted || words[i].text != "!" && !strings.HasPrefix(words[i].text, "-")) {
			i++
		}
		values := words[start:i]
		if len(values) == 0 && i+1 < len(words) && words[i].text == "!" && !strings.HasPrefix(words[i+1].text, "-") {
			not = true // iptables before 1.4.3: -s ! 10.0.0.0/8
			values = words[i+1 : i+2]
			i += 2
		}
		if why = o.read(option, not, values); why != "" {
			return why
		}
	}
	if o.nth > 0 {
		r.probability = 1 / float64(o.nth)
	}
	return ""
}

type iptablesOptions struct {
	rule *rulesRule
	nth  uint64
}

// read reads one option with its values.
func (o *iptablesOptions) read(option string, not bool, values []iptablesWord) (why string) {
	r := o.rule
	value := ""
	if len(values) > 0 {
		value = values[0].text
	}
	if known, why := o.match(option, not, value); known {
		return why
	}
	if known, why := o.action(option, value); known {
		return why
	}
	if !iptablesNeutral(option, not, value) && r.target == "" {
		r.other = true
	}
	return ""
}

// match reads the options that choose packets.
func (o *iptablesOptions) match(option string, not bool, value string) (known bool, why string) {
	r := o.rule
	var ok bool
	switch option {
	case "-s", "--source", "--src":
		r.source, ok = rulesPrefix(value)
		r.sourceNot = not
		return true, iptablesWhy(ok, "the source is no address")
	case "-d", "--destination", "--dst":
		r.destination, ok = rulesPrefix(value)
		r.destinationNot = not
		return true, iptablesWhy(ok, "the destination is no address")
	case "-i", "--in-interface":
		r.in, r.inNot = value, not
		return true, iptablesWhy(value != "", "no interface after -i")
	case "-p", "--protocol":
		if value == "all" {
			return true, ""
		}
		r.protocol, ok = protocolNumber(value)
		if value == "esp" || value == "ah" || value == "ipv6-icmp" || value == "vrrp" || value == "ospf" || value == "igmp" || not {
			r.protocol, r.other, ok = 0, true, true
		}
		return true, iptablesWhy(ok, "the protocol is not known")
	case "--dport", "--destination-port", "--dports", "--destination-ports":
		r.ports, ok = rulesPortList(value)
		r.portsNot = not
		return true, iptablesWhy(ok, "the destination port is no number")
	case "--dst-type":
		if value != "LOCAL" || not {
			r.other = true
		}
		return true, ""
	case "--src-type":
		r.sourceLocal = value == "LOCAL" && !not
		r.other = r.other || !r.sourceLocal
		return true, ""
	case "--probability":
		p, err := strconv.ParseFloat(value, 64)
		if r.probability = p; err != nil || !(p >= 0 && p <= 1) {
			return true, "the probability is no number from 0 to 1"
		}
		return true, ""
	case "--every":
		o.nth, ok = number([]byte(value))
		return true, iptablesWhy(ok && o.nth > 0, "expected a number after --every")
	case "--match-set", "--dst-range":
		r.other, r.unclear = true, true
		return true, ""
	case "--rcheck", "--update":
		r.recent = true
		return true, ""
	case "--comment":
		r.comment = value
		return true, ""
	}
	return false, ""
}

// action reads the options that say what to do with a packet.
func (o *iptablesOptions) action(option, value string) (known bool, why string) {
	r := o.rule
	var ok bool
	switch option {
	case "-j", "--jump", "-g", "--goto":
		r.target = value
		return true, iptablesWhy(value != "", "no target after -j")
	case "--to-destination":
		r.to, ok = rulesTo(value)
		return true, iptablesWhy(ok, "the new destination is no address")
	case "--to-ports", "--to-port", "--on-port":
		list, ok := rulesPortList(value)
		if r.target == "REDIRECT" || r.target == "TPROXY" {
			if ok = ok && len(list) == 1; ok && list[0].first == list[0].last {
				r.toPort = list[0].first
			}
		}
		return true, iptablesWhy(ok, "the new port is no number")
	case "--set-xmark", "--set-mark":
		if r.target != "MARK" {
			return true, ""
		}
		r.mark, r.markWhole, ok = rulesMark(value)
		return true, iptablesWhy(ok, "the mark is no number")
	}
	return false, ""
}

func iptablesWhy(ok bool, why string) string {
	if ok {
		return ""
	}
	return why
}

// iptablesNeutral tells options that do not keep a new connection from
// matching.
func iptablesNeutral(option string, not bool, value string) bool {
	switch option {
	case "-m", "--match", "--nfacct-name", "--mode", "--packet", "--set", "--name", "--mask", "--rsource", "--rdest",
		"--seconds", "--reap", "--hitcount", "--rttl", "-c", "--set-counters", "--syn", "-f":
		return true
	case "--ctstate", "--state":
		return !not && strings.Contains(value, "NEW")
	}
	return false
}
