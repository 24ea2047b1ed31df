package check

import (
	"fmt"
	"net/netip"
	"strings"

	"whichbackend/analyze/record"
	"whichbackend/analyze/resolve"
)

var unansweredBackend = Rule{
	ID: "unanswered-backend", Severity: Error,
	Finds: "a backend that answers nobody: SYNs, or datagrams of a protocol that others answer, get nothing back",
	Needs: "entries of tables or captures that show connections to backends",
	Why:   "Clients that are led there wait for seconds until they give up, although the service has other backends.",
	Do:    "Look from the node: ip neigh show BACKEND, ping, then the pod itself and the network policies that name it. Take it out of the service until it answers.",
	See:   []string{"https://github.com/kubernetes/kubernetes/issues/93143", "https://github.com/cilium/cilium/issues/27300"},
	judge: findUnansweredBackends,
}

// target is an address that serves.
type target struct {
	protocol string
	address  netip.AddrPort
}

// tried is how connections to a target went.
type tried struct {
	group[target]
	service  bool // reached or listed as a service's backend
	answered bool
	refused  int // by a reset or an ICMP error
}

// answer is what shows of one connection whether its backend answers.
type answer int

const (
	untold answer = iota
	answers
	silent
	refuses
)

func findUnansweredBackends(k *Case) (found []Finding, judged bool) {
	targets, speaks := k.attempts()
	dead := map[netip.AddrPort]bool{}
	for _, x := range k.choices() {
		if x.standing == gone || x.standing == reused {
			dead[x.backend] = true
		}
	}
	neighbours := k.neighbours()
	byTarget := groupsOf[target]{}
	for t := range targets {
		byTarget.of(t)
	}
	for _, key := range byTarget.sorted() {
		t := targets[key.key]
		if !t.service || dead[t.key.address] {
			continue
		}
		judged = true
		lost := neighbours[t.key.address.Addr()]
		if t.answered && !t.answersSome() || len(t.list) == 0 || t.key.protocol == "udp" && !speaks[t.key.address.Port()] && len(lost) == 0 && t.refused == 0 {
			continue
		}
		found = append(found, k.unanswered(t, lost))
	}
	return found, judged
}

// answersSome tells whether a backend that answers leaves more SYNs without an
// answer than a lost packet explains.
func (t *tried) answersSome() bool { return t.key.protocol == "tcp" && len(t.list)-t.refused >= 3 }

func (k *Case) unanswered(t *tried, lost []record.Pos) Finding {
	b := k.Party(t.key.address, "")
	name := t.key.address.String()
	if b.Name != "" {
		name = called(b) + " " + name
	}
	who := clients(t.list)
	count := fmt.Sprintf("%d connections of %s", len(t.list), who)
	if len(t.list) == 1 {
		count = "a connection of " + who
	}
	f := Finding{Severity: Warning, Connections: t.connections(), Objects: []Object{object(b)}}
	if t.answered {
		f.Why = "The backend answers others. Its queue of new connections may be full, or a firewall or policy may drop what these clients send."
		f.Do = "Look at the backend's ss -ltn (Recv-Q beside Send-Q) and nstat -az TcpExtListenOverflows, and at the network policies that name these clients."
	} else if strings.HasSuffix(who, " clients") || len(t.list) >= 3 {
		f.Severity = Error
	}
	f.Title = fmt.Sprintf("%s answers nothing over %s: %s got no answer", name, t.key.protocol, count)
	if t.answered {
		f.Title = fmt.Sprintf("%s does not answer all over %s: %s got no answer, others did", name, t.key.protocol, count)
	}
	if t.refused == len(t.list) {
		f.Title = fmt.Sprintf("%s refuses over %s: %s", name, t.key.protocol, count)
		f.Why = "A reset or an ICMP error came back: nothing listens there, or a firewall or policy rejects."
	}
	if len(lost) > 0 {
		f.Title += "; its neighbour entry has no link address"
	}
	f.Evidence = k.evidence(append(t.at, lost...)...)
	for _, c := range t.list {
		if c.Handshake != nil && len(f.Evidence) < MaxEvidence {
			f.Evidence = append(f.Evidence, c.Handshake.Evidence...)
		}
	}
	return f
}

// attempts gathers what shows how backends answer. speaks are the ports of UDP
// on which some server answers, so that silence there means something.
func (k *Case) attempts() (map[target]*tried, map[uint16]bool) {
	listed := map[netip.AddrPort]bool{}
	for _, l := range k.Services() {
		for _, b := range l.Backends {
			listed[b.Address] = true // Cilium's list of backends omits ports, which tells nothing
		}
	}
	targets, speaks := map[target]*tried{}, map[uint16]bool{53: true}
	for i := range k.Answer.Connections {
		c := &k.Answer.Connections[i]
		_, final := c.Tuples()
		if c.Seen != nil || !final.Destination.IsValid() || c.IP() != record.TCP && c.IP() != record.UDP ||
			final.Source.Addr() == final.Destination.Addr() { // a pod that is led to itself says nothing of the pod
			continue
		}
		key := target{c.Protocol, final.Destination}
		t := targets[key]
		if t == nil {
			t = &tried{group: group[target]{key: key}}
			targets[key] = t
		}
		t.service = t.service || len(c.Steps()) > 0 || listed[final.Destination]
		says, at := howAnswered(c, final)
		switch says {
		case answers:
			t.answered = true
			speaks[final.Destination.Port()] = speaks[final.Destination.Port()] || c.IP() == record.UDP
		case refuses:
			t.refused++
			t.add(c)
		case silent:
			t.add(c)
		}
		if (says == silent || says == refuses) && len(t.at) < MaxEvidence/2 {
			t.at = append(t.at, at...)
		}
	}
	return targets, speaks
}

// howAnswered tells of one connection whether its backend answered. One that
// has only just begun tells nothing, nor does one that was idle for long.
func howAnswered(c *resolve.Connection, final record.Tuple) (answer, []record.Pos) {
	if h := c.Handshake; h != nil {
		switch {
		case h.Outcome == "answered":
			return answers, nil
		case h.Outcome == "refused" || h.Outcome == "unreachable":
			return refuses, nil
		case h.Outcome == "unanswered" && h.SYNs > 1:
			return silent, nil
		}
	}
	if _, servers := c.Ends(); len(servers) > 0 && c.IP() == record.TCP {
		return answers, nil
	}
	says := untold
	var at []record.Pos
	for _, t := range c.Entries() {
		if t.Via != record.ViaConntrack && t.Via != record.ViaCiliumCT || t.Selects {
			continue
		}
		switch {
		case !t.Unreplied && t.Via == record.ViaConntrack && !idle(t):
			return answers, nil
		case !t.Unreplied || fresh(t) || t.After.Destination != final.Destination && t.Before.Destination != final.Destination:
		case c.IP() == record.TCP && t.Via == record.ViaConntrack && t.State != "SYN_SENT":
		default:
			says, at = silent, append(at, t.Pos)
		}
	}
	if says == untold && c.IP() == record.TCP && c.State == "ESTABLISHED" && len(c.Entries()) == 0 {
		return answers, nil
	}
	return says, at
}

// fresh tells an entry whose first packet may still be answered: the kernel
// gives 120 seconds to a SYN and 30 to a datagram, and counts down from there.
func fresh(t record.Translation) bool {
	if t.Packets > 1 || t.Timeout < 0 {
		return false
	}
	if t.Protocol == record.TCP {
		return t.Timeout >= 118 && t.Timeout <= 120
	}
	return t.Timeout >= 28 && t.Timeout <= 30
}

// idle tells an entry over which nothing passed for five minutes, so that it
// does not show that the backend answers now. Established TCP entries get five
// days, or one where kube-proxy sets it.
func idle(t record.Translation) bool {
	if t.Protocol != record.TCP || t.State != "ESTABLISHED" || t.Timeout < 0 {
		return false
	}
	limit := int64(432000)
	if t.Timeout <= 86400 {
		limit = 86400
	}
	return limit-t.Timeout > 300
}

// neighbours are the addresses of which a neighbour table says that nobody
// answers for them on the link, with where it says so. One that some table
// knows is none.
func (k *Case) neighbours() notAnswering {
	var all []record.Reading
	for _, s := range k.sheets("ip-neigh") {
		all = append(all, s.list...)
	}
	return unanswered(all)
}
