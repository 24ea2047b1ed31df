package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"whichbackend/analyze/expect"
	"whichbackend/analyze/load"
	"whichbackend/analyze/render"
	"whichbackend/analyze/resolve"
	"whichbackend/collect/bundle"
)

func (a *app) testCommand() *cobra.Command {
	var junit string
	var update bool
	cmd := &cobra.Command{
		Use:   "test PATH...",
		Short: "Hold recorded bundles to what is expected of them",
		Long: `test asks the questions of every expect.yaml below the paths and holds the answers
against it: backend, verdict (at least as strong), mechanism. docs/testing.md
describes the file. The exit status is 3 when an answer is not as expected.`,
		Example: `  whichbackend test fixtures/
  whichbackend test case/ --junit report.xml
  whichbackend test case/ --update && git diff case/`,
		Args: atLeast(1, "a PATH"),
		RunE: func(cmd *cobra.Command, args []string) error {
			files, err := expect.Find(args)
			if err != nil {
				return noTests(args, err)
			}
			var all []expect.Result
			for _, file := range files {
				results, err := a.testFile(cmd.Context(), file, update)
				if err != nil {
					return err
				}
				all = append(all, results...)
			}
			if junit != "" {
				if err := writeJUnit(junit, all); err != nil {
					return err
				}
			}
			return a.printResults(all)
		},
	}
	cmd.Flags().StringVar(&junit, "junit", "", "also write the results to this file as JUnit XML")
	cmd.Flags().BoolVar(&update, "update", false, "write what is answered now into expect.yaml, for a person to review")
	cmd.Flags().BoolVar(&a.noCache, "no-cache", false, "neither use nor keep the loaded cases")
	a.outputFlag(cmd, "text", "tap", "github")
	return cmd
}

// testFile asks the questions of one expect.yaml.
func (a *app) testFile(ctx context.Context, file string, update bool) ([]expect.Result, error) {
	f, err := expect.Read(file)
	if err != nil {
		return nil, usageError{err}
	}
	var out []expect.Result
	// A damaged bundle that answers as expected is a test too.
	err = a.read(ctx, f.Inputs(), func(c *load.Case) error {
		k, err := resolve.Resolve(c.Store, resolve.View{})
		if err != nil {
			return err
		}
		out = nil
		for _, q := range f.Questions {
			r, err := expect.Ask(k, file, q)
			if err != nil {
				return fmt.Errorf("%s: %s: %w", file, q.Title(), err)
			}
			out = append(out, r)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !update {
		return out, nil
	}
	if err := f.Update(out); err != nil {
		return nil, err
	}
	for i := range out {
		out[i].Why = nil
	}
	return out, nil
}

// noTests says why there is nothing to test.
func noTests(args []string, err error) error {
	e := &bundle.Error{Path: strings.Join(args, ", "), Why: err.Error(), Do: "docs/testing.md shows how to write one"}
	var p *fs.PathError
	switch {
	case errors.As(err, &p):
		e.Path, e.Why, e.Do = p.Path, p.Err.Error(), "check the path"
	case errors.Is(err, expect.ErrNone):
		e.Why = expect.ErrNone.Error()
	default:
		return err
	}
	return e
}

// printResults prints one line a question, and gives the exit status.
func (a *app) printResults(all []expect.Result) error {
	failed := 0
	if a.output == "tap" {
		fmt.Fprintf(a.stdout, "TAP version 13\n1..%d\n", len(all))
	}
	for i, r := range all {
		word := "ok"
		if !r.OK() {
			word = "not ok"
			failed++
		}
		title := render.Clean(r.File + ": " + r.Question.Title())
		switch a.output {
		case "github":
			if !r.OK() {
				fmt.Fprintln(a.stdout, render.GitHubError(r.File, title+": "+strings.Join(r.Why, "; ")))
			}
		default:
			fmt.Fprintf(a.stdout, "%s %d - %s\n", word, i+1, title)
			prefix := "    "
			if a.output == "tap" {
				prefix = "# "
			}
			for _, why := range r.Why {
				fmt.Fprintln(a.stdout, prefix+render.Clean(why))
			}
		}
	}
	if a.output != "tap" {
		fmt.Fprintf(a.stdout, "%d questions, %d failed\n", len(all), failed)
	}
	if failed > 0 {
		return status(exitFailed)
	}
	return nil
}

// writeJUnit writes the results for CI systems.
func writeJUnit(file string, all []expect.Result) error {
	s := &render.Suite{Name: "whichbackend test"}
	for _, r := range all {
		var failure *render.Reason
		if !r.OK() {
			failure = render.Failed(r.Why)
		}
		s.Add(r.File, r.Question.Title(), failure, nil)
	}
	var b bytes.Buffer
	if err := render.JUnit(&b, s); err != nil {
		return err
	}
	return os.WriteFile(file, b.Bytes(), 0o644)
}
