package parse

import (
	"bytes"
	"net/netip"
	"strings"

	"whichbackend/analyze/record"
)

// dockerMaxPorts bounds the ports that one cell may expand to. A media relay
// may publish as many.
const dockerMaxPorts = 1 << 14

// dockerPublished emits one service for each published port of a PORTS cell:
// "0.0.0.0:7000-7002->7000-7002/tcp, [::]:8080->80/tcp, :::53->53/udp, 9100/tcp".
// It returns what it did not understand.
func dockerPublished(cell string, base record.Service, out *Out) (why string) {
	left := dockerMaxPorts
	for _, item := range strings.Split(cell, ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			continue
		}
		before, after, published := strings.Cut(item, "->")
		if !published {
			if _, _, _, ok := dockerPortRange(item); !ok {
				why = "expected port/protocol in PORTS"
			}
			continue
		}
		host, range1 := netip.IPv4Unspecified(), before
		if i := strings.LastIndexByte(before, ':'); i >= 0 {
			range1 = before[i+1:]
			if a := before[:i]; a != "*" && a != "" {
				var ok bool
				if host, ok = address([]byte(a)); !ok {
					why = "expected address:port->port/protocol in PORTS"
					continue
				}
			}
		}
		hostLow, hostHigh, _, ok1 := dockerPortRange(range1)
		low, high, proto, ok2 := dockerPortRange(after)
		if !ok1 || !ok2 || proto == 0 || hostHigh-hostLow != high-low {
			why = "expected address:port->port/protocol in PORTS"
			continue
		}
		if left -= high - low + 1; left < 0 {
			return "too many published ports in one cell"
		}
		for p := low; p <= high; p++ {
			s := base
			s.Protocol = proto
			s.Address = netip.AddrPortFrom(host, uint16(hostLow+p-low))
			s.TargetPort = uint16(p)
			out.Service(s)
		}
	}
	return why
}

// dockerPortRange reads "80", "80-82", "80/tcp" or "80-82/tcp".
func dockerPortRange(s string) (low, high int, proto record.Protocol, ok bool) {
	if i := strings.IndexByte(s, '/'); i >= 0 {
		if proto, ok = protocolNumber(s[i+1:]); !ok {
			return 0, 0, 0, false
		}
		s = s[:i]
	}
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		last = first
	}
	a, ok1 := number([]byte(first))
	b, ok2 := number([]byte(last))
	return int(a), int(b), proto, ok1 && ok2 && a <= b && b <= 65535
}

// dockerIsPort tells whether a line is a row of docker port:
//
//	8080/tcp -> [::]:18080
func dockerIsPort(line []byte) bool {
	i := bytes.IndexByte(line[:min(len(line), 6)], '/')
	if i < 1 || line[0] < '0' || line[0] > '9' {
		return false
	}
	rest := line[i+1:]
	for _, p := range []string{"tcp -> ", "udp -> ", "sctp -> "} {
		if len(rest) > len(p) && string(rest[:len(p)]) == p {
			return true
		}
	}
	return false
}

// dockerPortRow reads a row of docker port. The container is named only by
// the command.
func dockerPortRow(line []byte, out *Out) {
	i := bytes.Index(line, []byte(" -> "))
	target, _, proto, ok := dockerPortRange(string(line[:i]))
	at, ok2 := addressPort(bytes.TrimSpace(line[i+4:]))
	if !ok || !ok2 {
		out.Problem("expected port/protocol -> address:port")
		return
	}
	out.Service(record.Service{Source: record.FromDocker, Mechanism: "docker", Type: "published", Protocol: proto,
		Address: at, TargetPort: uint16(target), Name: dockerPortOf(out.Command())})
}

// dockerPortOf is the container in "docker port CONTAINER".
func dockerPortOf(command string) string {
	words := shellWords(command)
	for i, w := range words {
		if w == "port" && i+1 < len(words) && !strings.HasPrefix(words[i+1], "-") {
			return words[i+1]
		}
	}
	return ""
}
