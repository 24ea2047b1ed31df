package parse

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strconv"
	"strings"

	"whichbackend/analyze/record"
)

// The services as Cilium's agent knows them, cilium service list and get:
//
//	ID   Frontend                Service Type   Backend
//	2    10.96.43.209:80         ClusterIP      1 => 10.0.1.66:80 (active)
//	                                            2 => 10.0.2.64:80 (active)
//
// (cilium 1.14.16), and as the table of its state, db/show frontends:
//
//	Address                Type        ServiceName     PortName   Backends                    RedirectTo   Status   Since   Error
//	10.96.43.209:80/TCP    ClusterIP   default/nginx   http       10.0.1.66:80/TCP (active)                Done     4m20s
//
// (cilium 1.18). ID is the RevNAT of the datapath. The number before => counts
// rows and is no backend id. There was no type up to 1.6, no state up to 1.11,
// no protocol up to 1.16.

func ciliumServiceHead(b []byte) bool {
	if len(b) < 8 {
		return false
	}
	switch c := b[0]; {
	case c == 'I':
		return ciliumServiceHeader(b)
	case c == 'A':
		return ciliumFrontendsHeader(b)
	case c < '0' || c > '9':
		return false
	}
	i := bytes.IndexByte(b[:min(len(b), 12)], ' ')
	if i < 1 || i > 10 {
		return false
	}
	if _, ok := ciliumUint32(b[:i]); !ok {
		return false
	}
	var buf [16][]byte
	w := fields(b, buf[:0])
	if len(w) < 3 {
		return false
	}
	if string(w[1]) == "=>" {
		_, ok := ciliumFrontend(w[2])
		return ok
	}
	if !ciliumTypes[string(w[2])] && (len(w) < 5 || string(w[3]) != "=>") {
		return false
	}
	_, ok := ciliumFrontend(w[1])
	return ok
}

func ciliumServiceHeader(b []byte) bool {
	return bytes.HasPrefix(b, []byte("ID ")) && bytes.HasPrefix(bytes.TrimLeft(b[3:], " "), []byte("Frontend "))
}

func ciliumFrontendsHeader(b []byte) bool {
	return bytes.HasPrefix(b, []byte("Address ")) && bytes.Contains(b, []byte(" ServiceName ")) && bytes.Contains(b, []byte(" Backends "))
}

type ciliumServices struct {
	out    *Out
	open   bool
	header bool // without it, rows may have been lost above any row
	state  bool // db/show frontends
	row    int  // the number before => of the last backend
	s      record.Service
}

func ciliumServiceOpen(out *Out) (func([]byte), func()) {
	p := &ciliumServices{out: out}
	return p.read, p.flush
}

func (p *ciliumServices) read(b []byte) {
	b = bytes.TrimSpace(b)
	var buf [32][]byte
	w := fields(b, buf[:0])
	switch {
	case len(w) == 0:
		p.flush()
		p.out.Ignore()
	case ciliumServiceHeader(b), ciliumFrontendsHeader(b):
		p.flush()
		p.header, p.state = true, b[0] == 'A'
		p.out.Understood()
	case p.state:
		p.frontend(b, w)
	case len(w) > 2 && string(w[1]) == "=>":
		p.more(w)
	case len(w) > 1:
		p.service(b, w)
	case ciliumAside(p.out, b):
		p.lost()
	default:
		p.bad()
	}
}

func (p *ciliumServices) bad() {
	p.lost()
	p.out.Problem("expected id, frontend, service type, number => backend (state)")
}

// lost says that rows may be missing from here on.
func (p *ciliumServices) lost() {
	p.s.Complete = false
	p.flush()
}

// service begins a service.
func (p *ciliumServices) service(b []byte, w [][]byte) {
	id, ok := ciliumUint32(w[0])
	vip, ok2 := ciliumFrontend(w[1])
	if !ok || !ok2 {
		if ciliumAside(p.out, b) {
			p.lost()
		} else {
			p.bad()
		}
		return
	}
	p.flush()
	p.open, p.row = true, 0
	p.s = record.Service{
		Pos: record.Pos{Line: p.out.Line()}, Source: record.FromCiliumAgent, Mechanism: "cilium", ID: id,
		Protocol: vip.protocol, Address: vip.address, Inside: vip.internal, Complete: p.header,
	}
	p.out.Understood()
	w = w[2:]
	for len(w) > 0 && (len(w) < 2 || string(w[1]) != "=>") {
		if p.s.Type == "" && w[0][0] != '(' {
			p.s.Type = string(w[0])
		}
		w = w[1:]
	}
	if len(w) > 2 {
		p.backend(w)
	} else if len(w) > 0 {
		p.s.Complete = false
		p.out.Problem("expected a backend behind =>")
	}
}

// more reads a row with a further backend. Where the header is cut off (grep),
// or the number does not follow the one above, the row of its own service may
// be missing, and the one above is no answer.
func (p *ciliumServices) more(w [][]byte) {
	n, ok := ciliumUint32(w[0])
	switch {
	case !ok:
		p.bad()
	case !p.open || !p.header || int(n) != p.row+1:
		p.lost()
		p.out.Problem("the service of this backend cannot be told: rows above it are missing")
	default:
		p.out.Understood()
		p.backend(w)
	}
}

// backend reads "N => address:port (state) (preferred)".
func (p *ciliumServices) backend(w [][]byte) {
	n, ok := ciliumUint32(w[0])
	a, ok2 := ciliumFrontend(w[2])
	if !ok || !ok2 {
		p.s.Complete = false
		p.out.Problem("expected number => address:port")
		return
	}
	p.row = int(n)
	if p.row != len(p.s.Backends)+1 {
		p.s.Complete = false
	}
	b := record.Backend{Address: a.address, Weight: -1, Active: -1, Pos: record.Pos{Line: p.out.Line()}}
	for _, word := range w[3:] {
		state := strings.Trim(string(word), "()")
		if len(word) == len(state)+2 && state != "preferred" && b.State == "" {
			b.State = ciliumState(state)
		}
	}
	p.s.Backends = append(p.s.Backends, b)
}

func (p *ciliumServices) flush() {
	if p.open {
		p.s.HTTP = ciliumProxied(p.s.Backends)
		p.s.Complete = p.s.Complete && !p.s.HTTP
		p.out.Service(p.s)
	}
	p.open = false
}

// ciliumProxied tells a service whose only backend is the node's own proxy,
// as 1.20 prints services that Envoy balances.
func ciliumProxied(bs []record.Backend) bool {
	return len(bs) == 1 && bs[0].Address.Addr().IsLoopback()
}

// frontend reads a row of db/show frontends, by words: the columns between
// may be empty.
func (p *ciliumServices) frontend(b []byte, w [][]byte) {
	vip, ok := ciliumFrontend(w[0])
	if !ok || len(w) < 3 || !bytes.Contains(w[2], []byte("/")) {
		if !ciliumAside(p.out, b) {
			p.out.Problem("expected address, type, service name, port name, backends")
		}
		return
	}
	s := record.Service{
		Source: record.FromCiliumAgent, Mechanism: "cilium", Protocol: vip.protocol, Address: vip.address, Inside: vip.internal,
		Type: string(w[1]), Complete: true,
	}
	s.Namespace, s.Name, _ = strings.Cut(string(w[2]), "/")
	for _, word := range w[3:] {
		if a, ok := ciliumFrontend(bytes.TrimSuffix(word, []byte(","))); ok {
			s.Backends = append(s.Backends, record.Backend{Address: a.address, Weight: -1, Active: -1})
			continue
		}
		text := strings.TrimSuffix(string(word), ",")
		state := strings.Trim(text, "()")
		if n := len(s.Backends); n > 0 && len(text) == len(state)+2 {
			s.Backends[n-1].State = ciliumState(state)
		}
		if string(word) == "+" || strings.Contains(text, "...") {
			s.Complete = false // "+ 3 more ..."
		}
	}
	p.out.Service(s)
}

// ciliumServiceJSON is an element of cilium service list -o json.
type ciliumServiceJSON struct {
	Spec   *ciliumServiceSpec `json:"spec"`
	Status struct {
		Realized *ciliumServiceSpec `json:"realized"`
	} `json:"status"`
}

type ciliumServiceAddress struct {
	IP       string `json:"ip"`
	Port     uint16 `json:"port"`
	Protocol string `json:"protocol"`
	Scope    string `json:"scope"`
	NodeName string `json:"nodeName"`
	State    string `json:"state"`
	Weight   *int   `json:"weight"`
}

type ciliumServiceSpec struct {
	ID       uint32                 `json:"id"`
	Frontend ciliumServiceAddress   `json:"frontend-address"`
	Backends []ciliumServiceAddress `json:"backend-addresses"`
	Flags    struct {
		Type      string `json:"type"`
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
		Policy    string `json:"trafficPolicy"`
		External  string `json:"extTrafficPolicy"`
		Internal  string `json:"intTrafficPolicy"`
	} `json:"flags"`
}

func ciliumServiceClaim(d *Doc) bool {
	if d.IsArray() {
		d = d.First()
	}
	if !d.has("spec") {
		return false
	}
	var spec map[string]json.RawMessage
	return d.Get("spec", &spec) && spec["frontend-address"] != nil
}

func ciliumServiceDoc(d *Doc, out *Out) {
	if !d.IsArray() {
		ciliumServiceElement(d.Raw, "", out)
		return
	}
	for i, raw := range d.Elements() {
		ciliumServiceElement(raw, "/"+strconv.Itoa(i), out)
	}
}

func ciliumServiceElement(raw json.RawMessage, at string, out *Out) {
	var j ciliumServiceJSON
	err := json.Unmarshal(raw, &j)
	spec := j.Spec
	out.At(at + "/spec")
	if spec == nil && j.Status.Realized != nil {
		spec = j.Status.Realized
		out.At(at + "/status/realized")
	}
	if err != nil {
		ciliumElementProblem(out, raw, "expected a service: "+err.Error())
	}
	if spec == nil {
		return
	}
	s, ok := spec.service()
	if !ok {
		ciliumElementProblem(out, raw, "expected an address and port of the frontend")
		return
	}
	s.Complete = s.Complete && err == nil
	out.Service(s)
}

func (spec *ciliumServiceSpec) service() (record.Service, bool) {
	f := &spec.Flags
	s := record.Service{
		Source: record.FromCiliumAgent, Mechanism: "cilium", ID: spec.ID, Namespace: f.Namespace, Name: f.Name, Type: f.Type,
		Inside: spec.Frontend.Scope == "internal", Complete: true,
	}
	var ok bool
	if s.Address, s.Protocol, ok = spec.Frontend.read(); !ok {
		return s, false
	}
	if s.Inside || f.Type == "ClusterIP" {
		s.Local = f.Internal == "Local"
	} else {
		s.Local = f.External == "Local" || f.External == "" && f.Policy == "Local"
	}
	for i := range spec.Backends {
		a := &spec.Backends[i]
		b := record.Backend{Weight: -1, Active: -1, State: ciliumState(a.State), Host: a.NodeName}
		if b.Address, _, ok = a.read(); !ok || a.Port == 0 {
			s.Complete = false
			continue
		}
		if a.Weight != nil {
			b.Weight = *a.Weight
		}
		s.Backends = append(s.Backends, b)
	}
	s.HTTP = ciliumProxied(s.Backends)
	s.Complete = s.Complete && !s.HTTP
	return s, true
}

func (a *ciliumServiceAddress) read() (ap netip.AddrPort, protocol record.Protocol, ok bool) {
	ip, ok := address([]byte(a.IP))
	switch a.Protocol {
	case "", "ANY", "NONE":
	default:
		protocol, _ = protocolNumber(a.Protocol)
	}
	return netip.AddrPortFrom(ip, a.Port), protocol, ok
}
