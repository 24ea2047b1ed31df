package parse

import (
	"net/netip"
	"strconv"

	"whichbackend/analyze/record"
)

// dockerService reads an element of docker service inspect:
//
//	"Endpoint": {"Ports": [{"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 80, "PublishMode": "ingress"}],
//	             "VirtualIPs": [{"NetworkID": "632qywu7edokp119ehuqulyl8", "Addr": "10.0.1.4/24"}]}
//
// It names networks by their ids only, so that no Namespace is told.
func dockerService(raw []byte, at string, out *Out) {
	var s struct {
		Spec     struct{ Name string }
		Endpoint struct {
			Ports []struct {
				Protocol                  string
				TargetPort, PublishedPort uint16
				PublishMode               string
			}
			VirtualIPs []struct{ Addr string }
		}
	}
	dockerDecode(raw, &s, at, out)
	base := record.Service{Source: record.FromDocker, Mechanism: "docker-swarm", Name: s.Spec.Name}
	for i, v := range s.Endpoint.VirtualIPs {
		if v.Addr == "" {
			continue // not yet allocated
		}
		out.At(at + "/Endpoint/VirtualIPs/" + strconv.Itoa(i))
		a, ok := dockerPrefixAddress(v.Addr)
		if !ok {
			out.Problem("expected a virtual IP with its prefix length")
			continue
		}
		r := base
		r.Type, r.Address = "vip", netip.AddrPortFrom(a, 0)
		out.Service(r)
	}
	for i, p := range s.Endpoint.Ports {
		out.At(at + "/Endpoint/Ports/" + strconv.Itoa(i))
		proto, ok := protocolNumber(p.Protocol)
		if !ok {
			out.Problem("expected a protocol")
			continue
		}
		if p.PublishedPort == 0 {
			continue
		}
		r := base
		r.Type = p.PublishMode
		if r.Type == "" {
			r.Type = "ingress" // docker's default
		}
		r.Protocol, r.TargetPort = proto, p.TargetPort
		r.Address = netip.AddrPortFrom(netip.IPv4Unspecified(), p.PublishedPort)
		out.Service(r)
	}
}

// dockerTask reads docker inspect of a task, which tells the addresses of a
// container on any node, but neither its name nor the service's.
func dockerTask(raw []byte, at string, out *Out) {
	var t struct {
		Status struct {
			State           string
			ContainerStatus struct {
				ContainerID string
				PID         int
			}
		}
		NetworksAttachments []struct {
			Network struct {
				Spec struct{ Name string }
			}
			Addresses []string
		}
	}
	dockerDecode(raw, &t, at, out)
	o := record.Owner{Kind: record.OwnerContainer, ContainerID: t.Status.ContainerStatus.ContainerID,
		PID: max(t.Status.ContainerStatus.PID, 0), State: t.Status.State}
	found := false
	for i, n := range t.NetworksAttachments {
		for j, text := range n.Addresses {
			out.At(at + "/NetworksAttachments/" + strconv.Itoa(i) + "/Addresses/" + strconv.Itoa(j))
			a, ok := dockerPrefixAddress(text)
			if !ok {
				out.Problem("expected an address with its prefix length")
				continue
			}
			found = true
			w := o
			w.Address, w.Namespace = a, n.Network.Spec.Name
			out.Owner(w)
		}
	}
	if !found && o.ContainerID != "" {
		out.At(at)
		out.Owner(o)
	}
}

// dockerNode reads an element of docker node inspect.
func dockerNode(raw []byte, at string, out *Out) {
	var n struct {
		Description   struct{ Hostname string }
		Status        struct{ State, Addr string }
		ManagerStatus struct{ Addr string }
	}
	dockerDecode(raw, &n, at, out)
	out.At(at)
	if n.Description.Hostname == "" {
		out.Problem("expected a node's hostname")
		return
	}
	o := record.Owner{Kind: record.OwnerNode, Name: n.Description.Hostname, Host: n.Description.Hostname, State: n.Status.State}
	if a, ok := address([]byte(n.Status.Addr)); ok && !a.IsUnspecified() {
		o.Address = a
	} else if ap, ok := addressPort([]byte(n.ManagerStatus.Addr)); ok && !ap.Addr().IsUnspecified() {
		o.Address = ap.Addr() // a leader may be told its own address as 0.0.0.0
	}
	out.Owner(o)
}
