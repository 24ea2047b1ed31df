package flow

import (
	"encoding/binary"
	"io"
	"math/rand/v2"
	"strconv"
)

// generate writes a capture of TCP connections to w, many of them at once:
// handshake, requests of which 2 % are sent twice, answers, close. A quarter is
// in VXLAN, one in twenty over IPv6, one in twenty in a VLAN. It returns the
// number of packets.
func generate(w io.Writer, flows, live int) (packets int, err error) {
	g := &generator{w: w, rnd: rand.New(rand.NewPCG(1, 2)), now: 1_700_000_000_000_000_000}
	head := make([]byte, 24)
	binary.LittleEndian.PutUint32(head, 0xa1b23c4d)
	binary.LittleEndian.PutUint16(head[4:], 2)
	binary.LittleEndian.PutUint16(head[6:], 4)
	binary.LittleEndian.PutUint32(head[16:], 262144)
	binary.LittleEndian.PutUint32(head[20:], 1)
	g.out = append(g.out, head...)
	var open []*conn
	for next := 0; next < flows || len(open) > 0; {
		for next < flows && len(open) < live {
			open = append(open, g.open(next))
			next++
		}
		i := g.rnd.IntN(len(open))
		if !g.step(open[i]) {
			open[i] = open[len(open)-1]
			open = open[:len(open)-1]
		}
	}
	g.flush()
	return g.packets, g.err
}

type generator struct {
	w       io.Writer
	err     error
	rnd     *rand.Rand
	now     int64
	out     []byte
	packets int
}

// conn is a connection: the numbers of client and server, and how far it is.
type conn struct {
	number            int
	v6, vlan, vxlan   bool
	seq               [2]uint32
	id                [2]uint16
	stage, turns, ask int
}

func (g *generator) open(n int) *conn {
	c := &conn{number: n, seq: [2]uint32{g.rnd.Uint32(), g.rnd.Uint32()}, turns: 1 + g.rnd.IntN(2)}
	c.id = [2]uint16{uint16(g.rnd.Uint32()), uint16(g.rnd.Uint32())}
	switch k := g.rnd.IntN(100); {
	case k < 25:
		c.vxlan = true
	case k < 30:
		c.v6 = true
	case k < 35:
		c.vlan = true
	}
	return c
}

// step sends the next packet of a connection. It is false after the last one.
func (g *generator) step(c *conn) bool {
	const answered = 3 + 4
	switch s := c.stage; {
	case s == 0:
		g.send(c, 0, flagSYN, 0)
	case s == 1:
		g.send(c, 1, flagSYN|flagACK, 0)
	case s == 2:
		g.send(c, 0, flagACK, 0)
	case s == 3:
		if c.ask == 0 {
			c.ask = 100 + g.rnd.IntN(600)
		} else {
			c.seq[0] -= uint32(c.ask)
		}
		again := g.rnd.IntN(50) == 0
		g.send(c, 0, flagACK|flagPSH, c.ask)
		if again {
			return true
		}
		c.ask = 0
	case s == 4, s == 6:
		g.send(c, s/2%2, flagACK, 0)
	case s == 5:
		g.send(c, 1, flagACK|flagPSH, 200+g.rnd.IntN(1300))
	case s == answered && c.turns > 1:
		c.turns--
		c.stage = 3
		return true
	case s == answered:
		g.send(c, 0, flagFIN|flagACK, 0)
	case s == answered+1:
		g.send(c, 1, flagFIN|flagACK, 0)
	default:
		g.send(c, 0, flagACK, 0)
		return false
	}
	c.stage++
	return true
}

// send writes a packet of end from, and counts the numbers on.
func (g *generator) send(c *conn, from int, flags uint16, length int) {
	start := len(g.out)
	g.now += int64(g.rnd.IntN(2000))
	g.out = append(g.out, make([]byte, 16)...)
	if c.vxlan {
		inner := 14 + 20 + 32 + length
		g.out = append(g.out, "\x02\x00\x00\x00\x00\x0b\x02\x00\x00\x00\x00\x0a\x08\x00"...)
		g.ipv4(17, 8+8+inner, uint32(0xc0a80001+from), uint32(0xc0a80002-from), uint16(c.number))
		g.out = binary.BigEndian.AppendUint16(g.out, uint16(40000+c.number%1000))
		g.out = binary.BigEndian.AppendUint16(g.out, 8472)
		g.out = binary.BigEndian.AppendUint16(g.out, uint16(8+8+inner))
		g.out = append(g.out, 0, 0, 8, 0, 0, 0, 0, 0, 1, 0)
	}
	g.out = append(g.out, "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02"...)
	if c.vlan {
		g.out = append(g.out, 0x81, 0, 0, 12)
	}
	client, server := uint32(0x0a000000+c.number/50000), uint32(0x0a600000+c.number%64)
	if from == 1 {
		client, server = server, client
	}
	if c.v6 {
		g.out = append(g.out, 0x86, 0xdd)
		g.ipv6(32+length, client, server)
	} else {
		g.out = append(g.out, 8, 0)
		g.ipv4(6, 32+length, client, server, c.id[from])
		c.id[from]++
	}
	g.tcp(c, from, flags, length)
	size := uint32(len(g.out) - start - 16)
	le := binary.LittleEndian
	le.PutUint32(g.out[start:], uint32(g.now/1e9))
	le.PutUint32(g.out[start+4:], uint32(g.now%1e9))
	le.PutUint32(g.out[start+8:], size)
	le.PutUint32(g.out[start+12:], size)
	g.packets++
	if len(g.out) > 1<<20 {
		g.flush()
	}
}

func (g *generator) flush() {
	if g.err == nil {
		_, g.err = g.w.Write(g.out)
	}
	g.out = g.out[:0]
}

func (g *generator) ipv4(protocol byte, length int, from, to uint32, id uint16) {
	b := append(g.out, 0x45, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(20+length))
	b = binary.BigEndian.AppendUint16(b, id)
	b = append(b, 0x40, 0, 64, protocol, 0, 0)
	b = binary.BigEndian.AppendUint32(b, from)
	g.out = binary.BigEndian.AppendUint32(b, to)
}

func (g *generator) ipv6(length int, from, to uint32) {
	b := append(g.out, 0x60, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(length))
	b = append(b, 6, 64)
	for _, a := range []uint32{from, to} {
		b = append(b, "\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
		b = binary.BigEndian.AppendUint32(b, a)
	}
	g.out = b
}

func (g *generator) tcp(c *conn, from int, flags uint16, length int) {
	ports := [2]uint16{uint16(10000 + c.number%50000), 80}
	b := binary.BigEndian.AppendUint16(g.out, ports[from])
	b = binary.BigEndian.AppendUint16(b, ports[1-from])
	b = binary.BigEndian.AppendUint32(b, c.seq[from])
	b = binary.BigEndian.AppendUint32(b, c.seq[1-from])
	b = append(b, 0x80, byte(flags), 0xff, 0xff, 0, 0, 0, 0, 1, 1, 8, 10)
	b = binary.BigEndian.AppendUint32(b, uint32(g.now/1e6))
	b = binary.BigEndian.AppendUint32(b, 0)
	payload := len(b)
	if length > 0 && from == 0 {
		b = append(b, "GET /"...)
		b = strconv.AppendUint(b, uint64(c.seq[0]), 16)
		b = append(b, " HTTP/1.1\r\nHost: www.example.com\r\nAccept: */*\r\n\r\n"...)
	}
	b = append(b, make([]byte, payload+length-len(b))...)
	c.seq[from] += uint32(length)
	if flags&(flagSYN|flagFIN) != 0 {
		c.seq[from]++
	}
	g.out = b
}
