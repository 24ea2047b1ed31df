package collect

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"whichbackend/collect/capture"
)

// Packets say what to capture while the listings are recorded.
type Packets struct {
	// For is how long to capture at least; 0 is not at all.
	For time.Duration
	// Filter is an expression in words of pcap-filter(7); "" is all packets.
	Filter string
	// Payload is how many bytes behind the headers are kept of each packet.
	Payload int
	// Namespaces are those to capture in, as Options.Namespaces says it; none
	// means all that are recorded.
	Namespaces []string
}

// CheckFilter tells whether an expression is one that a capture understands.
func CheckFilter(expression string) error { return capture.CheckFilter(expression) }

// Captures share some memory with the kernel: ring for each, of at most
// mostCaptures.
const (
	ring         = mib
	mostCaptures = 128
)

// packets is the name of a capture in the bundle, and of what is missing of it.
const packets = "packets"

// running is a capture in one namespace.
type running struct {
	s *space
	c *capture.Capture
}

// startCaptures begins to capture in the chosen namespaces.
func (r *recorder) startCaptures(ctx context.Context) {
	if r.o.Packets.For == 0 {
		return
	}
	var in []*space
	for _, s := range r.spaces {
		if len(r.o.Packets.Namespaces) == 0 || slices.ContainsFunc(r.o.Packets.Namespaces, s.matches) {
			in = append(in, s)
		}
	}
	r.unmatched(packets+" of network namespace ", r.o.Packets.Namespaces, in)
	for i, s := range in {
		if i >= mostCaptures {
			r.missing(s, packets, tooLarge, fmt.Sprintf("captures go on in %d network namespaces already; choose with --pcap-netns", mostCaptures))
			continue
		}
		if !r.enter(s) {
			continue
		}
		c, err := capture.Open(ctx, capture.Options{Dir: r.o.spool, Filter: r.o.Packets.Filter, Payload: r.o.Packets.Payload, Ring: ring})
		if err != nil {
			because, detail := (&item{}).judge(ended{err: err}, 0)
			r.missing(s, packets, because, detail)
			continue
		}
		r.captures = append(r.captures, running{s, c})
	}
	r.enter(nil)
	r.until = time.Now().Add(r.o.Packets.For)
}

// awaitPackets waits until the captures have had their time.
func (r *recorder) awaitPackets(ctx context.Context) {
	wait := time.Until(r.until)
	if len(r.captures) == 0 || wait <= 0 {
		return
	}
	if r.o.Progress != nil {
		r.o.Progress(r.done, r.of, "packets for "+wait.Round(time.Second).String())
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		r.missing(nil, packets, timedOut, "the captures ended before their time, when that for all was over; give more with --timeout")
	}
}

// stopCaptures ends the captures, all at about one time, and records them.
func (r *recorder) stopCaptures(ctx context.Context) error {
	for _, x := range r.captures {
		if err := r.capture(ctx, x); err != nil {
			return err
		}
	}
	return nil
}

func (r *recorder) capture(ctx context.Context, x running) error {
	in, stats, err := x.c.Stop()
	it := &item{name: packets, limit: 1 << 40}
	if err != nil {
		because, detail := it.judge(ended{err: err}, stats.Bytes)
		r.missing(x.s, packets, because, detail)
	}
	if in == nil {
		return nil
	}
	if stats.Full {
		r.missing(x.s, packets, tooLarge, fmt.Sprintf("ended after %d bytes, before its time; choose fewer with --pcap-filter", stats.Bytes))
	}
	if stats.Dropped > 0 {
		r.missing(x.s, packets, failed, fmt.Sprintf("%d packets came too fast and were dropped; choose fewer with --pcap-filter", stats.Dropped))
	}
	if r.o.Size > 0 && stats.Bytes > r.left {
		in.Close()
		r.missing(x.s, packets, tooLarge, fmt.Sprintf("the bundle had no room for its %d bytes; give more with --max-size", stats.Bytes))
		return nil
	}
	a := r.artifact(x.s, packets+".pcapng")
	a.Tool, a.Started = r.self(), r.at(stats.Begun)
	a.Command = []string{"tcpdump", "-i", "any", "-w", "-"}
	if r.o.Packets.Filter != "" {
		a.Command = append(a.Command, r.o.Packets.Filter)
	}
	// What the time for all has ended is here all the same.
	e := &env{ctx: context.WithoutCancel(ctx), host: r.host, s: x.s, r: r}
	err = r.copy(e, it, packets, true, &a, func() (source, error) { return &stream{ctx: e.ctx, in: in}, nil })
	if n := len(r.m.Artifacts); err == nil && n > 0 && r.m.Artifacts[n-1].Path == a.Path {
		r.m.Artifacts[n-1].Took = stats.Finished.Sub(stats.Begun).Round(time.Microsecond)
		r.m.Artifacts[n-1].Truncated = stats.Full
	}
	return err
}

// spoolOf is the folder for what must be kept before it goes into the bundle:
// where the bundle will be, which has the room.
func spoolOf(out string) string {
	if out == "-" {
		return os.TempDir()
	}
	return filepath.Dir(out)
}
