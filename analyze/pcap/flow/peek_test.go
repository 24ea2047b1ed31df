package flow

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"whichbackend/analyze/pcap/decode"
	"whichbackend/analyze/record"
)

// sends writes a connection in which the client sends the texts, one segment
// each.
func sends(t *testing.T, texts ...string) *record.Flow {
	t.Helper()
	c := newCapture(t, decode.LinkEthernet)
	c.handshake(client, server, 100, 200)
	seq := uint32(101)
	for _, s := range texts {
		c.tcp(client, server, tcpPacket{seq: seq, ack: 201, flags: push, payload: s})
		seq += uint32(len(s))
	}
	return c.one()
}

func announced(from, to string) record.Tuple {
	return record.Tuple{Source: netip.MustParseAddrPort(from), Destination: netip.MustParseAddrPort(to)}
}

// proxy2 is a PROXY header of version 2.
func proxy2(command, family byte, addresses []byte) string {
	b := append([]byte(signature2), 0x20|command, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(addresses)))
	return string(append(b, addresses...))
}

// TestProxyHeader: what a proxy says of the connection before it.
func TestProxyHeader(t *testing.T) {
	v4 := []byte{192, 0, 2, 1, 10, 9, 8, 7, 0xc3, 0x50, 0, 80}
	v6 := append(append(make([]byte, 15), 1), append(append(make([]byte, 15), 2), 0xc3, 0x50, 0, 80, 1, 2, 3)...)
	const request = "GET / HTTP/1.1\r\n\r\n"
	for _, k := range []struct {
		name  string
		texts []string
		want  record.Tuple
		http  bool
	}{
		{"version 1", []string{"PROXY TCP4 192.0.2.1 10.9.8.7 50000 80\r\n" + request}, announced("192.0.2.1:50000", "10.9.8.7:80"), true},
		{"version 1, apart", []string{"PROXY TCP6 fd00::1 fd00::2 50000 80\r\n", request}, announced("[fd00::1]:50000", "[fd00::2]:80"), true},
		{"version 1, unknown", []string{"PROXY UNKNOWN\r\n" + request}, record.Tuple{}, true},
		{"version 1, not whole", []string{"PROXY TCP4 192.0.2.1 10.9.8.7 50000 80"}, record.Tuple{}, false},
		{"version 1, wrong family", []string{"PROXY TCP6 192.0.2.1 10.9.8.7 50000 80\r\n"}, record.Tuple{}, false},
		{"version 1, wrong port", []string{"PROXY TCP4 192.0.2.1 10.9.8.7 70000 80\r\n"}, record.Tuple{}, false},
		{"version 1, nothing else", []string{"PROXY \r\n"}, record.Tuple{}, false},
		{"version 2", []string{proxy2(1, 0x11, v4) + request}, announced("192.0.2.1:50000", "10.9.8.7:80"), true},
		{"version 2, IPv6, apart", []string{proxy2(1, 0x21, v6), request}, announced("[::1]:50000", "[::2]:80"), true},
		{"version 2, local", []string{proxy2(0, 0, nil) + request}, record.Tuple{}, true},
		{"version 2, UNIX", []string{proxy2(1, 0x31, make([]byte, 216)) + request}, record.Tuple{}, true},
		{"version 2, short", []string{proxy2(1, 0x11, v4[:10]) + request}, record.Tuple{}, true},
		{"later in the stream", []string{"hello", "PROXY TCP4 192.0.2.1 10.9.8.7 50000 80\r\n"}, record.Tuple{}, false},
	} {
		t.Run(k.name, func(t *testing.T) {
			f := sends(t, k.texts...)
			if f.Announced != k.want || f.HTTP != k.http {
				t.Errorf("announced %v, HTTP %v", f.Announced, f.HTTP)
			}
		})
	}
	c := newCapture(t, decode.LinkEthernet)
	c.handshake(client, server, 100, 200)
	c.tcp(client, server, tcpPacket{seq: 106, flags: push, payload: "PROXY TCP4 192.0.2.1 10.9.8.7 50000 80\r\n"})
	c.tcp(client, server, tcpPacket{seq: 101, flags: push, payload: "GET /"})
	if f := c.one(); f.Announced != (record.Tuple{}) || !f.HTTP {
		t.Errorf("in another order: announced %v, HTTP %v", f.Announced, f.HTTP)
	}
	plain, wrapped := sends(t, request), sends(t, "PROXY TCP4 192.0.2.1 10.9.8.7 50000 80\r\n", request)
	if plain.Exchanges[0].Begin != wrapped.Exchanges[0].Begin {
		t.Error("the header in front changes the hash of the request")
	}
}

// TestRequests: two requests on one connection, with what their headers tell.
func TestRequests(t *testing.T) {
	c := newCapture(t, decode.LinkEthernet)
	c.handshake(client, server, 0, 0)
	one := "GET /one HTTP/1.1\r\nHost: a\r\nX-Request-ID: 7-7\r\nx-forwarded-for: 192.0.2.1, 10.0.0.7\r\n\r\n"
	two := "POST /two HTTP/1.1\r\nX-Forwarded-For: [fd00::1]:555\r\nX-Request-Id: 8-8"
	answer := "HTTP/1.1 200 OK\r\nx-request-id: not-this\r\n\r\n"
	c.tcp(client, server, tcpPacket{seq: 1, flags: push, payload: one})
	c.tcp(server, client, tcpPacket{seq: 1, flags: push, payload: answer})
	c.tcp(client, server, tcpPacket{seq: 1 + uint32(len(one)), flags: push, payload: two})
	c.tcp(server, client, tcpPacket{seq: 1 + uint32(len(answer)), flags: push, payload: answer})
	f := c.one()
	if !f.HTTP || len(f.Exchanges) != 2 {
		t.Fatalf("%+v", f)
	}
	x, y := f.Exchanges[0], f.Exchanges[1]
	if x.RequestID == 0 || x.RequestID != hashBytes([]byte("7-7")) || x.ForwardedFor.String() != "10.0.0.7" {
		t.Errorf("first %+v", x)
	}
	if y.RequestID != 0 || y.ForwardedFor.String() != "fd00::1" { // the line of the id was cut
		t.Errorf("second %+v", y)
	}
	if x.Begin != hashBytes([]byte("GET /one HTTP/1.1")) || y.Begin == x.Begin || x.Up != uint64(len(one)) {
		t.Errorf("begins %x and %x, %d bytes", x.Begin, y.Begin, x.Up)
	}
}

// TestIsRequest: what is HTTP/1 and what is not.
func TestIsRequest(t *testing.T) {
	for text, want := range map[string]bool{
		"GET / HTTP/1.1\r\n":      true,
		"GET / HTTP/1.0\n":        true,
		"DELETE /x HTTP/1.1\r\n":  true,
		"GET /cut":                true,
		"GET / HTTP/2.0\r\n":      false,
		"GET / RTSP/1.0\r\n":      false,
		"GET HTTP/1.1\r\n":        false, // no target
		"GETS / HTTP/1.1\r\n":     false,
		"PRI * HTTP/2.0\r\n\r\n":  false,
		"OPTIONSOPTIONS / HTTP/1": false,
		"GET ":                    false,
		"":                        false,
	} {
		if got := isRequest([]byte(text)); got != want {
			t.Errorf("isRequest(%q) = %v", text, got)
		}
	}
}

// hello is a ClientHello as Go sends it.
func hello(t *testing.T, name string) string {
	t.Helper()
	here, there := net.Pipe()
	defer here.Close()
	go tls.Client(there, &tls.Config{ServerName: name, InsecureSkipVerify: name == ""}).Handshake()
	b := make([]byte, 1<<14)
	n, err := here.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

// TestServerName: the name in a ClientHello, in one segment or two.
func TestServerName(t *testing.T) {
	const name = "outbound_.80_._.shop.default.svc.cluster.local"
	h := hello(t, name)
	if f := sends(t, h); f.Name != name {
		t.Errorf("name %q", f.Name)
	}
	at := strings.Index(h, name)
	for _, cut := range []int{10, 50, at, at + 5, at + len(name)} {
		if f := sends(t, h[:cut], h[cut:]); f.Name != name {
			t.Errorf("cut after %d bytes: name %q", cut, f.Name)
		}
	}
	if f := sends(t, "PROXY TCP4 192.0.2.1 10.9.8.7 50000 80\r\n"+h); f.Name != name {
		t.Errorf("behind a PROXY header: name %q", f.Name)
	}
	if f := sends(t, hello(t, ""), "more"); f.Name != "" || f.HTTP {
		t.Errorf("without a name: %q", f.Name)
	}
	if f := sends(t, h[:50], "", h[50:]); f.Name != name {
		t.Errorf("with an acknowledgement between: name %q", f.Name)
	}
	c := newCapture(t, decode.LinkEthernet)
	c.handshake(client, server, 100, 200)
	for _, s := range []struct{ from, to int }{{0, 50}, {0, 20}, {50, len(h)}} { // the begin once more
		c.tcp(client, server, tcpPacket{seq: 101 + uint32(s.from), flags: push, payload: h[s.from:s.to]})
	}
	if f := c.one(); f.Name != name {
		t.Errorf("with a repetition: name %q", f.Name)
	}
	c = newCapture(t, decode.LinkEthernet)
	c.handshake(client, server, 100, 200)
	c.tcp(client, server, tcpPacket{seq: 101, flags: push, payload: h[:50]})
	c.tcp(client, server, tcpPacket{seq: 101 + uint32(len(h)), flags: push, payload: "more"})
	c.tcp(client, server, tcpPacket{seq: 151, flags: push, payload: h[50:]})
	if f := c.one(); f.Name != name {
		t.Errorf("in another order: name %q", f.Name)
	}
	c = newCapture(t, decode.LinkEthernet)
	c.handshake(client, server, 100, 200)
	c.tcp(server, client, tcpPacket{seq: 201, flags: push, payload: h})
	if f := c.one(); f.Name != "" {
		t.Errorf("from the server: name %q", f.Name)
	}
	if f := sends(t, "hello", h); f.Name != "" {
		t.Errorf("later in the stream: %q", f.Name)
	}
	for i := range len(h) {
		name, _ := serverName([]byte(h[:i]))
		if name != nil && i < at {
			t.Errorf("%d bytes give %q", i, name)
		}
	}
}

// TestManyHellos: more half ClientHellos than are waited for.
func TestManyHellos(t *testing.T) {
	h := hello(t, "shop.example")
	c := newCapture(t, decode.LinkEthernet)
	from := func(i int) string { return fmt.Sprint("10.0.0.1:", 40000+i) }
	const flows = maxHellos + 10
	for i := range flows {
		c.tcp(from(i), server, tcpPacket{seq: 0, flags: flagSYN})
		c.tcp(from(i), server, tcpPacket{seq: 1, flags: push, payload: h[:20]})
	}
	for i := range flows {
		c.tcp(from(i), server, tcpPacket{seq: 21, flags: push, payload: h[20:]})
	}
	for i, f := range c.read().flows {
		if want := i >= 10; (f.Name == "shop.example") != want {
			t.Fatalf("flow %d: name %q", i, f.Name)
		}
	}
}
