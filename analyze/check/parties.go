package check

import (
	"cmp"

	"whichbackend/analyze/record"
	"whichbackend/analyze/resolve"
)

// place is how titles name a network namespace.
func (s *space) place() string {
	switch {
	case s.scope.Kind == record.ScopePod && s.scope.Namespace != "":
		return s.scope.Namespace + "/" + s.scope.Name
	case s.scope.Kind == record.ScopePod, s.scope.Kind == record.ScopeContainer:
		return s.scope.Name
	}
	return cmp.Or(s.name, "the unnamed host")
}

// object is a network namespace as findings list it.
func (s *space) object() Object {
	return Object{Kind: string(s.scope.Kind), Namespace: s.scope.Namespace, Name: cmp.Or(s.scope.Name, s.scope.Host), Host: s.scope.Host}
}

// peer names the other end of a socket: the service that it dialled, or who
// holds the address.
func (k *Case) peer(e *end, s *space) resolve.Party {
	for _, l := range k.Listings(e.remote, record.TCP, s.scope.Host) {
		return l.Party
	}
	return k.Party(e.remote, s.scope.Host)
}

// address names a party with its address.
func address(p resolve.Party) string {
	if p.Name == "" {
		return p.Address
	}
	return called(p) + " (" + p.Address + ")"
}

// between are the connections whose socket in a network namespace has one of
// these pairs of addresses, from its own side, in the order of the answer.
func (k *Case) between(ends map[record.Tuple]bool, in record.Scope) []Connection {
	var out []Connection
	for i := range k.Answer.Connections {
		c := &k.Answer.Connections[i]
		client, server := c.Ends()
		if has(k, client, ends, in) || has(k, server, ends, in) {
			out = append(out, concerned(c))
		}
	}
	return out
}

func has(k *Case, list []record.Socket, ends map[record.Tuple]bool, in record.Scope) bool {
	for _, x := range list {
		if ends[record.Tuple{Source: x.Local, Destination: x.Remote}] && k.Place(x.Section) == in {
			return true
		}
	}
	return false
}
