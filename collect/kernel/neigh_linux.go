package kernel

import (
	"encoding/binary"
	"io"

	"golang.org/x/sys/unix"
)

// Neighbours lists the neighbours of the calling thread's network namespace as
// ip neigh prints them (iproute2 6.1.0):
//
//	10.244.1.2 dev cni0 lladdr c2:68:06:6a:cf:a1 REACHABLE
//
// As ip does it leaves out those that need no address of a link, and those that
// stand in for others (proxies).
func Neighbours() (io.ReadCloser, error) {
	links, err := rtNames()
	if err != nil {
		return nil, err
	}
	p := &neighbourPrinter{links: links}
	l, err := rtList(unix.RTM_GETNEIGH, make([]byte, unix.SizeofNdMsg), p.row)
	if err != nil {
		return nil, err
	}
	return l, nil
}

type neighbourPrinter struct {
	links rtLinks
	a     rtAttrs
}

// neighbourStates are NUD_..., in the order in which ip names them.
var neighbourStates = [...]struct {
	bit  uint16
	name string
}{
	{unix.NUD_INCOMPLETE, "INCOMPLETE "}, {unix.NUD_REACHABLE, "REACHABLE "}, {unix.NUD_STALE, "STALE "}, {unix.NUD_DELAY, "DELAY "},
	{unix.NUD_PROBE, "PROBE "}, {unix.NUD_FAILED, "FAILED "}, {unix.NUD_NOARP, "NOARP "}, {unix.NUD_PERMANENT, "PERMANENT "},
}

func (p *neighbourPrinter) row(out []byte, kind uint16, body []byte) ([]byte, error) {
	if kind != unix.RTM_NEWNEIGH || len(body) < unix.SizeofNdMsg {
		return out, nil
	}
	family, index := body[0], binary.NativeEndian.Uint32(body[4:])
	state, flags := binary.NativeEndian.Uint16(body[8:]), body[10]
	if family != unix.AF_INET && family != unix.AF_INET6 {
		return out, nil
	}
	const shown = 0xff &^ unix.NUD_NOARP
	if state&shown == 0 && flags&(unix.NTF_PROXY|unix.NTF_EXT_LEARNED) == 0 {
		return out, nil
	}
	a := &p.a
	a.read(body[unix.SizeofNdMsg:])
	if b := a[unix.NDA_DST]; b != nil {
		out = append(rtHost(out, b), ' ')
	}
	if index != 0 {
		out = append(p.links.name(append(out, "dev "...), index), ' ')
	}
	if b := a[unix.NDA_LLADDR]; b != nil {
		out = append(rtLinkAddress(append(out, "lladdr "...), b, p.links[index].kind), ' ')
	}
	return append(p.words(out, state, flags), '\n'), nil
}

// words appends what follows the addresses.
func (p *neighbourPrinter) words(out []byte, state uint16, flags byte) []byte {
	const protocolAttr, flagsAttr, managed = 12, 15, 1 // NDA_PROTOCOL, NDA_FLAGS_EXT, NTF_EXT_MANAGED
	more, _ := p.a.u32(flagsAttr)
	for _, w := range [...]struct {
		set  bool
		word string
	}{
		{flags&unix.NTF_ROUTER != 0, "router "}, {flags&unix.NTF_PROXY != 0, "proxy "}, {more&managed != 0, "managed "},
		{flags&unix.NTF_EXT_LEARNED != 0, "extern_learn "}, {flags&unix.NTF_OFFLOADED != 0, "offload "},
	} {
		if w.set {
			out = append(out, w.word...)
		}
	}
	for _, s := range neighbourStates {
		if state&s.bit != 0 {
			out = append(out, s.name...)
		}
	}
	if proto, ok := p.a.u8(protocolAttr); ok && proto != 0 {
		out = append(rtProto(append(out, "proto "...), proto), ' ')
	}
	return out
}
