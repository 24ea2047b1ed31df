package parse

import (
	"bytes"
	"math"
	"net/netip"

	"whichbackend/analyze/record"
)

// The connection table of Cilium's datapath, cilium bpf ct list global:
//
//	TCP OUT 10.96.43.209:80 -> 10.0.1.156:47684 service expires=27627 RxPackets=0 RxBytes=3 ... RevNAT=2 SourceSecurityID=0 IfIndex=0
//	TCP OUT 10.0.1.156:47688 -> 10.0.2.64:80 expires=27627 RxPackets=3 ... Flags=0x0010 [ SeenNonSyn ] RevNAT=2 SourceSecurityID=21155 IfIndex=0
//
// (cilium 1.14.16). IN and OUT rows always read client -> server: OUT is the
// entry made where the connection leaves an endpoint, IN where it enters one.
// A service row records which backend was chosen and carries no packets. Up to
// 1.14 it is an OUT row with the word service that reads VIP -> client, and
// its RxBytes is no count but the number of the backend; 1.15 prints SVC and
// client -> VIP; since 1.16 the number is in BackendID. In 1.19 and later
// BackendID shows part of an address on other rows. Up to 1.3 the keys are in
// lower case, and the two addresses, without their ports, are exchanged. 1.4
// and 1.5 print Slave and the same row, the former still with the addresses
// exchanged, so that such a row cannot be read.

// Bits of the flags of an entry.
const (
	ciliumRxClosing  = 1
	ciliumTxClosing  = 2
	ciliumLoopback   = 8
	ciliumSeenNonSyn = 16
	ciliumProxyRedir = 64
)

// ciliumOverdue bounds how long an expired entry may lie in the table before
// it is collected (the longest interval is 12 hours). A remaining time below
// comes from two clocks that do not belong together, and says nothing.
const ciliumOverdue = 7 * 24 * 3600

func ciliumCTHead(b []byte) bool { ct, _ := ciliumTableRow(b); return ct }

// ciliumCT reads rows. A row is kept until the next begins, because pasted
// rows are often wrapped over several lines.
type ciliumCT struct {
	out  *Out
	open bool // a row is being read
	line int
	ciliumEntry
	inFlags, inTime bool
	told            bool
	blank, blanks   bool // this row, and the row before, ended in a blank
	text            []byte
}

// ciliumEntry is what a row or a JSON element says.
type ciliumEntry struct {
	protocol           record.Protocol
	tuple              record.Tuple // as printed
	in, svc            bool
	service, related   bool
	oneAddress         bool
	lower, slave       bool
	hasRevNAT, hasRx   bool
	hasIdentity        bool // stands behind RevNAT, so that RevNAT is whole
	hasBackend         bool
	hasIfIndex         bool
	hasNatPort         bool
	hasRemaining       bool
	hasSeen            bool
	remaining          int64
	flags              uint64
	rxSeen, txSeen     uint64
	rxPackets, rxBytes uint64
	txPackets          uint64
	packets, bytes     uint64
	revNAT, backend    uint64
}

func ciliumCTOpen(out *Out) (func([]byte), func()) {
	p := &ciliumCT{out: out}
	return p.read, p.end
}

// end emits the last row. The tool ends every row in a blank: where rows keep
// theirs and the last lacks it, the input was cut, and its last number may be
// a part of one.
func (p *ciliumCT) end() {
	if p.open && p.blanks && !p.blank {
		p.open = false
		p.cut("the row is cut short")
	}
	p.flush()
}

func (p *ciliumCT) read(b []byte) {
	blank := len(b) > 0 && b[len(b)-1] == ' '
	b = bytes.TrimSpace(b)
	if len(b) > 0 && (b[0] >= 'A' && b[0] <= 'Z' || b[0] >= '0' && b[0] <= '9') && p.begin(b) {
		p.blank = blank
		return
	}
	if p.open && p.continues(b) {
		p.values(b)
		p.blank = blank
		p.out.Understood()
		return
	}
	p.flush()
	if ciliumAside(p.out, b) {
		return
	}
	p.out.Problem("expected PROTOCOL IN, OUT or SVC, address:port -> address:port")
}

// begin reads the begin of a row. It tells false when the line is none.
func (p *ciliumCT) begin(b []byte) bool {
	word, rest := ciliumWord(b)
	direction, rest2 := ciliumWord(rest)
	switch string(direction) {
	case "IN", "OUT", "SVC":
	default:
		return false
	}
	if _, ok := ciliumProtocol(word); !ok {
		return false
	}
	p.flush()
	protocol, _, tuple, rest, ok := ciliumTuple(b)
	e := ciliumEntry{protocol: protocol, tuple: tuple, in: string(direction) == "IN", svc: string(direction) == "SVC"}
	if !ok {
		if !ciliumOneAddress(rest2) {
			p.out.Problem("expected client:port -> server:port")
			return true
		}
		e.oneAddress, rest = true, rest2
	}
	p.open, p.line, p.ciliumEntry, p.inFlags, p.inTime = true, p.out.Line(), e, false, false
	p.text = append(p.text[:0], clip(b)...)
	p.values(rest)
	p.out.Understood()
	return true
}

// ciliumOneAddress tells the rows of an endpoint's own table of old versions,
// "TCP IN 10.11.0.5 43512:80 expires=": they lack the endpoint's own address.
func ciliumOneAddress(b []byte) bool {
	word, rest := ciliumWord(b)
	_, ok := address(word)
	word, _ = ciliumWord(rest)
	return ok && bytes.IndexByte(word, ':') > 0
}

// continues tells whether a line goes on with the row before: a pasted row is
// broken at any blank.
func (p *ciliumCT) continues(b []byte) bool {
	word, _ := ciliumWord(b)
	return len(b) > 0 && (p.inFlags || p.inTime || bytes.IndexByte(word, '=') > 0 || !p.hasRevNAT && bytes.IndexByte(b, '=') > 0)
}

// values reads the words after the tuple. Keys go by name: their order and
// number changed with nearly every version. Unknown words (new keys, notes
// that people add) are passed over.
func (p *ciliumCT) values(b []byte) {
	for {
		var word []byte
		if word, b = ciliumWord(b); len(word) == 0 {
			return
		}
		switch {
		case p.inFlags:
			p.inFlags = word[len(word)-1] != ']'
		case p.inTime:
			p.time(word)
		case word[0] == '[':
			p.inFlags = word[len(word)-1] != ']'
		case word[0] == '(':
			p.inTime = string(word) == "(remaining:" || string(word) == "(in"
		default:
			if i := bytes.IndexByte(word, '='); i > 0 {
				p.value(word[:i], word[i+1:])
			} else if string(word) == "service" {
				p.service = true
			} else if string(word) == "related" {
				p.related = true
			}
		}
	}
}

// time reads "(remaining: 21595 sec(s))" and "(in 21595 sec(s) from now)".
func (p *ciliumCT) time(word []byte) {
	negative := word[0] == '-'
	if negative {
		word = word[1:]
	}
	if n, ok := number(word); ok && n < 1<<62 && !p.hasRemaining {
		p.remaining, p.hasRemaining = int64(n), true
		if negative {
			p.remaining = -p.remaining
		}
	}
	if n := len(word); n > 0 && word[n-1] == ')' && string(word) != "sec(s)" {
		p.inTime = false
	}
}

func (p *ciliumCT) value(key, value []byte) {
	if len(value) == 0 {
		return
	}
	n, ok := number(value)
	if !ok {
		n, ok = ciliumHex(value)
	}
	switch string(key) {
	case "RevNAT":
		p.revNAT, p.hasRevNAT = n, ok && n <= math.MaxUint16
	case "SourceSecurityID", "src_sec_id":
		p.hasIdentity = true
	case "Flags":
		p.flags = n
	case "RxFlagsSeen":
		p.rxSeen, p.hasSeen = n, ok
	case "TxFlagsSeen":
		p.txSeen = n
	case "RxPackets":
		p.rxPackets = n
		p.packets += n
	case "RxBytes":
		p.rxBytes, p.hasRx = n, ok
		p.bytes += n
	case "TxPackets":
		p.txPackets = n
		p.packets += n
	case "Packets", "tx_packets":
		p.packets += n
	case "TxBytes", "Bytes", "tx_bytes":
		p.bytes += n
	case "IfIndex":
		p.hasIfIndex = true
	case "BackendID":
		p.backend, p.hasBackend = n, ok
	case "NatPort":
		p.hasNatPort = true
	case "Slave":
		p.slave = true
	default:
		p.lowerValue(key, value, n, ok)
	}
}

// lowerValue reads the keys of 1.3 and older. Their flags are hexadecimal
// without saying so.
func (p *ciliumCT) lowerValue(key, value []byte, n uint64, ok bool) {
	switch string(key) {
	case "rx_packets":
		p.lower = true
		p.packets += n
	case "rx_bytes":
		p.bytes += n
	case "flags":
		p.flags, _ = ciliumHex(value)
	case "revnat":
		p.revNAT, p.hasRevNAT = n, ok && n <= math.MaxUint16
	}
}

// ciliumHex reads a hexadecimal number with or without 0x.
func ciliumHex(b []byte) (uint64, bool) {
	if len(b) > 2 && b[0] == '0' && b[1] == 'x' {
		b = b[2:]
	}
	if len(b) == 0 || len(b) > 16 {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			n = n<<4 | uint64(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			n = n<<4 | uint64(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return n, true
}

// flush emits the row that was being read.
func (p *ciliumCT) flush() {
	if !p.open {
		return
	}
	p.open, p.blanks = false, p.blank
	e := &p.ciliumEntry
	switch {
	case !e.hasRevNAT || !e.hasIdentity:
		p.cut("expected RevNAT and what follows it: the row is cut short or broken")
		return
	case e.oneAddress:
		p.cut("the row names only one of the two addresses")
		return
	case e.slave:
		p.cut("Cilium 1.4 and 1.5 print this row alike, with the addresses in different order")
		return
	case e.related, e.protocol == record.ICMP, e.protocol == record.ICMPv6:
		return
	}
	if tool := e.tool(); !p.told && tool != "" {
		p.out.Tool(tool)
		p.told = true
	}
	t := e.translation()
	t.Line = p.line
	p.out.Translation(t)
}

// cut takes back the verdict on the row's first line. The line was counted
// when it was read, which is always before.
func (p *ciliumCT) cut(why string) {
	if p.out.sec.Understood > 0 {
		p.out.sec.Understood--
		p.out.sec.Unknown++
	}
	p.out.problem(record.Pos{Line: p.line}, string(p.text), why)
}

// tool tells the version by the shape of the row, where it does.
func (e *ciliumEntry) tool() string {
	switch {
	case e.hasNatPort:
		return "cilium >=1.19"
	case e.hasBackend && e.hasIfIndex:
		return "cilium 1.16 or 1.17"
	case e.hasBackend:
		return "cilium 1.18"
	case e.svc && e.hasRx:
		return "cilium 1.15"
	case e.lower:
		return "cilium <=1.3"
	case e.service:
		return "cilium <=1.14"
	}
	return ""
}

// translation turns a row into the sentence that it says.
func (e *ciliumEntry) translation() record.Translation {
	t := record.Translation{
		Protocol: e.protocol, Via: record.ViaCiliumCT, Timeout: -1, Service: uint32(e.revNAT),
		Packets: e.packets, Bytes: e.bytes, Loopback: e.flags&ciliumLoopback != 0, Ingress: e.in,
		Proxied: e.flags&ciliumProxyRedir != 0,
		Closing: e.flags&(ciliumRxClosing|ciliumTxClosing) == ciliumRxClosing|ciliumTxClosing,
	}
	if e.hasRemaining && e.remaining > -ciliumOverdue {
		t.Timeout = max(e.remaining, 0)
		t.Closing = t.Closing || e.remaining < 0
	}
	t.Before = e.tuple
	if e.lower {
		t.Before.Source = netip.AddrPortFrom(e.tuple.Destination.Addr(), e.tuple.Source.Port())
		t.Before.Destination = netip.AddrPortFrom(e.tuple.Source.Addr(), e.tuple.Destination.Port())
	}
	if e.service {
		t.Before.Source, t.Before.Destination = t.Before.Destination, t.Before.Source
	}
	if e.service || e.svc {
		t.Selects, t.Packets, t.Bytes = true, 0, 0
		t.After.Source = t.Before.Source
		n := e.backend
		if !e.hasBackend && e.hasRx {
			n = e.rxBytes
		}
		if n <= math.MaxUint32 {
			t.Backend = uint32(n)
		}
		return t
	}
	t.After = t.Before
	t.Unreplied = e.unreplied()
	return t
}

// unreplied tells that the client's SYN was seen, no answer to it, and nothing
// after it. What an OUT entry received (Rx) is the answer; an IN entry is the
// server's, which receives the client's packets and sends (Tx) the answer.
func (e *ciliumEntry) unreplied() bool {
	asked, answered, packets := e.txSeen, e.rxSeen, e.rxPackets
	if e.in {
		asked, answered, packets = e.rxSeen, e.txSeen, e.txPackets
	}
	return e.protocol == record.TCP && e.hasSeen && asked&2 != 0 && answered == 0 && packets == 0 && e.flags&ciliumSeenNonSyn == 0
}
