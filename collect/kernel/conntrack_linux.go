package kernel

import (
	"errors"
	"io"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Of linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h.
const (
	ctnetlink = 1 << 8 // NFNL_SUBSYS_CTNETLINK, the upper byte of a message's type

	ctGet         = ctnetlink | 1 // IPCTNL_MSG_CT_GET
	ctGetStatsCPU = ctnetlink | 4 // IPCTNL_MSG_CT_GET_STATS_CPU
	ctGetStats    = ctnetlink | 5 // IPCTNL_MSG_CT_GET_STATS

	nfgenLen = 4 // struct nfgenmsg: family, version, and two bytes for a number
)

// The attributes of an entry, CTA_...
const (
	ctaTupleOrig     = 1
	ctaTupleReply    = 2
	ctaStatus        = 3
	ctaProtoinfo     = 4
	ctaHelp          = 5
	ctaTimeout       = 7
	ctaMark          = 8
	ctaCountersOrig  = 9
	ctaCountersReply = 10
	ctaUse           = 11
	ctaID            = 12
	ctaSecmark       = 17
	ctaZone          = 18
	ctaSecctx        = 19
	ctaTimestamp     = 20

	ctaCounterPackets   = 1
	ctaCounterBytes     = 2
	ctaCounter32Packets = 3
	ctaCounter32Bytes   = 4
)

// The attributes of a tuple, CTA_TUPLE_..., CTA_IP_... and CTA_PROTO_...
const (
	ctaTupleIP    = 1
	ctaTupleProto = 2
	ctaTupleZone  = 3

	ctaV4Src = 1
	ctaV4Dst = 2
	ctaV6Src = 3
	ctaV6Dst = 4

	ctaProtoNum     = 1
	ctaProtoSrcPort = 2
	ctaProtoDstPort = 3
	ctaICMPID       = 4 // then type and code
	ctaICMPv6ID     = 7 // then type and code
	ctaICMPv6Code   = 9
)

// What the status of an entry says, IPS_...
const (
	ipsSeenReply = 1 << 1
	ipsAssured   = 1 << 2
	ipsOffload   = 1 << 14
	ipsHWOffload = 1 << 15
)

// ctStates names the states of a protocol by their numbers; its index is
// CTA_PROTOINFO_...: tcp, dccp, sctp.
var ctStates = [...][]string{
	1: {"NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2"},
	2: {"NONE", "REQUEST", "RESPOND", "PARTOPEN", "OPEN", "CLOSEREQ", "CLOSING", "TIMEWAIT", "IGNORE", "INVALID"},
	3: {"NONE", "CLOSED", "COOKIE_WAIT", "COOKIE_ECHOED", "ESTABLISHED", "SHUTDOWN_SENT", "SHUTDOWN_RECD", "SHUTDOWN_ACK_SENT",
		"HEARTBEAT_SENT", "HEARTBEAT_ACKED"},
}

// Conntrack lists the tracked connections of both families, as conntrack -L -o
// extended,id does. It needs CAP_NET_ADMIN over the namespace.
func Conntrack() (io.ReadCloser, error) {
	d, err := ask(unix.NETLINK_NETFILTER, ctGet, unix.NLM_F_DUMP, make([]byte, nfgenLen)) // AF_UNSPEC
	if err != nil {
		return nil, err
	}
	return &listing{dump: d, row: conntrackRow}, nil
}

// ConntrackCount is the kernel's own count of this namespace's entries. It
// counts also those that have expired but are not yet removed, and those of
// packets still on their way, which no listing shows.
func ConntrackCount() (int, error) {
	d, err := ask(unix.NETLINK_NETFILTER, ctGetStats, 0, make([]byte, nfgenLen))
	if err != nil {
		return 0, err
	}
	defer d.Close()
	_, body, err := d.next()
	if err != nil && err != io.EOF {
		return 0, err
	}
	var at [2][]byte // CTA_STATS_GLOBAL_ENTRIES is 1
	if len(body) >= nfgenLen {
		spread(at[:], body[nfgenLen:])
	}
	if len(at[1]) != 4 {
		return 0, errors.New("netlink: the kernel does not tell how many connections it tracks")
	}
	return int(value(at[1])), nil
}

// conntrackRow appends the line of one entry. Each part that the kernel gave of
// it is followed by a space; the last space gives way to the line's end.
func conntrackRow(out []byte, _ uint16, body []byte) ([]byte, error) {
	if len(body) < nfgenLen {
		return out, errShort
	}
	family := body[0]
	var at [ctaTimestamp + 1][]byte
	spread(at[:], body[nfgenLen:])
	var orig, reply ctTuple
	orig.read(at[ctaTupleOrig])
	reply.read(at[ctaTupleReply])
	status, proto := at[ctaStatus], value(orig.l4[ctaProtoNum])

	out = appendNumber(appendPadded(out, ctFamily(family), 8), " ", uint64(family))
	out = appendNumber(appendPadded(out, ctProto(proto), 8), " ", proto)
	out = appendValue(out, "", at[ctaTimeout])
	out = appendState(out, at[ctaProtoinfo])
	out = orig.append(out, family, "zone-orig=")
	out = appendCounters(out, at[ctaCountersOrig])
	if len(status) > 0 && value(status)&ipsSeenReply == 0 {
		out = append(out, "[UNREPLIED] "...)
	}
	out = reply.append(out, family, "zone-reply=")
	out = appendCounters(out, at[ctaCountersReply])
	switch s := value(status); {
	case s&ipsHWOffload != 0:
		out = append(out, "[HW_OFFLOAD] "...)
	case s&ipsOffload != 0:
		out = append(out, "[OFFLOAD] "...)
	case s&ipsAssured != 0:
		out = append(out, "[ASSURED] "...)
	}
	out = appendValue(out, "mark=", at[ctaMark])
	out = appendValue(out, "secmark=", at[ctaSecmark])
	out = appendName(out, "secctx=", at[ctaSecctx])
	out = appendValue(out, "zone=", at[ctaZone])
	out = appendAge(out, at[ctaTimestamp])
	out = appendName(out, "helper=", at[ctaHelp])
	out = appendValue(out, "use=", at[ctaUse])
	out = appendValue(out, "id=", at[ctaID])
	out[len(out)-1] = '\n'
	return out, nil
}

func ctFamily(n byte) string {
	switch n {
	case unix.AF_INET:
		return "ipv4"
	case unix.AF_INET6:
		return "ipv6"
	}
	return "unknown"
}

func ctProto(n uint64) string {
	switch n {
	case unix.IPPROTO_TCP:
		return "tcp"
	case unix.IPPROTO_UDP:
		return "udp"
	case unix.IPPROTO_UDPLITE:
		return "udplite"
	case unix.IPPROTO_ICMP:
		return "icmp"
	case unix.IPPROTO_ICMPV6:
		return "icmpv6"
	case unix.IPPROTO_SCTP:
		return "sctp"
	case unix.IPPROTO_GRE:
		return "gre"
	case unix.IPPROTO_DCCP:
		return "dccp"
	}
	return "unknown"
}

// ctTuple is one direction of a connection, in the kernel's attributes.
type ctTuple struct {
	ip   [ctaV6Dst + 1][]byte
	l4   [ctaICMPv6Code + 1][]byte
	zone []byte
}

func (t *ctTuple) read(b []byte) {
	var at [ctaTupleZone + 1][]byte
	spread(at[:], b)
	spread(t.ip[:], at[ctaTupleIP])
	spread(t.l4[:], at[ctaTupleProto])
	t.zone = at[ctaTupleZone]
}

func (t *ctTuple) append(out []byte, family byte, zone string) []byte {
	switch family {
	case unix.AF_INET:
		out = append(appendV4(append(out, "src="...), t.ip[ctaV4Src]), ' ')
		out = append(appendV4(append(out, "dst="...), t.ip[ctaV4Dst]), ' ')
	case unix.AF_INET6:
		out = append(appendV6(append(out, "src="...), t.ip[ctaV6Src]), ' ')
		out = append(appendV6(append(out, "dst="...), t.ip[ctaV6Dst]), ' ')
	}
	switch value(t.l4[ctaProtoNum]) {
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_UDPLITE, unix.IPPROTO_SCTP, unix.IPPROTO_DCCP:
		out = appendNumber(out, "sport=", value(t.l4[ctaProtoSrcPort]))
		out = appendNumber(out, "dport=", value(t.l4[ctaProtoDstPort]))
	case unix.IPPROTO_GRE:
		out = strconv.AppendUint(append(out, "srckey=0x"...), value(t.l4[ctaProtoSrcPort]), 16)
		out = strconv.AppendUint(append(out, " dstkey=0x"...), value(t.l4[ctaProtoDstPort]), 16)
		out = append(out, ' ')
	case unix.IPPROTO_ICMP:
		out = appendICMP(out, t.l4[ctaICMPID:])
	case unix.IPPROTO_ICMPV6:
		out = appendICMP(out, t.l4[ctaICMPv6ID:])
	}
	return appendValue(out, zone, t.zone)
}

// appendICMP appends what stands for ports: of an id, a type and a code.
func appendICMP(out []byte, at [][]byte) []byte {
	out = appendNumber(out, "type=", value(at[1]))
	out = appendNumber(out, "code=", value(at[2]))
	return appendNumber(out, "id=", value(at[0]))
}

// appendValue appends an attribute's number, where there is the attribute.
func appendValue(out []byte, word string, b []byte) []byte {
	if len(b) == 0 {
		return out
	}
	return appendNumber(out, word, value(b))
}

// appendName appends the name that stands in an attribute's first one.
func appendName(out []byte, word string, b []byte) []byte {
	var at [2][]byte
	spread(at[:], b)
	if len(at[1]) == 0 {
		return out
	}
	return append(append(append(out, word...), name(at[1])...), ' ')
}

func appendState(out, b []byte) []byte {
	var at [len(ctStates)][]byte
	spread(at[:], b)
	for i, names := range ctStates {
		var in [2][]byte // CTA_PROTOINFO_..._STATE is 1 for each protocol
		spread(in[:], at[i])
		if len(in[1]) == 0 {
			continue
		}
		state := value(in[1])
		if state >= uint64(len(names)) {
			state = 0
		}
		out = append(append(out, names[state]...), ' ')
	}
	return out
}

// appendCounters appends nothing for an entry that was made while the kernel
// did not count.
func appendCounters(out, b []byte) []byte {
	if len(b) == 0 {
		return out
	}
	var at [ctaCounter32Bytes + 1][]byte
	spread(at[:], b)
	packets, size := at[ctaCounterPackets], at[ctaCounterBytes]
	if len(packets) == 0 {
		packets = at[ctaCounter32Packets]
	}
	if len(size) == 0 {
		size = at[ctaCounter32Bytes]
	}
	if len(packets) == 0 || len(size) == 0 {
		return out
	}
	return appendNumber(appendNumber(out, "packets=", value(packets)), "bytes=", value(size))
}

// appendAge appends for how many seconds there is the entry, where the kernel
// notes when it was made.
func appendAge(out, b []byte) []byte {
	if len(b) == 0 {
		return out
	}
	var at [3][]byte // CTA_TIMESTAMP_START, CTA_TIMESTAMP_STOP
	spread(at[:], b)
	if len(at[1]) == 0 {
		return out
	}
	const second = uint64(time.Second)
	stop := value(at[2]) / second
	if stop == 0 {
		stop = uint64(time.Now().Unix())
	}
	return appendNumber(out, "delta-time=", stop-value(at[1])/second)
}
