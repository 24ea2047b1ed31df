package check

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"whichbackend/analyze/record"
	"whichbackend/analyze/resolve"
)

// moment bounds how far apart two listings may be and still be held against
// each other.
const moment = 2 * time.Minute

// plane is what the control plane (Kubernetes endpoints, the tasks of a Swarm
// service) says of the backends behind one address.
type plane struct {
	party    resolve.Party
	known    map[netip.AddrPort]bool // every backend listed, in whatever state
	ready    map[netip.AddrPort]bool // those that no listing calls otherwise
	hosts    map[netip.AddrPort]string
	complete bool // nothing is left out
	states   bool // backends that are not ready are listed too
	local    bool // a node may choose from its own backends only
	partial  bool // a node may choose from some of the backends only, or nothing tells that it may not
	at       []record.Pos
}

// whole tells a listing of endpoints that is known to be all of a service's:
// one of several slices may be an object of its own.
func whole(at record.Pos) bool {
	return at.Pointer == "" || strings.HasPrefix(at.Pointer, "/items/") || strings.Contains(at.Pointer, "/subsets/")
}

// kubernetes is what the API objects say of the backends behind an address as
// a node sees it, nil when they say nothing that is complete.
func (k *Case) kubernetes(dst netip.AddrPort, p record.Protocol, host string, hints map[string]bool) *plane {
	out := newPlane()
	slice := false
	for _, l := range k.Listings(dst, p, host) {
		if l.Source != record.FromKubernetes {
			out.local = out.local || l.Local
			continue
		}
		out.party = l.Party
		out.local = out.local || l.Local
		out.complete = out.complete || l.Complete && whole(l.At)
		out.states = out.states || l.At.Pointer != "" && !strings.Contains(l.At.Pointer, "/subsets/")
		slice = slice || strings.Contains(l.At.Pointer, "/ports/") && !strings.Contains(l.At.Pointer, "/subsets/")
		out.add(l.Backends, l.At)
	}
	out.partial = !slice || hints["service "+out.party.Namespace+"/"+out.party.Name]
	if out.party.Name == "" || !out.complete {
		return nil
	}
	return out
}

func newPlane() *plane {
	return &plane{known: map[netip.AddrPort]bool{}, ready: map[netip.AddrPort]bool{}, hosts: map[netip.AddrPort]string{}}
}

func (p *plane) add(list []record.Backend, at record.Pos) {
	p.at = append(p.at, at)
	for _, b := range list {
		ready, seen := p.ready[b.Address]
		p.known[b.Address] = true
		p.ready[b.Address] = b.State == "" && (ready || !seen)
		if b.Host != "" {
			p.hosts[b.Address] = b.Host
		}
	}
}

// serving are the backends that take new connections, in order.
func (p *plane) serving() []netip.AddrPort {
	var out []netip.AddrPort
	for a, ready := range p.ready {
		if ready {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, netip.AddrPort.Compare)
	return out
}

// hinted are the services whose endpoints have topology hints.
func (k *Case) hinted() map[string]bool {
	out := map[string]bool{}
	list, err := k.Load.Store.Readings()
	if err != nil {
		k.fail(err)
	}
	for _, r := range list {
		if r.Name == "hints" && k.Current(r.Section) {
			out[r.Subject] = true
		}
	}
	return out
}

// held tells whether a pod or container that still runs has an address, and
// which.
func (k *Case) held(a netip.Addr) (resolve.Held, bool) {
	for _, h := range k.Held(a) {
		if !h.Finished && (h.Kind == "pod" || h.Kind == "container") {
			return h, true
		}
	}
	return resolve.Held{}, false
}

// older tells whether a table was recorded before what it is held against, and
// whether both may be held against each other at all.
func (k *Case) older(table, plane []record.Pos) (older, comparable bool) {
	for _, t := range table {
		for _, p := range plane {
			a, b := k.Recorded(t.Section), k.Recorded(p.Section)
			if a.IsZero() || b.IsZero() {
				continue
			}
			if a.Sub(b).Abs() > moment {
				return false, false
			}
			older = older || a.Before(b)
		}
	}
	return older, true
}

// softer is the next better severity.
func softer(s Severity) Severity {
	if s == Error {
		return Warning
	}
	return Info
}
