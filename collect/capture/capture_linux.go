package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Capture is a capture that runs, or has ended.
type Capture struct {
	ring    *ring
	spool   *spool
	filter  string
	payload int

	devices  map[uint32]uint32 // from a device's index to its number in the file
	received []uint64          // by number
	seen     uint64            // packets taken from the ring
	came     uint64            // packets that the kernel put there
	stats    Stats
	err      error // of the spool

	once  sync.Once
	unctx func() bool
	done  chan struct{}
}

// ErrNoPackets says that the kernel has no packet sockets, as far as /proc tells,
// so that asking for one would make it load a module.
var ErrNoPackets = errors.New("this kernel has no packet sockets: there is no /proc/net/packet; modprobe af_packet brings them")

// ErrStopped says that a capture was stopped or closed before.
var ErrStopped = errors.New("the capture was stopped before")

// patience is how long the kernel may take to give what it has when a capture ends.
const patience = 2 * time.Second

// Open begins a capture of all devices in the calling thread's network
// namespace, also those that come later. It goes on in the background, from any
// thread, until Stop, Close, the end of ctx or the limit. While it runs, the
// namespace lives, even if all its processes end.
func Open(ctx context.Context, o Options) (*Capture, error) {
	c, err := prepare(o)
	if err != nil {
		return nil, err
	}
	c.unctx = context.AfterFunc(ctx, c.end)
	go c.run()
	return c, nil
}

// prepare makes a capture that keeps packets in its ring, and does not read them.
func prepare(o Options) (*Capture, error) {
	if _, err := os.Stat("/proc/net/packet"); err != nil {
		return nil, ErrNoPackets
	}
	t, err := parseFilter(o.Filter)
	if err != nil {
		return nil, err
	}
	o.Payload = min(max(o.Payload, 0), mostPayload)
	program, err := compileFilter(t, uint32(mostHeaders+o.Payload))
	if err != nil {
		return nil, err
	}
	if o.Limit <= 0 {
		o.Limit = defaultLimit
	}
	if o.Ring <= 0 {
		o.Ring = defaultRing
	}
	c := &Capture{filter: o.Filter, payload: o.Payload, devices: map[uint32]uint32{}, done: make(chan struct{})}
	if c.spool, err = newSpool(o.Dir, o.Limit); err != nil {
		return nil, err
	}
	if err := c.begin(); err != nil {
		c.spool.f.Close()
		return nil, err
	}
	if c.ring, err = newRing(o.Ring, program); err != nil {
		c.spool.f.Close()
		return nil, err
	}
	c.stats.Begun = time.Now()
	return c, nil
}

// begin writes what stands before the packets.
func (c *Capture) begin() error {
	if err := c.spool.add(0, appendSection); err != nil {
		return fmt.Errorf("a limit of %d bytes: %w", c.spool.limit, err)
	}
	devices, err := net.Interfaces()
	if err != nil {
		return err
	}
	for _, d := range devices {
		if _, err := c.device(uint32(d.Index), d.Name); err != nil {
			return fmt.Errorf("a limit of %d bytes: %w", c.spool.limit, err)
		}
	}
	return nil
}

// device gives the number of a device in the file, where it first writes it when
// it is new. A device that was renamed keeps its first name.
func (c *Capture) device(index uint32, name string) (uint32, error) {
	if id, ok := c.devices[index]; ok {
		return id, nil
	}
	if name == "" {
		var ok bool
		if name, ok = c.ring.name(index); !ok { // it has gone already
			name = "if" + strconv.FormatUint(uint64(index), 10)
		}
	}
	id := uint32(len(c.received))
	err := c.spool.add(c.room(1), func(out []byte) []byte { return appendInterface(out, name, c.filter) })
	if err != nil {
		return 0, err
	}
	c.devices[index] = id
	c.received = append(c.received, 0)
	return id, nil
}

// room is how many bytes the statistics need at the end, of some devices more.
func (c *Capture) room(more int) int64 {
	const each, once = 60, 80
	return int64(each*(len(c.received)+more) + once)
}

func (c *Capture) run() {
	defer close(c.done)
	defer c.unctx()
	defer c.ring.close()
	raw, err := c.ring.f.SyscallConn()
	deadline := time.Time{} // for what is left in the ring
	for err == nil {
		full := false
		err = raw.Read(func(uintptr) bool {
			full = !c.ring.each(c.packet)
			return full
		})
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = nil
		}
		if full || err != nil {
			break
		}
		// It was told to end: no packet comes now, and what came is read still.
		if deadline.IsZero() {
			deadline = time.Now().Add(patience)
			c.ring.shut()
		}
		if err = c.count(); err != nil || c.seen >= c.came || time.Now().After(deadline) {
			break
		}
		c.ring.f.SetReadDeadline(time.Now().Add(retire * time.Millisecond))
	}
	c.count()
	c.finish()
}

// count adds what the kernel counted since the last time.
func (c *Capture) count() error {
	came, dropped, err := c.ring.counts()
	c.came += came - min(came, dropped)
	c.stats.Dropped += dropped
	return err
}

// packet takes one packet. It is false when the capture is at its end.
func (c *Capture) packet(f *frame) bool {
	c.seen++
	if f.how == outgoing && f.kind == unix.ARPHRD_LOOPBACK {
		return true // which comes back at once, and is seen then
	}
	f.packet = f.packet[:min(len(f.packet), headers(f.packet, f.inside)+c.payload)]
	id, err := c.device(f.device, "")
	if err == nil {
		err = c.spool.add(c.room(0), func(out []byte) []byte { return appendPacket(out, id, f) })
	}
	if err != nil {
		c.stats.Full = err == errFull
		if err != errFull {
			c.err = err
		}
		return false
	}
	c.received[id]++
	c.stats.Packets++
	return true
}

// finish writes what stands behind the packets.
func (c *Capture) finish() {
	c.stats.Finished = time.Now()
	if c.err == nil {
		now := uint64(c.stats.Finished.UnixNano())
		for id, n := range c.received {
			var dropped *uint64
			if id == 0 {
				dropped = &c.stats.Dropped
			}
			c.err = c.spool.add(0, func(out []byte) []byte { return appendStatistics(out, uint32(id), now, n, dropped) })
			if c.err != nil {
				break
			}
		}
	}
	if c.err == nil {
		c.err = c.spool.flush()
	}
	c.stats.Bytes = c.spool.size
}

// end tells the capture to end.
func (c *Capture) end() {
	c.ring.f.SetReadDeadline(time.Now()) // which wakes run
}

// Stop ends the capture and gives the file, which the caller closes, and what
// became of the packets. The error is that of the spool, as on a full disk: what
// was written before it is given all the same, up to the end of a record.
func (c *Capture) Stop() (io.ReadCloser, Stats, error) {
	first := false
	c.once.Do(func() { first = true })
	if !first {
		return nil, Stats{}, ErrStopped
	}
	c.end()
	<-c.done
	return c.spool.reader(), c.stats, c.err
}

// Close ends the capture and drops what it has, unless Stop gave it away.
func (c *Capture) Close() error {
	c.once.Do(func() {
		c.end()
		<-c.done
		c.spool.f.Close()
	})
	return nil
}
