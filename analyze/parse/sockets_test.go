package parse

import (
	"bytes"
	"fmt"
	"testing"

	"whichbackend/analyze/record"
)

// benchmarkSockets reads a listing of a header and many rows, and reports the
// cost of a line.
func benchmarkSockets(b *testing.B, header string, row func(i int) string) {
	const rows = 10000
	var text bytes.Buffer
	text.WriteString(header)
	for i := range rows {
		text.WriteString(row(i))
	}
	b.ReportAllocs()
	b.SetBytes(int64(text.Len()))
	for b.Loop() {
		var sink nothing
		id := 0
		if _, err := Artifact(&record.Artifact{}, bytes.NewReader(text.Bytes()), nil, &sink, func() int { id++; return id }); err != nil {
			b.Fatal(err)
		}
		if sink.sockets != rows || sink.problems != 0 {
			b.Fatalf("%d sockets, %d problems", sink.sockets, sink.problems)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/line")
}

func BenchmarkNetstat(b *testing.B) {
	benchmarkSockets(b, "Active Internet connections (servers and established)\n"+
		"Proto Recv-Q Send-Q Local Address           Foreign Address         State       PID/Program name    \n", func(i int) string {
		return fmt.Sprintf("tcp        0      0 %-23s 10.9.200.1:80           ESTABLISHED %d/nginx: worker p\n",
			fmt.Sprintf("10.9.%d.%d:%d", i/250%250, i%250, 1024+i), 1000+i%50)
	})
}

func BenchmarkNetstat6(b *testing.B) {
	benchmarkSockets(b, "", func(i int) string {
		return fmt.Sprintf("tcp6       0      0 %-23s fd00:9:96::64:80        ESTABLISHED\n", fmt.Sprintf("fd00:9:1::%x:%d", i, 1024+i))
	})
}

func BenchmarkSS(b *testing.B) {
	benchmarkSockets(b, "State  Recv-Q Send-Q     Local Address:Port      Peer Address:Port Process\nLISTEN 0 5 0.0.0.0:1 0.0.0.0:*\n", func(i int) string {
		if i == 0 {
			return ""
		}
		return fmt.Sprintf("ESTAB  0      0      [::ffff:10.9.%d.%d]:%d   10.9.200.1:80  users:((\"nginx\",pid=%d,fd=5)) ino:%d sk:%x <->\n",
			i/250%250, i%250, 1024+i, 1000+i%50, 30000+i, i)
	})
}

func BenchmarkProcNetTCP(b *testing.B) {
	benchmarkSockets(b, "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n", func(i int) string {
		return fmt.Sprintf("%4d: 0100007F:%04X 0100C80A:0050 01 00000000:00000000 00:00000000 00000000     0        0 %d 1 00000000ab6d2c13 20 4 30 11 -1\n", i, 1024+i, 30000+i)
	})
}
