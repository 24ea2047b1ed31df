package parse

import (
	"bytes"
	"net/netip"
	"strconv"

	"whichbackend/analyze/record"
)

// The NAT table of Cilium's datapath, cilium bpf nat list:
//
//	TCP OUT 192.168.50.13:52358 -> 10.0.2.64:80 XLATE_SRC 10.0.1.9:52358 Created=4sec ago NeedsCT=0
//	TCP IN 10.0.2.64:80 -> 10.0.1.9:52358 XLATE_DST 192.168.50.13:52358 Created=4sec ago NeedsCT=0
//
// (cilium 1.14.16). An OUT row says what a connection's source becomes, the IN
// row is the same fact for the answer. HostLocal stood in the place of NeedsCT
// up to 1.12, and "ago" is missing up to 1.13. Of the whole table, readings
// tell how many rows it has and how many lack the other one.

func ciliumNATHead(b []byte) bool { _, nat := ciliumTableRow(b); return nat }

type ciliumNATRow struct {
	protocol record.Protocol
	out      bool
	tuple    record.Tuple
	to       netip.AddrPort
}

// ciliumNAT reads rows and pairs those of one connection.
type ciliumNAT struct {
	out     *Out
	rows    int
	first   record.Pos
	waiting map[ciliumNATPair]ciliumNATWait
}

// ciliumNATPair is what the two rows of a connection have in common.
type ciliumNATPair struct {
	protocol                record.Protocol
	inside, outside, remote netip.AddrPort
}

// ciliumNATWait is a row whose other one was not read yet.
type ciliumNATWait struct {
	out bool
	pos record.Pos
}

// ciliumMasqueraded is the first port that the datapath takes to masquerade.
// OUT rows with ports below are those by which a backend's node answers in the
// service's name (DSR), and they have no IN rows.
const ciliumMasqueraded = 32768

// The readings of a NAT table.
const (
	ciliumNATRows    = "rows"
	ciliumNATLoneOut = "OUT without IN"
	ciliumNATLoneIn  = "IN without OUT"
)

func newCiliumNAT(out *Out) *ciliumNAT {
	return &ciliumNAT{out: out, waiting: map[ciliumNATPair]ciliumNATWait{}}
}

func ciliumNATOpen(out *Out) (func([]byte), func()) {
	p := newCiliumNAT(out)
	return func(b []byte) { p.line(bytes.TrimSpace(b)) }, p.end
}

func (p *ciliumNAT) line(b []byte) {
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
		if !ciliumAside(p.out, b) {
			p.out.Problem("expected PROTOCOL IN or OUT address:port -> address:port XLATE_SRC or XLATE_DST address:port")
		}
		return
	}
	r := ciliumNATRow{protocol: protocol, out: string(direction) == "OUT", tuple: tuple}
	word, rest := ciliumWord(rest)
	if !bytes.HasPrefix(word, []byte("XLATE_")) || !r.out && string(direction) != "IN" {
		p.out.Problem("expected XLATE_SRC or XLATE_DST")
		return
	}
	word, rest = ciliumWord(rest)
	if r.to, ok = ciliumAddrPort(word); !ok || len(rest) == 0 {
		p.out.Problem("expected the translated address:port, and when it was created")
		return
	}
	p.emit(&r)
}

// emit says what an OUT row says; ICMP has no ports, and IN rows add nothing
// but that the pair is whole.
func (p *ciliumNAT) emit(r *ciliumNATRow) {
	p.out.Understood()
	pos := record.Pos{Line: p.out.Line(), Pointer: p.out.pointer}
	if p.rows++; p.rows == 1 {
		p.first = pos
	}
	if r.protocol == record.ICMP || r.protocol == record.ICMPv6 {
		return
	}
	p.pair(r, pos)
	if r.out {
		p.out.Translation(record.Translation{
			Protocol: r.protocol, Via: record.ViaCiliumNAT, Timeout: -1,
			Before: r.tuple, After: record.Tuple{Source: r.to, Destination: r.tuple.Destination},
		})
	}
}

// pair keeps a row until the other one of its connection comes.
func (p *ciliumNAT) pair(r *ciliumNATRow, pos record.Pos) {
	k := ciliumNATPair{r.protocol, r.tuple.Source, r.to, r.tuple.Destination}
	if !r.out {
		k = ciliumNATPair{r.protocol, r.to, r.tuple.Destination, r.tuple.Source}
	}
	if k.outside.Port() < ciliumMasqueraded {
		return
	}
	if w, ok := p.waiting[k]; ok && w.out != r.out {
		delete(p.waiting, k)
		return
	}
	p.waiting[k] = ciliumNATWait{r.out, pos}
}

// end tells what the whole table shows.
func (p *ciliumNAT) end() {
	if p.rows == 0 {
		return
	}
	var out, in int64
	at := p.first
	for _, w := range p.waiting {
		switch {
		case !w.out:
			in++
		case out == 0 || w.pos.Line < at.Line || w.pos.Line == at.Line && w.pos.Pointer < at.Pointer:
			at = w.pos
			out++
		default:
			out++
		}
	}
	p.reading(p.first, ciliumNATRows, int64(p.rows))
	p.reading(at, ciliumNATLoneOut, out)
	p.reading(p.first, ciliumNATLoneIn, in)
}

func (p *ciliumNAT) reading(pos record.Pos, name string, n int64) {
	p.out.Reading(record.Reading{Pos: pos, Subject: "NAT", Name: name, Value: strconv.FormatInt(n, 10), Number: n})
}
