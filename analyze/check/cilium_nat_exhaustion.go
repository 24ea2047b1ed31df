package check

import (
	"fmt"
	"net/netip"

	"whichbackend/analyze/record"
)

var ciliumNATExhaustion = Rule{
	ID: "cilium-nat-exhaustion", Severity: Error,
	Finds: "masquerading by Cilium that runs out of ports towards one destination",
	Needs: "cilium bpf nat list of a node",
	Why:   "Every connection to one destination needs a port of its own from 32768 to 65535 at the node's address. When most are taken the datapath does not find a free one in its few attempts, and drops new connections to that destination.",
	Do:    "Find who opens so many connections (cilium-dbg bpf nat list | grep DESTINATION), let it keep them open, or spread them over more destination addresses or nodes. cilium-dbg metrics list shows the drops (No mapping for NAT masquerade).",
	See:   []string{"https://github.com/cilium/cilium/issues/21346", "https://github.com/cilium/cilium/issues/33074", "https://github.com/cilium/cilium/issues/29305"},
	judge: findExhaustedNAT,
}

// Ports that the datapath masquerades with, and which share of them, in
// percent, is too much.
const (
	firstMasquerade = 32768
	masqueradePorts = 65536 - firstMasquerade
	fullPorts       = 95
	nearlyFullPorts = 80
)

// natRange is what a port must be unique for.
type natRange struct {
	host     string
	protocol record.Protocol
	from     netip.Addr
	to       netip.AddrPort
}

// natTable is one listing of a range.
type natTable struct {
	natRange
	section int
}

// natUse counts the ports of a range that are taken.
type natUse struct {
	ports int
	at    []record.Pos // of the first few
}

func findExhaustedNAT(k *Case) (found []Finding, judged bool) {
	used := map[natTable]*natUse{}
	k.eachNAT(func(t *record.Translation) {
		judged = true
		if t.After.Source.Port() < firstMasquerade {
			return
		}
		key := natTable{natRange{k.PlaceName(t.Section), t.Protocol, t.After.Source.Addr(), t.After.Destination}, t.Section}
		u := used[key]
		if u == nil {
			u = &natUse{}
			used[key] = u
		}
		if u.ports++; u.ports <= 3 {
			u.at = append(u.at, t.Pos)
		}
	})
	groups := groupsOf[natRange]{}
	most := map[natRange]int{} // a table may lie there twice
	for key, u := range used {
		if u.ports*100 < masqueradePorts*nearlyFullPorts {
			continue
		}
		g, n := groups.of(key.natRange), most[key.natRange]
		if u.ports > n || u.ports == n && k.Less(u.at[0], g.at[0]) {
			g.at, most[key.natRange] = u.at, u.ports
		}
	}
	for _, g := range groups.sorted() {
		n := most[g.key]
		f := Finding{
			Title:    fmt.Sprintf("%d of %d ports of %s are taken towards %s", n, masqueradePorts, k.natHolder(g.key.from, g.key.host), k.holder(g.key.to, g.key.host)),
			Objects:  []Object{{Kind: "node", Name: g.key.host, Address: g.key.from.String(), Host: g.key.host}, {Kind: "address", Address: g.key.to.String()}},
			Evidence: k.evidence(g.at...), Count: n,
		}
		if n*100 < masqueradePorts*fullPorts {
			f.Severity = Warning
		}
		found = append(found, f)
	}
	return found, judged
}

func (k *Case) natHolder(a netip.Addr, host string) string {
	for _, h := range k.Held(a) {
		return called(h.Party) + " (" + a.String() + ")"
	}
	if host != "" {
		return host + " (" + a.String() + ")"
	}
	return a.String()
}

// eachNAT walks over the rows of Cilium's NAT tables that rewrite what leaves.
func (k *Case) eachNAT(f func(*record.Translation)) {
	k.fail(k.Load.Store.Translations(func(t *record.Translation) error {
		if t.Via == record.ViaCiliumNAT && k.Current(t.Section) {
			f(t)
		}
		return nil
	}))
}
