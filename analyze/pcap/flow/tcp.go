package flow

// protocolTCP is the IP protocol number of TCP.
const protocolTCP = 6

// Flags of a TCP header (RFC 9293).
const (
	flagFIN = 1 << iota
	flagSYN
	flagRST
	flagPSH
	flagACK
)

const (
	// far is more than any window of TCP (2^30, RFC 7323): a segment that far
	// from the others is not of the same connection, or much is missing.
	far = 1 << 30
	// lost bounds the bytes that a segment without payload may tell of, that
	// the capture did not see.
	lost = 1 << 24
	// overtook bounds the bytes that may have been captured before the SYN.
	overtook = 1 << 20
)

// reused tells that a packet begins a new connection on the ports of an old
// one. A SYN does that when its sequence number is not that of the SYN before
// it, and the old connection was closed or never used that number. Its own end
// has sent a FIN: then even the same number begins anew. Of a connection that
// was closed a segment far outside of it is another one, whose SYN was missed.
func reused(e *entry, q *packet) bool {
	d, h, c := &q.d, &e.hot[q.from], &e.cold[q.from]
	known := h.flags&halfISN != 0
	switch {
	case d.Flags&flagSYN == 0:
		return d.PayloadLength > 0 && d.Flags&flagRST == 0 && d.FragmentOffset == 0 && e.finished() &&
			h.flags&halfPlaced != 0 && distance(d.Seq, h.next) > lost
	case known && d.Seq == c.isn:
		return h.flags&halfFIN != 0 && q.Time-c.synTime > sameID // else a copy
	case e.finished():
		return true
	case d.Flags&flagACK != 0:
		return false // another answer to the SYN (a SYN cookie, a scanner's trap)
	case h.flags&halfPlaced == 0:
		return false // both ends open, or the answer was captured first
	}
	low := h.next - uint32(h.sent) - 1 // a SYN that was overtaken stands before
	if known {
		low = c.isn
	}
	return d.Seq-low > h.next-low
}

// distance is how far apart two sequence numbers are.
func distance(x, y uint32) uint32 { return min(x-y, y-x) }

// tcp brings the flow up to date with a segment.
func (t *table) tcp(e *entry, n uint32, q *packet) {
	d, h, c := &q.d, &e.hot[q.from], &e.cold[q.from]
	seq, length := d.Seq, uint32(max(d.PayloadLength, 0))
	if d.Flags&flagSYN != 0 && d.FragmentOffset == 0 {
		t.syn(e, q)
		seq++
	}
	var fresh uint64
	alive := false
	if d.Flags&flagRST != 0 {
		length = 0 // some stacks put a reason there
	} else {
		fresh, alive = h.advance(seq, length, d.Flags)
	}
	e.closing(q)
	if alive || length == 0 || d.FragmentOffset > 0 {
		if fresh > 0 {
			t.turns(e, q, fresh, nil)
		}
		return
	}
	if c.data == 0 {
		c.data, c.dataTime = q.number, q.Time
	}
	c.sample(h, q)
	if h.flags&(halfISN|halfBegun) == halfISN {
		c.beginning(h, seq, q)
	}
	if fresh == 0 && e.flags&(flagPeeked|flagHello) == flagPeeked {
		return
	}
	body := t.peek(e, n, q, seq, fresh)
	if fresh > 0 {
		// A repetition that goes on with new bytes: those are behind the old.
		old := uint64(length) - min(uint64(length), fresh)
		t.turns(e, q, fresh, body[min(old, uint64(len(body))):])
	}
}

// closing keeps the first FIN and RST.
func (e *entry) closing(q *packet) {
	if q.d.Flags&(flagFIN|flagRST) == 0 {
		return
	}
	h, c := &e.hot[q.from], &e.cold[q.from]
	e.flags |= flagFinished
	if q.d.Flags&flagFIN != 0 {
		h.flags |= halfFIN
		if c.fin == 0 {
			c.fin = q.number
		}
	}
	if q.d.Flags&flagRST != 0 && c.rst == 0 {
		c.rst = q.number
	}
}

// syn takes what a SYN or SYN/ACK says.
func (t *table) syn(e *entry, q *packet) {
	d, h, c := &q.d, &e.hot[q.from], &e.cold[q.from]
	if e.flags&flagCertain == 0 {
		client := q.from
		if d.Flags&flagACK != 0 {
			client = 1 - q.from
		}
		if client != e.client() {
			e.forget() // what was taken for requests were answers
		}
		e.setClient(client, true)
	}
	c.syns++
	if h.flags&halfISN == 0 {
		c.isn, c.syn, c.synTime = d.Seq, q.number, q.Time
		c.mss, c.scale = d.MSS, d.Scale
		if h.origin(d.Seq + 1) {
			c.data, c.dataTime, h.samples = 0, 0, 0
			e.forget()
		}
	}
	if d.HasStamp && d.Seq == c.isn {
		c.stamped(h, d.Stamp)
	}
}

// forget drops what was taken for exchanges and first bytes.
func (e *entry) forget() {
	e.exchange, e.tail, e.exchanged, e.turn = 0, 0, 0, turnNone
	e.name, e.announced, e.prefix = 0, 0, 0
	e.flags &^= flagKept | flagPeeked | flagHTTP | flagHello
}

// origin sets the number of the first byte. What overtook the SYN lies ahead;
// it says whether bytes were counted that do not, and so are of an older
// connection.
func (h *hot) origin(seq uint32) (older bool) {
	ahead := h.next - seq
	if h.flags&(halfPlaced|halfBare) != halfPlaced || ahead > overtook {
		older = h.sent > 0
		ahead = 0
	}
	h.next, h.sent = seq+ahead, uint64(ahead)
	h.flags = h.flags&^halfBare | halfISN | halfPlaced
	return older
}

// stamped keeps the timestamp of a SYN.
func (c *cold) stamped(h *hot, stamp uint32) {
	for _, s := range c.stamp[:h.stamps] {
		if s == stamp {
			return
		}
	}
	if h.stamps < maxStamps {
		c.stamp[h.stamps] = stamp
		h.stamps++
	}
}

// advance moves next to the end of a segment, and says how many bytes of the
// application that adds; those that the capture missed before it are among
// them. A keep-alive repeats the byte before next, or carries none.
func (h *hot) advance(seq, length uint32, flags uint16) (fresh uint64, alive bool) {
	end := seq + length
	if h.flags&halfPlaced == 0 {
		h.flags |= halfPlaced
		h.next = end
		if length == 0 {
			h.flags |= halfBare
		}
		if length == 1 && flags&(flagPSH|flagFIN) == 0 {
			return 0, true
		}
		h.sent = uint64(length)
		return uint64(length), false
	}
	delta := int32(end - h.next)
	if length == 0 {
		return h.bare(delta, flags), false
	}
	if h.flags&halfBare != 0 {
		// The first packet was a keep-alive, whose number is one too low.
		h.flags &^= halfBare
		if seq == h.next+1 && h.sent == 0 {
			h.next = seq
			delta--
		}
	}
	switch {
	case delta == 0 && length == 1:
		return 0, true
	case delta > far || delta < -far:
		return h.jump(seq, end), false
	case delta > 0:
		h.next = end
		h.sent += uint64(delta)
		return uint64(delta), false
	}
	h.lower(seq)
	return 0, false
}

// bare is advance for a segment without payload. It stands at the end of what
// was sent, or one behind it when a FIN was missed.
func (h *hot) bare(delta int32, flags uint16) uint64 {
	least := int32(2)
	if flags&flagFIN != 0 {
		least = 1
	}
	if h.flags&halfFIN != 0 || delta < least || delta > lost {
		return 0
	}
	h.next += uint32(delta)
	h.sent += uint64(delta)
	return uint64(delta)
}

// jump takes a segment far away: the second one in a row shows that the capture
// missed what is between, and not that a stray packet came by.
func (h *hot) jump(seq, end uint32) uint64 {
	if h.flags&halfStray == 0 || distance(seq, h.stray) > lost {
		h.flags |= halfStray
		h.stray = end
		return 0
	}
	h.flags &^= halfStray
	fresh := uint64(end - h.next)
	h.next = end
	h.sent += fresh
	return fresh
}

// lower takes a segment from before the first one of a flow without a SYN.
func (h *hot) lower(seq uint32) {
	if h.flags&halfISN != 0 || h.sent > far {
		return
	}
	low := h.next - uint32(h.sent)
	if before := int32(low - seq); before > 0 && before <= far {
		h.sent += uint64(before)
	}
}
