package store

import (
	"context"
	"database/sql"

	sqlite3 "github.com/mattn/go-sqlite3"
)

// ReadOnly runs a person's own statement. Whatever it is, it can only read:
// SQLite itself is told to refuse everything else, attaching files included.
func (s *Store) ReadOnly(ctx context.Context, statement string) (*sql.Rows, error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	err = conn.Raw(func(c any) error {
		c.(*sqlite3.SQLiteConn).RegisterAuthorizer(func(op int, _, _, _ string) int {
			switch op {
			case sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, 33: // 33: SQLITE_RECURSIVE
				return sqlite3.SQLITE_OK
			}
			return sqlite3.SQLITE_DENY
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	conn.Close()
	return s.db.QueryContext(ctx, statement)
}
