package check

import (
	"net/netip"
	"strings"

	"whichbackend/analyze/record"
	"whichbackend/analyze/resolve"
)

var neighbourFailed = Rule{
	ID: "neighbour-failed", Severity: Info,
	Finds: "a backend with connections that does not answer for its address on its network",
	Needs: "ip neigh of the hosts that connections pass",
	Why:   "The host asked who has the address and nobody answered: packets of these connections go nowhere.",
	Do:    "See whether the backend still runs and has this address: ip addr in its namespace, ip neigh on the host. A pod or container that ended leaves its connections behind.",
	See:   []string{"https://github.com/kubernetes/kubernetes/issues/104098", "https://github.com/kubernetes/kubernetes/issues/93143"},
	judge: findFailedNeighbours,
}

// notAnswering are the neighbours of a host of which no listing of it says better,
// by address.
type notAnswering map[netip.Addr][]record.Pos

func findFailedNeighbours(k *Case) (found []Finding, judged bool) {
	hosts := map[string]notAnswering{}
	for _, s := range k.sheets("ip-neigh") {
		judged = true
		if s.place.Kind == record.ScopeHost {
			hosts[s.place.Host] = unanswered(s.list)
		}
	}
	type key struct {
		host string
		addr netip.Addr
	}
	groups := groupsOf[key]{}
	for i := range k.Answer.Connections {
		c := &k.Answer.Connections[i]
		client, final := c.Tuples()
		if !final.Destination.IsValid() {
			final = client
		}
		addr := final.Destination.Addr()
		if over(c.State) {
			continue
		}
		for host := range k.passed(c) {
			if at := hosts[host][addr]; at != nil {
				g := groups.of(key{host, addr})
				g.add(c)
				g.at = at
			}
		}
	}
	for _, g := range groups.sorted() {
		p := k.Party(netip.AddrPortFrom(g.key.addr, 0), g.key.host)
		name := g.key.addr.String()
		if p.Name != "" {
			name = called(p) + " (" + name + ")"
		}
		where := g.key.host
		if where == "" {
			where = "the host"
		}
		found = append(found, Finding{Title: name + " does not answer for its address on " + where + ", with connections from " + clients(g.list),
			Connections: g.connections(), Objects: []Object{{Kind: "address", Namespace: p.Namespace, Name: p.Name, Address: g.key.addr.String(), Host: g.key.host}}, Evidence: k.evidence(g.at...)})
	}
	return found, judged
}

// over tells a connection that ended, of which only the entry or the socket is left.
func over(state string) bool {
	switch state {
	case "TIME_WAIT", "CLOSE", "CLOSED", "LAST_ACK", "FIN_WAIT", "FIN_WAIT1", "FIN_WAIT2", "CLOSING":
		return true
	}
	return false
}

// unanswered are the neighbours that failed, and are not known by another
// device or a later listing.
func unanswered(list []record.Reading) notAnswering {
	out, known := notAnswering{}, map[netip.Addr]bool{}
	for _, r := range list {
		text, _, _ := strings.Cut(r.Subject, " ")
		a, err := netip.ParseAddr(text)
		if err != nil || r.Name != "state" {
			continue
		}
		if r.Value == "FAILED" || r.Value == "INCOMPLETE" {
			out[a] = append(out[a], r.Pos)
		} else {
			known[a] = true
		}
	}
	for a := range known {
		delete(out, a)
	}
	return out
}

// passed are the hosts whose own network a connection was seen to pass: that
// of its client and those whose tables show it.
func (k *Case) passed(c *resolve.Connection) map[string]bool {
	out := map[string]bool{c.Client.Host: true}
	for _, e := range c.Entries() {
		out[k.Place(e.Section).Host] = true
	}
	return out
}
