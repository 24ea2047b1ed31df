package cilium

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
)

func TestParseRelease(t *testing.T) {
	for s, want := range map[string]release{
		"1.16.15 (v1.16.15-47c65e6d)": 16, "v1.14.2": 14, "1.10": 10, "1.8.1": 10, "1.25.0-dev (v1.25.0-dev-0)": 19, "1.19.0-pre.4": 19, "1.18-dev": 18,
	} {
		if got, ok := parseRelease(s); !ok || got != want {
			t.Errorf("%q: %d, %v", s, got, ok)
		}
	}
	for _, s := range []string{"", " (v-)", "2.1.0", "1", "1.x", "1.-3", "latest"} {
		if got, ok := parseRelease(s); ok {
			t.Errorf("%q: %d", s, got)
		}
	}
}

func TestByNames(t *testing.T) {
	for names, want := range map[string]release{
		"":                       11,
		"cilium_lb4_backends":    11,
		"cilium_lb4_backends_v2": 12,
		"cilium_lb4_backends_v2 cilium_lb4_backends_v3":                    14,
		"cilium_lb6_backends_v3 cilium_skip_lb4":                           16,
		"cilium_skip_lb4 cilium_policy_v2_00123 cilium_ipcache":            17,
		"cilium_policy_v2_00123 cilium_ipcache cilium_ipcache_v2 cilium_x": 19,
	} {
		if got := byNames(strings.Fields(names)); got != want {
			t.Errorf("%s: %d, want %d", names, got, want)
		}
	}
}

// raw makes bytes of an entry: of addresses as such, of other numbers in the
// order of the host, of ports in that of the network.
func raw(parts ...any) (b []byte) {
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			b = append(b, netip.MustParseAddr(p).AsSlice()...)
		case be16:
			b = append(b, byte(p>>8), byte(p))
		case byte:
			b = append(b, p)
		case uint16:
			b = append(b, byte(p), byte(p>>8))
		case uint32:
			b = append(b, byte(p), byte(p>>8), byte(p>>16), byte(p>>24))
		case uint64:
			b = append(b, byte(p), byte(p>>8), byte(p>>16), byte(p>>24), byte(p>>32), byte(p>>40), byte(p>>48), byte(p>>56))
		case int:
			b = append(b, make([]byte, p)...)
		}
	}
	return b
}

type be16 uint16

// TestVersions prints one entry of each kind as every version does.
func TestVersions(t *testing.T) {
	ct4, ct6, nat4, nat6, svc4, svc6 := ctLayouts[0], ctLayouts[1], natLayouts[0], natLayouts[1], serviceLayouts[0], serviceLayouts[1]
	service := raw("10.96.0.10", "10.0.0.1", be16(40000), be16(80), byte(6), byte(tupleService))
	out6 := raw("fd00::1", "fd00::2", be16(80), be16(40000), byte(17), byte(0))
	value := raw(uint64(0), uint64(7), uint64(8), uint64(9), uint32(100), uint16(0x8081), be16(5), uint16(2), byte(2), byte(0x1b), uint32(300), uint32(50), uint32(51))
	natKey := raw("10.0.0.9", "10.0.0.1", be16(80), be16(40000), byte(6), byte(tupleIn))
	natKey6 := raw("fd00::9", "fd00::1", be16(80), be16(40000), byte(132), byte(tupleRelated))
	svcKey := raw("10.96.0.10", be16(53), uint16(2), byte(17), byte(1), 2)
	svcKey0 := raw("fd00::10", be16(53), uint16(0), byte(6), byte(0), 2)
	backends := map[uint32]backend{7: {"10.0.0.9:5353", 17}}
	slot := raw(uint32(7), uint16(3), be16(5), byte(0), byte(0), uint16(1))
	l7 := raw(be16(10000), 2, uint16(3), be16(5), byte(0x60), byte(4), uint16(1))
	endpoint := raw(uint32(12), 2, uint16(123), uint32(0xA), 4, byte(0xaa), byte(1), 4, 2, byte(0xbb), 5, 2, uint32(45678), uint32(4), 8)
	ipcache := raw(uint32(6), "192.168.0.2", uint16(9), byte(1), byte(3))
	ipcache2 := raw(uint32(6), "fd00::2", uint16(0), byte(1), byte(6))
	const rx = " RxPackets=0 RxBytes=7 RxFlagsSeen=0x1b LastRxReport=51 TxPackets=8 TxBytes=9 TxFlagsSeen=0x02 LastTxReport=50 Flags=0x8081 [ RxClosing %s Unknown=0x8000 ] RevNAT=5 SourceSecurityID=300 IfIndex=2 \n"
	const merged = " Packets=8 Bytes=9 RxFlagsSeen=0x1b LastRxReport=51 TxFlagsSeen=0x02 LastTxReport=50 Flags=0x8081 [ RxClosing DSRInternal Unknown=0x8000 ] RevNAT=5 SourceSecurityID=300"
	for _, c := range []struct {
		of   release
		make func(f format, b []byte) []byte
		want string
	}{
		{10, func(f format, b []byte) []byte { return f.appendCT(b, ct4, service, value) }, "TCP OUT 10.96.0.10:80 -> 10.0.0.1:40000 service expires=100" + strings.Replace(rx, "%s", "DSR", 1)},
		{14, func(f format, b []byte) []byte { return f.appendCT(b, ct4, service, value) }, "TCP OUT 10.96.0.10:80 -> 10.0.0.1:40000 service expires=100" + strings.Replace(rx, "%s", "DSRInternal", 1)},
		{15, func(f format, b []byte) []byte { return f.appendCT(b, ct4, service, value) }, "TCP SVC 10.0.0.1:40000 -> 10.96.0.10:80 expires=100" + strings.Replace(rx, "%s", "DSRInternal", 1)},
		{16, func(f format, b []byte) []byte { return f.appendCT(b, ct4, service, value) }, "TCP SVC 10.0.0.1:40000 -> 10.96.0.10:80 expires=100" + merged + " IfIndex=2 BackendID=7 \n"},
		{18, func(f format, b []byte) []byte { return f.appendCT(b, ct4, service, value) }, "TCP SVC 10.0.0.1:40000 -> 10.96.0.10:80 expires=100" + merged + " BackendID=7 \n"},
		{19, func(f format, b []byte) []byte { return f.appendCT(b, ct6, out6, value) }, "UDP OUT fd00::1:40000 -> fd00::2:80 expires=100" + merged + " BackendID=7 NatPort=512 \n"},
		{12, func(f format, b []byte) []byte {
			return f.appendNAT(b, nat4, natKey, raw(uint64(10e9), uint64(1), 16, "10.0.0.1", be16(40000), 2))
		}, "TCP IN 10.0.0.1:40000 -> 10.0.0.9:80 XLATE_DST 10.0.0.1:40000 Created=90sec HostLocal=1\n"},
		{13, func(f format, b []byte) []byte {
			return f.appendNAT(b, nat4, natKey, raw(uint64(10e9), uint64(1), 16, "10.0.0.1", be16(40000), 2))
		}, "TCP IN 10.0.0.1:40000 -> 10.0.0.9:80 XLATE_DST 10.0.0.1:40000 Created=90sec NeedsCT=1\n"},
		{14, func(f format, b []byte) []byte {
			return f.appendNAT(b, nat6, natKey6, raw(uint64(10), uint64(0), 16, "fd00::7", be16(1024), 6))
		}, "SCTP OUT [fd00::1]:40000 -> [fd00::9]:80 related XLATE_SRC [fd00::7]:1024 Created=70sec ago NeedsCT=0\n"},
		{19, func(f format, b []byte) []byte {
			return f.appendNAT(b, nat4, natKey, raw(uint64(5000), uint64(0), 16, "10.0.0.1", be16(1024), 2))
		}, "TCP IN 10.0.0.1:40000 -> 10.0.0.9:80 XLATE_DST 10.0.0.1:1024 Created=? (raw 5000) NeedsCT=0\n"},

		{11, func(f format, b []byte) []byte { return f.appendServiceKey(b, svc4, svcKey) }, "10.96.0.10:53/i"},
		{14, func(f format, b []byte) []byte { return f.appendServiceKey(b, svc4, svcKey) }, "10.96.0.10:53/i (2)"},
		{17, func(f format, b []byte) []byte { return f.appendServiceKey(b, svc4, svcKey) }, "10.96.0.10:53/UDP/i (2)"},
		{17, func(f format, b []byte) []byte { return f.appendServiceKey(b, svc6, svcKey0) }, "[fd00::10]:53/TCP (0)"},
		{11, func(f format, b []byte) []byte { return f.appendService(b, svc4, svcKey, slot, backends) }, "10.0.0.9:5353 (5)"},
		{12, func(f format, b []byte) []byte { return f.appendService(b, svc4, svcKey, slot, backends) }, "10.0.0.9:5353 (5) (2)"},
		{17, func(f format, b []byte) []byte { return f.appendService(b, svc4, svcKey, slot, backends) }, "10.0.0.9:5353/UDP (5) (2)"},
		{17, func(f format, b []byte) []byte { return f.appendService(b, svc4, svcKey, slot, nil) }, "backend 7 not found"},
		{11, func(f format, b []byte) []byte { return f.appendService(b, svc6, svcKey0, l7, backends) }, "[::]:0 (5) [LoadBalancer, l7-load-balancer]"},
		{17, func(f format, b []byte) []byte { return f.appendService(b, svc6, svcKey0, l7, backends) }, "[::]:0 (5) (0) [LoadBalancer, l7-load-balancer] (L7LB Proxy Port: 10000)"},
		{11, func(f format, b []byte) []byte { return f.appendFrontend(b, slot) }, "7 (5) [FLAGS: 0x0]"},
		{12, func(f format, b []byte) []byte { return f.appendFrontend(b, slot) }, "7 3 (5) [0x0 0x0]"},
		{17, func(f format, b []byte) []byte { return f.appendFrontend(b, l7) }, "10000 3[1] (5) [0x60 0x4]"},
		{11, func(f format, b []byte) []byte {
			return f.appendBackend(b, backendLayouts[4], raw("10.0.0.9", be16(80), byte(6), byte(0)))
		}, "TCP://10.0.0.9:80"},
		{12, func(f format, b []byte) []byte {
			return f.appendBackend(b, backendLayouts[3], raw("fd00::9", be16(80), byte(0), byte(0)))
		}, "ANY://[fd00::9]:80"},
		{17, func(f format, b []byte) []byte {
			return f.appendBackend(b, backendLayouts[1], raw("fd00::9", be16(80), byte(6), byte(0), uint16(3), byte(1), byte(0)))
		}, "TCP://fd00::9@3"},

		{13, func(f format, b []byte) []byte { return f.appendEndpoint(b, endpoint) }, "id=123   flags=0x000A ifindex=12  mac=AA:01:00:00:00:00 nodemac=BB:00:00:00:00:00"},
		{14, func(f format, b []byte) []byte { return f.appendEndpoint(b, endpoint) }, "id=123   sec_id=45678 flags=0x000A ifindex=12  mac=AA:01:00:00:00:00 nodemac=BB:00:00:00:00:00"},
		{17, func(f format, b []byte) []byte { return f.appendEndpoint(b, endpoint) }, "id=123   sec_id=45678 flags=0x000A ifindex=12  mac=AA:01:00:00:00:00 nodemac=BB:00:00:00:00:00 parent_ifindex=4  "},
		{17, func(f format, b []byte) []byte {
			return appendEndpointKey(b, raw("fd00::9", byte(familyIPv6), byte(0), 2))
		}, "[fd00::9]:0"},
		{11, func(f format, b []byte) []byte { return f.appendIPCache(b, ipcacheLayouts[0], ipcache) }, "6 1 192.168.0.2"},
		{12, func(f format, b []byte) []byte { return f.appendIPCache(b, ipcacheLayouts[0], ipcache) }, "identity=6 encryptkey=1 tunnelendpoint=192.168.0.2"},
		{13, func(f format, b []byte) []byte { return f.appendIPCache(b, ipcacheLayouts[0], ipcache) }, "identity=6 encryptkey=1 tunnelendpoint=192.168.0.2 nodeid=9"},
		{15, func(f format, b []byte) []byte { return f.appendIPCache(b, ipcacheLayouts[0], ipcache) }, "identity=6 encryptkey=1 tunnelendpoint=192.168.0.2"},
		{18, func(f format, b []byte) []byte { return f.appendIPCache(b, ipcacheLayouts[0], ipcache) }, "identity=6 encryptkey=1 tunnelendpoint=192.168.0.2 flags=skiptunnel,hastunnel"},
		{19, func(f format, b []byte) []byte { return f.appendIPCache(b, ipcacheLayouts[1], ipcache2) }, "identity=6 encryptkey=1 tunnelendpoint=fd00::2 flags=hastunnel,ipv6tunnel"},
		{19, func(f format, b []byte) []byte {
			return appendIPCacheKey(b, raw(uint32(32+64), uint16(2), byte(0), byte(familyIPv6), "fd00::"))
		}, "fd00::/64@2"},
	} {
		f := format{release: c.of, uptime: 100, now: 80}
		if got := string(c.make(f, nil)); got != c.want {
			t.Errorf("1.%d: got\n%swant\n%s", c.of, got, c.want)
		}
	}
}

// TestSide tells from an entry on which side of 1.16 it was made.
func TestSide(t *testing.T) {
	in := raw("10.0.0.1", "10.0.0.2", be16(1), be16(2), byte(6), byte(tupleIn))
	out := raw("10.0.0.1", "10.0.0.2", be16(1), be16(2), byte(6), byte(0))
	svc := raw("10.0.0.1", "10.0.0.2", be16(1), be16(2), byte(6), byte(tupleService))
	for _, c := range []struct {
		key   []byte
		first uint64
		port  uint16
		want  release
	}{{in, 1, 0, 15}, {in, 0, 0, 16}, {out, 9, 0, 15}, {out, 0, 0, 0}, {svc, 0, 0, 0}, {svc, 1, 0, 0}, {out, 9, 80, 0}} {
		got, ok := ctRelease(ctLayouts[0], c.key, raw(c.first, 32, c.port, 14))
		if got != c.want || ok != (c.want != 0) {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

// FuzzEntries prints any bytes as entries of every kind: it never panics, and
// what is a line stays one.
func FuzzEntries(f *testing.F) {
	f.Add(uint8(14), raw("10.0.0.1", "10.0.0.2", be16(1), be16(2), byte(6), byte(tupleIn)), bytes.Repeat([]byte{1, 0xff}, 28))
	f.Add(uint8(19), bytes.Repeat([]byte{0xff}, 38), bytes.Repeat([]byte{0xff}, 56))
	f.Fuzz(func(t *testing.T, version uint8, key, value []byte) {
		f := format{release: release(oldest + version%(newest-oldest+1)), uptime: 1000, now: uint64(version)}
		sized := func(b []byte, n int) []byte { return append(bytes.Clone(b), make([]byte, n)...)[:n:n] }
		each := func(layouts []layout, do func(l layout, key, value []byte) []byte) {
			for _, l := range layouts {
				line := do(l, sized(key, l.key), sized(value, l.value))
				if i := bytes.IndexByte(line, '\n'); i >= 0 && i != len(line)-1 {
					t.Errorf("%q", line)
				}
			}
		}
		each(ctLayouts, func(l layout, k, v []byte) []byte { ctRelease(l, k, v); return f.appendCT(nil, l, k, v) })
		each(natLayouts, func(l layout, k, v []byte) []byte { return f.appendNAT(nil, l, k, v) })
		each(serviceLayouts, func(l layout, k, v []byte) []byte {
			b := map[uint32]backend{u32(v): {"[::]:1", v[0]}}
			return f.appendFrontend(f.appendService(f.appendServiceKey(nil, l, k), l, k, v, b), v)
		})
		each(backendLayouts, func(l layout, k, v []byte) []byte {
			readBackend(l, v)
			return f.appendBackend(word(nil, "", uint64(backendID(k))), l, v)
		})
		each(endpointLayouts, func(l layout, k, v []byte) []byte { return f.appendEndpoint(appendEndpointKey(nil, k), v) })
		each(ipcacheLayouts, func(l layout, k, v []byte) []byte { return f.appendIPCache(appendIPCacheKey(nil, k), l, v) })
	})
}
