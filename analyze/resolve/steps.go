package resolve

import (
	"net/netip"

	"whichbackend/analyze/record"
)

// Step is one rewriting on the path of a connection, with the entries of the
// tables and logs that say so.
type Step struct {
	Mechanism     string
	Via           record.Via
	Place         record.Scope // whose table or log it is
	Before, After record.Tuple // a zero end of After: not known
	State         string       // the table's own word
	Unreplied     bool         // no entry saw an answer
	Entries       []record.Translation
}

// Steps are the rewritings of a connection, in the order of its path.
func (c *Connection) Steps() []Step {
	if c.of == nil {
		return nil
	}
	out := make([]Step, 0, len(c.of.steps))
	for _, s := range c.of.steps {
		x := Step{Mechanism: s.mechanism, Via: s.via, Before: s.before, After: s.after, State: s.state, Unreplied: s.unreplied, Entries: s.ts}
		if s.place != nil {
			x.Place = s.place.scope()
		}
		out = append(out, x)
	}
	return out
}

// HeldIn are the recorded network namespaces that hold an address.
func (k *Case) HeldIn(a netip.Addr) []record.Scope {
	var out []record.Scope
	for _, p := range k.world.holders(a, "") {
		out = append(out, p.scope())
	}
	return out
}
