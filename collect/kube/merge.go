package kube

import (
	"errors"
	"io"
	"strings"

	"whichbackend/collect/bundle"
)

// partLimits bound the bundle that a node sends: it is as untrusted as any.
var partLimits = bundle.Limits{Entries: 100_000, EntrySize: 1 << 30, TotalSize: 8 << 30}

// merge puts the bundle of a node into this one, below the folder that the node
// has here, whatever its host calls itself. It gives why that brought nothing.
func (r *recorder) merge(node string, s *spool) (because, detail string) {
	m, wrapper, err := r.survey(node, s)
	if err != nil {
		return failed, "what it sent is no bundle: " + plain(err.Error())
	}
	if m == nil {
		return failed, "what it sent is no bundle of a collector: it has no manifest"
	}
	said := map[string]bundle.Artifact{}
	for _, a := range m.Artifacts {
		said[a.Path] = a
	}
	names := map[string]string{} // a folder of the part, and that of this bundle
	for _, a := range m.Artifacts {
		if first, _, ok := strings.Cut(a.Path, "/"); ok && first != "cluster" {
			names[first] = folder(node)
		}
	}
	in, err := bundle.Open("-", s.reader(), partLimits)
	if err != nil {
		return failed, plain(err.Error())
	}
	defer in.Close()
	for {
		e, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return failed, plain(err.Error())
		}
		p := strings.TrimPrefix(strings.TrimPrefix(e.Path, wrapper), "/")
		first, rest, ok := strings.Cut(p, "/")
		a, listed := said[p]
		if !ok || !listed || names[first] == "" {
			continue // a cluster's objects are recorded already, and without secrets
		}
		a.Path = names[first] + "/" + rest
		if a.Host != "" {
			a.Host = node
		}
		r.add(a, e)
	}
	r.adopt(node, m)
	return "", ""
}

// survey reads a part once to its end: only then are its manifest and its
// wrapping folder certain.
func (r *recorder) survey(node string, s *spool) (*bundle.Manifest, string, error) {
	in, err := bundle.Open("-", s.reader(), partLimits)
	if err != nil {
		return nil, "", err
	}
	defer in.Close()
	for {
		_, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, "", err
		}
	}
	for _, w := range in.Warnings() {
		r.warn(node + ": " + plain(w))
	}
	if d := in.Damaged(); d != nil {
		r.missing(node, "the end of what the pod on the node sent", failed, plain(d.Error()))
	}
	return in.Manifest(), in.Wrapper(), nil
}

// adopt takes over what a part's manifest says of its host.
func (r *recorder) adopt(node string, m *bundle.Manifest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range m.Hosts {
		own := h.Name
		h.Name = node
		for i := range h.Namespaces {
			for j := range h.Namespaces[i].Owners {
				if o := &h.Namespaces[i].Owners[j]; o.Kind == "host" && o.Name == own {
					o.Name = node
				}
			}
		}
		for i := range r.m.Hosts {
			if r.m.Hosts[i].Name == node {
				r.m.Hosts[i] = h
			}
		}
	}
	for _, x := range m.Missing {
		x.Host, x.What, x.Detail = node, plain(x.What), plain(x.Detail)
		r.m.Missing = append(r.m.Missing, x)
	}
}
