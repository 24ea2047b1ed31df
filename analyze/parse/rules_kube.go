package parse

import (
	"math"
	"net/netip"
	"strings"

	"whichbackend/analyze/record"
)

// kubeKind is what a chain of kube-proxy is for.
type kubeKind uint8

const (
	kubeNone      kubeKind = iota
	kubeServices           // matches addresses of services
	kubeNodePorts          // matches ports of the node
	kubeExternals          // refuses external addresses without endpoints
	kubeService            // chooses one of all endpoints
	kubeLocal              // chooses one of the endpoints on this node
	kubeExternal           // sorts external traffic
	kubeFirewall           // admits source ranges to a load balancer's address
	kubeOldLocal           // KUBE-XLB: sorts external traffic and chooses at once
	kubeEndpoint           // one endpoint
)

var kubeKinds = []struct {
	prefix string
	nft    bool
	kind   kubeKind
}{
	{"KUBE-SVC-", false, kubeService}, {"KUBE-SVL-", false, kubeLocal}, {"KUBE-EXT-", false, kubeExternal},
	{"KUBE-FW-", false, kubeFirewall}, {"KUBE-XLB-", false, kubeOldLocal}, {"KUBE-SEP-", false, kubeEndpoint},
	{"service-", true, kubeService}, {"local-", true, kubeLocal}, {"external-", true, kubeExternal},
	{"endpoint-", true, kubeEndpoint},
}

func (t *rulesTable) kubeKind(chain string) kubeKind {
	switch chain {
	case "KUBE-SERVICES":
		return kubeServices
	case "KUBE-NODEPORTS":
		return kubeNodePorts
	case "KUBE-EXTERNAL-SERVICES":
		return kubeExternals
	case "service-ips", "service-nodeports", "no-endpoint-services", "no-endpoint-nodeports", "service-endpoints-check":
		return kubeNone // maps, and a chain that looks one up
	}
	for _, k := range kubeKinds {
		if k.nft == t.kube && strings.HasPrefix(chain, k.prefix) {
			return k.kind
		}
	}
	return kubeNone
}

// kubeMasquerades tells targets that only mark packets, for masquerading or
// for being dropped when nothing else takes them.
func kubeMasquerades(target string) bool {
	return strings.HasPrefix(target, "KUBE-MARK-") || target == "mark-for-masquerade" || target == "MASQUERADE"
}

// kubeChoice is what a chain may choose from.
type kubeChoice struct {
	backends                  []record.Backend
	affinity, local, complete bool
	walking                   bool
	// inside is what clients inside the cluster choose from, where a chain of
	// external traffic makes that difference.
	inside *kubeChoice
}

// kubeChoose walks a chain down to its endpoints. Each chain is walked once,
// and a chain that leads back to itself leads nowhere.
func (w *rulesWalk) kubeChoose(t *rulesTable, name string) *kubeChoice {
	memo := w.choices[t]
	if memo == nil {
		memo = map[string]*kubeChoice{}
		w.choices[t] = memo
	}
	if c := memo[name]; c != nil {
		if c.walking {
			return &kubeChoice{}
		}
		return c
	}
	choice := &kubeChoice{walking: true}
	memo[name] = choice
	chain, kind := t.chains[name], t.kubeKind(name)
	switch {
	case chain == nil || len(chain.rules) == 0 && kind != kubeExternal:
		// Cut off: the listing does not hold the chain's rules.
	case kind == kubeService, kind == kubeLocal:
		*choice = *kubeBalance(t, chain)
		choice.local = kind == kubeLocal
	default:
		*choice = *w.kubeSort(t, chain, kind)
	}
	choice.walking = false
	return choice
}

// kubeSort walks a chain that sorts traffic from outside: pods and the host
// may go to all endpoints, everybody else perhaps only to those of this node.
func (w *rulesWalk) kubeSort(t *rulesTable, chain *rulesChain, kind kubeKind) *kubeChoice {
	var outside, inside *kubeChoice
	own := false
	for _, r := range chain.rules {
		target := t.kubeKind(r.target)
		restricted := r.source.IsValid() || r.sourceLocal || r.other
		switch {
		case target == kubeEndpoint:
			own = true
		case target < kubeService || kubeMasquerades(r.target):
		case restricted && kind != kubeFirewall:
			if inside == nil {
				inside = w.kubeChoose(t, r.target)
			}
		case outside == nil:
			outside = w.kubeChoose(t, r.target)
		}
	}
	choice := kubeChoice{local: true, complete: true} // nobody on this node serves it
	switch {
	case own:
		choice = *kubeBalance(t, chain)
		choice.local = true
	case outside != nil:
		choice = *outside
	}
	if inside != nil {
		choice.inside = inside
	}
	return &choice
}

// kubeBalance walks a chain of rules that each take their share of new
// connections. Rules for clients that were seen before do not count for a new
// client; they only tell that there is affinity.
func kubeBalance(t *rulesTable, chain *rulesChain) *kubeChoice {
	choice := &kubeChoice{complete: true}
	index := map[string]int{}
	left, shares, closed := 1.0, true, false
	add := func(r *rulesRule, target string, share float64) {
		b, ok := kubeBackend(t, r, target)
		if !ok {
			choice.complete = false
			return
		}
		i, seen := index[target]
		if !seen {
			i = len(choice.backends)
			index[target] = i
			choice.backends = append(choice.backends, b)
		}
		choice.backends[i].Probability += share
	}
	for _, r := range chain.rules {
		if closed {
			break
		}
		switch {
		case r.recent && (t.kubeKind(r.target) == kubeEndpoint):
			choice.affinity = true
		case len(r.choices) > 0:
			total := 0.0
			for _, c := range r.choices {
				add(r, c.target, left*c.share)
				total += c.share
			}
			left *= 1 - min(total, 1)
			closed = total > 1-1e-6
		case t.kubeKind(r.target) == kubeEndpoint:
			add(r, r.target, left*r.probability)
			left -= left * r.probability
			shares = shares && !r.probabilityUnknown
			closed = r.probability >= 1
		}
	}
	for i := range choice.backends {
		b := &choice.backends[i]
		b.Probability = math.Round(b.Probability*1e9) / 1e9 // the kernel keeps 31 bits
		if !shares {
			b.Probability = 0
		}
	}
	choice.complete = choice.complete && closed
	return choice
}

// kubeBackend finds the address of an endpoint: in its DNAT rule or, when the
// listing lacks that, in the name of the chain or the comment that leads to it.
func kubeBackend(t *rulesTable, from *rulesRule, target string) (record.Backend, bool) {
	b := record.Backend{Weight: -1, Active: -1, Pos: from.pos}
	if chain := t.chains[target]; chain != nil {
		for _, r := range chain.rules {
			if list, ok := r.to.addresses(); r.target == "DNAT" && ok && len(list) == 1 {
				b.Address, b.Pos = list[0], r.pos
				return b, true
			}
		}
	}
	if i := strings.LastIndex(target, "__"); t.kube && i > 0 {
		host, port, _ := strings.Cut(target[i+2:], "/")
		if t.v6 {
			host = strings.ReplaceAll(host, ".", ":")
		}
		b.Address, _ = addressPort([]byte("[" + host + "]:" + port))
		return b, b.Address.IsValid()
	}
	if _, arrow, ok := strings.Cut(from.comment, " -> "); ok {
		b.Address, ok = addressPort([]byte(arrow))
		return b, ok
	}
	return b, false
}

// kubeName reads the name in a comment: "ns/name:port cluster IP".
func kubeName(comment string) (namespace, name, port, kind string) {
	full, kind, _ := strings.Cut(comment, " ")
	namespace, name, ok := strings.Cut(full, "/")
	if !ok {
		return "", "", "", ""
	}
	name, port, _ = strings.Cut(name, ":")
	return namespace, name, port, kind
}

// kubeRule reads a rule that matches the address or port of a service.
func (w *rulesWalk) kubeRule(t *rulesTable, chain *rulesChain, r *rulesRule) {
	kind := t.kubeKind(chain.name)
	s := record.Service{Pos: r.pos, Source: record.FromRules, Mechanism: "kube-proxy", Protocol: r.protocol}
	var comment string
	s.Namespace, s.Name, s.Port, comment = kubeName(r.comment)
	if kind == kubeNone && !r.destination.IsValid() || kind == kubeExternals && !r.destination.IsValid() {
		kind = kubeNodePorts
	}
	target := t.kubeKind(r.target)
	switch {
	case kind == kubeNodePorts:
		s.Type = "NodePort"
		if r.destination.IsValid() && !r.destination.IsSingleIP() {
			return // the same once more, for the loopback addresses
		}
	case comment == "cluster IP":
		s.Type = "ClusterIP"
	case comment == "external IP":
		s.Type = "ExternalIPs"
	case comment == "loadbalancer IP", target == kubeFirewall:
		s.Type = "LoadBalancer"
	case kind != kubeExternals && target != kubeExternal && target != kubeOldLocal:
		s.Type = "ClusterIP"
	}
	refused := r.target == "REJECT" || r.target == "DROP"
	if !refused && target < kubeService {
		return
	}
	for _, a := range w.addresses(t, r, nil) {
		s.Address = a
		if refused {
			s.Complete, s.Local = true, r.target == "DROP"
			w.emit(s)
			continue
		}
		w.kubeEmit(t, s, w.kubeChoose(t, r.target))
	}
}

// kubeEmit emits a service with what its chain chooses from.
func (w *rulesWalk) kubeEmit(t *rulesTable, s record.Service, c *kubeChoice) {
	set := func(c *kubeChoice) {
		s.Backends, s.Affinity, s.Local, s.Complete = c.backends, c.affinity, c.local, c.complete
	}
	set(c)
	if !(c.inside != nil && c.complete && len(c.backends) == 0 && w.refused[rulesKey{s.Protocol, s.Address}]) {
		w.emit(s)
	}
	if c.inside != nil {
		set(c.inside)
		s.Inside = true
		w.emit(s)
	}
}

// kubeMaps reads the maps of kube-proxy's nftables mode. Chains that no map
// leads to may be leftovers, which kube-proxy deletes later.
func (w *rulesWalk) kubeMaps(t *rulesTable) {
	for _, name := range []string{"service-ips", "service-nodeports", "no-endpoint-services", "no-endpoint-nodeports"} {
		for i := range t.maps[name] {
			e := &t.maps[name][i]
			s, ok := kubeElement(t, e)
			if !ok {
				continue
			}
			if strings.HasPrefix(name, "no-endpoint-") {
				s.Namespace, s.Name, s.Port, _ = kubeName(e.comment)
				s.Complete, s.Local = true, e.target == "drop"
				if s.Type = ""; name == "no-endpoint-nodeports" {
					s.Type = "NodePort"
				}
				w.emit(s)
				continue
			}
			w.kubeEmit(t, s, w.kubeChoose(t, e.target))
		}
	}
}

// kubeElement reads the key of a map's element, address . protocol . port or
// protocol . port, and the names in service-HASH-namespace/name/protocol/port.
func kubeElement(t *rulesTable, e *rulesElement) (s record.Service, ok bool) {
	s = record.Service{Pos: e.pos, Source: record.FromRules, Mechanism: "kube-proxy", Type: "NodePort"}
	key, a := e.key, w4or6(t.v6)
	if len(key) == 3 {
		if a, ok = address([]byte(key[0])); !ok {
			return s, false
		}
		key = key[1:]
		s.Type = ""
		if kind := t.kubeKind(e.target); kind == kubeService || kind == kubeLocal {
			s.Type = "ClusterIP"
		}
	}
	if len(key) != 2 {
		return s, false
	}
	p, okPort := rulesPortList(key[1])
	s.Protocol, ok = protocolNumber(key[0])
	if !ok || !okPort || len(p) != 1 || p[0].first != p[0].last {
		return s, false
	}
	s.Address = netip.AddrPortFrom(a, p[0].first)
	name := strings.Split(e.target, "/")
	if _, rest, found := strings.Cut(name[0], "-"); found && len(name) == 4 {
		if _, namespace, found := strings.Cut(rest, "-"); found {
			s.Namespace, s.Name, s.Port = namespace, name[1], name[3]
		}
	}
	return s, true
}

// w4or6 is the address that stands for any.
func w4or6(v6 bool) netip.Addr {
	if v6 {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}
