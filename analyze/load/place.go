package load

import (
	"strings"

	"whichbackend/analyze/parse"
	"whichbackend/analyze/record"
	"whichbackend/collect/bundle"
)

// place gives artifacts their path below the wrapping folder and their scope.
func (f *filler) place(artifacts []*record.Artifact, wrapper string, m *bundle.Manifest) {
	said := map[string]*bundle.Artifact{}
	namespaces := map[string]*bundle.Namespace{}
	if m != nil {
		for i := range m.Artifacts {
			said[m.Artifacts[i].Path] = &m.Artifacts[i]
		}
		for _, h := range m.Hosts {
			for i := range h.Namespaces {
				n := &h.Namespaces[i]
				namespaces[h.Name+"/"+string(n.ID)] = n
			}
		}
	}
	for _, a := range artifacts {
		a.Path = strings.TrimPrefix(strings.TrimPrefix(a.Path, wrapper), "/")
		a.Scope = parse.ScopeOfPath(a.Path)
		if m != nil {
			a.Recorded = m.Created
		}
		x := said[a.Path]
		if x == nil {
			continue
		}
		a.Truncated = a.Truncated || x.Truncated
		if !x.Started.IsZero() {
			a.Recorded = x.Started
		}
		if x.Host != "" {
			a.Scope = scopeOfManifest(x, namespaces[x.Host+"/"+string(x.NetNS)])
		}
	}
}

// scopeOfManifest tells the scope of an artifact from its manifest. A network
// namespace is the host's when the host owns it, whoever else lives there; else
// the pod's or container's that owns it alone; else it has a name of its own.
func scopeOfManifest(a *bundle.Artifact, n *bundle.Namespace) record.Scope {
	if a.NetNS == "" {
		return record.Scope{Host: a.Host, Kind: record.ScopeHost}
	}
	s := record.Scope{Host: a.Host, Kind: record.ScopeNetns, Name: string(a.NetNS)}
	if n == nil {
		return s
	}
	for _, kind := range []string{"host", "node", "pod", "container", "netns"} {
		owner, several := ownerOf(n, kind)
		switch {
		case owner == nil:
			continue
		case kind == "host", kind == "node":
			return record.Scope{Host: a.Host, Kind: record.ScopeHost}
		case several:
			return s
		case kind == "pod" && owner.Namespace != "":
			return record.Scope{Host: a.Host, Kind: record.ScopePod, Namespace: owner.Namespace, Name: owner.Name}
		case kind == "container":
			return record.Scope{Host: a.Host, Kind: record.ScopeContainer, Name: owner.Name}
		case kind == "netns":
			s.Name = owner.Name
		}
	}
	return s
}

// ownerOf gives the first owner of a kind, and whether there is another one.
func ownerOf(n *bundle.Namespace, kind string) (first *bundle.Owner, several bool) {
	for i := range n.Owners {
		o := &n.Owners[i]
		switch {
		case o.Kind != kind:
		case first == nil:
			first = o
		case o.Namespace != first.Namespace || o.Name != first.Name:
			several = true
		}
	}
	return first, several
}

// scopes puts together what the place of an artifact and its own text say.
func (f *filler) scopes(sections []*record.Section) {
	for _, s := range sections {
		s.Scope = parse.MergeScopes(f.artifacts[s.Artifact-1].Scope, s.Scope)
	}
}
