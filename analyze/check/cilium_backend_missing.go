package check

import (
	"strings"

	"net/netip"

	"whichbackend/analyze/record"
)

var ciliumBackendMissing = Rule{
	ID: "cilium-backend-missing", Severity: Error,
	Finds: "services of Cilium's datapath with slots whose backend is in no table",
	Needs: "cilium bpf lb list of a node, or lb/maps-dump, or both of its views --frontends and --backends",
	Why:   "The datapath draws a slot, does not find its backend, and drops the packet (Service backend not found): new connections fail in proportion to such slots, on this node alone. The agent's own list looks right all the while.",
	Do:    "Restart the agent of this node, which writes the tables anew: kubectl -n kube-system delete pod -l k8s-app=cilium --field-selector spec.nodeName=NODE. Before that, keep cilium-dbg bpf lb list, cilium-dbg service list and the agent's log, and look there for errors about services.",
	See:   []string{"https://github.com/cilium/cilium/issues/32472", "https://github.com/cilium/cilium/issues/27061"},
	judge: findMissingCiliumBackends,
}

// ciliumSlot is one slot of a service in the datapath.
type ciliumSlot struct {
	address  netip.AddrPort
	protocol record.Protocol
	inside   bool
	slot     int
}

// danglingSlots are the slots of a node whose backends are in no table.
type danglingSlots struct {
	said     bool // the listing itself says so, and no other contradicts it
	services []Listed
	numbers  map[uint32]bool
	at       []record.Pos
}

func findMissingCiliumBackends(k *Case) (found []Finding, judged bool) {
	for _, n := range k.ciliumAll().nodes {
		d, ok := n.dangling(k)
		judged = judged || ok
		if len(d.services) == 0 {
			continue
		}
		var names []string
		for _, l := range d.services {
			names = append(names, k.serviceName(l.Address, l.Protocol, n.place.Host))
		}
		entries := map[record.Pos]bool{}
		for _, o := range k.cilium.order {
			entries[o.at] = o.node == n && d.numbers[o.number]
		}
		g := group[string]{list: k.ofChoices(entries)}
		f := Finding{
			Title:       "on " + n.name() + " the datapath's table of " + listed(names) + " names " + several(len(d.numbers), "backend") + " that no table holds",
			Connections: g.connections(), Objects: []Object{n.object()}, Evidence: k.evidence(d.at...),
		}
		if !d.said {
			f.Severity = Warning
			f.Title = strings.Replace(f.Title, "that no table holds", "that one of its listings lacks", 1)
			f.Why = "One listing names backends that another lacks. Unless they came or went between the two, the datapath drops what draws such a slot (Service backend not found)."
		}
		found = append(found, f)
	}
	return found, judged
}

func (n *ciliumNode) dangling(k *Case) (d danglingSlots, judged bool) {
	d.numbers = map[uint32]bool{}
	known := map[ciliumSlot]bool{}
	for _, l := range n.datapath {
		for _, b := range l.Backends {
			if b.Address.IsValid() {
				known[ciliumSlot{l.Address, l.Protocol, l.Inside, b.Slot}] = true
				judged = true
			}
		}
	}
	for _, l := range n.datapath {
		hit := false
		for _, b := range l.Backends {
			said := b.State == "not found" && (k.Section(l.Section).Format != "cilium-maps-dump" || n.dumped[l.Section])
			_, held := n.backends[b.ID]
			view := b.State != "not found" && !b.Address.IsValid() && b.ID != 0 && b.Slot > 0 && n.allBackends
			judged = judged || said || view
			other := held || known[ciliumSlot{l.Address, l.Protocol, l.Inside, b.Slot}]
			if !said && (!view || other) {
				continue
			}
			// What one listing says of itself stands, but one of another moment
			// may know better.
			hit, d.said = true, d.said || said && !other
			d.numbers[b.ID] = true
			d.at = append(d.at, b.Pos)
		}
		if hit {
			d.services = append(d.services, l)
		}
	}
	return d, judged
}
