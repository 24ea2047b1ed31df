package parse

import (
	"bytes"
	"strings"

	"whichbackend/analyze/record"
)

// The load-balancing maps in one listing, cilium-dbg shell -- lb/maps-dump:
//
//	BE: ID=1 ADDR=10.244.0.112:8081/TCP STATE=active
//	REV: ID=1 ADDR=10.96.116.33:8081
//	SVC: ID=1 ADDR=10.96.116.33:8081/TCP SLOT=0 LBALG=undef AFFTimeout=0 COUNT=1 QCOUNT=0 FLAGS=ClusterIP
//	SVC: ID=1 ADDR=10.96.116.33:8081/TCP SLOT=1 BEID=1 COUNT=0 QCOUNT=0 FLAGS=ClusterIP
//
// (cilium-dbg 1.18). Slots beyond COUNT hold the QCOUNT backends that are
// never chosen anew.

var ciliumMapsPrefixes = []string{"BE: ID=", "REV: ID=", "SVC: ID=", "MAGLEV: ID=", "AFF: ID=", "SRCRANGE: ID=", "SOCKREV: ", "SKIPLB: "}

func ciliumMapsHead(b []byte) bool {
	if len(b) < 8 || b[0] < 'A' || b[0] > 'S' {
		return false
	}
	for _, p := range ciliumMapsPrefixes {
		if len(b) >= len(p) && string(b[:len(p)]) == p {
			return true
		}
	}
	return false
}

type ciliumMaps struct {
	lb       *ciliumLB
	backends map[uint32]record.Backend
	quit     map[*ciliumVIP]int
}

func ciliumMapsOpen(out *Out) (func([]byte), func()) {
	p := &ciliumMaps{lb: newCiliumLB(out), backends: map[uint32]record.Backend{}, quit: map[*ciliumVIP]int{}}
	p.lb.whole = true
	return p.read, p.flush
}

func (p *ciliumMaps) read(b []byte) {
	b = bytes.TrimSpace(b)
	out := p.lb.out
	kind, rest := ciliumWord(b)
	var ok bool
	switch string(kind) {
	case "BE:":
		ok = p.backend(rest)
	case "REV:":
		ok = p.revNAT(rest)
	case "SVC:":
		ok = p.slot(rest)
	default:
		if ciliumMapsHead(b) {
			out.Ignore()
			return
		}
		ok = ciliumAside(out, b)
		p.lb.whole = p.lb.whole && len(b) == 0
	}
	if !ok {
		p.lb.whole = false
		out.Problem("expected ID= and ADDR= of a backend, a RevNAT or a service")
	}
}

// ciliumMapsValue finds a value by its key.
func ciliumMapsValue(b []byte, key string) ([]byte, bool) {
	for {
		var word []byte
		if word, b = ciliumWord(b); len(word) == 0 {
			return nil, false
		}
		if n := len(key); len(word) > n && string(word[:n]) == key && word[n] == '=' {
			return word[n+1:], true
		}
	}
}

func ciliumMapsNumber(b []byte, key string) (uint32, bool) {
	v, ok := ciliumMapsValue(b, key)
	n, ok2 := ciliumUint32(v)
	return n, ok && ok2
}

func ciliumMapsAddress(b []byte) (id uint32, f ciliumVIPKey, ok bool) {
	id, ok = ciliumMapsNumber(b, "ID")
	v, _ := ciliumMapsValue(b, "ADDR")
	f, ok2 := ciliumFrontend(v)
	return id, f, ok && ok2
}

func (p *ciliumMaps) backend(b []byte) bool {
	id, f, ok := ciliumMapsAddress(b)
	if !ok {
		return false
	}
	state, _ := ciliumMapsValue(b, "STATE")
	be := record.Backend{Address: f.address, ID: id, Weight: -1, Active: -1, State: ciliumState(string(state))}
	p.backends[id] = be
	p.lb.out.Understood()
	p.lb.hold(record.Service{
		Source: record.FromCiliumLB, Mechanism: "cilium", Type: "backends", Protocol: f.protocol, Backends: []record.Backend{be},
	})
	return true
}

func (p *ciliumMaps) revNAT(b []byte) bool {
	id, f, ok := ciliumMapsAddress(b)
	if ok {
		p.lb.out.Understood()
		p.lb.hold(record.Service{
			Source: record.FromCiliumLB, Mechanism: "cilium", Type: "revnat", ID: id, Address: f.address, Protocol: f.protocol,
		})
	}
	return ok
}

func (p *ciliumMaps) slot(b []byte) bool {
	id, f, ok := ciliumMapsAddress(b)
	slot, ok2 := ciliumMapsNumber(b, "SLOT")
	if !ok || !ok2 || slot > 1<<20 {
		return false
	}
	p.lb.out.Understood()
	r := ciliumLBRow{kind: ciliumLBSlot, hasKey: true, key: f, revNAT: int(id), slot: int(slot), count: -1, qcount: -1}
	v := p.lb.vip(&r)
	if slot == 0 {
		flags, _ := ciliumMapsValue(b, "FLAGS")
		r.flags = []byte("[" + strings.ReplaceAll(string(flags), "+", ",") + "]")
		v.add(&r, record.Pos{})
		count, _ := ciliumMapsNumber(b, "COUNT")
		quit, _ := ciliumMapsNumber(b, "QCOUNT")
		v.count, p.quit[v] = int(count), int(quit)
		return true
	}
	beid, ok := ciliumMapsNumber(b, "BEID")
	if ok {
		v.Backends = append(v.Backends, record.Backend{
			ID: beid, Weight: -1, Active: -1, Slot: int(slot), Pos: record.Pos{Line: p.lb.out.Line()},
		})
		if v.ID == 0 {
			v.ID = id
		}
	}
	return ok
}

// flush fills in the addresses of the backends, which may stand anywhere in
// the listing, and emits the services.
func (p *ciliumMaps) flush() {
	for _, v := range p.lb.order {
		for i := range v.Backends {
			b := &v.Backends[i]
			be, ok := p.backends[b.ID]
			if !ok {
				b.State, v.missing = "not found", true
				continue
			}
			b.Address, b.State = be.Address, be.State
		}
		if v.hasZero && v.count+p.quit[v] != len(v.Backends) {
			v.missing = true
		}
	}
	p.lb.flush()
}
