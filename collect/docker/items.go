package docker

import (
	"context"
	"io"
)

// Item is one file that the daemon's answers make.
type Item struct {
	Name    string   // of the file in a bundle, without .txt
	Command []string // what prints the same
	Why     string
	Open    func(*Client, context.Context) (io.Reader, error)
}

// Items are all files, in the order in which to record them. Those of a swarm
// end with ErrNoSwarm anywhere but on its managers.
func Items() []Item {
	return []Item{
		{"docker-ps", []string{"docker", "ps", "--no-trunc"}, "The containers that run here, without their command lines.", (*Client).Ps},
		{"docker-inspect", []string{"docker", "inspect"}, "Which container has which address, process and namespace; no environment, no command line.", (*Client).Containers},
		{"docker-network-inspect", []string{"docker", "network", "inspect", "-v"}, "Swarm's services, their virtual addresses and tasks, also those on other hosts.", (*Client).Networks},
		{"docker-node-ls", []string{"docker", "node", "ls"}, "The nodes of the Swarm, and which is down.", (*Client).NodeTable},
		{"docker-node-inspect", []string{"docker", "node", "inspect"}, "The addresses of the Swarm's nodes, which packets between hosts carry.", (*Client).Nodes},
		{"docker-service-ls", []string{"docker", "service", "ls"}, "The services of the Swarm with their published ports.", (*Client).ServiceTable},
		{"docker-service-inspect", []string{"docker", "service", "inspect"}, "The virtual addresses of the Swarm's services on every network; no environment, no arguments.", (*Client).Services},
		{"docker-task-inspect", []string{"docker", "inspect", "--type", "task"}, "Which task runs on which node under which address, also on other hosts.", (*Client).Tasks},
	}
}
