package docker

import (
	"context"
	"io"
)

type networkObject struct {
	Name       string
	Id         string
	Created    string `json:",omitempty"`
	Scope      string
	Driver     string
	EnableIPv6 bool
	IPAM       struct {
		Driver string
		Config []struct {
			Subnet             string            `json:",omitempty"`
			IPRange            string            `json:",omitempty"`
			Gateway            string            `json:",omitempty"`
			AuxiliaryAddresses map[string]string `json:",omitempty"`
		}
	}
	Internal   bool
	Attachable bool
	Ingress    bool
	ConfigFrom struct{ Network string }
	ConfigOnly bool
	Containers map[string]struct{ Name, EndpointID, MacAddress, IPv4Address, IPv6Address string }
	Options    map[string]string
	Labels     labels
	Peers      []struct{ Name, IP string } `json:",omitempty"`
	Services   map[string]*networkService  `json:",omitempty"`
}

type networkService struct {
	VIP          string
	Ports        []string
	LocalLBIndex int
	Tasks        []struct {
		Name, EndpointID, EndpointIP string
		Info                         map[string]string
	}
}

// goodOptions are those of docker's own network drivers that tell how packets
// go. A driver from elsewhere may take a password as an option.
var goodOptions = map[string]bool{
	"com.docker.network.driver.overlay.vxlanid_list": true, "com.docker.network.driver.mtu": true, "encrypted": true,
	"com.docker.network.bridge.default_bridge": true, "com.docker.network.bridge.enable_icc": true,
	"com.docker.network.bridge.enable_ip_masquerade": true, "com.docker.network.bridge.gateway_mode_ipv4": true,
	"com.docker.network.bridge.gateway_mode_ipv6": true, "com.docker.network.bridge.host_binding_ipv4": true,
	"com.docker.network.bridge.name": true, "com.docker.network.host_ipv4": true, "com.docker.network.host_ipv6": true,
	"com.docker.network.enable_ipv4": true, "com.docker.network.enable_ipv6": true,
	"parent": true, "macvlan_mode": true, "ipvlan_mode": true, "ipvlan_flag": true,
}

func (n *networkObject) clean() {
	n.Labels = n.Labels.clean()
	options := map[string]string{}
	for k, v := range n.Options {
		if goodOptions[k] {
			options[k] = v
		}
	}
	n.Options = options
	for _, s := range n.Services {
		if s == nil {
			continue
		}
		for i := range s.Tasks {
			info := map[string]string{}
			if host, ok := s.Tasks[i].Info["Host IP"]; ok {
				info["Host IP"] = host
			}
			s.Tasks[i].Info = info
		}
	}
}

// Networks is docker network inspect -v of all networks.
func (c *Client) Networks(ctx context.Context) (io.Reader, error) {
	all, err := each[struct{ Id string }](ctx, c, "/networks")
	if err != nil {
		return nil, err
	}
	ids, err := names(all, func(n struct{ Id string }) string { return n.Id })
	if err != nil {
		return nil, err
	}
	return c.list(ids, func(id string) (any, error) {
		var o networkObject
		err := c.get(ctx, "/networks/"+id+"?verbose=true", &o)
		o.clean()
		return &o, err
	}), nil
}
