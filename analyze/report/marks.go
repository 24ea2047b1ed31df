package report

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// marks finds addresses in a line, in the notations of listings: 10.0.0.1:80,
// src=10.0.0.1 sport=80, an address without a port, and the hexadecimal ones of
// /proc/net/tcp and /proc/net/ip_vs_conn. It returns beginnings and ends in
// turn, in the UTF-16 units by which JavaScript counts.
func marks(line string, addresses []string) []int {
	var found []span
	for _, s := range addresses {
		a, err := netip.ParseAddrPort(s)
		if err != nil {
			continue
		}
		found = append(found, plain(line, a)...)
		found = append(found, hexadecimal(line, a)...)
	}
	slices.SortFunc(found, func(a, b span) int { return a.from - b.from })
	var out []int
	last := 0
	for _, s := range found {
		if s.from < last {
			continue
		}
		out = append(out, units(line[:s.from]), units(line[:s.to]))
		last = s.to
	}
	return out
}

// span is a part of a line, in bytes.
type span struct{ from, to int }

func units(s string) int {
	n := 0
	for _, r := range s {
		n += utf16.RuneLen(r)
	}
	return n
}

// plain finds an address written as people write it, with its port beside it
// or in a field of its own.
func plain(line string, a netip.AddrPort) (out []span) {
	ip, port := a.Addr().String(), strconv.Itoa(int(a.Port()))
	for _, s := range occurrences(line, ip) {
		before, rest := line[:s.from], line[s.to:]
		if cut := strings.TrimSuffix(before, "::ffff:"); len(cut) < len(before) {
			before = cut
		}
		if ends(before, addressByte) || begins(rest, hexByte) {
			continue // a part of a longer address
		}
		rest = strings.TrimPrefix(rest, "]")
		after, joined := strings.CutPrefix(rest, ":")
		switch {
		case !joined && (strings.HasPrefix(rest, ":") || strings.HasPrefix(rest, ".") && begins(rest[1:], digit)):
			continue
		case joined && strings.HasPrefix(after, port) && !begins(after[len(port):], digit):
			s.to = len(line) - len(after) + len(port)
		case joined && begins(after, digit), joined && begins(after, hexByte) && a.Addr().Is6():
			continue // another port, or a longer address
		}
		out = append(out, s)
	}
	if len(out) == 0 || !strings.Contains(line, "port=") {
		return out
	}
	for _, s := range occurrences(line, "port="+port) {
		if !begins(line[s.to:], digit) {
			out = append(out, span{s.from + len("port="), s.to})
		}
	}
	return out
}

// hexadecimal finds an IPv4 address as the kernel prints it: in the order of
// the bytes in memory, or in that of the network.
func hexadecimal(line string, a netip.AddrPort) (out []span) {
	if !a.Addr().Unmap().Is4() {
		return nil
	}
	b := a.Addr().Unmap().As4()
	port := fmt.Sprintf("%04X", a.Port())
	for _, form := range []string{
		fmt.Sprintf("%02X%02X%02X%02X:", b[3], b[2], b[1], b[0]) + port,
		fmt.Sprintf("%02X%02X%02X%02X ", b[0], b[1], b[2], b[3]) + port,
		fmt.Sprintf("%02X%02X%02X%02X:", b[0], b[1], b[2], b[3]) + port,
	} {
		for _, s := range occurrences(line, form) {
			if !begins(line[s.to:], hexByte) {
				out = append(out, s)
			}
		}
	}
	return out
}

func occurrences(line, what string) (out []span) {
	for at := 0; ; {
		i := strings.Index(line[at:], what)
		if i < 0 {
			return out
		}
		out = append(out, span{at + i, at + i + len(what)})
		at += i + len(what)
	}
}

func begins(s string, is func(byte) bool) bool { return s != "" && is(s[0]) }
func ends(s string, is func(byte) bool) bool   { return s != "" && is(s[len(s)-1]) }
func digit(b byte) bool                        { return b >= '0' && b <= '9' }
func hexByte(b byte) bool                      { return digit(b) || b >= 'a' && b <= 'f' || b >= 'A' && b <= 'F' }
func addressByte(b byte) bool                  { return hexByte(b) || b == '.' || b == ':' }
