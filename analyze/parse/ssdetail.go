package parse

import (
	"bytes"
	"strconv"

	"whichbackend/analyze/record"
)

// ssIsDetail knows the further line of a socket when its leading tab is lost.
func ssIsDetail(t []byte) bool {
	for _, k := range []string{"cwnd:", "skmem:(", "rto:", "users:((", "timer:(", "ino:"} {
		if i := bytes.Index(t, []byte(k)); i == 0 || i > 0 && t[i-1] == ' ' {
			return true
		}
	}
	return false
}

// ssIsTail tells whether the rest of a row is what only ss prints there.
func ssIsTail(t []byte) bool {
	t = bytes.TrimLeft(t, " \t")
	return bytes.HasPrefix(t, []byte("users:((")) || bytes.HasPrefix(t, []byte("timer:(")) || bytes.HasPrefix(t, []byte("ino:"))
}

// detail reads the further line of the socket kept last.
func (r *ssReader) detail(t []byte) {
	if len(r.held) == 0 || r.details {
		r.out.Ignore()
		return
	}
	s := &r.held[len(r.held)-1]
	if r.tail(t, s) && s.Protocol == 0 {
		// UDP has neither timers nor a congestion window.
		r.proto, s.Protocol = record.TCP, record.TCP
	}
	r.out.Understood()
}

// tail reads what follows the addresses: process, timer, owner (-e), counters
// (-i). It tells whether that is of TCP.
func (r *ssReader) tail(t []byte, s *record.Socket) (tcp bool) {
	var sent, again, acked uint64
	for {
		t = bytes.TrimLeft(t, " \t")
		if rest, ok := bytes.CutPrefix(t, []byte("users:((")); ok {
			t = r.users(rest, s)
			continue
		}
		word, rest := socketWord(t)
		if len(word) == 0 {
			break
		}
		t = rest
		colon := bytes.IndexByte(word, ':')
		if colon < 0 {
			continue
		}
		value := word[colon+1:]
		switch string(word[:colon]) {
		case "timer":
			s.Timer = r.names.get(bytes.TrimSuffix(bytes.TrimPrefix(value, []byte("(")), []byte(")")))
			tcp = true
		case "uid":
			if n, ok := number(value); ok && n < 1<<32 {
				s.UID = int(n)
			}
		case "ino":
			s.Inode, _ = number(value)
			if s.Inode != 0 && s.UID < 0 {
				s.UID = 0 // root is not printed
			}
		case "sk":
			s.Cookie, _ = strconv.ParseUint(string(value), 16, 64)
		case "bytes_sent":
			sent, _ = number(value)
		case "bytes_retrans":
			again, _ = number(value)
		case "bytes_acked":
			acked, _ = number(value)
		case "bytes_received":
			s.BytesReceived, _ = number(value)
		case "cwnd", "rto":
			tcp = true
		}
	}
	s.BytesSent = sentOnce(sent, again, acked, uint64(max(s.SendQ, 0)))
	return tcp
}

// sentOnce is how many bytes a socket sent. bytes_sent counts those that were
// sent again, too, and not all of them are in bytes_retrans: those that were
// too long for the path are not. What was acknowledged and what waits for it
// bound it; bytes_acked has one more where the socket opened the connection.
func sentOnce(sent, again, acked, queued uint64) uint64 {
	if sent == 0 {
		return 0
	}
	once := sent - min(again, sent)
	if acked == 0 {
		return once
	}
	if once > acked+queued {
		once = acked - 1 + queued
	}
	return max(once, acked-1)
}

// users reads the first process of users:(("name",pid=1,fd=2),...) after its
// opening, and returns what follows the list. Old versions write
// ("name",1,2). A name may hold blanks, quotes and parentheses.
func (r *ssReader) users(t []byte, s *record.Socket) []byte {
	end := bytes.Index(t, []byte("))"))
	for end >= 0 && end+2 < len(t) && t[end+2] != ' ' && t[end+2] != '\t' {
		next := bytes.Index(t[end+1:], []byte("))"))
		if next < 0 {
			break
		}
		end += 1 + next
	}
	list, rest := t, []byte(nil)
	if end >= 0 {
		list, rest = t[:end], t[end+2:]
	}
	list = bytes.TrimPrefix(list, []byte(`"`))
	i, skip := bytes.Index(list, []byte(`",pid=`)), len(`",pid=`)
	if i < 0 {
		i, skip = bytes.Index(list, []byte(`",`)), len(`",`)
		r.older = r.older || i >= 0
	}
	if i < 0 {
		return rest
	}
	pid := list[i+skip:]
	if j := bytes.IndexByte(pid, ','); j >= 0 {
		pid = pid[:j]
	}
	if n, ok := number(pid); ok && n < 1<<31 {
		s.PID = int(n)
		s.Program = r.names.get(list[:i])
	}
	return rest
}
