package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"whichbackend/analyze/check"
	"whichbackend/analyze/load"
	"whichbackend/analyze/render"
	"whichbackend/analyze/resolve"
	"whichbackend/collect/bundle"
)

func (a *app) checkCommand() *cobra.Command {
	var failOn string
	var ignore []string
	cmd := &cobra.Command{
		Use:   "check BUNDLE...",
		Short: "What is wrong, that nobody asked about?",
		Long: `check looks for problems that a bundle shows: translations to backends that are
gone, service addresses that nothing translates, connection tables that are full,
members that the control plane does not know, uneven spread, and more. Each
finding has the lines that prove it, why it matters and what to do.

A rule that finds nothing has looked; one that had nothing to look at is listed
as not judged. docs/findings.md has them all.

The exit status is 0 whatever was found, unless --fail-on is given: then 3 when
a finding is at least that bad.`,
		Example: `  whichbackend check bundle.tar.gz
  whichbackend check bundle.tar.gz -o wide
  whichbackend check bundle.tar.gz --fail-on error -o sarif > check.sarif
  whichbackend check bundle.tar.gz --ignore uneven-spread -o markdown`,
		Args: atLeast(1, "a BUNDLE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			view, err := a.view()
			if err != nil {
				return err
			}
			if err := checkFlags(failOn, ignore); err != nil {
				return err
			}
			return a.with(cmd.Context(), args, func(c *load.Case) error {
				result, err := a.check(c, args, view, ignore)
				if err != nil {
					return err
				}
				if err := render.Findings(a.stdout, result, a.output, a.options()); err != nil {
					return err
				}
				for _, f := range result.Findings {
					if failOn != "" && f.Severity.AtLeast(check.Severity(failOn)) {
						return status(exitFailed)
					}
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&failOn, "fail-on", "", "exit with 3 when a finding is at least this bad: error, warning, info")
	cmd.Flags().StringSliceVar(&ignore, "ignore", nil, "rules not to look at, by their ids")
	cmd.RegisterFlagCompletionFunc("fail-on", cobra.FixedCompletions([]string{"error", "warning", "info"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RegisterFlagCompletionFunc("ignore", cobra.FixedCompletions(ruleIDs(), cobra.ShellCompDirectiveNoFileComp))
	a.caseFlags(cmd, render.FindingFormats...)
	return cmd
}

func ruleIDs() []string {
	out := make([]string, len(check.Rules))
	for i, r := range check.Rules {
		out[i] = r.ID
	}
	return out
}

// checkFlags refuses severities and rules that there are not.
func checkFlags(failOn string, ignore []string) error {
	if failOn != "" && !slices.Contains(check.Severities, check.Severity(failOn)) {
		return usageError{fmt.Errorf("--fail-on %q is none of error, warning, info", failOn)}
	}
	for _, id := range ignore {
		if !slices.Contains(ruleIDs(), id) {
			return usageError{fmt.Errorf("--ignore: there is no rule %q; they are %s", id, strings.Join(ruleIDs(), ", "))}
		}
	}
	return nil
}

// check runs the rules over a case.
func (a *app) check(c *load.Case, inputs []string, view resolve.View, ignore []string) (*check.Result, error) {
	if understood, err := c.Understood(); err != nil || !understood {
		if err == nil {
			err = &bundle.Error{Path: strings.Join(inputs, ", "), Why: "nothing in it is understood", Do: "whichbackend inspect shows what it holds"}
		}
		return nil, err
	}
	k, err := check.Open(c, view)
	if err != nil {
		return nil, err
	}
	result, err := k.Check(ignore...)
	if err != nil {
		return nil, err
	}
	result.Tool = toolVersion()
	for _, w := range k.Answer.Warnings {
		fmt.Fprintln(a.stderr, "warning: "+render.Clean(w))
	}
	result.Warnings = append(append(result.Warnings, k.Answer.Warnings...), c.Warnings...)
	return result, nil
}
