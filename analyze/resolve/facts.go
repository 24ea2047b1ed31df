package resolve

import (
	"net/netip"
	"sort"
	"time"

	"whichbackend/analyze/record"
)

// This file is what other packages may ask of a case beside its connections:
// the places, owners and services that the resolver put together, so that
// nobody has to put them together again.

// Current tells whether a section belongs to the moment that is asked for.
func (k *Case) Current(section int) bool { return k.world.current[section] }

// Section returns a section, nil when there is none of that number.
func (k *Case) Section(id int) *record.Section { return k.world.sections[id] }

// Place is the network namespace in which what a section says is true. Two
// sections of one namespace have the same, however each was called. The kind
// is cluster for API objects.
func (k *Case) Place(section int) record.Scope {
	p := k.world.placeOf[section]
	if p == nil {
		return record.Scope{Kind: record.ScopeCluster}
	}
	return p.scope()
}

// PlaceName is how answers call the place of a section.
func (k *Case) PlaceName(section int) string { return k.world.placeOf[section].String() }

func (p *place) scope() record.Scope {
	return record.Scope{Host: p.host, Kind: p.kind, Namespace: p.namespace, Name: p.name}
}

// Places are the network namespaces of the case with the formats of the
// listings recorded in each, by name.
func (k *Case) Places() map[record.Scope]map[string]bool {
	out := map[record.Scope]map[string]bool{}
	for _, p := range k.world.places {
		if len(p.formats) > 0 {
			out[p.scope()] = p.formats
		}
	}
	return out
}

// Recorded is when a section was recorded, as a manifest tells; the zero time
// when nothing does.
func (k *Case) Recorded(section int) time.Time {
	s := k.world.sections[section]
	if s == nil {
		return time.Time{}
	}
	a := k.world.artifacts[s.Artifact]
	if a.Recorded.IsZero() && k.world.created[a.Input] != 0 {
		return time.Unix(0, k.world.created[a.Input]).UTC()
	}
	return a.Recorded
}

// Evidence points to positions and quotes them, in the order of artifacts.
func (k *Case) Evidence(list ...record.Pos) []Evidence {
	sorted := append([]record.Pos{}, list...)
	sort.SliceStable(sorted, func(i, j int) bool { return k.world.less(sorted[i], sorted[j]) })
	return k.r.evidenceAt(sorted)
}

// Less orders positions by artifact and line, which does not depend on the
// order in which artifacts were read.
func (k *Case) Less(a, b record.Pos) bool { return k.world.less(a, b) }

// Failed is the first error of reading what was quoted.
func (k *Case) Failed() error { return k.r.failed }

// Party names an address as seen from a host, "" for any.
func (k *Case) Party(a netip.AddrPort, host string) Party { return k.world.party(a, host) }

// Held is one who holds or held an address.
type Held struct {
	Party
	Workload string
	Finished bool // a pod that has ended, a container that is stopped
	Pos      record.Pos
}

// Held lists who holds an address, or held it while it ran.
func (k *Case) Held(a netip.Addr) []Held {
	var out []Held
	for _, o := range k.world.owners[a] {
		out = append(out, Held{Party{Address: a.String(), Kind: o.kind, Namespace: o.namespace, Name: o.name, Host: o.host, workload: o.workload}, o.workload, o.finished, o.pos})
	}
	return out
}

// Owners are all owners that the listings of the moment name.
func (k *Case) Owners() []record.Owner {
	var out []record.Owner
	for _, o := range k.world.records {
		if k.world.current[o.Section] {
			out = append(out, o)
		}
	}
	return out
}

// Listed is a service as one listing of the moment shows it, with the place in
// which it is true.
type Listed struct {
	*record.Service
	Place record.Scope // the kind is cluster for API objects
}

// Services are all services that the listings of the moment name.
func (k *Case) Services() []Listed {
	out := make([]Listed, 0, len(k.world.services))
	for _, s := range k.world.services {
		out = append(out, k.listed(s))
	}
	return out
}

func (k *Case) listed(s service) Listed {
	l := Listed{s.Service, record.Scope{Kind: record.ScopeCluster}}
	if s.place != nil {
		l.Place = s.place.scope()
	}
	return l
}

// Listing is what one listing says of the backends behind an address.
type Listing struct {
	Listed                    // the record that names the address
	Party    Party            // the service, as answers name it
	Backends []record.Backend // with ports, and with their positions; none when the listing says that there are none
	Complete bool             // it is known to name every backend
	At       record.Pos       // the record that lists the backends
}

// Listings are what the listings of the moment say of the backends behind an
// address, as a connection that enters on a host sees it ("": on any). A
// listing that names the address and not its backends is not among them.
func (k *Case) Listings(dst netip.AddrPort, p record.Protocol, host string) []Listing {
	from := vantage{}
	if host != "" {
		from.hosts = map[string]bool{host: true}
	}
	return k.listings(dst, p, from)
}

// Behind are the listings of the address that a connection dialled, as its
// client sees them.
func (k *Case) Behind(c *Connection) []Listing {
	if c.of == nil {
		return nil
	}
	return k.listings(c.of.service, c.of.protocol, k.r.seenBy(c.of, c.of.service))
}

func (k *Case) listings(dst netip.AddrPort, p record.Protocol, from vantage) []Listing {
	var out []Listing
	party, _ := k.world.serviceParty(dst, p, from)
	for _, s := range k.world.servicesAt(dst, p, from) {
		for _, half := range k.world.halves(s, dst) {
			if !half.Complete && len(half.Backends) == 0 {
				continue
			}
			l := Listing{Listed: k.listed(s), Party: party, Complete: half.Complete, At: half.Pos}
			for _, b := range half.Backends {
				if b.Address.IsValid() && b.Address.Port() == 0 {
					port := dst.Port()
					if s.TargetPort != 0 {
						port = s.TargetPort
					}
					b.Address = netip.AddrPortFrom(b.Address.Addr(), port)
				}
				if b.Pos == (record.Pos{}) {
					b.Pos = half.Pos
				}
				l.Backends = append(l.Backends, b)
			}
			out = append(out, l)
		}
	}
	return out
}

// Tuples are the connection as its client sees it and as the last known hop
// leaves it. The second is the zero tuple where no path leads on.
func (c *Connection) Tuples() (client, final record.Tuple) {
	if c.of == nil {
		return client, final
	}
	return record.Tuple{Source: c.of.client, Destination: c.of.service}, c.of.final
}

// IP is the protocol of the connection as a number.
func (c *Connection) IP() record.Protocol {
	if c.of == nil {
		return 0
	}
	return c.of.protocol
}

// Entries are the entries of tables and the rows of logs that the answer rests
// on, in the order of the path: those that rewrite the connection, then those
// that saw it pass.
func (c *Connection) Entries() []record.Translation {
	var out []record.Translation
	if c.of == nil {
		return nil
	}
	for _, s := range c.of.steps {
		out = append(out, s.ts...)
	}
	for _, s := range c.of.through {
		out = append(out, s.t)
	}
	return out
}

// Ends are the sockets of the client and of the server that listings show.
func (c *Connection) Ends() (client, server []record.Socket) {
	if c.of == nil {
		return nil, nil
	}
	return c.of.sockets, c.of.servers
}

// Seat is the network namespace of a connection's client, where it is known.
func (k *Case) Seat(c *Connection) (at record.Scope, known bool) {
	if c.of == nil || c.of.place == nil {
		return at, false
	}
	return c.of.place.scope(), true
}

// Holders are the network namespaces that are known to hold an address, on a
// host ("": on any).
func (k *Case) Holders(a netip.Addr, host string) []record.Scope {
	var out []record.Scope
	for _, p := range k.world.holders(a, host) {
		out = append(out, p.scope())
	}
	return out
}
