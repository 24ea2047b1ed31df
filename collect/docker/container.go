package docker

import (
	"context"
	"io"
	"strings"
)

// The types below are all that is kept of an answer. They are written in the
// order and with the names of docker inspect.

type containerObject struct {
	Id      string
	Created string `json:",omitempty"`
	State   struct {
		Status    string
		Running   bool
		Pid       int
		StartedAt string
	}
	Name       string
	HostConfig struct{ NetworkMode string }
	Config     struct{ Labels labels }

	NetworkSettings struct {
		SandboxID              string
		SandboxKey             string
		Ports                  map[string][]binding
		Gateway                string `json:",omitempty"`
		GlobalIPv6Address      string `json:",omitempty"`
		GlobalIPv6PrefixLen    int    `json:",omitempty"`
		IPAddress              string `json:",omitempty"`
		IPPrefixLen            int    `json:",omitempty"`
		IPv6Gateway            string `json:",omitempty"`
		MacAddress             string `json:",omitempty"`
		SecondaryIPAddresses   []addr `json:",omitempty"`
		SecondaryIPv6Addresses []addr `json:",omitempty"`
		Networks               map[string]*endpoint
	}
}

type binding struct{ HostIp, HostPort string }

type addr struct {
	Addr      string
	PrefixLen int
}

type endpoint struct {
	IPAMConfig *struct {
		IPv4Address  string   `json:",omitempty"`
		IPv6Address  string   `json:",omitempty"`
		LinkLocalIPs []string `json:",omitempty"`
	}
	Links               []string
	Aliases             []string
	NetworkID           string
	EndpointID          string
	Gateway             string
	IPAddress           string
	IPPrefixLen         int
	IPv6Gateway         string
	GlobalIPv6Address   string
	GlobalIPv6PrefixLen int
	MacAddress          string
	DNSNames            []string `json:",omitempty"`
}

// labels drops all but those which docker and Kubernetes themselves write:
// people put tokens into labels.
type labels map[string]string

var goodLabels = map[string]bool{
	"com.docker.swarm.node.id": true, "com.docker.swarm.service.id": true, "com.docker.swarm.service.name": true,
	"com.docker.swarm.task": true, "com.docker.swarm.task.id": true, "com.docker.swarm.task.name": true,
	"io.kubernetes.pod.name": true, "io.kubernetes.pod.namespace": true, "io.kubernetes.pod.uid": true,
	"io.kubernetes.container.name": true, "io.kubernetes.docker.type": true, "io.kubernetes.sandbox.id": true,
}

func (l labels) clean() labels {
	kept := labels{}
	for k, v := range l {
		if goodLabels[k] {
			kept[k] = v
		}
	}
	return kept
}

// summary is a row of docker ps. It has no command.
type summary struct {
	Id      string
	Names   []string
	Image   string
	Created int64
	Status  string
	Ports   []published
}

type published struct {
	IP                      string
	PrivatePort, PublicPort int
	Type                    string
}

func (c *Client) summaries(ctx context.Context) ([]summary, error) {
	return each[summary](ctx, c, "/containers/json")
}

// running gives the ids of the containers that run.
func (c *Client) running(ctx context.Context) ([]string, error) {
	all, err := c.summaries(ctx)
	if err != nil {
		return nil, err
	}
	return names(all, func(s summary) string { return s.Id })
}

// Containers is docker inspect of all containers that run.
func (c *Client) Containers(ctx context.Context) (io.Reader, error) {
	ids, err := c.running(ctx)
	if err != nil {
		return nil, err
	}
	return c.list(ids, func(id string) (any, error) {
		var o containerObject
		err := c.get(ctx, "/containers/"+id+"/json", &o)
		o.Config.Labels = o.Config.Labels.clean()
		return &o, err
	}), nil
}

// Ps is docker ps without the command lines.
func (c *Client) Ps(ctx context.Context) (io.Reader, error) {
	all, err := c.summaries(ctx)
	if err != nil {
		return nil, err
	}
	rows := [][]string{{"CONTAINER ID", "IMAGE", "CREATED AT", "STATUS", "PORTS", "NAMES"}}
	for _, s := range all {
		var names []string
		for _, n := range s.Names {
			names = append(names, strings.TrimPrefix(n, "/"))
		}
		rows = append(rows, []string{s.Id, s.Image, moment(s.Created), s.Status, ports(s.Ports), strings.Join(names, ",")})
	}
	return table(rows), nil
}
