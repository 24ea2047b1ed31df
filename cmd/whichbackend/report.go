package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"whichbackend/analyze/load"
	"whichbackend/analyze/report"
)

func (a *app) reportCommand() *cobra.Command {
	file := ""
	cmd := &cobra.Command{
		Use:   "report BUNDLE... [-o FILE]",
		Short: "One self-contained page: findings, a map, every connection and its proof",
		Long: `report writes one HTML page that needs nothing but a browser: no network, no
other file. It shows what the bundles are and what is missing in them, the
findings, a map of clients, services and backends, all connections, and the
lines that prove each path. Many connections are counted and listed all, and a
part of them is shown with its evidence; the page says which.`,
		Example: `  whichbackend report bundle.tar.gz
  whichbackend report node1.tar.gz node2.tar.gz -o incident.html
  whichbackend report bundle.tar.gz -o - | gzip > report.html.gz`,
		Args: atLeast(1, "a BUNDLE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), args, func(c *load.Case) error { return a.report(c, args, file) })
		},
	}
	cmd.Flags().StringVarP(&file, "output", "o", "report.html", "the file to write; - for standard output")
	a.caseFlags(cmd)
	return cmd
}

// report writes the page of a case.
func (a *app) report(c *load.Case, args []string, file string) error {
	view, err := a.view()
	if err != nil {
		return err
	}
	page, err := report.Open(c, view, report.Asked{Tool: toolVersion(), At: a.at, Bundles: args})
	if err != nil {
		return err
	}
	if file == "-" {
		return page.Write(a.stdout)
	}
	return replace(file, page.Write)
}

// replace writes a file that only its owner may read, and puts it in place of
// what was there when it is whole.
func replace(file string, write func(io.Writer) error) error {
	temp, err := os.CreateTemp(filepath.Dir(file), ".whichbackend-*")
	if err != nil {
		return fmt.Errorf("%s cannot be written: %w; name a file in a folder that you may write to with -o", file, err)
	}
	err = errors.Join(write(temp), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), file)
	}
	if err != nil {
		os.Remove(temp.Name())
	}
	return err
}
