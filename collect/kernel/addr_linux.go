package kernel

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Addresses lists the links of the calling thread's network namespace and their
// addresses as ip addr prints them (iproute2 6.1.0):
//
//	2: eth0@if10: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450 qdisc noqueue state UP group default qlen 1000
//	    link/ether 02:42:0a:00:01:07 brd ff:ff:ff:ff:ff:ff link-netnsid 0
//	    inet 10.0.1.7/24 brd 10.0.1.255 scope global eth0
//	       valid_lft forever preferred_lft forever
//
// Namespaces have the names that are below /var/run/netns.
func Addresses() (io.ReadCloser, error) {
	var messages [][]byte
	links, err := rtReadLinks(func() { messages = nil }, func(body []byte) {
		messages = append(messages, bytes.Clone(body))
	})
	if err != nil && err != ErrChanged {
		return nil, err
	}
	held := map[uint32][]byte{}
	var a rtAttrs
	err2 := rtEvery(unix.RTM_GETADDR, make([]byte, unix.SizeofIfAddrmsg), func() { clear(held) }, func(body []byte) {
		if len(body) >= unix.SizeofIfAddrmsg {
			a.read(body[unix.SizeofIfAddrmsg:])
			index := binary.NativeEndian.Uint32(body[4:])
			held[index] = appendAddress(held[index], body, &a)
		}
	})
	if err2 != nil {
		err = err2
	}
	if err != nil && err != ErrChanged {
		return nil, err
	}
	p := linkPrinter{links: links}
	var out []byte
	for _, body := range messages {
		a.read(body[unix.SizeofIfInfomsg:])
		out = p.link(out, body, &a)
		out = append(out, held[binary.NativeEndian.Uint32(body[4:])]...)
	}
	return tell(out, err), nil
}

// linkPrinter writes links.
type linkPrinter struct {
	links      rtLinks
	namespaces map[uint32]string // names of other namespaces; nil before they are needed
}

// linkFlags are IFF_..., in the order in which ip names them.
var linkFlags = [...]struct {
	bit  uint32
	name string
}{
	{unix.IFF_LOOPBACK, "LOOPBACK"}, {unix.IFF_BROADCAST, "BROADCAST"}, {unix.IFF_POINTOPOINT, "POINTOPOINT"},
	{unix.IFF_MULTICAST, "MULTICAST"}, {unix.IFF_NOARP, "NOARP"}, {unix.IFF_ALLMULTI, "ALLMULTI"}, {unix.IFF_PROMISC, "PROMISC"},
	{unix.IFF_MASTER, "MASTER"}, {unix.IFF_SLAVE, "SLAVE"}, {unix.IFF_DEBUG, "DEBUG"}, {unix.IFF_DYNAMIC, "DYNAMIC"},
	{unix.IFF_AUTOMEDIA, "AUTOMEDIA"}, {unix.IFF_PORTSEL, "PORTSEL"}, {unix.IFF_NOTRAILERS, "NOTRAILERS"}, {unix.IFF_UP, "UP"},
	{unix.IFF_LOWER_UP, "LOWER_UP"}, {unix.IFF_DORMANT, "DORMANT"}, {unix.IFF_ECHO, "ECHO"},
}

var linkStates = [...]string{"UNKNOWN", "NOTPRESENT", "DOWN", "LOWERLAYERDOWN", "TESTING", "DORMANT", "UP"}

// link appends the two or more lines of a link.
func (p *linkPrinter) link(out, body []byte, a *rtAttrs) []byte {
	index, flags := binary.NativeEndian.Uint32(body[4:]), binary.NativeEndian.Uint32(body[8:])
	out = rtNumber(out, "", index, ": ")
	out, lowerDown := p.title(out, a)
	out = appendFlags(append(out, ": <"...), flags)
	if lowerDown {
		out = append(out, ",M-DOWN"...)
	}
	out = append(out, "> "...)
	if mtu, ok := a.u32(unix.IFLA_MTU); ok {
		out = rtNumber(out, "mtu ", mtu, " ")
	}
	out = appendXDP(out, a[unix.IFLA_XDP])
	if qdisc, ok := a.word(unix.IFLA_QDISC); ok {
		out = append(append(append(out, "qdisc "...), qdisc...), ' ')
	}
	if master, ok := a.u32(unix.IFLA_MASTER); ok {
		out = append(p.links.name(append(out, "master "...), master), ' ')
	}
	if state, ok := a.u8(unix.IFLA_OPERSTATE); ok {
		if int(state) < len(linkStates) {
			out = append(append(append(out, "state "...), linkStates[state]...), ' ')
		} else {
			out = rtHex(out, "state ", uint32(state), "")
		}
	}
	if group, ok := a.u32(unix.IFLA_GROUP); ok {
		out = append(rtGroup(append(out, "group "...), group), ' ')
	}
	if length, ok := a.u32(unix.IFLA_TXQLEN); ok && length != 0 {
		out = strconv.AppendInt(append(out, "qlen "...), int64(int32(length)), 10)
	}
	out = p.second(append(out, '\n'), body, a, flags)
	var list rtAttrs
	rtNested(a[unix.IFLA_PROP_LIST], func(kind int, value []byte) {
		if kind == unix.IFLA_ALT_IFNAME {
			list[0] = value
			name, _ := list.word(0)
			out = append(append(out, "\n    altname "...), name...)
		}
	})
	return append(out, '\n')
}

// title appends a link's name and its lower link's, and tells whether that is down.
func (p *linkPrinter) title(out []byte, a *rtAttrs) (title []byte, lowerDown bool) {
	name, _ := a.word(unix.IFLA_IFNAME)
	out = append(out, name...)
	lower, ok := a.u32(unix.IFLA_LINK)
	switch {
	case !ok:
		return out, false
	case lower == 0:
		return append(out, "@NONE"...), false
	case a[unix.IFLA_LINK_NETNSID] != nil:
		return rtNumber(out, "@if", lower, ""), false
	}
	link, known := p.links[lower]
	return p.links.name(append(out, '@'), lower), known && link.flags&unix.IFF_UP == 0
}

// second appends the line with the link's own address.
func (p *linkPrinter) second(out, body []byte, a *rtAttrs, flags uint32) []byte {
	kind := binary.NativeEndian.Uint16(body[2:])
	out = append(linkKind(append(out, "    link/"...), kind), ' ')
	address, broadcast, permanent := a[unix.IFLA_ADDRESS], a[unix.IFLA_BROADCAST], a[unix.IFLA_PERM_ADDRESS]
	out = rtLinkAddress(out, address, kind)
	if broadcast != nil {
		word := " brd "
		if flags&unix.IFF_POINTOPOINT != 0 {
			word = " peer "
		}
		out = rtLinkAddress(append(out, word...), broadcast, kind)
	}
	if permanent != nil && !bytes.Equal(permanent, address) {
		out = rtLinkAddress(append(out, " permaddr "...), permanent, kind)
	}
	if id, ok := a.u32(unix.IFLA_LINK_NETNSID); ok {
		out = p.namespace(out, " link-netns", id)
	}
	if id, ok := a.u32(unix.IFLA_NEW_NETNSID); ok {
		out = p.namespace(out, " new-netns", id)
	}
	if index, ok := a.u32(unix.IFLA_NEW_IFINDEX); ok {
		out = rtNumber(out, " new-ifindex ", index, "")
	}
	if down, ok := a.u8(unix.IFLA_PROTO_DOWN); ok && down != 0 {
		out = append(out, " protodown on "...)
	}
	return out
}

// namespace appends the name of another namespace, or the number that it has here.
func (p *linkPrinter) namespace(out []byte, word string, id uint32) []byte {
	out = append(out, word...)
	if int32(id) < 0 {
		return append(out, "id unknown"...)
	}
	if p.namespaces == nil {
		p.namespaces = namespaceNames("/var/run/netns")
	}
	if name, ok := p.namespaces[id]; ok {
		return append(append(out, ' '), name...)
	}
	return rtNumber(out, "id ", id, "")
}

// namespaceNames asks what numbers the namespaces in a folder have in the
// calling thread's. It gives none to one without.
func namespaceNames(folder string) map[uint32]string {
	names := map[uint32]string{}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return names // there is none, as in most containers
	}
	d, err := newDump(unix.NETLINK_ROUTE)
	if err != nil {
		return names
	}
	defer d.Close()
	for _, e := range entries {
		fd, err := unix.Open(filepath.Join(folder, e.Name()), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			continue
		}
		id, ok := namespaceID(d, fd)
		unix.Close(fd)
		if _, taken := names[id]; ok && !taken {
			names[id] = string(rtWord([]byte(e.Name())))
		}
	}
	return names
}

// namespaceID asks for the number of a namespace.
func namespaceID(d *dump, fd int) (id uint32, ok bool) {
	const fdAttr, idAttr = 3, 1 // NETNSA_FD, NETNSA_NSID
	if d.again(unix.RTM_GETNSID, 0, rtAttr(make([]byte, 4), fdAttr, uint32(fd))) != nil {
		return 0, false
	}
	_, body, err := d.next()
	if err != nil || len(body) < 4 {
		return 0, false
	}
	var a rtAttrs
	a.read(body[4:])
	id, ok = a.u32(idAttr)
	return id, ok && int32(id) >= 0
}

// appendFlags appends the flags of a link.
func appendFlags(out []byte, flags uint32) []byte {
	begin := len(out)
	if flags&unix.IFF_UP != 0 && flags&unix.IFF_RUNNING == 0 {
		out = append(out, "NO-CARRIER,"...)
	}
	flags &^= unix.IFF_RUNNING
	for _, f := range linkFlags {
		if flags&f.bit != 0 {
			flags &^= f.bit
			out = append(append(out, f.name...), ',')
		}
	}
	if flags != 0 {
		return strconv.AppendUint(out, uint64(flags), 16)
	}
	if len(out) > begin {
		out = out[:len(out)-1] // the comma
	}
	return out
}

// appendXDP appends what is told of a program on a link.
func appendXDP(out, nested []byte) []byte {
	var a rtAttrs
	a.read(nested)
	mode, _ := a.u8(unix.IFLA_XDP_ATTACHED)
	words := [...]string{"", "xdp", "xdpgeneric", "xdpoffload", "xdpmulti"}
	switch {
	case mode == 0:
		return out
	case int(mode) < len(words):
		out = append(out, words[mode]...)
	default:
		out = rtNumber(out, "xdp[", mode, "]")
	}
	if id, ok := a.u32(unix.IFLA_XDP_PROG_ID); ok && id != 0 {
		out = rtNumber(out, "/id:", id, "")
	}
	return append(out, ' ')
}

// linkKind names a kind of link, ARPHRD_...
func linkKind(out []byte, n uint16) []byte {
	name, ok := map[uint16]string{
		0: "netrom", 1: "ether", 2: "eether", 3: "ax25", 4: "pronet", 5: "chaos", 6: "ieee802", 7: "arcnet", 8: "atalk",
		15: "dlci", 19: "atm", 23: "metricom", 24: "ieee1394", 32: "infiniband", 256: "slip", 257: "cslip", 258: "slip6",
		259: "cslip6", 260: "rsrvd", 264: "adapt", 270: "rose", 271: "x25", 272: "hwx25", 280: "can", 512: "ppp", 513: "hdlc",
		516: "lapb", 517: "ddcmp", 518: "rawhdlc", 768: "ipip", 769: "tunnel6", 770: "frad", 771: "skip", 772: "loopback",
		773: "ltalk", 774: "fddi", 775: "bif", 776: "sit", 777: "ip/ddp", 778: "gre", 779: "pimreg", 780: "hippi", 781: "ash",
		782: "econet", 783: "irda", 784: "fcpp", 785: "fcal", 786: "fcpl", 787: "fcfb0", 800: "tr", 801: "ieee802.11",
		802: "ieee802.11/prism", 803: "ieee802.11/radiotap", 804: "ieee802.15.4", 805: "ieee802.15.4/monitor", 820: "phonet",
		821: "phonet_pipe", 822: "caif", 823: "gre6", 824: "netlink", 825: "6lowpan", 0xfffe: "none", 0xffff: "void",
	}[n]
	switch {
	case ok:
		return append(out, name...)
	case n > 787 && n < 800:
		return rtNumber(out, "fcfb", n-787, "")
	}
	return rtNumber(out, "[", n, "]")
}

// addressFlags are IFA_F_..., in the order in which ip names them. Each is
// named once, so that the second word for 1 is that of IPv6.
var addressFlags = [...]struct {
	bit  uint32
	name string
}{
	{unix.IFA_F_SECONDARY, "secondary "}, {unix.IFA_F_NODAD, "nodad "}, {unix.IFA_F_OPTIMISTIC, "optimistic "},
	{unix.IFA_F_DADFAILED, "dadfailed "}, {unix.IFA_F_HOMEADDRESS, "home "}, {unix.IFA_F_DEPRECATED, "deprecated "},
	{unix.IFA_F_TENTATIVE, "tentative "}, {unix.IFA_F_PERMANENT, ""}, {unix.IFA_F_MANAGETEMPADDR, "mngtmpaddr "},
	{unix.IFA_F_NOPREFIXROUTE, "noprefixroute "}, {unix.IFA_F_MCAUTOJOIN, "autojoin "}, {unix.IFA_F_STABLE_PRIVACY, "stable-privacy "},
}

// appendAddress appends the two lines of an address.
func appendAddress(out, body []byte, a *rtAttrs) []byte {
	family, length, scope := body[0], body[1], body[3]
	flags := uint32(body[2])
	if all, ok := a.u32(unix.IFA_FLAGS); ok {
		flags = all
	}
	switch family {
	case unix.AF_INET:
		out = append(out, "    inet "...)
	case unix.AF_INET6:
		out = append(out, "    inet6 "...)
	default:
		return out // addresses of protocols that carry no connection of ours
	}
	local, peer := a[unix.IFA_LOCAL], a[unix.IFA_ADDRESS]
	if local == nil {
		local = peer
	}
	if local != nil {
		out = rtHost(out, local)
		if peer != nil && !bytes.Equal(peer, local) {
			out = rtHost(append(out, " peer "...), peer)
		}
		out = rtNumber(out, "/", length, " ")
		if metric, ok := a.u32(unix.IFA_RT_PRIORITY); ok {
			out = rtNumber(out, "metric ", metric, " ")
		}
	}
	if b := a[unix.IFA_BROADCAST]; b != nil {
		out = append(rtHost(append(out, "brd "...), b), ' ')
	}
	if b := a[unix.IFA_ANYCAST]; b != nil {
		out = append(rtHost(append(out, "any "...), b), ' ')
	}
	out = append(rtScope(append(out, "scope "...), scope), ' ')
	out = appendAddressFlags(out, family, flags)
	label, _ := a.word(unix.IFA_LABEL)
	out = append(out, label...)
	if times := a[unix.IFA_CACHEINFO]; len(times) >= 8 {
		preferred, valid := binary.NativeEndian.Uint32(times), binary.NativeEndian.Uint32(times[4:])
		out = lifetime(append(out, "\n       valid_lft "...), valid, false)
		out = lifetime(append(out, " preferred_lft "...), preferred, flags&unix.IFA_F_DEPRECATED != 0)
	}
	return append(out, '\n')
}

func appendAddressFlags(out []byte, family byte, flags uint32) []byte {
	for _, f := range addressFlags {
		set := flags&f.bit != 0
		flags &^= f.bit
		switch {
		case f.bit == unix.IFA_F_PERMANENT && !set:
			out = append(out, "dynamic "...)
		case f.bit == unix.IFA_F_SECONDARY && set && family == unix.AF_INET6:
			out = append(out, "temporary "...)
		case set:
			out = append(out, f.name...)
		}
	}
	if flags != 0 {
		out = append(out, "flags "...)
		if flags < 16 {
			out = append(out, '0')
		}
		out = append(strconv.AppendUint(out, uint64(flags), 16), ' ')
	}
	return out
}

func lifetime(out []byte, seconds uint32, signed bool) []byte {
	switch {
	case seconds == 1<<32-1:
		return append(out, "forever"...)
	case signed:
		return append(strconv.AppendInt(out, int64(int32(seconds)), 10), "sec"...)
	}
	return rtNumber(out, "", seconds, "sec")
}
