package store

import (
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"whichbackend/analyze/record"
)

// halfColumns are what one end of a flow sent, in the order of its array.
var halfColumns = []string{"packets", "bytes", "payload", "syn", "syns", "fin", "rst", "isn", "mss", "scale", "ttl", "data", "syn_time", "stamps"}

// half writes what one end of a flow sent, in the order of halfColumns.
func half(b []byte, h *record.Half) []byte {
	b = append(b, '[')
	for _, n := range []uint64{h.Packets, h.Bytes, h.Payload, uint64(h.SYN), uint64(h.SYNs), uint64(h.FIN), uint64(h.RST)} {
		b = append(strconv.AppendUint(b, n, 10), ',')
	}
	if h.SYN == 0 {
		b = append(b, "null,"...)
	} else {
		b = append(strconv.AppendUint(b, uint64(h.ISN), 10), ',')
	}
	for _, n := range []int64{int64(h.MSS), int64(h.Scale), int64(h.TTL), int64(h.Data), nanoseconds(h.SYNTime)} {
		b = append(strconv.AppendInt(b, n, 10), ',')
	}
	b = append(b, '[')
	for i, s := range h.Stamps {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(s), 10)
	}
	return append(b, "]]"...)
}

// readHalf reads what half wrote.
func readHalf(text []byte) (record.Half, error) {
	var h record.Half
	var isn *uint32
	var at int64
	list := []any{&h.Packets, &h.Bytes, &h.Payload, &h.SYN, &h.SYNs, &h.FIN, &h.RST, &isn, &h.MSS, &h.Scale, &h.TTL, &h.Data, &at, &h.Stamps}
	if err := json.Unmarshal(text, &list); err != nil {
		return h, fmt.Errorf("%w: %w", errText, err)
	}
	if isn != nil {
		h.ISN = *isn
	}
	h.SYNTime = readTime(at)
	return h, nil
}

// nanoseconds is a time for a column, 0 for none.
func nanoseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func readTime(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// Flow stores one flow and numbers it.
func (s *Store) Flow(f *record.Flow) {
	s.in.flow++
	f.ID = s.in.flow
	flags := flag(1, f.Guessed) | flag(2, f.HTTP)
	var fault any
	if f.Fault != (record.Fault{}) {
		text, err := json.Marshal(f.Fault)
		s.in.keep(err)
		fault = string(text)
	}
	s.in.half = half(s.in.half[:0], &f.Client)
	client := string(s.in.half)
	s.in.half = half(s.in.half[:0], &f.Server)
	s.in.keep(s.in.flows.add(f.ID, f.Section, f.Packet, int64(f.Protocol), endpoint(f.Tuple.Source), endpoint(f.Tuple.Destination), flags,
		f.Interface, none(f.Device), none(f.Leg), none(f.Encapsulation), nanoseconds(f.First), nanoseconds(f.Last), client, string(s.in.half), none(int64(f.Duplicates)),
		fault, endpoint(f.Announced.Source), endpoint(f.Announced.Destination), none(f.Name), none(f.Exchanged), digest(f)))
}

// digest writes what recognises a flow in another capture beside its sequence
// numbers, so that captures of a kept case can be held against others.
func digest(f *record.Flow) []byte {
	b := make([]byte, 0, 128)
	for _, h := range []*record.Half{&f.Client, &f.Server} {
		b = binary.BigEndian.AppendUint16(b, h.IPID)
		b = binary.BigEndian.AppendUint64(b, h.Begin)
		b = binary.BigEndian.AppendUint64(b, uint64(nanoseconds(h.DataTime)))
		b = append(b, byte(h.BeginLength), byte(len(h.Segments)))
		for _, x := range h.Segments {
			for _, n := range []uint32{x.Sequence, x.Length, x.Stamp, uint32(x.Packet)} {
				b = binary.BigEndian.AppendUint32(b, n)
			}
			b = binary.BigEndian.AppendUint64(b, x.Hash)
		}
	}
	return b
}

// readDigest reads what digest wrote.
func readDigest(b []byte, f *record.Flow) error {
	const head, segment = 20, 24
	for _, h := range []*record.Half{&f.Client, &f.Server} {
		if len(b) < head || len(b) < head+segment*int(b[19]) {
			return errText
		}
		h.IPID, h.Begin, h.BeginLength = binary.BigEndian.Uint16(b), binary.BigEndian.Uint64(b[2:]), int(b[18])
		h.DataTime = readTime(int64(binary.BigEndian.Uint64(b[10:])))
		n := int(b[19])
		for b = b[head:]; n > 0; n, b = n-1, b[segment:] {
			h.Segments = append(h.Segments, record.Segment{Sequence: binary.BigEndian.Uint32(b), Length: binary.BigEndian.Uint32(b[4:]),
				Stamp: binary.BigEndian.Uint32(b[8:]), Packet: int(binary.BigEndian.Uint32(b[12:])), Hash: binary.BigEndian.Uint64(b[16:])})
		}
	}
	return nil
}

// Conversation says that flows are views of one conversation.
func (s *Store) Conversation(flows []int) {
	for _, f := range flows {
		s.in.keep(s.in.conversations.add(f, flows[0]))
	}
}

// crossing stores a translation of captures.
func (s *Store) crossing(t *record.Translation) {
	flags := flag(1, t.Unreplied) | flag(8, t.Closing) | flag(128, t.Request) | flag(512, t.Relay)
	s.in.keep(s.in.crossings.add(t.Section, t.Packet, t.Behind.Section, t.Behind.Packet, int64(t.Protocol),
		endpoint(t.Before.Source), endpoint(t.Before.Destination), endpoint(t.After.Source), endpoint(t.After.Destination),
		string(t.Tier), none(t.State), flags, none(nanoseconds(t.Start)), none(int64(t.Duration)), none(t.Requests)))
}

// Interface stores one interface of a capture.
func (s *Store) Interface(i *record.Interface) {
	s.in.keep(s.in.interfaces.add(i.Section, i.Number, i.Name, int64(i.LinkType), int64(i.Snaplen), none(i.Filter),
		int64(i.Packets), int64(i.Cut), int64(i.Dropped), i.Lossy, none(nanoseconds(i.First)), none(nanoseconds(i.Last))))
}

// Undecoded stores packets of which no flow was made.
func (s *Store) Undecoded(u *record.Undecoded) {
	s.in.keep(s.in.undecoded.add(u.Section, u.Packet, u.Reason, int64(u.Packets), u.Known))
}

const flowColumns = `id, coalesce((SELECT number FROM conversation WHERE flow = id), id), section, packet, protocol, source, destination, flags, interface, device, leg, encapsulation,
	first, last, client, server, duplicates, fault, announced_source, announced_destination, server_name, exchanged, digest FROM flow `

// FlowsFrom returns the flows whose client is this endpoint, in the order of
// captures and packets.
func (s *Store) FlowsFrom(client netip.AddrPort) (out []Flow, err error) {
	err = s.flows("SELECT "+flowColumns+"WHERE source = ? ORDER BY section, packet", func(f *Flow) error { out = append(out, *f); return nil }, endpoint(client))
	return out, err
}

// FlowsTo returns the flows whose server is this endpoint.
func (s *Store) FlowsTo(server netip.AddrPort) (out []Flow, err error) {
	err = s.flows("SELECT "+flowColumns+"WHERE destination = ? ORDER BY section, packet", func(f *Flow) error { out = append(out, *f); return nil }, endpoint(server))
	return out, err
}

// FlowAt returns the flow whose first packet this is.
func (s *Store) FlowAt(section, packet int) (found *Flow, err error) {
	err = s.flows("SELECT "+flowColumns+"WHERE section = ? AND packet = ? ORDER BY id LIMIT 1", func(f *Flow) error { found = f; return nil }, section, packet)
	return found, err
}

// FlowsOf returns all views of a conversation.
func (s *Store) FlowsOf(conversation int) (out []Flow, err error) {
	err = s.flows("SELECT "+flowColumns+"WHERE id IN (SELECT flow FROM conversation WHERE number = ?1 UNION SELECT ?1) ORDER BY section, packet", func(f *Flow) error { out = append(out, *f); return nil }, conversation)
	return out, err
}

// Flows calls f for every flow, in the order of captures and packets.
func (s *Store) Flows(f func(*Flow) error) error {
	return s.flows("SELECT "+flowColumns+"ORDER BY id", f)
}

// FlowsIn calls f for every flow of a section, in the order of packets.
func (s *Store) FlowsIn(section int, f func(*Flow) error) error {
	return s.flows("SELECT "+flowColumns+"WHERE section = ? ORDER BY id", f, section)
}

// HasFlows tells whether any capture of the case shows a conversation, and
// whether any was recognised on two sides of something.
func (s *Store) HasFlows() (flows, crossings bool, err error) {
	err = s.db.QueryRow("SELECT EXISTS (SELECT 1 FROM flow), EXISTS (SELECT 1 FROM crossing)").Scan(&flows, &crossings)
	return flows, crossings, err
}

// Behind tells for every crossing the section of each of its sides, and the
// conversation behind it.
func (s *Store) Behind(f func(section, behind, conversation int)) error {
	return each(s, `SELECT x.section, x.behind_section, coalesce(c.number, f.id) FROM crossing x
		JOIN flow f ON f.section = x.behind_section AND f.packet = x.behind_packet LEFT JOIN conversation c ON c.flow = f.id`, func(r *sql.Rows) error {
		var section, behind, conversation int
		if err := r.Scan(&section, &behind, &conversation); err != nil {
			return err
		}
		f(section, behind, conversation)
		return nil
	})
}

// CountFlows counts the flows of each section.
func (s *Store) CountFlows() (map[int]int, error) {
	out := map[int]int{}
	err := each(s, "SELECT section, count(*) FROM flow GROUP BY section", func(r *sql.Rows) error {
		var section, n int
		err := r.Scan(&section, &n)
		out[section] = n
		return err
	})
	return out, err
}

// Flow is a stored flow: without its exchanges, and with the number of its
// conversation.
type Flow struct {
	record.Flow
	Conversation int
}

func (s *Store) flows(q string, f func(*Flow) error, args ...any) error {
	return each(s, q, func(r *sql.Rows) error {
		x := &Flow{}
		var ends [4]any
		var flags, first, last int64
		var device, leg, encapsulation, name sql.NullString
		var duplicates, exchanged sql.NullInt64
		var client, server, fault, digest []byte
		err := r.Scan(&x.ID, &x.Conversation, &x.Section, &x.Packet, &x.Protocol, &ends[0], &ends[1], &flags, &x.Interface, &device, &leg, &encapsulation,
			&first, &last, &client, &server, &duplicates, &fault, &ends[2], &ends[3], &name, &exchanged, &digest)
		if err != nil {
			return err
		}
		x.Tuple = record.Tuple{Source: readEndpoint(ends[0]), Destination: readEndpoint(ends[1])}
		x.Announced = record.Tuple{Source: readEndpoint(ends[2]), Destination: readEndpoint(ends[3])}
		x.Guessed, x.HTTP = flags&1 != 0, flags&2 != 0
		x.Device, x.Leg, x.Encapsulation, x.Name = device.String, leg.String, encapsulation.String, name.String
		x.Duplicates, x.Exchanged = uint64(duplicates.Int64), int(exchanged.Int64)
		x.First, x.Last = readTime(first), readTime(last)
		if x.Client, err = readHalf(client); err != nil {
			return err
		}
		if x.Server, err = readHalf(server); err != nil {
			return err
		}
		if err = readDigest(digest, &x.Flow); err != nil {
			return err
		}
		if len(fault) > 0 {
			if err := json.Unmarshal(fault, &x.Fault); err != nil {
				return fmt.Errorf("%w: %w", errText, err)
			}
		}
		return f(x)
	}, args...)
}

const crossingColumns = "section, packet, behind_section, behind_packet, protocol, before_source, before_destination, after_source, after_destination, tier, state, flags, start, duration, requests FROM crossing "

// CrossingsFrom returns the translations of captures that a connection of this
// source enters.
func (s *Store) CrossingsFrom(source netip.AddrPort) ([]record.Translation, error) {
	return s.crossings("SELECT "+crossingColumns+"WHERE before_source = ? ORDER BY section, packet, behind_section, behind_packet", endpoint(source))
}

// CrossingsTo returns the translations of captures that make this source.
func (s *Store) CrossingsTo(source netip.AddrPort) ([]record.Translation, error) {
	return s.crossings("SELECT "+crossingColumns+"WHERE after_source = ? ORDER BY section, packet, behind_section, behind_packet", endpoint(source))
}

// Crossings returns all translations of captures.
func (s *Store) Crossings() ([]record.Translation, error) {
	return s.crossings("SELECT " + crossingColumns + "ORDER BY section, packet, behind_section, behind_packet")
}

func (s *Store) crossings(q string, args ...any) ([]record.Translation, error) {
	return query(s, q, func(r *sql.Rows) (t record.Translation, err error) {
		var ends [4]any
		var state sql.NullString
		var start, duration, requests sql.NullInt64
		var flags int64
		err = r.Scan(&t.Section, &t.Packet, &t.Behind.Section, &t.Behind.Packet, &t.Protocol, &ends[0], &ends[1], &ends[2], &ends[3], &t.Tier, &state, &flags, &start, &duration, &requests)
		t.Via, t.State, t.Timeout = record.ViaCapture, state.String, -1
		t.Before = record.Tuple{Source: readEndpoint(ends[0]), Destination: readEndpoint(ends[1])}
		t.After = record.Tuple{Source: readEndpoint(ends[2]), Destination: readEndpoint(ends[3])}
		t.Unreplied, t.Closing, t.Request, t.Relay = flags&1 != 0, flags&8 != 0, flags&128 != 0, flags&512 != 0
		t.Start, t.Duration, t.Requests = readTime(start.Int64), time.Duration(duration.Int64), int(requests.Int64)
		return t, err
	}, args...)
}

// Interfaces returns what captures tell of their interfaces.
func (s *Store) Interfaces() ([]record.Interface, error) {
	return query(s, "SELECT section, number, name, link_type, snaplen, filter, packets, cut, dropped, lossy, first, last FROM interface ORDER BY section, number", func(r *sql.Rows) (i record.Interface, err error) {
		var filter sql.NullString
		var first, last sql.NullInt64
		err = r.Scan(&i.Section, &i.Number, &i.Name, &i.LinkType, &i.Snaplen, &filter, &i.Packets, &i.Cut, &i.Dropped, &i.Lossy, &first, &last)
		i.Filter, i.First, i.Last = filter.String, readTime(first.Int64), readTime(last.Int64)
		return i, err
	})
}

// AllUndecoded returns the packets of which no flow was made, by reason.
func (s *Store) AllUndecoded() ([]record.Undecoded, error) {
	return query(s, "SELECT section, packet, reason, packets, known FROM undecoded ORDER BY section, known, packets DESC, reason", func(r *sql.Rows) (u record.Undecoded, err error) {
		err = r.Scan(&u.Section, &u.Packet, &u.Reason, &u.Packets, &u.Known)
		return u, err
	})
}
