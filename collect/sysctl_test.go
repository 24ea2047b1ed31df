package collect

import (
	"io"
	"testing"
)

// TestSettings: as sysctl prints them, in its order, and nothing else; what is
// not loaded has none.
func TestSettings(t *testing.T) {
	files := host1(
		"proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n", "proc/sys/net/ipv4/ip_local_reserved_ports", "\n",
		"proc/sys/net/ipv4/tcp_fastopen_key", "secret\n", "proc/sys/net/ipv4/vs/conntrack", "1\n", "proc/sys/net/ipv4/vs/debug_level", "0\n",
		"proc/sys/net/netfilter/nf_conntrack_max", "262144\n", "proc/sys/net/netfilter/nf_conntrack_count", "17\n",
		"proc/sys/net/netfilter/nf_conntrack_udp_timeout_stream", "120\n", "proc/sys/net/netfilter/nf_log_all_netns", "0\n")
	list := func(files map[string]string) string {
		in, err := settings(&env{host: newHost(Options{Root: fakeRoot(t, files)})})
		must(t, err)
		defer in.Close()
		b, err := io.ReadAll(in)
		must(t, err)
		return string(b)
	}
	want := "net.ipv4.ip_local_port_range = 32768\t60999\nnet.ipv4.ip_local_reserved_ports = \nnet.ipv4.vs.conntrack = 1\n" +
		"net.netfilter.nf_conntrack_count = 17\nnet.netfilter.nf_conntrack_max = 262144\nnet.netfilter.nf_conntrack_udp_timeout_stream = 120\n"
	if got := list(files); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got := list(host1("proc/sys/net/ipv4/ip_local_port_range", "1024\t65000\n")); got != "net.ipv4.ip_local_port_range = 1024\t65000\n" {
		t.Errorf("without conntrack: %q", got)
	}
}
