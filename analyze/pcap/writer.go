package pcap

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Codes of options of an enhanced packet block.
const (
	packetFlags = 2
	packetDrops = 4
)

const (
	maxOption = 1<<16 - 1
	// writeSize is what is written at once, namesSize what is put into one
	// block of names.
	writeSize = 64 << 10
	namesSize = 256 << 10
)

// Writer writes a pcapng file of one section, little-endian, with times in
// nanoseconds. The first error stays, and ends the writing. Text may come from
// strangers: what is no UTF-8 is replaced, and what does not fit an option is
// cut.
type Writer struct {
	out        io.Writer
	buf        []byte
	begun      bool
	interfaces int
	err        error
}

// WriterInterface describes an interface, which is a place where packets were
// seen. Empty fields are not written.
type WriterInterface struct {
	Name, Description string
	LinkType          uint16 // LINKTYPE_ of tcpdump.org
	Snaplen           uint32 // 0: no limit
	Comment           string
}

// NewWriter writes to out, which it does not close.
func NewWriter(out io.Writer) *Writer { return &Writer{out: out} }

// Section begins the file with the name of the program and comments. It comes
// first; without it the program is whichbackend, with no comment.
func (w *Writer) Section(application string, comments ...string) {
	if w.begun {
		w.fail("a section after the begin of the file")
		return
	}
	w.begun = true
	begin := w.block(magicSection)
	w.u32(magicOrder)
	w.u32(1) // version 1.0
	w.u32(1<<32 - 1)
	w.u32(1<<32 - 1) // of a length that is not known
	w.text(sectionApplication, application)
	w.comments(comments)
	w.end(begin)
}

func (w *Writer) begin() {
	if !w.begun {
		w.Section("whichbackend")
	}
}

// Interface describes one more interface, and gives the number for Packet.
func (w *Writer) Interface(i WriterInterface) int {
	w.begin()
	begin := w.block(blockInterface)
	w.u32(uint32(i.LinkType))
	w.u32(i.Snaplen)
	w.text(interfaceName, i.Name)
	w.text(interfaceDescription, i.Description)
	w.option(interfaceResolution, "\x09")
	w.text(optComment, i.Comment)
	w.end(begin)
	w.interfaces++
	return w.interfaces - 1
}

// Packet writes a packet of an interface. Of the packet count Time, Direction,
// Length and Data; a time before 1970 cannot be written and becomes 1970.
func (w *Writer) Packet(number int, p Packet, comments ...string) {
	switch {
	case number < 0 || number >= w.interfaces:
		w.fail("packet %d is of interface %d, and there are %d", p.Number, number, w.interfaces)
		return
	case len(p.Data) > MaxPacket:
		w.fail("packet %d has %d bytes, more than %d", p.Number, len(p.Data), MaxPacket)
		return
	}
	ticks := uint64(max(p.Time, 0))
	begin := w.block(blockPacket)
	w.u32(uint32(number))
	w.u32(uint32(ticks >> 32))
	w.u32(uint32(ticks))
	w.u32(uint32(len(p.Data)))
	w.u32(uint32(min(max(p.Length, len(p.Data)), 1<<32-1)))
	w.buf = append(w.buf, p.Data...)
	w.pad(len(p.Data))
	if p.Direction == 1 || p.Direction == 2 {
		w.option(packetFlags, string([]byte{p.Direction, 0, 0, 0}))
	}
	w.comments(comments)
	w.end(begin)
}

// Names writes what addresses are called. Names that are empty, and those of no
// address, are left out.
func (w *Writer) Names(list []Name) {
	w.begin()
	for len(list) > 0 {
		begin := w.block(blockNames)
		for len(list) > 0 && len(w.buf)-begin < namesSize {
			w.name(list[0])
			list = list[1:]
		}
		w.end(begin)
	}
}

func (w *Writer) name(n Name) {
	addr := n.Addr.Unmap().AsSlice()
	name := clean(n.Name)
	if name, _, _ = strings.Cut(name, "\x00"); name == "" || addr == nil {
		return
	}
	kind := uint16(nameIPv4)
	if len(addr) == 16 {
		kind = nameIPv6
	}
	w.option(kind, string(addr)+cut(name, maxName)+"\x00")
}

// Err is the first error.
func (w *Writer) Err() error { return w.err }

// Close writes what is left, and gives the first error.
func (w *Writer) Close() error {
	w.begin()
	w.flush()
	return w.err
}

func (w *Writer) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("writing a capture: "+format, args...)
	}
}

func (w *Writer) flush() {
	if w.err == nil && len(w.buf) > 0 {
		if _, err := w.out.Write(w.buf); err != nil {
			w.fail("%w", err)
		}
	}
	w.buf = w.buf[:0]
}

// block begins a block, and gives where.
func (w *Writer) block(kind uint32) int {
	begin := len(w.buf)
	w.u32(kind)
	w.u32(0) // its length, which end sets
	return begin
}

// end ends the options and the block.
func (w *Writer) end(begin int) {
	w.u32(optEnd)
	size := len(w.buf) - begin + 4
	if size > maxBlock {
		w.fail("a block has %d bytes, more than %d: it has too many comments", size, maxBlock)
	}
	binary.LittleEndian.PutUint32(w.buf[begin+4:], uint32(size))
	w.u32(uint32(size))
	if len(w.buf) >= writeSize || w.err != nil {
		w.flush()
	}
}

func (w *Writer) u32(v uint32) { w.buf = binary.LittleEndian.AppendUint32(w.buf, v) }

// pad fills up to four bytes after n.
func (w *Writer) pad(n int) { w.buf = append(w.buf, "\x00\x00\x00"[:-n&3]...) }

func (w *Writer) comments(list []string) {
	for _, c := range list {
		w.text(optComment, c)
	}
}

// text writes an option of text, unless it is empty.
func (w *Writer) text(code uint16, s string) {
	if s != "" {
		w.option(code, cut(clean(s), maxOption))
	}
}

func (w *Writer) option(code uint16, value string) {
	w.buf = binary.LittleEndian.AppendUint16(w.buf, code)
	w.buf = binary.LittleEndian.AppendUint16(w.buf, uint16(len(value)))
	w.buf = append(w.buf, value...)
	w.pad(len(value))
}

func clean(s string) string { return strings.ToValidUTF8(s, "\ufffd") }

// cut keeps at most n bytes, and whole characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
