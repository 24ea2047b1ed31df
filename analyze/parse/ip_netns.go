package parse

import (
	"bytes"
	"strings"
)

// ip netns list, ip netns list-id and their -j (iproute2 6.1.0):
//
//	lb_632qywu7e (id: 3)
//	nsid 3 (iproute2 netns name: lb_632qywu7e)
//
// A list of bare names (no namespace has an id here) looks like any list of
// words and is not claimed. The ids are this namespace's own numbers of its
// peers and say nothing elsewhere, so they make no records.
var ipNetnsFormat = Format{Name: "ip-netns", Head: ipNetnsHead, Open: ipNetnsOpen, Claim: ipNetnsClaim, Doc: func(*Doc, *Out) {}}

func ipNetnsHead(line []byte) bool {
	if len(line) < 6 || len(line) > 300 {
		return false
	}
	if rest, ok := bytes.CutPrefix(line, []byte("nsid ")); ok {
		first, second := ipWords(rest)
		_, ok := number(first)
		return ok && (len(second) == 0 || string(second) == "(iproute2" || string(second) == "current-nsid")
	}
	if line[len(line)-1] != ')' {
		return false
	}
	name, rest, ok := bytes.Cut(line[:len(line)-1], []byte(" (id: "))
	_, isNumber := number(rest)
	return ok && isNumber && len(name) > 0 && bytes.IndexByte(name, ' ') < 0
}

func ipNetnsOpen(out *Out) (func([]byte), func()) {
	return func(b []byte) {
		words := strings.Fields(string(b))
		switch {
		case len(words) == 0:
		case len(words) == 1, ipNetnsHead(bytes.TrimSpace(b)):
			out.Understood()
		default:
			out.Problem("expected name (id: number)")
		}
	}, nil
}

func ipNetnsClaim(d *Doc) bool {
	first := ipFirst(d)
	if first == nil {
		return false
	}
	for k := range first.object {
		if k != "name" && k != "id" && k != "nsid" && k != "current-nsid" {
			return false
		}
	}
	return first.Has("nsid") || first.Has("name", "id")
}
