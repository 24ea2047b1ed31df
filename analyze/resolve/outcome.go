package resolve

import (
	"fmt"
	"time"

	"whichbackend/analyze/record"
	"whichbackend/store"
)

// outcome is how the handshake of a connection went, as captures show it.
type outcome struct {
	word   string // answered, refused, unanswered, unreachable
	end    string // open, closed, reset by client, reset by server; of an answered one
	flow   *store.Flow
	packet int // the packet that shows it
}

// outcomeOf reads how the handshake of one flow went; "" where the capture
// began later.
func outcomeOf(f *store.Flow) outcome {
	o := outcome{flow: f, packet: f.Client.SYN}
	switch {
	case f.Protocol != record.TCP && f.Fault.Packet > 0 && f.Server.Packets == 0:
		o.word, o.packet = "unreachable", f.Fault.Packet
	case f.Protocol != record.TCP:
	case f.Server.SYN > 0:
		o.word, o.end, o.packet = "answered", endOf(f), f.Server.SYN
	case f.Client.SYN == 0:
		o.end = endOf(f)
	case f.Server.RST > 0 && f.Server.Payload == 0 && f.Client.Payload == 0:
		o.word, o.packet = "refused", f.Server.RST
	case f.Fault.Packet > 0 && f.Server.Packets == 0:
		o.word, o.packet = "unreachable", f.Fault.Packet
	case f.Server.Packets == 0 && f.Client.Packets <= uint64(f.Client.SYNs): // one that goes on was answered unseen
		o.word = "unanswered"
	default:
		o.end = endOf(f)
	}
	return o
}

// endOf tells how far a flow saw its connection come to its end. A reset after
// both ends have closed is a habit of some clients, and ends nothing.
func endOf(f *store.Flow) string {
	switch {
	case f.Client.FIN > 0 && f.Server.FIN > 0:
		return "closed"
	case f.Client.RST > 0 && (f.Server.RST == 0 || f.Client.RST < f.Server.RST):
		return "reset by client"
	case f.Server.RST > 0:
		return "reset by server"
	}
	return "open"
}

// stateFrom is the state of a connection that only captures know, in netstat's
// words where there is one.
func stateFrom(f *store.Flow) string {
	o := outcomeOf(f)
	switch {
	case f.Protocol != record.TCP:
		return ""
	case o.word == "refused", o.word == "unreachable":
		return "CLOSE"
	case o.word == "unanswered":
		return "SYN_SENT"
	case o.end == "closed":
		return "TIME_WAIT"
	case o.end == "open":
		return "ESTABLISHED"
	}
	return "CLOSE"
}

// readOutcome puts together what the views of a connection tell of its
// handshake: the nearest to the client decides, and any that saw an answer
// tells that there was one. A client that sends its SYN again did not get the
// answer that was seen behind a NAT; one SYN without an answer tells nothing, as
// the capture may have seen one direction only.
func (r *resolver) readOutcome(c *conn) {
	var near, answered outcome
	again := false
	for i := range c.views {
		f := &c.views[i].Flow
		o := outcomeOf(f)
		if o.word == "answered" && answered.word == "" {
			answered = o
		}
		c.outcome = tellsMore(c.outcome, o)
		if f.Tuple.Source == c.client && f.Tuple.Destination == c.service {
			near = tellsMore(near, o)
			again = again || f.Client.SYNs > 1
		}
	}
	switch {
	case answered.word == "":
		return
	case near.word == "unanswered" && again, c.outcome.word != "answered":
		c.against = "a capture behind it shows an answer, which did not reach the client's side"
		answered.end = ""
	default:
		return
	}
	c.outcome = answered
}

// tellsMore is a, or b where a tells nothing or saw no answer, or where b saw the
// refusal nearer to who refused.
func tellsMore(a, b outcome) outcome {
	if b.word != "" && (a.word == "" || a.word == "unanswered" && b.word != "unanswered") || a.word == "refused" && b.word == "refused" {
		return b
	}
	return a
}

// patience is how long a client waits at least before it takes a SYN for lost:
// the shortest time that Linux can be made to wait (RFC 6298 asks for a second).
const patience = 200 * time.Millisecond

// unserving tells whether captures show that nothing serves a connection, and says
// why. One SYN without an answer proves nothing: the capture may have ended, or
// have seen one direction only; a repeated one was missed by the client too.
func (r *resolver) unserving(c *conn) (string, bool) {
	o := c.outcome
	if o.flow == nil || c.state == "ESTABLISHED" || len(c.servers) > 0 {
		return "", false
	}
	f, where := o.flow, "it was sent to "+o.flow.Tuple.Destination.String()
	switch {
	case o.word == "refused":
		return where + ", which refused it: a reset came back", true
	case o.word == "unreachable":
		return where + ", and " + f.Fault.From.String() + " says that it is " + faultName(f.Fault), true
	case o.word == "unanswered" && f.Client.SYNs > 1 && f.Last.Sub(f.First) >= patience:
		return fmt.Sprintf("%s, which never answered: the SYN was sent %d times within %s", where, f.Client.SYNs, f.Last.Sub(f.First).Round(time.Millisecond)), true
	}
	return "", false
}

// faultName says an ICMP error in words (RFC 792, RFC 1122, RFC 4443).
func faultName(f record.Fault) string {
	name := ""
	switch {
	case f.Six && f.Type == 1:
		name = pick(f.Code, "without a route", "administratively prohibited", "beyond the scope of the source", "unreachable", "a closed port", "refused by policy", "on a rejected route")
	case f.Six && f.Type == 2:
		name = "reached by smaller packets only"
	case f.Six && f.Type == 3, !f.Six && f.Type == 11:
		name = "too many hops away"
	case !f.Six && f.Type == 3:
		name = pick(f.Code, "on an unreachable network", "unreachable", "without that protocol", "a closed port", "reached by smaller packets only", "not reached by source route",
			"on an unknown network", "unknown", "isolated", "on a prohibited network", "administratively prohibited", "", "", "administratively prohibited")
	}
	if name == "" {
		return fmt.Sprintf("not reached (ICMP type %d, code %d)", f.Type, f.Code)
	}
	return fmt.Sprintf("%s (ICMP type %d, code %d)", name, f.Type, f.Code)
}

func pick(i uint8, list ...string) string {
	if int(i) < len(list) {
		return list[i]
	}
	return ""
}
