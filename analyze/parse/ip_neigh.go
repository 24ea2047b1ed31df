package parse

import (
	"bytes"
	"strconv"
	"strings"

	"whichbackend/analyze/record"
)

// ip neigh, also -j (iproute2 6.1.0):
//
//	10.244.1.2 dev cni0 lladdr c2:68:06:6a:cf:a1 REACHABLE
//	10.244.2.99 dev vb1 FAILED
//
// The state of a neighbour is a reading.
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
		if ipNeighState([]byte(last)) {
			device := ""
			if len(words) > 3 && words[1] == "dev" {
				device = words[2]
			}
			ipNeighEmit(words[0], device, last, out)
		}
	}, nil
}

func ipNeighEmit(address, device, state string, out *Out) {
	if device != "" {
		address += " dev " + device
	}
	out.Reading(record.Reading{Subject: address, Name: "state", Value: state})
}

func ipNeighClaim(d *Doc) bool {
	first := ipFirst(d)
	return first != nil && first.Has("dst", "state")
}

func ipNeighDoc(d *Doc, out *Out) {
	for i, raw := range d.Elements() {
		var e struct {
			Dst   *string  `json:"dst"`
			Dev   string   `json:"dev"`
			State []string `json:"state"`
		}
		at := "/" + strconv.Itoa(i)
		dockerDecode(raw, &e, at, out)
		if e.Dst == nil {
			continue
		}
		if _, ok := address([]byte(*e.Dst)); !ok {
			out.At(at + "/dst")
			out.Problem("expected an address")
			continue
		}
		for _, state := range e.State {
			if ipNeighState([]byte(state)) {
				out.At(at + "/state")
				ipNeighEmit(*e.Dst, e.Dev, state, out)
			}
		}
	}
}
