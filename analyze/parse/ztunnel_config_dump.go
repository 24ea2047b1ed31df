package parse

import (
	"net/netip"
	"sort"
	"strconv"
	"strings"

	"whichbackend/analyze/record"
)

// ztunnel's /config_dump (Istio 1.24), and what istioctl ztunnel-config
// workloads and services -o json cut out of it:
//
//	{"workloads":[{"uid":"Kubernetes//Pod/shop/web-0","workloadIps":["10.244.1.5"],"name":"web-0","namespace":"shop","node":"w1","protocol":"HBONE"}],
//	 "services":[{"name":"web","namespace":"shop","vips":["/10.96.72.53"],"endpoints":{"UID":{"workloadUid":"UID","port":{"80":8080}}}}],
//	 "workloadState":{"POD-UID":{"connections":{"outbound":[{"src":"10.244.1.9:40000","originalDst":"10.96.72.53:80","actualDst":"10.244.1.5:15008","protocol":"HBONE"}]}}}}
//
// Workloads and services were maps by address before 1.24; in 1.20 the keys
// are by_addr, by_uid and by_vip.

func ztunnelDumpClaim(d *Doc) bool {
	switch {
	case d.Has("workloadState"), d.Has("by_addr", "by_vip"), d.Has("by_uid", "by_vip"):
		return true
	case d.Has("workloads", "services"):
		return d.Has("policies") || d.Has("certificates") || d.Has("staticConfig") || d.Has("stagedServices")
	}
	f := d.First()
	return f != nil && (f.Has("uid", "workloadIps") || f.Has("hostname", "vips") && (f.Has("endpoints") || f.Has("ports")))
}

// ztunnelDump is a dump while it is read.
type ztunnelDump struct {
	out       *Out
	byUID     map[string]envoyNode
	byAddr    map[netip.Addr]envoyNode
	services  map[netip.Addr]envoyNode // by VIP
	byHost    map[string]envoyNode     // services by NAMESPACE/HOSTNAME
	waypoints map[netip.Addr]bool      // addresses of pods that are waypoints
}

func ztunnelDumpDoc(d *Doc, out *Out) {
	root, err := envoyDecode(d.Raw, "")
	if err != nil {
		envoyProblem(out, root, "expected a config dump: "+err.Error())
		return
	}
	z := &ztunnelDump{out: out, byUID: map[string]envoyNode{}, byAddr: map[netip.Addr]envoyNode{}, services: map[netip.Addr]envoyNode{},
		byHost: map[string]envoyNode{}, waypoints: map[netip.Addr]bool{}}
	workloads, services := root.get("workloads"), root.get("services")
	if workloads.missing() {
		workloads = root.get("by_uid")
	}
	if workloads.missing() {
		workloads = root.get("by_addr")
	}
	if services.missing() {
		services = root.get("by_vip")
	}
	if f := d.First(); f != nil && f.Has("uid") {
		workloads = root
	} else if f != nil {
		services = root
	}
	if v := root.get("config", "proxyMetadata", "ISTIO_VERSION").str(); v != "" {
		out.Tool("ztunnel " + v)
	} else if v := root.get("version", "version").str(); v != "" {
		out.Tool("ztunnel " + v)
	}
	z.index(workloads.elements(), services.elements())
	for _, w := range envoyElements(out, workloads) {
		z.workload(w)
	}
	for _, s := range envoyElements(out, services) {
		z.service(s)
	}
	for _, pod := range envoyElements(out, root.get("workload_state")) {
		z.pod(pod)
	}
}

// index notes who holds which address, and who is a waypoint: the pods behind
// the services that others name as theirs.
func (z *ztunnelDump) index(workloads, services []envoyNode) {
	for _, w := range workloads {
		z.byUID[w.get("uid").str()] = w
		for _, ip := range ztunnelIPs(w) {
			if w.get("network_mode").str() != "HostNetwork" {
				z.byAddr[ip] = w
			}
		}
	}
	for _, s := range services {
		z.byHost[s.get("namespace").str()+"/"+s.get("hostname").str()] = s
		for _, v := range s.get("vips").list() {
			if ip, ok := ztunnelAddress(v.str()); ok {
				z.services[ip] = s
			}
		}
	}
	for _, list := range [][]envoyNode{workloads, services} {
		for _, n := range list {
			z.waypoint(n.get("waypoint", "destination").str())
		}
	}
}

// waypoint notes the pods of a waypoint, which is named by its VIP, by the
// address of its pod or by NAMESPACE/HOSTNAME.
func (z *ztunnelDump) waypoint(destination string) {
	if destination == "" {
		return
	}
	s, known := z.byHost[destination]
	if ip, ok := ztunnelAddress(destination); ok && !known {
		if s, known = z.services[ip]; !known {
			z.waypoints[ip] = true
		}
	}
	for _, e := range s.get("endpoints").elements() {
		for _, ip := range z.endpointIPs(e) {
			z.waypoints[ip] = true
		}
	}
}

// ztunnelAddress reads NETWORK/ADDRESS.
func ztunnelAddress(s string) (netip.Addr, bool) {
	return address([]byte(s[strings.LastIndexByte(s, '/')+1:]))
}

func ztunnelIPs(w envoyNode) []netip.Addr {
	var out []netip.Addr
	for _, ip := range w.get("workload_ips").list() {
		if a, ok := address([]byte(ip.str())); ok {
			out = append(out, a)
		}
	}
	return out
}

// endpointIPs are the addresses of an endpoint: its own, or its workload's.
func (z *ztunnelDump) endpointIPs(e envoyNode) []netip.Addr {
	if a, ok := ztunnelAddress(e.get("address").str()); ok {
		return []netip.Addr{a}
	}
	return ztunnelIPs(z.byUID[e.get("workload_uid").str()])
}

// workload emits the pod that holds an address. The uid tells a pod
// (CLUSTER//Pod/NAMESPACE/NAME) from what a ServiceEntry names.
func (z *ztunnelDump) workload(w envoyNode) {
	name := w.get("name").str()
	if name == "" {
		envoyProblem(z.out, w, "workload without a name")
		return
	}
	if uid := w.get("uid").str(); uid != "" && !strings.Contains(uid, "/Pod/") {
		return
	}
	z.out.At(w.ptr)
	for _, ip := range ztunnelIPs(w) {
		z.out.Owner(record.Owner{Address: ip, Kind: record.OwnerPod, Namespace: w.get("namespace").str(), Name: name, Host: w.get("node").str(),
			Workload: w.get("workload_name").str(), HostNetwork: w.get("network_mode").str() == "HostNetwork"})
	}
}

// service emits a record for each VIP and port.
func (z *ztunnelDump) service(s envoyNode) {
	ports := ztunnelPorts(s.get("ports"))
	if s.get("name").str() == "" && s.get("hostname").str() == "" {
		envoyProblem(z.out, s, "service without a name")
		return
	}
	var vips []netip.Addr
	for _, v := range s.get("vips").list() {
		if a, ok := ztunnelAddress(v.str()); ok {
			vips = append(vips, a)
		} else {
			envoyProblem(z.out, v, "expected NETWORK/ADDRESS")
		}
	}
	if len(vips) == 0 {
		if len(s.get("vips").list()) > 0 {
			return
		}
		vips = append(vips, netip.Addr{}) // headless
	}
	for _, vip := range vips {
		for _, p := range ports {
			r := record.Service{Source: record.FromZtunnel, Mechanism: "istio", Protocol: record.TCP, Complete: true,
				Namespace: s.get("namespace").str(), Name: s.get("name").str()}
			if vip.IsValid() {
				r.Address = netip.AddrPortFrom(vip, p)
			}
			z.backends(&r, s, vip, p)
			z.out.At(s.ptr)
			z.out.Service(r)
		}
	}
}

// ztunnelPorts are the keys of a map of ports, in order.
func ztunnelPorts(n envoyNode) []uint16 {
	var ports []uint16
	for _, m := range n.members() {
		if p, err := strconv.ParseUint(m.ptr[strings.LastIndexByte(m.ptr, '/')+1:], 10, 16); err == nil {
			ports = append(ports, uint16(p))
		}
	}
	sort.Slice(ports, func(i, j int) bool { return ports[i] < ports[j] })
	return ports
}

// backends adds the endpoints that serve a port. Of a pod with several
// addresses the one of the VIP's family serves.
func (z *ztunnelDump) backends(r *record.Service, s envoyNode, vip netip.Addr, port uint16) {
	for _, e := range s.get("endpoints").elements() {
		target, ok := ztunnelTarget(e, port)
		if !ok {
			continue // the endpoint does not serve this port
		}
		ips := z.endpointIPs(e)
		if len(ips) == 0 {
			r.Complete = false // a workload that is not in the dump, or has a name for an address
			continue
		}
		w := z.byUID[e.get("workload_uid").str()]
		for _, ip := range ips {
			if vip.IsValid() && len(ips) > 1 && ip.Is4() != vip.Is4() {
				continue
			}
			b := record.Backend{Address: netip.AddrPortFrom(ip, target), Weight: -1, Active: -1, Namespace: w.get("namespace").str(),
				Name: w.get("name").str(), Host: w.get("node").str(), Pos: record.Pos{Line: z.out.Line(), Pointer: e.ptr}}
			if st := e.get("status").str(); st != "" && st != "Healthy" {
				b.State = strings.ToLower(st)
			}
			r.Backends = append(r.Backends, b)
		}
	}
}

// ztunnelTarget is the port on which an endpoint serves a port of its service.
func ztunnelTarget(e envoyNode, port uint16) (uint16, bool) {
	t, ok := e.get("port", strconv.Itoa(int(port))).integer()
	return uint16(t), ok && t > 0 && t < 65536
}
