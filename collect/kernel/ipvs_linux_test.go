package kernel

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// ipvsTable is what a kernel with IPVS knows; the tests speak in its place.
type ipvsTable struct {
	services []ipvsService
	dests    map[string][]ipvsDest // by the service's key
}

func (k *ipvsTable) add(s ipvsService, dests ...ipvsDest) {
	if k.dests == nil {
		k.dests = map[string][]ipvsDest{}
	}
	k.services = append(k.services, s)
	k.dests[string(s.key())] = dests
}

func u16(n uint16) []byte { return binary.NativeEndian.AppendUint16(nil, n) }

func u32(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

const fakeID = 0x1b // a number as the kernel may give to IPVS

// answer is what the kernel says to a question: messages, and a piece of them
// at a time.
func (k *ipvsTable) answer(question []byte) (pieces [][]byte) {
	kind, command := binary.NativeEndian.Uint16(question[4:]), question[unix.NLMSG_HDRLEN]
	rest := question[unix.NLMSG_HDRLEN+genlLen:]
	done := spoken(unix.NLMSG_DONE, unix.NLM_F_MULTI, u32(0))
	switch {
	case kind == genlCtrl && string(rest) == string(attribute(nil, ctrlName, []byte("IPVS\x00"))):
		return [][]byte{spoken(genlCtrl, 0, []byte{1, 2, 0, 0}, part(ctrlName, []byte("IPVS\x00")...), part(ctrlFamilyID, u16(fakeID)...))}
	case kind == fakeID && command == ipvsGetInfo:
		return [][]byte{spoken(fakeID, 0, []byte{14, 1, 0, 0}, part(ipvsInfoVersion, u32(0x010201)...), part(ipvsInfoSize, u32(4096)...))}
	case kind == fakeID && command == ipvsGetService:
		for _, s := range k.services {
			more := slices.Concat(part(svcScheduler, []byte(s.scheduler+"\x00")...), part(svcFlags, slices.Concat(u32(s.flags), u32(1<<32-1))...),
				part(svcTimeout, u32(s.timeout)...), part(svcNetmask, s.netmask[:]...))
			if s.engine != "" {
				more = append(more, part(svcEngine, []byte(s.engine+"\x00")...)...)
			}
			pieces = append(pieces, spoken(fakeID, unix.NLM_F_MULTI, []byte{1, 1, 0, 0}, part(ipvsAttrService, append(s.key(), more...)...)))
		}
		return append(pieces, done)
	case kind == fakeID && command == ipvsGetDest:
		var all []byte // in one piece
		for _, d := range k.dests[string(rest[unix.NLA_HDRLEN:])] {
			all = append(all, spoken(fakeID, unix.NLM_F_MULTI, []byte{5, 1, 0, 0}, part(ipvsAttrDest, slices.Concat(
				part(destAddr, d.addr[:]...), part(destPort, byte(d.port>>8), byte(d.port)), part(destForward, u32(d.forward)...),
				part(destWeight, u32(uint32(d.weight))...), part(destActive, u32(d.active)...), part(destInactive, u32(d.inactive)...),
				part(destFamily, u16(d.family)...))...))...)
		}
		return [][]byte{append(all, done...)}
	}
	no := unix.ENOENT
	return [][]byte{spoken(unix.NLMSG_ERROR, 0, u32(uint32(-int32(no))))}
}

// list asks the table as IPVSServices asks the kernel.
func (k *ipvsTable) list(t *testing.T) (string, error) {
	t.Helper()
	l := &ipvsListing{dump: inPlace(t, k.answer)}
	defer l.Close()
	if err := l.dump.again(genlCtrl, 0, familyQuestion()); err != nil {
		t.Fatal(err)
	}
	if err := l.begin(); err != nil {
		return "", err
	}
	text, err := io.ReadAll(l)
	return string(text), err
}

func v4(a, b, c, d byte) [16]byte { return [16]byte{a, b, c, d} }

func v6(last byte) [16]byte { return [16]byte{0: 0xfd, 2: 0, 3: 0x10, 15: last} }

// The lines are ipvsadm 1.31's for the same services.
func TestIPVSServices(t *testing.T) {
	const tcp, udp, sctp = unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP
	host, bits := [4]byte{255, 255, 255, 255}, [4]byte(u32(128))
	k := &ipvsTable{}
	k.add(ipvsService{family: 2, protocol: sctp, addr: v4(10, 96, 0, 30), port: 36412, scheduler: "rr", netmask: host},
		ipvsDest{family: 2, addr: v4(10, 244, 2, 16), port: 36412, weight: 1, active: 1})
	k.add(ipvsService{family: 2, protocol: tcp, addr: v4(10, 96, 0, 100), port: 80, scheduler: "rr", flags: svcPersistent | 2, timeout: 10800, netmask: host},
		ipvsDest{family: 2, addr: v4(10, 244, 3, 12), port: 8080, weight: 0, active: 1},
		ipvsDest{family: 2, addr: v4(10, 244, 2, 11), port: 8080, weight: 1, active: 2, inactive: 5})
	k.add(ipvsService{family: 2, protocol: tcp, addr: v4(10, 96, 0, 99), port: 5060, scheduler: "wlc", flags: svcPersistent, timeout: 300,
		netmask: [4]byte{255, 255, 255, 0}, engine: "sip"})
	k.add(ipvsService{family: 2, protocol: udp, addr: v4(10, 96, 0, 20), port: 514, scheduler: "sh", flags: svcOnePacket | svcSched1 | svcSched2, netmask: host},
		ipvsDest{family: 2, addr: v4(10, 244, 2, 15), port: 514, weight: 1, forward: 1},
		ipvsDest{family: 2, addr: v4(10, 244, 2, 14), port: 514, weight: 2, forward: 2 | 1<<16},
		ipvsDest{family: 2, addr: v4(10, 244, 2, 13), port: 514, weight: 3, forward: 3})
	k.add(ipvsService{family: 10, protocol: tcp, addr: v6(0x64), port: 80, scheduler: "mh", flags: svcPersistent | svcSched3, timeout: 60, netmask: [4]byte(u32(64))},
		ipvsDest{family: 10, addr: [16]byte{0xfd, 0, 0, 0x10, 2, 0x44, 0, 1, 0xaa, 0xaa, 0xbb, 0xbb, 0xcc, 0xcc, 0xdd, 0xdd}, port: 8080, weight: 1},
		ipvsDest{family: 2, addr: v4(10, 244, 2, 14), port: 80, weight: 1, forward: 2})
	k.add(ipvsService{family: 10, fwmark: 300, scheduler: "rr", flags: svcPersistent, timeout: 60, netmask: bits},
		ipvsDest{family: 10, addr: v6(0xb), weight: 1})
	k.add(ipvsService{family: 2, fwmark: 256, scheduler: "rr", netmask: host})

	got, err := k.list(t)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.ReplaceAll(`IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  10.96.0.99:5060 wlc persistent 300 mask 255.255.255.0 pe sip
TCP  10.96.0.100:80 rr persistent 10800
  -> 10.244.2.11:8080             Masq    1      2          5         |
  -> 10.244.3.12:8080             Masq    0      1          0         |
UDP  10.96.0.20:514 sh (sh-fallback,sh-port) ops
  -> 10.244.2.13:514              Route   3      0          0         |
  -> 10.244.2.14:514              Tunnel  2      0          0         |
  -> 10.244.2.15:514              Local   1      0          0         |
SCTP 10.96.0.30:36412 rr
  -> 10.244.2.16:36412            Masq    1      1          0         |
TCP  [fd00:10::64]:80 mh (flag-3) persistent 60 mask 64
  -> [fd00:10:244:1:aaaa:bbbb:cccc:dddd]:8080 Masq    1      0          0         |
  -> 10.244.2.14:80               Tunnel  1      0          0         |
FWM  256 rr
FWM  300 IPv6 rr persistent 60
  -> [fd00:10::b]:0               Masq    1      0          0         |
`, "|\n", "\n")
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// Many services do not fit in a piece.
func TestIPVSServicesInPieces(t *testing.T) {
	k := &ipvsTable{}
	for i := range 2000 {
		k.add(ipvsService{family: 2, protocol: 6, addr: v4(10, 96, byte(i>>8), byte(i)), port: 80, scheduler: "rr"},
			ipvsDest{family: 2, addr: v4(10, 244, 0, 1), port: 80})
	}
	got, err := k.list(t)
	if n := strings.Count(got, "\n"); n != 3+2*2000 || err != nil {
		t.Errorf("%d lines, %v", n, err)
	}
}

// On a host without IPVS nothing is asked for, so that nothing is loaded.
func TestIPVSWithoutIPVS(t *testing.T) {
	if _, err := os.Stat("/proc/thread-self/net/ip_vs"); err == nil {
		t.Skip("this kernel has IPVS")
	}
	if r, err := IPVSServices(); r != nil || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("services: %v, %v", r, err)
	}
	if r, err := IPVSConnections(); r != nil || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("connections: %v, %v", r, err)
	}
}

func connections(t *testing.T, proc string) (string, error) {
	t.Helper()
	r, err := newIPVSConns(io.NopCloser(strings.NewReader(proc)))
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(r)
	return string(text), err
}

const connColumns = "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n"

func TestIPVSConnections(t *testing.T) {
	got, err := connections(t, connColumns+
		"TCP 0A000103 ED48 0A000105 0050 0A000106 0050 ESTABLISHED     893\n"+
		"TCP C0A8324D 9EA0 C0A8320A 7594 0AF4020B 1F90 TIME_WAIT         7\n"+
		"TCP 0A000103 0000 0A000105 0050 0A000106 0050 NONE          10790\n"+
		"SCTP 0A000103 8E3C 0A60001E 8E3C 0A000106 8E3C ESTABLISHED     899\n"+
		"UDP 0A000103 13C4 0A000105 13C4 0A000106 13C4 UDP             297 sip 12345@host\n"+
		"IP  0A000103 0000 0000012C 0000 0A000106 0000 NONE        73786976294838206\n"+
		"TCP fd00:0010:0000:0000:0000:0000:0000:000a C948 fd00:0010:0000:0000:0000:0000:0000:0064 0050 0AF4020B 0050 SYN_RECV         59\n")
	if err != nil {
		t.Fatal(err)
	}
	want := `IPVS connection entries
pro expire state       source             virtual            destination
TCP 14:53  ESTABLISHED 10.0.1.3:60744     10.0.1.5:80        10.0.1.6:80
TCP 00:07  TIME_WAIT   192.168.50.77:40608 192.168.50.10:30100 10.244.2.11:8080
TCP 179:50 NONE        10.0.1.3:0         10.0.1.5:80        10.0.1.6:80
SCTP 14:59  ESTABLISHED 10.0.1.3:36412     10.96.0.30:36412   10.0.1.6:36412
UDP 04:57  UDP         10.0.1.3:5060      10.0.1.5:5060      10.0.1.6:5060
IP  13171233:02 NONE        10.0.1.3:0         0.0.1.44:0         10.0.1.6:0
TCP 00:59  SYN_RECV    [fd00:10::a]:51528 [fd00:10::64]:80   10.244.2.11:80
`
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// A line that cannot be read ends the listing with it, and after what was read.
func TestIPVSConnectionsDamaged(t *testing.T) {
	const good = "TCP 0A000103 ED48 0A000105 0050 0A000106 0050 ESTABLISHED     893\n"
	for _, bad := range []string{"TCP 0A000103\n", "TCP F0A000103 ED48 0A000105 0050 0A000106 0050 ESTABLISHED 1\n",
		"TCP 0A000103 ED481 0A000105 0050 0A000106 0050 ESTABLISHED 1\n", strings.Repeat("x", 1<<17), good[:30]} {
		got, err := connections(t, connColumns+good+bad)
		if err == nil || !strings.Contains(err.Error(), "ip_vs_conn") || strings.Count(got, "\n") != 3 {
			t.Errorf("%.30q: %v\n%s", bad, err, got)
		}
	}
	if _, err := connections(t, ""); err == nil {
		t.Error("an empty file is a listing")
	}
}

// What a Swarm's kernel and its ipvsadm said, in each namespace of a node, must
// turn from the one into the other.
func TestIPVSRecorded(t *testing.T) {
	files := recorded(t)
	tried := 0
	for name, proc := range files {
		dir, ok := strings.CutSuffix(name, "/proc-net-ip_vs_conn.txt")
		if !ok {
			continue
		}
		tried++
		got, err := connections(t, proc)
		if d := cmp.Diff(withoutExpiry(files[dir+"/ipvsadm-Lnc.txt"]), withoutExpiry(got)); d != "" || err != nil {
			t.Errorf("%s: %v\n%s", dir, err, d)
		}
		got, err = tableOf(t, files[dir+"/proc-net-ip_vs.txt"]).list(t)
		if d := cmp.Diff(files[dir+"/ipvsadm-Ln.txt"], got); d != "" || err != nil {
			t.Errorf("%s: %v\n%s", dir, err, d)
		}
	}
	if tried < 5 {
		t.Errorf("%d namespaces", tried)
	}
}

// recorded gives what the fixture has of IPVS, by name.
func recorded(t *testing.T) map[string]string {
	t.Helper()
	f, err := os.Open("../../fixtures/swarm/bundle.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if base := path.Base(h.Name); strings.HasPrefix(base, "ipvsadm-L") || strings.HasPrefix(base, "proc-net-ip_vs") {
			b, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			files[h.Name] = string(b)
		}
	}
}

// withoutExpiry: the two were recorded one after the other.
func withoutExpiry(listing string) string {
	var out strings.Builder
	for line := range strings.Lines(listing) {
		if len(line) > 10 && line[6] == ':' {
			line = line[:4] + "MM:SS " + line[10:]
		}
		out.WriteString(line)
	}
	return out.String()
}

// tableOf reads the kernel's own list of services by firewall mark.
func tableOf(t *testing.T, proc string) *ipvsTable {
	t.Helper()
	k := &ipvsTable{}
	for line := range strings.Lines(proc) {
		var s ipvsService
		var d ipvsDest
		var forward string
		var addr uint32
		if n, _ := fmt.Sscanf(line, "FWM %x %s", &s.fwmark, &s.scheduler); n == 2 {
			s.family = unix.AF_INET
			k.add(s)
		}
		if n, _ := fmt.Sscanf(line, "  -> %X:%X %s %d %d %d", &addr, &d.port, &forward, &d.weight, &d.active, &d.inactive); n == 6 {
			d.family = unix.AF_INET
			binary.BigEndian.PutUint32(d.addr[:], addr)
			d.forward = uint32(slices.Index(ipvsForward[:], forward))
			key := string(k.services[len(k.services)-1].key())
			k.dests[key] = append(k.dests[key], d)
		}
	}
	return k
}

func FuzzIPVS(f *testing.F) {
	f.Add([]byte("TCP 0A000103 ED48 0A000105 0050 0A000106 0050 ESTABLISHED     893\n"))
	f.Add(part(svcFlags, 1, 0, 0, 0, 1, 0, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, d := readService(b), readDest(b, unix.AF_INET)
		text := d.append(s.append(nil))
		if n := bytes.Count(text, []byte("\n")); n < 2 {
			t.Errorf("%q", text)
		}
		appendConn(nil, b)
	})
}

// Where the kernel stops in the middle, the listing ends with its reason.
func TestIPVSServicesRefused(t *testing.T) {
	k := &ipvsTable{}
	k.add(ipvsService{family: 2, fwmark: 256, scheduler: "rr"})
	no := unix.EPERM
	for refused, lines := range map[byte]int{ctrlGetFamily: 0, ipvsGetInfo: 0, ipvsGetService: 0, ipvsGetDest: 4} {
		l := &ipvsListing{dump: inPlace(t, func(question []byte) [][]byte {
			if question[unix.NLMSG_HDRLEN] == refused {
				return [][]byte{spoken(unix.NLMSG_ERROR, 0, u32(uint32(-int32(no))))}
			}
			return k.answer(question)
		})}
		if err := l.dump.again(genlCtrl, 0, familyQuestion()); err != nil {
			t.Fatal(err)
		}
		err := l.begin()
		var text []byte
		if err == nil {
			text, err = io.ReadAll(l)
		}
		if !errors.Is(err, fs.ErrPermission) || bytes.Count(text, []byte("\n")) != lines {
			t.Errorf("command %d: %v\n%s", refused, err, text)
		}
	}
}
