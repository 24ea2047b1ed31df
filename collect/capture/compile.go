package capture

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/net/bpf"
)

// compileFilter makes the program that the kernel runs on each packet, for
// packets that begin with the header of IP (a cooked socket). It takes at most
// keep bytes of those that fit.
func compileFilter(t *test, keep uint32) ([]bpf.RawInstruction, error) {
	c := &compiler{}
	yes, no := c.label(), c.label()
	if t != nil {
		c.test(t, yes, no)
	}
	c.place(yes)
	c.add(bpf.RetConstant{Val: keep})
	c.place(no)
	c.add(bpf.RetConstant{Val: 0})
	for at, label := range c.jumps {
		c.program[at] = bpf.Jump{Skip: uint32(c.labels[label] - at - 1)}
	}
	if len(c.program) > 4096 {
		return nil, fmt.Errorf("the filter is too long for the kernel: it has %d instructions, of at most 4096", len(c.program))
	}
	return bpf.Assemble(c.program)
}

// compiler writes a program. A condition jumps to one of two labels, always by
// a long jump: a conditional one of BPF reaches no further than 255.
type compiler struct {
	program []bpf.Instruction
	labels  []int       // where each label is
	jumps   map[int]int // from the place of a jump to the label that it goes to
}

func (c *compiler) add(i bpf.Instruction) { c.program = append(c.program, i) }

func (c *compiler) label() int {
	c.labels = append(c.labels, -1)
	return len(c.labels) - 1
}

func (c *compiler) place(label int) { c.labels[label] = len(c.program) }

func (c *compiler) jump(label int) {
	if c.jumps == nil {
		c.jumps = map[int]int{}
	}
	c.jumps[len(c.program)] = label
	c.add(bpf.Jump{})
}

// when jumps to yes or no by a comparison of what was loaded.
func (c *compiler) when(cond bpf.JumpTest, value uint32, yes, no int) {
	c.add(bpf.JumpIf{Cond: cond, Val: value, SkipFalse: 1})
	c.jump(yes)
	c.jump(no)
}

// must goes on when a comparison holds, and else jumps to no.
func (c *compiler) must(cond bpf.JumpTest, value uint32, no int) {
	on := c.label()
	c.when(cond, value, on, no)
	c.place(on)
}

func (c *compiler) test(t *test, yes, no int) {
	switch t.op {
	case "not":
		c.test(t.a, no, yes)
	case "and", "or":
		next := c.label()
		if t.op == "and" {
			c.test(t.a, next, no)
		} else {
			c.test(t.a, yes, next)
		}
		c.place(next)
		c.test(t.b, yes, no)
	default:
		c.primitive(&t.primitive, yes, no)
	}
}

func (c *compiler) primitive(q *primitive, yes, no int) {
	switch q.kind {
	case "host", "net":
		c.addresses(q, yes, no)
	case "port", "portrange":
		c.ports(q, yes, no)
	default:
		c.protocol(q.protocol, yes, no)
	}
}

// linkProtocol loads what the kernel knows the packet to be.
func (c *compiler) linkProtocol() { c.add(bpf.LoadExtension{Num: bpf.ExtProto}) }

func (c *compiler) load(at, size int) { c.add(bpf.LoadAbsolute{Off: uint32(at), Size: size}) }

var protocolNumbers = map[string]uint32{"tcp": protoTCP, "udp": protoUDP, "sctp": protoSCTP, "icmp": protoICMP, "icmp6": protoICMPv6}

func (c *compiler) protocol(name string, yes, no int) {
	switch name {
	case "inbound":
		c.add(bpf.LoadExtension{Num: bpf.ExtType})
		c.when(bpf.JumpEqual, outgoing, no, yes)
	case "outbound":
		c.add(bpf.LoadExtension{Num: bpf.ExtType})
		c.when(bpf.JumpEqual, outgoing, yes, no)
	case "ip", "ip6", "arp":
		c.linkProtocol()
		c.when(bpf.JumpEqual, map[string]uint32{"ip": linkIPv4, "ip6": linkIPv6, "arp": linkARP}[name], yes, no)
	case "icmp":
		c.linkProtocol()
		c.must(bpf.JumpEqual, linkIPv4, no)
		c.load(9, 1)
		c.when(bpf.JumpEqual, protoICMP, yes, no)
	case "icmp6":
		c.linkProtocol()
		c.must(bpf.JumpEqual, linkIPv6, no)
		c.next6(protoICMPv6, yes, no)
	default:
		four, six := c.label(), c.label()
		c.linkProtocol()
		c.when(bpf.JumpEqual, linkIPv6, six, four)
		c.place(six)
		c.next6(protocolNumbers[name], yes, no)
		c.place(four)
		c.linkProtocol()
		c.must(bpf.JumpEqual, linkIPv4, no)
		c.load(9, 1)
		c.when(bpf.JumpEqual, protocolNumbers[name], yes, no)
	}
}

// next6 tells what follows the header of IPv6, or that of a fragment behind it.
func (c *compiler) next6(protocol uint32, yes, no int) {
	fragment := c.label()
	c.load(6, 1)
	c.when(bpf.JumpEqual, protocol, yes, fragment)
	c.place(fragment)
	c.must(bpf.JumpEqual, protoFragment, no)
	c.load(40, 1)
	c.when(bpf.JumpEqual, protocol, yes, no)
}

// addresses looks at both addresses of IP, and for IPv4 at those of ARP.
func (c *compiler) addresses(q *primitive, yes, no int) {
	if q.prefix.Addr().Is6() {
		c.linkProtocol()
		c.must(bpf.JumpEqual, linkIPv6, no)
		c.ends(q.direction, yes, no, func(end, yes, no int) { c.prefix(q, 8+16*end, yes, no) })
		return
	}
	arp := c.label()
	if q.protocol != "arp" {
		is4 := c.label()
		c.linkProtocol()
		c.when(bpf.JumpEqual, linkIPv4, is4, arp)
		c.place(is4)
		c.ends(q.direction, yes, no, func(end, yes, no int) { c.prefix(q, 12+4*end, yes, no) })
	}
	c.place(arp)
	if q.protocol == "ip" {
		c.jump(no)
		return
	}
	is := c.label()
	const reverse = 0x8035 // RARP, which has the same form
	c.linkProtocol()
	if q.protocol == "arp" {
		c.when(bpf.JumpEqual, linkARP, is, no)
	} else {
		other := c.label()
		c.when(bpf.JumpEqual, linkARP, is, other)
		c.place(other)
		c.when(bpf.JumpEqual, reverse, is, no)
	}
	c.place(is)
	c.ends(q.direction, yes, no, func(end, yes, no int) { c.prefix(q, 14+10*end, yes, no) })
}

// ends asks the source (0), the destination (1), or both.
func (c *compiler) ends(direction string, yes, no int, ask func(end, yes, no int)) {
	next := c.label()
	switch direction {
	case "src":
		ask(0, yes, no)
		c.place(next)
	case "dst":
		ask(1, yes, no)
		c.place(next)
	case "src and dst":
		ask(0, next, no)
		c.place(next)
		ask(1, yes, no)
	default:
		ask(0, yes, next)
		c.place(next)
		ask(1, yes, no)
	}
}

// prefix compares an address of the packet, four bytes at a time.
func (c *compiler) prefix(q *primitive, at, yes, no int) {
	address, bits := q.prefix.Addr().AsSlice(), q.prefix.Bits()
	for i := 0; i < len(address) && bits > 0; i += 4 {
		c.load(at+i, 4)
		if bits < 32 {
			c.add(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: ^uint32(0) << (32 - bits)})
		}
		c.must(bpf.JumpEqual, binary.BigEndian.Uint32(address[i:]), no)
		bits -= 32
	}
	c.jump(yes)
}

// ports looks at the ports of the packet, when it has some.
func (c *compiler) ports(q *primitive, yes, no int) {
	four, six, has4, has6 := c.label(), c.label(), c.label(), c.label()
	c.linkProtocol()
	c.when(bpf.JumpEqual, linkIPv6, six, four)

	c.place(six)
	c.load(6, 1)
	c.carries(q.protocol, has6, no)
	c.place(has6)
	c.ends(q.direction, yes, no, func(end, yes, no int) {
		c.load(40+2*end, 2)
		c.between(q, yes, no)
	})

	c.place(four)
	c.linkProtocol()
	c.must(bpf.JumpEqual, linkIPv4, no)
	c.load(9, 1)
	c.carries(q.protocol, has4, no)
	c.place(has4)
	first := c.label()
	c.load(6, 2)
	c.when(bpf.JumpBitsSet, 0x1fff, no, first) // later fragments have no ports
	c.place(first)
	c.ends(q.direction, yes, no, func(end, yes, no int) {
		c.add(bpf.LoadMemShift{Off: 0})
		c.add(bpf.LoadIndirect{Off: uint32(2 * end), Size: 2})
		c.between(q, yes, no)
	})
}

// carries tells whether the protocol that was loaded has ports.
func (c *compiler) carries(protocol string, yes, no int) {
	if protocol != "" {
		c.when(bpf.JumpEqual, protocolNumbers[protocol], yes, no)
		return
	}
	for _, n := range []uint32{protoTCP, protoUDP} {
		other := c.label()
		c.when(bpf.JumpEqual, n, yes, other)
		c.place(other)
	}
	c.when(bpf.JumpEqual, protoSCTP, yes, no)
}

func (c *compiler) between(q *primitive, yes, no int) {
	if q.first == q.last {
		c.when(bpf.JumpEqual, uint32(q.first), yes, no)
		return
	}
	c.must(bpf.JumpGreaterOrEqual, uint32(q.first), no)
	c.when(bpf.JumpLessOrEqual, uint32(q.last), yes, no)
}
