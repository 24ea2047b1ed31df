package parse

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"

	"whichbackend/analyze/record"
)

// ifconfig, which old images have instead of ip (net-tools 2.10; net-tools
// 1.60 and busybox):
//
//	eth0: flags=4163<UP,BROADCAST,RUNNING,MULTICAST>  mtu 1500
//	        inet 172.17.0.2  netmask 255.255.0.0  broadcast 172.17.255.255
//
//	eth0      Link encap:Ethernet  HWaddr 02:42:AC:11:00:02
//	          inet addr:172.17.0.2  Bcast:172.17.255.255  Mask:255.255.0.0
var ifconfigFormat = Format{Name: "ifconfig", Head: ifconfigHead, Open: ifconfigOpen}

func ifconfigHead(line []byte) bool {
	if len(line) < 12 || line[0] < 'A' {
		return false
	}
	first, second := ipWords(line)
	switch {
	case bytes.HasPrefix(second, []byte("flags=")):
		return bytes.HasSuffix(first, []byte(":")) && bytes.IndexByte(second, '<') > 0
	case string(second) == "Link":
		return bytes.Contains(line, []byte(" Link encap:"))
	case string(first) == "inet":
		return bytes.HasPrefix(second, []byte("addr:")) || bytes.Contains(line, []byte(" netmask "))
	case string(first) == "inet6":
		return string(second) == "addr:" || bytes.Contains(line, []byte(" prefixlen "))
	}
	return false
}

func ifconfigOpen(out *Out) (func([]byte), func()) {
	device := ""
	return func(b []byte) {
		words := strings.Fields(string(b))
		switch {
		case len(words) == 0:
		case len(words) > 1 && (strings.HasPrefix(words[1], "flags=") || words[1] == "Link"):
			// An alias (eth0:1) is an address of its device.
			device, _, _ = strings.Cut(words[0], ":")
			out.Understood()
		case words[0] == "inet" || words[0] == "inet6":
			p, ok := ifconfigAddress(words)
			if !ok {
				out.Problem("expected an address with its netmask or prefix length")
				return
			}
			out.Address(record.Address{Prefix: p, Device: device})
		case ifconfigIsDetail(words[0]):
			out.Ignore()
		default:
			out.Problem("expected a device, inet or inet6")
		}
	}, nil
}

// ifconfigAddress reads the words of an inet or inet6 line of either style.
func ifconfigAddress(words []string) (netip.Prefix, bool) {
	if len(words) < 2 {
		return netip.Prefix{}, false
	}
	text := strings.TrimPrefix(words[1], "addr:")
	if text == "" && len(words) > 2 {
		text = words[2]
	}
	if strings.Contains(text, "/") {
		return ipPrefix(text)
	}
	addr, ok := address([]byte(text))
	bits := -1
	for i, w := range words {
		mask, found := strings.CutPrefix(w, "Mask:")
		if i+1 < len(words) && (w == "netmask" || w == "prefixlen") {
			mask, found = words[i+1], true
		}
		if found {
			bits = ifconfigBits(mask)
		}
	}
	if !ok || bits < 0 || bits > addr.BitLen() {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(addr, bits), true
}

// ifconfigBits is the length of a mask: 255.255.0.0, 0xffff0000 (BSD) or 64.
// -1: it is none.
func ifconfigBits(mask string) int {
	var v uint64
	if n, ok := number([]byte(mask)); ok && n <= 128 {
		return int(n)
	}
	if hex, ok := strings.CutPrefix(mask, "0x"); ok {
		var err error
		if v, err = strconv.ParseUint(hex, 16, 32); err != nil {
			return -1
		}
	} else {
		a, ok := address([]byte(mask))
		if !ok || !a.Is4() {
			return -1
		}
		for _, b := range a.As4() {
			v = v<<8 | uint64(b)
		}
	}
	for bits := 0; bits <= 32; bits++ {
		if uint64(uint32(0xffffffff<<(32-bits))) == v {
			return bits
		}
	}
	return -1
}

func ifconfigIsDetail(word string) bool {
	for _, p := range []string{"ether", "loop", "unspec", "tunnel", "sit", "ppp", "infiniband", "RX", "TX", "UP", "DOWN", "LOOPBACK", "POINTOPOINT",
		"BROADCAST", "RUNNING", "MULTICAST", "collisions", "Interrupt", "Memory", "device", "options", "status", "media", "nd6", "lladdr"} {
		if strings.HasPrefix(word, p) {
			return true
		}
	}
	return false
}
