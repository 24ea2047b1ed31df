package cilium

import (
	"strings"
)

// A service (struct lb4_key and lb4_service, lb6 likewise). The key:
//
//	address (4 or 16), port (2, network byte order), slot (2), protocol (1),
//	scope (1), nothing (2)
//
// and the value, where slot 0 is the service itself and each other a backend:
//
//	backend, or of slot 0 a timeout, an algorithm or a proxy's port (4), count
//	(2), service (2, network byte order), flags (2), count of backends under
//	quarantine, or nothing before 1.17 (2)
var serviceLayouts = []layout{{key: 12, value: 12}, {key: 24, value: 12, v6: true}}

// A backend: address (4 or 16), port (2, network byte order), protocol (1), state
// (1), and in the third kind of map (since 1.13) its cluster (2), zone (1), and
// nothing (1). The key is its number, of 2 bytes in the first kind.
var backendLayouts = []layout{
	{key: 4, value: 12}, {key: 4, value: 24, v6: true},
	{key: 4, value: 8}, {key: 4, value: 20, v6: true},
	{key: 2, value: 8}, {key: 2, value: 20, v6: true},
}

// A service by its number, which is the key (2, network byte order): address (4
// or 16) and port (2, network byte order).
var revnatLayouts = []layout{{key: 2, value: 6}, {key: 2, value: 18, v6: true}}

const (
	flagLocalRedirect = 1 << 8
	flagL7            = 1 << 10
	flagQuarantined   = 1 << 14 // of a service: its source ranges are denied
)

func (l layout) ip() int {
	if l.v6 {
		return 16
	}
	return 4
}

// appendServiceKey appends the first column of a service.
func (f format) appendServiceKey(dst []byte, l layout, key []byte) []byte {
	n := l.ip()
	dst = appendAddress(dst, key[:n], port(key[n:]))
	if f.release >= 17 {
		dst = appendProtocol(append(dst, '/'), f.release, key[n+4])
	}
	if key[n+5] == 1 {
		dst = append(dst, "/i"...)
	}
	if f.release >= 14 {
		dst = append(word(dst, " (", uint64(u16(key[n+2:]))), ')')
	}
	return dst
}

// appendService appends what a slot of a service leads to. Backends are those
// of the datapath by their number, as appendBackendAddress wrote them.
func (f format) appendService(dst []byte, l layout, key, v []byte, backends map[uint32]backend) []byte {
	slot, flags := u16(key[l.ip()+2:]), u16(v[8:])
	b, ok := backends[u32(v)]
	switch {
	case slot == 0 && l.v6:
		dst = append(dst, "[::]:0"...)
	case slot == 0:
		dst = append(dst, "0.0.0.0:0"...)
	case !ok:
		return append(word(dst, "backend ", uint64(u32(v))), " not found"...)
	default:
		dst = append(dst, b.address...)
		if f.release >= 17 {
			dst = appendProtocol(append(dst, '/'), f.release, b.protocol)
		}
	}
	dst = append(word(dst, " (", uint64(port(v[6:]))), ')')
	if f.release >= 12 {
		dst = append(word(dst, " (", uint64(slot)), ')')
	}
	if slot != 0 {
		return dst
	}
	dst = append(append(append(dst, " ["...), serviceFlags(flags)...), ']')
	if f.release >= 14 {
		dst = append(dst, ' ')
		if flags&flagL7 != 0 {
			dst = append(word(dst, "(L7LB Proxy Port: ", uint64(port(v))), ')')
		}
	}
	return dst
}

// appendFrontend appends the bare value of a slot.
func (f format) appendFrontend(dst, v []byte) []byte {
	id := uint64(u32(v))
	if u16(v[8:])&flagL7 != 0 && f.release >= 12 {
		id = uint64(port(v))
	}
	dst = word(dst, "", id)
	if f.release >= 12 {
		dst = word(dst, " ", uint64(u16(v[4:])))
	}
	if f.release >= 17 {
		dst = append(word(dst, "[", uint64(u16(v[10:]))), ']')
	}
	dst = append(word(dst, " (", uint64(port(v[6:]))), ')')
	if f.release < 12 {
		return append(hexadecimal(dst, " [FLAGS: ", uint64(v[8]), 1), ']')
	}
	dst = hexadecimal(dst, " [", uint64(v[8]), 1)
	return append(hexadecimal(dst, " ", uint64(v[9]), 1), ']')
}

// serviceFlags names the flags of a service.
func serviceFlags(flags uint16) string {
	kind := "ClusterIP"
	for _, k := range []struct {
		bit  uint16
		name string
	}{{1, "ExternalIPs"}, {2, "NodePort"}, {1 << 5, "LoadBalancer"}, {1 << 3, "HostPort"}, {flagLocalRedirect, "LocalRedirect"}} {
		if flags&k.bit != 0 {
			kind = k.name
			break
		}
	}
	loopback := "delegate-if-local"
	if kind == "HostPort" {
		loopback = "loopback"
	}
	names := []string{kind}
	denied := flags&(1<<7) != 0 && flags&flagQuarantined != 0
	for _, k := range []struct {
		is   bool
		name string
	}{
		{flags&(1<<2) != 0, "Local"},
		{flags&(1<<12) != 0, "InternalLocal"},
		{flags&(1<<13) != 0, "two-scopes"},
		{flags&(1<<4) != 0, "sessionAffinity"},
		{flags&(1<<6) == 0, "non-routable"},
		{flags&(1<<7) != 0, "check source-range"},
		{denied, "deny"},
		{flags&(1<<9) != 0, "46x64"},
		{flags&flagL7 != 0, "l7-load-balancer"},
		{flags&(1<<11) != 0, loopback},
		{flags&flagQuarantined != 0 && !denied, "quarantined"},
		{flags&(1<<15) != 0, "dsr"},
	} {
		if k.is {
			names = append(names, k.name)
		}
	}
	return strings.Join(names, ", ")
}

// backend is where a number of a backend leads.
type backend struct {
	address  string // with the port
	protocol byte
}

func backendID(key []byte) uint32 {
	if len(key) == 2 {
		return uint32(u16(key))
	}
	return u32(key)
}

func readBackend(l layout, v []byte) backend {
	n := l.ip()
	return backend{string(appendAddress(nil, v[:n], port(v[n:]))), v[n+2]}
}

// appendBackend appends a backend, which since 1.13 is printed without its port.
func (f format) appendBackend(dst []byte, l layout, v []byte) []byte {
	n := l.ip()
	dst = append(appendProtocol(dst, f.release, v[n+2]), "://"...)
	if l.value < n+8 {
		return appendAddress(dst, v[:n], port(v[n:]))
	}
	dst = appendIP(dst, v[:n])
	if cluster := u16(v[n+4:]); cluster != 0 {
		dst = word(dst, "@", uint64(cluster))
	}
	return dst
}
