package kernel

import (
	"encoding/binary"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// rules translate, mark, and put into zones.
const rules = `
table ip t {
	chain raw {
		type filter hook output priority raw
		udp dport 7001 ct zone set 7
		udp dport 7002 ct original zone set 8
	}
	chain marks {
		type filter hook output priority mangle
		tcp dport 9001 ct mark set 0xfffffff0
	}
	chain out {
		type nat hook output priority -100
		ip daddr 10.1.0.9 tcp dport 80 dnat to 10.1.0.3:9001
		ip daddr 10.1.0.9 udp dport 53 dnat to 10.1.0.3:7003
	}
	chain post {
		type nat hook postrouting priority srcnat
		ip saddr 10.1.0.2 masquerade
	}
}
table ip6 t {
	chain out {
		type nat hook output priority -100
		ip6 daddr fd00::9 tcp dport 80 dnat to [fd00::3]:9001
	}
	chain marks {
		type filter hook output priority mangle
		meta l4proto ipv6-icmp ct mark set 6
	}
}
`

// traffic makes one of each kind of entry that the tool has a form for.
func traffic(t *testing.T) {
	t.Helper()
	for _, a := range []string{"10.1.0.1/32", "10.1.0.2/32", "10.1.0.3/32", "10.1.0.9/32", "fd00::2/128", "fd00::3/128", "fd00::9/128"} {
		command(t, "ip", "addr", "add", a, "dev", "lo", "nodad")
	}
	for end := time.Now().Add(10 * time.Second); strings.Count(command(t, "ip", "-6", "route", "show", "table", "local"), "local fd00::") < 3; {
		if time.Now().After(end) { // the kernel makes these routes a little later
			t.Fatal("the addresses of IPv6 have no routes")
		}
	}
	for _, a := range []string{"10.1.0.3:9001", "[fd00::3]:9001"} {
		l, err := net.Listen("tcp", a)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
	}
	for _, c := range [][3]string{
		{"tcp4", "10.1.0.1:0", "10.1.0.3:9001"}, {"tcp4", "10.1.0.2:0", "10.1.0.3:9001"}, {"tcp4", "10.1.0.2:0", "10.1.0.9:80"},
		{"tcp6", "[fd00::2]:0", "[fd00::3]:9001"}, {"tcp6", "[fd00::2]:0", "[fd00::9]:80"},
		{"udp4", "10.1.0.1:0", "10.1.0.3:7001"}, {"udp4", "10.1.0.1:0", "10.1.0.3:7002"}, {"udp4", "10.1.0.1:0", "10.1.0.9:53"},
		{"udp6", "[fd00::2]:0", "[fd00::3]:7001"},
	} {
		dial(t, c[0], c[1], c[2])
	}
	raw(t, unix.IPPROTO_ICMP, "10.1.0.3", []byte{8, 0, 0xf7, 0xf4, 0, 11, 0, 0})
	raw(t, unix.IPPROTO_ICMPV6, "fd00::3", []byte{128, 0, 0, 0, 0, 12, 0, 0})
	raw(t, 47, "10.1.0.3", []byte{0, 0, 8, 0})
	raw(t, 253, "10.1.0.3", []byte("nothing that is known"))
	for _, line := range []string{
		"-p tcp --sport 1 --dport 2 -s 10.2.0.1 -d 10.2.0.2 --state LAST_ACK -t 1000 -w 9",
		"-p tcp --sport 1 --dport 2 -s 10.2.0.1 -d 10.2.0.2 --state ESTABLISHED -u SEEN_REPLY,ASSURED -t 432000",
		"-p udplite --sport 1 --dport 2 -s 10.2.0.1 -d 10.2.0.2 -t 1000",
		"-p sctp --sport 1 --dport 2 -s 10.2.0.1 -d 10.2.0.2 --state COOKIE_ECHOED --orig-vtag 1 --reply-vtag 2 -t 1000",
		"-p dccp --sport 1 --dport 2 -s 10.2.0.1 -d 10.2.0.2 --state OPEN --role client -t 1000",
		"-p gre --srckey 0xab --dstkey 0x1f -s 10.2.0.1 -d 10.2.0.2 -t 1000",
		"-p tcp --sport 1 --dport 2 -s ::1.2.3.4 -d ::1 --state SYN_SENT -t 1000 -m 4294967295",
		"-p tcp --sport 1 --dport 2 -s ::ffff:1.2.3.4 -d ::ffff:0:0 --state SYN_RECV -t 1000",
		"-p udp --sport 1 --dport 2 -s 1:0:0:2:0:0:0:3 -d 1:0:2:0:3:0:4:0 -t 1000",
	} {
		command(t, append([]string{"conntrack", "-I"}, strings.Fields(line)...)...)
	}
}

// dial opens a connection that lasts as long as the test. A datagram may come
// to nobody.
func dial(t *testing.T, network, from, to string) {
	t.Helper()
	d := net.Dialer{}
	if network[:3] == "tcp" {
		a, err := net.ResolveTCPAddr(network, from)
		if err != nil {
			t.Fatal(err)
		}
		d.LocalAddr = a
	} else {
		a, err := net.ResolveUDPAddr(network, from)
		if err != nil {
			t.Fatal(err)
		}
		d.LocalAddr = a
	}
	c, err := d.Dial(network, to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if network[:3] == "udp" {
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
	}
}

// raw sends one packet of a protocol.
func raw(t *testing.T, proto int, to string, payload []byte) {
	t.Helper()
	ip := net.ParseIP(to)
	family, addr := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: [16]byte(ip.To16())})
	if ip.To4() != nil {
		family, addr = unix.AF_INET, &unix.SockaddrInet4{Addr: [4]byte(ip.To4())}
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, payload, 0, addr); err != nil {
		t.Fatal(err)
	}
}

var (
	timeout = regexp.MustCompile(`(?m)^(\S+ +\d+ \S+ +\d+) \d+ `)
	counted = regexp.MustCompile(`(packets|bytes|delta-time|use)=\d+`)
)

// still gives the lines of a listing in an order, without what time changes.
func still(listing string) []string {
	lines := strings.Split(counted.ReplaceAllString(timeout.ReplaceAllString(listing, "$1 T "), "$1=N"), "\n")
	slices.Sort(lines)
	return lines
}

// What the tool prints before and after must be what is listed in between.
func TestConntrackIsTheTools(t *testing.T) {
	for _, on := range []string{"0", "1"} {
		t.Run("accounting "+on, func(t *testing.T) {
			ownNamespace(t, "conntrack", "nft")
			for _, name := range []string{"acct", "timestamp"} {
				if err := os.WriteFile("/proc/sys/net/netfilter/nf_conntrack_"+name, []byte(on), 0); err != nil {
					t.Fatal(err)
				}
			}
			command(t, "nft", rules)
			traffic(t)
			before := command(t, "conntrack", "-L", "-o", "extended,id")
			r, err := Conntrack()
			ours := all(t, r, err)
			count, err := ConntrackCount()
			if err != nil {
				t.Fatal(err)
			}
			after := command(t, "conntrack", "-L", "-o", "extended,id")

			if d := cmp.Diff(still(before), still(ours)); d != "" {
				t.Errorf("before is -, listed is +\n%s", d)
			}
			if d := cmp.Diff(still(after), still(ours)); d != "" {
				t.Errorf("after is -, listed is +\n%s", d)
			}
			if n := strings.Count(ours, "\n"); n != count {
				t.Errorf("the kernel counts %d, %d are listed", count, n)
			}
			has := map[string]bool{"packets=": on == "1", "delta-time=": on == "1"}
			for _, part := range []string{" ESTABLISHED ", "[UNREPLIED]", "[ASSURED]", "zone=7", "zone-orig=8", "mark=4294967280", "mark=6 ",
				" id=", "icmp ", "icmpv6 ", "gre ", "unknown  253 ", "udplite ", "sctp ", "dccp ", "LAST_ACK", "src=::1.2.3.4 dst=::1 ", "src=::ffff:1.2.3.4 dst=::ffff:0.0.0.0 "} {
				has[part] = true
			}
			for part, want := range has {
				if strings.Contains(ours, part) != want {
					t.Errorf("%q is listed: %v, wanted %v\n%s", part, !want, want, ours)
				}
			}
		})
	}
}

func TestConntrackStatsIsTheTools(t *testing.T) {
	ownNamespace(t, "conntrack")
	command(t, "conntrack", "-I", "-p", "udp", "--sport", "1", "--dport", "2", "-s", "10.2.0.1", "-d", "10.2.0.2", "-t", "1000")
	want := command(t, "conntrack", "-S")
	r, err := ConntrackStats()
	got := all(t, r, err)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("the tool's is -\n%s", d)
	}
	if !strings.Contains(got, "insert=") {
		t.Errorf("counts nothing: %q", got)
	}
}

// A listing, once opened, is of the namespace that its opener was in.
func TestConntrackOfTheOpenersNamespace(t *testing.T) {
	ownNamespace(t, "conntrack")
	command(t, "conntrack", "-I", "-p", "udp", "--sport", "1", "--dport", "2", "-s", "10.2.0.1", "-d", "10.2.0.2", "-t", "1000")
	r, err := Conntrack()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	if text := all(t, r, err); strings.Count(text, "\n") != 1 {
		t.Errorf("listed %q, wanted one entry", text)
	}
	if n, err := ConntrackCount(); n != 0 || err != nil {
		t.Errorf("the new namespace has %d entries, %v", n, err)
	}
}

// nest appends an attribute of attributes.
func nest(kind uint16, inner ...[]byte) []byte {
	return attribute(nil, kind|unix.NLA_F_NESTED, slices.Concat(inner...))
}

func part(kind uint16, payload ...byte) []byte { return attribute(nil, kind, payload) }

func be(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

func be64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// direction is a tuple from 10.0.0.1, port 1234, to 10.0.0.2, port 80.
func direction(kind uint16, proto byte, more ...[]byte) []byte {
	return nest(kind, nest(ctaTupleIP, part(ctaV4Src, 10, 0, 0, 1), part(ctaV4Dst, 10, 0, 0, 2)),
		nest(ctaTupleProto, part(ctaProtoNum, proto), part(ctaProtoSrcPort, 4, 210), part(ctaProtoDstPort, 0, 80)), slices.Concat(more...))
}

// What no test here can make the kernel say; the lines are libnetfilter_conntrack
// 1.0.9's for the same messages.
func TestConntrackRow(t *testing.T) {
	const ends = "src=10.0.0.1 dst=10.0.0.2 sport=1234 dport=80"
	for _, c := range []struct {
		family byte
		body   [][]byte
		want   string
	}{
		{2, [][]byte{direction(1, 6), direction(2, 6), part(ctaStatus, be(ipsSeenReply|ipsAssured|ipsOffload)...)},
			"ipv4     2 tcp      6 " + ends + " " + ends + " [OFFLOAD]"},
		{2, [][]byte{direction(1, 17), direction(2, 17), part(ctaStatus, be(ipsSeenReply|ipsOffload|ipsHWOffload)...), part(ctaMark, be(0)...)},
			"ipv4     2 udp      17 " + ends + " " + ends + " [HW_OFFLOAD] mark=0"},
		{2, [][]byte{direction(1, 255), direction(2, 6), part(ctaID, be(7)...), part(ctaStatus, be(0)...), part(ctaZone, 0, 7),
			nest(ctaSecctx, part(1, []byte("system_u:object_r:unlabeled_t:s0\x00")...)), nest(ctaHelp, part(1, []byte("ftp\x00")...)), part(ctaSecmark, be(2)...)},
			"ipv4     2 unknown  255 src=10.0.0.1 dst=10.0.0.2 [UNREPLIED] " + ends +
				" secmark=2 secctx=system_u:object_r:unlabeled_t:s0 zone=7 helper=ftp id=7"},
		{2, [][]byte{direction(1, 33), direction(2, 33), part(ctaTimeout, be(10)...), nest(ctaProtoinfo, nest(2, part(1, 4)))},
			"ipv4     2 dccp     33 10 OPEN " + ends + " " + ends},
		{2, [][]byte{direction(1, 132), direction(2, 132), nest(ctaProtoinfo, nest(3, part(1, 9)))},
			"ipv4     2 sctp     132 HEARTBEAT_ACKED " + ends + " " + ends},
		{2, [][]byte{direction(1, 6), direction(2, 6), nest(ctaProtoinfo, nest(1, part(1, 10)))},
			"ipv4     2 tcp      6 NONE " + ends + " " + ends},
		{2, [][]byte{direction(1, 47), direction(2, 47), nest(ctaTimestamp, part(1, be64(1000e9)...), part(2, be64(1500e9)...))},
			"ipv4     2 gre      47 src=10.0.0.1 dst=10.0.0.2 srckey=0x4d2 dstkey=0x50 src=10.0.0.1 dst=10.0.0.2 srckey=0x4d2 dstkey=0x50 delta-time=500"},
		{2, [][]byte{direction(1, 6, part(ctaTupleZone, 0, 8)), direction(2, 6, part(ctaTupleZone, 0, 9)),
			nest(ctaCountersOrig, part(1, be64(1<<63)...), part(2, be64(1<<40)...)), nest(ctaCountersReply, part(3, be(5)...), part(4, be(6)...))},
			"ipv4     2 tcp      6 " + ends + " zone-orig=8 packets=9223372036854775808 bytes=1099511627776 " + ends + " zone-reply=9 packets=5 bytes=6"},
		{7, [][]byte{direction(1, 6), direction(2, 6)}, "unknown  7 tcp      6 sport=1234 dport=80 sport=1234 dport=80"},
		{10, [][]byte{nest(1, nest(ctaTupleProto, part(1, 6))), nest(2, nest(ctaTupleProto, part(1, 6)))},
			"ipv6     10 tcp      6 src=:: dst=:: sport=0 dport=0 src=:: dst=:: sport=0 dport=0"},
	} {
		got, err := conntrackRow([]byte("x"), ctnetlink, append([]byte{c.family, 0, 0, 0}, slices.Concat(c.body...)...))
		if err != nil {
			t.Error(err)
		}
		if d := cmp.Diff("x"+c.want+"\n", string(got)); d != "" {
			t.Error(d)
		}
	}
}

func TestConntrackStatsRow(t *testing.T) {
	got, err := conntrackStatsRow(nil, 0, slices.Concat([]byte{0, 0, 1, 2}, part(1, be(3)...), part(15, be(1<<32-1)...), part(16, be(9)...)))
	if err != nil || string(got) != "cpu=258 \tsearched=3 chaintoolong=4294967295 \n" {
		t.Errorf("%q, %v", got, err)
	}
}

// A message may be anything; a row of it is one line.
func FuzzConntrackRow(f *testing.F) {
	f.Add(slices.Concat([]byte{2, 0, 0, 0}, direction(1, 6), direction(2, 1), nest(ctaCountersOrig, part(1, 1)), nest(ctaTimestamp, part(1, be64(1)...))))
	f.Add([]byte{10, 0, 0})
	f.Add([]byte{10, 0, 0, 0, 8, 0, 1, 0x80, 0xff, 0xff, 1, 0x80})
	f.Fuzz(func(t *testing.T, body []byte) {
		out, err := conntrackRow(nil, 0, body)
		if err == nil && (len(out) == 0 || out[len(out)-1] != '\n') {
			t.Errorf("no line: %q", out)
		}
		if _, err := conntrackStatsRow(nil, 0, body); err == nil && len(body) < nfgenLen {
			t.Error("a short message has a row")
		}
	})
}

// In the steady state a row costs no allocation.
func TestConntrackRowAllocates(t *testing.T) {
	body := slices.Concat([]byte{2, 0, 0, 0}, direction(1, 6), direction(2, 6), nest(ctaProtoinfo, nest(1, part(1, 3))), part(ctaStatus, be(6)...))
	out := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { out, _ = conntrackRow(out[:0], 0, body) }); n != 0 {
		t.Errorf("%s allocations a row", strconv.FormatFloat(n, 'g', 3, 64))
	}
}
