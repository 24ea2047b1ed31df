package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

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
	stdout, stderr   io.Writer
	out, note        string
	hostRoot         string
	timeout          time.Duration
	size             sizeFlag
	netns            []string
	packets          collect.Packets
	dryRun, estimate bool
	version          bool // cobra's own would link text/template, and with it much that nobody calls
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
		Long: `whichbackend-collect records what this host knows of its connections, in every
network namespace: sockets, tracked connections, IPVS, packet filter rules,
addresses, proxies, and the pods and containers that own them. It goes into one
archive, a bundle, for whichbackend to answer from.

It asks the kernel itself and needs no tool on the host, but for the rules of
the packet filter (iptables-save, nft). It changes nothing on the host, loads no
kernel module and records no environment and no command line of a process.
Without root it records what this user may see, and the bundle says what that
left out.

Exit status: 0 all recorded; 6 partly: something that is here could not be
recorded (permission, timeout, failed, too large); 1 error, and no bundle;
2 usage.`,
		Example: `  whichbackend-collect -o bundle.tar.gz --note "ticket 4711"
  whichbackend-collect -o - | ssh laptop 'cat > bundle.tar.gz'
  whichbackend-collect --dry-run`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          noArguments,
		RunE:          func(cmd *cobra.Command, _ []string) error { return a.run(cmd.Context()) },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(a.kube())
	a.flags(root, time.Minute)
	f := root.Flags()
	f.Var(&a.size, "max-size", "the most to record, before compression, as 500M or 2G; the rest is noted as missing")
	f.StringArrayVar(&a.netns, "netns", nil, "record only this network namespace: an inode, or a name of its owner as shop/web-0, with * as a wildcard; repeatable")
	f.StringVar(&a.hostRoot, "host-root", "", "the folder where a container has its host's root folder mounted; files and commands are then the host's")
	a.packetFlags(f)
	f.StringArrayVar(&a.packets.Namespaces, "pcap-netns", nil, "capture only in this network namespace, as --netns names it; repeatable")
	f.BoolVar(&a.estimate, "estimate", false, "count the rows of the large tables and estimate their size, and record nothing")
	f.BoolVar(&a.version, "version", false, "tell the version")
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

// packetFlags are those of captures.
func (a *app) packetFlags(f *pflag.FlagSet) {
	f.DurationVar(&a.packets.For, "pcap", 0, "capture packets meanwhile, for this long at least, as 10s: their headers, and nothing that an application sent")
	f.StringVar(&a.packets.Filter, "pcap-filter", "", "capture only these packets, in words of pcap-filter(7), as \"host 10.0.0.7 and port 80\"")
	f.IntVar(&a.packets.Payload, "pcap-payload", 0, "keep as many bytes behind the headers of each packet; they may hold secrets")
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
		Timeout: a.timeout, Size: int64(a.size), Note: a.note, Namespaces: a.netns, Packets: a.packets,
		Collector: bundle.Collector{Version: version, Commit: commit()},
	}
	if a.hostRoot != "" && filepath.Clean(a.hostRoot) != "/" {
		o.Root, o.Chroot = filepath.Clean(a.hostRoot), true
	}
	if a.version {
		_, err := fmt.Fprintln(a.stdout, "whichbackend-collect "+version)
		return err
	}
	if err := a.checkHost(); err != nil {
		return err
	}
	if err := a.check(); err != nil {
		return err
	}
	if a.dryRun || a.estimate {
		return a.plan(ctx, o)
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

// checkHost finds mistakes in the flags of the command for this host.
func (a *app) checkHost() error {
	switch {
	case a.hostRoot != "" && !filepath.IsAbs(a.hostRoot):
		return usageError{fmt.Errorf("--host-root %s: is no absolute path; give one as /host", a.hostRoot)}
	}
	for _, pattern := range append(slices.Clone(a.netns), a.packets.Namespaces...) {
		if _, err := path.Match(pattern, ""); err != nil {
			return usageError{fmt.Errorf("%q: is no pattern for a network namespace; give an inode or a name, as shop/web-*", pattern)}
		}
	}
	return a.checkPackets()
}

func (a *app) checkPackets() error {
	switch {
	case a.packets.For < 0 || a.packets.For >= a.timeout && a.packets.For > 0:
		return usageError{fmt.Errorf("--pcap %v: must be shorter than --timeout, which is %v", a.packets.For, a.timeout)}
	case a.packets.Payload < 0 || a.packets.Payload > 64<<10:
		return usageError{fmt.Errorf("--pcap-payload %d: give 0 to 65536 bytes", a.packets.Payload)}
	case a.packets.For == 0 && (a.packets.Filter != "" || a.packets.Namespaces != nil || a.packets.Payload != 0):
		return usageError{errors.New("nothing is captured without --pcap; give it a time, as --pcap 10s")}
	case collect.CheckFilter(a.packets.Filter) != nil:
		return usageError{fmt.Errorf("--pcap-filter: %w", collect.CheckFilter(a.packets.Filter))}
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
	case a.dryRun, a.estimate:
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
	fmt.Fprintf(a.stderr, "%s: %d artifacts of %s, from %s; %d more that this host does not have\n",
		name, len(r.Manifest.Artifacts), r.Manifest.Hosts[0].Name, counted(r.Namespaces, "network namespace"), absent)
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// plan is the dry run.
func (a *app) plan(ctx context.Context, o collect.Options) error {
	p := collect.MakePlan(ctx, o, a.estimate)
	t := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "A run on %s would record %s:\n", p.Host, counted(len(p.Namespaces), "network namespace"))
	const most = 40
	for _, n := range p.Namespaces[:min(len(p.Namespaces), most)] {
		fmt.Fprintf(t, "  %s\n", n)
	}
	if more := len(p.Namespaces) - most; more > 0 {
		fmt.Fprintf(t, "  and %d more\n", more)
	}
	if a.estimate {
		a.estimated(t, p)
		return t.Flush()
	}
	for _, s := range p.Steps {
		where := "on the host"
		if s.Each {
			where = "in each network namespace"
		}
		fmt.Fprintf(t, "\n%s\n  what\t%s, %s\n  why\t%s\n  at most\t%v, %d MiB\n", s.Name, s.How, where, s.Why, s.Deadline, s.Limit>>20)
		if s.Because != "" {
			fmt.Fprintf(t, "  not now\t%s: %s\n", s.Because, s.Detail)
		}
	}
	if !o.Privileged {
		fmt.Fprintln(t, "\nNot root: only this network namespace, sockets of other users without their\nprocess, and nothing that only root may read. Run as root to have all.")
	}
	return t.Flush()
}

// estimated tells how large the bundle would be, as far as the kernel counts.
func (a *app) estimated(t io.Writer, p *collect.Plan) {
	fmt.Fprintln(t, "\nlisting\trows\tsize")
	var all int64
	for _, s := range p.Steps {
		if s.Rows < 0 && s.Uncounted == 0 {
			continue
		}
		note := ""
		if s.Uncounted > 0 {
			note = "\twithout " + counted(s.Uncounted, "network namespace") + " that could not be counted"
		}
		fmt.Fprintf(t, "%s\t%d\t%s%s\n", s.Name, max(s.Rows, 0), bytesOf(max(s.Size, 0)), note)
		all += max(s.Size, 0)
	}
	fmt.Fprintf(t, "\t\t%s, some %s compressed\n", bytesOf(all), bytesOf(all/8))
	fmt.Fprintln(t, "\nRules, addresses, proxies and logs come on top; they are not counted beforehand.")
}

// bytesOf writes a size as people read it.
func bytesOf(n int64) string {
	switch {
	case n < 10<<10:
		return fmt.Sprintf("%d B", n)
	case n < 10<<20:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}

// sizeFlag is a size in bytes, written as 500M or 2G.
type sizeFlag int64

func (s *sizeFlag) String() string {
	if *s == 0 {
		return ""
	}
	return fmt.Sprintf("%d", int64(*s))
}

func (s *sizeFlag) Type() string { return "size" }

// Set reads a number with an ending of K, M or G, each 1024 times the one before.
func (s *sizeFlag) Set(text string) error {
	number, shift := strings.TrimSuffix(strings.ToUpper(text), "B"), 0
	number = strings.TrimSuffix(number, "I")
	for ending, bits := range map[string]int{"K": 10, "M": 20, "G": 30} {
		if n, ok := strings.CutSuffix(number, ending); ok {
			number, shift = n, bits
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n <= 0 || n > 1<<62>>shift {
		return errors.New("is no size; give one as 500M or 2G")
	}
	*s = sizeFlag(n << shift)
	return nil
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

func terminal(f *os.File) bool { return f != nil && term.IsTerminal(int(f.Fd())) }

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
