package parse

import (
	"bytes"
	"net/netip"

	"whichbackend/analyze/record"
)

// The NAT table of Cilium's datapath, cilium bpf nat list:
//
//	TCP OUT 192.168.50.13:52358 -> 10.0.2.64:80 XLATE_SRC 10.0.1.9:52358 Created=4sec ago NeedsCT=0
//	TCP IN 10.0.2.64:80 -> 10.0.1.9:52358 XLATE_DST 192.168.50.13:52358 Created=4sec ago NeedsCT=0
//
// (cilium 1.14.16). An OUT row says what a connection's source becomes, the IN
// row is the same fact for the answer. HostLocal stood in the place of NeedsCT
// up to 1.12, and "ago" is missing up to 1.13.

func ciliumNATHead(b []byte) bool { _, nat := ciliumTableRow(b); return nat }

type ciliumNATRow struct {
	protocol record.Protocol
	out      bool
	tuple    record.Tuple
	to       netip.AddrPort
}

func ciliumNATOpen(out *Out) (func([]byte), func()) {
	return func(b []byte) { ciliumNATLine(out, bytes.TrimSpace(b)) }, nil
}

func ciliumNATLine(out *Out, b []byte) {
	// The command's complaint about the clock lacks a line end.
	if bytes.HasPrefix(b, []byte("Failed to get clocksource")) {
		for i := range b[:min(len(b), 1000)] {
			if _, nat := ciliumTableRow(b[i:]); nat {
				b = b[i:]
				break
			}
		}
	}
	protocol, direction, tuple, rest, ok := ciliumTuple(b)
	if !ok {
		if !ciliumAside(out, b) {
			out.Problem("expected PROTOCOL IN or OUT address:port -> address:port XLATE_SRC or XLATE_DST address:port")
		}
		return
	}
	r := ciliumNATRow{protocol: protocol, out: string(direction) == "OUT", tuple: tuple}
	word, rest := ciliumWord(rest)
	if !bytes.HasPrefix(word, []byte("XLATE_")) || !r.out && string(direction) != "IN" {
		out.Problem("expected XLATE_SRC or XLATE_DST")
		return
	}
	word, rest = ciliumWord(rest)
	if r.to, ok = ciliumAddrPort(word); !ok || len(rest) == 0 {
		out.Problem("expected the translated address:port, and when it was created")
		return
	}
	r.emit(out)
}

// emit says what an OUT row says; ICMP has no ports, and IN rows add nothing.
func (r *ciliumNATRow) emit(out *Out) {
	out.Understood()
	if !r.out || r.protocol == record.ICMP || r.protocol == record.ICMPv6 {
		return
	}
	out.Translation(record.Translation{
		Protocol: r.protocol, Via: record.ViaCiliumNAT, Timeout: -1,
		Before: r.tuple, After: record.Tuple{Source: r.to, Destination: r.tuple.Destination},
	})
}
