package main

import (
	"github.com/spf13/cobra"

	"whichbackend/analyze/load"
	"whichbackend/analyze/render"
)

func (a *app) inspectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect BUNDLE...",
		Short: "What is in a bundle, and how much of it was understood?",
		Long: `inspect lists every artifact with its format, the tool that wrote it, where it is
true, and how many of its lines were understood, known and ignored, or not
understood; of packet captures, what they lack: packets dropped, cut or not
decoded. -o wide shows the problems too.`,
		Example: `  whichbackend inspect bundle.tar.gz
  whichbackend inspect bundle.tar.gz -o wide
  whichbackend inspect bundle.tar.gz -o json | jq '.artifacts[] | select(.unknown > 0)'`,
		Args: atLeast(1, "a BUNDLE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), args, func(c *load.Case) error {
				in, err := c.Inspect()
				if err != nil {
					return err
				}
				in.Tool = toolVersion()
				return render.Inspection(a.stdout, in, a.output, a.options())
			})
		},
	}
	a.caseFlags(cmd, render.InspectFormats...)
	return cmd
}
