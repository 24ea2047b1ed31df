package parse

import (
	"bytes"
	"net/netip"
	"strings"

	"whichbackend/analyze/record"
)

// Tables of istioctl proxy-config and proxy-status (istioctl 1.17):
//
//	ENDPOINT                STATUS      OUTLIER CHECK     CLUSTER
//	10.10.0.21:3000         HEALTHY     OK                outbound|80||catalog.shop.svc.cluster.local
//
//	ADDRESS      PORT  MATCH                                 DESTINATION
//	10.200.1.10  53    ALL                                   Cluster: outbound|53||kube-dns.kube-system.svc.cluster.local
//
// Of the two tables that are used, a row can be read by its words alone,
// whatever became of the padding: in one no column holds a blank, in the other
// only MATCH does, and what follows it begins with a word of its own.

type istioctlKind uint8

const (
	istioctlNone istioctlKind = iota
	istioctlEndpoints
	istioctlListeners
	istioctlStatus
	istioctlOther // known, and nothing to be had from it
)

// istioctlHeaders are the headers, blanks folded, each a whole line or, where
// it ends in a blank, the begin of one.
var istioctlHeaders = []struct {
	text string
	kind istioctlKind
}{
	{"ENDPOINT STATUS OUTLIER CHECK CLUSTER", istioctlEndpoints},
	{"ENDPOINT STATUS CLUSTER", istioctlEndpoints},
	{"NAME STATUS LOCALITY CLUSTER", istioctlEndpoints},
	{"ADDRESS PORT MATCH DESTINATION", istioctlListeners},
	{"ADDRESSES PORT MATCH DESTINATION", istioctlListeners},
	{"NAME ADDRESS PORT MATCH DESTINATION", istioctlListeners},
	{"NAME ADDRESSES PORT MATCH DESTINATION", istioctlListeners},
	{"ADDRESS PORT TYPE", istioctlOther},
	{"SERVICE FQDN PORT SUBSET DIRECTION TYPE", istioctlOther},
	{"SERVICE FQDN PORT SUBSET DIRECTION TYPE DESTINATION RULE", istioctlOther},
	{"NAME SERVICE FQDN PORT SUBSET DIRECTION TYPE DESTINATION RULE", istioctlOther},
	{"NAME DOMAINS MATCH VIRTUAL SERVICE", istioctlOther},
	{"NAME VHOST NAME DOMAINS MATCH VIRTUAL SERVICE", istioctlOther},
	{"NAME VIRTUAL HOSTS", istioctlOther},
	{"RESOURCE NAME TYPE STATUS VALID CERT SERIAL NUMBER NOT AFTER NOT BEFORE", istioctlOther},
	{"RESOURCE NAME TYPE STATUS VALID CERT SERIAL NUMBER NOT AFTER NOT BEFORE TRUST DOMAIN", istioctlOther},
	{"NAME CDS LDS EDS RDS ", istioctlStatus},
	{"NAME CLUSTER CDS LDS EDS RDS ", istioctlStatus},
	{"NAME CLUSTER ISTIOD VERSION SUBSCRIBED TYPES", istioctlOther},
	{"Istio Version: ", istioctlOther},
	{"Istio Proxy Version: ", istioctlOther},
	{"Envoy Version: ", istioctlOther},
	{"NOTE: This output only contains routes loaded via RDS.", istioctlOther},
}

// istioctlFold copies a line with each run of blanks as one.
func istioctlFold(b []byte) string {
	var buf [24][]byte
	return string(bytes.Join(fields(b, buf[:0]), []byte(" ")))
}

func istioctlHeader(b []byte) istioctlKind {
	if len(b) < 12 || len(b) > 1000 {
		return istioctlNone
	}
	switch b[0] {
	case 'E', 'N', 'A', 'S', 'R', 'I':
	default:
		return istioctlNone
	}
	for i := range istioctlHeaders {
		if h := &istioctlHeaders[i]; bytes.HasPrefix(b, []byte(h.text[:4])) {
			return istioctlMatch(istioctlFold(b))
		}
	}
	return istioctlNone
}

func istioctlMatch(line string) istioctlKind {
	for _, h := range istioctlHeaders {
		if line == h.text || strings.HasSuffix(h.text, " ") && strings.HasPrefix(line, h.text) {
			return h.kind
		}
	}
	return istioctlNone
}

func istioctlHead(b []byte) bool {
	return istioctlHeader(b) != istioctlNone || istioctlRow(b) != istioctlNone
}

// istioctlRow tells rows that no other tool writes, for tables whose header
// grep cut off.
func istioctlRow(b []byte) istioctlKind {
	if len(b) < 20 || len(b) > 2000 || !(b[0] >= '0' && b[0] <= '9' || b[0] == '[' || b[0] == ':' || b[0] >= 'a' && b[0] <= 'f' || b[0] == 'u') {
		return istioctlNone
	}
	var buf [6][]byte
	if bytes.Contains(b, []byte("HEALTHY")) {
		f := fields(b, buf[:0])
		if len(f) == 3 || len(f) == 4 {
			_, ok := addressPort(f[0])
			if (ok || bytes.Contains(f[0], []byte("://"))) && istioctlHealth(f[1]) {
				return istioctlEndpoints
			}
		}
		return istioctlNone
	}
	if bytes.Contains(b, []byte(" Cluster: ")) || bytes.Contains(b, []byte(" Route: ")) || bytes.HasSuffix(b, []byte("PassthroughCluster")) {
		if addrs, _, _ := istioctlAddresses(b); len(addrs) > 0 {
			return istioctlListeners
		}
	}
	return istioctlNone
}

func istioctlHealth(word []byte) bool {
	switch string(word) {
	case "HEALTHY", "UNHEALTHY", "DRAINING", "TIMEOUT", "DEGRADED", "UNKNOWN":
		return true
	}
	return false
}

// istioctlRun is the state of a section: which table it is in, and the
// clusters of a table of endpoints, whose rows are sorted by host.
type istioctlRun struct {
	out      *Out
	kind     istioctlKind
	headed   bool     // the table has its header
	columns  []string // of a table of proxy-status
	clusters map[string]int
	services []record.Service
	leftOut  map[string]bool
}

func istioctlOpen(out *Out) (func([]byte), func()) {
	t := &istioctlRun{out: out}
	return t.line, t.flush
}

func (t *istioctlRun) line(b []byte) {
	trimmed := bytes.TrimSpace(b)
	if len(trimmed) == 0 {
		t.kind = istioctlNone // what follows a table is not of it
		return
	}
	if kind := istioctlHeader(trimmed); kind != istioctlNone {
		t.flush()
		t.kind, t.headed, t.columns = kind, true, strings.Fields(string(trimmed))
		t.out.Understood()
		return
	}
	if kind := istioctlRow(trimmed); kind != istioctlNone && t.kind == istioctlNone {
		t.kind = kind
	}
	switch t.kind {
	case istioctlEndpoints:
		t.endpoint(trimmed)
	case istioctlListeners:
		t.listener(trimmed)
	case istioctlStatus:
		t.status(trimmed)
	case istioctlOther:
		t.out.Ignore()
	}
}

// endpoint reads ENDPOINT STATUS [OUTLIER CHECK | LOCALITY] CLUSTER.
func (t *istioctlRun) endpoint(b []byte) {
	var buf [6][]byte
	f := fields(b, buf[:0])
	if len(f) < 3 || len(f) > 4 || !istioctlHealth(f[1]) {
		t.out.Problem("expected ENDPOINT STATUS ... CLUSTER")
		return
	}
	host := bytes.TrimPrefix(f[0], []byte("endpoint/"))
	name := envoyReadName(string(f[len(f)-1]))
	if t.clusters == nil {
		t.clusters, t.leftOut = map[string]int{}, map[string]bool{}
	}
	i, ok := t.clusters[name.cluster]
	if !ok {
		i = len(t.services)
		t.clusters[name.cluster] = i
		s := envoyClusterService(name)
		s.Line = t.out.Line()
		t.services = append(t.services, s)
	}
	t.out.Understood()
	addr, ok := addressPort(host)
	if !ok {
		if bytes.IndexByte(host, '/') < 0 && bytes.IndexByte(host, '@') != 0 {
			t.out.Problem("expected an address with a port, a path or an internal address")
		}
		t.leftOut[name.cluster] = true
		return
	}
	t.services[i].Backends = append(t.services[i].Backends, record.Backend{Address: addr, Weight: -1, Active: -1, State: istioctlState(f),
		Pos: record.Pos{Line: t.out.Line()}})
}

// istioctlState puts STATUS and OUTLIER CHECK into one state.
func istioctlState(f [][]byte) string {
	state := envoyHealth(string(f[1]))
	if len(f) < 4 || string(f[2]) != "FAILED" {
		return state
	}
	if state != "" && state != "unhealthy" {
		return "unhealthy: " + state + ", failed_outlier_check"
	}
	return "unhealthy: failed_outlier_check"
}

// flush emits the clusters of a table of endpoints. The table can be cut down
// by istioctl's own flags; only where none is seen does it name every host.
func (t *istioctlRun) flush() {
	whole := t.headed && !istioctlFiltered(t.out.Command())
	for _, s := range t.services {
		s.Complete = whole && !t.leftOut[s.Cluster] && !envoyReadName(s.Cluster).open
		t.out.Service(s)
	}
	t.clusters, t.services, t.leftOut, t.headed = nil, nil, nil, false
}

func istioctlFiltered(command string) bool {
	for _, f := range []string{"--address", "--port", "--status", "|"} {
		if strings.Contains(command, f) {
			return true
		}
	}
	return false
}

// listener reads [NAME] ADDRESS PORT MATCH DESTINATION.
func (t *istioctlRun) listener(b []byte) {
	addrs, rest, ok := istioctlAddresses(b)
	if !ok {
		t.out.Problem("expected ADDRESS PORT MATCH DESTINATION")
		return
	}
	t.out.Understood()
	if len(addrs) == 0 {
		return
	}
	s := record.Service{Source: record.FromEnvoyListener, Protocol: record.TCP, Mechanism: "istio"}
	match := rest
	if i := bytes.LastIndex(rest, []byte("Inline Route: ")); i >= 0 {
		return // a page of the proxy's own, or requests to this pod itself
	} else if i := bytes.LastIndex(rest, []byte("Cluster: ")); i >= 0 {
		name := envoyReadName(string(bytes.TrimSpace(rest[i+len("Cluster: "):])))
		s.Cluster, s.Type, match = name.cluster, name.direction, rest[:i]
	} else if i := bytes.LastIndex(rest, []byte("Route: ")); i >= 0 {
		s.HTTP, match = true, rest[:i]
		s.Port = string(bytes.TrimSpace(rest[i+len("Route: "):]))
	} else if last := rest[bytes.LastIndexAny(rest, " \t")+1:]; bytes.HasSuffix(last, []byte("Cluster")) || bytes.Contains(last, []byte("PassthroughCluster")) {
		s.Cluster, match = string(last), rest[:len(rest)-len(last)]
	} else {
		return // Non-HTTP/Non-TCP: it leads nowhere
	}
	if s.Cluster == "" && !s.HTTP {
		t.out.Problem("expected a cluster")
		return
	}
	if dialled := istioctlMatched(match, addrs[0].Port()); len(dialled) > 0 {
		addrs = dialled
	}
	for _, a := range addrs {
		s.Address = a
		if a.Addr().IsUnspecified() {
			switch a.Port() {
			case 15001:
				s.Type = "virtual-outbound"
			case 15006:
				s.Type = "virtual-inbound"
			}
		}
		t.out.Service(s)
	}
}

// istioctlAddresses reads [NAME] ADDRESS[,ADDRESS] PORT. A row of a listener
// that is internal to the proxy has no address: ok, and none.
func istioctlAddresses(b []byte) (addrs []netip.AddrPort, rest []byte, ok bool) {
	for skipped := 0; skipped < 2; skipped++ {
		word, after := istioctlWord(b)
		if _, isPort := number(word); isPort && skipped == 1 {
			return nil, after, true
		}
		list := bytes.Split(word, []byte(","))
		if _, isAddr := address(list[0]); !isAddr {
			b = after
			continue
		}
		num, rest := istioctlWord(after)
		p, ok := port(num)
		if !ok {
			return nil, nil, false
		}
		for _, a := range list {
			if addr, ok := address(a); ok {
				addrs = append(addrs, netip.AddrPortFrom(addr, p))
			}
		}
		return addrs, rest, true
	}
	return nil, nil, false
}

func istioctlWord(b []byte) (word, rest []byte) {
	b = bytes.TrimLeft(b, " \t")
	i := bytes.IndexAny(b, " \t")
	if i < 0 {
		return b, nil
	}
	return b[:i], bytes.TrimLeft(b[i:], " \t")
}

// istioctlMatched reads the single addresses of MATCH: Addr: 10.0.0.1/32[:80].
func istioctlMatched(match []byte, p uint16) []netip.AddrPort {
	i := bytes.Index(match, []byte("Addr: "))
	if i < 0 {
		return nil
	}
	word, _ := istioctlWord(match[i+len("Addr: "):])
	var out []netip.AddrPort
	for _, w := range bytes.Split(bytes.TrimRight(word, ";"), []byte(",")) {
		slash := bytes.LastIndexByte(w, '/')
		if slash < 0 {
			return nil
		}
		a, ok := address(w[:slash])
		bits, _, _ := bytes.Cut(w[slash+1:], []byte(":"))
		n, isNumber := number(bits)
		if !ok || !isNumber || n != uint64(a.BitLen()) {
			return nil
		}
		out = append(out, netip.AddrPortFrom(a, p))
	}
	return out
}
