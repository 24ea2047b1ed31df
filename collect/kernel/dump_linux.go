// Package kernel lists what the Linux kernel knows of one network namespace:
// sockets, tracked connections, IPVS, addresses, routes and neighbours. It asks
// over netlink and writes what ss, conntrack, ipvsadm and ip would print, so
// that a host needs none of these tools and a reader of the text cannot tell
// them apart.
//
// A listing belongs to the network namespace that the calling thread was in
// when it was opened. It is read from the kernel while it is read, a piece at a
// time, so that a table of any size needs the memory of one piece. The package
// changes nothing, and loads no kernel module by itself; but asking for what is
// in a module makes the kernel load it, so ask only for what is there.
package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// ErrChanged ends a listing that the kernel calls inconsistent: the table
// changed while it was read, so that rows may be missing or stand there twice.
var ErrChanged = errors.New("the table changed while it was read")

// piece is as much as the kernel gives of a dump at a time.
const piece = 32 << 10

// patience, in seconds, is how long the kernel may take for a piece.
const patience = 10

// dump is one question to the kernel, and its answer of many messages.
type dump struct {
	fd      int
	buf     []byte
	left    []byte // of buf, messages not yet given
	changed bool
	over    bool
}

// newDump opens a netlink socket of a family (unix.NETLINK_...) in the calling
// thread's network namespace.
func newDump(family int) (*dump, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, family)
	if err != nil {
		return nil, os.NewSyscallError("netlink", err)
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: patience}); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("netlink", err)
	}
	return &dump{fd: fd, buf: make([]byte, piece)}, nil
}

// ask opens a netlink socket and asks for a dump. The body is what follows the
// header of the message, in the kernel's own byte order.
func ask(family int, kind, flags uint16, body []byte) (*dump, error) {
	d, err := newDump(family)
	if err != nil {
		return nil, err
	}
	if err := d.again(kind, flags, body); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// again asks the next question over the same socket. The answer to the one
// before must have been read to its end.
func (d *dump) again(kind uint16, flags uint16, body []byte) error {
	if d.fd < 0 {
		return os.ErrClosed
	}
	m := make([]byte, unix.NLMSG_HDRLEN, unix.NLMSG_HDRLEN+len(body))
	binary.NativeEndian.PutUint32(m[0:], uint32(unix.NLMSG_HDRLEN+len(body)))
	binary.NativeEndian.PutUint16(m[4:], kind)
	binary.NativeEndian.PutUint16(m[6:], unix.NLM_F_REQUEST|flags)
	binary.NativeEndian.PutUint32(m[8:], 1)
	d.left, d.over, d.changed = nil, false, false
	_, err := unix.Write(d.fd, append(m, body...)) // to the kernel, where no other address is given
	return os.NewSyscallError("netlink", err)
}

// next gives the type and the body of the next message, which are good until
// the one after it. It ends with io.EOF, with ErrChanged, or with the kernel's
// error, a *os.SyscallError around an errno.
func (d *dump) next() (kind uint16, body []byte, err error) {
	for !d.over {
		if len(d.left) == 0 {
			if err := d.receive(); err != nil {
				d.over = true
				return 0, nil, err
			}
		}
		if len(d.left) < unix.NLMSG_HDRLEN {
			d.over = true
			return 0, nil, errors.New("netlink: a message is cut")
		}
		size := int(binary.NativeEndian.Uint32(d.left[0:]))
		kind = binary.NativeEndian.Uint16(d.left[4:])
		flags := binary.NativeEndian.Uint16(d.left[6:])
		if size < unix.NLMSG_HDRLEN || size > len(d.left) {
			d.over = true
			return 0, nil, fmt.Errorf("netlink: a message says that it has %d bytes, of %d", size, len(d.left))
		}
		body = d.left[unix.NLMSG_HDRLEN:size]
		d.left = d.left[min((size+3)&^3, len(d.left)):]
		d.changed = d.changed || flags&unix.NLM_F_DUMP_INTR != 0
		switch kind {
		case unix.NLMSG_NOOP:
			continue
		case unix.NLMSG_ERROR, unix.NLMSG_DONE:
			d.over = true
			if len(body) >= 4 {
				if errno := -int32(binary.NativeEndian.Uint32(body)); errno > 0 {
					return 0, nil, os.NewSyscallError("netlink", unix.Errno(errno))
				}
			}
			continue
		}
		d.over = flags&unix.NLM_F_MULTI == 0 // the only one
		return kind, body, nil
	}
	if d.changed {
		return 0, nil, ErrChanged
	}
	return 0, nil, io.EOF
}

// receive reads the next piece.
func (d *dump) receive() error {
	for {
		n, _, flags, _, err := unix.Recvmsg(d.fd, d.buf, nil, 0)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return fmt.Errorf("netlink: the kernel gave nothing for %d seconds", patience)
		case err != nil:
			return os.NewSyscallError("netlink", err)
		case n == 0:
			return io.ErrUnexpectedEOF
		case flags&unix.MSG_TRUNC != 0:
			return errors.New("netlink: a piece was larger than the kernel promises")
		}
		d.left = d.buf[:n]
		return nil
	}
}

func (d *dump) Close() error {
	d.over = true
	if d.fd < 0 {
		return os.ErrClosed
	}
	fd := d.fd
	d.fd = -1
	return unix.Close(fd)
}

// listing is a dump as text. It is an io.ReadCloser for one goroutine.
type listing struct {
	dump *dump
	// row appends the text of one message, which may be nothing.
	row func(out []byte, kind uint16, body []byte) ([]byte, error)
	// last appends what follows all rows; nil for nothing.
	last func(out []byte) []byte

	text text
}

// Read gives text, and at its end io.EOF, or why the kernel did not give all.
func (l *listing) Read(p []byte) (int, error) { return l.text.read(p, l.fill) }

// fill makes text of the messages of about one piece.
func (l *listing) fill(out []byte) ([]byte, error) {
	for len(out) < piece {
		kind, body, err := l.dump.next()
		if err == io.EOF && l.last != nil {
			out = l.last(out)
		}
		if err != nil {
			return out, err
		}
		if out, err = l.row(out, kind, body); err != nil {
			return out, err
		}
	}
	return out, nil
}

// Close ends the listing, also before its end.
func (l *listing) Close() error { return l.dump.Close() }

// text is what a reader has made, and not yet given.
type text struct {
	buf  []byte // where left lies
	left []byte
	err  error // sticky
}

// read gives what is left, or else what fill makes. Fill appends about a piece;
// its error is given when all that was made before it has been read.
func (t *text) read(p []byte, fill func(out []byte) ([]byte, error)) (int, error) {
	for len(t.left) == 0 {
		if t.err != nil {
			return 0, t.err
		}
		t.buf, t.err = fill(t.buf[:0])
		t.left = t.buf
	}
	n := copy(p, t.left)
	t.left = t.left[n:]
	return n, nil
}
