// Package store keeps the records of one case in one SQLite file: bulk in,
// indexed look-ups out. It decides nothing about connections; it does not
// parse, and it never reads a bundle.
package store

import (
	"database/sql"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"regexp"
	"strings"

	sqlite3 "github.com/mattn/go-sqlite3" // also the driver of that name
)

// SchemaVersion is the version of the tables. A file of another version is
// not read; its bundle is loaded again.
const SchemaVersion = 5

// applicationID marks the file as ours in SQLite's header ("wbkd").
const applicationID = 0x77626b64

//go:embed schema.sql
var schemaSQL string

//go:embed views.sql
var viewsSQL string

// ErrNotACase says that a file is no database of this program, or one of
// another schema version, or one whose load was cut off.
var ErrNotACase = errors.New("not a finished whichbackend database of this version")

// Store is one case.
type Store struct {
	db    *sql.DB
	in    *loader
	stmts map[string]*sql.Stmt
	texts texts
}

// Create makes an empty case in a new file at path, or in memory when path is
// ":memory:". It is readable after Finish.
func Create(path string) (*Store, error) {
	dsn := "file::memory:"
	if path != ":memory:" {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, err
		}
		f.Close()
		dsn = "file:" + escape(path)
	}
	// The file is of no use until the load is finished, so it needs no
	// journal: a load that is cut off is thrown away whole. Rows come in order,
	// so that a larger cache brings nothing.
	db, err := sql.Open("sqlite3", dsn+"?_journal_mode=OFF&_synchronous=OFF&_locking_mode=EXCLUSIVE&_cache_size=-16384")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	s := &Store{db: db, stmts: map[string]*sql.Stmt{}}
	if _, err := db.Exec(fmt.Sprintf("PRAGMA application_id=%d; PRAGMA page_size=8192; %s", applicationID, schemaSQL)); err != nil {
		db.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	s.in, err = newLoader(db)
	if err != nil {
		db.Close()
		return nil, err
	}
	return s, nil
}

// Open opens a finished case for reading.
func Open(path string) (*Store, error) {
	if !IsDatabase(path) {
		return nil, fmt.Errorf("%s: %w", path, ErrNotACase)
	}
	if err := whole(path); err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite3", "file:"+escape(path)+"?mode=ro&immutable=1&_query_only=1&_cache_size=-65536")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	var app, version, done int
	err = db.QueryRow("PRAGMA application_id").Scan(&app)
	if err == nil {
		err = db.QueryRow("PRAGMA user_version").Scan(&version)
	}
	if err == nil {
		err = db.QueryRow("SELECT count(*) FROM meta WHERE key = 'finished'").Scan(&done)
	}
	if IsDamage(err) {
		db.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err != nil || app != applicationID || version != SchemaVersion || done != 1 {
		db.Close()
		return nil, fmt.Errorf("%s: %w", path, ErrNotACase)
	}
	return &Store{db: db, stmts: map[string]*sql.Stmt{}}, nil
}

// whole tells by the header of a database whether its file was cut.
func whole(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	var head [100]byte
	n, _ := io.ReadFull(f, head[:])
	page := int64(binary.BigEndian.Uint16(head[16:]))
	if page == 1 { // SQLite's way to write 65536
		page = 1 << 16
	}
	if pages := int64(binary.BigEndian.Uint32(head[28:])); n < len(head) || pages*page > info.Size() {
		return fmt.Errorf("%s: %w", path, sqlite3.Error{Code: sqlite3.ErrCorrupt})
	}
	return nil
}

// IsDamage tells whether an error says that the file is damaged.
func IsDamage(err error) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && (e.Code == sqlite3.ErrCorrupt || e.Code == sqlite3.ErrNotADB) || errors.Is(err, errText)
}

// IsDatabase tells whether a file is an SQLite database, by its first bytes.
// A pipe is none, and what it holds is not touched.
func IsDatabase(path string) bool {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var head [16]byte
	n, _ := io.ReadFull(f, head[:])
	return string(head[:n]) == "SQLite format 3\x00"
}

// escape makes a path safe inside a file: URI.
func escape(path string) string { return (&url.URL{Path: path}).EscapedPath() }

// Close closes the case.
func (s *Store) Close() error {
	for _, st := range s.stmts {
		st.Close()
	}
	return s.db.Close()
}

// DB gives the connection, for SQL of the person's own.
func (s *Store) DB() *sql.DB { return s.db }

// stmt prepares a statement once.
func (s *Store) stmt(query string) (*sql.Stmt, error) {
	if st := s.stmts[query]; st != nil {
		return st, nil
	}
	st, err := s.db.Prepare(query)
	if err == nil {
		s.stmts[query] = st
	}
	return st, err
}

var viewMacro = regexp.MustCompile(`\{(\w+):([\w.]+)(?::(\w+))?\}`)

// expandViews writes out {endpoint:c}, {protocol:c} and {half:c}, the SQL that
// makes an endpoint, a protocol number or what one end of a flow sent readable
// without any function of ours, so that the views work in every sqlite3.
func expandViews(text string) string {
	return viewMacro.ReplaceAllStringFunc(text, func(m string) string {
		p := viewMacro.FindStringSubmatch(m)
		c := p[2]
		if p[1] == "half" {
			var cols []string
			for i, name := range halfColumns {
				cols = append(cols, fmt.Sprintf("json_extract(f.%s, '$[%d]') AS %s_%s", c, i, c, name))
			}
			return strings.Join(cols, ", ")
		}
		if p[1] == "protocol" {
			return "CASE " + c + " WHEN 6 THEN 'tcp' WHEN 17 THEN 'udp' WHEN 132 THEN 'sctp' WHEN 1 THEN 'icmp' WHEN 58 THEN 'icmpv6' WHEN 0 THEN NULL ELSE " + c + " END"
		}
		text := "CASE typeof(" + c + ") WHEN 'integer' THEN (" + c + " >> 40) || '.' || (" + c + " >> 32 & 255) || '.' || (" + c +
			" >> 24 & 255) || '.' || (" + c + " >> 16 & 255) || ':' || (" + c + " & 65535) ELSE " + c + " END"
		if p[3] != "" {
			text = "coalesce(" + text + ", " + p[3] + " || '...')"
		}
		return text
	})
}

// indexAndViews runs the second half of the schema, but for what FlowsDone did.
func (s *Store) indexAndViews(flows bool) error {
	for _, q := range strings.Split(expandViews(viewsSQL), ";\n") {
		if strings.TrimSpace(q) == "" || !flows && flowIndex.MatchString(q) {
			continue
		}
		if _, err := s.db.Exec(q); err != nil {
			return fmt.Errorf("%w in %s", err, q)
		}
	}
	return nil
}

var flowIndex = regexp.MustCompile(`(?m)^CREATE INDEX \w+ ON flow .*`)

// FlowsDone says that no more flows come. Their indices are made beside what
// the caller does until Finish.
func (s *Store) FlowsDone() {
	l := s.in
	l.keep(l.flows.settle())
	l.indexed = make(chan error, 1)
	go func() {
		for _, q := range flowIndex.FindAllString(viewsSQL, -1) {
			if _, err := l.tx.Exec(q); err != nil {
				l.indexed <- fmt.Errorf("%w in %s", err, q)
				return
			}
		}
		l.indexed <- nil
	}()
}
