package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"whichbackend/collect/bundle"
	"whichbackend/collect/kube"
)

// kubeFlags are the flags of the subcommand kube that are no fields of its options.
type kubeFlags struct {
	*app
	all            bool
	services, pods []string
	o              kube.Options
}

func (a *app) kube() *cobra.Command {
	k := &kubeFlags{app: a}
	c := &cobra.Command{
		Use:   "kube -o FILE",
		Short: "Record a cluster, through kubectl",
		Long: `whichbackend-collect kube records a cluster into one bundle, through kubectl and
its current context. It needs what kubectl needs, and the right to list pods,
services, endpointslices, endpoints and nodes and to exec into pods.

It uses what is in the cluster already: the API objects, without environments,
command lines, annotations and Secrets; the sockets of each pod that has ss,
netstat or cat; connection tables and rules of a node through its kube-proxy
pod; Cilium's tables through its agent; Envoy and ztunnel through their admin
ports. A pod without a shell is noted as missing.

With --node-agent IMAGE it starts a privileged pod on each chosen node, copies
itself in where the image does not have it, records the node as
whichbackend-collect does on a host, and deletes the pod. Any image with sh, cat,
chmod and sleep will do, as busybox. The pods end by themselves if this program
is killed.

-n, -l and --node together choose pods, and the nodes that these run on; all of
them when none is given. --service adds the pods behind a service, and --pod a
single pod, each with its node; given alone they are all that is recorded. The
connection to a service is translated on the node of its client: name the clients
too, as with --pod.

Exit status: 0 all recorded; 6 partly: something that is there could not be
recorded; 1 error, and no bundle; 2 usage.`,
		Example: `  whichbackend-collect kube -o bundle.tar.gz
  whichbackend-collect kube -o bundle.tar.gz --node-agent busybox:1.36
  whichbackend-collect kube -o bundle.tar.gz --service default/nginx --pod default/client
  whichbackend-collect kube --dry-run -n shop`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return k.run(cmd.Context()) },
	}
	a.flags(c, 5*time.Minute)
	f := c.Flags()
	f.BoolVarP(&k.all, "all-namespaces", "A", false, "all namespaces, which is what no -n means too")
	f.StringSliceVarP(&k.o.Namespaces, "namespace", "n", nil, "only the objects and pods of this namespace; repeatable")
	f.StringVarP(&k.o.Labels, "selector", "l", "", "only pods with these labels, as app=web,tier!=cache")
	f.StringSliceVar(&k.o.Nodes, "node", nil, "only pods on this node, and its tables; repeatable")
	f.StringSliceVar(&k.services, "service", nil, "the pods behind this service, as NAMESPACE/NAME, and their nodes; repeatable")
	f.StringSliceVar(&k.pods, "pod", nil, "this pod, as NAMESPACE/NAME, and its node; repeatable")
	f.StringVar(&k.o.Agent, "node-agent", "", "an image for a pod on each node that records all of it")
	f.StringVar(&k.o.AgentNamespace, "agent-namespace", "kube-system", "the namespace for these pods")
	f.StringSliceVar(&k.o.Binaries, "binary", nil, "a build of this program for nodes of another architecture; repeatable")
	f.IntVar(&k.o.Parallel, "parallel", 8, "how many kubectl run at once")
	f.StringVar(&k.o.Context, "context", "", "the context of kubectl")
	f.StringVar(&k.o.Kubeconfig, "kubeconfig", "", "the configuration of kubectl")
	return c
}

func (k *kubeFlags) run(ctx context.Context) error {
	if err := k.check(); err != nil {
		return err
	}
	o := k.o
	o.Env, o.Timeout, o.Note = os.Environ(), k.timeout, k.note
	o.Collector = bundle.Collector{Version: version, Commit: commit()}
	if self, err := os.Executable(); err == nil {
		o.Binaries = append(o.Binaries, self)
	}
	if k.dryRun {
		return k.plan(ctx, o)
	}
	if err, _ := k.stderr.(*os.File); terminal(err) {
		o.Progress = func(done, of int, name string) { fmt.Fprintf(k.stderr, "\r\033[K%d/%d %s", done, of, name) }
	}
	r, err := kube.Record(ctx, k.out, k.stdout, o)
	if o.Progress != nil {
		fmt.Fprint(k.stderr, "\r\033[K")
	}
	if err != nil {
		return k.explain(err)
	}
	k.report(r)
	if r.Partly() {
		return errPartly
	}
	return nil
}

// check reads the names, and finds mistakes before the cluster is asked.
func (k *kubeFlags) check() error {
	if err := k.app.check(); err != nil {
		return err
	}
	for _, list := range []struct {
		flag string
		in   []string
		out  *[]kube.Name
	}{{"--service", k.services, &k.o.Services}, {"--pod", k.pods, &k.o.Pods}} {
		for _, s := range list.in {
			n, err := kube.ParseName(s)
			if err != nil {
				return usageError{fmt.Errorf("%s %w", list.flag, err)}
			}
			*list.out = append(*list.out, n)
		}
	}
	for _, n := range append(append([]string{k.o.AgentNamespace}, k.o.Namespaces...), k.o.Nodes...) {
		if _, err := kube.ParseName(n); err != nil || strings.Contains(n, "/") {
			return usageError{fmt.Errorf("%q: is no name of a namespace or node", n)}
		}
	}
	switch {
	case k.all && len(k.o.Namespaces) > 0:
		return usageError{errors.New("-A and -n contradict each other; give one")}
	case k.o.Parallel < 1 || k.o.Parallel > 64:
		return usageError{fmt.Errorf("--parallel %d: give 1 to 64", k.o.Parallel)}
	case len(k.o.Binaries) > 0 && k.o.Agent == "":
		return usageError{errors.New("--binary: is for the pods of --node-agent IMAGE, which is not given")}
	}
	return nil
}

// report tells what a person should know without opening the bundle: of each
// kind of loss the first, and how many more.
func (k *kubeFlags) report(r *kube.Result) {
	const some = 10
	lost := 0
	for _, m := range r.Manifest.Missing {
		if m.Because == "not-found" || m.Because == "excluded" {
			continue
		}
		if lost++; lost <= some {
			fmt.Fprintf(k.stderr, "warning: %s: %s: %s\n", strings.TrimSpace(m.Host+" "+m.What), m.Because, m.Detail)
		}
	}
	if lost > some {
		fmt.Fprintf(k.stderr, "warning: and %d more, which whichbackend inspect lists\n", lost-some)
	}
	for _, w := range r.Warnings {
		fmt.Fprintln(k.stderr, "warning: "+w)
	}
	name := k.out
	if name == "-" {
		name = "standard output"
	}
	fmt.Fprintf(k.stderr, "%s: %d artifacts of %s and %s; %d could not be recorded\n",
		name, len(r.Manifest.Artifacts), counted(len(r.Manifest.Hosts), "node"), counted(r.Pods, "pod"), lost)
}

// plan is the dry run.
func (k *kubeFlags) plan(ctx context.Context, o kube.Options) error {
	ctx, cancel := context.WithTimeout(ctx, k.timeout)
	defer cancel()
	steps, err := kube.Plan(ctx, o)
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(k.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "A run would run these, and record what they print:")
	for _, s := range steps {
		fmt.Fprintf(t, "\n%s\n  what\t%s\n  why\t%s\n", s.Where, s.Command, s.Why)
	}
	return t.Flush()
}
