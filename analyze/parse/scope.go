package parse

import (
	"strings"

	"whichbackend/analyze/record"
)

// ScopeOfPath tells where an artifact is true from the folders that it lies
// in: the first is the host, then pods/NAMESPACE/POD, containers/NAME or
// netns/NAME the network namespace; a first folder cluster holds API objects.
// Other folders below a scope mean nothing.
func ScopeOfPath(path string) record.Scope {
	dirs := strings.Split(path, "/")
	dirs = dirs[:len(dirs)-1]
	if len(dirs) == 0 {
		return record.Scope{Kind: record.ScopeHost}
	}
	if dirs[0] == "cluster" {
		return record.Scope{Kind: record.ScopeCluster}
	}
	s := record.Scope{Host: dirs[0], Kind: record.ScopeHost}
	switch dirs[0] {
	case "pods", "containers", "netns": // one unnamed host
		s.Host = ""
		dirs = append([]string{""}, dirs...)
	}
	if len(dirs) > 3 && dirs[1] == "pods" {
		s.Kind, s.Namespace, s.Name = record.ScopePod, dirs[2], dirs[3]
	} else if len(dirs) > 2 && dirs[1] == "containers" {
		s.Kind, s.Name = record.ScopeContainer, dirs[2]
	} else if len(dirs) > 2 && dirs[1] == "netns" {
		s.Kind, s.Name = record.ScopeNetns, dirs[2]
	}
	return s
}

// MergeScopes puts what a transcript says of a command's scope over what the path
// says of the artifact. A transcript that runs docker exec on a host that the
// path names is true in the container on that host.
func MergeScopes(path, said record.Scope) record.Scope {
	switch {
	case said == (record.Scope{}):
		return path
	case said.Kind == record.ScopeHost:
		if said.Host == "" {
			return path
		}
		if path.Kind != record.ScopeHost {
			return path // a prompt inside a container shows the container's name
		}
		if path.Host != "" {
			said.Host = path.Host
		}
		return said
	case said.Kind == record.ScopeCluster:
		return said
	}
	if path.Host != "" && path.Kind != record.ScopeCluster && said.Kind != record.ScopePod {
		said.Host = path.Host
	}
	if said.Kind == record.ScopePod && said.Name == "" {
		return record.Scope{Kind: record.ScopeCluster}
	}
	return said
}
