package parse

import (
	"net/netip"
	"path"
	"strings"

	"whichbackend/analyze/record"
)

// What kubectl's tables, its descriptions and the API objects have in common.

// The words of record.Service.Type that Kubernetes services get. The type
// says what kind of address a record holds, not what spec.type says.
const (
	kubeClusterIP    = "ClusterIP"
	kubeNodePort     = "NodePort"
	kubeLoadBalancer = "LoadBalancer"
	kubeExternalIP   = "ExternalIP"
	kubeHeadless     = "headless"
	kubeExternalName = "ExternalName"
)

// kubeVIP is one address of a service and where it stands.
type kubeVIP struct {
	addr netip.Addr
	typ  string
	pos  record.Pos
}

// kubePort is one port of a service or of its endpoints.
type kubePort struct {
	name                   string
	protocol               record.Protocol
	port, nodePort, target uint16
	pos                    record.Pos // where the node port stands
}

// kubeService is the address half of a service.
type kubeService struct {
	namespace, name, typ string
	pos                  record.Pos // of a service that has no address
	ports                []kubePort
	vips                 []kubeVIP
	v4, v6               bool // the families that node ports are open in
	affinity             bool
	externalLocal        bool
	internalLocal        bool
}

// emit writes one record for each address and port.
func (s *kubeService) emit(out *Out) {
	base := record.Service{Source: record.FromKubernetes, Namespace: s.namespace, Name: s.name, Affinity: s.affinity}
	if s.typ == kubeHeadless || s.typ == kubeExternalName {
		s.emitWithoutAddress(base, out)
		return
	}
	for _, p := range s.ports {
		r := base
		r.Port, r.Protocol, r.TargetPort = p.name, p.protocol, p.target
		for _, v := range s.vips {
			r.Pos, r.Type, r.Address = v.pos, v.typ, netip.AddrPortFrom(v.addr, p.port)
			r.Local = s.externalLocal
			if v.typ == kubeClusterIP {
				r.Local = s.internalLocal
			}
			out.Service(r)
		}
		r.Pos, r.Type, r.Local = p.pos, kubeNodePort, s.externalLocal
		for _, any := range s.nodePortAddresses() {
			if p.nodePort != 0 {
				r.Address = netip.AddrPortFrom(any, p.nodePort)
				out.Service(r)
			}
		}
	}
}

// emitWithoutAddress writes a headless service or an ExternalName: one record
// for each port, or one when it has none.
func (s *kubeService) emitWithoutAddress(base record.Service, out *Out) {
	base.Pos, base.Type = s.pos, s.typ
	if len(s.ports) == 0 {
		out.Service(base)
	}
	for _, p := range s.ports {
		base.Port, base.Protocol, base.TargetPort = p.name, p.protocol, p.target
		out.Service(base)
	}
}

// nodePortAddresses are the wildcard addresses of the families in which node
// ports are open: those that are said, or else those of the addresses.
func (s *kubeService) nodePortAddresses() []netip.Addr {
	v4, v6 := s.v4, s.v6
	for _, v := range s.vips {
		if !s.v4 && !s.v6 && v.typ == kubeClusterIP {
			v4, v6 = v4 || v.addr.Is4(), v6 || v.addr.Is6()
		}
	}
	var any []netip.Addr
	if v4 || !v6 {
		any = append(any, netip.IPv4Unspecified())
	}
	if v6 {
		any = append(any, netip.IPv6Unspecified())
	}
	return any
}

// kubeBackend is a backend of which nothing but the address is known.
func kubeBackend(a netip.Addr, port uint16) record.Backend {
	return record.Backend{Address: netip.AddrPortFrom(a, port), Weight: -1, Active: -1}
}

// kubeEndpoints makes the backend half of a service for one port.
func kubeEndpoints(namespace, name string, p kubePort, backends []record.Backend, complete bool) record.Service {
	return record.Service{
		Source: record.FromKubernetes, Namespace: namespace, Name: name, Port: p.name, Protocol: p.protocol,
		TargetPort: p.port, Backends: backends, Complete: complete,
	}
}

// kubeMaxPairs bounds ports times addresses of one object, each pair of which
// is a record or a backend. Kubernetes itself allows a tenth of it.
const kubeMaxPairs = 1 << 20

const kubeTooManyPairs = "more than a million pairs of address and port"

func kubeTooMany(ports, addrs int) bool { return ports > 0 && addrs > kubeMaxPairs/ports }

// kubeNone turns kubectl's words for nothing into nothing.
func kubeNone(s string) string {
	switch s {
	case "<none>", "<unset>", "<unknown>", "<pending>", "<nodes>":
		return ""
	}
	return s
}

// kubeMore takes "+ 2 more..." off a list and tells whether it was there.
func kubeMore(cell string) (list string, more bool) {
	cell = strings.TrimSpace(cell)
	if i := strings.Index(cell, "+ "); i >= 0 && strings.HasSuffix(cell, "more...") {
		return strings.TrimSpace(cell[:i]), true
	}
	return cell, false
}

// kubeList splits a list at its commas; a word for nothing is an empty list.
func kubeList(cell string) []string {
	cell = kubeNone(strings.TrimSpace(cell))
	if cell == "" {
		return nil
	}
	return strings.Split(cell, ",")
}

// kubeEndpointList reads "10.244.1.2:80,[fd00::2]:80 + 1 more...". Addresses
// of a service without ports stand alone; an IPv6 one is then unbracketed.
func kubeEndpointList(cell string) (list []netip.AddrPort, complete, ok bool) {
	cell, more := kubeMore(cell)
	for _, e := range kubeList(cell) {
		ap, ok := addressPort([]byte(e))
		if strings.Count(e, ":") != 1 && !strings.HasPrefix(e, "[") {
			var a netip.Addr
			a, ok = address([]byte(e))
			ap = netip.AddrPortFrom(a, 0)
		}
		if !ok {
			return nil, false, false
		}
		list = append(list, ap)
	}
	return list, !more, true
}

// kubeByPort groups endpoints by their port, in the order of the list, into
// one record each. No endpoints make one record without backends.
func kubeByPort(namespace, name string, p kubePort, list []netip.AddrPort, complete bool) []record.Service {
	var records []record.Service
	index := map[uint16]int{}
	for _, ap := range list {
		i, ok := index[ap.Port()]
		if !ok {
			i = len(records)
			index[ap.Port()] = i
			p.port = ap.Port()
			records = append(records, kubeEndpoints(namespace, name, p, nil, complete))
		}
		records[i].Backends = append(records[i].Backends, kubeBackend(ap.Addr(), ap.Port()))
	}
	if len(records) == 0 {
		p.port = 0
		records = append(records, kubeEndpoints(namespace, name, p, nil, complete))
	}
	return records
}

// kubePortList reads the PORT(S) column: "80:30080/TCP,53/UDP".
func kubePortList(cell string) (ports []kubePort, ok bool) {
	for _, e := range kubeList(cell) {
		number, protocol, _ := strings.Cut(e, "/")
		number, node, hasNode := strings.Cut(number, ":")
		var p kubePort
		if p.port, ok = port([]byte(number)); !ok {
			return nil, false
		}
		if hasNode {
			if p.nodePort, ok = port([]byte(node)); !ok {
				return nil, false
			}
		}
		if p.protocol, ok = protocolNumber(protocol); !ok {
			return nil, false
		}
		ports = append(ports, p)
	}
	return ports, true
}

// kubeReady reads the READY column of pods: "1/2".
func kubeReady(s string) (ready, total int, ok bool) {
	a, b, found := strings.Cut(s, "/")
	r, ok1 := number([]byte(a))
	t, ok2 := number([]byte(b))
	if !found || !ok1 || !ok2 || r > t || t > 10000 {
		return 0, 0, false
	}
	return int(r), int(t), true
}

// kubeAge tells whether s is an age as kubectl prints it: 118s, 5m30s, 2y37d.
func kubeAge(s string) bool {
	if s == "<unknown>" || s == "<invalid>" {
		return true
	}
	if len(s) < 2 || len(s) > 12 {
		return false
	}
	digits, units := 0, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			digits++
		case digits > 0 && strings.IndexByte("smhdy", c) >= 0:
			digits = 0
			units++
		default:
			return false
		}
	}
	return digits == 0 && units <= 3
}

// kubeWorkload is the workload that a pod's labels name.
func kubeWorkload(labels map[string]string) string {
	for _, key := range []string{"app", "app.kubernetes.io/name", "k8s-app"} {
		if v := labels[key]; v != "" {
			return v
		}
	}
	return ""
}

// kubeLabels reads "app=web,tier=front", which cannot hold a comma in a value.
func kubeLabels(cell string) map[string]string {
	m := map[string]string{}
	for _, e := range kubeList(cell) {
		k, v, _ := strings.Cut(e, "=")
		m[strings.TrimSpace(k)] = v
	}
	return m
}

// kubeFlagNamespace finds the namespace in the command line that printed a
// table without a NAMESPACE column; "" when the command does not say it.
func kubeFlagNamespace(command string) string {
	words := shellWords(command)
	start := -1
	for i, w := range words {
		switch path.Base(w) {
		case "kubectl", "oc", "k":
			start = i + 1
		}
		if i > 0 && strings.Contains(w, "kubectl ") { // ssh host "kubectl ...", sh -c '...'
			return kubeFlagNamespace(w)
		}
	}
	if start < 0 {
		return ""
	}
	namespace := ""
	for i := start; i < len(words) && words[i] != "--"; i++ {
		w := words[i]
		switch {
		case w == "-n" || w == "--namespace":
			if i+1 < len(words) {
				namespace = words[i+1]
			}
		case strings.HasPrefix(w, "--namespace="):
			namespace = w[len("--namespace="):]
		case strings.HasPrefix(w, "-n") && !strings.HasPrefix(w, "--"):
			namespace = strings.TrimPrefix(w[2:], "=")
		}
	}
	return namespace
}
