package kernel

import (
	"encoding/binary"
	"io"
	"strconv"

	"golang.org/x/sys/unix"
)

// The text of addresses, routes, neighbours and rules is that of ip (iproute2
// 6.1.0, as in Debian 12 and Ubuntu 24.04) with the names that its own files in
// /etc/iproute2 give; names that a host adds there stay numbers.

// rtAgain is how often a table is read again that changed while it was read.
const rtAgain = 3

// rtHold is how much text of a table is held back until it is known to be whole.
// A table with more is given as it comes: what changes faster than that can be
// read is not steady at a second look either.
const rtHold = 1 << 20

// attrType are the bits of an attribute's type that are no flags, NLA_TYPE_MASK.
const attrType = 0x3fff

// rtAttrs are the attributes of a message of rtnetlink by their type.
type rtAttrs [64][]byte

// read finds the attributes in b. What is cut is not there.
func (a *rtAttrs) read(b []byte) {
	*a = rtAttrs{}
	rtNested(b, func(kind int, value []byte) {
		if kind < len(a) && a[kind] == nil {
			a[kind] = value
		}
	})
}

// rtNested goes through attributes that may be there more than once.
func rtNested(b []byte, each func(kind int, value []byte)) {
	for len(b) >= unix.SizeofRtAttr {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			return
		}
		each(int(binary.NativeEndian.Uint16(b[2:])&attrType), b[unix.SizeofRtAttr:size:size])
		b = b[min((size+3)&^3, len(b)):]
	}
}

func (a *rtAttrs) u8(kind int) (byte, bool) {
	if len(a[kind]) < 1 {
		return 0, false
	}
	return a[kind][0], true
}

func (a *rtAttrs) u16(kind int) (uint16, bool) {
	if len(a[kind]) < 2 {
		return 0, false
	}
	return binary.NativeEndian.Uint16(a[kind]), true
}

func (a *rtAttrs) u32(kind int) (uint32, bool) {
	if len(a[kind]) < 4 {
		return 0, false
	}
	return binary.NativeEndian.Uint32(a[kind]), true
}

// word is an attribute that is a string, without the zero at its end. A word
// with a line end in it would look like two lines, and has none.
func (a *rtAttrs) word(kind int) ([]byte, bool) { return rtWord(a[kind]), a[kind] != nil }

func rtWord(b []byte) []byte {
	for i, c := range b {
		if c == 0 {
			return b[:i]
		}
		if c < ' ' {
			b[i] = '?'
		}
	}
	return b
}

// rtAttr appends an attribute to a question.
func rtAttr(b []byte, kind uint16, value uint32) []byte {
	b = binary.NativeEndian.AppendUint16(b, unix.SizeofRtAttr+4)
	b = binary.NativeEndian.AppendUint16(b, kind)
	return binary.NativeEndian.AppendUint32(b, value)
}

// reread is a listing that is read again when the kernel calls it inconsistent.
type reread struct {
	listing
	kind  uint16
	body  []byte
	times int // that it may still be read again
	begun bool
}

// rtList opens a listing of the calling thread's network namespace.
func rtList(kind uint16, body []byte, row func(out []byte, kind uint16, body []byte) ([]byte, error)) (*reread, error) {
	d, err := ask(unix.NETLINK_ROUTE, kind, unix.NLM_F_DUMP, body)
	if err != nil {
		return nil, err
	}
	return &reread{listing: listing{dump: d, row: row}, kind: kind, body: body, times: rtAgain}, nil
}

// Read gives text, and at its end io.EOF, or why the kernel did not give all.
func (r *reread) Read(p []byte) (int, error) {
	if !r.begun {
		r.begun = true
		r.begin()
	}
	return r.listing.Read(p)
}

// begin reads what is held back.
func (r *reread) begin() {
	for {
		t := &r.text
		t.left, t.err = nil, nil
		for t.err == nil && len(t.left) < rtHold {
			t.buf, t.err = r.fill(t.buf[:0])
			t.left = append(t.left, t.buf...)
		}
		if t.err != ErrChanged || r.times == 0 {
			return
		}
		r.times--
		if err := r.dump.again(r.kind, unix.NLM_F_DUMP, r.body); err != nil {
			t.err = err
			return
		}
	}
}

// rtEvery reads a table whole, and again when it changed meanwhile. It ends with
// ErrChanged when it did each time. begin is called before every reading.
func rtEvery(kind uint16, body []byte, begin func(), row func(body []byte)) error {
	d, err := ask(unix.NETLINK_ROUTE, kind, unix.NLM_F_DUMP, body)
	if err != nil {
		return err
	}
	defer d.Close()
	for times := rtAgain; ; times-- {
		begin()
		for err == nil {
			var body []byte
			if _, body, err = d.next(); err == nil {
				row(body)
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != ErrChanged || times == 0:
			return err
		}
		if err = d.again(kind, unix.NLM_F_DUMP, body); err != nil {
			return err
		}
	}
}

// skipStats is RTEXT_FILTER_SKIP_STATS: counters are most of a link's message.
const skipStats = 1 << 3

// rtLink is what other tables need of a link.
type rtLink struct {
	name  string
	kind  uint16 // ARPHRD_...
	flags uint32
}

// rtLinks are the links of a namespace by their index.
type rtLinks map[uint32]rtLink

// rtReadLinks reads the links of the calling thread's network namespace. each may
// be nil; it is given every message, which is its own.
func rtReadLinks(begin func(), each func(body []byte)) (rtLinks, error) {
	links := rtLinks{}
	var a rtAttrs
	body := rtAttr(make([]byte, unix.SizeofIfInfomsg), unix.IFLA_EXT_MASK, skipStats)
	err := rtEvery(unix.RTM_GETLINK, body, func() {
		clear(links)
		begin()
	}, func(body []byte) {
		if len(body) < unix.SizeofIfInfomsg {
			return
		}
		a.read(body[unix.SizeofIfInfomsg:])
		name, _ := a.word(unix.IFLA_IFNAME)
		links[binary.NativeEndian.Uint32(body[4:])] = rtLink{
			name:  string(name),
			kind:  binary.NativeEndian.Uint16(body[2:]),
			flags: binary.NativeEndian.Uint32(body[8:]),
		}
		each(body)
	})
	return links, err
}

// rtNames reads the links for their names alone. When they changed each time, the
// rtNames that were read are as good as any.
func rtNames() (rtLinks, error) {
	links, err := rtReadLinks(func() {}, func([]byte) {})
	if err == ErrChanged {
		err = nil
	}
	return links, err
}

// name appends the name of a link. One that came after the links were read has
// its number for a name, as one that has gone.
func (l rtLinks) name(out []byte, index uint32) []byte {
	if link, ok := l[index]; ok {
		return append(out, link.name...)
	}
	if index == 0 {
		return append(out, '*')
	}
	return strconv.AppendUint(append(out, "if"...), uint64(index), 10)
}

// rtNumber appends what fmt would print for before + "%d" + after.
func rtNumber[N byte | uint16 | uint32 | uint64](out []byte, before string, n N, after string) []byte {
	out = strconv.AppendUint(append(out, before...), uint64(n), 10)
	return append(out, after...)
}

// rtHex is rtNumber for "%#x".
func rtHex(out []byte, before string, n uint32, after string) []byte {
	out = append(out, before...)
	if n != 0 {
		out = append(out, "0x"...)
	}
	return append(strconv.AppendUint(out, uint64(n), 16), after...)
}

// rtHost appends an address of either family.
func rtHost(out []byte, b []byte) []byte {
	switch len(b) {
	case 4:
		return appendV4(out, b)
	case 16:
		return appendV6(out, b)
	}
	return append(out, "???"...)
}

// rtLinkAddress appends an address of a link, whose kind tells whether it is one of IP.
func rtLinkAddress(out, b []byte, kind uint16) []byte {
	switch {
	case len(b) == 4 && (kind == unix.ARPHRD_TUNNEL || kind == unix.ARPHRD_SIT || kind == unix.ARPHRD_IPGRE),
		len(b) == 16 && (kind == unix.ARPHRD_TUNNEL6 || kind == unix.ARPHRD_IP6GRE):
		return rtHost(out, b)
	}
	const digits = "0123456789abcdef"
	for i, c := range b {
		if i > 0 {
			out = append(out, ':')
		}
		out = append(out, digits[c>>4], digits[c&15])
	}
	return out
}

// told is a text that was made at once, and why it is not all.
type told struct {
	text []byte
	err  error
}

func (t *told) Read(p []byte) (int, error) {
	if len(t.text) == 0 {
		return 0, t.err
	}
	n := copy(p, t.text)
	t.text = t.text[n:]
	return n, nil
}

func (t *told) Close() error { return nil }

// tell gives a text; err may be nil or ErrChanged.
func tell(text []byte, err error) io.ReadCloser {
	if err == nil {
		err = io.EOF
	}
	return &told{text, err}
}
