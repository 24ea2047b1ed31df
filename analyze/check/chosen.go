package check

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"whichbackend/analyze/record"
	"whichbackend/analyze/resolve"
)

// This file gathers what tables chose behind service addresses, and holds each
// choice against the listings of the service's backends.

// standing is what listings say of a backend that a table chose.
type standing int

// The standings. An unjudged choice is one of which the listings do not tell.
const (
	unjudged standing = iota
	serves
	notReady
	terminating
	removed // it is none of the service's backends any more
	reused  // and another workload has its address
	gone    // and nobody has its address
)

// choiceKey is one choice of one table.
type choiceKey struct {
	place            record.Scope
	protocol         record.Protocol
	service, backend netip.AddrPort
}

// chosen is a choice with the connections that live by it.
type chosen struct {
	choiceKey
	party    resolve.Party // the service
	standing standing
	deleted  bool         // nothing names the service any more
	holder   string       // who has the address, where somebody does
	at       []record.Pos // what the standing rests on
	users    []chosenBy
	accepted bool // a socket of the backend has one of them
}

type chosenBy struct {
	c    *resolve.Connection
	step resolve.Step
}

// choices are the choices of all tables by live connections, in a fixed order.
func (k *Case) choices() []*chosen {
	if k.chosen != nil {
		return k.chosen
	}
	index := map[choiceKey]*chosen{}
	k.chosen = []*chosen{}
	for i := range k.Answer.Connections {
		c := &k.Answer.Connections[i]
		for _, s := range c.Steps() {
			if !choosesLive(c, s) {
				continue
			}
			key := choiceKey{s.Place, c.IP(), s.Before.Destination, s.After.Destination}
			x := index[key]
			if x == nil {
				x = &chosen{choiceKey: key}
				index[key] = x
				k.chosen = append(k.chosen, x)
			}
			_, servers := c.Ends()
			x.accepted = x.accepted || len(servers) > 0
			x.users = append(x.users, chosenBy{c, s})
		}
	}
	if len(k.chosen) > 0 {
		j := k.judgeOf()
		for _, x := range k.chosen {
			j.judge(x)
		}
	}
	byName(k.chosen, func(x *chosen) any { return x.choiceKey })
	return k.chosen
}

// choosesLive tells whether a step is a table's choice for a connection that
// is not being closed. Where it leads to the host itself a proxy goes on.
func choosesLive(c *resolve.Connection, s resolve.Step) bool {
	to := s.After.Destination
	switch s.Via {
	case record.ViaConntrack, record.ViaIPVS, record.ViaCiliumCT:
	default:
		return false
	}
	if c.IP() != record.TCP && c.IP() != record.UDP || !to.IsValid() || to.Addr() == s.Before.Destination.Addr() ||
		to.Addr().IsLoopback() || to.Addr().IsLinkLocalUnicast() || c.Seen != nil {
		return false
	}
	if c.IP() == record.UDP {
		return true
	}
	return !ending(s.State) && !ending(c.State) && !slices.ContainsFunc(s.Entries, func(t record.Translation) bool { return t.Closing })
}

// ending tells the TCP states, of tables and of sockets, after which nothing
// is sent to the backend any more.
func ending(state string) bool {
	switch state {
	case "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "FIN_WAIT", "FIN_WAIT1", "FIN_WAIT2", "LAST_ACK", "CLOSING":
		return true
	}
	return false
}

// apart is how far the clock may run between a table and a listing that is
// held against it.
const apart = 10 * time.Second

// judge settles the standing of one choice.
func (j *judgement) judge(x *chosen) {
	x.party = j.k.Party(x.service, x.place.Host)
	var control, table []resolve.Listing
	for _, l := range j.k.Listings(x.service, x.protocol, x.place.Host) {
		if !addressed(l.Backends) { // Cilium's view of slots has numbers alone
			continue
		}
		switch l.Source {
		case record.FromKubernetes:
			if len(j.nodes) == 0 || x.place.Host == "" || j.nodes[x.place.Host] {
				control = append(control, l)
			}
		case record.FromDocker, record.FromCiliumAgent:
			control = append(control, l)
		case record.FromRules, record.FromIPVS, record.FromCiliumLB:
			if l.Place == x.place && !l.Local && l.Mechanism != "netfilter" && (l.Mechanism != "" || l.Source != record.FromRules) {
				table = append(table, l)
			}
		}
	}
	for _, l := range slices.Concat(control, table) {
		x.party = cmp.Or(x.party, l.Party)
		if l.Party.Name != "" {
			x.party = l.Party
		}
	}
	list := complete(control)
	if len(list) == 0 {
		list = complete(table)
	}
	switch {
	case len(list) == 0 && len(control)+len(table) == 0:
		j.withoutService(x)
		return
	case len(list) == 0:
		return
	}
	if j.listed(x, control) || j.listed(x, table) {
		return
	}
	if len(complete(table)) == 0 && !j.sameMoment(x, list) {
		return
	}
	for _, l := range list {
		x.at = append(x.at, l.At)
	}
	j.unlisted(x, list)
}

func complete(list []resolve.Listing) []resolve.Listing {
	if slices.ContainsFunc(list, func(l resolve.Listing) bool { return !l.Complete }) {
		return nil
	}
	return list
}

// listed settles the standing of a backend that a listing names. One that
// calls it active wins.
func (j *judgement) listed(x *chosen, list []resolve.Listing) bool {
	state, found, active := "", false, false
	var at []record.Pos
	for _, l := range list {
		for _, b := range l.Backends {
			if b.Address.Addr() != x.backend.Addr() {
				continue
			}
			found = true
			active = active || b.State == ""
			state = cmp.Or(b.State, state)
			at = append(at, b.Pos)
		}
	}
	if !found {
		return false
	}
	if x.standing != unjudged {
		return true
	}
	x.standing, x.at = serves, at
	switch {
	case active || !j.sameMoment(x, list):
	case state == "not ready", state == "unhealthy":
		x.standing = notReady
	case state == "terminating":
		x.standing = terminating
	}
	for _, o := range j.k.holders(x.backend.Addr()) {
		if o.State == "Terminating" {
			x.standing, x.at = terminating, append(at, o.Pos)
		}
	}
	return true
}

// sameMoment tells whether listings were recorded beside the table that made
// the choice, as far as times are known.
func (j *judgement) sameMoment(x *chosen, list []resolve.Listing) bool {
	table := j.k.Recorded(x.users[0].step.Entries[0].Section)
	for _, l := range list {
		if t := j.k.Recorded(l.At.Section); !t.IsZero() && !table.IsZero() && t.Sub(table).Abs() > apart {
			return false
		}
	}
	return true
}

// unlisted settles the standing of a backend that no listing of the service
// names: who has its address now?
func (j *judgement) unlisted(x *chosen, list []resolve.Listing) {
	held := j.k.Held(x.backend.Addr())
	running := slices.DeleteFunc(slices.Clone(held), func(h resolve.Held) bool { return h.Finished })
	if slices.ContainsFunc(running, func(h resolve.Held) bool { return h.Kind != "pod" && h.Kind != "container" }) {
		return // a node or a balancer: one step on the way, or a pod in the host's network
	}
	recorded := j.k.HeldIn(x.backend.Addr())
	if slices.ContainsFunc(recorded, func(s record.Scope) bool { return s.Kind == record.ScopeHost }) {
		return
	}
	if len(running) == 0 && len(recorded) == 0 {
		x.standing = removed
		if j.near[vicinity(x.backend.Addr())] && j.everybody(x, list[0]) {
			x.standing = gone
		}
		return
	}
	x.standing = removed
	if len(running) != 1 {
		return
	}
	x.holder = called(running[0].Party)
	if !x.accepted && j.another(running[0], list) {
		x.standing = reused
		x.at = append(x.at, running[0].Pos)
	}
}

// everybody tells whether all who may hold an address of the service's backends
// are listed, so that an address which nobody holds is free.
func (j *judgement) everybody(x *chosen, l resolve.Listing) bool {
	if l.Source == record.FromDocker || l.Mechanism == "docker" || l.Mechanism == "docker-swarm" {
		return x.place.Kind == record.ScopeHost && j.docker[x.place.Host]
	}
	return j.pods[""] || l.Namespace != "" && j.pods[l.Namespace]
}

// another tells whether a holder of an address is surely none that the service
// could choose. Pods that differ in a version only (blue and green) have names
// that begin alike.
func (j *judgement) another(h resolve.Held, list []resolve.Listing) bool {
	l := list[0]
	if l.Source == record.FromDocker {
		return l.Type == "vip" && h.Workload != "" && l.Name != "" && h.Workload != l.Name
	}
	if h.Kind != "pod" || l.Namespace == "" || h.Namespace == "" {
		return false
	}
	known := false
	alike := false
	for _, l := range list {
		for _, b := range l.Backends {
			for _, o := range j.k.Held(b.Address.Addr()) {
				if o.Kind != "pod" || o.Namespace != l.Namespace {
					return false // no selector chose these
				}
				known = known || o.Workload != ""
				alike = alike || o.Workload == "" || firstWord(o.Workload) == firstWord(h.Workload)
			}
		}
	}
	return h.Namespace != l.Namespace || known && !alike && h.Workload != ""
}

func firstWord(s string) string {
	word, _, _ := strings.Cut(s, "-")
	return word
}

// withoutService settles the standing where nothing names the service: neither
// the API nor the node's own rules, although both name others of its range.
func (j *judgement) withoutService(x *chosen) {
	a := x.service.Addr()
	if !j.range4.IsValid() || j.range4.Bits() < 12 || j.range4.Bits() == 32 || !j.range4.Contains(a) || j.named[a] || !j.pods[""] {
		return
	}
	rules := slices.ContainsFunc(j.k.Services(), func(l resolve.Listed) bool {
		return l.Place == x.place && (l.Mechanism == "kube-proxy" || l.Source == record.FromIPVS || l.Source == record.FromCiliumLB) && j.range4.Contains(l.Address.Addr())
	})
	b := x.backend.Addr()
	if rules && j.near[vicinity(b)] && len(j.k.holders(b)) == 0 && len(j.k.HeldIn(b)) == 0 {
		x.standing, x.deleted = gone, true
	}
}

// holders are the listings of who holds an address and has not ended.
func (k *Case) holders(a netip.Addr) []record.Owner {
	if k.owners == nil {
		k.owners = map[netip.Addr][]record.Owner{}
		for _, o := range k.Owners() {
			if o.Address.IsValid() && !o.HostNetwork && o.Kind != record.OwnerName {
				k.owners[o.Address] = append(k.owners[o.Address], o)
			}
		}
	}
	ended := map[string]bool{}
	for _, h := range k.Held(a) {
		ended[h.Namespace+"/"+h.Name] = h.Finished
	}
	return slices.DeleteFunc(slices.Clone(k.owners[a]), func(o record.Owner) bool { return ended[o.Namespace+"/"+o.Name] })
}
