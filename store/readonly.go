package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	sqlite3 "github.com/mattn/go-sqlite3"
)

// ErrStatement says that a person's own statement was refused.
var ErrStatement = errors.New("the database is read-only: one SELECT is what it answers")

// ReadOnly runs a person's own statement. Whatever it is, it can only read:
// SQLite itself is told to refuse everything else, attaching files included.
func (s *Store) ReadOnly(ctx context.Context, statement string) (*sql.Rows, error) {
	if several(statement) {
		return nil, ErrStatement // the driver would run them all and show the last
	}
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	err = conn.Raw(func(c any) error {
		c.(*sqlite3.SQLiteConn).RegisterAuthorizer(func(op int, _, function, _ string) int {
			switch {
			case op == sqlite3.SQLITE_FUNCTION && strings.EqualFold(function, "load_extension"):
				return sqlite3.SQLITE_DENY
			case op == sqlite3.SQLITE_SELECT, op == sqlite3.SQLITE_READ, op == sqlite3.SQLITE_FUNCTION, op == 33: // 33: SQLITE_RECURSIVE
				return sqlite3.SQLITE_OK
			}
			return sqlite3.SQLITE_DENY
		})
		return nil
	})
	conn.Close()
	if err != nil {
		return nil, err
	}
	rows, err := s.db.QueryContext(ctx, statement)
	var e sqlite3.Error
	if errors.As(err, &e) && e.Code == sqlite3.ErrAuth {
		return nil, fmt.Errorf("%w (%w)", ErrStatement, err)
	}
	return rows, err
}

// several tells whether anything but blanks and comments follows the first
// semicolon outside of quotes and comments.
func several(statement string) bool {
	ended := false
	for s := statement; s != ""; {
		n := 1
		switch c := s[0]; {
		case strings.HasPrefix(s, "--"):
			n = until(s, 2, "\n")
		case strings.HasPrefix(s, "/*"):
			n = until(s, 2, "*/")
		case c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\f':
		case c == ';':
			ended = true
		case ended:
			return true
		case c == '\'' || c == '"' || c == '`':
			n = until(s, 1, s[:1])
		case c == '[':
			n = until(s, 1, "]")
		}
		s = s[n:]
	}
	return false
}

// until is where a piece that begins a text ends, its end included. A doubled
// quote inside a text ends one piece and begins the next.
func until(s string, from int, end string) int {
	if i := strings.Index(s[from:], end); i >= 0 {
		return from + i + len(end)
	}
	return len(s)
}
