package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

var errShort = errors.New("netlink: a message is too short for what it is")

// spread puts the payload of each attribute of b where its number says; those
// that at has no room for are left out, as is what is cut.
func spread(at [][]byte, b []byte) {
	const header = unix.NLA_HDRLEN
	for len(b) >= header {
		size := int(binary.NativeEndian.Uint16(b[0:]))
		kind := int(binary.NativeEndian.Uint16(b[2:])) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
		if size < header || size > len(b) {
			return
		}
		if kind < len(at) {
			at[kind] = b[header:size]
		}
		b = b[min((size+3)&^3, len(b)):]
	}
}

// attribute appends one.
func attribute(out []byte, kind uint16, payload []byte) []byte {
	out = binary.NativeEndian.AppendUint16(out, uint16(unix.NLA_HDRLEN+len(payload)))
	out = binary.NativeEndian.AppendUint16(out, kind)
	out = append(out, payload...)
	return append(out, make([]byte, -len(payload)&3)...)
}

// value is a number in network byte order, of any of the usual sizes; 0 where
// there is none.
func value(b []byte) uint64 {
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.BigEndian.Uint16(b))
	case 4:
		return uint64(binary.BigEndian.Uint32(b))
	case 8:
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// native is a number in the kernel's own byte order; 0 where there is none.
func native(b []byte) uint32 {
	switch len(b) {
	case 2:
		return uint32(binary.NativeEndian.Uint16(b))
	case 4:
		return binary.NativeEndian.Uint32(b)
	}
	return 0
}

// name is a string of the kernel's, without the zero that may end it.
func name(b []byte) []byte {
	b, _, _ = bytes.Cut(b, []byte{0})
	return b
}

// appendNumber appends a word, a number and a space.
func appendNumber(out []byte, word string, n uint64) []byte {
	return append(strconv.AppendUint(append(out, word...), n, 10), ' ')
}

// appendPadded appends s, and spaces until it is width long.
func appendPadded(out []byte, s string, width int) []byte {
	return appendBlanks(append(out, s...), width-len(s))
}

// appendV4 appends an address as inet_ntop does; what is missing is zero.
func appendV4(out, b []byte) []byte {
	var a [4]byte
	copy(a[:], b)
	return netip.AddrFrom4(a).AppendTo(out)
}

// appendV6 appends an address as inet_ntop does, which unlike net/netip writes
// those with nothing but zeroes in front of the last four bytes as ::192.0.2.1.
func appendV6(out, b []byte) []byte {
	var a [16]byte
	copy(a[:], b)
	if [12]byte(a[:12]) == [12]byte{} && (a[12] != 0 || a[13] != 0) {
		return appendV4(append(out, "::"...), a[12:])
	}
	return netip.AddrFrom16(a).AppendTo(out)
}
