package parse

import (
	"net/netip"
	"strconv"
	"strings"

	"whichbackend/analyze/record"
)

// Packet filter rules come in several notations (iptables-save, iptables -L,
// nft as text and as JSON) that say the same. Each reader turns its lines into
// the structs of this file; rulesWalk draws the conclusions, once for all.

// rulesRule is one rule: what it matches, and what it does then.
type rulesRule struct {
	pos                       record.Pos
	protocol                  record.Protocol
	source, destination       netip.Prefix // not valid: any
	sourceNot, destinationNot bool
	in                        string
	inNot                     bool
	ports                     []rulesPorts // destination ports; none: any
	portsNot                  bool
	sourceLocal               bool // only packets that the host itself sends
	recent                    bool // only clients that were seen before
	other                     bool // some match that no field holds
	unclear                   bool // some match of the destination that no field holds
	probability               float64
	probabilityUnknown        bool // there is one, but the listing hides it
	comment, target           string
	to                        rulesDestination // DNAT
	toPort                    uint16           // REDIRECT, TPROXY
	mark                      uint32
	markWhole                 bool // the mark is set as a whole, not some bits of it
	choices                   []rulesChoice
	lookup                    string // the named map that chooses
}

// rulesPorts is a range of ports.
type rulesPorts struct{ first, last uint16 }

// rulesDestination is what DNAT puts in place of the destination: a range of
// addresses and one of ports. No address: it stays as it was.
type rulesDestination struct {
	first, last    netip.Addr
	port, lastPort uint16
	known          bool
}

// rulesChoice is one of several ways that a rule may go: a chain, or an
// address, with its share of new connections.
type rulesChoice struct {
	target string
	to     rulesDestination
	share  float64
}

// rulesElement is one element of a named map.
type rulesElement struct {
	pos             record.Pos
	key             []string
	comment, target string
}

type rulesChain struct {
	name  string
	hook  string // prerouting, output, ...: "" for a chain that others call
	rules []*rulesRule
}

type rulesTable struct {
	name   string // nat, filter, mangle, ...; "" when the listing does not tell
	v6     bool
	kube   bool // the table of kube-proxy's nftables mode
	inet   bool // of both IPv4 and IPv6
	chains map[string]*rulesChain
	order  []*rulesChain
	maps   map[string][]rulesElement
	mesh   string // the mechanism of the mesh whose chains are here
}

// rulesSet is everything that one section lists.
type rulesSet struct {
	tables []*rulesTable
	docker bool // something in it is Docker's
}

// open begins a table.
func (s *rulesSet) open(name string, v6 bool) *rulesTable {
	t := &rulesTable{name: name, v6: v6, chains: map[string]*rulesChain{}, maps: map[string][]rulesElement{}}
	t.kube = name == "kube-proxy"
	if strings.HasPrefix(name, "docker-") {
		s.docker = true
	}
	s.tables = append(s.tables, t)
	return t
}

// chain finds a chain of a table, or makes it.
func (s *rulesSet) chain(t *rulesTable, name string) *rulesChain {
	c := t.chains[name]
	if c != nil {
		return c
	}
	c = &rulesChain{name: name}
	switch name {
	case "PREROUTING", "INPUT", "OUTPUT", "FORWARD", "POSTROUTING":
		c.hook = strings.ToLower(name)
	}
	if strings.HasPrefix(name, "DOCKER") {
		s.docker = true
	}
	if t.mesh == "" {
		t.mesh = rulesMesh(t.name, name)
	}
	t.chains[name] = c
	t.order = append(t.order, c)
	return c
}

// add adds a rule to a chain, and tells whether it is one that matters.
func (s *rulesSet) add(t *rulesTable, chain string, r *rulesRule) bool {
	c := s.chain(t, chain)
	c.rules = append(c.rules, r)
	if t.inet {
		// An address tells the rule's family, not the table's.
	} else if r.source.Addr().Is6() || r.destination.Addr().Is6() || r.to.first.Is6() {
		t.v6 = true
	}
	return t.matters(c, r)
}

// matters tells a rule that is a part of some conclusion from others.
func (t *rulesTable) matters(c *rulesChain, r *rulesRule) bool {
	switch r.target {
	case "DNAT", "REDIRECT", "TPROXY":
		return true
	case "MARK":
		return r.marks(c)
	}
	if kubeMasquerades(r.target) {
		return false
	}
	switch t.kubeChainKind(c.name) {
	case kubeChainServices, kubeChainExternals:
		return true
	case kubeChainNodePorts:
		return r.target != "ACCEPT" // the port of a health check
	case kubeChainNone:
	default:
		return true
	}
	if rulesMesh(t.name, c.name) != "" {
		return true
	}
	if t.name == "filter" {
		return strings.HasPrefix(r.target, "KUBE-SERVICES") || strings.HasPrefix(r.target, "KUBE-EXTERNAL")
	}
	return t.kubeChainKind(r.target) != kubeChainNone || r.target == "DOCKER" || r.target == "DOCKER-INGRESS" ||
		strings.HasPrefix(r.target, "DOCKER_OUTPUT") || rulesMesh("", r.target) != "" || r.lookup != "" && t.kube ||
		t.kube && r.target == "services" || r.target == "nat-prerouting-and-output"
}

// marks tells whether a rule marks the packets for one address or port, which
// is how a Swarm load balancer tells IPVS the service.
func (r *rulesRule) marks(c *rulesChain) bool {
	if r.target != "MARK" || !r.markWhole || r.mark == 0 || r.other {
		return false
	}
	switch c.hook {
	case "prerouting", "input", "output":
		return r.destination.IsValid() && !r.destinationNot || len(r.ports) > 0 && !r.portsNot
	}
	return false
}

// rulesMeshPrefixes tell whose redirection a chain is by its name. Linkerd's
// proxy is no Envoy: for it there is only the kernel's word.
var rulesMeshPrefixes = []struct{ prefix, mechanism string }{
	{"ISTIO_", "istio"}, {"istio-", "istio"}, {"KUMA_", "envoy"}, {"MESH_", "envoy"}, {"CONSUL_", "envoy"},
	{"OSM_PROXY_", "envoy"}, {"APPMESH_", "envoy"}, {"ENVOY_", "envoy"}, {"PROXY_INIT_", "netfilter"},
}

func rulesMesh(table, chain string) string {
	if strings.HasPrefix(table, "istio-") {
		return "istio"
	}
	for _, m := range rulesMeshPrefixes {
		if strings.HasPrefix(chain, m.prefix) {
			return m.mechanism
		}
	}
	return ""
}

// rulesPrefix reads an address with an optional prefix length or netmask. The
// prefix that holds every address is read as no prefix.
func rulesPrefix(s string) (netip.Prefix, bool) {
	p, ok := rulesAnyPrefix(s)
	if ok && p.Bits() == 0 {
		return netip.Prefix{}, true
	}
	return p, ok
}

func rulesAnyPrefix(s string) (netip.Prefix, bool) {
	text, bits, hasBits := strings.Cut(s, "/")
	a, ok := address([]byte(text))
	if !ok {
		return netip.Prefix{}, false
	}
	if !hasBits {
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	if n, ok := number([]byte(bits)); ok {
		p := netip.PrefixFrom(a, int(min(n, 999)))
		return p, p.IsValid()
	}
	mask, ok := address([]byte(bits))
	if !ok || mask.BitLen() != a.BitLen() {
		return netip.Prefix{}, false
	}
	n, open := 0, true
	for _, b := range mask.AsSlice() {
		for bit := 7; bit >= 0; bit-- {
			set := b>>bit&1 == 1
			if set && !open {
				return netip.Prefix{}, false
			}
			if open = open && set; open {
				n++
			}
		}
	}
	return netip.PrefixFrom(a, n), true
}

// rulesPortNames are IANA's names of the ports that listings without -n show.
var rulesPortNames = map[string]uint16{
	"ssh": 22, "domain": 53, "http": 80, "ntp": 123, "https": 443, "mysql": 3306, "postgresql": 5432,
	"redis": 6379, "http-alt": 8080, "amqp": 5672, "ldap": 389, "ldaps": 636, "smtp": 25, "submission": 587,
}

// rulesPortList reads ports and ranges (80,443 or 8000:8010 or 8000-8010).
func rulesPortList(s string) ([]rulesPorts, bool) {
	var list []rulesPorts
	for _, part := range strings.Split(s, ",") {
		part = strings.TrimSpace(part)
		if n, ok := rulesPortNames[part]; ok {
			list = append(list, rulesPorts{n, n})
			continue
		}
		first, last, isRange := strings.Cut(part, ":")
		if !isRange {
			first, last, isRange = strings.Cut(part, "-")
		}
		if !isRange {
			last = first
		} else if first == "" {
			first = "0"
		} else if last == "" {
			last = "65535"
		}
		a, errA := strconv.ParseUint(first, 10, 16)
		b, errB := strconv.ParseUint(last, 10, 16)
		if errA != nil || errB != nil || a > b {
			return nil, false
		}
		list = append(list, rulesPorts{uint16(a), uint16(b)})
	}
	return list, true
}

// rulesTo reads what DNAT puts in place: 10.0.0.1:80, [fd00::1]:80, :80,
// 10.0.0.1-10.0.0.4:80-90.
func rulesTo(s string) (d rulesDestination, ok bool) {
	host, ports := s, ""
	switch {
	case strings.HasPrefix(s, "["):
		end := strings.LastIndexByte(s, ']')
		if end < 0 {
			return d, false
		}
		host, ports = s[1:end], strings.TrimPrefix(s[end+1:], ":")
	case strings.Count(s, ":") == 1:
		host, ports, _ = strings.Cut(s, ":")
	}
	if host != "" {
		first, last, isRange := strings.Cut(host, "-")
		if !isRange {
			last = first
		}
		var okFirst, okLast bool
		d.first, okFirst = address([]byte(first))
		d.last, okLast = address([]byte(strings.Trim(last, "[]")))
		if !okFirst || !okLast || d.last.Less(d.first) {
			return rulesDestination{}, false
		}
	}
	if ports != "" {
		ports, _, _ = strings.Cut(ports, "/") // 80-90/8000: shifted, still a range
		list, ok := rulesPortList(ports)
		if !ok || len(list) != 1 {
			return rulesDestination{}, false
		}
		d.port, d.lastPort = list[0].first, list[0].last
	}
	d.known = true
	return d, host != "" || ports != ""
}

// rulesExpand bounds the addresses or ports that one rule may stand for.
const rulesExpand = 256

// addresses lists the addresses that DNAT chooses from; complete is false when
// they are too many, or not said.
func (d rulesDestination) addresses() (list []netip.AddrPort, complete bool) {
	if !d.known || !d.first.IsValid() || d.port != d.lastPort {
		return nil, false
	}
	for a := d.first; ; a = a.Next() {
		if len(list) == rulesExpand {
			return nil, false
		}
		list = append(list, netip.AddrPortFrom(a, d.port))
		if a == d.last || !a.Next().IsValid() {
			return list, true
		}
	}
}

// rulesMark reads value or value/mask. The mark is set as a whole when the
// mask covers it all.
func rulesMark(s string) (mark uint32, whole, ok bool) {
	value, mask, hasMask := strings.Cut(s, "/")
	n, err := strconv.ParseUint(value, 0, 32)
	if err != nil {
		return 0, false, false
	}
	m := uint64(0xffffffff)
	if hasMask {
		if m, err = strconv.ParseUint(mask, 0, 32); err != nil {
			return 0, false, false
		}
	}
	return uint32(n), m == 0xffffffff, true
}
