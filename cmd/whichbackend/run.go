package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"whichbackend/analyze/load"
	"whichbackend/analyze/render"
	"whichbackend/analyze/resolve"
	"whichbackend/collect/bundle"
)

// version is the version of the program; a release sets it with -ldflags.
var version = "0.1.0"

// Exit statuses, as PRODUCT.md defines them.
const (
	exitAnswered     = 0
	exitRuntime      = 1
	exitUsage        = 2
	exitFailed       = 3
	exitInconclusive = 4
	exitUnusable     = 5
)

// status ends the program with a status and no message: the output says it.
type status int

func (s status) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// usageError is a mistake on the command line.
type usageError struct{ error }

// app is what every command shares.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	output         string
	at             string
	noCache        bool
}

// run is the whole program but for the process around it.
func run(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer, args []string) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	root := a.root()
	root.SetArgs(args)
	done := make(chan error, 1)
	go func() { done <- root.ExecuteContext(ctx) }()
	select {
	case err := <-done:
		return a.exit(err)
	case <-ctx.Done():
	}
	// A load sees the interrupt itself and clears away what it began; what
	// else may still run leaves nothing behind.
	select {
	case err := <-done:
		return a.exit(err)
	case <-time.After(grace):
		return a.exit(ctx.Err())
	}
}

// grace is how long an interrupted command may take to end by itself.
const grace = 2 * time.Second

// exit decides the exit status, in this one place.
func (a *app) exit(err error) int {
	var st status
	var unusable *bundle.Error
	var usage usageError
	var question resolve.UsageError
	switch {
	case err == nil:
		return exitAnswered
	case errors.As(err, &st):
		return int(st)
	case errors.Is(err, errBrokenPipe), isBrokenPipe(err):
		return exitAnswered
	}
	switch {
	case errors.As(err, &unusable):
		a.say(err.Error())
		return exitUnusable
	case errors.As(err, &usage), errors.As(err, &question), strings.HasPrefix(err.Error(), "unknown command"):
		a.say(err.Error())
		if !strings.ContainsAny(err.Error(), ";") { // what does not say itself what to do
			fmt.Fprintln(a.stderr, "whichbackend --help shows how to ask")
		}
		return exitUsage
	case errors.Is(err, context.Canceled):
		a.say("interrupted")
		return exitRuntime
	}
	a.say(err.Error())
	return exitRuntime
}

// say prints a message in one line, whatever a bundle put into it.
func (a *app) say(text string) {
	fmt.Fprintln(a.stderr, "whichbackend: "+render.Clean(text))
}

var errBrokenPipe = io.ErrClosedPipe

// isBrokenPipe tells that the reader of our output went away, as head does.
func isBrokenPipe(err error) bool { return strings.HasSuffix(err.Error(), "broken pipe") }

// root builds the command tree.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "whichbackend",
		Short: "Which backend does a connection behind a service address really reach?",
		Long: `whichbackend reads recorded listings (netstat, ss, conntrack, IPVS, iptables, nft,
Envoy, Cilium, docker, kubectl ...) and packet captures, and tells which backend a
connection behind a service address really reaches, with the lines that prove it.

A BUNDLE is an archive (.tar, .tar.gz, .tar.zst, .zip), a directory, one listing,
a pcap or pcapng, a pasted terminal transcript, - for standard input, or a database that load wrote.
Several are read as one case.`,
		Example: `  whichbackend ask bundle.tar.gz
  whichbackend ask bundle.tar.gz --from default/client --to svc/nginx
  whichbackend ask transcript.txt --from 10.244.0.13:52372 -o json
  whichbackend inspect bundle.tar.gz`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       toolVersion(),
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.SetHelpTemplate(helpTemplate)
	root.SetUsageTemplate(usageTemplate)
	root.SetHelpCommand(helpCommand(root))
	root.AddCommand(a.askCommand(), a.checkCommand(), a.diffCommand(), a.reportCommand(), a.inspectCommand(), a.pcapCommand(), a.loadCommand(), a.sqlCommand(), a.testCommand(), a.versionCommand())
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.InitDefaultCompletionCmd() // keeps the output that is set by now
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.Args, c.RunE = oneOf(c), func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
	}
	return root
}

// helpTemplate begins with the examples: people look for those.
const helpTemplate = `{{if .HasExample}}Examples:
{{.Example}}

{{end}}{{with or .Long .Short}}{{. | trimTrailingWhitespaces}}

{{end}}{{.UsageString}}`

const usageTemplate = `Usage:{{if .Runnable}}
  {{.UseLine}}{{end}}{{if .HasAvailableSubCommands}}
  {{.CommandPath}} COMMAND

Commands:{{range .Commands}}{{if (or .IsAvailableCommand (eq .Name "help"))}}
  {{rpad .Name .NamePadding }} {{.Short}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableSubCommands}}

"{{.CommandPath}} COMMAND --help" tells more of a command.{{end}}
`

// toolVersion is how outputs name the program.
func toolVersion() string { return "whichbackend " + version }

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			fmt.Fprintln(a.stdout, toolVersion())
			if info, ok := debug.ReadBuildInfo(); ok {
				fmt.Fprintln(a.stdout, "built with "+info.GoVersion)
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						fmt.Fprintln(a.stdout, "from commit "+s.Value)
					}
				}
			}
			return nil
		},
	}
}

// helpCommand is cobra's with an error for a command that is not there.
func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Tell more of a command",
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			var names []cobra.Completion
			for _, c := range root.Commands() {
				if c.IsAvailableCommand() {
					names = append(names, c.Name())
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return usageError{fmt.Errorf("unknown command %q", strings.Join(args, " "))}
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		},
	}
}

// oneOf refuses what is none of the commands below cmd.
func oneOf(cmd *cobra.Command) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usageError{fmt.Errorf("%s does not know %q; see whichbackend %s --help", cmd.Name(), args[0], cmd.Name())}
		}
		return nil
	}
}

// atLeast and noArgs are cobra's checks with our exit status.
func atLeast(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < n {
			return usageError{fmt.Errorf("%s needs %s; see whichbackend %s --help", cmd.Name(), what, cmd.Name())}
		}
		return nil
	}
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no arguments", cmd.Name())}
	}
	return nil
}

// caseFlags adds the flags of every command that reads bundles.
func (a *app) caseFlags(cmd *cobra.Command, outputs ...string) {
	cmd.Flags().StringVar(&a.at, "at", "", "answer for this moment, as 2026-11-23T08:14:00Z (default: the latest)")
	cmd.Flags().BoolVar(&a.noCache, "no-cache", false, "neither use nor keep the loaded case")
	if len(outputs) > 0 {
		a.outputFlag(cmd, outputs...)
	}
}

func (a *app) outputFlag(cmd *cobra.Command, outputs ...string) {
	cmd.Flags().StringVarP(&a.output, "output", "o", outputs[0], strings.Join(outputs, ", "))
	cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputs, cobra.ShellCompDirectiveNoFileComp))
	inner := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		for _, o := range outputs {
			if o == a.output {
				if inner != nil {
					return inner(cmd, args)
				}
				return nil
			}
		}
		return usageError{fmt.Errorf("--output %q is none of %s", a.output, strings.Join(outputs, ", "))}
	}
}

// with is read for commands that answer: their status says that an input was
// damaged, also when what was readable of it gave an answer.
func (a *app) with(ctx context.Context, inputs []string, f func(*load.Case) error) error {
	var damaged *bundle.Error
	err := a.read(ctx, inputs, func(c *load.Case) error {
		damaged = c.Damaged
		return f(c)
	})
	var st status
	if damaged != nil && (err == nil || errors.As(err, &st)) {
		return damaged
	}
	return err
}

// read loads the inputs as one case and works on it. A case from the cache
// that turns out damaged is loaded again; f prints only after it has read.
func (a *app) read(ctx context.Context, inputs []string, f func(*load.Case) error) error {
	for {
		c, err := a.open(ctx, inputs)
		if err != nil {
			return err
		}
		err = f(c)
		c.Close()
		if !load.IsDamage(err) {
			return err
		}
		if !c.Drop() {
			return &bundle.Error{Path: strings.Join(inputs, ", "), Why: err.Error(), Do: "load the bundle again"}
		}
	}
}

// open loads the inputs as one case and prints what went wrong with them.
func (a *app) open(ctx context.Context, inputs []string) (*load.Case, error) {
	opt := load.Options{Stdin: a.stdin, Key: buildKey(), Stop: ctx.Err}
	if !a.noCache {
		if dir, err := os.UserCacheDir(); err == nil {
			opt.Cache = filepath.Join(dir, "whichbackend")
		}
	}
	c, err := load.Open(inputs, opt)
	if err != nil {
		return nil, err
	}
	for _, w := range c.Warnings {
		fmt.Fprintln(a.stderr, "warning: "+render.Clean(w))
	}
	return c, nil
}

// buildKey changes with the program, so that a cached case of an older one is
// not taken for this one's.
func buildKey() string {
	key := version
	if exe, err := os.Executable(); err == nil {
		if st, err := os.Stat(exe); err == nil {
			key += fmt.Sprintf(" %d %d", st.Size(), st.ModTime().UnixNano())
		}
	}
	return key
}

// options are how text output looks on this terminal.
func (a *app) options() render.Options {
	o := render.Options{}
	f, ok := a.stdout.(*os.File)
	if ok && term.IsTerminal(int(f.Fd())) {
		o.Terminal = true
		if width, height, err := term.GetSize(int(f.Fd())); err == nil {
			o.Width, o.Height = width, height
		}
	}
	o.Color = o.Terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return o
}
