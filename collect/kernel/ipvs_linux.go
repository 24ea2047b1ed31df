package kernel

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Of linux/genetlink.h and linux/ip_vs.h.
const (
	genlLen       = 4    // struct genlmsghdr: command, version, and two bytes for nothing
	genlCtrl      = 0x10 // GENL_ID_CTRL
	ctrlGetFamily = 3    // CTRL_CMD_GETFAMILY
	ctrlFamilyID  = 1    // CTRL_ATTR_FAMILY_ID
	ctrlName      = 2    // CTRL_ATTR_FAMILY_NAME

	ipvsVersion    = 1  // IPVS_GENL_VERSION
	ipvsGetService = 4  // IPVS_CMD_GET_SERVICE
	ipvsGetDest    = 8  // IPVS_CMD_GET_DEST
	ipvsGetInfo    = 15 // IPVS_CMD_GET_INFO

	ipvsAttrService = 1 // IPVS_CMD_ATTR_SERVICE
	ipvsAttrDest    = 2 // IPVS_CMD_ATTR_DEST
	ipvsInfoVersion = 1 // IPVS_INFO_ATTR_VERSION
	ipvsInfoSize    = 2 // IPVS_INFO_ATTR_CONN_TAB_SIZE
)

// The attributes of a service, IPVS_SVC_ATTR_...
const (
	svcFamily    = 1
	svcProtocol  = 2
	svcAddr      = 3
	svcPort      = 4
	svcFwmark    = 5
	svcScheduler = 6
	svcFlags     = 7
	svcTimeout   = 8
	svcNetmask   = 9
	svcEngine    = 11
)

// The attributes of a destination, IPVS_DEST_ATTR_...
const (
	destAddr     = 1
	destPort     = 2
	destForward  = 3
	destWeight   = 4
	destActive   = 7
	destInactive = 8
	destFamily   = 11
)

// The flags of a service, IP_VS_SVC_F_...
const (
	svcPersistent = 1 << 0
	svcOnePacket  = 1 << 2
	svcSched1     = 1 << 3
	svcSched2     = 1 << 4
	svcSched3     = 1 << 5
)

// ipvsForward names the ways to forward, IP_VS_CONN_F_FWD_MASK; ipvsadm has no
// name for what it does not know, and printf writes (null).
var ipvsForward = [8]string{"Masq", "Local", "Tunnel", "Route", "(null)", "(null)", "(null)", "(null)"}

// ipvsService is one service of IPVS.
type ipvsService struct {
	family    uint16
	protocol  uint16
	addr      [16]byte // of IPv4 the first four
	port      uint16
	fwmark    uint32 // of a service that has no address
	scheduler string
	flags     uint32
	timeout   uint32
	netmask   [4]byte // of IPv6 a number of bits, in the kernel's byte order
	engine    string  // of persistence
}

// ipvsDest is one of a service's destinations.
type ipvsDest struct {
	family           uint16
	addr             [16]byte
	port             uint16
	forward          uint32
	weight           int32
	active, inactive uint32
}

// ipvsListing asks for the destinations of one service after the other.
type ipvsListing struct {
	dump     *dump
	id       uint16 // of the family IPVS
	services []ipvsService
	dests    []ipvsDest // of one service
	text     text
}

// IPVSServices lists the services of IPVS and the destinations of each, as
// ipvsadm -Ln does. It needs CAP_NET_ADMIN over the namespace. Without IPVS it
// gives fs.ErrNotExist, and makes the kernel load nothing.
func IPVSServices() (io.ReadCloser, error) {
	if _, err := os.Stat("/proc/thread-self/net/ip_vs"); err != nil {
		return nil, err
	}
	d, err := ask(unix.NETLINK_GENERIC, genlCtrl, 0, familyQuestion())
	if err != nil {
		return nil, err
	}
	l := &ipvsListing{dump: d}
	if err := l.begin(); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// familyQuestion asks which number the family IPVS has.
func familyQuestion() []byte {
	return attribute([]byte{ctrlGetFamily, 1, 0, 0}, ctrlName, []byte("IPVS\x00"))
}

// begin reads which number the family has, and asks for all services.
func (l *ipvsListing) begin() error {
	var at [ctrlName + 1][]byte
	if err := l.answer(at[:]); err != nil {
		return err
	}
	if l.id = uint16(native(at[ctrlFamilyID])); l.id == 0 {
		return errors.New("netlink: the kernel does not tell the number of IPVS")
	}
	var info [ipvsInfoSize + 1][]byte
	if err := l.dump.again(l.id, 0, []byte{ipvsGetInfo, ipvsVersion, 0, 0}); err != nil {
		return err
	}
	if err := l.answer(info[:]); err != nil {
		return err
	}
	v := native(info[ipvsInfoVersion])
	l.text.buf = fmt.Appendf(nil, "IP Virtual Server version %d.%d.%d (size=%d)\n"+
		"Prot LocalAddress:Port Scheduler Flags\n"+
		"  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n", v>>16&0xff, v>>8&0xff, v&0xff, native(info[ipvsInfoSize]))
	l.text.left = l.text.buf
	if err := l.dump.again(l.id, unix.NLM_F_DUMP, []byte{ipvsGetService, ipvsVersion, 0, 0}); err != nil {
		return err
	}
	err := l.each(ipvsAttrService, func(b []byte) { l.services = append(l.services, readService(b)) })
	slices.SortStableFunc(l.services, compareServices)
	return err
}

// answer spreads the attributes of the one message that is the answer.
func (l *ipvsListing) answer(at [][]byte) error {
	err := l.next(at)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// each reads a dump, and calls f with what each message has of a kind.
func (l *ipvsListing) each(kind int, f func([]byte)) error {
	for {
		var at [ipvsAttrDest + 1][]byte
		err := l.next(at[:])
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if at[kind] != nil {
			f(at[kind])
		}
	}
}

// next spreads the attributes of the next message.
func (l *ipvsListing) next(at [][]byte) error {
	_, body, err := l.dump.next()
	if err != nil {
		return err
	}
	if len(body) < genlLen {
		return errShort
	}
	spread(at, body[genlLen:])
	return nil
}

func readService(b []byte) (s ipvsService) {
	var at [svcEngine + 1][]byte
	spread(at[:], b)
	s.family = uint16(native(at[svcFamily]))
	s.fwmark = native(at[svcFwmark])
	s.protocol = uint16(native(at[svcProtocol]))
	copy(s.addr[:], at[svcAddr])
	s.port = uint16(value(at[svcPort]))
	s.scheduler, s.engine = string(name(at[svcScheduler])), string(name(at[svcEngine]))
	if f := at[svcFlags]; len(f) == 8 { // flags, and which of them count
		s.flags = native(f[:4]) & native(f[4:])
	}
	s.timeout = native(at[svcTimeout])
	copy(s.netmask[:], at[svcNetmask])
	return s
}

func readDest(b []byte, family uint16) (d ipvsDest) {
	var at [destFamily + 1][]byte
	spread(at[:], b)
	d.family = family
	if len(at[destFamily]) == 2 { // a tunnel may lead to the other family
		d.family = uint16(native(at[destFamily]))
	}
	copy(d.addr[:], at[destAddr])
	d.port = uint16(value(at[destPort]))
	d.forward = native(at[destForward])
	d.weight = int32(native(at[destWeight]))
	d.active, d.inactive = native(at[destActive]), native(at[destInactive])
	return d
}

// The tool sorts by the signed difference of two words, so that addresses which
// lie far apart stand the other way round; its listing has this order, and so
// has ours.
func compareServices(a, b ipvsService) int {
	return cmp.Or(int(int32(a.fwmark-b.fwmark)), int(a.family)-int(b.family), int(a.protocol)-int(b.protocol),
		compareAddrs(a.addr[:], b.addr[:], a.family), int(a.port)-int(b.port))
}

func compareDests(a, b ipvsDest) int {
	return cmp.Or(compareAddrs(a.addr[:], b.addr[:], a.family), int(a.port)-int(b.port))
}

func compareAddrs(a, b []byte, family uint16) int {
	words := 1
	if family == unix.AF_INET6 {
		words = 4
	}
	for i := range words {
		if r := int32(uint32(value(a[4*i:4*i+4])) - uint32(value(b[4*i:4*i+4]))); r != 0 {
			return int(r)
		}
	}
	return 0
}

// Read gives text, and at its end io.EOF, or why the kernel did not give all.
func (l *ipvsListing) Read(p []byte) (int, error) { return l.text.read(p, l.fill) }

// Close ends the listing, also before its end.
func (l *ipvsListing) Close() error { return l.dump.Close() }

// fill makes the text of one service.
func (l *ipvsListing) fill(out []byte) ([]byte, error) {
	if len(l.services) == 0 {
		return out, io.EOF
	}
	s := &l.services[0]
	l.services = l.services[1:]
	question := attribute([]byte{ipvsGetDest, ipvsVersion, 0, 0}, ipvsAttrService, s.key())
	if err := l.dump.again(l.id, unix.NLM_F_DUMP, question); err != nil {
		return out, err
	}
	l.dests = l.dests[:0]
	err := l.each(ipvsAttrDest, func(b []byte) { l.dests = append(l.dests, readDest(b, s.family)) })
	slices.SortStableFunc(l.dests, compareDests)
	out = s.append(out)
	for i := range l.dests {
		out = l.dests[i].append(out)
	}
	return out, err
}

// key is which service it is, as the kernel wants to be told.
func (s *ipvsService) key() (k []byte) {
	k = attribute(k, svcFamily, binary.NativeEndian.AppendUint16(nil, s.family))
	if s.fwmark != 0 {
		return attribute(k, svcFwmark, binary.NativeEndian.AppendUint32(nil, s.fwmark))
	}
	k = attribute(k, svcProtocol, binary.NativeEndian.AppendUint16(nil, s.protocol))
	k = attribute(k, svcAddr, s.addr[:])
	return attribute(k, svcPort, []byte{byte(s.port >> 8), byte(s.port)})
}

// append writes the service's line.
func (s *ipvsService) append(out []byte) []byte {
	switch {
	case s.fwmark != 0:
		out = strconv.AppendInt(append(out, "FWM  "...), int64(int32(s.fwmark)), 10)
		if s.family == unix.AF_INET6 {
			out = append(out, " IPv6"...)
		}
	default:
		out = append(appendPadded(out, ipvsProto(s.protocol), 4), ' ')
		out = appendEnd(out, s.family, s.addr[:], s.port)
	}
	out = append(append(out, ' '), s.scheduler...)
	if s.flags&(svcSched1|svcSched2|svcSched3) != 0 {
		out = append(append(append(out, " ("...), s.schedFlags()...), ')')
	}
	if s.flags&svcPersistent != 0 {
		out = strconv.AppendUint(append(out, " persistent "...), uint64(s.timeout), 10)
		bits := int32(native(s.netmask[:]))
		switch {
		case s.family == unix.AF_INET && bits != -1: // not all of them
			out = appendV4(append(out, " mask "...), s.netmask[:])
		case s.family == unix.AF_INET6 && bits != 128:
			out = strconv.AppendInt(append(out, " mask "...), int64(bits), 10)
		}
		if s.engine != "" {
			out = append(append(out, " pe "...), s.engine...)
		}
	}
	if s.flags&svcOnePacket != 0 {
		out = append(out, " ops"...)
	}
	return append(out, '\n')
}

func ipvsProto(n uint16) string {
	switch n {
	case unix.IPPROTO_TCP:
		return "TCP"
	case unix.IPPROTO_UDP:
		return "UDP"
	case unix.IPPROTO_SCTP:
		return "SCTP"
	}
	return "?"
}

// schedFlags names the flags whose meaning is the scheduler's own.
func (s *ipvsService) schedFlags() string {
	words := [...]string{"flag-1", "flag-2", "flag-3"}
	if s.scheduler == "sh" {
		words[0], words[1] = "sh-fallback", "sh-port"
	}
	var set []string
	for i, w := range words {
		if s.flags&(svcSched1<<i) != 0 {
			set = append(set, w)
		}
	}
	return strings.Join(set, ",")
}

// append writes the destination's line, whose last spaces are the tool's.
func (d *ipvsDest) append(out []byte) []byte {
	var end [64]byte
	out = appendPadded(append(out, "  -> "...), string(appendEnd(end[:0], d.family, d.addr[:], d.port)), 28)
	return fmt.Appendf(out, " %-7s %-6d %-10d %-10d\n", ipvsForward[d.forward&7], d.weight, d.active, d.inactive)
}

// appendEnd writes an address and a port.
func appendEnd(out []byte, family uint16, addr []byte, port uint16) []byte {
	if family == unix.AF_INET {
		out = append(appendV4(out, addr), ':')
	} else {
		out = append(appendV6(append(out, '['), addr), "]:"...)
	}
	return strconv.AppendUint(out, uint64(port), 10)
}
