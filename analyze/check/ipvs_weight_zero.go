package check

import "fmt"

var ipvsWeightZero = Rule{
	ID: "ipvs-weight-zero", Severity: Warning,
	Finds: "IPVS destinations of weight 0 that are gone, still hold connections, or are ready",
	Needs: "ipvsadm -Ln with weights",
	Why:   "IPVS sends no new connections to a destination of weight 0, and keeps it until its connections end. A destination that the control plane has forgotten and that still holds connections is a drain that got stuck: clients that reuse their source ports are still sent there.",
	Do:    "Look who still uses it (ipvsadm -Lnc), end those connections, and remove it (ipvsadm -d) when nothing serves it any more.",
	See:   []string{"https://github.com/kubernetes/kubernetes/issues/81775", "https://github.com/kubernetes/kubernetes/issues/71071", "https://github.com/kubernetes/kubernetes/issues/134147"},
	judge: findIPVSWeightZero,
}

func findIPVSWeightZero(k *Case) (found []Finding, judged bool) {
	hints, tasks, sent := k.hinted(), k.swarmTasks(), k.sentBy()
	for _, v := range k.virtuals() {
		for _, d := range v.destinations() {
			judged = judged || d.weight >= 0
			if len(d.zero) == 0 {
				continue
			}
			p := k.behindVirtual(v, hints, tasks)
			if f, ok := k.weightZero(v, d, p); ok {
				g := group[string]{list: sent[v.sentTo(d)]}
				f.Connections = g.connections()
				found = append(found, f)
			}
		}
	}
	return found, judged
}

// weightZero tells a drain that is stuck, or a leftover, from a drain that
// goes on.
func (k *Case) weightZero(v *virtual, d *destination, p *plane) (f Finding, ok bool) {
	_, holds := k.held(d.address.Addr())
	gone := p != nil && p.states && !p.known[d.address] && !holds
	ready := p != nil && p.ready[d.address]
	if !gone && !ready && d.active <= 0 {
		return f, false
	}
	f.Severity = Info
	f.Title = fmt.Sprintf("%s has weight 0 behind %s on %s", addresses(oneOf(d)), k.virtualName(v, p), placeName(v.place))
	if d.active > 0 {
		f.Title += " and holds " + several(int(d.active), "active connection")
	}
	at := d.zero
	if ready {
		f.Title += ", although the control plane lists it as ready"
		f.Why = "IPVS sends no new connections to a destination of weight 0: this backend could serve, and the others have to do its work."
		f.Do = "Look why it was drained (the health check of the task, the logs of dockerd or kube-proxy), and whether its weight comes back."
		at = append(at[:len(at):len(at)], p.at...)
		if older, _ := k.older(d.at, p.at); !older {
			f.Severity = Warning
		}
	}
	if gone {
		f.Title += "; the control plane does not list it any more"
		at = append(at[:len(at):len(at)], p.at...)
		if older, _ := k.older(d.at, p.at); d.active > 0 && !older {
			f.Severity = Warning
		}
	}
	f.Objects = []Object{ipvsTable(v.place), object(k.Party(d.address, v.place.Host))}
	f.Evidence = k.evidence(at...)
	return f, true
}
