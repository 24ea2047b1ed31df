package store

import (
	"database/sql"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"whichbackend/analyze/record"
)

// Inputs returns the inputs in the order of the command line.
func (s *Store) Inputs() ([]Input, error) {
	return query(s, "SELECT id, path, sha256, created FROM input ORDER BY id", func(r *sql.Rows) (i Input, err error) {
		err = r.Scan(&i.ID, &i.Path, &i.SHA256, &i.Created)
		return i, err
	})
}

// Artifacts returns all artifacts, by input and path.
func (s *Store) Artifacts() ([]record.Artifact, error) {
	return query(s, "SELECT id, input, path, host, kind, namespace, name, size, sha256, coalesce(recorded, 0), truncated FROM artifact ORDER BY input, path, id", func(r *sql.Rows) (a record.Artifact, err error) {
		var at int64
		err = r.Scan(&a.ID, &a.Input, &a.Path, &a.Scope.Host, &a.Scope.Kind, &a.Scope.Namespace, &a.Scope.Name, &a.Size, &a.SHA256, &at, &a.Truncated)
		if at != 0 {
			a.Recorded = time.Unix(0, at).UTC()
		}
		return a, err
	})
}

// Sections returns all sections, in the order of their artifacts and lines.
func (s *Store) Sections() ([]record.Section, error) {
	return query(s, `SELECT s.id, s.artifact, s.line, s.format, s.tool, s.command, s.host, s.kind, s.namespace, s.name, s.lines, s.understood, s.ignored, s.unknown
		FROM section s JOIN artifact a ON a.id = s.artifact ORDER BY a.input, a.path, a.id, s.line, s.id`, func(r *sql.Rows) (x record.Section, err error) {
		err = r.Scan(&x.ID, &x.Artifact, &x.Line, &x.Format, &x.Tool, &x.Command, &x.Scope.Host, &x.Scope.Kind, &x.Scope.Namespace, &x.Scope.Name, &x.Lines, &x.Understood, &x.Ignored, &x.Unknown)
		return x, err
	})
}

// Meta returns a value that SetMeta kept, "" when there is none.
func (s *Store) Meta(key string) (string, error) {
	var v sql.NullString
	err := s.db.QueryRow("SELECT value FROM meta WHERE key = ?", key).Scan(&v)
	if err == sql.ErrNoRows {
		err = nil
	}
	return v.String, err
}

// AllMissing returns what could not be recorded.
func (s *Store) AllMissing() ([]Missing, error) {
	return query(s, "SELECT input, host, what, because, detail FROM missing ORDER BY input, host, what, because, detail", func(r *sql.Rows) (m Missing, err error) {
		err = r.Scan(&m.Input, &m.Host, &m.What, &m.Because, &m.Detail)
		return m, err
	})
}

// Problems returns the problems of one section.
func (s *Store) Problems(section int) ([]record.Problem, error) {
	return query(s, "SELECT section, line, packet, pointer, text, why FROM problem WHERE section = ? ORDER BY line, packet, pointer, why", func(r *sql.Rows) (p record.Problem, err error) {
		var ptr sql.NullString
		var packet sql.NullInt64
		err = r.Scan(&p.Section, &p.Line, &packet, &ptr, &p.Text, &p.Why)
		p.Pointer, p.Packet = ptr.String, int(packet.Int64)
		return p, err
	}, section)
}

// Services returns all services with their backends.
func (s *Store) Services() ([]record.Service, error) {
	index := map[int]int{}
	out, err := query(s, `SELECT id, section, line, pointer, source, mechanism, protocol, address, mark, number, namespace, name, port, type, target_port, cluster, scheduler, http, affinity, local, inside, complete
		FROM service ORDER BY id`, func(r *sql.Rows) (v record.Service, err error) {
		var id int
		var address any
		var ptr, cluster, scheduler sql.NullString
		var mark, number, target sql.NullInt64
		err = r.Scan(&id, &v.Section, &v.Line, &ptr, &v.Source, &v.Mechanism, &v.Protocol, &address, &mark, &number, &v.Namespace, &v.Name, &v.Port, &v.Type, &target, &cluster, &scheduler, &v.HTTP, &v.Affinity, &v.Local, &v.Inside, &v.Complete)
		v.Pointer, v.Cluster, v.Scheduler, v.Mark, v.ID, v.TargetPort = ptr.String, cluster.String, scheduler.String, uint32(mark.Int64), uint32(number.Int64), uint16(target.Int64)
		v.Address = readEndpoint(address)
		index[id] = len(index)
		return v, err
	})
	if err != nil {
		return nil, err
	}
	_, err = query(s, "SELECT service, address, number, slot, weight, probability, state, active, namespace, name, host, line, pointer FROM backend ORDER BY service, position", func(r *sql.Rows) (b record.Backend, err error) {
		var id int
		var address any
		var number, line, slot sql.NullInt64
		var ptr sql.NullString
		err = r.Scan(&id, &address, &number, &slot, &b.Weight, &b.Probability, &b.State, &b.Active, &b.Namespace, &b.Name, &b.Host, &line, &ptr)
		b.Address, b.ID, b.Slot = readEndpoint(address), uint32(number.Int64), int(slot.Int64)
		if i, ok := index[id]; ok {
			if line.Valid || ptr.Valid {
				b.Pos = record.Pos{Section: out[i].Section, Line: int(line.Int64), Pointer: ptr.String}
			}
			out[i].Backends = append(out[i].Backends, b)
		}
		return b, err
	})
	return out, err
}

// Owners returns all owners.
func (s *Store) Owners() ([]record.Owner, error) {
	return query(s, `SELECT section, line, pointer, address, kind, namespace, name, host, workload, state, host_network, container_id, pid, netns, containers, ready, total, packet
		FROM owner ORDER BY rowid`, func(r *sql.Rows) (o record.Owner, err error) {
		var addr, containers string
		var ptr sql.NullString
		var pid, packet sql.NullInt64
		err = r.Scan(&o.Section, &o.Line, &ptr, &addr, &o.Kind, &o.Namespace, &o.Name, &o.Host, &o.Workload, &o.State, &o.HostNetwork, &o.ContainerID, &pid, &o.Netns, &containers, &o.Ready, &o.Total, &packet)
		o.Pointer, o.PID, o.Packet = ptr.String, int(pid.Int64), int(packet.Int64)
		o.Address, _ = netip.ParseAddr(addr)
		if containers != "" {
			o.Containers = strings.Split(containers, ",")
		}
		return o, err
	})
}

// Addresses returns all addresses of network namespaces.
func (s *Store) Addresses() ([]record.Address, error) {
	return query(s, "SELECT section, line, pointer, prefix, device, peer FROM address ORDER BY rowid", func(r *sql.Rows) (a record.Address, err error) {
		var prefix string
		var ptr sql.NullString
		err = r.Scan(&a.Section, &a.Line, &ptr, &prefix, &a.Device, &a.Peer)
		a.Pointer = ptr.String
		a.Prefix, _ = netip.ParsePrefix(prefix)
		return a, err
	})
}

// Readings returns all readings.
func (s *Store) Readings() ([]record.Reading, error) {
	return query(s, "SELECT section, line, pointer, subject, name, value, number FROM reading ORDER BY rowid", func(r *sql.Rows) (x record.Reading, err error) {
		var ptr sql.NullString
		err = r.Scan(&x.Section, &x.Line, &ptr, &x.Subject, &x.Name, &x.Value, &x.Number)
		x.Pointer = ptr.String
		return x, err
	})
}

const socketColumns = "section, line, pointer, protocol, state, local, remote, local_cut, remote_cut, uid, pid, program, inode, cookie, bytes_sent, bytes_acked, bytes_received, recv_q, send_q FROM socket "

// Sockets calls f for every socket.
func (s *Store) Sockets(f func(*record.Socket) error) error {
	return s.sockets("SELECT "+socketColumns+"ORDER BY rowid", f)
}

// SocketsLocal returns the sockets with this local endpoint.
func (s *Store) SocketsLocal(local netip.AddrPort) (out []record.Socket, err error) {
	err = s.sockets("SELECT "+socketColumns+"WHERE local = ? ORDER BY rowid", func(k *record.Socket) error { out = append(out, *k); return nil }, endpoint(local))
	return out, err
}

// SocketsRemote returns the sockets with this remote endpoint.
func (s *Store) SocketsRemote(remote netip.AddrPort) (out []record.Socket, err error) {
	err = s.sockets("SELECT "+socketColumns+"WHERE remote = ? ORDER BY rowid", func(k *record.Socket) error { out = append(out, *k); return nil }, endpoint(remote))
	return out, err
}

func (s *Store) sockets(q string, f func(*record.Socket) error, args ...any) error {
	return each(s, q, func(r *sql.Rows) error {
		var k record.Socket
		var local, remote any
		var ptr, localCut, remoteCut, program sql.NullString
		var pid, inode, cookie, sent, acked, received, recvQ, sendQ sql.NullInt64
		if err := r.Scan(&k.Section, &k.Line, &ptr, &k.Protocol, &k.State, &local, &remote, &localCut, &remoteCut, &k.UID, &pid, &program, &inode, &cookie, &sent, &acked, &received, &recvQ, &sendQ); err != nil {
			return err
		}
		k.Pointer, k.LocalCut, k.RemoteCut, k.Program = ptr.String, localCut.String, remoteCut.String, program.String
		k.PID, k.Inode, k.Cookie, k.RecvQ, k.SendQ = int(pid.Int64), uint64(inode.Int64), uint64(cookie.Int64), recvQ.Int64, sendQ.Int64
		k.BytesSent, k.BytesAcked, k.BytesReceived = uint64(sent.Int64), uint64(acked.Int64), uint64(received.Int64)
		k.Local, k.Remote = readEndpoint(local), readEndpoint(remote)
		return f(&k)
	}, args...)
}

const translationColumns = `section, line, pointer, protocol, via, before_source, before_destination, after_source, after_destination, state, flags, event,
	timeout, zone, number, service, backend, request_id, cluster, response_flags, start, duration, peer, tunnel FROM translation `

// Translations calls f for every translation.
func (s *Store) Translations(f func(*record.Translation) error) error {
	return s.translations("SELECT "+translationColumns+"ORDER BY rowid", f)
}

// TranslationsFrom returns the translations that a connection of this source
// enters.
func (s *Store) TranslationsFrom(source netip.AddrPort) (out []record.Translation, err error) {
	err = s.translations("SELECT "+translationColumns+"WHERE before_source = ? ORDER BY rowid", func(t *record.Translation) error { out = append(out, *t); return nil }, endpoint(source))
	return out, err
}

// TranslationsServed returns the translations that lead to this backend.
func (s *Store) TranslationsServed(backend netip.AddrPort) (out []record.Translation, err error) {
	err = s.translations("SELECT "+translationColumns+"WHERE after_destination = ? ORDER BY rowid", func(t *record.Translation) error { out = append(out, *t); return nil }, endpoint(backend))
	return out, err
}

// plain are the tables whose entries tell both sources of a rewriting.
const plain = "('conntrack', 'conntrack-events', 'ipvs', 'cilium-ct', 'cilium-nat')"

// Rewritten tells, for each source that a translation makes, the sources that
// it makes it of. whole is false when that does not tell all: an entry has no
// source of its own, is of a proxy, or leads to one of the ports.
func (s *Store) Rewritten(ports []uint16) (made map[netip.AddrPort][]netip.AddrPort, whole bool, err error) {
	made, whole = map[netip.AddrPort][]netip.AddrPort{}, true
	var list []string
	for _, p := range ports {
		list = append(list, strconv.Itoa(int(p)))
	}
	// The port of an IPv6 endpoint is what follows the last colon.
	other := "(before_source IS NULL OR via NOT IN " + plain + ` OR after_destination IS NOT before_destination AND
		CASE typeof(after_destination) WHEN 'integer' THEN after_destination & 65535 ELSE CAST(substr(after_destination, instr(after_destination, ']:') + 2) AS INTEGER) END IN (` + strings.Join(list, ",") + "))"
	err = each(s, "SELECT DISTINCT after_source, before_source, "+other+" FROM translation WHERE after_source IS NOT NULL AND after_source IS NOT before_source OR "+other, func(r *sql.Rows) error {
		var after, before any
		var o bool
		if err := r.Scan(&after, &before, &o); err != nil {
			return err
		}
		whole = whole && !o
		a := readEndpoint(after)
		made[a] = append(made[a], readEndpoint(before))
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	crossings, err := s.Crossings()
	for _, t := range crossings {
		whole = whole && !t.Relay
		if t.After.Source != t.Before.Source {
			made[t.After.Source] = append(made[t.After.Source], t.Before.Source)
		}
	}
	return made, whole, err
}

// Sources returns the endpoints of an address that translations enter with or
// that flows begin at, each once.
func (s *Store) Sources(a netip.Addr) ([]netip.AddrPort, error) {
	first, last := endpoint(netip.AddrPortFrom(a, 0)), endpoint(netip.AddrPortFrom(a, 65535))
	if !a.Is4() {
		first, last = "["+a.String()+"]:", "["+a.String()+"];" // a semicolon follows the colon
	}
	return query(s, `SELECT before_source FROM translation WHERE before_source BETWEEN ?1 AND ?2
		UNION SELECT source FROM flow WHERE source BETWEEN ?1 AND ?2`, func(r *sql.Rows) (netip.AddrPort, error) {
		var v any
		err := r.Scan(&v)
		return readEndpoint(v), err
	}, first, last)
}

// Redirected calls f for every translation that leads to another port of the
// address that was dialled.
func (s *Store) Redirected(f func(section int, dialled netip.AddrPort)) error {
	return each(s, "SELECT section, before_destination, after_destination FROM translation WHERE before_destination <> after_destination ORDER BY rowid", func(r *sql.Rows) error {
		var section int
		var before, after any
		if err := r.Scan(&section, &before, &after); err != nil {
			return err
		}
		if b, a := readEndpoint(before), readEndpoint(after); b.Addr() == a.Addr() && !b.Addr().IsLoopback() {
			f(section, b)
		}
		return nil
	})
}

// LoopbackTranslations returns all hairpin legs whose source is a stand-in.
func (s *Store) LoopbackTranslations() (out []record.Translation, err error) {
	err = s.translations("SELECT "+translationColumns+"WHERE flags & 32 ORDER BY rowid", func(t *record.Translation) error { out = append(out, *t); return nil })
	return out, err
}

func (s *Store) translations(q string, f func(*record.Translation) error, args ...any) error {
	return each(s, q, func(r *sql.Rows) error {
		var t record.Translation
		var ends [5]any
		var ptr, state, event, requestID, cluster, responseFlags, peer sql.NullString
		var flags int64
		var zone, number, service, backend, start, duration sql.NullInt64
		if err := r.Scan(&t.Section, &t.Line, &ptr, &t.Protocol, &t.Via, &ends[0], &ends[1], &ends[2], &ends[3], &state, &flags, &event,
			&t.Timeout, &zone, &number, &service, &backend, &requestID, &cluster, &responseFlags, &start, &duration, &peer, &ends[4]); err != nil {
			return err
		}
		t.Pointer, t.State, t.Event, t.RequestID, t.Cluster, t.Flags, t.Peer = ptr.String, state.String, event.String, requestID.String, cluster.String, responseFlags.String, peer.String
		t.Before = record.Tuple{Source: readEndpoint(ends[0]), Destination: readEndpoint(ends[1])}
		t.After = record.Tuple{Source: readEndpoint(ends[2]), Destination: readEndpoint(ends[3])}
		t.Tunnel = readEndpoint(ends[4])
		t.Zone, t.ID, t.Service, t.Backend = uint32(zone.Int64), uint64(number.Int64), uint32(service.Int64), uint32(backend.Int64)
		t.Duration = time.Duration(duration.Int64)
		if start.Valid {
			t.Start = time.Unix(0, start.Int64).UTC()
		}
		t.Unreplied, t.Assured, t.Offloaded, t.Closing = flags&1 != 0, flags&2 != 0, flags&4 != 0, flags&8 != 0
		t.Selects, t.Loopback, t.Ingress, t.Request, t.Proxied = flags&16 != 0, flags&32 != 0, flags&64 != 0, flags&128 != 0, flags&256 != 0
		return f(&t)
	}, args...)
}

// readEndpoint decodes an endpoint column: see schema.sql.
func readEndpoint(v any) netip.AddrPort {
	switch v := v.(type) {
	case int64:
		a := netip.AddrFrom4([4]byte{byte(v >> 40), byte(v >> 32), byte(v >> 24), byte(v >> 16)})
		return netip.AddrPortFrom(a, uint16(v))
	case string:
		if strings.HasPrefix(v, ":") { // the port beside a cut address
			var p uint16
			fmt.Sscanf(v, ":%d", &p)
			return netip.AddrPortFrom(netip.Addr{}, p)
		}
		a, _ := netip.ParseAddrPort(v)
		return a
	}
	return netip.AddrPort{}
}

// each runs a query and calls f for every row.
func each(s *Store, q string, f func(*sql.Rows) error, args ...any) error {
	st, err := s.stmt(q)
	if err != nil {
		return err
	}
	rows, err := st.Query(args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// query runs a query and collects its rows.
func query[T any](s *Store, q string, scan func(*sql.Rows) (T, error), args ...any) ([]T, error) {
	var out []T
	err := each(s, q, func(r *sql.Rows) error {
		v, err := scan(r)
		out = append(out, v)
		return err
	}, args...)
	return out, err
}
