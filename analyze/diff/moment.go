package diff

import (
	"net/netip"
	"strings"

	"whichbackend/analyze/check"
	"whichbackend/analyze/load"
	"whichbackend/analyze/record"
	"whichbackend/analyze/resolve"
)

// source is a case at one moment.
type source = *check.Case

// Moment is what is kept of a case to hold it against others; the case itself
// can be closed.
type Moment struct {
	info      Info
	inputs    []resolve.Input
	created   span
	listings  []listing
	bySection map[int]int
	kinds     map[kind][]int
	rows      []row // sorted
	conns     []conn
	services  []service
	findings  *check.Result
	warnings  []string
}

// conn is what is kept of a connection.
type conn struct {
	protocol, state string
	ip              record.Protocol
	byRequest       bool
	client, service resolve.Party
	verdict         resolve.Verdict
	reason          string
	backends        []resolve.Party
	evidence        []resolve.Evidence // of what names its backend, one line
	tuple           record.Tuple       // as the client sees it
	leads           netip.AddrPort     // where the last known hop leads
	shown           []shown
	socket          uint64 // the inode of the client's socket, 0: not said
}

// shown is a row that shows a connection, and the listing that has it.
type shown struct {
	listing int
	by      witness
	row     row
	over    bool // it says that both ends have closed
}

// witness says what a row that is gone would prove.
type witness int

const (
	clientSocket witness = iota
	rewriting            // an entry that the connection cannot do without
	entry
	serverSocket
)

// Take resolves and checks a case, and keeps what is to be compared of it.
func Take(c *load.Case, view resolve.View, input string) (*Moment, error) {
	k, err := check.Open(c, view)
	if err != nil {
		return nil, err
	}
	m := &Moment{info: Info{Input: input, Hosts: []Host{}, Connections: len(k.Answer.Connections)}, inputs: k.Answer.Inputs,
		bySection: map[int]int{}, kinds: map[kind][]int{}}
	m.warnings = append(append(m.warnings, k.Answer.Warnings...), k.Load.Warnings...)
	for _, step := range []func(source) error{m.listed, m.rowsOf, m.clocks} {
		if err := step(k); err != nil {
			return nil, err
		}
	}
	if m.findings, err = k.Check(); err != nil {
		return nil, err
	}
	m.warnings = append(m.warnings, m.findings.Warnings...)
	m.conns = make([]conn, 0, len(k.Answer.Connections))
	for i := range k.Answer.Connections {
		c := m.keep(k, &k.Answer.Connections[i])
		if !c.settled() {
			m.info.Open++
		}
		m.conns = append(m.conns, c)
	}
	m.readServices(k)
	return m, k.Failed()
}

func (m *Moment) keep(k source, a *resolve.Connection) conn {
	tuple, final := a.Tuples()
	c := conn{protocol: a.Protocol, state: a.State, ip: a.IP(), byRequest: a.Granularity == "request", client: a.Client, service: a.Service,
		verdict: a.Verdict, reason: a.Reason, tuple: tuple, leads: final.Destination}
	for _, b := range a.Backends {
		c.backends = append(c.backends, b.Party)
	}
	for i := range a.Hops {
		if len(a.Hops[i].Evidence) > 0 {
			c.evidence = a.Hops[i].Evidence[:1:1]
		}
	}
	if len(c.evidence) == 0 && len(a.Sockets) > 0 {
		c.evidence = a.Sockets[0].Evidence
	}
	clients, servers := a.Ends()
	for _, s := range clients {
		c.socket = max(c.socket, s.Inode)
		m.show(&c, clientSocket, s.Pos, mark(k.Place(s.Section), sockets, s.Protocol, record.Tuple{Source: s.Local, Destination: s.Remote}), over(s.State))
	}
	for _, s := range servers {
		m.show(&c, serverSocket, s.Pos, mark(k.Place(s.Section), sockets, s.Protocol, record.Tuple{Source: s.Local, Destination: s.Remote}), over(s.State))
	}
	for _, t := range a.Entries() {
		if !stateTable(t.Via) {
			continue
		}
		by := entry
		if t.Protocol == record.TCP && t.Before == tuple && t.After.Destination != t.Before.Destination && !t.Selects && t.Via == record.ViaConntrack {
			by = rewriting
		}
		m.show(&c, by, t.Pos, mark(k.Place(t.Section), string(t.Via), t.Protocol, t.Before), t.Closing || over(t.State))
	}
	return c
}

func (m *Moment) show(c *conn, by witness, at record.Pos, r row, over bool) {
	if i, ok := m.bySection[at.Section]; ok {
		c.shown = append(c.shown, shown{i, by, r, over})
	}
}

// settled tells whether the answer names one backend, or none for certain.
func (c *conn) settled() bool {
	switch c.verdict {
	case resolve.Proven, resolve.Observed, resolve.Deduced, resolve.None:
		return true
	}
	return false
}

// over tells whether both ends have closed the connection, and a listing only
// remembers it.
func (c *conn) over() bool { return over(c.state) }

func over(state string) bool {
	switch strings.ToUpper(state) {
	case "TIME_WAIT", "CLOSE", "CLOSED", "CLOSING", "LAST_ACK":
		return true
	}
	return false
}

// closed tells whether a listing that shows a connection in both moments has it
// open in the first and closed in the second. Listings differ in that, so that
// only the same one of the strongest kind counts.
func closed(a, b *conn) bool {
	first := serverSocket
	for _, x := range a.shown {
		for _, y := range b.shown {
			if x.row == y.row {
				first = min(first, x.by)
			}
		}
	}
	found := false
	for _, x := range a.shown {
		for _, y := range b.shown {
			if x.row != y.row || x.by != first {
				continue
			}
			if x.over || !y.over {
				return false
			}
			found = true
		}
	}
	return found
}

// backend is the one backend of a settled answer, the zero party when it has
// none.
func (c *conn) backend() resolve.Party {
	if len(c.backends) == 1 {
		return c.backends[0]
	}
	return resolve.Party{}
}

func (c *conn) listed(step int, because string) Connection {
	return Connection{Step: step, Protocol: c.protocol, State: c.state, Client: c.client, Service: c.service, Verdict: c.verdict,
		Backends: append([]resolve.Party{}, c.backends...), Because: because, Evidence: c.evidence}
}

// sameHost tells whether two hosts may be one: one without a name may be any.
func sameHost(a, b string) bool { return a == "" || b == "" || a == b }

// mayBe tells whether two parties of one address may be one.
func mayBe(a, b resolve.Party) bool {
	if !sameHost(a.Host, b.Host) {
		return false
	}
	return a.Kind != b.Kind || a.Name == "" || b.Name == "" || a.Name == b.Name && a.Namespace == b.Namespace
}

// bare is the address of a party without its port.
func bare(address string) string {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return address
	}
	return a.Addr().String()
}
