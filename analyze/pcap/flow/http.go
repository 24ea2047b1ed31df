package flow

import (
	"bytes"
	"net/netip"
)

// maxHeaders bounds the bytes of a request that are searched for headers.
const maxHeaders = 4096

// isRequest tells whether the bytes are the begin of an HTTP/1 request (RFC
// 9112): a method, and the version at the end of the line as far as the line
// was captured.
func isRequest(b []byte) bool {
	if len(b) < 5 || b[0] < 'A' || b[0] > 'Z' {
		return false
	}
	i := bytes.IndexByte(b[:min(len(b), 8)], ' ')
	if i < 0 {
		return false
	}
	switch string(b[:i]) {
	case "GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE":
	default:
		return false
	}
	line, _, whole := cutLine(b[:min(len(b), maxHeaders)])
	if !whole {
		return true
	}
	return len(line) > i+9 && string(line[len(line)-9:len(line)-1]) == " HTTP/1."
}

// readHeaders takes x-request-id and x-forwarded-for from the lines behind the
// request line, as far as they were captured whole.
func readHeaders(b []byte) (m mark) {
	b = b[:min(len(b), maxHeaders)]
	for len(b) > 0 {
		line, rest, whole := cutLine(b)
		if !whole || len(line) == 0 {
			return m
		}
		b = rest
		if line[0]|0x20 != 'x' {
			continue
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			continue
		}
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("x-request-id")):
			m.id = hashBytes(value)
		case bytes.EqualFold(name, []byte("x-forwarded-for")):
			m.from = lastAddress(value)
		}
	}
	return m
}

// lastAddress is the last address of a list, which some proxies write with a
// port.
func lastAddress(list []byte) netip.Addr {
	last := list[bytes.LastIndexByte(list, ',')+1:]
	last = bytes.TrimSpace(last)
	if len(last) > 64 {
		return netip.Addr{}
	}
	if a, err := netip.ParseAddr(string(last)); err == nil {
		return a.Unmap().WithZone("")
	}
	if p, err := netip.ParseAddrPort(string(last)); err == nil {
		return p.Addr().Unmap().WithZone("")
	}
	if n := len(last); n > 2 && last[0] == '[' && last[n-1] == ']' {
		if a, err := netip.ParseAddr(string(last[1 : n-1])); err == nil {
			return a.Unmap().WithZone("")
		}
	}
	return netip.Addr{}
}
