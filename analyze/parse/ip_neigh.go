package parse

import (
	"bytes"
	"strings"
)

// ip neigh, also -j (iproute2 6.1.0):
//
//	10.244.1.2 dev cni0 lladdr c2:68:06:6a:cf:a1 REACHABLE
//	10.244.2.99 dev vb1 FAILED
//
// Neighbours make no records. They are read so that a broken listing is noticed.
var ipNeighFormat = Format{Name: "ip-neigh", Head: ipNeighHead, Open: ipNeighOpen, Claim: ipNeighClaim, Doc: ipNeighDoc}

// ipNeighState tells the state that a line of ip neigh ends in. -s puts its
// counters before it.
func ipNeighState(word []byte) bool {
	switch string(word) {
	case "REACHABLE", "STALE", "DELAY", "PROBE", "FAILED", "INCOMPLETE", "PERMANENT", "NOARP", "NONE":
		return true
	}
	return false
}

// ipNeighFlag tells a flag, in which the line of a neighbour without a state ends.
func ipNeighFlag(word string) bool {
	switch word {
	case "router", "proxy", "managed", "extern_learn", "offload":
		return true
	}
	return false
}

func ipNeighHead(line []byte) bool {
	if len(line) < 10 || (line[0] < '0' || line[0] > '9') && (line[0] < 'a' || line[0] > 'f') {
		return false
	}
	first, second := ipWords(line)
	switch string(second) {
	case "dev", "lladdr": // lladdr follows when one device was asked for
	default:
		if !ipNeighState(second) {
			return false
		}
	}
	last := line[bytes.LastIndexByte(line, ' ')+1:]
	if !ipNeighState(last) && !bytes.Contains(line, []byte(" lladdr ")) && string(last) != "proxy" {
		return false
	}
	_, ok := address(first)
	return ok && bytes.IndexByte(first, '/') < 0
}

func ipNeighOpen(out *Out) (func([]byte), func()) {
	return func(b []byte) {
		words := strings.Fields(string(b))
		if len(words) == 0 {
			return
		}
		if n := len(words); n > 3 && words[n-2] == "proto" {
			words = words[:n-2]
		}
		_, ok := address([]byte(words[0]))
		last := words[len(words)-1]
		if !ok || len(words) < 2 || !ipNeighState([]byte(last)) && !ipNeighFlag(last) {
			out.Problem("expected an address, a device and a state")
			return
		}
		out.Understood()
	}, nil
}

func ipNeighClaim(d *Doc) bool {
	first := ipFirst(d)
	return first != nil && first.Has("dst", "state")
}

func ipNeighDoc(d *Doc, out *Out) { ipCheckDestinations(d.Elements(), out) }
