package flow

import "net/netip"

// exchange is a request and its answer; times in nanoseconds since 1970.
type exchange struct {
	start, sent, answer, end int64
	up, down, begin          uint64
	number, mark, next       uint32
}

// mark is what an HTTP request says of the one before the proxy.
type mark struct {
	id   uint64
	from netip.Addr
}

// Whose turn it is in a flow.
const (
	turnNone = iota
	turnAsk
	turnAnswer
)

// turns takes the bytes that a packet adds to what its end sent. Bytes of the
// client behind an answer begin a new exchange. body is what is captured of
// them. Repetitions add nothing and do not come here.
func (t *table) turns(e *entry, q *packet, fresh uint64, body []byte) {
	asks := q.from == e.client()
	if e.turn == turnNone || asks && e.turn == turnAnswer {
		t.exchanged(e, q)
	}
	if asks {
		e.turn = turnAsk
		if e.flags&flagKept != 0 {
			t.ask(e, t.exchanges.at(e.tail-1), q, fresh, body)
		}
		return
	}
	first := e.turn != turnAnswer
	e.turn = turnAnswer
	if e.flags&flagKept == 0 {
		return
	}
	x := t.exchanges.at(e.tail - 1)
	if first {
		x.answer = q.Time
	}
	x.end = q.Time
	x.down += fresh
}

// exchanged begins an exchange, and keeps it while there is room. One that the
// server begins has no request.
func (t *table) exchanged(e *entry, q *packet) {
	e.exchanged++
	e.flags &^= flagKept
	if e.exchanged > 1 && (e.exchanged > maxExchanges || t.exchanges.n >= keptExchanges) {
		return
	}
	x, i := t.exchanges.add()
	*x = exchange{start: q.Time, sent: q.Time, number: q.number}
	if e.exchange == 0 {
		e.exchange = i + 1
	} else {
		t.exchanges.at(e.tail - 1).next = i + 1
	}
	e.tail = i + 1
	e.flags |= flagKept
}

func (t *table) ask(e *entry, x *exchange, q *packet, fresh uint64, body []byte) {
	x.sent = q.Time
	x.up += fresh
	if x.begin != 0 || len(body) == 0 {
		return
	}
	if e.protocol != protocolTCP || !isRequest(body) {
		x.begin = hashBytes(head(body))
		return
	}
	line, rest, _ := cutLine(body)
	x.begin = hashBytes(head(line))
	m := readHeaders(rest)
	if m == (mark{}) {
		return
	}
	t.marks = append(t.marks, m)
	x.mark = uint32(len(t.marks))
}
