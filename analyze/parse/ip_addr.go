package parse

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strconv"
	"strings"

	"whichbackend/analyze/record"
)

// ip addr and ip link, also -o, -br, -s, -d and -j (iproute2 6.1.0; busybox
// prints the same):
//
//	9: eth0@if10: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450 qdisc noqueue state UP group default
//	    link/ether 02:42:0a:00:01:07 brd ff:ff:ff:ff:ff:ff link-netns 1-632qywu7ed
//	    inet 10.0.1.7/24 brd 10.0.1.255 scope global eth0
//	       valid_lft forever preferred_lft forever
//
//	eth0@if10        UP             10.0.1.7/24 10.0.1.4/32
//
// Addresses become records, devices without one do not.
var ipAddrFormat = Format{Name: "ip-addr", Head: ipAddrHead, Open: ipAddrOpen, Claim: ipAddrClaim, Doc: ipAddrDoc}

// ipWords are the first two words of a line.
func ipWords(line []byte) (first, second []byte) {
	i := bytes.IndexByte(line, ' ')
	if i < 0 {
		return line, nil
	}
	rest := bytes.TrimLeft(line[i:], " ")
	if j := bytes.IndexByte(rest, ' '); j >= 0 {
		return line[:i], rest[:j]
	}
	return line[:i], rest
}

// ipLink reads "9: eth0@if10:" or, under -o, "9: eth0 ": the device's name and
// what follows.
func ipLink(line []byte) (device string, rest []byte, ok bool) {
	i := 0
	for i < len(line) && line[i] >= '0' && line[i] <= '9' {
		i++
	}
	if i == 0 || i > 9 || i+2 >= len(line) || line[i] != ':' || line[i+1] != ' ' {
		return "", nil, false
	}
	line = line[i+2:]
	end := bytes.IndexByte(line, ' ')
	if end < 1 {
		return "", nil, false
	}
	name, rest := bytes.TrimSuffix(line[:end], []byte(":")), bytes.TrimLeft(line[end:], " ")
	if !ipIsFamily(rest) && (len(rest) == 0 || rest[0] != '<' || line[end-1] != ':') {
		return "", nil, false
	}
	return ipDevice(name), rest, true
}

// ipDevice takes the peer ("@if10") off a device's name.
func ipDevice(name []byte) string {
	if i := bytes.IndexByte(name, '@'); i > 0 {
		name = name[:i]
	}
	return string(name)
}

// ipIsFamily tells whether a line begins with inet or inet6.
func ipIsFamily(line []byte) bool {
	return bytes.HasPrefix(line, []byte("inet ")) || bytes.HasPrefix(line, []byte("inet6 "))
}

// ipIsState tells the STATE column of -br.
func ipIsState(word []byte) bool {
	switch string(word) {
	case "UNKNOWN", "UP", "DOWN", "LOWERLAYERDOWN", "DORMANT", "NOTPRESENT", "TESTING":
		return true
	}
	return false
}

func ipAddrHead(line []byte) bool {
	if len(line) < 8 {
		return false
	}
	switch c := line[0]; {
	case c >= '0' && c <= '9':
		if _, _, ok := ipLink(line); ok {
			return true
		}
	case c == 'i' && ipIsFamily(line):
		// ifconfig prints no prefix length here.
		_, second := ipWords(line)
		return (bytes.IndexByte(second, '/') > 0 || bytes.Contains(line, []byte(" peer "))) && bytes.Contains(line, []byte(" scope "))
	case c == 'M' && string(line) == "Message truncated":
		return true
	}
	first, second := ipWords(line)
	return ipIsState(second) && len(first) <= 40 && ipIsBrief(line)
}

// ipIsBrief tells whether what follows the STATE of a row of -br are
// addresses, or a link address and flags.
func ipIsBrief(line []byte) bool {
	words := strings.Fields(string(line))
	if len(words) < 3 {
		return false
	}
	if _, ok := ipPrefix(words[2]); ok {
		return true
	}
	if len(words) > 4 && words[3] == "peer" {
		_, ok := address([]byte(words[2]))
		return ok
	}
	return len(words) == 4 && strings.Count(words[2], ":") >= 5 && words[3][0] == '<'
}

// ipPrefix reads address/length and keeps the address's host bits.
func ipPrefix(s string) (netip.Prefix, bool) {
	a, bits, found := strings.Cut(s, "/")
	addr, ok := address([]byte(a))
	n, ok2 := number([]byte(bits))
	if !found || !ok || !ok2 || int64(n) > 128 {
		return netip.Prefix{}, false
	}
	length := int(n)
	if addr.Is4() && strings.IndexByte(a, ':') >= 0 {
		length -= 96 // an unmapped address
	}
	if length < 0 || length > addr.BitLen() {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(addr, length), true
}

// ipHeld reads the address that words begin with: "A/len", or "A peer B/len"
// of a point-to-point device, where the length is that of B's network and A
// stands for itself alone. used counts the words read.
func ipHeld(words []string) (p netip.Prefix, used int, ok bool) {
	if len(words) == 0 {
		return p, 0, false
	}
	if len(words) > 2 && words[1] == "peer" {
		a, _, _ := strings.Cut(words[0], "/")
		addr, ok := address([]byte(a))
		_, ok2 := dockerPrefixAddress(words[2])
		if !ok || !ok2 {
			return p, 0, false
		}
		return netip.PrefixFrom(addr, addr.BitLen()), 3, true
	}
	p, ok = ipPrefix(words[0])
	return p, 1, ok
}

// ipPeerOf finds link-netns NAME or link-netnsid N in a line.
func ipPeerOf(words []string) (string, bool) {
	for i, w := range words {
		if i+1 == len(words) {
			break
		}
		switch w {
		case "link-netns":
			return words[i+1], true
		case "link-netnsid":
			return w + " " + words[i+1], true
		}
	}
	return "", false
}

type ipAddrReader struct {
	out          *Out
	device, peer string
}

func ipAddrOpen(out *Out) (func([]byte), func()) {
	r := &ipAddrReader{out: out}
	return r.line, nil
}

func (r *ipAddrReader) line(b []byte) {
	line := bytes.TrimSpace(b)
	if len(line) == 0 {
		return
	}
	if device, rest, ok := ipLink(line); ok {
		if device != r.device || rest[0] == '<' {
			r.device, r.peer = device, ""
		}
		if ipIsFamily(rest) {
			r.address(rest)
			return
		}
		r.peer, _ = ipPeerOf(strings.Fields(string(rest))) // -o
		r.out.Understood()
		return
	}
	first, second := ipWords(line)
	switch word := string(first); {
	case ipIsFamily(line):
		r.address(line)
	case strings.HasPrefix(word, "link/"):
		r.peer, _ = ipPeerOf(strings.Fields(string(line)))
		r.out.Understood()
	case string(line) == "Message truncated":
		r.out.Problem("the kernel's answer was cut: devices or addresses may be missing")
	case ipIsState(second):
		r.brief(strings.Fields(string(line)))
	case ipIsDetail(word):
		r.out.Ignore()
	default:
		r.out.Problem("expected a device, link/, inet or inet6")
	}
}

// address reads "inet 10.0.1.7/24 brd 10.0.1.255 scope global eth0".
func (r *ipAddrReader) address(line []byte) {
	words := strings.Fields(string(line))
	p, _, ok := ipHeld(words[1:])
	if !ok || p.Addr().Is4() && words[0] == "inet6" && !strings.HasPrefix(words[1], "::ffff:") || p.Addr().Is6() && words[0] == "inet" {
		r.out.Problem("expected an address with its prefix length")
		return
	}
	device := r.device
	if n := len(words); device == "" && words[0] == "inet" && n > 3 && words[n-2] != "scope" {
		// grep inet: an IPv4 line ends in its label, the device or an alias of it.
		device, _, _ = strings.Cut(words[n-1], ":")
	}
	r.out.Address(record.Address{Prefix: p, Device: device, Peer: r.peer})
}

// brief reads a row of -br.
func (r *ipAddrReader) brief(words []string) {
	device := ipDevice([]byte(words[0]))
	r.out.Understood()
	rest := words[2:]
	if len(rest) == 2 && rest[1][0] == '<' {
		return // ip -br link
	}
	for len(rest) > 0 {
		p, used, ok := ipHeld(rest)
		switch {
		case ok:
			r.out.Address(record.Address{Prefix: p, Device: device})
			rest = rest[used:]
		case rest[0] == "metric" && len(rest) > 1:
			rest = rest[2:]
		default:
			r.out.Problem("expected addresses with their prefix lengths")
			return
		}
	}
}

// ipIsDetail tells lines of ip addr that hold lifetimes, counters (-s) or
// properties of a kind of device (-d).
func ipIsDetail(word string) bool {
	switch word {
	case "valid_lft", "RX:", "TX:", "RX", "TX", "altname", "alias", "promiscuity", "addrgenmode", "veth", "bridge", "bridge_slave",
		"vxlan", "bond", "bond_slave", "vlan", "macvlan", "macvtap", "ipvlan", "tun", "geneve", "gre", "gretap", "ip6gre",
		"ipip", "sit", "ip6tnl", "vti", "vti6", "wireguard", "dummy", "vrf", "vrf_slave", "openvswitch", "team",
		"team_slave", "ifb", "nlmon", "macsec", "xfrm", "erspan", "hsr", "netkit", "vf", "prog/xdp", "protodown":
		return true
	}
	_, err := strconv.ParseUint(word, 10, 64)
	return err == nil // a row of counters
}

func ipAddrClaim(d *Doc) bool {
	first := ipFirst(d)
	return first != nil && first.Has("ifindex", "ifname") && (first.Has("addr_info") || first.Has("link_type"))
}

// ipFirst is the first element of ip -j that holds something: for what a
// filter left out, some versions print {}.
func ipFirst(d *Doc) *Doc {
	for i := range d.Elements() {
		if string(bytes.TrimSpace(d.array[i])) == "{}" {
			continue
		}
		return (&Doc{Line: d.Line, array: d.array[i : i+1]}).First()
	}
	return nil
}

func ipAddrDoc(d *Doc, out *Out) {
	for i, raw := range d.Elements() {
		var link struct {
			Ifname      string `json:"ifname"`
			LinkNetns   string `json:"link_netns"`
			LinkNetnsID *int   `json:"link_netnsid"`
			AddrInfo    []struct {
				Local   string `json:"local"`
				Address string `json:"address"` // the peer's
				// Raw, since a length of another type must not become 0.
				PrefixLen json.RawMessage `json:"prefixlen"`
			} `json:"addr_info"`
		}
		at := "/" + strconv.Itoa(i)
		dockerDecode(raw, &link, at, out)
		peer := link.LinkNetns
		if peer == "" && link.LinkNetnsID != nil {
			peer = "link-netnsid " + strconv.Itoa(*link.LinkNetnsID)
		}
		for j, a := range link.AddrInfo {
			out.At(at + "/addr_info/" + strconv.Itoa(j))
			p, ok := ipPrefix(a.Local + "/" + string(a.PrefixLen))
			if !ok {
				out.Problem("expected local and prefixlen")
				continue
			}
			if a.Address != "" {
				p = netip.PrefixFrom(p.Addr(), p.Addr().BitLen())
			}
			out.Address(record.Address{Prefix: p, Device: link.Ifname, Peer: peer})
		}
	}
}
