package cilium

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"whichbackend/collect/bundle"
)

// recorded reads what was recorded of a node where Cilium ran: what its tool
// printed, and what bpftool dumped.
func recorded(t *testing.T, name, node string) map[string]string {
	t.Helper()
	f, err := os.Open(filepath.Join("../../fixtures", name, "bundle.tar.gz"))
	must(t, err)
	defer f.Close()
	r, err := bundle.Open(f.Name(), f, bundle.Limits{})
	must(t, err)
	defer r.Close()
	files := map[string]string{}
	for {
		e, err := r.Next()
		if err == io.EOF {
			return files
		}
		must(t, err)
		dir, file := filepath.Split(e.Path)
		if filepath.Base(dir) != node {
			continue
		}
		b, err := io.ReadAll(e)
		must(t, err)
		files[file] = string(b)
	}
}

// dumped reads bpftool map dump.
func dumped(t *testing.T, text string) (entries []kv) {
	t.Helper()
	var at *[]byte
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "key:":
			entries = append(entries, kv{})
			at = &entries[len(entries)-1].key
		case line == "value:":
			at = &entries[len(entries)-1].value
		case strings.HasPrefix(line, "Found"):
		default:
			b, err := hex.DecodeString(strings.ReplaceAll(line, " ", ""))
			must(t, err)
			*at = append(*at, b...)
		}
	}
	return entries
}

var le, be = binary.LittleEndian, binary.BigEndian

// rawCT makes entries of cilium bpf ct list -o json, which shows the fields of an
// entry as they lie in the map.
func rawCT(t *testing.T, text string, tcp bool) (entries []kv) {
	t.Helper()
	var all []struct {
		Key   rawTuple
		Value struct {
			RxPackets, RxBytes, TxPackets, TxBytes, Reserved0, BackendID, Packets, Bytes uint64
			Lifetime, SourceSecurityID, LastTxReport, LastRxReport                       uint32
			Flags, RevNAT, IfIndex                                                       uint16
			TxFlagsSeen, RxFlagsSeen                                                     byte
		}
	}
	must(t, json.Unmarshal([]byte(text), &all))
	for _, e := range all {
		if (e.Key.NextHeader == 6) != tcp {
			continue
		}
		v := e.Value
		var b []byte
		for _, n := range []uint64{v.RxPackets | v.Reserved0, v.RxBytes | v.BackendID, v.TxPackets | v.Packets, v.TxBytes | v.Bytes} {
			b = le.AppendUint64(b, n)
		}
		b = le.AppendUint32(b, v.Lifetime)
		b = le.AppendUint16(le.AppendUint16(le.AppendUint16(b, v.Flags), v.RevNAT), v.IfIndex)
		b = append(b, v.TxFlagsSeen, v.RxFlagsSeen)
		b = le.AppendUint32(le.AppendUint32(le.AppendUint32(b, v.SourceSecurityID), v.LastTxReport), v.LastRxReport)
		entries = append(entries, kv{e.Key.bytes(), b})
	}
	return entries
}

type rawTuple struct {
	DestAddr, SourceAddr []int
	DestPort, SourcePort uint16
	NextHeader, Flags    byte
}

func (k rawTuple) bytes() (b []byte) {
	for _, n := range append(k.DestAddr, k.SourceAddr...) {
		b = append(b, byte(n))
	}
	return append(le.AppendUint16(le.AppendUint16(b, k.DestPort), k.SourcePort), k.NextHeader, k.Flags)
}

func rawNAT(t *testing.T, text string) (entries []kv) {
	t.Helper()
	var all []struct {
		Key   rawTuple
		Value struct {
			Created, NeedsCT uint64
			Addr             []int
			Port             uint16
		}
	}
	must(t, json.Unmarshal([]byte(text), &all))
	for _, e := range all {
		b := le.AppendUint64(le.AppendUint64(nil, e.Value.Created), e.Value.NeedsCT)
		b = append(b, make([]byte, 16)...)
		for _, n := range e.Value.Addr {
			b = append(b, byte(n))
		}
		b = append(le.AppendUint16(b, e.Value.Port), 0, 0)
		entries = append(entries, kv{e.Key.bytes(), b})
	}
	return entries
}

// rows gives the parts of every row that match.
func rows(t *testing.T, text, pattern string, do func(f []string)) {
	t.Helper()
	re := regexp.MustCompile(pattern)
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for _, line := range lines[1:] {
		f := re.FindStringSubmatch(strings.TrimRight(line, " "))
		if f == nil {
			t.Fatalf("%q is not as %s", line, pattern)
		}
		do(f)
	}
}

func number[T uint8 | uint16 | uint32](s string) T {
	n, _ := strconv.ParseUint(s, 0, 64)
	return T(n)
}

func ip4(s string) []byte { return net.ParseIP(s).To4() }

func rawFrontends(t *testing.T, text string) (entries []kv) {
	rows(t, text, `^([\d.]+):(\d+)(/i)? \((\d+)\) +(\d+) (\d+) \((\d+)\) \[(\S+) (\S+)\]$`, func(f []string) {
		k := be.AppendUint16(ip4(f[1])[:4:4], number[uint16](f[2]))
		k = append(le.AppendUint16(k, number[uint16](f[4])), 0, byte(len(f[3])/2), 0, 0)
		v := le.AppendUint16(le.AppendUint32(nil, number[uint32](f[5])), number[uint16](f[6]))
		v = append(be.AppendUint16(v, number[uint16](f[7])), number[uint8](f[8]), number[uint8](f[9]), 0, 0)
		entries = append(entries, kv{k, v})
	})
	return entries
}

func rawBackends(t *testing.T, text, list string) (entries []kv) {
	rows(t, text, `^(\d+) +ANY://([\d.]+)$`, func(f []string) {
		p := regexp.MustCompile(` ` + regexp.QuoteMeta(f[2]) + `:(\d+) `).FindStringSubmatch(list)
		v := append(be.AppendUint16(ip4(f[2])[:4:4], number[uint16](p[1])), make([]byte, 6)...)
		entries = append(entries, kv{le.AppendUint32(nil, number[uint32](f[1])), v})
	})
	return entries
}

func rawRevNAT(t *testing.T, text string) (entries []kv) {
	rows(t, text, `^(\d+) +([\d.]+):(\d+)$`, func(f []string) {
		entries = append(entries, kv{be.AppendUint16(nil, number[uint16](f[1])), be.AppendUint16(ip4(f[2])[:4:4], number[uint16](f[3]))})
	})
	return entries
}

func rawEndpoints(t *testing.T, text string) (entries []kv) {
	rows(t, text, `^([\d.]+):0 +(?:(\(localhost\))|id=(\d+) +sec_id=(\d+) +flags=(\S+) ifindex=(\d+) +mac=(\S+) nodemac=(\S+))$`, func(f []string) {
		k, v := make([]byte, 20), make([]byte, 48)
		copy(k, ip4(f[1]))
		k[16] = familyIPv4
		le.PutUint32(v[8:], number[uint32](f[5]))
		if f[2] != "" {
			v[8] = ofHost
		}
		le.PutUint32(v, number[uint32](f[6]))
		le.PutUint16(v[6:], number[uint16](f[3]))
		mac, _ := net.ParseMAC(f[7])
		copy(v[16:], mac)
		mac, _ = net.ParseMAC(f[8])
		copy(v[24:], mac)
		le.PutUint32(v[32:], number[uint32](f[4]))
		entries = append(entries, kv{k, v})
	})
	return entries
}

func rawIPCache(t *testing.T, text string) (entries []kv) {
	rows(t, text, `^(\S+) +identity=(\d+) encryptkey=(\d+) tunnelendpoint=([\d.]+)(?:, flags=<none>)?$`, func(f []string) {
		p := netip.MustParsePrefix(f[1])
		k := append(le.AppendUint32(nil, uint32(32+p.Bits())), 0, 0, 0, familyIPv4)
		k = append(append(k, p.Addr().AsSlice()...), make([]byte, 12)...)
		v := append(le.AppendUint32(nil, number[uint32](f[2])), ip4(f[4])...)
		entries = append(entries, kv{k, append(v, 0, 0, number[uint8](f[3]), 0)})
	})
	return entries
}

var agoText = regexp.MustCompile(`Created=(\d+sec ago|\? \(raw \d+\))`)

// sorted is a listing without what time changes, its rows in an order of their own.
func sorted(text string) []string {
	lines := strings.Split(agoText.ReplaceAllString(text, "Created=N"), "\n")
	slices.Sort(lines)
	return lines
}

// TestRecorded makes the maps of recorded nodes, reads them, and sees the very
// text that the tool of that version printed of them.
func TestRecorded(t *testing.T) {
	for _, c := range []struct{ name, version string }{{"cilium-1.14", "1.14.16"}, {"cilium-1.16-socket-lb", "1.16.15"}} {
		for _, node := range []string{"node1", "node2"} {
			for _, told := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/%s/told=%v", c.name, node, told), func(t *testing.T) { testRecorded(t, recorded(t, c.name, node), c.version, told) })
			}
		}
	}
}

func testRecorded(t *testing.T, files map[string]string, version string, told bool) {
	n := newNode(t)
	json := files["cilium-bpf-ct-list-global.json"]
	tcp := dumped(t, files["bpftool-map-ct4-dump-hex.txt"])
	if a, b := keys(tcp), keys(rawCT(t, json, true)); !cmp.Equal(a, b) {
		t.Errorf("the dump in hexadecimal has other entries than the one in JSON:\n%s", cmp.Diff(a, b))
	}
	n.hash("cilium_ct4_global", tcp...)
	n.hash("cilium_ct_any4_global", rawCT(t, json, false)...)
	n.hash("cilium_snat_v4_external", rawNAT(t, files["cilium-bpf-nat-list.json"])...)
	n.hash("cilium_lb4_services_v2", rawFrontends(t, files["cilium-bpf-lb-list-frontends.txt"])...)
	n.hash("cilium_lb4_backends_v3", rawBackends(t, files["cilium-bpf-lb-list-backends.txt"], files["cilium-bpf-lb-list.txt"])...)
	n.hash("cilium_lb4_reverse_nat", rawRevNAT(t, files["cilium-bpf-lb-list-revnat.txt"])...)
	n.hash("cilium_lxc", rawEndpoints(t, files["cilium-bpf-endpoint-list.txt"])...)
	n.pin("cilium_ipcache", unix.BPF_MAP_TYPE_LPM_TRIE, 24, 12, 4096, rawIPCache(t, files["cilium-bpf-ipcache-list.txt"]))
	if told {
		n.agent(answers{"/v1/healthz": `{"cilium": {"msg": "` + version + ` (v` + version + `-0)"}, "clock-source": {"mode": "ktime"}}`})
	} else if strings.HasPrefix(version, "1.16") {
		n.hash("cilium_skip_lb4", kv{make([]byte, 16), make([]byte, 1)})
	}
	d := n.open()
	for name, open := range map[string]func() (io.ReadCloser, error){
		"ct-list-global": d.Connections, "nat-list": d.NAT, "lb-list": d.Services, "lb-list-frontends": d.Frontends,
		"lb-list-backends": d.Backends, "lb-list-revnat": d.RevNAT, "endpoint-list": d.Endpoints, "ipcache-list": d.IPCache,
	} {
		in, err := open()
		got, want := sorted(all(t, in, err)), sorted(files["cilium-bpf-"+name+".txt"])
		if !cmp.Equal(got, want) {
			t.Errorf("%s, -tool +here:\n%s", name, cmp.Diff(want, got))
		}
	}
}

func keys(entries []kv) (all []string) {
	for _, e := range entries {
		all = append(all, string(e.key))
	}
	slices.Sort(all)
	return all
}
