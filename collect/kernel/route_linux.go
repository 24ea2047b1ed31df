package kernel

import (
	"encoding/binary"
	"io"
	"strconv"

	"golang.org/x/sys/unix"
)

// Routes lists the routes of the calling thread's network namespace as ip route
// show table all prints them, IPv4 and then IPv6 (iproute2 6.1.0):
//
//	default via 10.99.0.254 dev lab0
//	172.18.0.0/16 dev docker_gwbridge proto kernel scope link src 172.18.0.1
//	local 127.0.0.1 dev lo table local proto kernel scope host src 127.0.0.1
//
// Routes of MPLS and of multicast daemons are left out.
func Routes() (io.ReadCloser, error) {
	links, err := rtNames()
	if err != nil {
		return nil, err
	}
	p := &routePrinter{links: links}
	// For both families at once: a kernel without one would answer a question
	// for it with the other.
	l, err := rtList(unix.RTM_GETROUTE, make([]byte, unix.SizeofRtMsg), p.row)
	if err != nil {
		return nil, err
	}
	return l, nil
}

type routePrinter struct {
	links rtLinks
	a     rtAttrs
	inner rtAttrs
}

// routeFlags are RTNH_F_... and RTM_F_..., in the order in which ip names them.
var routeFlags = [...]struct {
	bit  uint32
	name string
}{
	{0x1, "dead "}, {0x4, "onlink "}, {0x2, "pervasive "}, {0x8, "offload "}, {0x40, "trap "}, {0x100, "notify "}, {0x10, "linkdown "},
	{0x20, "unresolved "}, {0x4000, "rt_offload "}, {0x8000, "rt_trap "}, {0x20000000, "rt_offload_failed "},
}

// nexthopID is RTA_NH_ID.
const nexthopID = 30

func (p *routePrinter) row(out []byte, kind uint16, body []byte) ([]byte, error) {
	if kind != unix.RTM_NEWROUTE || len(body) < unix.SizeofRtMsg {
		return out, nil
	}
	family, tos, proto, scope, what := body[0], body[3], body[5], body[6], body[7]
	flags := binary.NativeEndian.Uint32(body[8:])
	if family != unix.AF_INET && family != unix.AF_INET6 || flags&unix.RTM_F_CLONED != 0 {
		return out, nil
	}
	a := &p.a
	a.read(body[unix.SizeofRtMsg:])
	if what != unix.RTN_UNICAST {
		out = append(rtType(out, what), ' ')
	}
	out = routeTo(out, family, body[1], body[2], a)
	if id, ok := a.u32(nexthopID); ok {
		out = rtNumber(out, "nhid ", id, " ")
	}
	out = p.encap(out, a)
	if tos != 0 {
		out = append(rtField(append(out, "tos "...), tos), ' ')
	}
	out = via(out, a)
	if index, ok := a.u32(unix.RTA_OIF); ok {
		out = append(p.links.name(append(out, "dev "...), index), ' ')
	}
	table, ok := a.u32(unix.RTA_TABLE)
	if !ok {
		table = uint32(body[4])
	}
	if table != 0 && table != unix.RT_TABLE_MAIN {
		out = append(rtTable(append(out, "table "...), table), ' ')
	}
	if proto != unix.RTPROT_BOOT {
		out = append(rtProto(append(out, "proto "...), proto), ' ')
	}
	if scope != unix.RT_SCOPE_UNIVERSE {
		out = append(rtScope(append(out, "scope "...), scope), ' ')
	}
	if b := a[unix.RTA_PREFSRC]; b != nil {
		out = append(rtHost(append(out, "src "...), b), ' ')
	}
	if metric, ok := a.u32(unix.RTA_PRIORITY); ok {
		out = rtNumber(out, "metric ", metric, " ")
	}
	out = appendRouteFlags(out, flags)
	out = p.tail(out, a)
	out = p.multipath(out, a[unix.RTA_MULTIPATH])
	return append(out, '\n'), nil
}

// routeTo appends the destination of a route and the source that it is for.
func routeTo(out []byte, family, bits, sourceBits byte, a *rtAttrs) []byte {
	full := byte(32)
	if family == unix.AF_INET6 {
		full = 128
	}
	prefix := func(address []byte, bits byte) {
		out = rtHost(out, address)
		if bits != full {
			out = rtNumber(out, "/", bits, "")
		}
		out = append(out, ' ')
	}
	switch b := a[unix.RTA_DST]; {
	case b != nil:
		prefix(b, bits)
	case bits != 0:
		out = rtNumber(out, "0/", bits, "  ")
	default:
		out = append(out, "default "...)
	}
	switch b := a[unix.RTA_SRC]; {
	case b != nil:
		out = append(out, "from "...)
		prefix(b, sourceBits)
	case sourceBits != 0:
		out = rtNumber(out, "from 0/", sourceBits, " ")
	}
	return out
}

// via appends the gateway, which may be of the other family.
func via(out []byte, a *rtAttrs) []byte {
	if b := a[unix.RTA_GATEWAY]; b != nil {
		out = append(rtHost(append(out, "via "...), b), ' ')
	}
	b := a[unix.RTA_VIA]
	if len(b) < 2 {
		return out
	}
	switch binary.NativeEndian.Uint16(b) {
	case unix.AF_INET:
		out = append(out, "via inet "...)
	case unix.AF_INET6:
		out = append(out, "via inet6 "...)
	default:
		out = append(out, "via ??? "...)
	}
	return append(rtHost(out, b[2:]), ' ')
}

func appendRouteFlags(out []byte, flags uint32) []byte {
	for _, f := range routeFlags {
		if flags&f.bit != 0 {
			out = append(out, f.name...)
		}
	}
	return out
}

// userHZ is in how many parts a second is told, by every kernel that Go runs on.
const userHZ = 100

// tail appends what follows the flags.
func (p *routePrinter) tail(out []byte, a *rtAttrs) []byte {
	if mark, ok := a.u32(unix.RTA_MARK); ok && mark >= 16 {
		out = rtHex(out, "mark ", mark, " ")
	} else if ok && mark != 0 {
		out = rtNumber(out, "mark ", mark, " ")
	}
	out = realms(out, a)
	if uid, ok := a.u32(unix.RTA_UID); ok {
		out = rtNumber(out, "uid ", uid, " ")
	}
	if c := a[unix.RTA_CACHEINFO]; len(c) >= 16 {
		if expires := int32(binary.NativeEndian.Uint32(c[8:])); expires != 0 {
			out = append(strconv.AppendInt(append(out, "expires "...), int64(expires/userHZ), 10), "sec "...)
		}
		if e := binary.NativeEndian.Uint32(c[12:]); e != 0 {
			out = rtNumber(out, "error ", e, " ")
		}
	}
	if b := a[unix.RTA_METRICS]; b != nil {
		out = p.metrics(out, b)
	}
	if index, ok := a.u32(unix.RTA_IIF); ok {
		out = append(p.links.name(append(out, "iif "...), index), ' ')
	}
	if pref, ok := a.u8(unix.RTA_PREF); ok {
		switch pref {
		case 3:
			out = append(out, "pref low"...)
		case 0:
			out = append(out, "pref medium"...)
		case 1:
			out = append(out, "pref high"...)
		default:
			out = rtNumber(out, "", pref, "")
		}
	}
	return out
}

func realms(out []byte, a *rtAttrs) []byte {
	flow, ok := a.u32(unix.RTA_FLOW)
	switch from := flow >> 16; {
	case !ok:
		return out
	case from != 0:
		out = append(rtRealm(append(out, "realms "...), from), '/')
	default:
		out = append(out, "realm "...)
	}
	return append(rtRealm(out, flow&0xffff), ' ')
}

// metricNames are RTAX_... by their number; those before have no text.
var metricNames = [...]string{2: "mtu ", "window ", "rtt ", "rttvar ", "ssthresh ", "cwnd ", "advmss ", "reordering ", "hoplimit ",
	"initcwnd ", "features ", "rto_min ", "initrwnd ", "quickack ", "congctl ", "fastopen_no_cookie "}

const (
	metricLock       = 1
	metricRTT        = 4
	metricRTTVar     = 5
	metricHopLimit   = 10
	metricFeatures   = 12
	metricRTOMin     = 13
	metricCongestion = 16
)

func (p *routePrinter) metrics(out, nested []byte) []byte {
	a := &p.inner
	a.read(nested)
	locked, _ := a.u32(metricLock)
	for i := 2; i < len(metricNames); i++ {
		lock := locked&(1<<i) != 0
		n, _ := a.u32(i)
		if a[i] == nil && !lock || i == metricHopLimit && n == 1<<32-1 {
			continue
		}
		out = append(out, metricNames[i]...)
		if lock {
			out = append(out, "lock "...)
		}
		switch i {
		case metricCongestion:
			name, _ := a.word(i)
			out = append(append(out, name...), ' ')
		case metricFeatures:
			out = features(out, n)
		case metricRTT:
			out = duration(out, n/8)
		case metricRTTVar:
			out = duration(out, n/4)
		case metricRTOMin:
			out = duration(out, n)
		default:
			out = rtNumber(out, "", n, " ")
		}
	}
	return out
}

func features(out []byte, n uint32) []byte {
	const ecn = 1
	if n&ecn != 0 {
		out = append(out, "ecn "...)
	}
	if n&^ecn != 0 {
		out = rtHex(out, "", n, " ")
	}
	return out
}

func duration(out []byte, ms uint32) []byte {
	if ms >= 1000 {
		return append(strconv.AppendFloat(out, float64(ms)/1e3, 'g', 6, 64), "s "...)
	}
	return rtNumber(out, "", ms, "ms ")
}

// multipath appends a line for each of several next hops.
func (p *routePrinter) multipath(out, b []byte) []byte {
	a := &p.inner
	for len(b) >= unix.SizeofRtNexthop {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtNexthop || size > len(b) {
			break
		}
		a.read(b[unix.SizeofRtNexthop:size])
		out = p.encap(append(out, "\n\tnexthop "...), a)
		out = realms(via(out, a), a)
		out = append(p.links.name(append(out, "dev "...), binary.NativeEndian.Uint32(b[4:])), ' ')
		out = rtNumber(out, "weight ", uint32(b[3])+1, " ")
		out = appendRouteFlags(out, uint32(b[2]))
		b = b[min((size+3)&^3, len(b)):]
	}
	return out
}
