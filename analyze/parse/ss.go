package parse

import (
	"bytes"
	"strconv"

	"whichbackend/analyze/record"
)

// ss: iproute2 from CentOS 7's to now, with -i, -e, -p, -m, -o, -O, -H.
//
//	ESTAB 0      0        10.244.1.10:34248   10.96.51.37:80    users:(("nc",pid=26231,fd=3)) ino:93210 sk:1 <->     (iproute2 6.1, ss -tanpie)
//
// A row may go on in lines that begin with a tab; -O puts all on one line.

var ssNetids = map[string]bool{"tcp": true, "udp": true, "sctp": true, "dccp": true, "mptcp": true, "raw": true, "icmp6": true, "ICMP6": true, "???": true,
	"u_str": true, "u_dgr": true, "u_seq": true, "nl": true, "p_raw": true, "p_dgr": true, "v_str": true, "v_dgr": true, "xdp": true, "ti_st": true, "vsock": true}

func ssHead(b []byte) bool {
	if c := b[0]; c < '?' || c > 'x' {
		return false
	}
	var buf [6][]byte
	f := netstatFields(b, buf[:0])
	if len(f) == 2 && string(f[0]) == "Total:" && socketDigits(f[1]) {
		return true // ss -s
	}
	if len(f) < 3 {
		return false
	}
	switch string(f[0]) {
	case "Total:":
		return bytes.Contains(b, []byte("(kernel"))
	case "State":
		return string(f[1]) == "Recv-Q"
	case "Netid":
		return string(f[1]) == "State" || string(f[1]) == "Recv-Q"
	case "Recv-Q": // ss -l of old versions, or with one state asked for
		return string(f[1]) == "Send-Q" && string(f[2]) == "Local"
	}
	if ssNetids[string(f[0])] {
		f = f[1:]
		if _, ok := ssState(f[0]); ok && len(f) > 2 && bytes.IndexByte(b[:6], '_') > 0 {
			return true // unix, packet and vsock sockets, whose rows have other columns
		}
	}
	if len(f) < 5 {
		return false
	}
	if _, ok := ssState(f[0]); !ok {
		return false
	}
	return socketDigits(f[1]) && socketDigits(f[2])
}

// ssState reads a state in ss's own words, some of which are also netstat's.
func ssState(b []byte) (string, bool) {
	switch string(b) {
	case "UNKNOWN", "UNDEF":
		return "", true
	case "LISTEN", "CLOSING", "CLOSED", "UNCONN", "ESTAB":
		return socketState(b)
	}
	if bytes.IndexByte(b, '-') < 0 {
		return "", false
	}
	return socketState(b)
}

// ssReader is the state of one listing. A row is emitted when the next begins,
// since lines that continue it add to it.
type ssReader struct {
	out   *Out
	netid bool
	only  record.Protocol // of rows without a Netid column
	open  bool
	s     record.Socket
	buf   [][]byte
	skip  bool
}

func ssOpen(out *Out) (line func([]byte), end func()) {
	r := &ssReader{out: out, only: ssAsked(out.Command())}
	return r.line, r.flush
}

// ssAsked tells which protocol a command line asked for; a listing of one
// protocol does not name it. TCP is what people list.
func ssAsked(command string) record.Protocol {
	words := shellWords(command)
	tcp, udp := false, false
	for _, w := range words {
		if len(w) > 1 && w[0] == '-' && w[1] != '-' {
			tcp = tcp || bytes.IndexByte([]byte(w), 't') > 0
			udp = udp || bytes.IndexByte([]byte(w), 'u') > 0
		}
		tcp, udp = tcp || w == "--tcp", udp || w == "--udp"
	}
	if udp && !tcp {
		return record.UDP
	}
	return record.TCP
}

func (r *ssReader) flush() {
	if r.open {
		r.open = false
		r.out.Socket(r.s)
	}
}

func (r *ssReader) line(b []byte) {
	t := bytes.TrimSpace(b)
	if len(t) == 0 {
		return
	}
	r.buf = fields(t, r.buf)
	f := r.buf
	switch {
	case string(f[0]) == "Netid" || string(f[0]) == "State" || string(f[0]) == "Recv-Q":
		r.flush()
		r.netid, r.skip = string(f[0]) == "Netid", string(f[0]) == "Recv-Q"
		r.out.Understood()
	case bytes.HasPrefix(t, []byte("Total:")) || r.summary(t):
		r.flush()
		r.out.Ignore()
	case b[0] == '\t' || b[0] == ' ' && r.open && !ssHead(t):
		if r.open {
			r.details(f)
		}
		r.out.Understood()
	case bytes.HasPrefix(t, []byte("`- ")) || bytes.HasPrefix(t, []byte("skmem:(")):
		r.out.Ignore()
	default:
		r.row(f)
	}
}

// summary tells a line of ss -s.
func (r *ssReader) summary(t []byte) bool {
	for _, p := range []string{"TCP:", "UDP:", "RAW", "UDP", "INET", "FRAG", "TCP", "Transport", "*"} {
		if bytes.HasPrefix(t, []byte(p)) && !r.open {
			return true
		}
	}
	return false
}

func (r *ssReader) row(f [][]byte) {
	r.flush()
	proto := r.only
	if ssNetids[string(f[0])] {
		p, ok := socketProtocol(f[0])
		if !ok {
			r.out.Ignore() // unix, netlink, packet, raw, vsock
			return
		}
		proto, f = p, f[1:]
	} else if r.netid {
		r.out.Problem("expected a socket's type (Netid)")
		return
	}
	s := record.Socket{Protocol: proto, UID: -1}
	if r.skip {
		s.State = "LISTEN"
	} else if len(f) > 0 {
		state, ok := ssState(f[0])
		if !ok {
			r.out.Problem("expected a state")
			return
		}
		s.State, f = state, f[1:]
	}
	if len(f) < 4 {
		r.out.Problem("expected queues, local and peer address")
		return
	}
	recv, ok1 := number(f[0])
	send, ok2 := number(f[1])
	var ok3, ok4 bool
	s.Local, s.Device, ok3 = socketEnd(f[2])
	s.Remote, _, ok4 = socketEnd(f[3])
	switch {
	case !ok1 || !ok2:
		r.out.Problem("expected two numbers (Recv-Q, Send-Q)")
		return
	case !ok3 || !ok4:
		r.out.Problem("expected numeric addresses; record it with -n")
		return
	}
	s.RecvQ, s.SendQ = int64(min(recv, 1<<62)), int64(min(send, 1<<62))
	if s.State == "UNCONN" && s.Protocol == record.TCP && !r.netid {
		s.Protocol = record.UDP // a TCP socket that is not connected is not listed
	}
	s.Pos.Line = r.out.Line()
	r.s, r.open = s, true
	r.details(f[4:])
	r.out.Understood()
}

// details reads key:value words of a row and of the lines that continue it.
func (r *ssReader) details(f [][]byte) {
	for _, w := range f {
		key, value, ok := bytes.Cut(w, []byte(":"))
		if !ok {
			continue
		}
		switch string(key) {
		case "users":
			r.users(f)
		case "ino":
			r.s.Inode, _ = number(value)
		case "sk":
			if n, err := strconv.ParseUint(string(value), 16, 64); err == nil {
				r.s.Cookie = n
			}
		case "uid":
			if n, ok := number(value); ok && n < 1<<32 {
				r.s.UID = int(n)
			}
		case "bytes_sent":
			r.s.BytesSent, _ = number(value)
		case "bytes_acked":
			if r.s.BytesSent == 0 {
				r.s.BytesSent, _ = number(value)
			}
		case "bytes_received":
			r.s.BytesReceived, _ = number(value)
		case "timer":
			r.s.Timer = string(value)
		}
	}
}

// users reads the first process of users:(("nc",pid=26231,fd=3),...), or of the
// old form users:(("dhclient",1171,6)). A name may hold blanks.
func (r *ssReader) users(f [][]byte) {
	text := bytes.Join(f, []byte(" "))
	i := bytes.Index(text, []byte(`users:(("`))
	if i < 0 {
		return
	}
	text = text[i+len(`users:(("`):]
	end := bytes.Index(text, []byte(`",pid=`))
	skip := len(`",pid=`)
	if old := bytes.Index(text, []byte(`",`)); end < 0 || old >= 0 && old < end {
		end, skip = old, len(`",`)
	}
	if end < 0 {
		return
	}
	r.s.Program = string(text[:end])
	text = text[end+skip:]
	n := 0
	for n < len(text) && text[n] >= '0' && text[n] <= '9' {
		n++
	}
	if pid, ok := number(text[:n]); ok && pid < 1<<31 {
		r.s.PID = int(pid)
	}
}
