package check

import (
	"fmt"
	"net/netip"

	"whichbackend/analyze/record"
)

// difference is what the IPVS table of one namespace has and lacks of one
// service, over all addresses of the service.
type difference struct {
	v              *virtual
	p              *plane
	extra, missing map[netip.AddrPort]bool
	tables, planes []record.Pos
}

// differences holds every IPVS service against the control plane. judged is
// true when there was one to hold it against.
func (k *Case) differences(inSwarm bool) (out []*difference, judged bool) {
	hints, tasks := k.hinted(), k.swarmTasks()
	index := map[string]*difference{}
	for _, v := range k.virtuals() {
		if swarm(v.place) != inSwarm || !v.complete {
			continue
		}
		p := k.behindVirtual(v, hints, tasks)
		if p == nil {
			continue
		}
		if _, ok := k.older(v.at, p.at); !ok {
			continue
		}
		judged = true
		key := fmt.Sprint(v.place, p.party.Namespace, "/", p.party.Name)
		d := index[key]
		if d == nil {
			d = &difference{v: v, p: p, extra: map[netip.AddrPort]bool{}, missing: map[netip.AddrPort]bool{}}
			index[key] = d
			out = append(out, d)
		}
		d.hold(v, p)
	}
	return out, judged
}

func (d *difference) hold(v *virtual, p *plane) {
	n := len(d.extra) + len(d.missing)
	ready := p.serving()
	for _, t := range v.destinations() {
		// Where no backend is ready, kube-proxy serves with those that end, and
		// not every listing names these.
		if t.weight != 0 && !p.known[t.address] && (len(ready) > 0 || p.states) {
			d.extra[t.address] = true
			d.tables = append(d.tables, t.at...)
		}
	}
	if !p.local && !p.partial {
		for _, a := range ready {
			if v.to[a] == nil {
				d.missing[a] = true
				d.tables = append(d.tables, v.at...)
			}
		}
	}
	if len(d.extra)+len(d.missing) > n {
		d.planes = append(d.planes, p.at...)
	}
}
