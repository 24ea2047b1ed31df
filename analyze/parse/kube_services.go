package parse

import (
	"encoding/json"
	"net/netip"
	"strings"

	"whichbackend/analyze/record"
)

// kubeServiceObject is a Service. The ports are numbers, but TargetPort may
// be the name of a container's port.
type kubeServiceObject struct {
	Metadata kubeMeta
	Spec     struct {
		Type, ClusterIP, SessionAffinity             string
		ExternalTrafficPolicy, InternalTrafficPolicy string
		ClusterIPs, ExternalIPs, IPFamilies          []string
		Ports                                        []struct {
			Name, Protocol string
			Port, NodePort uint16
			TargetPort     json.RawMessage
		}
	}
	Status struct {
		LoadBalancer struct{ Ingress []struct{ IP string } }
	}
}

func (r *kubeReader) service() {
	var o kubeServiceObject
	if !r.decode(&o, &o.Metadata) {
		return
	}
	s := kubeService{
		namespace: o.Metadata.Namespace, name: o.Metadata.Name, typ: o.Spec.Type, pos: r.pos("/spec/clusterIP"),
		affinity:      o.Spec.SessionAffinity == "ClientIP",
		externalLocal: o.Spec.ExternalTrafficPolicy == "Local",
		internalLocal: o.Spec.InternalTrafficPolicy == "Local",
	}
	if s.typ == kubeExternalName {
		s.pos = r.pos("/spec/externalName")
	} else if o.Spec.ClusterIP == "None" {
		s.typ = kubeHeadless
	}
	for _, f := range o.Spec.IPFamilies {
		s.v4, s.v6 = s.v4 || f == "IPv4", s.v6 || f == "IPv6"
	}
	for i, p := range o.Spec.Ports {
		if p.Port == 0 {
			continue // not a port number, which decode has told
		}
		s.ports = append(s.ports, kubePort{
			name: p.Name, protocol: kubeProtocol(p.Protocol), port: p.Port, nodePort: p.NodePort,
			target: kubeTargetPort(p.TargetPort), pos: r.pos("/spec/ports/%d/nodePort", i),
		})
	}
	s.vips = r.vips(&o)
	if kubeTooMany(len(s.ports), len(s.vips)) {
		r.problem(string(clip(r.raw)), kubeTooManyPairs)
		return
	}
	s.emit(r.out)
}

// vips are the addresses of a service in the order in which kubectl shows them.
func (r *kubeReader) vips(o *kubeServiceObject) []kubeVIP {
	var vips []kubeVIP
	add := func(text, typ string, pos record.Pos) {
		if text == "" || text == "None" {
			return
		}
		if a, ok := r.address(text, pos); ok {
			vips = append(vips, kubeVIP{a, typ, pos})
		}
	}
	add(o.Spec.ClusterIP, kubeClusterIP, r.pos("/spec/clusterIP"))
	for i, ip := range o.Spec.ClusterIPs {
		if ip != o.Spec.ClusterIP {
			add(ip, kubeClusterIP, r.pos("/spec/clusterIPs/%d", i))
		}
	}
	for i, in := range o.Status.LoadBalancer.Ingress {
		add(in.IP, kubeLoadBalancer, r.pos("/status/loadBalancer/ingress/%d/ip", i))
	}
	for i, ip := range o.Spec.ExternalIPs {
		add(ip, kubeExternalIP, r.pos("/spec/externalIPs/%d", i))
	}
	return vips
}

// kubeProtocol reads a protocol, TCP where none is said.
func kubeProtocol(s string) record.Protocol {
	if s == "" {
		return record.TCP
	}
	p, _ := protocolNumber(s)
	return p
}

// kubeTargetPort is a target port that is a number, else 0.
func kubeTargetPort(raw json.RawMessage) uint16 {
	var n uint16
	if json.Unmarshal(raw, &n) != nil {
		return 0
	}
	return n
}

// kubeHalf gathers the backends of a service port by port.
type kubeHalf struct {
	namespace, name string
	complete        bool
	ports           []kubePort
	backends        [][]record.Backend
	index           map[kubePort]int // without positions
	pairs           int
}

// port returns the index of a port, which several subsets may share.
func (h *kubeHalf) port(p kubePort) int {
	key := p
	key.pos = record.Pos{}
	i, ok := h.index[key]
	if !ok {
		if h.index == nil {
			h.index = map[kubePort]int{}
		}
		i = len(h.ports)
		h.index[key] = i
		h.ports = append(h.ports, p)
		h.backends = append(h.backends, nil)
	}
	return i
}

// emit writes one record a port, or one without a port when there is none.
func (h *kubeHalf) emit(out *Out, pos record.Pos) {
	if len(h.ports) == 0 {
		h.port(kubePort{pos: pos})
	}
	for i, p := range h.ports {
		s := kubeEndpoints(h.namespace, h.name, p, h.backends[i], h.complete)
		s.Pos = p.pos
		out.Service(s)
	}
}

// kubeEndpointAddress is an address of an Endpoints object.
type kubeEndpointAddress struct {
	IP, NodeName string
	TargetRef    kubeRef
}

type kubeRef struct{ Kind, Namespace, Name string }

// kubeEndpointPort is a port of Endpoints or of an EndpointSlice. No number
// stands for every port; what is no port number is decoded as 0.
type kubeEndpointPort struct {
	Name, Protocol string
	Port           *uint16
}

// addPort adds the port to those of the service, and returns its index. ok is
// false when it has no usable number.
func (h *kubeHalf) addPort(p kubeEndpointPort, pos record.Pos) (k int, ok bool) {
	q := kubePort{name: p.Name, pos: pos}
	if p != (kubeEndpointPort{}) {
		q.protocol = kubeProtocol(p.Protocol)
	}
	if p.Port != nil {
		if q.port = *p.Port; q.port == 0 {
			h.complete = false
			return 0, false
		}
	}
	return h.port(q), true
}

func (r *kubeReader) endpoints() {
	var o struct {
		Metadata kubeMeta
		Subsets  []struct {
			Addresses, NotReadyAddresses []kubeEndpointAddress
			Ports                        []kubeEndpointPort
		}
	}
	if !r.decode(&o, &o.Metadata) {
		return
	}
	h := kubeHalf{namespace: o.Metadata.Namespace, name: o.Metadata.Name}
	// Beyond a thousand addresses the controller leaves some out, and says so.
	h.complete = o.Metadata.Annotations["endpoints.kubernetes.io/over-capacity"] != "truncated"
	for i, set := range o.Subsets {
		ports := set.Ports
		if len(ports) == 0 {
			ports = []kubeEndpointPort{{}}
		}
		for j, p := range ports {
			pos := r.pos("/subsets/%d/ports/%d", i, j)
			if len(set.Ports) == 0 {
				pos = r.pos("/subsets/%d", i)
			}
			k, ok := h.addPort(p, pos)
			if !ok {
				continue
			}
			for n, a := range set.Addresses {
				h.add(r, k, a.IP, a.NodeName, "", a.TargetRef, r.pos("/subsets/%d/addresses/%d/ip", i, n))
			}
			for n, a := range set.NotReadyAddresses {
				h.add(r, k, a.IP, a.NodeName, "not ready", a.TargetRef, r.pos("/subsets/%d/notReadyAddresses/%d/ip", i, n))
			}
		}
	}
	h.emit(r.out, r.pos("/metadata/name"))
}

// add adds a backend to port k.
func (h *kubeHalf) add(r *kubeReader, k int, ip, node, state string, ref kubeRef, pos record.Pos) {
	if h.pairs++; h.pairs > kubeMaxPairs {
		h.complete = false
		if h.pairs == kubeMaxPairs+1 {
			r.problem(string(clip(r.raw)), kubeTooManyPairs)
		}
		return
	}
	a, ok := r.address(ip, pos)
	if !ok {
		h.complete = false
		return
	}
	b := record.Backend{Address: netip.AddrPortFrom(a, h.ports[k].port), Weight: -1, Active: -1, State: state, Host: node, Pos: pos}
	if ref.Kind == "Pod" {
		b.Namespace, b.Name = ref.Namespace, ref.Name
		if b.Namespace == "" {
			b.Namespace = h.namespace
		}
	}
	h.backends[k] = append(h.backends[k], b)
}

type kubeSlice struct {
	Metadata    kubeMeta
	AddressType string
	Ports       []kubeEndpointPort
	Endpoints   []struct {
		Addresses  []string
		Conditions struct{ Ready, Serving, Terminating *bool }
		NodeName   string
		Topology   map[string]string // before v1
		TargetRef  kubeRef
		Hints      json.RawMessage
	}
}

// service is the name of the service that the slice belongs to, "" when it
// says none.
func (o *kubeSlice) service() string {
	if name := o.Metadata.Labels["kubernetes.io/service-name"]; name != "" {
		return name
	}
	for _, ref := range o.Metadata.OwnerReferences {
		if ref.Kind == "Service" {
			return ref.Name
		}
	}
	return ""
}

func (r *kubeReader) slice() {
	var o kubeSlice
	if !r.decode(&o, &o.Metadata) {
		return
	}
	h := kubeHalf{namespace: o.Metadata.Namespace, name: o.service(), complete: true}
	for i := range o.Endpoints {
		if hints := string(o.Endpoints[i].Hints); hints != "" && hints != "null" {
			// A node then chooses from some of the endpoints only.
			r.out.Reading(record.Reading{Pos: r.pos("/endpoints/%d/hints", i), Subject: "service " + h.namespace + "/" + h.name, Name: "hints", Value: "set"})
			break
		}
	}
	ports := o.Ports
	if len(ports) == 0 && len(o.Endpoints) > 0 {
		ports = []kubeEndpointPort{{}}
	}
	for j, p := range ports {
		pos := r.pos("/ports/%d", j)
		if len(o.Ports) == 0 {
			pos = r.pos("/endpoints")
		}
		if k, ok := h.addPort(p, pos); ok {
			r.sliceBackends(&o, &h, k)
		}
	}
	h.emit(r.out, r.pos("/metadata/name"))
}

func (r *kubeReader) sliceBackends(o *kubeSlice, h *kubeHalf, k int) {
	for i, e := range o.Endpoints {
		is := func(b *bool, or bool) bool {
			if b == nil {
				return or
			}
			return *b
		}
		// Nothing said about ready or serving is to be read as yes.
		state := ""
		if c := e.Conditions; is(c.Terminating, false) && is(c.Serving, true) {
			state = "terminating"
		} else if !is(c.Ready, true) {
			state = "not ready"
		}
		node := e.NodeName
		if node == "" {
			node = e.Topology["kubernetes.io/hostname"]
		}
		for n, a := range e.Addresses {
			if strings.EqualFold(o.AddressType, "FQDN") {
				h.complete = false // a name, which is no address yet
				continue
			}
			h.add(r, k, a, node, state, e.TargetRef, r.pos("/endpoints/%d/addresses/%d", i, n))
		}
	}
}
