package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strconv"

	"golang.org/x/sys/unix"
)

// Rules lists the rules that choose a routing table in the calling thread's
// network namespace: first those of IPv4, then those of IPv6, as ip rule and
// ip -6 rule print them one after the other (iproute2 6.1.0):
//
//	0:	from all lookup local
//	9:	from all fwmark 0x200/0xf00 lookup 2004
//	32766:	from all lookup main
//
// Those of IPv6 begin where the numbers begin anew. A kernel without IPv6 has none.
func Rules() (io.ReadCloser, error) {
	var out []byte
	var changed error
	for _, family := range [...]byte{unix.AF_INET, unix.AF_INET6} {
		begin := len(out)
		question := make([]byte, unix.SizeofRtMsg)
		question[0] = family
		err := rtEvery(unix.RTM_GETRULE, question, func() { out = out[:begin] }, func(body []byte) {
			if len(body) >= unix.SizeofRtMsg && body[0] == family {
				out = appendRule(out, body)
			}
		})
		switch {
		case err == ErrChanged:
			changed = err
		case err != nil && family == unix.AF_INET6 && errors.Is(err, unix.EAFNOSUPPORT):
		case err != nil:
			return nil, err
		}
	}
	return tell(out, changed), nil
}

// Of linux/fib_rules.h: what a rule does, and its flags.
const (
	ruleLookup = 1 // FR_ACT_TO_TBL
	ruleGoto   = 2
	ruleNop    = 3

	ruleInvert      = 2 // FIB_RULE_...
	ruleUnresolved  = 4
	ruleInDetached  = 8
	ruleOutDetached = 16
)

// appendRule appends the line of a rule; body begins with a struct fib_rule_hdr.
func appendRule(out, body []byte) []byte {
	var a rtAttrs
	a.read(body[unix.SizeofRtMsg:])
	flags := binary.NativeEndian.Uint32(body[8:])
	priority, _ := a.u32(unix.FRA_PRIORITY)
	out = rtNumber(out, "", priority, ":\t")
	if flags&ruleInvert != 0 {
		out = append(out, "not "...)
	}
	out = appendSelector(append(out, "from "...), a[unix.FRA_SRC], body[2], "all")
	if a[unix.FRA_DST] != nil || body[1] != 0 {
		out = appendSelector(append(out, " to "...), a[unix.FRA_DST], body[1], "")
	}
	if tos := body[3]; tos != 0 {
		out = rtField(append(out, " tos "...), tos)
	}
	out = appendMark(out, &a)
	out = appendDevice(out, " iif ", a[unix.FRA_IIFNAME], flags&ruleInDetached != 0)
	out = appendDevice(out, " oif ", a[unix.FRA_OIFNAME], flags&ruleOutDetached != 0)
	if l3, ok := a.u8(unix.FRA_L3MDEV); ok && l3 != 0 {
		out = append(out, " lookup [l3mdev-table]"...)
	}
	if r := a[unix.FRA_UID_RANGE]; len(r) >= 8 {
		out = rtNumber(out, " uidrange ", binary.NativeEndian.Uint32(r), "-")
		out = rtNumber(out, "", binary.NativeEndian.Uint32(r[4:]), "")
	}
	if proto, ok := a.u8(unix.FRA_IP_PROTO); ok {
		out = ipProtocol(append(out, " ipproto "...), proto)
	}
	out = appendPorts(out, " sport ", a[unix.FRA_SPORT_RANGE])
	out = appendPorts(out, " dport ", a[unix.FRA_DPORT_RANGE])
	if id := a[unix.FRA_TUN_ID]; len(id) >= 8 {
		out = rtNumber(out, " tun_id ", binary.BigEndian.Uint64(id), "")
	}
	out = appendLookup(out, &a, body[4])
	out = appendAction(out, &a, body[7], flags)
	if proto, ok := a.u8(unix.FRA_PROTOCOL); ok && proto != 0 && proto != unix.RTPROT_KERNEL {
		out = rtProto(append(out, " proto "...), proto)
	}
	return append(out, '\n')
}

// appendSelector appends a prefix, or what stands for all.
func appendSelector(out, address []byte, bits byte, all string) []byte {
	switch {
	case address != nil:
		out = rtHost(out, address)
		if int(bits) != 8*len(address) {
			out = rtNumber(out, "/", bits, "")
		}
		return out
	case bits != 0:
		return rtNumber(out, "0/", bits, "")
	}
	return append(out, all...)
}

func appendMark(out []byte, a *rtAttrs) []byte {
	mark, marked := a.u32(unix.FRA_FWMARK)
	mask, masked := a.u32(unix.FRA_FWMASK)
	if !marked && !masked {
		return out
	}
	out = rtHex(out, " fwmark ", mark, "")
	if masked && mask != 1<<32-1 {
		out = rtHex(out, "/", mask, "")
	}
	return out
}

func appendDevice(out []byte, word string, name []byte, detached bool) []byte {
	if name == nil {
		return out
	}
	out = append(append(out, word...), rtWord(bytes.Clone(name))...)
	if detached {
		out = append(out, " [detached]"...)
	}
	return out
}

func appendPorts(out []byte, word string, ports []byte) []byte {
	if len(ports) < 4 {
		return out
	}
	first, last := binary.NativeEndian.Uint16(ports), binary.NativeEndian.Uint16(ports[2:])
	out = rtNumber(out, word, first, "")
	if last != first {
		out = rtNumber(out, "-", last, "")
	}
	return out
}

// appendLookup appends the table; short is its number when that fits a byte.
func appendLookup(out []byte, a *rtAttrs, short byte) []byte {
	table, ok := a.u32(unix.FRA_TABLE)
	if !ok {
		table = uint32(short)
	}
	if table != 0 {
		out = rtTable(append(out, " lookup "...), table)
		if bits, ok := a.u32(unix.FRA_SUPPRESS_PREFIXLEN); ok && bits != 1<<32-1 {
			out = strconv.AppendInt(append(out, " suppress_prefixlength "...), int64(int32(bits)), 10)
		}
		if group, ok := a.u32(unix.FRA_SUPPRESS_IFGROUP); ok && group != 1<<32-1 {
			out = rtGroup(append(out, " suppress_ifgroup "...), group)
		}
	}
	if flow, ok := a.u32(unix.FRA_FLOW); ok {
		out = append(out, " realms "...)
		if from := flow >> 16; from != 0 {
			out = append(rtRealm(out, from), '/')
		}
		out = rtRealm(out, flow&0xffff)
	}
	return out
}

// appendAction appends what a rule does besides to look into a table.
func appendAction(out []byte, a *rtAttrs, action byte, flags uint32) []byte {
	switch action {
	case ruleLookup:
		return out
	case ruleNop:
		return append(out, " nop"...)
	case ruleGoto:
		if target, ok := a.u32(unix.FRA_GOTO); ok {
			out = rtNumber(out, " goto ", target, "")
		} else {
			out = append(out, " goto none"...)
		}
		if flags&ruleUnresolved != 0 {
			out = append(out, " [unresolved]"...)
		}
		return out
	}
	return rtType(append(out, ' '), action)
}
