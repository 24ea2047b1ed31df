package report

import (
	"net/netip"
	"strings"

	"whichbackend/analyze/render"
	"whichbackend/analyze/resolve"
)

// table is all connections in columns: what many have in common is written
// once, and a row has its number.
type table struct {
	Count      int       `json:"count"`
	Protocols  []text    `json:"protocols"`
	States     []text    `json:"states"`
	Mechanisms []text    `json:"mechanisms"`
	Clients    []client  `json:"clients"`
	Backends   []backend `json:"backends"`
	Ends       []end     `json:"ends"`

	Protocol  []int `json:"protocol"`
	State     []int `json:"state"`
	Mechanism []int `json:"mechanism"`
	Client    []int `json:"client"`
	Port      []int `json:"port"`
	Service   []int `json:"service"`
	End       []int `json:"end"`
	Verdict   []int `json:"verdict"`

	services []*service
	rows     map[rowKey]int
}

// client is one who has connections; the port is in the row.
type client struct {
	Name      text `json:"name,omitempty"`
	Address   text `json:"address"`
	Host      text `json:"host,omitempty"`
	Namespace text `json:"namespace,omitempty"`
	Workload  text `json:"workload,omitempty"`
}

// backend is one that serves, or may.
type backend struct {
	Name    text `json:"name,omitempty"`
	Address text `json:"address"`
	Host    text `json:"host,omitempty"`
}

// end is what a connection ends at. How is one, several (by request),
// candidates, conflict, none or unknown.
type end struct {
	How      string `json:"how"`
	Backends []int  `json:"backends,omitempty"`
}

// rowKey finds the connections of findings again.
type rowKey struct {
	protocol, client, clientHost, service string
}

// dictionary numbers values in the order in which they first come.
type dictionary[K comparable] map[K]int

// of is the number of a value, and whether it is new.
func (d dictionary[K]) of(k K) (int, bool) {
	n, ok := d[k]
	if !ok {
		n = len(d)
		d[k] = n
	}
	return n, !ok
}

// gatherer fills a table.
type gatherer struct {
	*table
	k          Case
	protocols  dictionary[string]
	states     dictionary[string]
	mechanisms dictionary[string]
	clients    dictionary[client]
	backends   dictionary[backend]
	ends       dictionary[string]
	named      dictionary[serviceKey]
	workloads  map[netip.Addr][]resolve.Held
}

func newTable(c Case) *table {
	n := len(c.Answer.Connections)
	column := func() []int { return make([]int, n) }
	g := gatherer{k: c, table: &table{Count: n, Protocols: []text{}, States: []text{}, Mechanisms: []text{}, Clients: []client{}, Backends: []backend{}, Ends: []end{}, services: []*service{},
		Protocol: column(), State: column(), Mechanism: column(), Client: column(), Port: column(), Service: column(), End: column(), Verdict: column(), rows: map[rowKey]int{}},
		protocols: dictionary[string]{}, states: dictionary[string]{}, mechanisms: dictionary[string]{}, clients: dictionary[client]{},
		backends: dictionary[backend]{}, ends: dictionary[string]{}, named: dictionary[serviceKey]{}, workloads: map[netip.Addr][]resolve.Held{}}
	wanted := concernedRows(c)
	for i := range c.Answer.Connections {
		x := &c.Answer.Connections[i]
		g.row(i, x)
		if k := keyOf(x.Protocol, x.Client, x.Service); wanted[k] {
			if _, known := g.rows[k]; !known {
				g.rows[k] = i
			}
		}
	}
	g.table.spread(c)
	g.table.chances(c)
	return g.table
}

// concernedRows are the keys of all connections that findings list.
func concernedRows(c Case) map[rowKey]bool {
	out := map[rowKey]bool{}
	for _, f := range c.Found.Findings {
		for _, x := range f.Connections {
			out[keyOf(x.Protocol, x.Client, x.Service)] = true
		}
	}
	return out
}

func keyOf(protocol string, client, service resolve.Party) rowKey {
	return rowKey{protocol, client.Address, client.Host, service.Address}
}

// row adds a connection.
func (g *gatherer) row(i int, c *resolve.Connection) {
	word := func(d dictionary[string], list *[]text, s string) int {
		n, fresh := d.of(s)
		if fresh {
			*list = append(*list, text(s))
		}
		return n
	}
	g.Protocol[i] = word(g.protocols, &g.Protocols, c.Protocol)
	g.State[i] = word(g.states, &g.States, c.State)
	g.Mechanism[i] = word(g.mechanisms, &g.Mechanisms, strings.Join(c.Mechanisms, ", "))
	g.Client[i], g.Port[i] = g.client(c)
	g.Service[i] = g.service(c)
	g.End[i] = g.end(c)
	for n, v := range resolve.Verdicts {
		if v.Verdict == c.Verdict {
			g.Verdict[i] = n
		}
	}
	s := g.services[g.Service[i]]
	s.add(c, g.Ends[g.End[i]], g.Verdict[i], g.Client[i])
}

func (g *gatherer) client(c *resolve.Connection) (number, port int) {
	p := c.Client
	x := client{Name: text(named(p)), Address: text(p.Address), Host: text(p.Host), Namespace: text(p.Namespace)}
	if a, err := netip.ParseAddrPort(p.Address); err == nil {
		x.Address, port = text(a.Addr().String()), int(a.Port())
		held, ok := g.workloads[a.Addr()]
		if !ok {
			held = g.k.Held(a.Addr())
			g.workloads[a.Addr()] = held
		}
		for _, h := range held {
			if h.Name == p.Name && h.Namespace == p.Namespace && h.Workload != "" {
				x.Workload = text(h.Workload)
				break
			}
		}
	}
	n, fresh := g.clients.of(x)
	if fresh {
		g.Clients = append(g.Clients, x)
	}
	return n, port
}

func (g *gatherer) end(c *resolve.Connection) int {
	x := end{How: "one"}
	switch {
	case len(c.Backends) == 0 && c.Verdict == resolve.None:
		x.How = "none"
	case len(c.Backends) == 0:
		x.How = "unknown"
	case c.Verdict == resolve.Candidates:
		x.How = "candidates"
	case c.Verdict == resolve.Conflicted:
		x.How = "conflict"
	case len(c.Backends) > 1:
		x.How = "several"
	}
	key := strings.Builder{}
	key.WriteString(x.How)
	for _, b := range c.Backends {
		y := backend{Name: text(named(b.Party)), Address: text(render.Address(b.Party)), Host: text(b.Host)}
		n, fresh := g.backends.of(y)
		if fresh {
			g.Backends = append(g.Backends, y)
		}
		x.Backends = append(x.Backends, n)
		key.WriteString(" " + itoa(n))
	}
	n, fresh := g.ends.of(key.String())
	if fresh {
		g.Ends = append(g.Ends, x)
	}
	return n
}

// named is how a party is called, "" when only its kind is known.
func named(p resolve.Party) string {
	if p.Name == "" {
		return ""
	}
	return render.Called(p)
}
