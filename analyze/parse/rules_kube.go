package parse

import (
	"math"
	"net/netip"
	"strings"

	"whichbackend/analyze/record"
)

// kubeChainKind is what a chain of kube-proxy is for.
type kubeChainKind uint8

const (
	kubeChainNone      kubeChainKind = iota
	kubeChainServices                // matches addresses of services
	kubeChainNodePorts               // matches ports of the node
	kubeChainExternals               // refuses external addresses without endpoints
	kubeChainService                 // chooses one of all endpoints
	kubeChainLocal                   // chooses one of the endpoints on this node
	kubeChainExternal                // sorts external traffic
	kubeChainFirewall                // admits source ranges to a load balancer's address
	kubeChainOldLocal                // KUBE-XLB: sorts external traffic and chooses at once
	kubeChainEndpoint                // one endpoint
)

var kubeChainKinds = []struct {
	prefix string
	nft    bool
	kind   kubeChainKind
}{
	{"KUBE-SVC-", false, kubeChainService}, {"KUBE-SVL-", false, kubeChainLocal}, {"KUBE-EXT-", false, kubeChainExternal},
	{"KUBE-FW-", false, kubeChainFirewall}, {"KUBE-XLB-", false, kubeChainOldLocal}, {"KUBE-SEP-", false, kubeChainEndpoint},
	{"service-", true, kubeChainService}, {"local-", true, kubeChainLocal}, {"external-", true, kubeChainExternal},
	{"endpoint-", true, kubeChainEndpoint},
}

func (t *rulesTable) kubeChainKind(chain string) kubeChainKind {
	switch chain {
	case "KUBE-SERVICES":
		return kubeChainServices
	case "KUBE-NODEPORTS":
		return kubeChainNodePorts
	case "KUBE-EXTERNAL-SERVICES":
		return kubeChainExternals
	case "service-ips", "service-nodeports", "no-endpoint-services", "no-endpoint-nodeports", "service-endpoints-check":
		return kubeChainNone // maps, and a chain that looks one up
	}
	for _, k := range kubeChainKinds {
		if k.nft == t.kube && strings.HasPrefix(chain, k.prefix) {
			return k.kind
		}
	}
	return kubeChainNone
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
	chain, kind := t.chains[name], t.kubeChainKind(name)
	switch {
	case chain == nil || len(chain.rules) == 0 && kind != kubeChainExternal:
		// Cut off: the listing does not hold the chain's rules.
	case kind == kubeChainService, kind == kubeChainLocal:
		*choice = *kubeBalance(t, chain)
		choice.local = kind == kubeChainLocal
	default:
		*choice = *w.kubeSort(t, chain, kind)
	}
	choice.walking = false
	return choice
}

// kubeSort walks a chain that sorts traffic from outside: pods and the host
// may go to all endpoints, everybody else perhaps only to those of this node.
func (w *rulesWalk) kubeSort(t *rulesTable, chain *rulesChain, kind kubeChainKind) *kubeChoice {
	var outside, inside *kubeChoice
	own := false
	for _, r := range chain.rules {
		target := t.kubeChainKind(r.target)
		restricted := r.source.IsValid() || r.sourceLocal || r.other
		switch {
		case target == kubeChainEndpoint:
			own = true
		case target < kubeChainService || kubeMasquerades(r.target):
		case restricted && kind != kubeChainFirewall:
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
		b, ok := kubeChainBackend(t, r, target)
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
		case r.recent && (t.kubeChainKind(r.target) == kubeChainEndpoint):
			choice.affinity = true
		case len(r.choices) > 0:
			total := 0.0
			for _, c := range r.choices {
				add(r, c.target, left*c.share)
				total += c.share
			}
			left *= 1 - min(total, 1)
			closed = total > 1-1e-6
		case t.kubeChainKind(r.target) == kubeChainEndpoint:
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

// kubeChainBackend finds the address of an endpoint: in its DNAT rule or, when the
// listing lacks that, in the name of the chain or the comment that leads to it.
func kubeChainBackend(t *rulesTable, from *rulesRule, target string) (record.Backend, bool) {
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

// kubeChainName reads the name in a comment: "ns/name:port cluster IP".
func kubeChainName(comment string) (namespace, name, port, kind string) {
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
	kind := t.kubeChainKind(chain.name)
	s := record.Service{Pos: r.pos, Source: record.FromRules, Mechanism: "kube-proxy", Protocol: r.protocol}
	var comment string
	s.Namespace, s.Name, s.Port, comment = kubeChainName(r.comment)
	if kind == kubeChainNone && !r.destination.IsValid() || kind == kubeChainExternals && !r.destination.IsValid() {
		kind = kubeChainNodePorts
	}
	target := t.kubeChainKind(r.target)
	switch {
	case kind == kubeChainNodePorts:
		s.Type = "NodePort"
		if r.destination.IsValid() && !r.destination.IsSingleIP() {
			return // the same once more, for the loopback addresses
		}
	case comment == "cluster IP":
		s.Type = "ClusterIP"
	case comment == "external IP":
		s.Type = "ExternalIPs"
	case comment == "loadbalancer IP", target == kubeChainFirewall:
		s.Type = "LoadBalancer"
	case kind != kubeChainExternals && target != kubeChainExternal && target != kubeChainOldLocal:
		s.Type = "ClusterIP"
	}
	refused := r.target == "REJECT" || r.target == "DROP"
	if !refused && target < kubeChainService {
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
				s.Namespace, s.Name, s.Port, _ = kubeChainName(e.comment)
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
		if kind := t.kubeChainKind(e.target); kind == kubeChainService || kind == kubeChainLocal {
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
