package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"whichbackend/analyze/diff"
	"whichbackend/analyze/load"
	"whichbackend/analyze/render"
	"whichbackend/analyze/resolve"
	"whichbackend/collect/bundle"
)

func (a *app) diffCommand() *cobra.Command {
	var explain bool
	cmd := &cobra.Command{
		Use:   "diff BEFORE AFTER...",
		Short: "What moved between two moments, or more?",
		Long: `diff tells what changed between moments of the same hosts, by meaning: who stayed
with a backend that is gone, connections and clients that moved to another one,
services and backends that came and went, findings that are new or gone, and
connections that ended or appeared. What one side did not record is called not
seen, never gone.

Each argument is one moment; with more than two, each is held against the one
before. A moment of several hosts is one bundle of them all, or a database that
load made of their bundles.

The exit status is 3 when something differs, 0 when nothing does, 4 when nothing
is known to differ and something could not be told.`,
		Example: `  whichbackend diff before.tar.gz after.tar.gz
  whichbackend diff before.tar.gz after.tar.gz -o wide
  whichbackend diff monday.db tuesday.db wednesday.db
  whichbackend diff before.tar.gz after.tar.gz -o json | jq '.outlived[].client.name'`,
		Args: atLeast(2, "a BUNDLE for each of two moments"),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, damaged, err := a.diff(cmd.Context(), args)
			if err != nil {
				return err
			}
			opt := a.options()
			opt.Explain = explain
			if err := render.Diff(a.stdout, d, a.output, opt); err != nil {
				return err
			}
			switch {
			case damaged != nil:
				return damaged
			case d.Found():
				return status(exitFailed)
			case d.Inconclusive():
				return status(exitInconclusive)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&explain, "explain", false, "every entry, with the lines that show it")
	cmd.Flags().BoolVar(&a.noCache, "no-cache", false, "neither use nor keep the loaded cases")
	a.outputFlag(cmd, render.DiffFormats...)
	return cmd
}

// diff reads one moment after the other: of each only what is compared is kept.
// Damaged is the first input that was not whole.
func (a *app) diff(ctx context.Context, args []string) (d *diff.Diff, damaged *bundle.Error, err error) {
	stdin := false
	for _, arg := range args {
		if arg == "-" && stdin {
			return nil, nil, usageError{errors.New("standard input can be one moment only; write the other into a file")}
		}
		stdin = stdin || arg == "-"
	}
	var moments []*diff.Moment
	for _, arg := range args {
		var m *diff.Moment
		err := a.with(ctx, []string{arg}, func(c *load.Case) error {
			understood, err := c.Understood()
			if err != nil {
				return err
			}
			if !understood {
				return &bundle.Error{Path: arg, Why: "nothing in it is understood", Do: "whichbackend inspect shows what it holds"}
			}
			m, err = diff.Take(c, resolve.View{}, arg)
			return err
		})
		var broken *bundle.Error
		switch {
		case errors.As(err, &broken) && m != nil:
			if damaged == nil {
				damaged = broken
			}
		case err != nil:
			return nil, nil, err
		}
		moments = append(moments, m)
	}
	d = diff.Compare(moments)
	d.Tool = toolVersion()
	return d, damaged, nil
}
