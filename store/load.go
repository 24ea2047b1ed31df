package store

import (
	"database/sql"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"whichbackend/analyze/record"
)

// rowsPerInsert is how many rows one INSERT carries. Measured: from one row to
// forty a load becomes three times as fast, beyond that little is gained.
const rowsPerInsert = 40

// bulk gathers rows of one table into long INSERT statements.
type bulk struct {
	tx    *sql.Tx
	table string
	cols  int
	args  []any
	full  *sql.Stmt

	// Of a table with beside set, SQLite takes the rows while the caller makes
	// the next: busy are those that it is at, and written has how that ended.
	beside  bool
	busy    []any
	written chan error
}

func (b *bulk) add(row ...any) error {
	b.cols = len(row)
	b.args = append(b.args, row...)
	if len(b.args) < rowsPerInsert*b.cols {
		return nil
	}
	return b.flush()
}

// flush writes the rows gathered so far; where that happens beside the caller,
// the error is that of the rows before.
func (b *bulk) flush() error {
	if len(b.args) == 0 {
		return nil
	}
	if !b.beside {
		err := b.write(b.args)
		b.args = b.args[:0]
		return err
	}
	var err error
	if b.written == nil {
		b.written = make(chan error, 1)
	} else {
		err = <-b.written
	}
	b.args, b.busy = b.busy[:0], b.args
	go func() { b.written <- b.write(b.busy) }()
	return err
}

// settle writes all rows and waits for them.
func (b *bulk) settle() error {
	err := b.flush()
	if b.written != nil {
		if e := <-b.written; err == nil {
			err = e
		}
		b.written = nil
	}
	return err
}

func (b *bulk) write(args []any) error {
	rows := len(args) / b.cols
	row := "(?" + strings.Repeat(",?", b.cols-1) + ")"
	query := "INSERT INTO " + b.table + " VALUES " + row + strings.Repeat(","+row, rows-1)
	var err error
	if rows < rowsPerInsert {
		_, err = b.tx.Exec(query, args...)
		return err
	}
	if b.full == nil {
		if b.full, err = b.tx.Prepare(query); err != nil {
			return err
		}
	}
	_, err = b.full.Exec(args...)
	return err
}

// loader is the state of a case that is being filled. Its error is sticky:
// after the first one nothing is written, and Finish returns it.
type loader struct {
	tx                                                                                       *sql.Tx
	sockets, translations, services, backends, owners, addresses, readings, problems, blocks bulk
	flows, conversations, crossings, interfaces, undecoded                                   bulk
	service, flow                                                                            int
	half                                                                                     []byte
	indexed                                                                                  chan error // see FlowsDone
	err                                                                                      error
}

func newLoader(db *sql.DB) (*loader, error) {
	tx, err := db.Begin()
	if err != nil {
		return nil, err
	}
	l := &loader{tx: tx}
	for table, b := range map[string]*bulk{"socket": &l.sockets, "translation": &l.translations, "service": &l.services,
		"backend": &l.backends, "owner": &l.owners, "address": &l.addresses, "reading": &l.readings, "problem": &l.problems, "block": &l.blocks,
		"flow": &l.flows, "conversation": &l.conversations, "crossing": &l.crossings, "interface": &l.interfaces, "undecoded": &l.undecoded} {
		b.tx, b.table = tx, table
	}
	l.flows.beside = true // the one table of which hundreds of thousands of rows come at once
	return l, nil
}

func (l *loader) keep(err error) {
	if l.err == nil {
		l.err = err
	}
}

// endpoint encodes an address and port for a column: see schema.sql.
func endpoint(a netip.AddrPort) any {
	if !a.IsValid() {
		return nil
	}
	if a.Addr().Is4() {
		b := a.Addr().As4()
		return int64(b[0])<<40 | int64(b[1])<<32 | int64(b[2])<<24 | int64(b[3])<<16 | int64(a.Port())
	}
	return a.String()
}

// none stores zero values as NULL, which take no room.
func none[T comparable](v T) any {
	var zero T
	if v == zero {
		return nil
	}
	return v
}

func flag(bit int64, set bool) int64 {
	if set {
		return bit
	}
	return 0
}

// Socket stores one socket.
func (s *Store) Socket(k *record.Socket) {
	s.in.keep(s.in.sockets.add(k.Section, k.Line, none(k.Pointer), int64(k.Protocol), k.State, socketEnd(k.Local, k.LocalCut), socketEnd(k.Remote, k.RemoteCut),
		none(k.LocalCut), none(k.RemoteCut), none(k.Device), none(k.RecvQ), none(k.SendQ), int64(k.UID), none(int64(k.PID)), none(k.Program),
		none(int64(k.Inode)), none(int64(k.Cookie)), none(int64(k.BytesSent)), none(int64(k.BytesAcked)), none(int64(k.BytesReceived)), none(k.Timer)))
}

// socketEnd leaves the endpoint of a cut address unknown but for its port,
// which is kept as the text ":port".
func socketEnd(a netip.AddrPort, cut string) any {
	if cut != "" {
		return ":" + strconv.Itoa(int(a.Port()))
	}
	return endpoint(a)
}

// Translation stores one translation.
func (s *Store) Translation(t *record.Translation) {
	if t.Via == record.ViaCapture {
		s.crossing(t)
		return
	}
	flags := flag(1, t.Unreplied) | flag(2, t.Assured) | flag(4, t.Offloaded) | flag(8, t.Closing) |
		flag(16, t.Selects) | flag(32, t.Loopback) | flag(64, t.Ingress) | flag(128, t.Request) | flag(256, t.Proxied)
	var start any
	if !t.Start.IsZero() {
		start = t.Start.UnixNano()
	}
	s.in.keep(s.in.translations.add(t.Section, t.Line, none(t.Pointer), int64(t.Protocol), string(t.Via), endpoint(t.Before.Source), endpoint(t.Before.Destination),
		endpoint(t.After.Source), endpoint(t.After.Destination), none(t.State), flags, none(t.Event), t.Timeout, none(int64(t.Zone)), none(int64(t.Mark)),
		none(int64(t.ID)), none(int64(t.Packets)), none(int64(t.Bytes)), none(int64(t.Service)), none(int64(t.Backend)),
		none(t.RequestID), none(t.Cluster), none(t.Flags), start, none(int64(t.Duration)), none(t.Peer), endpoint(t.Tunnel)))
}

// Service stores one service with its backends.
func (s *Store) Service(v *record.Service) {
	s.in.service++
	id := s.in.service
	s.in.keep(s.in.services.add(id, v.Section, v.Line, none(v.Pointer), string(v.Source), v.Mechanism, int64(v.Protocol), endpoint(v.Address),
		none(int64(v.Mark)), none(int64(v.ID)), v.Namespace, v.Name, v.Port, v.Type, none(int64(v.TargetPort)), none(v.Cluster), none(v.Scheduler), v.HTTP, v.Affinity, v.Local, v.Inside, v.Complete))
	for i, b := range v.Backends {
		s.in.keep(s.in.backends.add(id, i, endpoint(b.Address), none(int64(b.ID)), none(b.Slot), b.Weight, b.Probability, b.State, b.Active, b.Namespace, b.Name, b.Host, none(b.Pos.Line), none(b.Pos.Pointer)))
	}
}

// Owner stores one owner.
func (s *Store) Owner(o *record.Owner) {
	addr := ""
	if o.Address.IsValid() {
		addr = o.Address.String()
	}
	s.in.keep(s.in.owners.add(o.Section, o.Line, none(o.Pointer), addr, string(o.Kind), o.Namespace, o.Name, o.Host, o.Workload, o.State, o.HostNetwork,
		o.ContainerID, none(int64(o.PID)), o.Netns, strings.Join(o.Containers, ","), o.Ready, o.Total, none(o.Packet)))
}

// Address stores one address of a network namespace.
func (s *Store) Address(a *record.Address) {
	s.in.keep(s.in.addresses.add(a.Section, a.Line, none(a.Pointer), a.Prefix.String(), a.Device, a.Peer))
}

// Reading stores what a listing says of the state of something.
func (s *Store) Reading(r *record.Reading) {
	s.in.keep(s.in.readings.add(r.Section, r.Line, none(r.Pointer), r.Subject, r.Name, r.Value, r.Number))
}

// Problem stores one problem.
func (s *Store) Problem(p *record.Problem) {
	s.in.keep(s.in.problems.add(p.Section, p.Line, none(p.Packet), none(p.Pointer), p.Text, p.Why))
}

// Input is one argument of the command line.
type Input struct {
	ID      int
	Path    string
	SHA256  string
	Created int64 // nanoseconds since 1970, 0 when no manifest tells
}

// Finish writes what is known only at the end, makes the indices and views,
// and turns the case readable.
func (s *Store) Finish(inputs []Input, artifacts []*record.Artifact, sections []*record.Section) error {
	l := s.in
	in := bulk{tx: l.tx, table: "input"}
	for _, i := range inputs {
		l.keep(in.add(i.ID, i.Path, i.SHA256, i.Created))
	}
	l.keep(in.flush())
	at := bulk{tx: l.tx, table: "artifact"}
	for _, a := range artifacts {
		var recorded any
		if !a.Recorded.IsZero() {
			recorded = a.Recorded.UnixNano()
		}
		l.keep(at.add(a.ID, a.Input, a.Path, a.Scope.Host, string(a.Scope.Kind), a.Scope.Namespace, a.Scope.Name, a.Size, a.SHA256, recorded, a.Truncated))
	}
	l.keep(at.flush())
	st := bulk{tx: l.tx, table: "section"}
	for _, x := range sections {
		l.keep(st.add(x.ID, x.Artifact, x.Line, x.Format, x.Tool, x.Command, x.Scope.Host, string(x.Scope.Kind), x.Scope.Namespace, x.Scope.Name, x.Lines, x.Understood, x.Ignored, x.Unknown))
	}
	l.keep(st.flush())
	for _, b := range []*bulk{&l.sockets, &l.translations, &l.services, &l.backends, &l.owners, &l.addresses, &l.readings, &l.problems, &l.blocks,
		&l.flows, &l.conversations, &l.crossings, &l.interfaces, &l.undecoded} {
		l.keep(b.settle())
	}
	if l.indexed != nil {
		l.keep(<-l.indexed)
	}
	if l.err != nil {
		l.tx.Rollback()
		return l.err
	}
	if err := l.tx.Commit(); err != nil {
		return err
	}
	if err := s.indexAndViews(l.indexed == nil); err != nil {
		return err
	}
	_, err := s.db.Exec("PRAGMA user_version=" + strconv.Itoa(SchemaVersion) + "; ANALYZE; INSERT INTO meta VALUES ('finished', 1)")
	s.in = nil
	return err
}

// SetMeta keeps one value beside the records, before Finish.
func (s *Store) SetMeta(key, value string) {
	_, err := s.in.tx.Exec("INSERT OR REPLACE INTO meta VALUES (?, ?)", key, value)
	s.in.keep(err)
}

// Missing stores what the collector says that it could not record.
func (s *Store) Missing(input int, m Missing) {
	_, err := s.in.tx.Exec("INSERT INTO missing VALUES (?, ?, ?, ?, ?)", input, m.Host, m.What, m.Because, m.Detail)
	s.in.keep(err)
}

// Missing is one thing that could not be recorded; Because is one of the
// words of the bundle format.
type Missing struct {
	Input                       int // number of the input that says so; Store.Missing takes it apart
	Host, What, Because, Detail string
}

// Text returns a writer for the text of an artifact, from which evidence is
// quoted later. Close it after the last byte.
func (s *Store) Text(artifact int) io.WriteCloser {
	return &textWriter{l: s.in, artifact: artifact, line: 1}
}
