package parse

import (
	"bytes"
	"net/netip"
	"time"

	"whichbackend/analyze/record"
)

// Access log of ztunnel (Istio 1.24), by tabs or blanks, its values quoted or
// bare, and as JSON:
//
//	2025-01-23T05:07:25.806642Z	info	access	connection complete	src.addr=10.129.0.48:40978 src.workload="shop-1" dst.addr=10.129.0.43:15008 dst.hbone_addr=10.129.0.43:9080 dst.workload="details-1" dst.namespace="shop" direction="outbound" bytes_sent=283 bytes_recv=358 duration="2ms"
//
// dst.addr is the next socket. dst.hbone_addr is what the tunnel was asked
// for: with the address of the same pod, that is where the connection ends.
// With another address dst.addr is a waypoint or gateway, which was asked for
// what the client dialled; where the connection ends is not in this row. Only
// then is the dialled address in the log.

var (
	ztunnelAccess   = []byte("access")
	ztunnelMessages = [][]byte{[]byte("connection complete"), []byte("connection opened"), []byte("connection failed"), []byte("connection closed")}
)

// ztunnelMessage cuts [TIME] LEVEL access MESSAGE off.
func ztunnelMessage(b []byte) (when, message, rest []byte, ok bool) {
	if n := istioTimestamp(b); n > 0 {
		when = b[:n]
	}
	rest, stamped := istioLogLine(b)
	if rest == nil || !stamped && len(when) > 0 || !bytes.HasPrefix(rest, ztunnelAccess) {
		return nil, nil, nil, false
	}
	rest = rest[len(ztunnelAccess):]
	if len(rest) == 0 || rest[0] != ' ' && rest[0] != '\t' {
		return nil, nil, nil, false
	}
	rest = bytes.TrimLeft(rest, " \t")
	for _, m := range ztunnelMessages {
		if bytes.HasPrefix(rest, m) {
			return when, m, rest[len(m):], true
		}
	}
	return nil, nil, nil, false
}

func ztunnelAccessRow(b []byte) bool {
	if _, _, _, ok := ztunnelMessage(b); ok {
		return true
	}
	return ztunnelJSONRow(b)
}

func ztunnelJSONRow(b []byte) bool {
	return istioJSONLine(b) && bytes.Contains(b[:min(len(b), 120)], []byte(`"scope":"access"`))
}

func ztunnelAccessHead(b []byte) bool {
	if len(b) < 20 {
		return false
	}
	switch b[0] {
	case '[', '2', '`', 'i', 'w', 'e', 'd':
		b = istioLogBody(b, nil)
		return ztunnelAccessRow(b) || istioOtherLine(b)
	case '{':
		if bytes.HasPrefix(b, istioDockerLog) {
			return ztunnelDockerHead(b)
		}
		return istioJSONLine(b)
	}
	return false
}

func ztunnelDockerHead(b []byte) bool {
	var buf [512]byte
	b = istioLogBody(b, buf[:])
	return ztunnelAccessRow(b) || istioOtherLine(b)
}

// ztunnelFields are the values of a row, as they stand.
type ztunnelFields struct {
	when, message                                         []byte
	srcAddr, dstAddr, hbone, service, workload, namespace []byte
	direction, sent, received, duration, problem          []byte
}

func (f *ztunnelFields) set(key, value []byte) bool {
	switch string(key) {
	case "src.addr":
		f.srcAddr = value
	case "dst.addr":
		f.dstAddr = value
	case "dst.hbone_addr":
		f.hbone = value
	case "dst.service":
		f.service = value
	case "dst.workload":
		f.workload = value
	case "dst.namespace":
		f.namespace = value
	case "direction":
		f.direction = value
	case "bytes_sent":
		f.sent = value
	case "bytes_recv":
		f.received = value
	case "duration":
		f.duration = value
	case "error":
		f.problem = value
	case "time":
		f.when = value
	case "message":
		f.message = value
	}
	return true
}

// ztunnelPairs walks KEY=VALUE, where a value is bare or quoted.
func ztunnelPairs(b []byte, set func(key, value []byte) bool) {
	for {
		b = bytes.TrimLeft(b, " \t")
		eq := bytes.IndexByte(b, '=')
		if eq <= 0 {
			return
		}
		key := b[:eq]
		b = b[eq+1:]
		if len(b) > 0 && b[0] == '"' {
			end := istioString(b, 0)
			if end < 0 {
				return // cut: the value is not whole
			}
			set(key, b[1:end-1])
			b = b[end:]
			continue
		}
		end := bytes.IndexAny(b, " \t")
		if end < 0 {
			end = len(b)
		}
		set(key, b[:end])
		b = b[end:]
	}
}

type ztunnelLog struct {
	out   *Out
	buf   []byte
	names map[string]string
	inLog bool
}

func ztunnelAccessOpen(out *Out) (func([]byte), func()) {
	z := &ztunnelLog{out: out, names: map[string]string{}}
	return z.line, nil
}

func (z *ztunnelLog) line(b []byte) {
	if bytes.HasPrefix(bytes.TrimSpace(b), istioDockerLog) && cap(z.buf) < len(b)+8 {
		z.buf = make([]byte, 0, len(b)+1024)
	}
	b = istioLogBody(b, z.buf)
	if len(b) == 0 {
		return
	}
	var f ztunnelFields
	if when, message, rest, ok := ztunnelMessage(b); ok {
		f.when, f.message = when, message
		ztunnelPairs(rest, f.set)
		z.row(&f)
		return
	}
	switch {
	case ztunnelJSONRow(b):
		if !istioFlat(b, f.set) {
			z.out.Problem("expected a whole JSON object")
			return
		}
		z.row(&f)
	case istioOtherLine(b), bytes.HasPrefix(b, istioBugReportMark):
		z.inLog = true
		z.out.Ignore()
	case z.inLog:
		z.out.Ignore()
	default:
		z.out.Problem("expected a row of ztunnel's access log")
	}
}

// row emits a connection.
func (z *ztunnelLog) row(f *ztunnelFields) {
	z.inLog = false
	src, ok1 := addressPort(f.srcAddr)
	dst, ok2 := addressPort(f.dstAddr)
	hbone, tunnelled := addressPort(f.hbone)
	inbound := string(f.direction) == "inbound"
	switch {
	case !ok1 || !ok2:
		z.out.Problem("expected src.addr and dst.addr with a port")
		return
	case !inbound && string(f.direction) != "outbound":
		z.out.Problem("expected direction inbound or outbound: the row may be cut")
		return
	}
	t := record.Translation{Protocol: record.TCP, Via: record.ViaZtunnelLog, Timeout: -1, Ingress: inbound}
	t.Closing = string(f.message) != "connection opened"
	t.Before.Source = src
	if inbound {
		t.Before.Destination = dst
		if tunnelled {
			t.Before.Destination = hbone
		} else if dst.Port() == ztunnelPort {
			t.Before.Destination = netip.AddrPort{}
		}
		t.After = t.Before
	} else {
		ztunnelOutboundRow(&t, dst, hbone, tunnelled, len(f.hbone) > 0)
	}
	if len(f.workload) > 0 && len(f.namespace) > 0 {
		t.Peer = z.name(f.namespace, f.workload)
	}
	t.Cluster = z.name(f.service, nil)
	z.finish(t, f)
}

// ztunnelPort is where ztunnels, waypoints and gateways take tunnels.
const ztunnelPort = 15008

// ztunnelOutboundRow fills in where a connection leaves to.
func ztunnelOutboundRow(t *record.Translation, dst, hbone netip.AddrPort, tunnelled, named bool) {
	switch {
	case tunnelled && hbone.Addr() == dst.Addr():
		t.After.Destination, t.Tunnel = hbone, dst
	case tunnelled:
		t.Before.Destination, t.Tunnel = hbone, dst
	case named, dst.Port() == ztunnelPort:
		// Asked for by name, or a log before dst.hbone_addr: the port of the
		// workload is not told.
		t.Tunnel = dst
	default:
		t.After.Destination = dst
	}
}

// finish adds what is the same in both directions.
func (z *ztunnelLog) finish(t record.Translation, f *ztunnelFields) {
	sent, _ := number(f.sent)
	received, _ := number(f.received)
	t.Bytes = sent + received
	if len(f.problem) > 0 {
		t.Flags = string(istioUnescape(f.problem, make([]byte, 0, len(f.problem)+8)))
	}
	if len(f.duration) > 0 {
		d, err := time.ParseDuration(string(f.duration))
		if err != nil {
			z.out.Problem("expected a duration")
			return
		}
		t.Duration = d
	}
	if len(f.when) > 0 {
		if t.Start.UnmarshalText(f.when) != nil {
			z.out.Problem("expected a time")
			return
		}
		t.Start = t.Start.Add(-t.Duration) // the row is written at the end
	}
	z.out.Translation(t)
}

// name interns NAMESPACE/NAME, or a name alone.
func (z *ztunnelLog) name(a, b []byte) string {
	var buf [256]byte
	key := append(buf[:0], a...)
	if len(b) > 0 {
		key = append(append(key, '/'), b...)
	}
	if s, ok := z.names[string(key)]; ok {
		return s
	}
	s := string(key)
	if len(z.names) < 1<<14 {
		z.names[s] = s
	}
	return s
}

func ztunnelAccessClaim(d *Doc) bool { return d.Has("src.addr", "dst.addr", "direction") }

func ztunnelAccessDoc(d *Doc, out *Out) {
	z := &ztunnelLog{out: out, names: map[string]string{}}
	out.text = d.Raw
	var f ztunnelFields
	if !istioFlat(d.Raw, f.set) {
		out.Problem("expected a whole JSON object")
		return
	}
	z.row(&f)
}
