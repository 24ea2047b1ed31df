package parse

import (
	"net/netip"
	"strconv"
	"strings"

	"whichbackend/analyze/record"
)

// listener reads what an address leads to: one record for each cluster or
// route behind it.
func (d *envoyDump) listener(n envoyNode) {
	l := envoyListener{dump: d, name: n.get("name").str(), seen: map[envoyTarget]bool{}, protocol: record.TCP}
	addr := n.get("address")
	a, ok := addr.addressPort()
	switch {
	case !ok && (addr.isAddress() || !n.get("internal_listener").missing()):
		return // a pipe, or internal to the proxy
	case !ok:
		envoyProblem(d.out, n, "listener without an address")
		return
	}
	l.addresses = append(l.addresses, a)
	for _, more := range n.get("additional_addresses").list() {
		if a, ok := more.get("address").addressPort(); ok {
			l.addresses = append(l.addresses, a)
		}
	}
	if addr.get("socket_address", "protocol").str() == "UDP" {
		l.protocol = record.UDP
	}
	l.typ = strings.ToLower(n.get("traffic_direction").str())
	switch l.name {
	case "virtualOutbound", "virtual":
		l.typ = "virtual-outbound"
	case "virtualInbound":
		l.typ = "virtual-inbound"
	}
	l.port = a.Port()
	if envoyCaptures(n) {
		l.port = 0
	}
	chains := envoyList(d.out, n.get("filter_chains"))
	if c := n.get("default_filter_chain"); !c.missing() {
		chains = append(chains, c)
	}
	for _, c := range chains {
		l.chain(c)
	}
}

// envoyListener is a listener while its filter chains are read.
type envoyListener struct {
	dump      *envoyDump
	name, typ string
	protocol  record.Protocol
	addresses []netip.AddrPort
	// port is the port that clients dial, 0 for any: a listener that captures
	// connections has a port that nobody dials.
	port uint16
	seen map[envoyTarget]bool
}

// envoyCaptures tells whether a listener takes the connections that the kernel
// redirects to it, and looks at what they dialled.
func envoyCaptures(n envoyNode) bool {
	if n.get("use_original_dst").v == true {
		return true
	}
	for _, f := range n.get("listener_filters").list() {
		if strings.HasSuffix(f.get("name").str(), "original_dst") {
			return true
		}
	}
	return false
}

// envoyTarget is what an address leads to.
type envoyTarget struct {
	address        netip.AddrPort
	http           bool
	cluster, route string
}

func (l *envoyListener) chain(c envoyNode) {
	for _, f := range envoyList(l.dump.out, c.get("filters")) {
		cfg := f.get("typed_config")
		if cfg.missing() {
			cfg = f.get("config") // v2
		}
		if v := cfg.get("value"); !v.missing() {
			cfg = v // a TypedStruct
		}
		kind := cfg.get("@type").str() + " " + f.get("name").str()
		switch {
		case strings.Contains(kind, "TcpProxy") || strings.Contains(kind, "tcp_proxy"):
			clusters := map[string]bool{}
			for _, name := range envoyChosen(cfg) {
				if !clusters[name] {
					clusters[name] = true
					l.emit(c, envoyTarget{cluster: name})
				}
			}
		case strings.Contains(kind, "HttpConnectionManager") || strings.Contains(kind, "http_connection_manager"):
			l.emit(c, envoyHTTPTarget(cfg))
		}
	}
}

// envoyChosen are the clusters of a tcp_proxy or of the action of a route.
func envoyChosen(n envoyNode) []string {
	if c := n.get("cluster").str(); c != "" {
		return []string{c}
	}
	var names []string
	for _, w := range n.get("weighted_clusters", "clusters").list() {
		if c := w.get("name").str(); c != "" {
			names = append(names, c)
		}
	}
	return names
}

// envoyHTTPTarget names the routes of an HTTP connection manager, and the
// cluster when it can only be one.
func envoyHTTPTarget(cfg envoyNode) envoyTarget {
	t := envoyTarget{http: true, route: cfg.get("rds", "route_config_name").str()}
	inline := cfg.get("route_config")
	if inline.missing() {
		return t
	}
	t.route = inline.get("name").str()
	clusters := map[string]bool{}
	for _, h := range inline.get("virtual_hosts").list() {
		for _, r := range h.get("routes").list() {
			for _, name := range envoyChosen(r.get("route")) {
				clusters[name] = true
				t.cluster = name
			}
		}
	}
	if len(clusters) != 1 {
		t.cluster = ""
	}
	return t
}

// emit emits what a filter chain leads to. A chain that matches single
// destination addresses speaks of those, not of the listener's.
func (l *envoyListener) emit(c envoyNode, t envoyTarget) {
	addresses := l.addresses
	if dialled := envoyMatched(c.get("filter_chain_match"), l.port); len(dialled) > 0 {
		addresses = dialled
	}
	name := envoyReadName(t.cluster)
	mechanism := name.mechanism
	if l.dump.istio || strings.HasPrefix(l.typ, "virtual-") {
		mechanism = "istio"
	}
	l.dump.out.At(c.ptr)
	for _, a := range addresses {
		t.address = a
		t.cluster = name.cluster
		if l.seen[t] {
			continue
		}
		l.seen[t] = true
		l.dump.out.Service(record.Service{Source: record.FromEnvoyListener, Mechanism: mechanism, Protocol: l.protocol, Address: a,
			Cluster: t.cluster, HTTP: t.http, Port: t.route, Type: l.typ})
	}
}

// envoyMatched are the single addresses that a filter chain matches.
func envoyMatched(match envoyNode, port uint16) []netip.AddrPort {
	var out []netip.AddrPort
	ranges := match.get("prefix_ranges").list()
	for _, r := range ranges {
		a, ok := address([]byte(r.get("address_prefix").str()))
		bits, whole := r.get("prefix_len").integer()
		if v := r.get("prefix_len", "value"); !v.missing() {
			bits, whole = v.integer()
		}
		if !ok || !whole || int(bits) != a.BitLen() {
			return nil
		}
		out = append(out, netip.AddrPortFrom(a, port))
	}
	if p, ok := match.get("destination_port").integer(); ok && p > 0 && p < 65536 {
		for i := range out {
			out[i] = netip.AddrPortFrom(out[i].Addr(), uint16(p))
		}
	}
	return out
}

// routes reads a RouteConfiguration. Istio names the VIPs of a service among
// the domains of its virtual host, so a host tells what is behind a VIP that
// many services share a listener with.
func (d *envoyDump) routes(n envoyNode) {
	config := n.get("name").str()
	for _, h := range envoyList(d.out, n.get("virtual_hosts")) {
		vips := envoyVIPs(h, config)
		if len(vips) == 0 {
			continue
		}
		namespace, service := envoyHost(envoyBefore(h.get("name").str()))
		clusters := map[string]bool{}
		for _, r := range envoyList(d.out, h.get("routes")) {
			for _, c := range envoyChosen(r.get("route")) {
				name := envoyReadName(c)
				if clusters[name.cluster] {
					continue
				}
				clusters[name.cluster] = true
				d.out.At(r.ptr)
				for _, vip := range vips {
					d.out.Service(record.Service{Source: record.FromEnvoyListener, Mechanism: name.mechanism, Protocol: record.TCP, Address: vip,
						HTTP: true, Cluster: name.cluster, Namespace: namespace, Name: service, Port: config})
				}
			}
		}
	}
}

// envoyBefore cuts the port off HOST:PORT.
func envoyBefore(s string) string {
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		return s[:i]
	}
	return s
}

// envoyVIPs are the addresses among the domains of a virtual host. A domain
// without a port means the port of the virtual host, or of the routes.
func envoyVIPs(h envoyNode, config string) []netip.AddrPort {
	port := uint16(0)
	for _, s := range []string{h.get("name").str(), config} {
		s = s[strings.LastIndexByte(s, ':')+1:]
		if p, err := strconv.ParseUint(s, 10, 16); err == nil && p > 0 {
			port = uint16(p)
			break
		}
	}
	var out []netip.AddrPort
	seen := map[netip.AddrPort]bool{}
	for _, dom := range h.get("domains").list() {
		vip := netip.AddrPortFrom(netip.Addr{}, port)
		if a, ok := address([]byte(dom.str())); ok {
			vip = netip.AddrPortFrom(a, port)
		} else if ap, ok := addressPort([]byte(dom.str())); ok {
			vip = ap
		}
		if vip.Addr().IsValid() && vip.Port() != 0 && !seen[vip] {
			seen[vip] = true
			out = append(out, vip)
		}
	}
	return out
}
