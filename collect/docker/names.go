package docker

import (
	"context"
	"strings"

	"whichbackend/collect/bundle"
)

// Container is what docker knows of a container that runs: whose network
// namespace is whose.
type Container struct {
	Name        string
	PID         int
	NetNS       string // the file of its network namespace, as /var/run/docker/netns/2363dda8e72d
	NetworkMode string // default, host, none, a network's name, or container:ID
	// The pod that it is part of; "" outside Kubernetes. Sandbox tells that it
	// merely holds the pod's namespaces.
	Pod, Namespace, PodContainer string
	Sandbox                      bool
}

// Shares tells that its network namespace is another's: the host's, or that of
// another container.
func (c Container) Shares() bool {
	return c.NetworkMode == "host" || strings.HasPrefix(c.NetworkMode, "container:")
}

// Owner is the container as the owner of a network namespace.
func (c Container) Owner() bundle.Owner {
	if c.Pod == "" {
		return bundle.Owner{Kind: "container", Name: c.Name, PID: c.PID}
	}
	o := bundle.Owner{Kind: "pod", Namespace: c.Namespace, Name: c.Pod, Container: c.PodContainer, PID: c.PID}
	if c.Sandbox {
		o.Container = ""
	}
	return o
}

// Names gives the containers that run, by their ids.
func (c *Client) Names(ctx context.Context) (map[string]Container, error) {
	ids, err := c.running(ctx)
	if err != nil {
		return nil, err
	}
	names := map[string]Container{}
	for _, id := range ids {
		var full containerObject
		if err := c.get(ctx, "/containers/"+id+"/json", &full); err != nil {
			if isGone(err) {
				continue
			}
			return nil, err
		}
		labels := full.Config.Labels
		names[id] = Container{
			Name: strings.TrimPrefix(full.Name, "/"), PID: full.State.Pid,
			NetNS: full.NetworkSettings.SandboxKey, NetworkMode: full.HostConfig.NetworkMode,
			Pod: labels["io.kubernetes.pod.name"], Namespace: labels["io.kubernetes.pod.namespace"],
			PodContainer: labels["io.kubernetes.container.name"], Sandbox: labels["io.kubernetes.docker.type"] == "podsandbox",
		}
	}
	return names, nil
}
