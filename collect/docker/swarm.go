package docker

import (
	"context"
	"io"
	"slices"
	"strings"
)

// What a swarm's manager knows. The specifications of services and tasks hold
// environments, arguments, secrets and configurations, and have no place here.

type serviceObject struct {
	ID        string
	CreatedAt string `json:",omitempty"`
	UpdatedAt string `json:",omitempty"`
	Spec      struct {
		Name         string
		TaskTemplate struct {
			ContainerSpec *struct{ Image string } `json:",omitempty"`
			Networks      []attachment            `json:",omitempty"`
		}
		Mode         mode
		Networks     []attachment  `json:",omitempty"`
		EndpointSpec *endpointSpec `json:",omitempty"`
	}
	Endpoint struct {
		Spec       *endpointSpec                      `json:",omitempty"`
		Ports      []port                             `json:",omitempty"`
		VirtualIPs []struct{ NetworkID, Addr string } `json:",omitempty"`
	}
	ServiceStatus *struct{ RunningTasks, DesiredTasks uint64 } `json:",omitempty"`
}

type mode struct {
	Replicated    *struct{ Replicas *uint64 }                        `json:",omitempty"`
	Global        *struct{}                                          `json:",omitempty"`
	ReplicatedJob *struct{ MaxConcurrent, TotalCompletions *uint64 } `json:",omitempty"`
	GlobalJob     *struct{}                                          `json:",omitempty"`
}

type attachment struct {
	Target  string
	Aliases []string `json:",omitempty"`
}

type endpointSpec struct {
	Mode  string `json:",omitempty"`
	Ports []port `json:",omitempty"`
}

type port struct {
	Protocol                  string
	TargetPort, PublishedPort uint16
	PublishMode               string
}

func (c *Client) services(ctx context.Context) ([]*serviceObject, error) {
	all, err := each[*serviceObject](ctx, c, "/services?status=true")
	return present(all), err
}

// Services is docker service inspect of all services of the swarm.
func (c *Client) Services(ctx context.Context) (io.Reader, error) {
	all, err := c.services(ctx)
	if err != nil {
		return nil, err
	}
	return written(all), nil
}

// ServiceTable is docker service ls.
func (c *Client) ServiceTable(ctx context.Context) (io.Reader, error) {
	all, err := c.services(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b *serviceObject) int { return strings.Compare(a.Spec.Name, b.Spec.Name) })
	rows := [][]string{{"ID", "NAME", "MODE", "REPLICAS", "IMAGE", "PORTS"}}
	for _, s := range all {
		image := ""
		if spec := s.Spec.TaskTemplate.ContainerSpec; spec != nil {
			image, _, _ = strings.Cut(spec.Image, "@")
		}
		rows = append(rows, []string{short(s.ID), s.Spec.Name, s.Spec.Mode.String(), s.replicas(), image, ingress(s.Endpoint.Ports)})
	}
	return table(rows), nil
}

type taskObject struct {
	ID        string
	CreatedAt string `json:",omitempty"`
	UpdatedAt string `json:",omitempty"`
	ServiceID string
	Slot      int    `json:",omitempty"`
	NodeID    string `json:",omitempty"`
	Status    struct {
		Timestamp       string `json:",omitempty"`
		State           string `json:",omitempty"`
		ContainerStatus *struct {
			ContainerID string
			PID         int
		} `json:",omitempty"`
		PortStatus struct {
			Ports []port `json:",omitempty"`
		}
	}
	DesiredState        string
	NetworksAttachments []struct {
		Network struct {
			ID   string
			Spec struct{ Name string }
		}
		Addresses []string
	} `json:",omitempty"`
}

// Tasks is docker inspect of all tasks of the swarm, on any node.
func (c *Client) Tasks(ctx context.Context) (io.Reader, error) {
	all, err := each[*taskObject](ctx, c, "/tasks")
	if err != nil {
		return nil, err
	}
	return written(present(all)), nil
}

type nodeObject struct {
	ID        string
	CreatedAt string `json:",omitempty"`
	UpdatedAt string `json:",omitempty"`
	Spec      struct{ Role, Availability string }

	Description struct {
		Hostname string
		Platform struct{ Architecture, OS string }
		Engine   struct{ EngineVersion string }
	}
	Status        struct{ State, Addr string }
	ManagerStatus *struct {
		Leader       bool `json:",omitempty"`
		Reachability string
		Addr         string
	} `json:",omitempty"`
}

func (c *Client) nodes(ctx context.Context) ([]*nodeObject, error) {
	all, err := each[*nodeObject](ctx, c, "/nodes")
	return present(all), err
}

// Nodes is docker node inspect of all nodes of the swarm.
func (c *Client) Nodes(ctx context.Context) (io.Reader, error) {
	all, err := c.nodes(ctx)
	if err != nil {
		return nil, err
	}
	return written(all), nil
}

// NodeTable is docker node ls.
func (c *Client) NodeTable(ctx context.Context) (io.Reader, error) {
	all, err := c.nodes(ctx)
	if err != nil {
		return nil, err
	}
	var info struct{ Swarm struct{ NodeID string } }
	if err := c.get(ctx, "/info", &info); err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b *nodeObject) int {
		return strings.Compare(a.Description.Hostname, b.Description.Hostname)
	})
	rows := [][]string{{"ID", "HOSTNAME", "STATUS", "AVAILABILITY", "MANAGER STATUS", "ENGINE VERSION"}}
	for _, n := range all {
		id := n.ID
		if id == info.Swarm.NodeID {
			id += " *"
		}
		rows = append(rows, []string{id, n.Description.Hostname, title(n.Status.State), title(n.Spec.Availability), n.manager(), n.Description.Engine.EngineVersion})
	}
	return table(rows), nil
}
