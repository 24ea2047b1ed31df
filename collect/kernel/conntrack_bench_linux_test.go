package kernel

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const many = 200_000

// insert makes entries of made-up connections, as conntrack -I does, many in a
// message. Every fourth is of IPv6, every third has been translated.
func insert(t testing.TB, n int) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var batch []byte
	for i := range n {
		batch = append(batch, made(i)...)
		if len(batch) < 64<<10 && i < n-1 {
			continue
		}
		if err := unix.Sendto(fd, batch, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			t.Fatal(err)
		}
		// The kernel has done all of it now; it answers only what failed.
		b := make([]byte, 4096)
		if n, _, err := unix.Recvfrom(fd, b, unix.MSG_DONTWAIT); !errors.Is(err, unix.EAGAIN) {
			t.Fatalf("the kernel does not take the entries: % x, %v", b[:min(n, 20)], err)
		}
		batch = batch[:0]
	}
}

// made is the message that makes entry i.
func made(i int) []byte {
	client, server := []byte{10, byte(i >> 16), byte(i >> 8), byte(i)}, []byte{192, 168, 0, byte(i)}
	backend := server
	if i%3 == 0 {
		backend = []byte{10, 244, 0, byte(i)}
	}
	family, src, dst := byte(unix.AF_INET), uint16(ctaV4Src), uint16(ctaV4Dst)
	if i%4 == 0 {
		family, src, dst = unix.AF_INET6, ctaV6Src, ctaV6Dst
		wide := func(b []byte) []byte { return append([]byte{0xfd, 0, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0}, b...) }
		client, server, backend = wide(client), wide(server), wide(backend)
	}
	proto := func(from, to uint16) []byte {
		return nest(ctaTupleProto, part(ctaProtoNum, unix.IPPROTO_TCP), part(ctaProtoSrcPort, binary.BigEndian.AppendUint16(nil, from)...),
			part(ctaProtoDstPort, binary.BigEndian.AppendUint16(nil, to)...))
	}
	port := uint16(32768 + i%28000)
	body := slices.Concat([]byte{family, 0, 0, 0},
		nest(ctaTupleOrig, nest(ctaTupleIP, part(src, client...), part(dst, server...)), proto(port, 80)),
		nest(ctaTupleReply, nest(ctaTupleIP, part(src, backend...), part(dst, client...)), proto(8080, port)),
		part(ctaTimeout, be(86400)...), part(ctaStatus, be(ipsSeenReply|ipsAssured|1<<3)...),
		nest(ctaProtoinfo, nest(1, part(1, 3))))
	m := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(body)))
	m = binary.NativeEndian.AppendUint16(m, ctnetlink) // IPCTNL_MSG_CT_NEW
	m = binary.NativeEndian.AppendUint16(m, unix.NLM_F_REQUEST|unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	return slices.Concat(m, make([]byte, 8), body)
}

// listToFile writes what Conntrack gives to a file.
func listToFile(t testing.TB, file string) (size int64) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := Conntrack()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	size, err = io.Copy(f, r)
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// BenchmarkConntrack200k lists a large table, and has the tool do the same. It
// reports how much longer it takes than the tool, and how much memory it has.
func BenchmarkConntrack200k(b *testing.B) {
	ownNamespace(b, "conntrack")
	if limit, _ := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_max"); len(limit) > 0 {
		if n, err := strconv.Atoi(string(limit[:len(limit)-1])); err == nil && n < many {
			lack(b, "nf_conntrack_max is "+strconv.Itoa(n)+", which only the host may raise")
		}
	}
	insert(b, many)
	if n, err := ConntrackCount(); n != many || err != nil {
		b.Fatalf("the kernel counts %d entries, %v", n, err)
	}
	file := b.TempDir() + "/conntrack.txt"
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var ours, tools time.Duration
	for b.Loop() {
		start := time.Now()
		size := listToFile(b, file)
		ours += time.Since(start)
		b.SetBytes(size)

		b.StopTimer()
		start = time.Now()
		out, err := os.Create(file)
		if err != nil {
			b.Fatal(err)
		}
		c := exec.Command("conntrack", "-L", "-o", "extended,id")
		c.Stdout = out
		if err := c.Run(); err != nil {
			b.Fatal(err)
		}
		out.Close()
		tools += time.Since(start)
		b.StartTimer()
	}
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(ours)/float64(tools), "times-the-tool")
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(b.N)/(1<<10), "KiB-allocated/op")
	b.ReportMetric(float64(after.HeapSys)/(1<<20), "MiB-heap")
}

// A table of any size is listed whole, within the memory of a piece.
func TestConntrackOfManyEntries(t *testing.T) {
	const n = 20_000
	ownNamespace(t, "conntrack")
	insert(t, n)
	r, err := Conntrack()
	ours := still(all(t, r, err))
	if !slices.Equal(still(command(t, "conntrack", "-L", "-o", "extended,id")), ours) {
		t.Error("the tool lists otherwise")
	}
	if len(ours) != n+1 {
		t.Errorf("%d lines for %d entries", len(ours)-1, n)
	}
	file := t.TempDir() + "/conntrack.txt"
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	listToFile(t, file)
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 400<<10 {
		t.Errorf("it took %d KiB to list", used>>10)
	}
}
