package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"whichbackend/analyze/load"
	"whichbackend/analyze/render"
	"whichbackend/analyze/resolve"
	"whichbackend/collect/bundle"
)

func (a *app) askCommand() *cobra.Command {
	var q resolve.Question
	var explain bool
	cmd := &cobra.Command{
		Use:   "ask BUNDLE... [--from WHO] [--to WHO] [--backend WHO]",
		Short: "Which backend does a connection reach, and how do we know?",
		Long: `ask lists the connections that the bundles hold, each with the backend behind it,
a verdict and the lines that prove it.

WHO is an IP, IP:port, [v6]:port, :port, CIDR, or a name: client, default/client,
pod/default/client, svc/nginx, container/demo_client.1.x, node/worker2, with * as
a wildcard. --from is the client side, --to the service, --backend asks from the
other end: who is connected to it?

Verdicts: proven, observed, deduced (one backend each), candidates, none,
conflict, unknown. The exit status is 0 when every connection has exactly one
backend or a proven none, 4 when some has not or nothing matched.`,
		Example: `  whichbackend ask bundle.tar.gz --from default/client --to svc/nginx
  whichbackend ask node1.tar.gz node2.tar.gz --from 10.244.0.13:52372
  whichbackend ask bundle.tar.gz --backend pod/default/nginx-*
  kubectl exec client -- netstat -an | whichbackend ask - conntrack.txt
  whichbackend ask bundle.tar.gz -o json | jq '.connections[].verdict'`,
		Args: atLeast(1, "a BUNDLE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			view, err := a.view()
			if err != nil {
				return err
			}
			if err := q.Check(); err != nil {
				return err
			}
			return a.with(cmd.Context(), args, func(c *load.Case) error {
				answer, err := a.ask(c, view, q)
				if err != nil {
					return err
				}
				opt := a.options()
				opt.Explain = explain
				if err := render.Answer(a.stdout, answer, a.output, opt); err != nil {
					return err
				}
				return a.askStatus(c, args, answer)
			})
		},
	}
	cmd.Flags().StringVar(&q.From, "from", "", "the client: WHO")
	cmd.Flags().StringVar(&q.To, "to", "", "the service, or whatever it dialled: WHO")
	cmd.Flags().StringVar(&q.Backend, "backend", "", "the backend: WHO")
	cmd.Flags().BoolVar(&explain, "explain", false, "the full path of each connection, with evidence and gaps")
	a.caseFlags(cmd, render.AnswerFormats...)
	return cmd
}

// view is what --at asks for.
func (a *app) view() (view resolve.View, err error) {
	if a.at == "" {
		return view, nil
	}
	if view.At, err = load.Time(a.at); err != nil {
		err = usageError{fmt.Errorf("--at: %w", err)}
	}
	return view, err
}

// ask answers one question about a case.
func (a *app) ask(c *load.Case, view resolve.View, q resolve.Question) (*resolve.Answer, error) {
	answer, err := resolve.Ask(c.Store, view, q)
	if err != nil {
		return nil, err
	}
	answer.Tool = toolVersion()
	for _, w := range answer.Warnings {
		fmt.Fprintln(a.stderr, "warning: "+render.Clean(w))
	}
	answer.Warnings = append(answer.Warnings, c.Warnings...)
	if len(answer.Connections) == 0 {
		answer.Warnings = append(answer.Warnings, "no connection in the bundle matches the question")
	}
	return answer, nil
}

// askStatus is the exit status of an answer.
func (a *app) askStatus(c *load.Case, inputs []string, answer *resolve.Answer) error {
	if len(answer.Connections) == 0 {
		understood, err := c.Understood()
		if err != nil {
			return err
		}
		if !understood {
			return &bundle.Error{Path: strings.Join(inputs, ", "), Why: "nothing in it is understood", Do: "whichbackend inspect shows what it holds"}
		}
		fmt.Fprintln(a.stderr, "no connection in the bundle matches; whichbackend inspect shows what it holds")
		return status(exitInconclusive)
	}
	for i := range answer.Connections {
		c := &answer.Connections[i]
		if !c.Settled() || c.Seen != nil {
			return status(exitInconclusive)
		}
	}
	return nil
}
