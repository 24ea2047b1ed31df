package parse

import (
	"bytes"
	"strings"

	"whichbackend/analyze/record"
)

// docker info and docker version (docker 20.10.24), ctr version:
//
//	Client:
//	 Version:           20.10.24+dfsg1
//	...
//	  Node Address: 10.99.0.1
//	...
//	 Name: swarm1
//
// Of all this, only the address that a Swarm node is known by is of use.
var dockerInfoFormat = Format{Name: "docker-info", Head: dockerInfoHead, Open: dockerInfoOpen}

func dockerInfoHead(line []byte) bool {
	return string(line) == "Client:" || bytes.HasPrefix(line, []byte("Client: Docker "))
}

func dockerInfoOpen(out *Out) (func([]byte), func()) {
	node := record.Owner{Kind: record.OwnerNode}
	return func(b []byte) {
		line := strings.TrimSpace(string(b))
		key, value, ok := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch {
		case line == "":
		case key == "Server Version":
			out.Tool("docker " + value)
			out.Understood()
		case key == "Node Address":
			a, ok := address([]byte(value))
			if !ok {
				out.Problem("expected an IP address")
				return
			}
			node.Address, node.Line = a, out.Line()
			out.Understood()
		case key == "Name" && node.Line > 0:
			node.Name, node.Host = value, value
			out.Owner(node)
			node.Line = 0
		case ok || b[0] == ' ' || dockerInfoHead([]byte(line)):
			out.Ignore()
		default:
			out.Problem("expected a line of docker info or docker version")
		}
	}, nil
}
