package parse

import "bytes"

// The lines of an Istio proxy's log, of istiod's and of ztunnel's that are no
// access rows (Istio 1.16):
//
//	2023-01-07T20:52:22.129639Z	info	xdsproxy	connected to upstream XDS server: istiod.istio-system.svc:15012
//	{"level":"info","time":"2023-05-10T17:43:55.356626Z","msg":"Readiness succeeded"}
//
// and what is put before a line by those who carry logs: kubectl logs
// --prefix and --timestamps, the container runtime (CRI), Docker.

var (
	istioDockerLog = []byte(`{"log":"`)
	istioPodPrefix = []byte("[pod/")
	istioLogLevels = [][]byte{[]byte("info"), []byte("warn"), []byte("error"), []byte("debug"), []byte("warning"), []byte("critical"),
		[]byte("fatal"), []byte("trace"), []byte("INFO"), []byte("WARN"), []byte("ERROR"), []byte("DEBUG"), []byte("TRACE")}
)

// istioLogBody takes the carriers' prefixes off a line. buf takes a line that
// Docker wrapped in JSON, as far as it has room.
func istioLogBody(b, buf []byte) []byte {
	b = bytes.TrimSpace(b)
	if bytes.HasPrefix(b, istioDockerLog) {
		b = bytes.TrimSpace(istioUnescape(b[len(istioDockerLog):], buf))
	}
	if bytes.HasPrefix(b, istioPodPrefix) {
		if i := bytes.Index(b, []byte("] ")); i > 0 {
			b = bytes.TrimSpace(b[i+2:])
		}
	}
	for range 2 { // kubectl logs --timestamps of what the runtime stamped
		n := istioTimestamp(b)
		if n == 0 || n >= len(b) || b[n] != ' ' {
			break
		}
		rest := bytes.TrimLeft(b[n:], " ")
		for _, p := range [][]byte{[]byte("stdout F "), []byte("stderr F "), []byte("stdout P "), []byte("stderr P ")} {
			rest = bytes.TrimPrefix(rest, p)
		}
		if len(rest) < 3 || !(rest[0] == '[' && rest[1] == '2' || rest[0] == '{' || rest[0] == '"' || istioTimestamp(rest) > 0) {
			break
		}
		b = bytes.TrimSpace(rest)
	}
	return bytes.Trim(b, "`")
}

// istioTimestamp is the length of the RFC 3339 time that a text begins with,
// 0 when it does not.
func istioTimestamp(b []byte) int {
	if len(b) < 20 || b[0] != '2' || b[4] != '-' || b[7] != '-' || b[10] != 'T' || b[13] != ':' || b[16] != ':' {
		return 0
	}
	for i := 19; i < len(b) && i < 36; i++ {
		switch c := b[i]; {
		case c == 'Z':
			return i + 1
		case c == ' ' || c == '\t' || c == ']':
			return i
		case c >= '0' && c <= '9' || c == '.' || c == '+' || c == '-' || c == ':':
		default:
			return 0
		}
	}
	return 0
}

// istioLogLine tells TIME LEVEL ..., and what follows the level.
func istioLogLine(b []byte) (rest []byte, ok bool) {
	n := istioTimestamp(b)
	if n > 0 {
		if n >= len(b) || b[n] != ' ' && b[n] != '\t' {
			return nil, false
		}
		b = bytes.TrimLeft(b[n:], " \t")
	}
	for _, l := range istioLogLevels {
		if len(b) > len(l) && bytes.HasPrefix(b, l) && (b[len(l)] == ' ' || b[len(l)] == '\t') {
			return bytes.TrimLeft(b[len(l):], " \t"), n > 0
		}
	}
	return nil, false
}

// istioJSONLine tells a line of a log that Istio writes as JSON.
func istioJSONLine(b []byte) bool {
	if !bytes.HasPrefix(b, []byte(`{"level":"`)) {
		return false
	}
	i := bytes.IndexByte(b[10:], '"')
	return i > 0 && i < 10 && bytes.HasPrefix(b[10+i:], []byte(`","time":"2`))
}

// istioBugReportMark is what a bug report puts between a log and the one
// before it.
var istioBugReportMark = []byte("========= Previous log")

// istioUnescape copies the JSON string that b begins with, up to its closing
// quote, into buf. It stops when buf is full.
func istioUnescape(b, buf []byte) []byte {
	out := buf[:0]
	for i := 0; i < len(b) && len(out) < cap(buf)-4; i++ {
		c := b[i]
		if c == '"' {
			break
		}
		if c != '\\' || i+1 >= len(b) {
			out = append(out, c)
			continue
		}
		i++
		switch b[i] {
		case 'n':
			out = append(out, '\n')
		case 't':
			out = append(out, '\t')
		case 'r':
			out = append(out, '\r')
		case 'u':
			if i+4 < len(b) {
				out = append(out, istioRune(b[i+1:i+5]))
				i += 4
			}
		default:
			out = append(out, b[i])
		}
	}
	return out
}

// istioRune reads four hex digits. Only ASCII occurs in what is read of a log.
func istioRune(hex []byte) byte {
	n := 0
	for _, c := range hex {
		n <<= 4
		switch {
		case c >= '0' && c <= '9':
			n |= int(c - '0')
		case c >= 'a' && c <= 'f':
			n |= int(c-'a') + 10
		case c >= 'A' && c <= 'F':
			n |= int(c-'A') + 10
		}
	}
	if n > 0x7f {
		return '?'
	}
	return byte(n)
}

// istioFlat walks the members of an object on one line. Strings come without
// their quotes and with their escapes, which no address, number or name has;
// other values as they stand. each returns false to stop. ok is false when
// the text is no whole object.
func istioFlat(b []byte, each func(key, value []byte) bool) (ok bool) {
	i := istioSpace(b, 0)
	if i >= len(b) || b[i] != '{' {
		return false
	}
	i = istioSpace(b, i+1)
	for i < len(b) && b[i] != '}' {
		end := istioString(b, i)
		if end < 0 {
			return false
		}
		key := b[i+1 : end-1]
		i = istioSpace(b, end)
		if i >= len(b) || b[i] != ':' {
			return false
		}
		i = istioSpace(b, i+1)
		end = istioValue(b, i)
		if end < 0 {
			return false
		}
		value := b[i:end]
		if value[0] == '"' {
			value = value[1 : len(value)-1]
		}
		if !each(key, value) {
			return true
		}
		i = istioSpace(b, end)
		if i < len(b) && b[i] == ',' {
			i = istioSpace(b, i+1)
		}
	}
	return i < len(b)
}

func istioSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}

// istioString is the place after the string at i, -1 when there is none.
func istioString(b []byte, i int) int {
	if i >= len(b) || b[i] != '"' {
		return -1
	}
	for i++; i < len(b); i++ {
		j := bytes.IndexByte(b[i:], '"')
		if j < 0 {
			return -1
		}
		if k := bytes.IndexByte(b[i:i+j], '\\'); k >= 0 {
			i += k + 1 // the escaped byte is passed by the loop
			continue
		}
		return i + j + 1
	}
	return -1
}

// istioValue is the place after the value at i, -1 when there is none.
func istioValue(b []byte, i int) int {
	if i >= len(b) {
		return -1
	}
	switch b[i] {
	case '"':
		return istioString(b, i)
	case '{', '[':
		var d depth
		if done, rest := d.add(b[i:]); done {
			return len(b) - len(rest)
		}
		return -1
	}
	start := i
	for i < len(b) && b[i] != ',' && b[i] != '}' && b[i] != ' ' && b[i] != '\n' && b[i] != '\r' && b[i] != '\t' {
		i++
	}
	if i == start {
		return -1
	}
	return i
}
