package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"whichbackend/analyze/load"
	"whichbackend/analyze/render"
)

func (a *app) sqlCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sql BUNDLE|DB... 'SELECT ...'",
		Short: "Ask the database yourself, read-only",
		Long: `sql runs one statement on the database of a case and prints the rows. The
database is opened read-only. docs/schema.md describes the views.`,
		Example: `  whichbackend sql bundle.tar.gz 'SELECT source, destination, destination_after FROM translations WHERE destination <> destination_after'
  whichbackend sql case.db 'SELECT backend, count(*) FROM services GROUP BY backend' -o csv`,
		Args: atLeast(2, "a BUNDLE or DB, and a statement"),
		RunE: func(cmd *cobra.Command, args []string) error {
			last := len(args) - 1
			if strings.TrimSpace(args[last]) == "" {
				return usageError{errors.New("the statement is empty; write it as 'SELECT * FROM sockets'")}
			}
			return a.with(cmd.Context(), args[:last], func(c *load.Case) error {
				rows, err := c.ReadOnly(cmd.Context(), args[last])
				switch {
				case load.IsDamage(err), errors.Is(err, context.Canceled):
					return err
				case err != nil:
					return usageError{fmt.Errorf("%w; docs/schema.md describes the views", err)}
				}
				defer rows.Close()
				return a.printRows(rows)
			})
		},
	}
	a.caseFlags(cmd, render.TableFormats...)
	return cmd
}

// printRows reads all rows and prints them.
func (a *app) printRows(rows *sql.Rows) error {
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	t := render.Table{Columns: columns}
	for rows.Next() {
		cells := make([]any, len(columns))
		for i := range cells {
			cells[i] = new(any)
		}
		if err := rows.Scan(cells...); err != nil {
			return err
		}
		for i := range cells {
			v := *cells[i].(*any)
			if b, ok := v.([]byte); ok {
				v = string(b)
			}
			cells[i] = v
		}
		t.Rows = append(t.Rows, cells)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return render.Rows(a.stdout, t, a.output, a.options())
}
