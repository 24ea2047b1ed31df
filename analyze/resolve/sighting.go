package resolve

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"whichbackend/analyze/record"
	"whichbackend/store"
)

// maxSightings bounds the places that one answer lists for a connection.
const maxSightings = 32

// sightings writes where captures saw a connection, along its path and then in
// the order of time.
func (r *resolver) sightings(c *conn) []Sighting {
	var out []Sighting
	seen := map[int]bool{}
	for i := range c.views {
		v := &c.views[i]
		if seen[v.ID] || len(out) == maxSightings {
			continue
		}
		seen[v.ID] = true
		out = append(out, Sighting{Scope: v.place.String(), Device: v.Device, Leg: v.Leg, Encapsulation: v.Encapsulation,
			Source: v.Tuple.Source.String(), Destination: v.Tuple.Destination.String(), State: sightedState(&v.Flow),
			First: v.First.Format(time.RFC3339Nano), Last: v.Last.Format(time.RFC3339Nano),
			Packets: v.Client.Packets + v.Server.Packets, Sent: v.Client.Payload, Received: v.Server.Payload, Evidence: r.packets(&v.Flow)})
	}
	return out
}

// sightedState says in a word or two what one place saw of the connection.
func sightedState(f *store.Flow) string {
	switch o := outcomeOf(f); {
	case o.word == "answered":
		return o.end
	case o.word != "":
		return o.word
	case o.end != "":
		return o.end
	case f.Server.Packets == 0:
		return "unanswered"
	}
	return "answered"
}

// handshake writes how the handshake went.
func (r *resolver) handshake(c *conn) *Handshake {
	o := c.outcome
	if o.word == "" || o.flow == nil {
		return nil
	}
	f := o.flow
	h := &Handshake{Outcome: o.word, SYNs: f.Client.SYNs, End: o.end, Evidence: r.packetEvidence(f, o.packet)}
	switch o.word {
	case "answered":
		h.By = f.Tuple.Destination.String()
		if f.Client.SYN > 0 && !f.Client.SYNTime.IsZero() && !f.Server.SYNTime.IsZero() {
			h.Took = f.Server.SYNTime.Sub(f.Client.SYNTime).String()
		}
	case "refused":
		h.By = f.Tuple.Destination.String()
		if onlyRefused(f) {
			h.Took = f.Last.Sub(f.Client.SYNTime).String()
		}
	case "unreachable":
		h.By = f.Fault.From.String()
	}
	return h
}

// packets points to the packets that tell most of a flow: its SYN and the
// answer, else its first.
func (r *resolver) packets(f *store.Flow) []Evidence {
	var numbers []int
	for _, n := range []int{f.Client.SYN, f.Server.SYN, f.Fault.Packet, f.Server.RST, f.Client.RST} {
		if n > 0 && len(numbers) < 3 {
			numbers = append(numbers, n)
		}
	}
	if len(numbers) == 0 {
		numbers = []int{f.Packet}
	}
	sort.Ints(numbers)
	out := []Evidence{}
	for i, n := range numbers {
		if i == 0 || n != numbers[i-1] {
			out = append(out, r.packetEvidence(f, n)...)
		}
	}
	return out
}

// packetEvidence points to one packet of a flow.
func (r *resolver) packetEvidence(f *store.Flow, packet int) []Evidence {
	text, at := packetText(f, packet)
	e := Evidence{Artifact: r.artifacts[r.sections[f.Section].Artifact].Path, Packet: packet, Text: clipText(text)}
	if !at.IsZero() {
		e.Time = at.Format(time.RFC3339Nano)
	}
	return []Evidence{e}
}

// packetText says what one packet of a flow is, and when it passed, as far as
// the flow tells.
func packetText(f *store.Flow, packet int) (string, time.Time) {
	from, to := f.Tuple.Source, f.Tuple.Destination
	what, at := "", time.Time{}
	if packet == f.Packet {
		at = f.First
	}
	back := false
	switch {
	case packet == f.Fault.Packet && packet > 0:
		return strings.TrimSpace(fmt.Sprintf("%s %s > %s: says that %s is %s", f.Device, f.Fault.From, from.Addr(), to, faultName(f.Fault))), at
	case packet == f.Client.SYN && packet > 0:
		what, at = fmt.Sprintf("SYN, seq %d%s", f.Client.ISN, stamp(&f.Client)), f.Client.SYNTime
	case packet == f.Server.SYN && packet > 0:
		what, at, back = fmt.Sprintf("SYN/ACK, seq %d%s", f.Server.ISN, stamp(&f.Server)), f.Server.SYNTime, true
	case packet == f.Server.RST && packet > 0:
		what, back = "RST", true
		if onlyRefused(f) {
			at = f.Last
		}
	case packet == f.Client.RST && packet > 0:
		what = "RST"
	case packet == f.Client.FIN && packet > 0:
		what = "FIN"
	case packet == f.Server.FIN && packet > 0:
		what, back = "FIN", true
	case packet != f.Packet:
		what = "a request"
	case f.Protocol == record.TCP:
		what = "first packet captured"
	default:
		what = "first datagram captured"
	}
	if back {
		from, to = to, from
	}
	device := f.Device
	if f.Leg != "" {
		device = strings.TrimSpace(device + " " + f.Leg)
	}
	text := strings.TrimSpace(fmt.Sprintf("%s %s > %s: %s", device, from, to, what))
	if f.Encapsulation != "" {
		text += " (" + f.Encapsulation + ")"
	}
	return text, at
}

// onlyRefused tells whether a flow is one SYN and the reset that came back: then
// the time of the last packet is the reset's.
func onlyRefused(f *store.Flow) bool {
	return f.Client.Packets == 1 && f.Server.Packets == 1 && f.Client.SYN > 0 && f.Server.RST > 0
}

func stamp(h *record.Half) string {
	if len(h.Stamps) == 0 {
		return ""
	}
	return fmt.Sprintf(", TSval %d", h.Stamps[0])
}
