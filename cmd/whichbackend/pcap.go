package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"whichbackend/analyze/load"
	"whichbackend/analyze/pcap"
	"whichbackend/analyze/render"
	"whichbackend/analyze/resolve"
	"whichbackend/store"
)

// maxStory bounds the packets of one story, in bytes: they are put in the order
// of time in memory.
const maxStory = 512 << 20

func (a *app) pcapCommand() *cobra.Command {
	var q resolve.Question
	var file string
	cmd := &cobra.Command{
		Use:   "pcap BUNDLE... [--from WHO] [--to WHO] [--backend WHO] -o FILE",
		Short: "The packets of a connection, from all captures, as one pcapng",
		Long: `pcap answers like ask, and writes the packets of the connections that match, from
all captures of the bundles, into one pcapng that Wireshark opens: one interface
for each place where they were seen, the answer as the comment of the file, what
each place saw as the comment of its first packet, and the names of addresses.
The packets are in the order of time, by the clocks of the hosts that captured them.`,
		Example: `  whichbackend pcap bundle.tar.gz --from 10.244.0.13:52372 -o story.pcapng
  whichbackend pcap client.pcap router.pcap --to 10.96.0.10:80 -o - | tshark -r -`,
		Args: atLeast(1, "a BUNDLE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			view, err := a.view()
			if err != nil {
				return err
			}
			if file == "" {
				return usageError{fmt.Errorf("pcap needs -o FILE; - is standard output")}
			}
			if f, ok := a.stdout.(*os.File); ok && file == "-" && term.IsTerminal(int(f.Fd())) {
				return usageError{fmt.Errorf("-o - writes a pcapng, which is no text for a terminal; give a file, or a pipe")}
			}
			if err := q.Check(); err != nil {
				return err
			}
			return a.with(cmd.Context(), args, func(c *load.Case) error {
				answer, err := a.ask(c, view, q)
				if err != nil {
					return err
				}
				if len(answer.Connections) == 0 {
					return a.askStatus(c, args, answer)
				}
				s, err := tell(c, answer, load.Options{Stop: cmd.Context().Err})
				if err != nil {
					return err
				}
				if len(s.packets) == 0 {
					fmt.Fprintln(a.stderr, "no capture in the bundle shows what matches; whichbackend-collect --pcap records packets")
					return status(exitInconclusive)
				}
				return a.save(file, s.write)
			})
		},
	}
	cmd.Flags().StringVar(&q.From, "from", "", "the client: WHO")
	cmd.Flags().StringVar(&q.To, "to", "", "the service, or whatever it dialled: WHO")
	cmd.Flags().StringVar(&q.Backend, "backend", "", "the backend: WHO")
	cmd.Flags().StringVarP(&file, "output", "o", "", "the pcapng to write; - is standard output")
	a.caseFlags(cmd)
	return cmd
}

// story is the packets of some connections, with what is said of them.
type story struct {
	comment string
	names   []pcap.Name
	places  []pcap.WriterInterface
	packets []told
}

// told is one packet of a story.
type told struct {
	place   int
	packet  pcap.Packet
	comment string
}

// tell gathers the packets of the connections of an answer.
func tell(c *load.Case, answer *resolve.Answer, opt load.Options) (*story, error) {
	s := &story{names: namesOf(answer)}
	var text bytes.Buffer
	if err := render.Answer(&text, answer, "text", render.Options{}); err != nil {
		return nil, err
	}
	s.comment = text.String()
	var flows []store.Flow
	scope, what := map[int]string{}, map[int]string{}
	for i := range answer.Connections {
		for _, v := range answer.Connections[i].SeenIn() {
			if _, ok := scope[v.Flow.ID]; ok {
				continue
			}
			scope[v.Flow.ID] = v.Artifact
			what[v.Flow.ID] = render.Story(&answer.Connections[i], v)
			flows = append(flows, v.Flow)
		}
	}
	size := 0
	place := map[string]int{}
	err := c.Packets(flows, opt, func(v *store.Flow, p *pcap.Packet) error {
		if size += len(p.Data) + 128; size > maxStory {
			return fmt.Errorf("the packets of these connections are more than %d MiB; ask for fewer, with --from ADDRESS:PORT", maxStory>>20)
		}
		device := strings.TrimSpace(v.Device + " " + v.Leg)
		key := fmt.Sprint(scope[v.ID], "\x00", p.Interface, "\x00", device, "\x00", v.Encapsulation, "\x00", p.LinkType)
		at, ok := place[key]
		if !ok {
			at = len(s.places)
			place[key] = at
			s.places = append(s.places, pcap.WriterInterface{Name: strings.TrimSpace(scope[v.ID] + " " + device), Description: v.Encapsulation, LinkType: p.LinkType})
		}
		x := told{place: at, packet: *p}
		x.packet.Data = slices.Clone(p.Data)
		if p.Number == v.Packet {
			x.comment = what[v.ID]
		}
		s.packets = append(s.packets, x)
		return nil
	})
	sort.SliceStable(s.packets, func(i, j int) bool { return s.packets[i].packet.Time < s.packets[j].packet.Time })
	return s, err
}

// namesOf are the names of the addresses in an answer.
func namesOf(answer *resolve.Answer) []pcap.Name {
	var out []pcap.Name
	seen := map[netip.Addr]bool{}
	add := func(p resolve.Party) {
		a, err := netip.ParseAddrPort(p.Address)
		if err != nil || p.Name == "" || seen[a.Addr()] {
			return
		}
		seen[a.Addr()] = true
		name := p.Name
		if p.Namespace != "" {
			name += "." + p.Namespace
		}
		out = append(out, pcap.Name{Addr: a.Addr(), Name: name})
	}
	for i := range answer.Connections {
		c := &answer.Connections[i]
		add(c.Client)
		add(c.Service)
		for _, b := range c.Backends {
			add(b.Party)
		}
	}
	return out
}

// write writes the story as a pcapng.
func (s *story) write(out io.Writer) error {
	w := pcap.NewWriter(out)
	w.Section(toolVersion(), s.comment)
	for _, p := range s.places {
		p.Name, p.Description = render.Clean(p.Name), render.Clean(p.Description)
		w.Interface(p)
	}
	w.Names(s.names)
	for i := range s.packets {
		x := &s.packets[i]
		if x.comment == "" {
			w.Packet(x.place, x.packet)
		} else {
			w.Packet(x.place, x.packet, render.Clean(x.comment))
		}
	}
	return w.Close()
}

// save writes a file that only its owner can read, whole or not at all.
func (a *app) save(file string, write func(io.Writer) error) error {
	if file == "-" {
		b := bufio.NewWriter(a.stdout)
		return errors.Join(write(b), b.Flush())
	}
	if info, err := os.Stat(file); err == nil && !info.Mode().IsRegular() {
		f, err := os.OpenFile(file, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(write(f), f.Close())
	}
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-*")
	if err != nil {
		return err
	}
	err = errors.Join(write(f), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
