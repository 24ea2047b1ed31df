package parse

import (
	"bytes"
	"net/netip"
	"path"
	"strings"

	"whichbackend/analyze/record"
)

// iproute2 6.1, ss -tanp:
//
//	State  Recv-Q Send-Q     Local Address:Port      Peer Address:Port Process
//	ESTAB  0      0      [::ffff:10.0.1.7]:80   [::ffff:10.0.1.4]:51872 users:(("python3",pid=2545,fd=5))
//
// With -i and -m each socket goes on in a line that begins with a tab. A
// column Netid stands first when several protocols were asked for, and State
// is missing when a single state was. So a socket is kept until the line after
// it is known; without Netid, the first ones until a row tells UDP from TCP.

// ssHead claims headers and rows.
func ssHead(t []byte) bool {
	if len(t) < 8 {
		return false
	}
	switch c := t[0]; {
	case c >= 'A' && c <= 'Z':
		return ssIsHeader(t) || ssIsRow(t) || ssIsSummary(t)
	case c >= 'a' && c <= 'z', c == '`', c == '?':
		return ssIsRow(t)
	}
	return false
}

func ssIsHeader(t []byte) bool {
	switch t[0] {
	case 'N', 'S', 'R':
		return (bytes.HasPrefix(t, []byte("Netid ")) || bytes.HasPrefix(t, []byte("State ")) || bytes.HasPrefix(t, []byte("Recv-Q "))) &&
			bytes.Contains(t, []byte("Address:Port"))
	}
	return false
}

// ssIsSummary knows the lines of ss -s that nothing else prints.
func ssIsSummary(t []byte) bool {
	switch t[0] {
	case 'T':
		if rest, ok := bytes.CutPrefix(t, []byte("Total: ")); ok {
			w, rest := socketWord(rest)
			return socketDigits(w) && (len(rest) == 0 || bytes.HasPrefix(rest, []byte(" (kernel ")))
		}
		return bytes.HasPrefix(t, []byte("TCP: ")) && bytes.Contains(t, []byte(" (estab ")) ||
			bytes.HasPrefix(t, []byte("Transport Total ")) && bytes.Contains(t, []byte("IPv6"))
	}
	return false
}

// ssIsCount knows the other lines of ss -s: a transport and its counts.
func ssIsCount(t []byte) bool {
	w, rest := socketWord(t)
	n, _ := socketWord(rest)
	return len(w) <= 4 && (socketDigits(n) || string(n) == "-")
}

// ssNetid reads the column Netid. 0: no protocol with ports (UNIX, netlink,
// packet, raw). Multipath TCP is 0 as well: its subflows are listed as tcp.
func ssNetid(w []byte) (record.Protocol, bool) {
	switch string(w) {
	case "tcp":
		return record.TCP, true
	case "udp":
		return record.UDP, true
	case "sctp":
		return record.SCTP, true
	case "dccp":
		return record.DCCP, true
	case "udplite":
		return record.UDPLite, true
	case "u_str", "u_dgr", "u_seq", "nl", "raw", "p_raw", "p_dgr", "icmp6", "mptcp", "xdp", "v_str", "v_dgr", "???",
		"ti_st", "ti_rd", "ti_sq", "ti_dg":
		return 0, true
	}
	return 0, false
}

// ssState reads the column State, in capitals and with hyphens as ss prints it.
func ssState(w []byte) (string, bool) {
	if len(w) < 5 || w[0] < 'A' || w[0] > 'Z' || bytes.IndexByte(w, '_') >= 0 || string(w) == "ESTABLISHED" {
		return "", false
	}
	return socketState(w)
}

// ssIsRow tells whether a line is a row, with or without Netid.
func ssIsRow(t []byte) bool {
	if t[0] == '`' {
		t = bytes.TrimPrefix(t, []byte("`- "))
	}
	w, rest := socketWord(t)
	if len(w) > 10 {
		return false
	}
	_, netid := ssNetid(w)
	if netid {
		w, rest = socketWord(rest)
	}
	if _, ok := ssState(w); !ok {
		return false
	}
	if netid {
		return true
	}
	w, rest = socketWord(rest)
	if socketDigits(w) {
		if w, rest = socketWord(rest); !socketDigits(w) {
			return false
		}
		w, rest = socketWord(rest)
	}
	peer, _ := socketWord(rest)
	return bytes.IndexByte(w, ':') >= 0 && bytes.IndexByte(peer, ':') >= 0 && ssAddressLike(w) && ssAddressLike(peer)
}

func ssAddressLike(w []byte) bool { return !bytes.ContainsAny(w, "=,\"") }

// ssMaxHeld bounds the sockets kept until one tells their protocol.
const ssMaxHeld = 4096

// ssReader reads one section.
type ssReader struct {
	out     *Out
	names   socketNames
	held    []record.Socket
	noState bool   // the header has no column State
	state   string // the state that the command asked for
	// proto is the protocol of rows without Netid. 0: not known yet; none: no
	// protocol that is wanted.
	proto record.Protocol
	none  bool
	// older: an iproute2 that writes * for 0.0.0.0, and not for both families.
	older   bool
	summary bool
	details bool // the last row was one of a protocol that is not wanted
}

func ssOpen(out *Out) (line func([]byte), end func()) {
	r := &ssReader{out: out, names: socketNames{}}
	r.command(out.Command())
	return r.line, r.flush
}

// command learns from the command line what the columns leave open, and tells
// whether it is one of ss.
func (r *ssReader) command(command string) bool {
	words := shellWords(command)
	for len(words) > 0 && path.Base(words[0]) != "ss" {
		words = words[1:]
	}
	if len(words) == 0 {
		return false
	}
	var tcp, udp, other bool
	for i, w := range words[1:] {
		switch {
		case w == "--tcp":
			tcp = true
		case w == "--udp":
			udp = true
		case w == "--raw", w == "--unix", w == "--packet":
			other = true
		case w == "state" && i+2 < len(words):
			state := strings.ToUpper(words[i+2])
			if state == "ESTABLISHED" {
				state = "ESTAB"
			}
			r.state, _ = ssState([]byte(state))
		case len(w) > 1 && w[0] == '-' && w[1] != '-':
			tcp = tcp || strings.Contains(w, "t")
			udp = udp || strings.Contains(w, "u")
			other = other || strings.ContainsAny(w, "wx0")
		}
	}
	switch {
	case tcp && !udp && !other:
		r.proto = record.TCP
	case udp && !tcp && !other:
		r.proto = record.UDP
	case other && !tcp && !udp:
		r.none = true
	}
	return true
}

func (r *ssReader) line(b []byte) {
	t := bytes.TrimSpace(b)
	switch {
	case len(t) == 0:
		r.out.Ignore()
	case ssIsHeader(t):
		r.flush()
		r.noState = !bytes.Contains(t, []byte("State"))
		r.out.Understood()
	case len(t) >= 8 && ssIsSummary(t):
		r.flush()
		r.summary = true
		r.out.Ignore()
	case ssIsRow(t), r.noState && ssIsBareRow(t):
		r.summary = false
		r.row(t)
	case b[0] == '\t' && !r.summary, ssIsDetail(t):
		r.detail(t)
	case r.summary && ssIsCount(t):
		r.out.Ignore()
	case bytes.HasPrefix(t, []byte("RTNETLINK answers")), bytes.HasPrefix(t, []byte("Failed to open cgroup")), socketIsWatch(t):
		r.out.Ignore() // a kernel without one of the families, or cgroup names
	default:
		r.flush()
		r.out.Problem("expected state, queues, local and peer address")
	}
}

// ssIsBareRow knows a row without State: queues and addresses, after Netid or
// first.
func ssIsBareRow(t []byte) bool {
	w, rest := socketWord(t)
	if _, ok := ssNetid(w); ok {
		w, rest = socketWord(rest)
	}
	w2, _ := socketWord(rest)
	return socketDigits(w) && socketDigits(w2)
}

// row reads a row and keeps its socket.
func (r *ssReader) row(t []byte) {
	s := record.Socket{UID: -1, State: r.state}
	if sub := bytes.TrimPrefix(t, []byte("`- ")); len(sub) < len(t) {
		t, s.Protocol = sub, record.SCTP
	}
	w, rest := socketWord(t)
	if p, ok := ssNetid(w); ok {
		if p == 0 {
			r.flush()
			r.details = true
			r.out.Ignore()
			return
		}
		s.Protocol = p
		w, rest = socketWord(rest)
	} else if s.Protocol == 0 && r.none {
		r.flush()
		r.details = true
		r.out.Ignore()
		return
	}
	r.details = false
	if state, ok := ssState(w); ok {
		s.State = state
		w, rest = socketWord(rest)
	}
	if socketDigits(w) {
		var ok1, ok2 bool
		s.RecvQ, ok1 = socketQueue(w)
		w, rest = socketWord(rest)
		s.SendQ, ok2 = socketQueue(w)
		if !ok1 || !ok2 {
			r.flush()
			r.out.Problem("expected two queues")
			return
		}
		w, rest = socketWord(rest)
	}
	peer, rest := socketWord(rest)
	if !r.addresses(w, peer, &s) {
		r.flush()
		r.out.Problem("expected addresses and ports in numbers, as -n prints them")
		return
	}
	r.tail(rest, &s)
	r.hold(s)
	r.out.Understood()
}

// hold keeps a socket, and lets those before it go.
func (r *ssReader) hold(s record.Socket) {
	s.Line = r.out.Line()
	if s.Protocol == 0 {
		switch {
		case r.proto != 0:
		case s.State == "UNCONN":
			r.proto = record.UDP
		case s.State != "ESTABLISHED" && s.State != "" || s.Timer != "" || len(r.held) >= ssMaxHeld:
			r.proto = record.TCP
		}
		s.Protocol = r.proto
	}
	if s.Protocol != 0 {
		r.flush()
	}
	r.held = append(r.held, s)
}

// flush emits what is kept. Where neither the command nor a row told the
// protocol, the name of the artifact may (see ssNamedUDP); else it is TCP.
func (r *ssReader) flush() {
	proto := r.proto
	if proto == 0 {
		proto = record.TCP
		if r.out.Command() == "" && ssNamedUDP(r.out.artifact) {
			proto = record.UDP
		}
	}
	for _, s := range r.held {
		if s.Protocol == 0 {
			s.Protocol = proto
		}
		r.out.Socket(s)
	}
	r.held = r.held[:0]
}

// ssNamedUDP tells whether an artifact is called after a command that lists UDP
// alone: ss-uanp.txt. A listing of connected UDP sockets looks like one of TCP
// in every column, so that nothing else is left to tell.
func ssNamedUDP(name string) bool {
	flags, ok := strings.CutPrefix(path.Base(name), "ss-")
	flags, _, _ = strings.Cut(flags, ".")
	return ok && strings.Contains(flags, "u") && strings.ContainsAny(flags, "an") && strings.Trim(flags, "uanplieom46") == "" && strings.ContainsAny(flags[:1], "uan")
}

// addresses reads both addresses of a row.
func (r *ssReader) addresses(local, peer []byte, s *record.Socket) bool {
	var ok1, ok2 bool
	var dev string
	s.Local, s.Device, ok1 = r.address(local)
	s.Remote, dev, ok2 = r.address(peer)
	if !ok1 || !ok2 {
		return false
	}
	if s.Device == "" {
		s.Device = dev
	}
	if s.Local.Addr().Is4() && local[0] != '[' && peer[0] == '*' {
		r.older = true
	}
	s.Local, s.Remote = r.wildcards(local, s.Local, s.Remote), r.wildcards(peer, s.Remote, s.Local)
	return true
}

// address reads one address. A wildcard (*) leaves the address not valid.
func (r *ssReader) address(b []byte) (a netip.AddrPort, device string, ok bool) {
	i := bytes.LastIndexByte(b, ':')
	if i < 1 {
		return a, "", false
	}
	p, ok := port(b[i+1:])
	if !ok {
		return a, "", false
	}
	host := b[:i]
	if j := bytes.IndexByte(host, '%'); j >= 0 {
		device = r.names.get(bytes.TrimSuffix(host[j+1:], []byte("]")))
		if host = host[:j]; len(host) > 0 && host[0] == '[' && host[len(host)-1] != ']' {
			host = host[1:]
		}
	}
	if len(host) == 0 {
		return a, "", false
	}
	if len(host) == 1 && host[0] == '*' {
		return netip.AddrPortFrom(netip.Addr{}, p), device, true
	}
	addr, ok := socketHost(host)
	if host[0] != '[' && bytes.IndexByte(host, ':') >= 0 {
		r.older = true
	}
	return netip.AddrPortFrom(addr, p), device, ok
}

// wildcards says what * means. New versions write 0.0.0.0 and [::] for one
// family, and * for a socket of both; old ones write * for 0.0.0.0.
func (r *ssReader) wildcards(text []byte, a, other netip.AddrPort) netip.AddrPort {
	switch {
	case a.Addr().IsValid():
		return a
	case other.Addr().Is4() && text[0] == '*', r.older && !other.Addr().Is6():
		return netip.AddrPortFrom(netip.IPv4Unspecified(), a.Port())
	}
	return netip.AddrPortFrom(netip.IPv6Unspecified(), a.Port())
}
