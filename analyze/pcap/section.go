package pcap

import (
	"bytes"
	"net/netip"
	"strings"
)

// Codes of options. The same number means another thing in another block.
const (
	optEnd     = 0
	optComment = 1

	sectionHardware    = 2
	sectionOS          = 3
	sectionApplication = 4

	interfaceName        = 2
	interfaceDescription = 3
	interfaceResolution  = 9
	interfaceFilter      = 11
	interfaceOS          = 12
	interfaceFCS         = 13
	interfaceOffset      = 14
	interfaceHardware    = 15

	statisticsReceived = 4
	statisticsDropped  = 5
	statisticsOSDrop   = 7

	nameEnd  = 0
	nameIPv4 = 1
	nameIPv6 = 2
)

// What is kept at most. The rest is counted.
const (
	maxInterfaces  = 1 << 16
	maxNames       = 1 << 16
	maxName        = 255 // bytes of a name of DNS, and more than that
	maxComments    = 1 << 14
	maxCommentText = 1 << 20 // bytes of all comments
)

func (r *Reader) u64(b []byte) uint64 {
	if r.swap {
		return uint64(r.u32(b))<<32 | uint64(r.u32(b[4:]))
	}
	return uint64(r.u32(b[4:]))<<32 | uint64(r.u32(b))
}

// options gives each option. It is false when one is longer than the block.
func (r *Reader) options(b []byte, each func(code uint16, value []byte)) bool {
	for len(b) >= 4 {
		code, size := r.u16(b), int(r.u16(b[2:]))
		if code == optEnd {
			return true
		}
		if b = b[4:]; size > len(b) {
			return false
		}
		each(code, b[:size:size])
		b = b[min((size+3)&^3, len(b)):]
	}
	return len(b) == 0
}

func (r *Reader) badOptions(offset int64) {
	if !r.again(badOption) {
		r.note(badOption, offset, "has in the block at byte %d an option that is longer than the block: it was skipped", offset)
	}
}

// text is what a stranger wrote, which some end with a zero as in C.
func text(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return strings.ToValidUTF8(string(b), "\ufffd")
}

func (r *Reader) comment(number int, offset int64, value []byte) {
	if len(r.comments) == maxComments || r.text+len(value) > maxCommentText {
		r.note(tooManyComments, offset, "has more comments than are kept: those from byte %d on were skipped", offset)
		return
	}
	c := Comment{Packet: number, Text: text(value)}
	r.text += len(c.Text)
	r.comments = append(r.comments, c)
}

// sectionText is what a section tells of the host and its program.
type sectionText struct{ hardware, os, application string }

// sectionBlock begins a section, which has interfaces of its own.
func (r *Reader) sectionBlock(body []byte, offset int64) {
	const fields = 16 // magic, version, length of the section
	r.section++
	r.base = len(r.interfaces)
	r.own = sectionText{}
	if len(body) < fields {
		r.note(badVersion, offset, "has at byte %d a section header that is too short: what follows cannot be read", offset)
		r.done = true
		return
	}
	// Version 1.2 is what some wrote for 1.0.
	if major, minor := r.u16(body[4:]), r.u16(body[6:]); major != 1 || minor != 0 && minor != 2 {
		r.note(badVersion, offset, "has at byte %d a section of version %d.%d of pcapng, which nothing is known about: what follows cannot be read", offset, major, minor)
		r.done = true
		return
	}
	whole := r.options(body[fields:], func(code uint16, value []byte) {
		switch code {
		case optComment:
			r.comment(0, offset, value)
		case sectionHardware:
			r.own.hardware = text(value)
		case sectionOS:
			r.own.os = text(value)
		case sectionApplication:
			r.own.application = text(value)
		}
	})
	if !whole {
		r.badOptions(offset)
	}
}

func (r *Reader) interfaceBlock(body []byte, offset int64) {
	const fields = 8
	d := device{Interface: Interface{
		Section: r.section - 1, Number: len(r.interfaces) - r.base, Resolution: 6,
		OS: r.own.os, Hardware: r.own.hardware, Application: r.own.application,
	}}
	if len(r.interfaces) == maxInterfaces {
		r.note(tooManyInterfaces, offset, "describes more than %d interfaces: the packets of those from byte %d on were skipped", maxInterfaces, offset)
		return
	}
	if len(body) < fields {
		// It stays in the count, so that the others keep their numbers.
		r.note(badInterface, offset, "describes interface %d at byte %d in %d bytes, less than its fields need: its link type is not known", d.Number, offset, len(body))
		d.LinkType = 0xffff
		body = make([]byte, 8)
	} else {
		d.LinkType = standard(r.u16(body))
	}
	d.Snaplen = r.u32(body[4:])
	var seconds int64
	whole := r.options(body[fields:], func(code uint16, value []byte) {
		switch {
		case code == interfaceOffset && len(value) == 8:
			seconds = int64(r.u64(value))
		case code == interfaceOffset, code == interfaceResolution && len(value) != 1:
			r.badOptionLength(code, value, offset)
		default:
			r.interfaceOption(&d, code, value, offset)
		}
	})
	if !whole {
		r.badOptions(offset)
	}
	var ok bool
	if d.clock, ok = newClock(d.Resolution, seconds); !ok {
		d.clockBad = true
		r.note(badClock, offset, "describes interface %d at byte %d with a resolution of times (if_tsresol 0x%02x) that no 64 bits can hold: its packets have no time", d.Number, offset, d.Resolution)
	}
	r.interfaces = append(r.interfaces, d)
}

func (r *Reader) interfaceOption(d *device, code uint16, value []byte, offset int64) {
	switch code {
	case optComment:
		r.comment(0, offset, value)
	case interfaceName:
		d.Name = text(value)
	case interfaceDescription:
		d.Description = text(value)
	case interfaceOS:
		d.OS = text(value)
	case interfaceHardware:
		d.Hardware = text(value)
	case interfaceResolution:
		d.Resolution = value[0]
	case interfaceFCS:
		if len(value) == 1 {
			d.FCS = value[0]
		}
	case interfaceFilter:
		// The first byte is 0 for text, and 1 for a program of BPF.
		if len(value) > 0 && value[0] == 0 {
			d.Filter = text(value[1:])
		}
	}
}

func (r *Reader) badOptionLength(code uint16, value []byte, offset int64) {
	if !r.again(badOption) {
		r.note(badOption, offset, "has in the block at byte %d an option %d of %d bytes, which is not its length: it was skipped", offset, code, len(value))
	}
}

// statisticsBlock keeps the last counts of an interface; they grow.
func (r *Reader) statisticsBlock(body []byte, offset int64) {
	const fields = 12 // interface, time
	if len(body) < fields || int64(r.u32(body)) >= int64(len(r.interfaces)-r.base) {
		if !r.again(badStatistics) {
			r.note(badStatistics, offset, "has at byte %d statistics of no interface of the section: they were skipped", offset)
		}
		return
	}
	d := &r.interfaces[r.base+int(r.u32(body))]
	whole := r.options(body[fields:], func(code uint16, value []byte) {
		switch {
		case code == optComment:
			// Our own collector says so: the kernel counts for the socket.
			if string(value) == CountsAll {
				d.ofAll = true
			} else {
				r.comment(0, offset, value)
			}
		case len(value) != 8:
		case code == statisticsReceived:
			d.Received = r.u64(value)
		case code == statisticsDropped:
			d.ifDrop, d.Lossy = r.u64(value), true
		case code == statisticsOSDrop:
			d.osDrop, d.Lossy = r.u64(value), true
		}
	})
	if !whole {
		r.badOptions(offset)
	}
}

// CountsAll is the comment of statistics whose isb_osdrop counts the packets of
// all interfaces of the section.
const CountsAll = "isb_osdrop counts the packets of all interfaces"

// share says of the other interfaces of a section that they lost nothing, where
// one counts the drops of all and has none.
func (r *Reader) share(out []Interface) {
	for i := range r.interfaces {
		if d := &r.interfaces[i]; d.ofAll && d.Lossy && d.osDrop == 0 {
			for j := i - d.Number; j < len(out) && out[j].Section == d.Section; j++ {
				out[j].Lossy = true
			}
		}
	}
}

// names are those that a file gives to addresses, each once.
type names struct {
	list []Name
	have map[Name]bool
}

func (n *names) add(addr netip.Addr, value []byte) (fits bool) {
	for part := range bytes.SplitSeq(value, []byte{0}) {
		if len(part) == 0 || len(part) > maxName {
			continue
		}
		name := Name{addr, text(part)}
		if n.have[name] {
			continue
		}
		if len(n.list) == maxNames {
			return false
		}
		if n.have == nil {
			n.have = make(map[Name]bool)
		}
		n.have[name] = true
		n.list = append(n.list, name)
	}
	return true
}

// namesBlock reads records of an address and its names, each ended by a zero.
func (r *Reader) namesBlock(body []byte, offset int64) {
	for len(body) >= 4 {
		kind, size := r.u16(body), int(r.u16(body[2:]))
		if kind == nameEnd {
			return // options follow, and none that matters
		}
		body = body[4:]
		length := addressLength(kind)
		if size > len(body) || size < length {
			r.note(badNames, offset, "has in the block at byte %d names that do not fit it: they were skipped", offset)
			return
		}
		value := body[:size]
		body = body[min((size+3)&^3, len(body)):]
		if length == 0 {
			continue // of an address of the link
		}
		addr, _ := netip.AddrFromSlice(value[:length])
		if !r.names.add(addr, value[length:]) {
			r.note(tooManyNames, offset, "has more than %d names: those from byte %d on were skipped", maxNames, offset)
			return
		}
	}
}

func addressLength(kind uint16) int {
	switch kind {
	case nameIPv4:
		return 4
	case nameIPv6:
		return 16
	}
	return 0
}
