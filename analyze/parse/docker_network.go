package parse

import (
	"net/netip"
	"strconv"
	"strings"

	"whichbackend/analyze/record"
)

// docker network inspect, with -v also Services (docker 20.10.24, cut):
//
//	"Containers": {"lb-demo_default": {"Name": "demo_default-endpoint", "IPv4Address": "10.0.1.7/24"}},
//	"Services": {"demo_nginx": {"VIP": "10.0.1.4", "Ports": ["Target: 80, Publish: 80"], "LocalLBIndex": 257,
//	  "Tasks": [{"Name": "demo_nginx.2.fyvr...", "EndpointIP": "10.0.1.6", "Info": {"Host IP": "10.99.0.1"}}]}}
type dockerNetworkObject struct {
	Name, Id   string
	Containers map[string]struct{ Name, IPv4Address, IPv6Address string }
	Services   map[string]dockerNetworkService
}

type dockerNetworkService struct {
	VIP          string
	Ports        []string
	LocalLBIndex uint32
	Tasks        []struct {
		Name, EndpointIP string
		Info             map[string]string
	}
}

func dockerNetwork(raw []byte, at string, out *Out) {
	var n dockerNetworkObject
	dockerDecode(raw, &n, at, out)
	if n.Id != "" {
		// Networks of two swarms may have one name, and the same addresses.
		out.At(at + "/Id")
		out.Reading(record.Reading{Subject: "network " + n.Name, Name: "Id", Value: n.Id})
	}
	out.At(at)
	for _, key := range dockerKeys(n.Containers) {
		c := n.Containers[key]
		o := dockerMember(&n, key, c.Name)
		for _, field := range []struct{ key, text string }{{"IPv4Address", c.IPv4Address}, {"IPv6Address", c.IPv6Address}} {
			if field.text == "" {
				continue
			}
			out.At(at + "/Containers/" + pointerToken(key) + "/" + field.key)
			a, ok := dockerPrefixAddress(field.text)
			if !ok {
				out.Problem("expected an address with its prefix length")
				continue
			}
			o.Address = a
			out.Owner(o)
		}
	}
	for _, name := range dockerKeys(n.Services) {
		s := n.Services[name]
		dockerNetworkServices(&n, name, &s, at+"/Services/"+pointerToken(name), out)
	}
}

// dockerMember tells who a member of a network is: a container of this host,
// or one of the namespaces that Swarm balances load in.
func dockerMember(n *dockerNetworkObject, key, name string) record.Owner {
	o := record.Owner{Kind: record.OwnerContainer, Name: name, Namespace: n.Name}
	switch {
	case key == "ingress-sbox":
		o.Kind, o.Netns = record.OwnerBalancer, "ingress_sbox"
	case key == "lb-"+n.Name:
		o.Kind = record.OwnerBalancer
		if len(n.Id) >= 9 {
			o.Netns = "lb_" + n.Id[:9]
		}
	case len(key) == 64 && dockerIsHex(key):
		o.ContainerID = key
		o.Workload = dockerServiceOf(name)
		// On docker_gwbridge a task is called after its namespace, not after
		// its container, which the id tells.
		if sandbox, ok := strings.CutPrefix(name, "gateway_"); ok && len(sandbox) == 12 && dockerIsHex(sandbox) {
			o.Name, o.Netns = "", sandbox
		}
	}
	return o
}

// dockerPrefixAddress reads an address with or without a prefix length.
func dockerPrefixAddress(s string) (netip.Addr, bool) {
	a, bits, found := strings.Cut(s, "/")
	if found {
		if n, ok := number([]byte(bits)); !ok || n > 128 {
			return netip.Addr{}, false
		}
	}
	return address([]byte(a))
}

// dockerNetworkServices reads one service of docker network inspect -v. Under
// the name "" stand the members that belong to no service, the balancers of
// all nodes among them.
func dockerNetworkServices(n *dockerNetworkObject, name string, s *dockerNetworkService, at string, out *Out) {
	v := record.Service{Source: record.FromDocker, Mechanism: "docker-swarm", Type: "vip", Namespace: n.Name, Name: name,
		Mark: s.LocalLBIndex, Complete: true}
	for i, t := range s.Tasks {
		out.At(at + "/Tasks/" + strconv.Itoa(i))
		a, ok := address([]byte(t.EndpointIP))
		if !ok {
			v.Complete = false
			out.Problem("expected an address as EndpointIP")
			continue
		}
		o := record.Owner{Kind: record.OwnerContainer, Address: a, Name: t.Name, Workload: name, Namespace: n.Name}
		if name == "" && t.Name == n.Name+"-endpoint" {
			o.Kind = record.OwnerBalancer
		}
		out.Owner(o)
		v.Backends = append(v.Backends, record.Backend{Address: netip.AddrPortFrom(a, 0), Weight: -1, Active: -1,
			Name: t.Name, Host: t.Info["Host IP"], Pos: record.Pos{Line: out.Line(), Pointer: at + "/Tasks/" + strconv.Itoa(i)}})
	}
	if name == "" {
		return
	}
	out.At(at)
	switch a, ok := address([]byte(s.VIP)); {
	case ok:
		v.Address = netip.AddrPortFrom(a, 0)
		out.Service(v)
	case s.VIP == "" || s.VIP == "<nil>":
		v.Type = "dnsrr" // clients are given the tasks' own addresses
		out.Service(v)
	default:
		out.Problem("expected an address as VIP")
	}
	for i, p := range s.Ports {
		out.At(at + "/Ports/" + strconv.Itoa(i))
		target, published, ok := dockerTargetPublish(p)
		if !ok {
			out.Problem(`expected "Target: port, Publish: port"`)
		} else if published > 0 {
			out.Service(record.Service{Source: record.FromDocker, Mechanism: "docker-swarm", Type: "ingress", Namespace: n.Name, Name: name,
				Address: netip.AddrPortFrom(netip.IPv4Unspecified(), published), TargetPort: target})
		}
	}
}

// dockerTargetPublish reads "Target: 80, Publish: 8080".
func dockerTargetPublish(s string) (target, published uint16, ok bool) {
	a, b, _ := strings.Cut(s, ", ")
	a, ok1 := strings.CutPrefix(a, "Target: ")
	b, ok2 := strings.CutPrefix(b, "Publish: ")
	target, ok3 := port([]byte(a))
	published, ok4 := port([]byte(b))
	return target, published, ok1 && ok2 && ok3 && ok4
}
