package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"whichbackend/analyze/load"
	"whichbackend/analyze/render"
)

func (a *app) loadCommand() *cobra.Command {
	var db string
	var force bool
	cmd := &cobra.Command{
		Use:   "load BUNDLE... --db FILE",
		Short: "Keep the SQLite database of a case",
		Long: `load reads bundles into one SQLite file. It holds the text of the artifacts too,
so it can take the place of the bundle in every other command. Its views
(artifacts, sockets, translations, services, owners, flows, captures, problems)
are documented in docs/schema.md; any sqlite3 reads them. Of packet captures it
holds the flows, not the packets.`,
		Example: `  whichbackend load bundle.tar.gz --db case.db
  whichbackend ask case.db --from 10.244.0.13:52372
  sqlite3 case.db 'SELECT * FROM translations LIMIT 5'`,
		Args: atLeast(1, "a BUNDLE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if db == "" {
				return usageError{fmt.Errorf("load needs --db FILE")}
			}
			if _, err := os.Lstat(db); err == nil && !force {
				return usageError{fmt.Errorf("%s exists; --force replaces it", db)}
			}
			temp := db + ".tmp"
			os.Remove(temp)
			warnings, damaged, err := load.Into(temp, args, load.Options{Stdin: a.stdin, Stop: cmd.Context().Err})
			if err == nil {
				err = os.Rename(temp, db)
			}
			if err != nil {
				os.Remove(temp)
				return err
			}
			for _, w := range warnings {
				fmt.Fprintln(a.stderr, "warning: "+render.Clean(w))
			}
			if damaged != nil {
				return damaged
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&db, "db", "", "the file to write")
	cmd.Flags().BoolVar(&force, "force", false, "replace the file if it exists")
	return cmd
}
