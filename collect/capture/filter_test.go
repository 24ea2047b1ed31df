package capture

import (
	"strings"
	"testing"
)

func TestFilterErrorsNameTheWord(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.1":                  `"10.0.0.1"`,
		"tcp and 10.0.0.1":          `"10.0.0.1"`,
		"vxlan":                     `"vxlan"`,
		"tcp port http":             `"http"`,
		"port 70000":                `"70000"`,
		"host example.org":          `"example.org"`,
		"tcp 80":                    `"80"`,
		"tcp and":                   "ends where more must follow",
		"(port 80":                  "not closed",
		"port 80)":                  `")"`,
		"port 80 port 81":           `"port"`,
		"net 10.1.2.3/8":            "10.0.0.0/8",
		"net 10.1.2.3/40":           "expected a prefix",
		"portrange 80":              "two numbers",
		"icmp port 1":               "icmp has no port",
		"ip6 host 10.0.0.1":         "ip6 has no address like 10.0.0.1",
		"arp host fe80::1":          "arp has no address",
		"tcp host 10.0.0.1":         "tcp has ports",
		"host fe80::1%eth0":         "fe80::1%eth0",
		"tcp[tcpflags] & tcp-syn":   "tcp[tcpflags]",
		"src":                       "after it",
		strings.Repeat("(", 60):     "parentheses",
		strings.Repeat("not ", 200): "words",
	} {
		if err := CheckFilter(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, want something with %s", text, err, want)
		}
	}
}

// TestLongFilter is about jumps that are longer than BPF's short ones.
func TestLongFilter(t *testing.T) {
	text := "port 1" + strings.Repeat(" or 2", 45)
	if err := CheckFilter(text); err != nil {
		t.Error(err)
	}
}

func FuzzFilter(f *testing.F) {
	for _, e := range expressions {
		f.Add(e)
	}
	f.Fuzz(func(t *testing.T, text string) { CheckFilter(text) })
}

// expressions are all kept to what tcpdump does with them, in TestFiltersAgreeWithTcpdump.
var expressions = []string{
	"ip", "ip6", "arp", "tcp", "udp", "icmp", "icmp6", "not tcp", "inbound", "outbound", "! inbound && tcp",
	"host 10.1.0.2", "src 10.1.0.2", "dst host 10.1.0.2", "src and dst host 10.1.0.1", "src or dst host 10.1.0.2",
	"ip host 10.1.0.2", "arp host 10.1.0.2", "host fd01::2", "src host fd01::2", "not host 10.1.0.2",
	"net 10.1.0.0/16", "net 10.1", "net 10", "src net 10.1.0.2/31", "net fd01::/64", "dst net fd01::2/127", "ip net 10.1.0.0/16", "net 0.0.0.0/0",
	"port 8080", "tcp port 8080", "udp port 8080", "src port 8080", "tcp dst port 8080", "port 8080 or 9090", "tcp port 8080 or 9090",
	"portrange 8000-8100", "dst portrange 9000-9100", "udp portrange 9100-8000",
	"tcp and host 10.1.0.2 and port 8080", "udp or tcp and port 8080", "udp or (tcp and port 8080)", "not (tcp or udp)", "not port 8080 and ip",
	"src host 10.1.0.1 and dst port 8080", "host 10.1.0.2 and (port 8080 or port 9090)", "host 10.1.0.1 or 10.1.0.3", "sctp", "sctp port 5",
}
