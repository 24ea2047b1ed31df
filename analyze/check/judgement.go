package check

import (
	"net/netip"

	"whichbackend/analyze/record"
)

// judgement is what all choices of a case are held against.
type judgement struct {
	k      *Case
	nodes  map[string]bool // of the cluster, by name
	pods   map[string]bool // namespaces of which every pod is listed; "": of all
	near   map[netip.Prefix]bool
	docker map[string]bool // hosts of which every container is listed
	named  map[netip.Addr]bool
	range4 netip.Prefix // in which Kubernetes' service addresses lie
}

func (k *Case) judgeOf() *judgement {
	j := &judgement{k: k, nodes: map[string]bool{}, pods: map[string]bool{}, near: map[netip.Prefix]bool{}, docker: map[string]bool{}, named: map[netip.Addr]bool{}}
	sections := map[int]map[string]bool{} // namespaces of the pods in a listing with addresses
	for _, o := range k.Owners() {
		switch {
		case o.Kind == record.OwnerNode:
			j.nodes[o.Name] = true
		case o.Kind == record.OwnerPod && o.Host != "":
			j.nodes[o.Host] = true
		}
		if !o.Address.IsValid() || o.HostNetwork {
			continue
		}
		if o.Kind == record.OwnerPod || o.Kind == record.OwnerContainer {
			j.near[vicinity(o.Address)] = true
		}
		s := k.Section(o.Section)
		switch {
		case s == nil || s.Unknown > 0:
		case o.Kind == record.OwnerPod && s.Scope.Kind == record.ScopeCluster:
			if sections[o.Section] == nil {
				sections[o.Section] = map[string]bool{}
			}
			sections[o.Section][o.Namespace] = true
		case o.Kind == record.OwnerContainer && s.Scope.Kind == record.ScopeHost:
			j.docker[s.Scope.Host] = true
		}
	}
	for _, namespaces := range sections {
		for n := range namespaces {
			j.pods[n] = true
		}
		if len(namespaces) > 1 {
			j.pods[""] = true
		}
	}
	j.readServices()
	return j
}

// readServices notes every address that a listing calls a service's, and the
// range of Kubernetes' own.
func (j *judgement) readServices() {
	for _, l := range j.k.Services() {
		a := l.Address.Addr()
		if !a.IsValid() {
			continue
		}
		j.named[a] = true
		if l.Source != record.FromKubernetes || l.Type != "ClusterIP" || !a.Is4() {
			continue
		}
		switch {
		case !j.range4.IsValid():
			j.range4 = netip.PrefixFrom(a, a.BitLen())
		default:
			for !j.range4.Contains(a) {
				j.range4 = netip.PrefixFrom(j.range4.Addr(), j.range4.Bits()-1).Masked()
			}
		}
	}
}

// vicinity is the network in which addresses of one cluster's pods lie.
func vicinity(a netip.Addr) netip.Prefix {
	bits := 48
	if a.Is4() {
		bits = 16
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
