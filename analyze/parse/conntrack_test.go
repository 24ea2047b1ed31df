package parse

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"whichbackend/analyze/record"
)

// TestConntrackAddress compares the reader by hand with the library's.
func TestConntrackAddress(t *testing.T) {
	for _, s := range []string{
		"10.0.1.5", "0.0.0.0", "255.255.255.255", "256.1.1.1", "1.2.3", "1.2.3.4.5", "1..2.3", ".1.2.3", "1.2.3.", "", ":", "::", "::1", "1::",
		"fd00:10:244:1::a", "fd00:0010:0244:0001:0000:0000:0000:000a", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9",
		"1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1::2::3", "1:2:3:4:5:6:7:8::", "12345::1", "::ffff:10.0.0.1", "::FFFF:a00:1", "1:", ":1", "1:::2", "g::1",
		"fe80::1%eth0", "1:2:3:4::5:6:7:8", "1.2.3.4:80",
	} {
		got, ok := plainAddress([]byte(s))
		want, err := netip.ParseAddr(s)
		if want.Zone() != "" {
			want = want.WithZone("")
		}
		if ok != (err == nil) || ok && got != want.Unmap() {
			t.Errorf("%q: %v %v, the library says %v %v", s, got, ok, want, err)
		}
	}
}

// nothing is a Sink that keeps nothing.
type nothing struct{ sockets, translations, problems int }

func (n *nothing) Socket(*record.Socket)           { n.sockets++ }
func (n *nothing) Translation(*record.Translation) { n.translations++ }
func (n *nothing) Service(*record.Service)         {}
func (n *nothing) Owner(*record.Owner)             {}
func (n *nothing) Address(*record.Address)         {}
func (n *nothing) Reading(*record.Reading)         {}
func (n *nothing) Problem(*record.Problem)         { n.problems++ }

// conntrackTable makes a table of n rows with addresses of a kind.
func conntrackTable(n int, format string) []byte {
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, format, i>>8&255, i&255, 32768+i%28000, i%250, i>>8&255, i&255, 32768+i%28000)
	}
	return b.Bytes()
}

const (
	conntrackIPv4Row = "ipv4     2 tcp      6 431964 ESTABLISHED src=10.244.%d.%d dst=10.96.72.53 sport=%d dport=80 packets=4 bytes=234 src=10.244.2.%d dst=10.244.%d.%d sport=8080 dport=%d packets=3 bytes=187 [ASSURED] mark=0 zone=0 use=2\n"
	conntrackIPv6Row = "ipv6     10 tcp      6 431964 ESTABLISHED src=fd00:0010:0244:0001:0000:0000:%04x:%04x dst=fd00:0010:0096:0000:0000:0000:0000:0064 sport=%d dport=80 src=fd00:0010:0244:0002:0000:0000:0000:%04x dst=fd00:0010:0244:0001:0000:0000:%04x:%04x sport=8080 dport=%d [ASSURED] mark=0 zone=0 use=2\n"
)

func BenchmarkConntrack(b *testing.B) {
	const rows = 20000
	for _, c := range []struct{ name, format string }{{"IPv4", conntrackIPv4Row}, {"IPv6", conntrackIPv6Row}} {
		b.Run(c.name, func(b *testing.B) {
			text := conntrackTable(rows, c.format)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				var sink nothing
				if _, err := Artifact(&record.Artifact{}, bytes.NewReader(text), nil, &sink, func() int { return 1 }); err != nil || sink.translations != rows {
					b.Fatal(err, sink.translations)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
		})
	}
}

// BenchmarkConntrackRow measures the parser without driver and sink.
func BenchmarkConntrackRow(b *testing.B) {
	text := bytes.Split(bytes.TrimSpace(conntrackTable(1000, conntrackIPv4Row)), []byte("\n"))
	p := &conntrackParser{}
	b.ReportAllocs()
	for b.Loop() {
		for _, row := range text {
			if why := p.read(row); why != "" {
				b.Fatal(why)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/row")
}
