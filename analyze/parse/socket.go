package parse

import (
	"bytes"
	"net/netip"

	"whichbackend/analyze/record"
)

// socketStates are the words of all socket listings, in netstat's own: those
// of net-tools (and of its translations that are known), busybox, ss, BSD and
// Windows.
var socketStates = map[string]string{
	"ESTABLISHED": "ESTABLISHED", "SYN_SENT": "SYN_SENT", "SYN_RECV": "SYN_RECV", "FIN_WAIT1": "FIN_WAIT1", "FIN_WAIT2": "FIN_WAIT2",
	"TIME_WAIT": "TIME_WAIT", "CLOSE": "CLOSE", "CLOSE_WAIT": "CLOSE_WAIT", "LAST_ACK": "LAST_ACK", "LISTEN": "LISTEN", "CLOSING": "CLOSING",
	// BSD, macOS, Windows
	"FIN_WAIT_1": "FIN_WAIT1", "FIN_WAIT_2": "FIN_WAIT2", "SYN_RCVD": "SYN_RECV", "SYN_RECEIVED": "SYN_RECV", "CLOSED": "CLOSE", "LISTENING": "LISTEN",
	// ss
	"ESTAB": "ESTABLISHED", "SYN-SENT": "SYN_SENT", "SYN-RECV": "SYN_RECV", "FIN-WAIT-1": "FIN_WAIT1", "FIN-WAIT-2": "FIN_WAIT2",
	"TIME-WAIT": "TIME_WAIT", "UNCONN": "UNCONN", "CLOSE-WAIT": "CLOSE_WAIT", "LAST-ACK": "LAST_ACK", "NEW-SYN-RECV": "SYN_RECV",
	// net-tools in German, Portuguese, Spanish, French, Italian
	"VERBUNDEN": "ESTABLISHED", "ESTABELECIDA": "ESTABLISHED", "ESTABLECIDO": "ESTABLISHED", "ETABLIE": "ESTABLISHED", "ÉTABLIE": "ESTABLISHED",
	"STABILITO": "ESTABLISHED", "OUÇA": "LISTEN", "ESCUCHAR": "LISTEN", "ESCUTAR": "LISTEN", "LAUSCHEN": "LISTEN", "LISTENING ": "LISTEN",
	"ESPERE_FECHAR": "CLOSE_WAIT", "TEMPO_ESPERA": "TIME_WAIT", "TIEMPO_ESPERA": "TIME_WAIT",
}

// socketState reads a state word of any listing.
func socketState(b []byte) (string, bool) {
	s, ok := socketStates[string(b)]
	return s, ok
}

// socketEnd reads address:port as netstat and ss write it: *:80, :::80,
// 0.0.0.0%eth0:68, [fe80::1]%eth0:546, ::ffff:10.0.0.1:22. device is what
// follows the %.
func socketEnd(b []byte) (a netip.AddrPort, device string, ok bool) {
	i := bytes.LastIndexByte(b, ':')
	if i < 0 {
		return a, "", false
	}
	p, ok := port(b[i+1:])
	if !ok {
		return a, "", false
	}
	host := b[:i]
	if j := bytes.IndexByte(host, '%'); j >= 0 {
		device = string(bytes.TrimSuffix(host[j+1:], []byte("]")))
		host = host[:j]
	}
	host = bytes.TrimSuffix(bytes.TrimPrefix(host, []byte("[")), []byte("]"))
	if len(host) == 1 && host[0] == '*' || len(host) == 0 {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), p), device, true
	}
	ip, ok := plainAddress(host)
	return netip.AddrPortFrom(ip, p), device, ok
}

// socketProtocol reads the first column: tcp, tcp6, tcp4, tcp46, udp ..., in
// either case. ok is false for anything else, raw and unix sockets included.
func socketProtocol(b []byte) (record.Protocol, bool) {
	if len(b) < 3 || len(b) > 8 {
		return 0, false
	}
	var low [8]byte
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		low[i] = c
	}
	switch string(low[:len(b)]) {
	case "tcp", "tcp6", "tcp4", "tcp46":
		return record.TCP, true
	case "udp", "udp6", "udp4", "udp46":
		return record.UDP, true
	case "sctp", "sctp6", "sctp4":
		return record.SCTP, true
	case "udplite", "udpl", "udpl6", "udplite6":
		return record.UDPLite, true
	}
	return 0, false
}

// socketDigits tells whether a word is a number.
func socketDigits(b []byte) bool {
	_, ok := number(b)
	return ok
}
