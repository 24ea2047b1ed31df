package parse

import (
	"bytes"
	"math"
	"net/netip"
	"time"

	"whichbackend/analyze/record"
)

// conntrackRow is one entry while it is being read. Tables have millions, so
// nothing here allocates but what an unusual row needs.
type conntrackRow struct {
	t      record.Translation
	tuples [2]conntrackTuple // the original direction and the reply
	n      int               // tuples begun
	code   bool              // the key before was an ICMP tuple's code=
	tail   bool              // something stands after the tuples
	use    bool              // the row has use=, as every row of a table does
	sawUse bool              // an earlier row of the section had it
}

type conntrackTuple struct {
	src, dst     netip.Addr
	sport, dport uint16
	hasS, hasD   bool
}

func (r *conntrackRow) reset() {
	r.t = record.Translation{Via: record.ViaConntrack, Timeout: -1}
	r.tuples = [2]conntrackTuple{}
	r.n, r.code, r.tail, r.use = 0, false, false, false
}

// read reads a row whose first tuple begins at src.
func (r *conntrackRow) read(b []byte, src int) string {
	r.reset()
	if why := r.head(b[:src]); why != "" {
		return why
	}
	if why := r.body(b[src:]); why != "" {
		return why
	}
	if r.sawUse && !r.tail && r.t.Event == "" {
		return "the row is cut off" // the last port may lack digits
	}
	return r.finish()
}

// head reads what stands before the tuples: an event with its time, protocol,
// timeout and state. Text before it (a file name, a clock) is passed over, and
// a head that was cut is read as far as it goes.
func (r *conntrackRow) head(b []byte) string {
	var f [10][]byte // the last ones
	n := 0
	for len(b) > 0 {
		var tok []byte
		if tok, b = conntrackToken(b); len(tok) == 0 {
			break
		}
		if tok[0] == '[' {
			r.bracketBefore(tok)
			continue
		}
		if n == len(f) {
			copy(f[:], f[1:])
			n--
		}
		f[n] = tok
		n++
	}
	i := r.protocol(f[:n])
	for ; i < n; i++ {
		switch tok := f[i]; {
		case r.t.Timeout < 0 && conntrackSigned(tok):
			if why := r.timeout(tok); why != "" {
				return why
			}
		case tok[0] >= 'A' && tok[0] <= 'Z':
			r.t.State = conntrackState(tok)
		}
	}
	if r.t.Protocol == 0 && !r.protocolFromState() {
		return "no protocol before the addresses"
	}
	return ""
}

// conntrackSigned tells a whole number, perhaps a negative one.
func conntrackSigned(b []byte) bool {
	b = bytes.TrimPrefix(b, []byte("-"))
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0
}

// protocol finds name and number of the protocol and returns the index of what
// follows. Where the name is cut off, the number is told by what follows it.
func (r *conntrackRow) protocol(f [][]byte) int {
	for i := len(f) - 1; i >= 0; i-- {
		name := f[i]
		if c := bytes.LastIndexByte(name, ':'); c >= 0 {
			name = name[c+1:] // grep -n, grep -H
		}
		known := conntrackProtocol(name)
		if known == 0 && string(name) != "unknown" {
			continue
		}
		if i+1 == len(f) {
			r.t.Protocol = known
			return i + 1
		}
		n, ok := number(f[i+1])
		switch {
		case known == 0 && ok && n > 0 && n <= math.MaxUint8:
			r.t.Protocol = record.Protocol(n)
			return i + 2
		case known != 0 && ok && n == uint64(known):
			r.t.Protocol = known
			return i + 2
		case known != 0:
			r.t.Protocol = known
			return i + 1
		}
	}
	last := len(f) - 1
	if last >= 0 && f[last][0] >= 'A' && f[last][0] <= 'Z' {
		last--
	}
	if last < 1 {
		return max(last, 0)
	}
	n, ok := number(f[last-1])
	if _, timeout := number(f[last]); ok && timeout && n > 0 && n <= math.MaxUint8 {
		r.t.Protocol = record.Protocol(n)
	}
	return last
}

// protocolFromState tells TCP by the states that no other protocol has.
func (r *conntrackRow) protocolFromState() bool {
	switch r.t.State {
	case "SYN_SENT", "SYN_RECV", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2":
		r.t.Protocol = record.TCP
		return true
	}
	return false
}

// bracketBefore reads an event or the time of one.
func (r *conntrackRow) bracketBefore(tok []byte) {
	if e := conntrackEvent(tok); e != "" {
		r.t.Via, r.t.Event = record.ViaEvent, e
		return
	}
	tok = bytes.TrimSuffix(tok[1:], []byte("]"))
	dot := bytes.IndexByte(tok, '.')
	if dot < 0 {
		return
	}
	// Old versions pad the microseconds with blanks on the right instead of
	// zeros on the left: .2498 is 2498 microseconds in both.
	sec, ok := number(bytes.TrimRight(tok[:dot], " "))
	usec, ok2 := number(bytes.TrimRight(tok[dot+1:], " "))
	if ok && ok2 && sec < 1<<33 && usec < 1e6 {
		r.t.Start = time.Unix(int64(sec), int64(usec)*1000).UTC()
	}
}

// conntrackToken cuts the next token off. A bracket is one token with the
// blanks inside it: [start=Mon Nov 23 08:20:53 2026].
func conntrackToken(b []byte) (tok, rest []byte) {
	i := 0
	for i < len(b) && (b[i] == ' ' || b[i] == '\t') {
		i++
	}
	b = b[i:]
	if len(b) > 0 && b[0] == '[' {
		if end := bytes.IndexByte(b, ']'); end > 0 {
			return b[:end+1], b[end+1:]
		}
	}
	for i = 0; i < len(b) && b[i] != ' ' && b[i] != '\t'; i++ {
	}
	return b[:i], b[i:]
}

// body reads the tuples and what follows them.
func (r *conntrackRow) body(b []byte) string {
	for len(b) > 0 {
		if b[0] <= ' ' {
			b = b[1:]
			continue
		}
		if b[0] == '[' {
			var tok []byte
			tok, b = conntrackToken(b)
			switch string(tok) {
			case "[UNREPLIED]":
				r.t.Unreplied = true
			case "[ASSURED]":
				r.t.Assured, r.tail = true, true
			case "[OFFLOAD]", "[HW_OFFLOAD]":
				r.t.Offloaded, r.tail = true, true
			case "[USERSPACE]":
				return "" // portid=, progname=: a name may hold anything
			}
			continue
		}
		eq := 0
		for eq < len(b) && b[eq] > ' ' && b[eq] != '=' {
			eq++
		}
		i := eq
		for i < len(b) && b[i] > ' ' {
			i++
		}
		if i > eq {
			if why := r.pair(b[:eq], b[eq+1:i]); why != "" {
				return why
			}
		}
		b = b[i:]
	}
	return ""
}

// pair reads key=value.
func (r *conntrackRow) pair(key, value []byte) string {
	code := r.code
	r.code = false
	switch string(key) {
	case "src":
		if r.n == 2 {
			return "more than two source addresses: two rows on one line"
		}
		r.n++
		return r.address(&r.tuples[r.n-1].src, value)
	case "dst":
		return r.address(&r.tuple().dst, value)
	case "sport":
		t := r.tuple()
		return conntrackPort(&t.sport, &t.hasS, value)
	case "dport":
		t := r.tuple()
		return conntrackPort(&t.dport, &t.hasD, value)
	case "code":
		r.code = true
		return ""
	case "type", "srckey", "dstkey", "zone-reply":
		return ""
	case "zone-orig":
		return r.zone(value)
	case "packets":
		return r.count(&r.t.Packets, value)
	case "bytes":
		return r.count(&r.t.Bytes, value)
	case "id":
		if code {
			return "" // of an ICMP echo; the entry's own stands at the end
		}
		r.tail = r.tail || r.n == 2
		return r.id(value)
	}
	r.tail = r.tail || r.n == 2
	switch string(key) {
	case "mark":
		return r.mark(value)
	case "zone":
		return r.zone(value)
	case "use":
		r.use = true
	}
	return ""
}

// tuple is the tuple being read.
func (r *conntrackRow) tuple() *conntrackTuple { return &r.tuples[max(r.n, 1)-1] }

func (r *conntrackRow) address(to *netip.Addr, b []byte) string {
	a, ok := plainAddress(b)
	if !ok {
		return "no address after src= or dst="
	}
	*to = a
	return ""
}

func conntrackPort(to *uint16, has *bool, b []byte) string {
	p, ok := number(b)
	if !ok || p > math.MaxUint16 {
		return "no port after sport= or dport="
	}
	*to, *has = uint16(p), true
	return ""
}

func (r *conntrackRow) zone(b []byte) string {
	n, ok := number(b)
	if !ok || n > math.MaxUint32 {
		return "the zone is no number"
	}
	r.t.Zone = uint32(n)
	return ""
}

func (r *conntrackRow) mark(b []byte) string {
	n, ok := number(b)
	if !ok || n > math.MaxUint32 {
		return "the mark is no number of 32 bits"
	}
	r.t.Mark = uint32(n)
	return ""
}

func (r *conntrackRow) timeout(b []byte) string {
	n, ok := number(b)
	switch {
	case len(b) > 1 && b[0] == '-' && b[1] >= '0' && b[1] <= '9':
		return "the timeout is negative"
	case !ok || n > math.MaxInt64:
		return "the timeout is no number of seconds"
	}
	r.t.Timeout = int64(n)
	return ""
}

func (r *conntrackRow) count(to *uint64, b []byte) string {
	n, ok := number(b)
	if !ok {
		return "a counter is no number"
	}
	*to += n
	return ""
}

func (r *conntrackRow) id(b []byte) string {
	n, ok := number(b)
	if !ok {
		return "the id is no number"
	}
	r.t.ID = n
	return ""
}

// finish checks that both tuples are whole and turns them into before and
// after.
func (r *conntrackRow) finish() string {
	o, a := &r.tuples[0], &r.tuples[1]
	switch {
	case r.n < 1 || !o.src.IsValid() || !o.dst.IsValid():
		return "no source and destination of the original direction"
	case r.n < 2 || !a.src.IsValid() || !a.dst.IsValid():
		return "no source and destination of the reply direction"
	case o.src.Is4() != o.dst.Is4() || a.src.Is4() != a.dst.Is4():
		return "source and destination are of different families"
	}
	switch r.t.Protocol {
	case record.TCP, record.UDP, record.SCTP, record.UDPLite:
		if !o.hasS || !o.hasD || !a.hasS || !a.hasD {
			return "a port is missing"
		}
	case record.DCCP:
	default:
		o.sport, o.dport, a.sport, a.dport = 0, 0, 0, 0
	}
	r.t.Before = record.Tuple{Source: netip.AddrPortFrom(o.src, o.sport), Destination: netip.AddrPortFrom(o.dst, o.dport)}
	r.t.After = record.Tuple{Source: netip.AddrPortFrom(a.dst, a.dport), Destination: netip.AddrPortFrom(a.src, a.sport)}
	return ""
}
