package parse

import (
	"bytes"
	"net/netip"
	"time"

	"whichbackend/analyze/record"
)

// Access log of an Istio proxy (Istio 1.28), and Envoy's own default format,
// which ends after the upstream host:
//
//	[2026-10-06T23:29:57.452Z] "- - -" 0 - - - "-" 1 1 17000 - "-" "-" "-" "-" "10.217.0.185:9000" outbound|9000||idle.test.svc.cluster.local 10.217.0.250:48758 10.217.4.96:9000 10.217.0.250:44296 - -
//
// A row is written when the request or connection ends. Its fields up to the
// user agent differ by version and may hold blanks and quotes, so a row is
// read from both ends: the time and the request from the left; the addresses
// and the quoted fields before them from the right.

// istioRequest cuts [TIME] "REQUEST" off a row. The path of a request may
// hold quotes: its end is a quote that a status code follows.
func istioRequest(b []byte) (start, request, rest []byte, ok bool) {
	if len(b) > 1 && b[0] == '[' {
		n := istioTimestamp(b[1:])
		if n == 0 || len(b) < n+4 || b[n+1] != ']' || b[n+2] != ' ' {
			return nil, nil, nil, false
		}
		start, b = b[1:n+1], b[n+3:]
	}
	if len(b) < 8 || b[0] != '"' || b[1] != '-' && (b[1] < 'A' || b[1] > 'Z') {
		return nil, nil, nil, false
	}
	for i := 2; i < len(b); i++ {
		j := bytes.IndexByte(b[i:], '"')
		if j < 0 {
			break
		}
		i += j
		if istioCode(b[i+1:]) && istioProtocol(b[1:i]) {
			return start, b[1:i], b[i+2:], true
		}
	}
	return nil, nil, nil, false
}

// istioCode tells " CODE " at the begin of a text.
func istioCode(b []byte) bool {
	if len(b) < 3 || b[0] != ' ' {
		return false
	}
	for i := 1; i < len(b) && i < 5; i++ {
		if b[i] == ' ' {
			return i > 1
		}
		if b[i] < '0' || b[i] > '9' {
			return false
		}
	}
	return false
}

// istioProtocol tells whether a request ends in a protocol, or is of none.
func istioProtocol(b []byte) bool {
	p := b[bytes.LastIndexByte(b, ' ')+1:]
	return bytes.HasPrefix(p, []byte("HTTP/")) || string(p) == "-"
}

func istioAccessHead(b []byte) bool {
	if len(b) < 12 {
		return false
	}
	switch b[0] {
	case '[', '2', '"', '`':
		return istioAccessBody(istioLogBody(b, nil))
	case '{':
		if bytes.HasPrefix(b, istioDockerLog) {
			return istioDockerHead(b)
		}
		return istioAccessBody(b)
	case '=':
		return bytes.HasPrefix(b, istioBugReportMark)
	}
	return false
}

func istioDockerHead(b []byte) bool {
	var buf [4096]byte
	return istioAccessBody(istioLogBody(b, buf[:]))
}

func istioAccessBody(b []byte) bool {
	if _, _, _, ok := istioRequest(b); ok {
		return true
	}
	if istioAccessJSON(b) {
		return true
	}
	return istioOtherLine(b) && !ztunnelAccessRow(b)
}

// istioOtherLine tells a line of the log of a proxy that is no access row.
func istioOtherLine(b []byte) bool {
	if _, ok := istioLogLine(b); ok {
		return true
	}
	return istioJSONLine(b) || istioEnvoyLine(b)
}

// istioEnvoyLine tells Envoy's own log format, [DATE TIME][THREAD][LEVEL]....
func istioEnvoyLine(b []byte) bool {
	if bytes.HasPrefix(b, []byte("[Envoy (")) {
		return true
	}
	return len(b) > 30 && b[0] == '[' && b[1] == '2' && b[5] == '-' && b[11] == ' ' && b[24] == ']' && b[25] == '['
}

// istioMaxRow bounds a row of JSON; what is longer is a document.
const istioMaxRow = 64 << 10

// istioAccessJSON has a cheap look at an object on one line.
func istioAccessJSON(b []byte) bool {
	if len(b) < 20 || len(b) > istioMaxRow || b[0] != '{' || b[len(b)-1] != '}' {
		return false
	}
	found := false
	istioFlat(b, func(key, value []byte) bool {
		found = istioAccessKey(key)
		return !found
	})
	return found
}

func istioAccessKey(key []byte) bool {
	switch string(key) {
	case "downstream_remote_address", "downstream_local_address", "upstream_host", "upstream_cluster":
		return true
	}
	return false
}

// istioAccess is the state of a section: names repeat from row to row.
type istioAccess struct {
	out    *Out
	buf    []byte
	fields [][]byte
	names  map[string]string
	inLog  bool // the last line was a log line, and may go on
}

func istioAccessOpen(out *Out) (func([]byte), func()) {
	a := &istioAccess{out: out, names: map[string]string{}}
	return a.line, nil
}

// name interns a name, so that a log of millions of rows holds each once.
func (a *istioAccess) name(b []byte) string {
	if s, ok := a.names[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(a.names) < 1<<14 {
		a.names[s] = s
	}
	return s
}

func (a *istioAccess) line(b []byte) {
	if bytes.HasPrefix(bytes.TrimSpace(b), istioDockerLog) && cap(a.buf) < len(b)+8 {
		a.buf = make([]byte, 0, len(b)+1024)
	}
	b = istioLogBody(b, a.buf)
	if len(b) == 0 {
		return
	}
	start, request, rest, ok := istioRequest(b)
	switch {
	case ok:
		a.inLog = false
		a.row(start, request, rest)
	case b[0] == '{' && istioAccessJSON(b):
		a.inLog = false
		a.json(b)
	case istioOtherLine(b) || bytes.HasPrefix(b, istioBugReportMark):
		a.inLog = true
		a.out.Ignore()
	case a.inLog:
		a.out.Ignore()
	default:
		a.out.Problem("expected a row of an access log")
	}
}

// istioLastQuoted cuts the last "TEXT" off.
func istioLastQuoted(b []byte) (before, text []byte, ok bool) {
	b = bytes.TrimRight(b, " ")
	if len(b) < 2 || b[len(b)-1] != '"' {
		return nil, nil, false
	}
	i := bytes.LastIndexByte(b[:len(b)-1], '"')
	if i < 0 {
		return nil, nil, false
	}
	return b[:i], b[i+1 : len(b)-1], true
}

// row reads what follows the request: CODE FLAGS ... "REQUEST-ID" "AUTHORITY"
// "UPSTREAM-HOST" [CLUSTER UPSTREAM-LOCAL DOWNSTREAM-LOCAL DOWNSTREAM-REMOTE
// SERVER-NAME [ROUTE]].
func (a *istioAccess) row(start, request, rest []byte) {
	t := record.Translation{Protocol: record.TCP, Via: record.ViaAccessLog, Timeout: -1, Closing: true}
	t.Request = request[0] != '-'
	end := bytes.LastIndexByte(rest, '"') + 1
	tail := rest[end:]
	front, host, ok := istioLastQuoted(rest[:end])
	if ok {
		front, _, ok = istioLastQuoted(front) // the authority
	}
	var id []byte
	if ok {
		front, id, ok = istioLastQuoted(front)
	}
	if !ok {
		a.out.Problem(`expected "REQUEST-ID" "AUTHORITY" "UPSTREAM-HOST"`)
		return
	}
	a.fields = fields(tail, a.fields)
	plain := a.front(&t, front)
	switch {
	case len(a.fields) == 0 && plain:
		t.After.Destination, _ = addressPort(host)
		t.Request = true // Envoy's default log tells no more of a connection
	case len(a.fields) >= 5:
		if !a.addresses(&t, a.fields, host) {
			a.out.Problem("expected CLUSTER and three addresses after the upstream host")
			return
		}
	default:
		a.out.Problem("expected CLUSTER UPSTREAM-LOCAL DOWNSTREAM-LOCAL DOWNSTREAM-REMOTE SERVER-NAME after the upstream host")
		return
	}
	if len(start) > 0 {
		if t.Start.UnmarshalText(start) != nil {
			a.out.Problem("expected a time")
			return
		}
	}
	if !istioAbsent(id) {
		t.RequestID = string(id)
	}
	a.out.Translation(t)
}

// front reads CODE FLAGS, and the numbers BYTES-RECEIVED BYTES-SENT DURATION
// SERVICE-TIME, which stand between quoted fields. It tells whether the row
// has the fields of Envoy's default format and all of them.
func (a *istioAccess) front(t *record.Translation, b []byte) (plain bool) {
	b = bytes.TrimLeft(b[min(len(b), max(0, bytes.IndexByte(b, ' '))):], " ")
	i := bytes.IndexByte(b, ' ')
	if i < 0 {
		return false
	}
	if flags := b[:i]; !istioAbsent(flags) {
		t.Flags = a.name(flags)
	}
	b = b[i:]
	var buf [4][]byte
	for round := 0; round < 8; round++ {
		quote := bytes.IndexByte(b, '"')
		if quote < 0 {
			return false
		}
		f := fields(b[:quote], buf[:0])
		if len(f) == 4 && istioNumbers(t, f) {
			// "XFF" "USER-AGENT" are left of the three that were cut off.
			return round == 0 && bytes.Count(b[quote:], []byte(`" "`)) >= 1
		}
		next := bytes.IndexByte(b[quote+1:], '"')
		if next < 0 {
			return false
		}
		b = b[quote+next+2:]
	}
	return false
}

func istioNumbers(t *record.Translation, f [][]byte) bool {
	received, ok1 := number(f[0])
	sent, ok2 := number(f[1])
	ms, ok3 := number(f[2])
	if !ok1 || !ok2 || !ok3 {
		return false
	}
	t.Bytes = received + sent
	t.Duration = istioMilliseconds(ms)
	return true
}

// istioMilliseconds is a duration, 0 when it is longer than a year: no
// connection is, and the product must not overflow.
func istioMilliseconds(ms uint64) time.Duration {
	if ms > 366*24*3600*1000 {
		return 0
	}
	return time.Duration(ms) * time.Millisecond
}

// addresses reads CLUSTER UPSTREAM-LOCAL DOWNSTREAM-LOCAL DOWNSTREAM-REMOTE.
func (a *istioAccess) addresses(t *record.Translation, f [][]byte, host []byte) bool {
	var ok [3]bool
	t.After.Source, ok[0] = istioAddress(f[1])
	t.Before.Destination, ok[1] = istioAddress(f[2])
	t.Before.Source, ok[2] = istioAddress(f[3])
	a.upstream(t, f[0], host)
	return ok[0] && ok[1] && ok[2]
}

// upstream notes the cluster and its host. A host that is a name, a file or
// internal to the proxy (envoy://connect_originate/...) is no address.
func (a *istioAccess) upstream(t *record.Translation, cluster, host []byte) {
	t.After.Destination, _ = addressPort(host)
	if istioAbsent(cluster) {
		return
	}
	cluster = bytes.TrimSuffix(cluster, []byte(";"))
	t.Cluster = a.name(cluster)
	t.Ingress = bytes.HasPrefix(cluster, []byte("inbound|")) || bytes.HasPrefix(cluster, []byte("InboundPassthroughCluster"))
}

func istioAbsent(b []byte) bool {
	return len(b) == 0 || len(b) == 1 && b[0] == '-' || string(b) == "null"
}

// istioAddress reads an address with a port. One that is absent, a file or
// internal to the proxy is zero.
func istioAddress(b []byte) (netip.AddrPort, bool) {
	if istioAbsent(b) {
		return netip.AddrPort{}, true
	}
	if ap, ok := addressPort(b); ok {
		return ap, true
	}
	return netip.AddrPort{}, bytes.IndexByte(b, '/') >= 0 || b[0] == '@'
}
