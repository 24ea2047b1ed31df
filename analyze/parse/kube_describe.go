package parse

// Name:         nginx-db44f58d7-287v8
// Namespace:    default
// Node:         node1/192.168.50.11
// IP:           10.0.1.66
//
// kubectl 1.34.1, kubectl describe pods, services, endpoints and nodes. The
// first line is enough to know it by: below it always comes a key as long as
// Annotations, so that the name is at least nine blanks away (nslookup, which
// prints Name: too, has fewer).

import (
	"net/netip"
	"strings"

	"whichbackend/analyze/record"
)

func kubeDescribeHead(b []byte) bool {
	return len(b) > 14 && b[0] == 'N' && string(b[:13]) == "Name:        "
}

// kubeDescribed is the object that is being read.
type kubeDescribed struct {
	name, namespace string
	line            int
	node, status    string
	hasNode, isNode bool // a pod, a node
	labels          map[string]string
	ips             []kubeVIP
	containers      []string
	containerID     string
	ready           int
	hasInit         bool
	service         kubeService
	endpoints       []kubeEndpointsLine // of a service, by port
	addresses       []record.Backend    // of the subset being read
	cut             bool                // not all of them could be read
	pairs           int
}

// kubeEndpointsLine is one Endpoints line of a service.
type kubeEndpointsLine struct {
	port kubePort
	cell string
	line int
}

type kubeDescribe struct {
	out   *Out
	o     *kubeDescribed
	block string // the key of the last line that was not indented
	ports bool   // inside the Ports of a subset
}

func kubeDescribeOpen(out *Out) (line func([]byte), end func()) {
	d := &kubeDescribe{out: out}
	return d.line, d.flush
}

func (d *kubeDescribe) line(b []byte) {
	text := strings.TrimRight(string(b), " \t")
	trimmed := strings.TrimLeft(text, " \t")
	if trimmed == "" {
		d.ports = false
		return
	}
	key, value, found := strings.Cut(trimmed, ":")
	value = strings.TrimSpace(value)
	switch {
	case d.block == "Data" && !kubeDescribeHead([]byte(text)):
		d.out.Ignore() // whatever a ConfigMap holds
	case len(trimmed) < len(text):
		d.indented(trimmed, key, value, len(text)-len(trimmed))
	case kubeDescribeHead([]byte(text)):
		d.flush()
		d.o = &kubeDescribed{name: value, line: d.out.Line(), labels: map[string]string{}}
		d.block, d.ports = key, false
		d.out.Understood()
	case d.o == nil:
		d.out.Problem("expected Name: before it")
	case found && key != "" && key[0] >= 'A' && key[0] <= 'Z':
		d.block = key
		d.top(key, value)
	case trimmed == "Data":
		d.block = "Data"
		d.out.Ignore()
	case strings.HasPrefix(trimmed, "No "): // No events.
		d.out.Ignore()
	default:
		d.out.Problem("expected a field of kubectl describe")
	}
}

// top reads a line that is not indented.
func (d *kubeDescribe) top(key, value string) {
	o, line := d.o, d.out.Line()
	d.out.Understood()
	switch key {
	case "Namespace":
		o.namespace = kubeNone(value)
	case "Labels":
		d.label(value)
	case "Node":
		o.node, _, _ = strings.Cut(kubeNone(value), "/")
		o.hasNode = true
	case "Roles", "Role":
		o.isNode = true
	case "Status":
		o.status, _, _ = strings.Cut(value, " ") // Terminating (lasts 5m)
	case "IP", "IPs":
		if key == "IPs" && kubeNone(value) != "" {
			o.ips = nil // says what IP said, and more
		}
		d.addresses(value, kubeClusterIP)
	case "Init Containers":
		o.hasInit = true
	case "Containers", "Addresses", "Conditions", "Subsets":
	default:
		d.serviceField(key, value, line)
	}
}

// serviceField reads what only services have.
func (d *kubeDescribe) serviceField(key, value string, line int) {
	s := &d.o.service
	switch key {
	case "Type":
		s.typ = value
	case "External IPs":
		d.addresses(value, kubeExternalIP)
	case "LoadBalancer Ingress":
		d.addresses(value, kubeLoadBalancer)
	case "External Name":
		s.pos.Line = line
	case "Port":
		d.servicePort(value)
	case "TargetPort", "NodePort":
		if len(s.ports) == 0 || value == "" {
			d.out.Problem("expected Port: before it, and a port")
			return
		}
		n, _, _ := strings.Cut(value[strings.LastIndexByte(value, ' ')+1:], "/")
		number, _ := port([]byte(n)) // 0: the name of a port
		if p := &s.ports[len(s.ports)-1]; key == "TargetPort" {
			p.target = number
		} else {
			p.nodePort, p.pos.Line = number, line
		}
	case "Endpoints":
		e := kubeEndpointsLine{cell: value, line: line}
		if n := len(s.ports); n > 0 {
			e.port = kubePort{name: s.ports[n-1].name, protocol: s.ports[n-1].protocol}
		}
		d.o.endpoints = append(d.o.endpoints, e)
	case "Session Affinity":
		s.affinity = value == "ClientIP"
	case "External Traffic Policy":
		s.externalLocal = value == "Local"
	case "Internal Traffic Policy":
		s.internalLocal = value == "Local"
	default:
		d.out.Ignore()
	}
}

// servicePort reads "http  80/TCP".
func (d *kubeDescribe) servicePort(value string) {
	words := strings.Fields(value)
	if len(words) == 0 {
		d.out.Problem("expected a port as 80/TCP")
		return
	}
	ports, ok := kubePortList(words[len(words)-1])
	if !ok || len(ports) > 1 {
		d.out.Problem("expected a port as 80/TCP")
		return
	}
	for _, p := range ports {
		if len(words) > 1 {
			p.name = kubeNone(words[0])
		}
		d.o.service.ports = append(d.o.service.ports, p)
	}
}

// addresses adds the addresses of a line, such as "10.96.0.1,fd00::1" or
// "192.0.2.7 (VIP)".
func (d *kubeDescribe) addresses(value, typ string) {
	for _, e := range strings.FieldsFunc(value, func(c rune) bool { return c == ',' || c == ' ' }) {
		if a, ok := address([]byte(e)); ok {
			d.o.ips = append(d.o.ips, kubeVIP{a, typ, record.Pos{Line: d.out.Line()}})
		} else if e == "None" && typ == kubeClusterIP {
			d.o.service.typ, d.o.service.pos.Line = kubeHeadless, d.out.Line()
		}
	}
}

func (d *kubeDescribe) label(value string) {
	for k, v := range kubeLabels(value) {
		d.o.labels[k] = v
	}
}

// indented reads a line below a key.
func (d *kubeDescribe) indented(trimmed, key, value string, indent int) {
	d.out.Ignore()
	o := d.o
	if o == nil {
		return
	}
	switch d.block {
	case "Labels":
		d.label(trimmed)
		d.out.Understood()
	case "IPs":
		if key == "IP" && value != "" {
			if len(o.ips) == 1 && o.ips[0].pos.Line < d.out.Line()-1 {
				o.ips = nil // the line IP: above said the first of them
			}
			d.addresses(value, kubeClusterIP)
			d.out.Understood()
		}
	case "Containers":
		d.container(key, value, indent)
	case "Conditions":
		if words := strings.Fields(trimmed); len(words) > 1 && words[0] == "Ready" {
			d.nodeReady(words[1])
		}
	case "Addresses":
		if o.isNode && (key == "InternalIP" || key == "ExternalIP") {
			d.addresses(value, kubeClusterIP)
			d.out.Understood()
		}
	case "Subsets":
		d.subset(trimmed, key, value)
	}
}

func (d *kubeDescribe) nodeReady(status string) {
	if !d.o.isNode {
		return
	}
	d.o.status = "NotReady"
	if status == "True" {
		d.o.status = "Ready"
	}
	d.out.Understood()
}

// container reads the lines of a pod's containers.
func (d *kubeDescribe) container(key, value string, indent int) {
	o := d.o
	switch {
	case indent == 2 && value == "":
		o.containers = append(o.containers, key)
	case indent == 4 && key == "Container ID" && len(o.containers) == 1:
		o.containerID = value[strings.LastIndexByte(value, '/')+1:]
	case indent == 4 && key == "Ready":
		if value == "True" {
			o.ready++
		}
	default:
		return
	}
	d.out.Understood()
}

// subset reads the lines of an Endpoints object.
func (d *kubeDescribe) subset(trimmed, key, value string) {
	o := d.o
	words := strings.Fields(trimmed)
	switch {
	case key == "Addresses" || key == "NotReadyAddresses":
		if key == "Addresses" {
			o.addresses, o.cut, d.ports = nil, false, false
		}
		for _, e := range kubeList(value) {
			a, ok := address([]byte(e))
			if !ok {
				o.cut = true
				d.out.Problem("expected addresses as 10.0.0.1,10.0.0.2")
				return
			}
			b := kubeBackend(a, 0)
			if b.Pos.Line = d.out.Line(); key != "Addresses" {
				b.State = "not ready"
			}
			o.addresses = append(o.addresses, b)
		}
		d.out.Understood()
	case key == "Ports":
		d.ports = true
		d.out.Understood()
		if kubeNone(value) == "" && value != "" {
			d.subsetPort(kubePort{})
		}
	case d.ports && len(words) == 3 && words[0] != "Name" && words[0] != "----":
		number, ok := port([]byte(words[1]))
		protocol, known := protocolNumber(words[2])
		if !ok || !known {
			d.out.Problem("expected a port as Name Port Protocol")
			return
		}
		d.subsetPort(kubePort{name: kubeNone(words[0]), port: number, protocol: protocol})
	}
}

// subsetPort emits the backends of one port of a subset.
func (d *kubeDescribe) subsetPort(p kubePort) {
	if d.o.pairs += len(d.o.addresses); d.o.pairs > kubeMaxPairs {
		d.out.Problem(kubeTooManyPairs)
		return
	}
	backends := append([]record.Backend(nil), d.o.addresses...)
	for i := range backends {
		backends[i].Address = netip.AddrPortFrom(backends[i].Address.Addr(), p.port)
	}
	d.out.Service(kubeEndpoints(d.o.namespace, d.o.name, p, backends, !d.o.cut))
}

// flush emits the object that has been read, each record with the line that
// says it.
func (d *kubeDescribe) flush() {
	o := d.o
	d.o = nil
	switch {
	case o == nil:
	case kubeTypes[o.service.typ] || o.service.typ == kubeHeadless:
		d.flushService(o)
	case o.isNode:
		d.owners(o, record.Owner{Kind: record.OwnerNode, Name: o.name, Host: o.name, State: o.status})
	case o.hasNode:
		w := record.Owner{
			Kind: record.OwnerPod, Namespace: o.namespace, Name: o.name, Host: o.node, State: o.status,
			Workload: kubeWorkload(o.labels), Containers: o.containers, ContainerID: o.containerID,
		}
		if !o.hasInit { // an init container may count, and is not told apart here
			w.Ready, w.Total = o.ready, len(o.containers)
		}
		d.owners(o, w)
	}
}

func (d *kubeDescribe) owners(o *kubeDescribed, w record.Owner) {
	if len(o.ips) == 0 {
		w.Line = o.line
		d.out.Owner(w)
	}
	for _, ip := range o.ips {
		w.Address, w.Pos = ip.addr, ip.pos
		d.out.Owner(w)
	}
}

func (d *kubeDescribe) flushService(o *kubeDescribed) {
	s := o.service
	s.namespace, s.name, s.vips = o.namespace, o.name, o.ips
	if s.pos.Line == 0 {
		s.pos.Line = o.line
	}
	if kubeTooMany(len(s.ports), len(s.vips)) {
		d.out.ProblemAt(o.line, o.name, kubeTooManyPairs)
		return
	}
	s.emit(d.out)
	for _, e := range o.endpoints {
		list, complete, ok := kubeEndpointList(e.cell)
		if !ok {
			d.out.ProblemAt(e.line, "Endpoints: "+e.cell, "expected Endpoints as 10.0.0.1:80,10.0.0.2:80")
			continue
		}
		for _, r := range kubeByPort(o.namespace, o.name, e.port, list, complete) {
			r.Line = e.line
			d.out.Service(r)
		}
	}
}
