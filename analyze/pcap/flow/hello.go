package flow

import "encoding/binary"

const (
	// maxHello bounds the bytes of a ClientHello that are kept until the next
	// segment comes, and maxHellos how many are waited for at once.
	maxHello  = 4096
	maxHellos = 512
)

// hellos are begun ClientHellos, by the number of their flow.
type hellos struct {
	parts map[uint32]part
	order [maxHellos]uint32 // a ring of flow numbers, the oldest at next
	next  int
}

type part struct {
	bytes []byte
	seq   uint32 // of the segment that goes on
}

// helloBegins takes the server name from a ClientHello at the begin of the
// client's bytes. end is the sequence number behind the packet.
func (t *table) helloBegins(e *entry, n uint32, q *packet, body []byte, end uint32) {
	name, more := serverName(body)
	if name != nil {
		e.name = t.names.number(name)
		return
	}
	if !more || len(body) > maxHello || len(q.d.Payload) < q.d.PayloadLength {
		return
	}
	if t.hello.parts == nil {
		t.hello.parts = map[uint32]part{}
	}
	old := &t.hello.order[t.hello.next]
	delete(t.hello.parts, *old)
	*old = n
	t.hello.next = (t.hello.next + 1) % maxHellos
	t.hello.parts[n] = part{bytes: append([]byte(nil), body...), seq: end}
	e.flags |= flagHello
}

// helloGoesOn tries again with the second segment.
func (t *table) helloGoesOn(e *entry, n uint32, q *packet, seq uint32) {
	p, ok := t.hello.parts[n]
	if ok && p.seq != seq {
		return
	}
	e.flags &^= flagHello
	delete(t.hello.parts, n)
	if name, _ := serverName(append(p.bytes, q.d.Payload...)); ok && name != nil {
		e.name = t.names.number(name)
	}
}

// serverName reads the server name of a TLS ClientHello (RFC 8446, RFC 6066),
// nil without one. It says whether more bytes could bring it.
func serverName(b []byte) (name []byte, more bool) {
	// Record: type 22, version 3.x, length; handshake: type 1, 24-bit length,
	// version and random.
	const fixed = 5 + 4 + 2 + 32
	if len(b) < 6 || b[0] != 22 || b[1] != 3 || b[5] != 1 {
		return nil, false
	}
	if len(b) < fixed {
		return nil, true
	}
	// A record that ends inside the message is followed by another header; that
	// is rare and not read.
	whole := 5 + int(binary.BigEndian.Uint16(b[3:]))
	more = len(b) < whole
	b = b[fixed:min(len(b), whole)]
	for _, size := range []int{1, 2, 1} { // session, cipher suites, compressions
		if _, b = prefixed(b, size); b == nil {
			return nil, more
		}
	}
	if len(b) < 2 {
		return nil, more
	}
	b = b[2:]
	for len(b) >= 4 {
		kind := binary.BigEndian.Uint16(b)
		ext, rest := prefixed(b[2:], 2)
		if rest == nil {
			return nil, more
		}
		if kind == 0 {
			return hostName(ext), false
		}
		b = rest
	}
	return nil, more
}

// prefixed cuts off what stands behind a length of 1 or 2 bytes. rest is nil
// when b ends before.
func prefixed(b []byte, size int) (value, rest []byte) {
	if len(b) < size {
		return nil, nil
	}
	n := int(b[0])
	if size == 2 {
		n = int(binary.BigEndian.Uint16(b))
	}
	if len(b) < size+n {
		return nil, nil
	}
	return b[size : size+n], b[size+n:]
}

// hostName is the host_name of a server_name extension.
func hostName(ext []byte) []byte {
	list, rest := prefixed(ext, 2)
	if rest == nil || len(list) < 3 || list[0] != 0 {
		return nil
	}
	name, rest := prefixed(list[1:], 2)
	if rest == nil || len(name) == 0 || len(name) > 255 {
		return nil
	}
	for _, c := range name {
		if c <= ' ' || c > '~' {
			return nil
		}
	}
	return name
}
