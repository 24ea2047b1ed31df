package parse

import (
	"net/netip"

	"whichbackend/analyze/record"
)

// Connections of a ztunnel: the workloadState of its config dump, and
// istioctl ztunnel-config connections -o json (istioctl 1.23), which is a list
// of the same without the workloads and services:
//
//	[{"state":"Up","connections":{"inbound":[],"outbound":[{"src":"10.244.1.9:40000","originalDst":"10.96.72.53:80","actualDst":"10.244.1.5:15008","protocol":"HBONE"}]},"info":{"name":"web-0","namespace":"shop"}}]
//
// An outbound connection names the next socket, not always the backend:
//
//   - TCP: actualDst is the backend.
//   - HBONE to a pod that is an endpoint of the dialled service: the backend is
//     that pod, with the port that the endpoint serves the dialled port on.
//   - HBONE to the dialled address itself: the backend is what was dialled.
//   - HBONE to a waypoint, DOUBLEHBONE to a gateway, or HBONE where the
//     document does not have the dialled service to tell its ports: the
//     backend is not known, Tunnel holds the next socket and Peer, where the
//     document has the workload, its name.

func ztunnelConnectionsClaim(d *Doc) bool {
	f := d.First()
	return f != nil && f.Has("connections") && (f.Has("state") || f.Has("info"))
}

func ztunnelConnectionsDoc(d *Doc, out *Out) {
	root, _ := envoyDecode(d.Raw, "")
	z := &ztunnelDump{out: out}
	for _, pod := range root.list() {
		z.pod(pod)
	}
}

// pod reads the connections of one pod.
func (z *ztunnelDump) pod(pod envoyNode) {
	if _, ok := pod.v.(map[string]any); !ok {
		envoyProblem(z.out, pod, "expected an object")
		return
	}
	info := pod.get("info")
	self := ""
	if info.get("name").str() != "" {
		self = info.get("namespace").str() + "/" + info.get("name").str()
	}
	for _, c := range envoyList(z.out, pod.get("connections", "inbound")) {
		src, actual, ok := z.ends(c)
		if !ok {
			continue
		}
		t := record.Translation{Via: record.ViaZtunnel, Protocol: record.TCP, Timeout: -1, Ingress: true, Peer: self}
		t.Before = record.Tuple{Source: src, Destination: actual}
		t.After = t.Before
		z.out.At(c.ptr)
		z.out.Translation(t)
	}
	for _, c := range envoyList(z.out, pod.get("connections", "outbound")) {
		src, actual, ok := z.ends(c)
		if !ok {
			continue
		}
		original, dialled := addressPort([]byte(c.get("original_dst").str()))
		if !dialled {
			envoyProblem(z.out, c, "expected originalDst with an address and port")
			continue
		}
		t := record.Translation{Via: record.ViaZtunnel, Protocol: record.TCP, Timeout: -1}
		t.Before = record.Tuple{Source: src, Destination: original}
		z.outbound(&t, actual, c.get("protocol").str())
		z.out.At(c.ptr)
		z.out.Translation(t)
	}
}

// ends reads src and actualDst.
func (z *ztunnelDump) ends(c envoyNode) (src, actual netip.AddrPort, ok bool) {
	src, ok1 := addressPort([]byte(c.get("src").str()))
	actual, ok2 := addressPort([]byte(c.get("actual_dst").str()))
	if !ok1 || !ok2 {
		envoyProblem(z.out, c, "expected src and actualDst with an address and port")
	}
	return src, actual, ok1 && ok2
}

// outbound tells where an outbound connection ends, as far as the document
// does.
func (z *ztunnelDump) outbound(t *record.Translation, actual netip.AddrPort, protocol string) {
	w, known := z.byAddr[actual.Addr()]
	if known {
		t.Peer = w.get("namespace").str() + "/" + w.get("name").str()
	}
	if protocol == "TCP" {
		t.After.Destination = actual
		return
	}
	t.Tunnel = actual
	original := t.Before.Destination
	switch {
	case protocol != "HBONE":
	case original.Addr() == actual.Addr():
		t.After.Destination = original
	case !z.waypoints[actual.Addr()]:
		t.After.Destination = z.endpoint(z.services[original.Addr()], actual.Addr(), original.Port())
	}
}

// endpoint is where the pod at an address serves a port of a service; zero
// when it is none of its endpoints.
func (z *ztunnelDump) endpoint(s envoyNode, pod netip.Addr, port uint16) netip.AddrPort {
	for _, e := range s.get("endpoints").elements() {
		for _, ip := range z.endpointIPs(e) {
			if target, ok := ztunnelTarget(e, port); ok && ip == pod {
				return netip.AddrPortFrom(pod, target)
			}
		}
	}
	return netip.AddrPort{}
}
