package parse

import (
	"net/netip"
	"strconv"
	"strings"

	"whichbackend/analyze/record"
)

// The lines of --format json hold the cells of the tables (docker 28.2.2):
//
//	{"Availability":"Active","Hostname":"alpha","ID":"0123...","ManagerStatus":"Leader","Self":true,"Status":"Ready"}
func dockerPsLine(raw []byte, at string, out *Out) {
	var c struct{ ID, Names, Labels, Networks, Ports, State, Status string }
	dockerDecode(raw, &c, at, out)
	out.At(at)
	cells := dockerCells{"CONTAINER ID": c.ID, "NAMES": c.Names, "STATE": c.State, "STATUS": c.Status, "NETWORKS": c.Networks,
		"PORTS": c.Ports, "LABELS": c.Labels}
	if why := dockerPsEmit(cells, out); why != "" {
		out.Problem(why)
	}
}

func dockerNodeLine(raw []byte, at string, out *Out) {
	var n struct{ Hostname, Status string }
	dockerDecode(raw, &n, at, out)
	out.At(at)
	if why := dockerNodeEmit(dockerCells{"HOSTNAME": n.Hostname, "STATUS": n.Status}, out); why != "" {
		out.Problem(why)
	}
}

func dockerServiceLine(raw []byte, at string, out *Out) {
	var s struct{ Name, Ports string }
	dockerDecode(raw, &s, at, out)
	out.At(at)
	if why := dockerServiceEmit(dockerCells{"NAME": s.Name, "PORTS": s.Ports}, out); why != "" {
		out.Problem(why)
	}
}

func dockerTaskLine(raw []byte, at string, out *Out) {
	var t struct{ ID, Name, Node, CurrentState string }
	dockerDecode(raw, &t, at, out)
	out.At(at)
	if why := dockerTaskEmit(dockerCells{"ID": t.ID, "NAME": t.Name, "NODE": t.Node, "CURRENT STATE": t.CurrentState}, out); why != "" {
		out.Problem(why)
	}
}

func dockerNetworkLine([]byte, string, *Out) {} // names no address

// dockerPodmanPs reads an element of podman ps --format json, whose Ports are
// objects, and which tells the process.
func dockerPodmanPs(raw []byte, at string, out *Out) {
	var c struct {
		Id, State string
		Names     []string
		Pid       int
		Ports     []struct {
			HostIP        string `json:"host_ip"`
			ContainerPort uint16 `json:"container_port"`
			HostPort      uint16 `json:"host_port"`
			Range         uint16 `json:"range"`
			Protocol      string `json:"protocol"`
		}
	}
	dockerDecode(raw, &c, at, out)
	out.At(at)
	name := dockerFirstName(strings.Join(c.Names, ","))
	out.Owner(record.Owner{Kind: record.OwnerContainer, Name: name, ContainerID: c.Id, PID: max(c.Pid, 0), State: strings.ToLower(c.State)})
	left := dockerMaxPorts
	for i, p := range c.Ports {
		out.At(at + "/Ports/" + strconv.Itoa(i))
		host, ok := netip.IPv4Unspecified(), true
		if p.HostIP != "" {
			host, ok = address([]byte(p.HostIP))
		}
		proto, ok2 := protocolNumber(p.Protocol)
		n := max(int(p.Range), 1)
		if !ok || !ok2 || int(p.HostPort)+n > 65536 || int(p.ContainerPort)+n > 65536 {
			out.Problem("expected host_ip, host_port, container_port and protocol")
			continue
		}
		if left -= n; left < 0 {
			out.Problem("too many published ports")
			return
		}
		for j := 0; p.HostPort > 0 && j < n; j++ {
			out.Service(record.Service{Source: record.FromDocker, Mechanism: "docker", Type: "published", Protocol: proto, Name: name,
				Address: netip.AddrPortFrom(host, p.HostPort+uint16(j)), TargetPort: p.ContainerPort + uint16(j)})
		}
	}
}
