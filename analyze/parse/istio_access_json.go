package parse

import (
	"bytes"

	"whichbackend/analyze/record"
)

// Access log as JSON, of Istio (since 1.9 numbers and null; before, strings
// and "-") and of Envoy Gateway, which names some keys after headers:
//
//	{"start_time":"2023-05-02T01:45:04.154Z","method":"GET","upstream_host":"10.10.241.82:80","upstream_cluster":"outbound|8000||httpbin.demo.svc.cluster.local",...}

// istioFields are the fields of a row that are read, as they stand.
type istioFields struct {
	start, method, protocol, code, flags, id, typ []byte
	received, sent, duration                      []byte
	host, cluster, upLocal, downLocal, downRemote []byte
}

func (f *istioFields) set(key, value []byte) bool {
	switch string(key) {
	case "start_time":
		f.start = value
	case "method", ":method":
		f.method = value
	case "protocol":
		f.protocol = value
	case "response_code":
		f.code = value
	case "response_flags":
		f.flags = value
	case "request_id", "x-request-id":
		f.id = value
	case "access_log_type":
		f.typ = value
	case "bytes_received":
		f.received = value
	case "bytes_sent":
		f.sent = value
	case "duration":
		f.duration = value
	case "upstream_host":
		f.host = value
	case "upstream_cluster", "upstream_cluster_raw":
		f.cluster = value
	case "upstream_local_address":
		f.upLocal = value
	case "downstream_local_address":
		f.downLocal = value
	case "downstream_remote_address":
		f.downRemote = value
	}
	return true
}

// json reads a row. It comes as a line, and from a document that is printed
// over several.
func (a *istioAccess) json(b []byte) {
	var f istioFields
	if !istioFlat(b, f.set) {
		a.out.Problem("expected a whole JSON object")
		return
	}
	t := record.Translation{Protocol: record.TCP, Via: record.ViaAccessLog, Timeout: -1, Closing: istioAtEnd(f.typ)}
	var ok [3]bool
	t.After.Source, ok[0] = istioAddress(f.upLocal)
	t.Before.Destination, ok[1] = istioAddress(f.downLocal)
	t.Before.Source, ok[2] = istioAddress(f.downRemote)
	if !ok[0] || !ok[1] || !ok[2] {
		a.out.Problem("expected addresses of both ends")
		return
	}
	a.upstream(&t, f.cluster, f.host)
	if !istioAbsent(f.flags) {
		t.Flags = a.name(f.flags)
	}
	if !istioAbsent(f.id) {
		t.RequestID = string(f.id)
	}
	t.Request = istioIsRequest(&f)
	received, _ := number(f.received)
	sent, _ := number(f.sent)
	t.Bytes = received + sent
	if ms, ok := number(f.duration); ok {
		t.Duration = istioMilliseconds(ms)
	}
	if !istioAbsent(f.start) && t.Start.UnmarshalText(f.start) != nil {
		a.out.Problem("expected a time")
		return
	}
	a.out.Translation(t)
}

// istioIsRequest tells a request from a connection: a row of a TCP proxy has
// no method, no protocol and the response code 0.
func istioIsRequest(f *istioFields) bool {
	if !istioAbsent(f.method) || bytes.HasPrefix(f.protocol, []byte("HTTP/")) {
		return true
	}
	code, ok := number(f.code)
	return ok && code > 0
}

// istioAtEnd tells rows that are written at the end from those that
// access_log_options add at the start and in between.
func istioAtEnd(typ []byte) bool {
	switch string(typ) {
	case "TcpUpstreamConnected", "TcpPeriodic", "TcpConnectionStart", "DownstreamStart", "DownstreamPeriodic",
		"DownstreamTunnelSuccessfullyEstablished", "UpstreamPoolReady", "UpstreamPeriodic", "UdpTunnelUpstreamConnected", "UdpPeriodic":
		return false
	}
	return true
}

func istioAccessClaim(d *Doc) bool {
	return d.Has("downstream_remote_address") && (d.Has("upstream_host") || d.Has("upstream_cluster")) ||
		d.Has("upstream_host", "upstream_cluster") || d.Has("level", "time", "msg")
}

func istioAccessDoc(d *Doc, out *Out) {
	if d.Has("level", "time", "msg") {
		return
	}
	a := &istioAccess{out: out, names: map[string]string{}}
	out.text = d.Raw
	a.json(d.Raw)
}
