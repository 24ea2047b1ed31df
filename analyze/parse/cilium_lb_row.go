package parse

import (
	"bytes"
	"math"
	"net/netip"
)

// Reading one row of the load-balancing tables; see cilium_lb.go for them.

type ciliumLBKind uint8

const (
	ciliumLBSlot ciliumLBKind = iota
	ciliumLBFrontend
	ciliumLBBackend
	ciliumLBRevNAT
	ciliumLBOther // Maglev
)

// ciliumLBRow is one row of any of the tables. -1: not said.
type ciliumLBRow struct {
	kind          ciliumLBKind
	hasKey        bool
	key           ciliumVIPKey
	backend       netip.AddrPort
	id            uint32 // the backend's, or the first column's
	notFound      bool
	revNAT        int
	slot          int
	count, qcount int
	parens        int
	flags         []byte // the text between the brackets, up to the last one
}

// ciliumLBParse reads one row.
func ciliumLBParse(b []byte) (r ciliumLBRow, ok bool) {
	r.revNAT, r.slot, r.count, r.qcount = -1, -1, -1, -1
	if word, _ := ciliumWord(b); len(word) > 0 && word[0] == '[' && bytes.Contains(word, []byte("]/v")) {
		r.kind = ciliumLBOther // the row may be of megabytes
		return r, true
	}
	var buf [16][]byte
	w := fields(b, buf[:0])
	if len(w) == 0 {
		return r, false
	}
	if n, isNumber := ciliumUint32(w[0]); isNumber {
		r.id = n
		return r, len(w) > 1 && r.byNumber(w)
	}
	if string(w[0]) == "backend" {
		return r, r.missing(w)
	}
	first, ok := ciliumFrontend(w[0])
	if !ok {
		return r, false
	}
	rest, slot := w[1:], -1
	if len(rest) > 1 {
		if n, isParen := ciliumParen(rest[0]); isParen && ciliumLBValue(rest[1]) {
			slot, rest = n, rest[1:]
		}
	}
	if len(rest) == 0 {
		return r, false
	}
	if !ciliumLBValue(rest[0]) { // the row goes on with a service printed before
		r.backend = first.address
		return r, r.value(rest)
	}
	r.hasKey, r.key = true, first
	return r, r.second(rest) && (slot < 0 || r.slot < 0 || slot == r.slot) && r.place(slot)
}

// place fills in the slot that only the first column tells.
func (r *ciliumLBRow) place(slot int) bool {
	if r.slot < 0 {
		r.slot = slot
	}
	return true
}

// second reads the second column of a row that has a first.
func (r *ciliumLBRow) second(w [][]byte) bool {
	if string(w[0]) == "backend" {
		return r.missing(w)
	}
	if n, ok := ciliumUint32(w[0]); ok {
		r.id = n
		return r.frontend(w[1:])
	}
	second, ok := ciliumFrontend(w[0])
	r.backend = second.address
	return ok && r.value(w[1:])
}

// byNumber reads a row that begins with a number.
func (r *ciliumLBRow) byNumber(w [][]byte) bool {
	if i := bytes.Index(w[1], []byte("://")); i > 0 {
		r.kind = ciliumLBBackend
		var ok bool
		r.backend, ok = ciliumBackendAddress(w[1][i+3:])
		return ok
	}
	if vip, ok := ciliumFrontend(w[1]); ok {
		r.kind, r.key = ciliumLBRevNAT, vip
		return len(w) == 2
	}
	return r.frontend(w[1:])
}

// ciliumBackendAddress reads the address of --backends. Up to 1.12 it has a
// port, later none, and then IPv6 has no brackets. A zone may follow in them.
func ciliumBackendAddress(b []byte) (netip.AddrPort, bool) {
	if i := bytes.IndexByte(b, '['); i > 0 {
		b = b[:i]
	}
	if bytes.Count(b, []byte(":")) == 1 || bytes.Contains(b, []byte("]:")) {
		f, ok := ciliumFrontend(b)
		return f.address, ok
	}
	a, ok := address(ciliumNoCluster(b))
	return netip.AddrPortFrom(a, 0), ok
}

// missing reads "backend 12 not found".
func (r *ciliumLBRow) missing(w [][]byte) bool {
	if len(w) < 4 || string(w[2]) != "not" || string(w[3]) != "found" {
		return false
	}
	n, ok := ciliumUint32(w[1])
	r.id, r.notFound = n, true
	return ok
}

// frontend reads "COUNT[QCOUNT] (REVNAT) [FLAGS FLAGS]" behind a backend id.
func (r *ciliumLBRow) frontend(w [][]byte) bool {
	r.kind = ciliumLBFrontend
	if len(w) > 0 && w[0][0] != '(' {
		count, rest, found := bytes.Cut(w[0], []byte("["))
		n, ok := ciliumUint32(count)
		if !ok {
			return false
		}
		r.count = int(n)
		if found {
			if n, ok = ciliumUint32(bytes.TrimSuffix(rest, []byte("]"))); !ok {
				return false
			}
			r.qcount = int(n)
		}
		w = w[1:]
	}
	return len(w) > 0 && w[0][0] == '(' && r.value(w)
}

// value reads "(REVNAT) (SLOT) [FLAGS] (L7LB Proxy Port: N)" and what people
// write behind it.
func (r *ciliumLBRow) value(w [][]byte) bool {
	for len(w) > 0 && r.parens < 2 {
		n, ok := ciliumParen(w[0])
		if !ok {
			break
		}
		if r.parens == 0 {
			r.revNAT = n
		} else {
			r.slot = n
		}
		r.parens++
		w = w[1:]
	}
	if r.parens == 0 {
		return false
	}
	if len(w) > 0 && w[0][0] == '[' {
		last := 0
		for i := range w {
			if w[i][len(w[i])-1] == ']' {
				last = i
				break
			}
		}
		r.flags = bytes.Join(w[:last+1], []byte(" "))
	}
	return true
}

// ciliumLBValue tells whether a word may begin the second column.
func ciliumLBValue(b []byte) bool {
	if b[0] == '(' || string(b) == "backend" {
		return b[0] != '('
	}
	if _, ok := ciliumUint32(b); ok {
		return true
	}
	_, ok := ciliumFrontend(b)
	return ok
}

func ciliumParen(b []byte) (int, bool) {
	if len(b) < 3 || b[0] != '(' || b[len(b)-1] != ')' {
		return 0, false
	}
	n, ok := ciliumUint32(b[1 : len(b)-1])
	return int(n), ok && n <= math.MaxUint16
}

func ciliumUint32(b []byte) (uint32, bool) {
	n, ok := number(b)
	return uint32(n), ok && n <= math.MaxUint32
}
