package render

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	"whichbackend/analyze/resolve"
)

// name is how a party is called, "" when it has no name. Pods and containers
// are most of what is shown, and go without their kind.
func name(p resolve.Party) string {
	n := p.Name
	if n != "" && p.Namespace != "" {
		n = p.Namespace + "/" + n
	}
	switch p.Kind {
	case "", "pod", "container":
		return n
	case "service":
		return strings.TrimRight("svc "+n, " ")
	}
	if n == "" {
		return ""
	}
	return p.Kind + " " + n
}

// address leaves out a port that is not known.
func address(p resolve.Party) string { return strings.TrimSuffix(p.Address, ":0") }

// party is the name and the address.
func party(p resolve.Party) string {
	s := strings.Trim(name(p)+" "+address(p), " ")
	if s == "" {
		return "not known"
	}
	return s
}

// service is what the client dialled; TCP goes without saying.
func service(c *resolve.Connection) string {
	if c.Protocol == "" || c.Protocol == "tcp" {
		return party(c.Service)
	}
	return party(c.Service) + " " + c.Protocol
}

// backends says in a few words what serves; wide names all that may.
func backends(c *resolve.Connection, wide bool) string {
	n := len(c.Backends)
	s := ""
	switch {
	case n == 0 && c.Verdict == resolve.None:
		return "none"
	case n == 0:
		return "not known"
	case n == 1 && c.Verdict != resolve.Candidates:
		return party(c.Backends[0].Party)
	case c.Granularity == "request":
		s = fmt.Sprintf("%d, by request", n)
	case c.Verdict == resolve.Conflicted:
		s = fmt.Sprintf("%d claimed", n)
	case n == 1:
		s = "1 candidate"
	default:
		s = fmt.Sprintf("one of %d", n)
	}
	if !wide {
		return s
	}
	list := make([]string, n)
	for i, b := range c.Backends {
		list[i] = party(b.Party)
	}
	return s + ": " + strings.Join(list, ", ")
}

func style(v resolve.Verdict) string {
	switch v {
	case resolve.Proven, resolve.Observed:
		return green
	case resolve.Deduced, resolve.Candidates:
		return yellow
	case resolve.Conflicted, resolve.None:
		return red
	}
	return magenta
}

// by says whose work the connection is, as it follows a verdict.
func by(c *resolve.Connection) string {
	switch m := strings.Join(c.Mechanisms, ", "); {
	case m == "":
		return ""
	case m == "direct":
		return ", direct: no translation"
	case c.Verdict == resolve.Proven || c.Verdict == resolve.Observed || c.Verdict == resolve.Deduced:
		return " by " + m
	default:
		return " (" + m + ")"
	}
}

// counts says how many connections ended in each verdict.
func counts(list []resolve.Connection) string {
	by := map[resolve.Verdict]int{}
	for i := range list {
		by[list[i].Verdict]++
	}
	noun := "connections"
	if len(list) == 1 {
		noun = "connection"
	}
	return fmt.Sprintf("%d %s: %s", len(list), noun, strings.Join(verdicts(by), ", "))
}

// verdicts lists counts in the order of the verdicts; one that the closed set
// does not have comes last.
func verdicts(by map[resolve.Verdict]int) []string {
	var out, other []string
	for _, v := range resolve.Verdicts {
		if n := by[v.Verdict]; n > 0 {
			out = append(out, fmt.Sprintf("%d %s", n, v.Verdict))
		}
		delete(by, v.Verdict)
	}
	for v, n := range by {
		other = append(other, fmt.Sprintf("%d %s", n, v))
	}
	sort.Strings(other)
	return append(out, other...)
}

// step is one line of a path: a socket at an end, or a hop.
type step struct {
	what, mechanism, change string
	evidence                []resolve.Evidence
}

// steps are the path of a connection, from the client to the backend.
func steps(c *resolve.Connection) []step {
	var out, servers []step
	for _, e := range c.Sockets {
		arrow := " -> "
		if e.Role == "server" {
			arrow = " <- "
		}
		s := step{what: e.Role + " socket", change: joined(e.Local+arrow+e.Remote, e.State), evidence: e.Evidence}
		if e.Program != "" {
			s.change += " (" + e.Program + ")"
		}
		if e.Role == "server" {
			servers = append(servers, s)
		} else {
			out = append(out, s)
		}
	}
	for _, h := range c.Hops {
		out = append(out, step{joined(place(h.Scope), words(h.Via)), h.Mechanism, joined(change(c, h), h.State), h.Evidence})
	}
	return append(out, servers...)
}

// sightings are the places where captures saw a connection. In short, one is
// enough for each pair of addresses that it had; more tells how many are left.
func sightings(c *resolve.Connection, all bool) (list []step, more int) {
	shown := map[[2]string]bool{}
	for _, s := range c.Captures {
		key := [2]string{s.Source, s.Destination}
		if shown[key] && !all {
			more++
			continue
		}
		shown[key] = true
		evidence := s.Evidence
		if !all && len(evidence) > 1 {
			evidence = evidence[:1]
		}
		what := joined(place(s.Scope), "capture", s.Device, s.Leg)
		list = append(list, step{what, "", joined(s.Source+" -> "+s.Destination, s.State) + inBrackets(s.Encapsulation), evidence})
	}
	return list, more
}

// handshake says how a connection began and ended.
func handshake(h *resolve.Handshake) string {
	s := h.Outcome
	switch {
	case h.Outcome == "unreachable" && h.By != "":
		s += ", says " + h.By
	case h.By != "":
		s += " by " + h.By
	}
	if h.Took != "" {
		s += " after " + h.Took
	}
	if h.SYNs > 1 {
		s += fmt.Sprintf(", the SYN sent %d times", h.SYNs)
	}
	if h.End != "" {
		s += "; " + h.End
	}
	return s
}

// Story says of one place where captures saw a connection whose packets begin
// there, and what became of it.
func Story(c *resolve.Connection, v resolve.Seen) string {
	what := party(c.Client) + " -> " + service(c)
	here := v.Flow.Tuple.Source.String() + " -> " + v.Flow.Tuple.Destination.String()
	if here != c.Client.Address+" -> "+c.Service.Address {
		what += ", here as " + here
	}
	return what + "; backend " + backends(c, true) + ", " + string(c.Verdict) + by(c)
}

// count says how many of something there are.
func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return strconv.Itoa(n) + " " + noun
}

// said leaves out the empty texts.
func said(list ...string) []string {
	return slices.DeleteFunc(list, func(s string) bool { return s == "" })
}

// joined joins what is not empty with a blank.
func joined(list ...string) string { return strings.Join(said(list...), " ") }

func words(via string) string { return strings.ReplaceAll(via, "-", " ") }

// place shortens a scope, as node-1/netns/lb_1 or node-1/pods/default/client,
// to the part that tells it from its neighbours; the evidence has the rest.
func place(scope string) string {
	for _, kind := range []string{"pods/", "containers/", "netns/"} {
		if strings.HasPrefix(scope, kind) {
			return strings.TrimPrefix(scope, kind)
		}
		if _, rest, ok := strings.Cut(scope, "/"+kind); ok {
			return rest
		}
	}
	return scope
}

// change says what a hop did: "A => B" for a rewritten destination, "from C as
// D" for a rewritten source.
func change(c *resolve.Connection, h resolve.Hop) string {
	b, a := h.Before, h.After
	if c.Granularity == "request" && a.Destination == "" {
		return known(b.Destination) + " => chosen for each request"
	}
	if c.Verdict == resolve.None && a == (resolve.Side{}) {
		return known(b.Destination) // where it ended; the state says how
	}
	dst := known(b.Destination) + " => " + known(a.Destination)
	src := "from " + known(b.Source) + " as " + known(a.Source)
	sourceStays := a.Source == b.Source || a.Source == "" && a.Destination == "" || b.Source == ""
	switch {
	case a.Destination != b.Destination && sourceStays:
		return dst
	case a.Destination != b.Destination:
		return dst + " " + src
	case !sourceStays:
		return known(b.Source) + " as " + known(a.Source) + " -> " + known(b.Destination)
	}
	return known(b.Source) + " -> " + known(b.Destination) + " unchanged"
}

func known(address string) string {
	if address == "" {
		return "(not known)"
	}
	return address
}

// position is where a piece of evidence is written.
func position(e resolve.Evidence) string {
	s := e.Artifact
	if e.Line > 0 {
		s += ":" + strconv.Itoa(e.Line)
	}
	if e.Packet > 0 {
		s += " packet " + strconv.Itoa(e.Packet)
	}
	if e.Pointer != "" {
		s += "#" + e.Pointer
	}
	return s
}

func seen(c *resolve.Connection) bool { return c.Seen == nil || *c.Seen }

// notSeen says plainly that an entry stands for no recorded connection.
func notSeen(c *resolve.Connection) string {
	return "not in the bundle: no connection from " + party(c.Client) + " to " + service(c) + " was recorded"
}

// byRequest says why a connection through an HTTP proxy may have several backends.
func byRequest(c *resolve.Connection) string {
	const text = "each request chooses its own backend"
	if len(c.Backends) == 0 || !c.Settled() {
		return text
	}
	return text + "; these are the ones that requests of this connection went to"
}

// coverageNote says that something was not understood, "" when nothing was.
func coverageNote(c resolve.Coverage) string {
	if c.Unknown == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d lines were not understood; whichbackend inspect -o wide shows them", c.Unknown, c.Lines)
}
