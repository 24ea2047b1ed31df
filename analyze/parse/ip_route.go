package parse

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
)

// ip route, also table all and -j (iproute2 6.1.0):
//
//	default via 10.99.0.254 dev lab0
//	172.18.0.0/16 dev docker_gwbridge proto kernel scope link src 172.18.0.1
//	local 127.0.0.1 dev lo table local proto kernel scope host src 127.0.0.1
//
// Routes make no records: which backend a connection reaches is decided before
// they are asked. They are read so that a broken listing is noticed.
var ipRouteFormat = Format{Name: "ip-route", Head: ipRouteHead, Open: ipRouteOpen, Claim: ipRouteClaim, Doc: ipRouteDoc}

// ipIsRouteType tells the word that a route of another type than unicast
// begins with.
func ipIsRouteType(word []byte) bool {
	switch string(word) {
	case "local", "broadcast", "unreachable", "multicast", "anycast", "blackhole", "prohibit", "throw", "nat", "unicast":
		return true
	}
	return false
}

// ipLeadsNowhere tells the types of which a destination is all there is to say.
func ipLeadsNowhere(word []byte) bool {
	switch string(word) {
	case "unreachable", "blackhole", "prohibit", "throw":
		return true
	}
	return false
}

// ipIsRouteKey tells a word that may follow the destination of a route.
func ipIsRouteKey(word []byte) bool {
	switch string(word) {
	case "via", "dev", "proto", "scope", "src", "metric", "nhid", "table", "from", "tos", "encap", "onlink", "linkdown":
		return true
	}
	return false
}

func ipRouteHead(line []byte) bool {
	if len(line) < 10 || line[0] > 'f' && line[0] != 'l' && line[0] != 'm' && line[0] != 'p' && line[0] != 't' && line[0] != 'u' {
		return false
	}
	first, second := ipWords(line)
	if ipIsRouteType(first) {
		rest := line[bytes.IndexByte(line, ' ')+1:]
		_, key := ipWords(bytes.TrimLeft(rest, " "))
		return (string(second) == "default" || ipIsDestination(second)) && (ipIsRouteKey(key) || len(key) == 0 && ipLeadsNowhere(first))
	}
	if !ipIsRouteKey(second) {
		return false
	}
	if string(first) == "default" || !ipIsDestination(first) {
		return string(first) == "default"
	}
	if bytes.IndexByte(first, '/') > 0 || string(second) == "via" {
		return true
	}
	// A host route, unless it is a neighbour, whose line has none of these.
	for _, key := range []string{" scope ", " proto ", " metric ", " src ", " table "} {
		if bytes.Contains(line, []byte(key)) {
			return true
		}
	}
	return false
}

// ipIsDestination tells an address or a prefix.
func ipIsDestination(word []byte) bool {
	if len(word) < 2 || len(word) > 49 || bytes.IndexByte(word, '.') < 0 && bytes.IndexByte(word, ':') < 0 {
		return false
	}
	_, ok := dockerPrefixAddress(string(word))
	return ok
}

func ipRouteOpen(out *Out) (func([]byte), func()) {
	return func(b []byte) {
		words := strings.Fields(string(b))
		if len(words) == 0 {
			return
		}
		switch words[0] {
		case "cache": // the second line of a cached route
			out.Ignore()
			return
		case "nexthop": // a line of a multipath route
			words = append([]string{"default"}, words[1:]...)
		}
		if ipIsBare(words, b) {
			out.Understood()
			return
		}
		if why := ipRoute(words); why != "" {
			out.Problem(why)
			return
		}
		out.Understood()
	}, nil
}

// ipIsBare tells a route that is a destination alone: one that leads nowhere,
// or one whose next hops have lines of their own, where the blank that ip puts
// after it shows that nothing was cut.
func ipIsBare(words []string, line []byte) bool {
	last := []byte(words[len(words)-1])
	if string(last) != "default" && !ipIsDestination(last) {
		return false
	}
	switch len(words) {
	case 1:
		return line[len(line)-1] == ' '
	case 2:
		return ipLeadsNowhere([]byte(words[0]))
	}
	return false
}

// ipRoute checks one route.
func ipRoute(words []string) (why string) {
	if ipIsRouteType([]byte(words[0])) {
		words = words[1:]
	}
	if len(words) < 2 || words[0] != "default" && !ipIsDestination([]byte(words[0])) || !ipIsRouteKey([]byte(words[1])) {
		return "expected a destination and a route's words"
	}
	for i := 1; i < len(words); i++ {
		w := words[i]
		if w != "via" && w != "src" && w != "from" {
			continue
		}
		if i+2 < len(words) && w == "via" && (words[i+1] == "inet" || words[i+1] == "inet6") {
			i++
		}
		if i+1 >= len(words) || !ipIsDestination([]byte(words[i+1])) && words[i+1] != "default" && words[i+1] != "all" {
			return "expected an address after " + w
		}
	}
	return ""
}

func ipRouteClaim(d *Doc) bool {
	first := ipFirst(d)
	return first != nil && first.Has("dst") && !first.Has("state") && (first.Has("dev") || first.Has("gateway") || first.Has("nexthops") || first.Has("type"))
}

func ipRouteDoc(d *Doc, out *Out) { ipCheckDestinations(d.Elements(), out) }

// ipCheckDestinations checks the dst of the elements of ip -j.
func ipCheckDestinations(elements []json.RawMessage, out *Out) {
	for i, raw := range elements {
		var e struct {
			Dst *string `json:"dst"`
		}
		at := "/" + strconv.Itoa(i)
		dockerDecode(raw, &e, at, out)
		if e.Dst != nil && *e.Dst != "default" && *e.Dst != "all" && !ipIsDestination([]byte(*e.Dst)) {
			out.At(at + "/dst")
			out.Problem("expected an address or a prefix")
		}
	}
}
