package parse

import (
	"strings"
	"testing"

	"whichbackend/analyze/record"
)

// sockets is a Sink that keeps the protocols of sockets.
type sockets struct {
	nothing
	list []record.Protocol
}

func (s *sockets) Socket(k *record.Socket) { s.list = append(s.list, k.Protocol) }

// TestSSNamedUDP: a listing of connected UDP sockets alone has nothing but its
// name to tell it from one of TCP; what rows tell goes before the name.
func TestSSNamedUDP(t *testing.T) {
	const head = "State  Recv-Q Send-Q Local Address:Port  Peer Address:Port Process\n"
	const open = "ESTAB  0      0      10.244.2.10:5353    10.96.0.53:53    users:((\"client\",pid=74,fd=5)) ino:11392326 sk:c52b2 <->\n"
	const tcp = "TIME-WAIT 0   0      10.244.2.10:5354    10.96.0.53:53\n"
	for _, c := range []struct {
		name, text string
		want       record.Protocol
	}{
		{"node-2/netns/1/ss-uanpe.txt", head + open, record.UDP},
		{"ss-aun.txt", head + open, record.UDP},
		{"ss-tanpie.txt", head + open, record.TCP},
		{"ss-up.txt", head + open, record.TCP}, // perhaps what was up
		{"ss-tuna.txt", head + open, record.TCP},
		{"client.txt", head + open, record.TCP},
		{"ss-uanpe.txt", head + open + tcp, record.TCP},
		{"ss-uanpe.txt", "$ ss -tan\n" + head + open, record.TCP},
	} {
		var got sockets
		n := 0
		if _, err := Artifact(&record.Artifact{Path: c.name}, strings.NewReader(c.text), nil, &got, func() int { n++; return n }); err != nil {
			t.Fatal(err)
		}
		if len(got.list) == 0 || got.list[0] != c.want {
			t.Errorf("%s: %v, want %d", c.name, got.list, c.want)
		}
	}
}
