package parse

import (
	"encoding/json"
	"errors"
	"net/netip"
	"path"
	"sort"
	"strconv"
	"strings"

	"whichbackend/analyze/record"
)

// Documents of the docker client: docker inspect, docker network inspect (also
// -v), docker service inspect, docker node inspect, and the lines of --format
// json. From docker inspect of docker 20.10.24, cut:
//
//	[{"Id": "5191d768e002...", "State": {"Status": "running", "Pid": 949}, "Name": "/demo_nginx.1.jvb32ms9e07dulirsqld1cvoi",
//	  "NetworkSettings": {"SandboxKey": "/var/run/docker/netns/893adf566ad0", "Networks": {"ingress": {"IPAddress": "10.0.0.4"}}}}]
//
// docker inspect takes any objects together, so every element is told apart by
// its own keys.
var dockerFormat = Format{Name: "docker", Claim: dockerClaim, Doc: dockerDoc}

// dockerObject is one kind of object, told by keys that only it has together.
type dockerObject struct {
	keys []string
	read func(raw []byte, at string, out *Out)
}

var dockerObjects = []dockerObject{
	{[]string{"Id", "State", "NetworkSettings", "Config"}, dockerContainer},
	{[]string{"Name", "Id", "IPAM", "Driver"}, dockerNetwork},
	{[]string{"ID", "Spec", "Endpoint"}, dockerService},
	{[]string{"ID", "ServiceID", "DesiredState", "Status"}, dockerTask},
	{[]string{"ID", "Spec", "Description", "Status"}, dockerNode},
	{[]string{"Id", "Names", "Pid", "Ports"}, dockerPodmanPs},
	{[]string{"ID", "Names", "Image", "Status"}, dockerPsLine},
	{[]string{"ID", "Hostname", "Availability"}, dockerNodeLine},
	{[]string{"ID", "Name", "Mode", "Replicas"}, dockerServiceLine},
	{[]string{"ID", "Name", "Node", "CurrentState"}, dockerTaskLine},
	{[]string{"ID", "Name", "Driver", "Scope"}, dockerNetworkLine},
}

func dockerObjectOf(d *Doc) *dockerObject {
	for i := range dockerObjects {
		if d.Has(dockerObjects[i].keys...) {
			return &dockerObjects[i]
		}
	}
	return nil
}

func dockerClaim(d *Doc) bool {
	if d.IsArray() {
		if d = d.First(); d == nil {
			return false
		}
	}
	return dockerObjectOf(d) != nil
}

func dockerDoc(d *Doc, out *Out) {
	if !d.IsArray() {
		dockerObjectOf(d).read(d.Raw, "", out)
		return
	}
	for i, raw := range d.Elements() {
		at := "/" + strconv.Itoa(i)
		var object map[string]json.RawMessage
		json.Unmarshal(raw, &object)
		if o := dockerObjectOf(&Doc{object: object}); o != nil {
			o.read(raw, at, out)
			continue
		}
		out.At(at)
		out.Problem("expected a container, network, service or node")
	}
}

// dockerDecode decodes an object. A field of another type than expected is a
// problem, and the others are there all the same.
func dockerDecode(raw []byte, v any, at string, out *Out) {
	err := json.Unmarshal(raw, v)
	if err == nil {
		return
	}
	why := "the object does not decode"
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		why = "field " + wrong.Field + " is a " + wrong.Value + ", not what was expected"
	}
	out.At(at)
	out.Problem(why)
}

// dockerKeys are the keys of a map in their order, so that records come in the
// same order every time.
func dockerKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// dockerNetns names the network namespace in a path. /proc/PID/ns/net has no
// name of its own: it is the process that tells the namespace.
func dockerNetns(file string) string {
	if file == "" || strings.HasPrefix(file, "/proc/") {
		return ""
	}
	return path.Base(file)
}

type dockerBinding struct{ HostIp, HostPort string }

type dockerContainerObject struct {
	Id, Name string
	State    struct {
		Status  string
		Running bool
		Pid     int
	}
	Node       struct{ Name string } // the old standalone swarm
	HostConfig struct{ NetworkMode string }
	Config     struct{ Labels map[string]string }

	NetworkSettings struct {
		SandboxKey        string
		IPAddress         string
		GlobalIPv6Address string
		Gateway           string
		Ports             map[string][]dockerBinding
		Networks          map[string]*dockerEndpoint
	}
}

type dockerEndpoint struct {
	IPAddress, GlobalIPv6Address string
	Gateway, IPv6Gateway         string
}

func dockerContainer(raw []byte, at string, out *Out) {
	var c dockerContainerObject
	dockerDecode(raw, &c, at, out)
	o := record.Owner{Kind: record.OwnerContainer, Name: strings.TrimPrefix(c.Name, "/"), ContainerID: c.Id, PID: max(c.State.Pid, 0),
		Host: c.Node.Name, State: strings.ToLower(c.State.Status), Netns: dockerNetns(c.NetworkSettings.SandboxKey),
		HostNetwork: c.HostConfig.NetworkMode == "host", Workload: c.Config.Labels["com.docker.swarm.service.name"]}
	if o.State == "" && c.State.Running {
		o.State = "running"
	}
	if o.Workload == "" {
		o.Workload = dockerServiceOf(o.Name)
	}
	n := &c.NetworkSettings
	if len(n.Networks) == 0 && n.IPAddress != "" { // docker before 1.9, and podman's default network
		n.Networks = map[string]*dockerEndpoint{"": {IPAddress: n.IPAddress, GlobalIPv6Address: n.GlobalIPv6Address, Gateway: n.Gateway}}
	}
	found := false
	var backends []netip.Addr
	for _, name := range dockerKeys(n.Networks) {
		e := n.Networks[name]
		if e == nil {
			continue
		}
		for _, field := range []struct{ key, text, gateway string }{
			{"IPAddress", e.IPAddress, e.Gateway}, {"GlobalIPv6Address", e.GlobalIPv6Address, e.IPv6Gateway}} {
			if field.text == "" {
				continue
			}
			where := at + "/NetworkSettings/Networks/" + pointerToken(name) + "/"
			if name == "" {
				where = at + "/NetworkSettings/"
			}
			out.At(where + field.key)
			a, ok := address([]byte(field.text))
			if !ok {
				out.Problem("expected an IP address")
				continue
			}
			found = true
			if e.Gateway != "" || e.IPv6Gateway != "" {
				backends = append(backends, a)
			}
			w := o
			w.Address, w.Namespace = a, name
			out.Owner(w)
		}
	}
	if !found {
		out.At(at)
		out.Owner(o)
	}
	dockerContainerPorts(n.Ports, o.Name, backends, at+"/NetworkSettings/Ports/", out)
}

// dockerContainerPorts emits the published ports of a container. What they
// lead to is its address on a network with a gateway, a bridge: an overlay has
// none, and a Swarm task publishes through docker_gwbridge, whose addresses
// docker inspect does not tell.
func dockerContainerPorts(ports map[string][]dockerBinding, name string, backends []netip.Addr, at string, out *Out) {
	for _, key := range dockerKeys(ports) {
		low, _, proto, ok := dockerPortRange(key)
		for i, b := range ports[key] {
			out.At(at + pointerToken(key) + "/" + strconv.Itoa(i))
			p, ok2 := number([]byte(b.HostPort))
			host := netip.IPv4Unspecified()
			ok3 := true
			if b.HostIp != "" {
				host, ok3 = address([]byte(b.HostIp))
			}
			if !ok || !ok2 || !ok3 || p > 65535 {
				out.Problem("expected a published port: port/protocol, HostIp and HostPort")
				continue
			}
			s := record.Service{Source: record.FromDocker, Mechanism: "docker", Type: "published", Protocol: proto, Name: name,
				Address: netip.AddrPortFrom(host, uint16(p)), TargetPort: uint16(low)}
			for _, a := range backends {
				// An IPv6 host address may lead to an IPv4 container (through
				// docker-proxy), but only when there is no IPv6 one.
				if a.Is4() != host.Is4() && dockerHasFamily(backends, host.Is4()) {
					continue
				}
				s.Backends = append(s.Backends, record.Backend{Address: netip.AddrPortFrom(a, uint16(low)), Weight: -1, Active: -1, Name: name})
			}
			s.Complete = len(s.Backends) > 0
			out.Service(s)
		}
	}
}

func dockerHasFamily(addrs []netip.Addr, v4 bool) bool {
	for _, a := range addrs {
		if a.Is4() == v4 {
			return true
		}
	}
	return false
}
