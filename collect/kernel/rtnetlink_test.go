//go:build linux

package kernel

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// inOwnNamespace runs f on a thread in a network namespace and a mount
// namespace of its own, and the commands that f runs with it. The thread ends
// with f, and the namespaces with it.
func inOwnNamespace(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	_, err := exec.LookPath("ip")
	if os.Geteuid() != 0 || err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("CI runs this as root, with ip installed")
		}
		t.Skip("needs root and ip")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked
		if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
			t.Error(err)
			return
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Error(err)
			return
		}
		f(t)
	}()
	<-done
}

// ip runs ip with the words of each line.
func ip(t *testing.T, lines string) {
	t.Helper()
	for _, line := range strings.Split(strings.TrimSpace(lines), "\n") {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			t.Errorf("ip %s: %v: %s", strings.TrimSpace(line), err, out)
		}
	}
}

// ipMay runs ip for what not every kernel has.
func ipMay(t *testing.T, lines string) {
	t.Helper()
	for _, line := range strings.Split(strings.TrimSpace(lines), "\n") {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			t.Logf("not here: ip %s: %s", strings.TrimSpace(line), bytes.TrimSpace(out))
		}
	}
}

// printed is what ip prints.
func printed(t *testing.T, words ...string) string {
	t.Helper()
	cmd := exec.Command("ip", words...)
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("ip %s: %v", strings.Join(words, " "), err)
	}
	return string(out)
}

// listed is what we print.
func listed(t *testing.T, open func() (io.ReadCloser, error)) string {
	t.Helper()
	r, err := open()
	if err != nil {
		t.Error(err)
		return ""
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

// agree compares our text with ip's, which may be of another moment: a third
// look tells what changed by itself from what differs.
func agree(t *testing.T, open func() (io.ReadCloser, error), want func() string) string {
	t.Helper()
	var diff, got string
	for range 5 {
		before := want()
		got = listed(t, open)
		after := want()
		if diff = cmp.Diff(before, got); diff == "" || cmp.Diff(after, got) == "" {
			return got
		}
	}
	t.Errorf("ip and we differ (-ip +we):\n%s", diff)
	return got
}

const wideSetup = `
	link set lo up
	link add a0 type veth peer name b0
	link add br0 type bridge
	link set a0 master br0
	link set br0 up
	link set b0 up
	link add vx0 type vxlan id 42 dstport 4789 remote 10.0.0.2 local 10.0.0.1
	link add ifb7 type ifb
	link set vx0 up
	link property add dev br0 altname the-first-bridge altname br-other
	link set ifb7 alias a-word
	link set ifb7 group 7
	link set ifb7 txqueuelen 5
	link set b0 arp off promisc on
	addr add 10.0.0.1/24 brd + dev br0
	addr add 10.0.0.7/24 brd + dev br0 label br0:one
	addr add 10.0.9.1 peer 10.0.9.2/30 dev br0 metric 77
	addr add 10.0.8.1/24 dev br0 scope link noprefixroute
	addr add 10.0.6.1/24 dev br0 scope 77
	addr add 10.0.7.1/24 dev br0 valid_lft 4000000 preferred_lft 3000000
	addr add fd00:1::1/64 dev br0 nodad
	addr add fd00:2::1/64 dev br0 nodad noprefixroute home
	addr add fd00:3::1 peer fd00:3::2/64 dev br0 nodad
	addr add fd00:4::1/64 dev br0 nodad valid_lft 4000000 preferred_lft 0
	addr add ::1:2/127 dev br0 nodad
`

const wideMay = `
	link add v1 link b0 type vlan id 5
	link add d0 type dummy
	link add mv0 link b0 type macvlan mode bridge
	link add iv0 link b0 type ipvlan
	tuntap add dev tun0 mode tun
	tuntap add dev tap0 mode tap
	link add gnv0 type geneve id 5 remote 10.0.0.2
	link add gre7 type gre remote 10.0.0.9 local 10.0.0.1
	link add sit7 type sit remote 10.0.0.9
	link add gre67 type ip6gre remote fd00::9
	link add vrf0 type vrf table 100
	link add bond0 type bond
	addr add 10.77.0.1 peer 10.77.0.2/32 dev tun0
	link set tun0 up
`

func TestAddresses(t *testing.T) {
	inOwnNamespace(t, func(t *testing.T) {
		want := func() string { return printed(t, "addr") }
		agree(t, Addresses, want)
		ip(t, wideSetup)
		ipMay(t, wideMay)
		agree(t, Addresses, want)

		// A link whose other end is in another namespace: first one without a
		// name, then one with.
		other := exec.Command("unshare", "-n", "cat")
		hold, err := other.StdinPipe()
		if err != nil {
			t.Error(err)
			return
		}
		ready, err := other.StdoutPipe()
		if err != nil {
			t.Error(err)
			return
		}
		if err := other.Start(); err != nil {
			t.Error(err)
			return
		}
		defer other.Wait()
		defer hold.Close()
		hold.Write([]byte("x"))
		ready.Read(make([]byte, 1)) // cat runs, and so the namespace is there
		pid := rtNumber(nil, "", uint32(other.Process.Pid), "")
		ip(t, "link add e0 type veth peer name e1 netns "+string(pid))
		if got := agree(t, Addresses, want); !strings.Contains(got, " link-netnsid 0\n") {
			t.Errorf("no link-netnsid in\n%s", got)
		}
		for _, dir := range []string{"/run", "/run/netns"} {
			if dir == "/run" {
				err = unix.Mount("tmpfs", dir, "tmpfs", 0, "")
			} else {
				err = os.Mkdir(dir, 0o755)
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
		ip(t, "netns attach other "+string(pid)+"\nnetns add third")
		if err := unix.Mkfifo("/run/netns/hostile", 0o600); err != nil {
			t.Error(err)
		}
		if got := listed(t, Addresses); !strings.Contains(got, " link-netns other\n") {
			t.Errorf("no link-netns in\n%s", got)
		}
		os.Remove("/run/netns/hostile")
		agree(t, Addresses, want)
	})
}

func TestRoutes(t *testing.T) {
	inOwnNamespace(t, func(t *testing.T) {
		ip(t, wideSetup)
		ip(t, `
			link set a0 up
			route add default via 10.0.0.254 dev br0
			route add 10.10.0.0/16 via 10.0.0.5 proto static metric 50 src 10.0.0.7 mtu 1400 advmss 1300
			route add 10.11.0.0/16 via 10.0.0.5 mtu lock 1400 rtt 2000ms rttvar 100ms window 7 hoplimit 3 initcwnd 10 rto_min 1500ms quickack 1 congctl reno features ecn
			route add 10.12.0.0/16 tos 0x28 via 10.0.0.5 proto bird
			route add 10.12.0.0/16 tos 0x04 via 10.0.0.5 proto 177
			route add 10.13.0.0/16 realm 5 via 10.0.0.5 proto dhcp
			route add 10.13.1.0/24 realm 4/5 via 10.0.0.5 proto bgp
			route add 10.14.0.0/16 via inet6 fe80::1 dev br0 proto ra
			route add 10.15.0.0/16 via 10.99.0.1 dev br0 onlink
			route add 10.16.0.0/16 nexthop via 10.0.0.5 weight 2 nexthop via 10.0.0.6 dev br0 weight 256 nexthop via inet6 fe80::2 dev br0
			route add blackhole 10.17.0.0/16
			route add unreachable 10.18.0.0/16 metric 9
			route add prohibit 10.19.0.0/16
			route add throw 10.20.0.0/16 table 2004
			route add local 0.0.0.0/0 dev lo table 2004
			route add default dev br0 table 100 scope link
			route add broadcast 10.21.0.255 dev br0 table 300
			nexthop add id 1 via 10.0.0.5 dev br0
			nexthop add id 2 via 10.0.0.6 dev br0
			nexthop add id 3 group 1/2,5
			nexthop add id 4 blackhole
			route add 10.22.0.0/16 nhid 1
			route add 10.23.0.0/16 nhid 3
			route add 10.24.0.0/16 nhid 4
			-6 route add default via fe80::9 dev br0 metric 1000 pref high
			-6 route add fd10::/64 via fd00:1::5 proto static mtu 1300
			-6 route add fd11::/64 nexthop via fd00:1::5 nexthop via fd00:1::6 weight 3
			-6 route add blackhole fd12::/64
			-6 route add unreachable fd13::/64 metric 4294967295
			-6 route add fd14::/64 via fd00:1::5 table 300 pref low
			-6 route add ::2:0/112 dev br0
			-6 route add local ::/0 dev lo table 2004
		`)
		ipMay(t, `
			route add 10.25.0.0/16 encap ip id 42 dst 10.0.0.3 ttl 7 key dev br0
			route add 10.26.0.0/16 encap mpls 100/200 ttl 9 via 10.0.0.9
			-6 route add fd15::/64 from fd00:2::/64 via fd00:1::5
			-6 route add fd16::/64 encap seg6 mode encap segs fd00::1,fd00::2 dev br0
			-6 route add fd17::/64 encap ip6 id 9 dst fd00::3 hoplimit 4 dev br0
			-6 route add fd18::/64 via fd00:1::5 expires 100000
		`)
		got := agree(t, Routes, func() string { return printed(t, "route", "show", "table", "all") })
		for _, want := range []string{"\tnexthop via 10.0.0.6 dev br0 weight 256 \n", "local default dev lo table 2004 ", "blackhole 10.17.0.0/16 \n", "pref medium\n"} {
			if !strings.Contains(got, want) {
				t.Errorf("no %q in\n%s", want, got)
			}
		}
		ip(t, "link set b0 down")
		agree(t, Routes, func() string { return printed(t, "route", "show", "table", "all") })
	})
}

func TestNeighbours(t *testing.T) {
	inOwnNamespace(t, func(t *testing.T) {
		ip(t, wideSetup)
		ip(t, `
			neigh add 10.0.0.20 lladdr 02:00:00:00:00:20 dev br0
			neigh add 10.0.0.21 lladdr 02:00:00:00:00:21 dev br0 nud reachable
			neigh add 10.0.0.22 lladdr 02:00:00:00:00:22 dev br0 nud stale protocol bgp
			neigh add 10.0.0.23 dev br0 nud failed
			neigh add 10.0.0.24 lladdr 02:00:00:00:00:24 dev br0 nud noarp
			neigh add 10.0.0.25 lladdr 02:00:00:00:00:25 dev br0 nud noarp extern_learn
			neigh add 10.0.0.26 lladdr 02:00:00:00:00:26 dev br0 extern_learn
			neigh add proxy 10.0.0.30 dev br0
			neigh add fd00:1::20 lladdr 02:00:00:00:00:20 dev br0 router
			neigh add fd00:1::21 lladdr 02:00:00:00:00:21 dev br0 nud stale
			neigh add 10.244.1.0 lladdr 02:00:00:00:01:00 dev vx0
		`)
		ipMay(t, "neigh add 10.0.0.27 dev br0 managed")
		got := agree(t, Neighbours, func() string { return printed(t, "neigh") })
		if !strings.Contains(got, "10.0.0.22 dev br0 lladdr 02:00:00:00:00:22 STALE proto bgp \n") {
			t.Errorf("got\n%s", got)
		}
	})
}

func TestRules(t *testing.T) {
	inOwnNamespace(t, func(t *testing.T) {
		want := func() string { return printed(t, "rule") + printed(t, "-6", "rule") }
		agree(t, Rules, want)
		ip(t, wideSetup)
		ip(t, `
			rule add fwmark 0x200/0xf00 pref 9 lookup 2004
			rule add fwmark 0xa pref 10 lookup 100 protocol static
			rule add fwmark 0/0xff pref 11 lookup 100
			rule add not from 10.0.0.0/8 to 10.1.2.3 pref 12 tos 0x10 lookup 300
			rule add from 10.0.0.1 iif lo oif br0 ipproto tcp sport 7 dport 80-90 pref 13 goto 32766
			rule add iif gone0 pref 14 blackhole
			rule add oif gone1 uidrange 1000-2000 pref 15 unreachable
			rule add to 0/8 pref 16 prohibit
			rule add pref 17 nop
			rule add pref 18 goto 20000
			rule add pref 19 lookup main suppress_prefixlength 0
			rule add pref 20 lookup main suppress_ifgroup 7
			rule add pref 21 from 10.3.0.0/16 realms 3/4 lookup main
			rule add pref 22 ipproto 200 lookup default
			rule add pref 23 tun_id 42 lookup 7
			-6 rule add fwmark 0x200/0xf00 pref 9 lookup 2004
			-6 rule add from fd00::/16 to fd01::1 pref 12 lookup 300
			-6 rule add pref 13 ipproto udp lookup 300
		`)
		ipMay(t, "rule add pref 24 l3mdev\n-6 rule del pref 0")
		got := agree(t, Rules, want)
		if !strings.Contains(got, "9:\tfrom all fwmark 0x200/0xf00 lookup 2004\n") {
			t.Errorf("got\n%s", got)
		}
	})
}

// TestRowsBearAnything cuts real messages everywhere and turns their bytes over.
func TestRowsBearAnything(t *testing.T) {
	inOwnNamespace(t, func(t *testing.T) {
		ip(t, wideSetup)
		ip(t, `
			link set a0 up
			route add 10.16.0.0/16 nexthop via 10.0.0.5 weight 2 nexthop via inet6 fe80::2 dev br0
			route add 10.11.0.0/16 realm 4/5 via 10.0.0.5 mtu lock 1400 congctl reno features ecn
			neigh add 10.0.0.22 lladdr 02:00:00:00:00:22 dev br0 nud stale protocol bgp
			rule add from 10.0.0.1 iif lo oif br0 uidrange 1-2 ipproto tcp sport 7 dport 80-90 pref 13 goto 32766
		`)
		ipMay(t, `
			route add 10.25.0.0/16 encap ip id 42 dst 10.0.0.3 ttl 7 key dev br0
			-6 route add fd16::/64 encap seg6 mode encap segs fd00::1,fd00::2 dev br0
		`)
		routes, neighbours, lines := routePrinter{}, neighbourPrinter{}, linkPrinter{}
		var a rtAttrs
		tables := []struct {
			ask, size int
			row       func(body []byte)
		}{
			{unix.RTM_GETROUTE, unix.SizeofRtMsg, func(b []byte) { routes.row(nil, unix.RTM_NEWROUTE, b) }},
			{unix.RTM_GETNEIGH, unix.SizeofNdMsg, func(b []byte) { neighbours.row(nil, unix.RTM_NEWNEIGH, b) }},
			{unix.RTM_GETRULE, unix.SizeofRtMsg, func(b []byte) { appendRule(nil, b) }},
			{unix.RTM_GETADDR, unix.SizeofIfAddrmsg, func(b []byte) { a.read(b[unix.SizeofIfAddrmsg:]); appendAddress(nil, b, &a) }},
			{unix.RTM_GETLINK, unix.SizeofIfInfomsg, func(b []byte) { a.read(b[unix.SizeofIfInfomsg:]); lines.link(nil, b, &a) }},
		}
		for _, table := range tables {
			rows := 0
			err := rtEvery(uint16(table.ask), make([]byte, table.size), func() {}, func(body []byte) {
				rows++
				for n := table.size; n <= len(body); n++ {
					table.row(bytes.Clone(body[:n:n]))
				}
				for i := range body {
					for _, c := range []byte{0, 1, 4, 0x7f, 0xff} {
						b := bytes.Clone(body)
						b[i] = c
						table.row(b)
					}
				}
			})
			if err != nil || rows == 0 {
				t.Errorf("%d: %d rows, %v", table.ask, rows, err)
			}
		}
	})
}
