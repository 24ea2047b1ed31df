package parse

import (
	"bytes"
	"net/netip"
	"slices"

	"whichbackend/analyze/record"
)

// The load-balancing tables of Cilium's datapath, cilium bpf lb list and its
// views --frontends, --backends and --revnat, and the same as JSON, an object
// from the first column to an array of second columns:
//
//	SERVICE ADDRESS             BACKEND ADDRESS (REVNAT_ID) (SLOT)
//	192.168.50.11:30081/i (2)   10.0.2.64:80 (9) (2)
//	10.96.43.209:80 (0)         0.0.0.0:0 (2) (0) [ClusterIP, non-routable]
//
//	SERVICE ADDRESS             BACKEND ID
//	10.96.88.9:80 (1)           2 0 (6) [0x0 0x0]
//
//	ID   BACKEND ADDRESS (REVNAT_ID) (SLOT)
//	2    ANY://10.0.1.66
//
// (cilium 1.14.16). Up to 1.15 the first column is printed once for all rows
// of a service; since then each slot has a row of its own, in no order. Slots
// are printed since 1.12, protocols since 1.17. Slot 0 is the service itself:
// its backend id is a timeout, a port or an algorithm.

func ciliumLBHead(b []byte) bool {
	if len(b) < 8 {
		return false
	}
	switch b[0] {
	case 'S':
		return ciliumLBHeader(b)
	case 'I':
		return b[1] == 'D' && ciliumLBHeader(b)
	case '[', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
	default:
		return false
	}
	// Cheap looks first: nearly every line that begins with a digit ends here.
	i := bytes.IndexByte(b[:min(len(b), 64)], ' ')
	if i < 1 {
		return false
	}
	rest := bytes.TrimLeft(b[i:], " ")
	switch c := rest[0]; {
	case c == '(' || c >= '0' && c <= '9' || c == '[' || c == 'b':
		if bytes.IndexByte(b[:i], ':') < 0 || bytes.IndexByte(rest[:min(len(rest), 70)], '(') < 0 && c != 'b' {
			return false
		}
	case bytes.HasPrefix(rest, []byte("ANY://")), bytes.HasPrefix(rest, []byte("TCP://")), bytes.HasPrefix(rest, []byte("UDP://")), bytes.HasPrefix(rest, []byte("SCTP://")):
	default:
		return false
	}
	r, ok := ciliumLBParse(b)
	return ok && r.kind != ciliumLBRevNAT
}

func ciliumLBHeader(b []byte) bool {
	switch {
	case bytes.HasPrefix(b, []byte("SERVICE ADDRESS")):
		return bytes.Contains(b, []byte("BACKEND"))
	case bytes.HasPrefix(b, []byte("ID")):
		return bytes.HasPrefix(bytes.TrimLeft(b[2:], " "), []byte("BACKEND ADDRESS"))
	case bytes.HasPrefix(b, []byte("SVC ID")):
		return bytes.Contains(b, []byte("LOOKUP TABLE"))
	}
	return bytes.HasPrefix(b, []byte("SOURCE RANGE"))
}

// ciliumLB gathers the slots of each service; a listing may have them in any order.
type ciliumLB struct {
	out     *Out
	vips    map[ciliumVIPKey]*ciliumVIP
	order   []*ciliumVIP
	rows    []record.Service // of the views that name one backend or RevNAT a row
	last    *ciliumVIP
	whole   bool // the header was seen, and no row was lost
	ranges  bool // --source-ranges
	pointer string
}

type ciliumVIP struct {
	record.Service
	frontend   bool
	hasZero    bool
	missing    bool // a slot without a backend
	count      int
	words      []string
	seen       map[ciliumSlot]bool
	flag1, flg uint64
}

type ciliumSlot struct {
	slot    int
	address netip.AddrPort
	id      uint32
}

func newCiliumLB(out *Out) *ciliumLB {
	return &ciliumLB{out: out, vips: map[ciliumVIPKey]*ciliumVIP{}}
}

func ciliumLBOpen(out *Out) (func([]byte), func()) {
	p := newCiliumLB(out)
	return p.read, p.flush
}

func (p *ciliumLB) read(b []byte) {
	b = bytes.TrimSpace(b)
	switch {
	case len(b) == 0:
		p.out.Ignore()
	case ciliumLBHeader(b):
		p.flush()
		*p = *newCiliumLB(p.out)
		p.whole, p.ranges = true, b[0] == 'S' && b[1] == 'O'
		p.out.Understood()
	case p.ranges:
		p.out.Ignore()
	case ciliumElision(b):
		p.whole, p.last = false, nil
		p.out.Ignore()
	default:
		p.row(b)
	}
}

func (p *ciliumLB) row(b []byte) {
	r, ok := ciliumLBParse(b)
	if !ok {
		if !ciliumAside(p.out, b) {
			p.out.Problem("expected a row of the load-balancing tables: address:port (slot), backend (revnat) (slot)")
			p.whole = false
		}
		return
	}
	p.out.Understood()
	p.add(&r)
}

func (p *ciliumLB) add(r *ciliumLBRow) {
	s := record.Service{Source: record.FromCiliumLB, Mechanism: "cilium", ID: r.id}
	switch r.kind {
	case ciliumLBOther:
		p.out.Ignore()
	case ciliumLBBackend:
		s.ID, s.Type = 0, "backends"
		s.Backends = []record.Backend{{Address: r.backend, ID: r.id, Weight: -1, Active: -1}}
		p.hold(s)
	case ciliumLBRevNAT:
		s.Type, s.Address, s.Protocol = "revnat", r.key.address, r.key.protocol
		p.hold(s)
	default:
		if v := p.vip(r); v != nil {
			v.add(r, record.Pos{Line: p.out.Line(), Pointer: p.pointer})
		}
	}
}

// hold keeps a row until the listing ends: only then is it known to be whole.
func (p *ciliumLB) hold(s record.Service) {
	s.Pos = record.Pos{Line: p.out.Line(), Pointer: p.pointer}
	p.rows = append(p.rows, s)
}

// vip finds the service of a row. A row without a first column belongs to the
// service printed before, but only if the RevNAT is the same: grep may have
// taken that line away.
func (p *ciliumLB) vip(r *ciliumLBRow) *ciliumVIP {
	key := r.key
	if !r.hasKey {
		switch {
		case p.last != nil && p.last.goesOn(r, p.whole):
			return p.last
		case r.revNAT <= 0:
			p.out.Problem("the service that this row belongs to is not in the listing")
			p.whole = false
			return nil
		}
		key.orphan = uint32(r.revNAT)
	}
	v := p.vips[key]
	if v == nil {
		v = &ciliumVIP{frontend: r.kind == ciliumLBFrontend, count: -1}
		v.Service = record.Service{
			Pos: record.Pos{Line: p.out.Line(), Pointer: p.pointer}, Source: record.FromCiliumLB, Mechanism: "cilium",
			Protocol: key.protocol, Address: key.address, Inside: key.internal, ID: key.orphan,
		}
		p.vips[key] = v
		p.order = append(p.order, v)
	}
	if r.hasKey {
		p.last = v
	}
	return v
}

// goesOn tells whether a row without a first column is this service's. Rows
// of missing backends have no RevNAT, then only a whole listing tells.
func (v *ciliumVIP) goesOn(r *ciliumLBRow, whole bool) bool {
	if r.revNAT < 0 || v.ID == 0 {
		return whole
	}
	return uint32(r.revNAT) == v.ID
}

// add takes one slot.
func (v *ciliumVIP) add(r *ciliumLBRow, pos record.Pos) {
	if r.revNAT > 0 && v.ID == 0 {
		v.ID = uint32(r.revNAT)
	}
	b := record.Backend{Weight: -1, Active: -1, Slot: max(r.slot, 0), Pos: pos}
	switch {
	case v.frontend:
		if v.addFrontend(r) {
			return
		}
		b.ID = r.id
	case r.notFound:
		v.missing = true
		b.ID, b.State = r.id, "not found"
	case r.slot == 0 || r.slot < 0 && r.backend.Port() == 0 && r.backend.Addr().IsUnspecified():
		v.hasZero = true
		v.words = ciliumWords(r.flags)
		return
	default:
		b.Address = r.backend
	}
	// Up to 1.9 a service with a Maglev table lists a backend many times, and
	// a table that changes while it is read may show an entry twice.
	same := ciliumSlot{b.Slot, b.Address, b.ID}
	if v.seen[same] {
		return
	}
	if v.seen == nil {
		v.seen = map[ciliumSlot]bool{}
	}
	v.seen[same] = true
	v.Backends = append(v.Backends, b)
}

// addFrontend tells whether the row is slot 0, whose id names no backend.
func (v *ciliumVIP) addFrontend(r *ciliumLBRow) bool {
	one, two := ciliumFlagPair(r.flags)
	if r.slot > 0 || r.slot < 0 && r.count <= 0 && r.id != 0 && one|two == 0 && r.id < 1<<24 {
		return false
	}
	v.hasZero, v.count, v.flag1, v.flg = true, r.count, one, two
	return true
}

// ciliumWords reads "[ClusterIP, non-routable]".
func ciliumWords(b []byte) []string {
	var words []string
	for _, w := range bytes.FieldsFunc(b, func(c rune) bool { return c == '[' || c == ']' || c == ',' }) {
		words = append(words, string(bytes.TrimSpace(w)))
	}
	return words
}

// ciliumFlagPair reads "[0x46 0x20]", "[flags: 0x0/0x0]" or "[FLAGS: 0x2]".
func ciliumFlagPair(b []byte) (one, two uint64) {
	var n [2]uint64
	at := 0
	for _, w := range bytes.FieldsFunc(b, func(c rune) bool { return c == '[' || c == ']' || c == '/' || c == ' ' }) {
		if v, ok := ciliumHex(w); ok && at < 2 && bytes.HasPrefix(w, []byte("0x")) {
			n[at] = v
			at++
		}
	}
	return n[0], n[1]
}

// flush emits the gathered rows and services.
func (p *ciliumLB) flush() {
	for _, s := range p.rows {
		s.Complete = p.whole
		p.out.Service(s)
	}
	for _, v := range p.order {
		if v.ID == 0 && v.Address.Port() == 0 {
			continue // the entry that drops what no service wants (1.18)
		}
		v.finish(p.whole)
		p.out.Service(v.Service)
	}
	p.order, p.rows, p.last = nil, nil, nil
	clear(p.vips)
}

// finish puts the slots in order and reads the service's own flags.
func (v *ciliumVIP) finish(whole bool) {
	slices.SortStableFunc(v.Backends, func(a, b record.Backend) int { return a.Slot - b.Slot })
	v.Complete = whole && v.hasZero && !v.missing && v.Address.IsValid()
	seen := 0
	for i := range v.Backends {
		b := &v.Backends[i]
		if b.Slot > 0 && b.Slot != seen+1 || b.Slot == 0 && v.frontend {
			v.Complete = false
		}
		seen = b.Slot
		if v.count >= 0 && b.Slot > v.count && b.State == "" {
			b.State = "quarantined" // or terminating: beyond the count, never chosen anew
		}
	}
	if v.count > len(v.Backends) || v.frontend && v.count < 0 {
		v.Complete = false
	}
	if v.frontend {
		v.Affinity = v.flag1&0x10 != 0
		v.HTTP = v.flg&4 != 0
	} else {
		v.flags()
	}
	if v.HTTP {
		v.Complete = false // Envoy chooses, from a list of its own
	}
}

// flags reads the words of slot 0. Local (externalTrafficPolicy) holds for
// the external variant of an address and InternalLocal for the internal one,
// where there are two.
func (v *ciliumVIP) flags() {
	has := func(w string) bool { return slices.Contains(v.words, w) }
	for _, w := range v.words {
		if ciliumTypes[w] {
			v.Type = w
			break
		}
	}
	v.Affinity = has("sessionAffinity")
	v.HTTP = has("l7-load-balancer")
	if v.Inside {
		v.Local = has("InternalLocal")
	} else {
		v.Local = has("Local") || has("InternalLocal") && !has("two-scopes")
	}
}
