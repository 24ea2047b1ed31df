package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"whichbackend/analyze/load"
	"whichbackend/analyze/render"
	"whichbackend/analyze/resolve"
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
			answer, err := a.ask(args, q)
			if err != nil {
				return err
			}
			opt := a.options()
			opt.Explain = explain
			if err := render.Answer(a.stdout, answer, a.output, opt); err != nil {
				return err
			}
			return askStatus(answer)
		},
	}
	cmd.Flags().StringVar(&q.From, "from", "", "the client: WHO")
	cmd.Flags().StringVar(&q.To, "to", "", "the service, or whatever it dialled: WHO")
	cmd.Flags().StringVar(&q.Backend, "backend", "", "the backend: WHO")
	cmd.Flags().BoolVar(&explain, "explain", false, "the full path of each connection, with evidence and gaps")
	a.caseFlags(cmd, render.AnswerFormats...)
	return cmd
}

// ask answers one question about the inputs.
func (a *app) ask(inputs []string, q resolve.Question) (*resolve.Answer, error) {
	var view resolve.View
	if a.at != "" {
		at, err := load.Time(a.at)
		if err != nil {
			return nil, usageError{err}
		}
		view.At = at
	}
	if err := q.Check(); err != nil {
		return nil, err
	}
	c, err := a.open(inputs)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	k, err := resolve.Resolve(c.Store, view)
	if err != nil {
		return nil, err
	}
	answer, err := k.Ask(q)
	if err != nil {
		return nil, err
	}
	answer.Tool = toolVersion()
	answer.Warnings = append(answer.Warnings, c.Warnings...)
	if len(answer.Connections) == 0 {
		answer.Warnings = append(answer.Warnings, "no connection in the bundle matches the question")
		fmt.Fprintln(a.stderr, "no connection in the bundle matches; whichbackend inspect shows what it holds")
	}
	return answer, nil
}

// askStatus is the exit status of an answer.
func askStatus(answer *resolve.Answer) error {
	if len(answer.Connections) == 0 {
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
