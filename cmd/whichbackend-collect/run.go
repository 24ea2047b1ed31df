package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"whichbackend/collect"
	"whichbackend/collect/bundle"
)

// version is the version of the program; a release sets it with -ldflags.
var version = "0.1.0"

// Exit statuses, as PRODUCT.md defines them.
const (
	exitDone    = 0
	exitRuntime = 1
	exitUsage   = 2
	exitPartly  = 6
)

// errPartly ends the program with its status and no message: warnings said it.
var errPartly = errors.New("something could not be recorded")

// usageError is a mistake on the command line.
type usageError struct{ error }

// app holds the flags.
type app struct {
	stdout, stderr io.Writer
	out, note      string
	timeout        time.Duration
	dryRun         bool
}

// run is the whole program but for the process around it. It reads no input.
func run(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer, args []string) int {
	a := &app{stdout: stdout, stderr: stderr}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return a.exit(root.ExecuteContext(ctx))
}

// exit decides the exit status, in this one place.
func (a *app) exit(err error) int {
	var usage usageError
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errPartly):
		return exitPartly
	}
	fmt.Fprintln(a.stderr, "whichbackend-collect: "+err.Error())
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitRuntime
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "whichbackend-collect -o FILE",
		Short: "Record what this host knows of its connections",
		Long: `whichbackend-collect records sockets, tracked connections, IPVS, packet filter
rules, addresses and containers of this host, in the network namespace that it
runs in, into one archive: a bundle, for whichbackend to answer from.

It changes nothing on the host, loads no kernel module and records no
environment and no command line of a process. Without root it records what
this user may see, and the bundle says what that left out.

Exit status: 0 all recorded; 6 partly: something that is here could not be
recorded (permission, timeout, failed, too large); 1 error, and no bundle;
2 usage.`,
		Example: `  whichbackend-collect -o bundle.tar.gz --note "ticket 4711"
  whichbackend-collect -o - | ssh laptop 'cat > bundle.tar.gz'
  whichbackend-collect --dry-run`,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          noArguments,
		RunE:          func(cmd *cobra.Command, _ []string) error { return a.run(cmd.Context()) },
	}
	root.SetVersionTemplate("whichbackend-collect {{.Version}}\n")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(a.kube())
	a.flags(root, time.Minute)
	return root
}

// flags are those that all commands have.
func (a *app) flags(cmd *cobra.Command, timeout time.Duration) {
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVarP(&a.out, "output", "o", "", "the bundle to write, as bundle.tar.gz; - for standard output")
	f.StringVar(&a.note, "note", "", "a text for the bundle, as \"ticket 4711\"")
	f.DurationVar(&a.timeout, "timeout", timeout, "the time for all; what is not recorded then is noted as missing")
	f.BoolVar(&a.dryRun, "dry-run", false, "list what would be recorded and why it is asked for, and record nothing")
}

func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%q: takes no arguments; name the bundle with -o", args[0])}
	}
	return nil
}

func (a *app) run(ctx context.Context) error {
	o := collect.Options{
		Path: searchPath(os.Getenv("PATH")), Privileged: os.Geteuid() == 0,
		Timeout: a.timeout, Note: a.note,
		Collector: bundle.Collector{Version: version, Commit: commit()},
	}
	if err := a.check(); err != nil {
		return err
	}
	if a.dryRun {
		return a.plan(o)
	}
	if err, _ := a.stderr.(*os.File); terminal(err) {
		o.Progress = func(done, of int, name string) { fmt.Fprintf(a.stderr, "\r\033[K%d/%d %s", done+1, of, name) }
	}
	r, err := collect.Record(ctx, a.out, a.stdout, o)
	if o.Progress != nil {
		fmt.Fprint(a.stderr, "\r\033[K")
	}
	if err != nil {
		return a.explain(err)
	}
	a.report(r)
	if r.Partly() {
		return errPartly
	}
	return nil
}

// check finds mistakes in the flags that all commands have.
func (a *app) check() error {
	file, _ := a.stdout.(*os.File)
	switch {
	case a.timeout <= 0:
		return usageError{fmt.Errorf("--timeout %v: is no time to record in; give more, as 60s", a.timeout)}
	case len(a.note) > 4096:
		return usageError{fmt.Errorf("--note: has %d bytes; give at most 4096", len(a.note))}
	case a.dryRun:
		return nil
	case a.out == "":
		return usageError{errors.New("no bundle is named; use -o bundle.tar.gz, or -o - for standard output")}
	case a.out == "-" && terminal(file):
		return usageError{errors.New("standard output is a terminal, and a bundle is no text; use -o bundle.tar.gz")}
	}
	return nil
}

// explain names the bundle in an error, and not the temporary file beside it.
func (a *app) explain(err error) error {
	var p *fs.PathError
	if a.out != "-" && errors.As(err, &p) {
		return fmt.Errorf("%s: %w; name a file in a folder that can be written to", a.out, p.Err)
	}
	return err
}

// report tells what a person should know without opening the bundle. What this
// host simply does not have is in the manifest, and not worth a line.
func (a *app) report(r *collect.Result) {
	absent := 0
	for _, m := range r.Manifest.Missing {
		if m.Because == "not-found" {
			absent++
			continue
		}
		fmt.Fprintf(a.stderr, "warning: %s: %s: %s\n", m.What, m.Because, m.Detail)
	}
	for _, w := range r.Warnings {
		fmt.Fprintln(a.stderr, "warning: "+w)
	}
	name := a.out
	if name == "-" {
		name = "standard output"
	}
	fmt.Fprintf(a.stderr, "%s: %d artifacts of %s; %d more that this host does not have\n",
		name, len(r.Manifest.Artifacts), r.Manifest.Hosts[0].Name, absent)
}

// plan is the dry run.
func (a *app) plan(o collect.Options) error {
	host, steps := collect.Plan(o)
	t := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "A run on %s would record:\n", host)
	for _, s := range steps {
		fmt.Fprintf(t, "\n%s\n  what\t%s\n  why\t%s\n  at most\t%v, %d MiB\n", s.Name, s.How, s.Why, s.Deadline, s.Limit>>20)
		if s.Because != "" {
			fmt.Fprintf(t, "  not now\t%s: %s\n", s.Because, s.Detail)
		}
	}
	if !o.Privileged {
		fmt.Fprintln(t, "\nNot root: sockets of other users come without their process, and what only root\nmay read is left out. Run as root to have all.")
	}
	return t.Flush()
}

// searchPath adds where the tools of the superuser are, which the path of cron
// or of an ordinary user often lacks.
func searchPath(path string) string {
	dirs := filepath.SplitList(path)
	for _, d := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"} {
		if !slices.Contains(dirs, d) {
			dirs = append(dirs, d)
		}
	}
	return strings.Join(dirs, string(filepath.ListSeparator))
}

func terminal(f *os.File) bool {
	if f == nil {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && f.Name() != os.DevNull
}

// commit is the one that this program was built from, when the build knows.
func commit() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value[:min(12, len(s.Value))]
			}
		}
	}
	return ""
}
