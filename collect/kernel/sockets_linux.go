package kernel

import (
	"encoding/binary"
	"errors"
	"io"
	"strconv"

	"golang.org/x/sys/unix"
)

// What linux/inet_diag.h names and golang.org/x/sys/unix does not.
const (
	diagInfo      = 2 // INET_DIAG_INFO, and so on
	diagVegas     = 3
	diagCong      = 4
	diagShutdown  = 8
	diagDCTCP     = 9
	diagV6Only    = 11
	diagMark      = 15
	diagBBR       = 16
	diagULP       = 19
	diagAttrs     = 23 // one more than the last that is known here
	diagMessage   = 72 // the size of inet_diag_msg
	diagRequest   = 56 // the size of inet_diag_req_v2
	diagAllStates = 0xfff
)

// TCPSockets lists the TCP sockets of the calling thread's network namespace as
// ss -tanpie of iproute2 does, and in the same order: those of IPv4, then those
// of IPv6, in all states, with their processes. Newer fields are there as newer
// versions print them. It differs in three things: the columns have a fixed
// width, and no blanks at the end; a socket's cgroup is not looked up; and the
// keys of TCP-MD5, which ss prints, are secrets, and left out.
//
// It asks the kernel's module tcp_diag. An error that comes at once is the
// kernel's own, and means that it has none.
func TCPSockets(p *Processes) (io.ReadCloser, error) {
	return openSockets(p, unix.IPPROTO_TCP, 1<<(diagInfo-1)|1<<(diagVegas-1)|1<<(diagCong-1))
}

// UDPSockets lists the UDP sockets of the calling thread's network namespace as
// ss -uanpe does. What is said of TCPSockets holds here too; the module is
// udp_diag.
func UDPSockets(p *Processes) (io.ReadCloser, error) {
	return openSockets(p, unix.IPPROTO_UDP, 0)
}

const socketsHeader = "State      Recv-Q Send-Q         Local Address:Port          Peer Address:Port  Process\n"

// sockets is the listing of one protocol: one question for each family.
type sockets struct {
	listing
	processes *Processes
	protocol  byte
	ext       byte // the bits of what is wanted of each socket
	six       bool // IPv6 was asked for
	any       bool // this family has a socket
	devices   map[uint32]string
}

func openSockets(p *Processes, protocol, ext byte) (io.ReadCloser, error) {
	s := &sockets{processes: p, protocol: protocol, ext: ext, devices: map[uint32]string{}}
	var err error
	s.dump, err = ask(unix.NETLINK_INET_DIAG, unix.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP, s.request(unix.AF_INET))
	if err != nil {
		return nil, err
	}
	s.row = s.socket
	// The first piece tells whether the kernel can answer at all.
	s.text.buf, s.text.err = s.fill(append(make([]byte, 0, 2*piece), socketsHeader...))
	s.text.left = s.text.buf
	if !s.any && s.text.err != nil && s.text.err != io.EOF && s.text.err != ErrChanged {
		s.Close()
		return nil, s.text.err
	}
	return s, nil
}

// request is an inet_diag_req_v2.
func (s *sockets) request(family byte) []byte {
	r := make([]byte, diagRequest)
	r[0], r[1], r[2] = family, s.protocol, s.ext
	binary.NativeEndian.PutUint32(r[4:], diagAllStates)
	return r
}

// Read reads one family after the other. Both are read over one socket, since
// the thread may be in another namespace by now, and the second is asked for
// when the first is over, so that its rows are no older than they must be.
func (s *sockets) Read(p []byte) (int, error) {
	for {
		n, err := s.listing.Read(p)
		if n > 0 || err == nil {
			return n, err
		}
		if s.six {
			if !s.any && errors.Is(err, unix.ENOENT) {
				s.text.err = io.EOF // a kernel without IPv6
			}
			return 0, s.text.err
		}
		if err != io.EOF && err != ErrChanged || s.dump.fd < 0 {
			return 0, err
		}
		s.six, s.any = true, false
		s.text.err = s.dump.again(unix.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP, s.request(unix.AF_INET6))
	}
}

// diag is an inet_diag_msg: 72 bytes, and the attributes behind it.
type diag struct {
	m     []byte
	attrs [diagAttrs][]byte
}

func (d *diag) u32(at int) uint32 { return binary.NativeEndian.Uint32(d.m[at:]) }

// socket appends a row, and for TCP the line of details below it.
func (s *sockets) socket(out []byte, kind uint16, body []byte) ([]byte, error) {
	if kind != unix.SOCK_DIAG_BY_FAMILY || len(body) < diagMessage {
		return out, nil
	}
	var d diag
	d.m = body[:diagMessage]
	spread(d.attrs[:], body[diagMessage:])
	s.any = true

	out = appendPadded(out, stateName(d.m[1]), 10)
	out = appendPadded(append(out, ' '), queue(d.u32(56)), 6)
	out = appendPadded(append(out, ' '), queue(d.u32(60)), 6)
	only := len(d.attrs[diagV6Only]) > 0 && d.attrs[diagV6Only][0] != 0
	out = appendEndpoint(append(out, ' '), d.m[0], d.m[8:24], binary.BigEndian.Uint16(d.m[4:]), s.device(d.u32(40)), only)
	out = appendEndpoint(append(out, ' '), d.m[0], d.m[24:40], binary.BigEndian.Uint16(d.m[6:]), "", only)
	out = s.processes.appendUsers(out, d.u32(68))
	out = appendTimer(out, d.m[2], d.u32(52), d.m[3])
	out = append(d.appendOwner(out), '\n')
	if s.protocol == unix.IPPROTO_TCP {
		out = append(out, '\t')
		out = d.appendInfo(out)
		out = append(d.appendULP(out), '\n')
	}
	return out, nil
}

// appendOwner appends what -e adds.
func (d *diag) appendOwner(out []byte) []byte {
	out = appendCount(out, " uid:", uint64(d.u32(64)))
	out = strconv.AppendUint(append(out, " ino:"...), uint64(d.u32(68)), 10)
	out = strconv.AppendUint(append(out, " sk:"...), uint64(d.u32(44))|uint64(d.u32(48))<<32, 16)
	if mark := d.attrs[diagMark]; len(mark) >= 4 && binary.NativeEndian.Uint32(mark) != 0 {
		out = strconv.AppendUint(append(out, " fwmark:0x"...), uint64(binary.NativeEndian.Uint32(mark)), 16)
	}
	if only := d.attrs[diagV6Only]; len(only) > 0 && d.m[0] == unix.AF_INET6 {
		out = strconv.AppendUint(append(out, " v6only:"...), uint64(only[0]), 10)
	}
	if shut := d.attrs[diagShutdown]; len(shut) > 0 {
		receives, sends := byte('<'), byte('>')
		if shut[0]&1 != 0 {
			receives = '-'
		}
		if shut[0]&2 != 0 {
			sends = '-'
		}
		out = append(out, ' ', receives, '-', sends)
	}
	return out
}

// device names an interface of the namespace that is listed. The socket is in
// that namespace, whichever the thread is in.
func (s *sockets) device(index uint32) string {
	if index == 0 {
		return ""
	}
	if name, ok := s.devices[index]; ok {
		return name
	}
	name := "if" + strconv.FormatUint(uint64(index), 10) // it is gone
	if r, err := unix.NewIfreq(""); err == nil {
		r.SetUint32(index)
		if unix.IoctlIfreq(s.dump.fd, unix.SIOCGIFNAME, r) == nil {
			name = string(appendPrintable(nil, []byte(r.Name())))
		}
	}
	s.devices[index] = name
	return name
}

func stateName(state byte) string {
	names := [...]string{"UNKNOWN", "ESTAB", "SYN-SENT", "SYN-RECV", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT", "UNCONN", "CLOSE-WAIT", "LAST-ACK", "LISTEN", "CLOSING"}
	if int(state) >= len(names) {
		return names[0]
	}
	return names[state]
}

// queue writes the length of a queue. The kernel counts the memory of a UDP
// queue without a lock and may be below zero for a moment, which is 0.
func queue(n uint32) string { return strconv.Itoa(max(0, int(int32(n)))) }

func appendBlanks(out []byte, n int) []byte {
	for ; n > 0; n-- {
		out = append(out, ' ')
	}
	return out
}

// hostWidth is that of the addresses' columns, with the colon. A longer address
// shifts its row.
const hostWidth = 22

// appendEndpoint appends an address and a port. A * stands for no port, and for
// the address of an IPv6 socket that takes IPv4 too.
func appendEndpoint(out []byte, family byte, b []byte, port uint16, device string, only bool) []byte {
	var buf [64]byte
	host := buf[:0]
	switch {
	case family == unix.AF_INET:
		host = appendV4(host, b)
	case [16]byte(b) == [16]byte{} && !only:
		host = append(host, '*')
	default:
		host = append(appendV6(append(host, '['), b), ']')
	}
	if device != "" {
		host = append(append(host, '%'), device...)
	}
	out = appendBlanks(out, hostWidth-1-len(host))
	out = append(append(out, host...), ':')
	if port == 0 {
		return appendPadded(out, "*", 5)
	}
	at := len(out)
	out = strconv.AppendUint(out, uint64(port), 10)
	return appendBlanks(out, at+5-len(out))
}

// appendTimer appends the timer that runs.
func appendTimer(out []byte, timer byte, ms uint32, again byte) []byte {
	if timer == 0 {
		return out
	}
	names := [...]string{"off", "on", "keepalive", "timewait", "persist", "delack"}
	name := "unknown"
	if int(timer) < len(names) {
		name = names[timer]
	}
	out = append(append(append(out, " timer:("...), name...), ',')
	out = append(appendTime(out, ms), ',')
	return append(strconv.AppendUint(out, uint64(again), 10), ')')
}

// appendTime appends milliseconds as ss shows them: 029ms, 1.005sec, 59sec,
// 9min58sec, 10min. (ss before 6.11 has 1.005ms for 1.005sec.)
func appendTime(out []byte, ms uint32) []byte {
	minutes, secs, left := ms/60000, ms/1000%60, ms%1000
	if minutes > 0 {
		left = 0
		out = append(strconv.AppendUint(out, uint64(minutes), 10), "min"...)
		if minutes > 9 {
			secs = 0
		}
	}
	if secs > 9 {
		left = 0
	}
	unit := "ms"
	if secs > 0 {
		out = strconv.AppendUint(out, uint64(secs), 10)
		unit = "sec"
		if left == 0 {
			return append(out, unit...)
		}
		out = append(out, '.')
	}
	if left == 0 {
		return out
	}
	out = append(out, '0'+byte(left/100), '0'+byte(left/10%10), '0'+byte(left%10))
	return append(out, unit...)
}
