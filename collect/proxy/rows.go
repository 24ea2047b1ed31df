package proxy

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
)

// accessRow gives a line of a log as it is recorded, without its line end: a row
// of an access log, with what followed the ? of a path left out; nil for any
// other line, which may say anything. What the container runtime put before or
// around the row stays; of what docker adds, labels and environment do not.
func accessRow(line []byte) []byte {
	if !bytes.HasPrefix(line, []byte(`{"log":"`)) {
		return criRow(line)
	}
	var d struct {
		Log    string `json:"log"`
		Stream string `json:"stream,omitempty"`
		Time   string `json:"time,omitempty"`
	}
	if json.Unmarshal(line, &d) != nil || !strings.HasSuffix(d.Log, "\n") {
		return nil // a part of a long line
	}
	row := plainRow(bytes.TrimRight([]byte(d.Log), "\r\n"))
	if row == nil {
		return nil
	}
	d.Log = string(row) + "\n"
	out, err := json.Marshal(&d)
	if err != nil {
		return nil
	}
	return out
}

// criRow takes TIME STREAM F off, as Kubernetes' runtimes write it. A row in
// parts, of which all but the last have P, is more than is worth to put together.
func criRow(line []byte) []byte {
	for _, mark := range []string{" stdout F ", " stderr F "} {
		i := bytes.Index(line, []byte(mark))
		if n := timestamp(line); n == 0 || i != n {
			continue
		}
		row := plainRow(line[i+len(mark):])
		if row == nil {
			return nil
		}
		return append(append(make([]byte, 0, len(line)), line[:i+len(mark)]...), row...)
	}
	return plainRow(line)
}

// isPart tells a line that the next one goes on.
func isPart(line []byte) bool {
	n := timestamp(line)
	return n > 0 && (bytes.HasPrefix(line[n:], []byte(" stdout P ")) || bytes.HasPrefix(line[n:], []byte(" stderr P ")))
}

func plainRow(row []byte) []byte {
	row = bytes.TrimSpace(row)
	switch {
	case len(row) < 20:
	case row[0] == '[':
		return textRow(row)
	case row[0] == '{':
		return jsonRow(row)
	case ztunnelRow(row) && !secretRow(row):
		return row
	}
	return nil
}

// timestamp is the length of the RFC 3339 time that a text begins with, 0 when
// it does not.
func timestamp(b []byte) int {
	if len(b) < 20 || b[0] != '2' || b[4] != '-' || b[7] != '-' || b[10] != 'T' || b[13] != ':' || b[16] != ':' {
		return 0
	}
	for i := 19; i < len(b) && i < 36; i++ {
		switch c := b[i]; {
		case c >= '0' && c <= '9' || c == '.' || c == '+' || c == '-' || c == ':':
		case c == 'Z':
			return i + 1
		case c == ' ' || c == '\t' || c == ']':
			return i
		default:
			return 0
		}
	}
	return 0
}

// textRow tells [TIME] "METHOD PATH PROTOCOL" CODE ....
func textRow(row []byte) []byte {
	n := timestamp(row[1:])
	if n == 0 || !bytes.HasPrefix(row[n+1:], []byte(`] "`)) || secretRow(row) {
		return nil
	}
	at := n + 4
	for i := at; i < len(row); i++ {
		j := bytes.IndexByte(row[i:], '"')
		if j < 0 {
			return nil
		}
		i += j
		request := row[at:i]
		proto := request[bytes.LastIndexByte(request, ' ')+1:]
		if !isCode(row[i+1:]) || !bytes.HasPrefix(proto, []byte("HTTP/")) && string(proto) != "-" {
			continue
		}
		out := append(make([]byte, 0, len(row)), row[:at]...)
		out = append(out, cutRequest(request)...)
		return append(out, cutQueries(row[i:])...)
	}
	return nil
}

// secretRow tells rows that have what a header Authorization has. No usual format
// does, but a format may have any header.
func secretRow(row []byte) bool {
	low := bytes.ToLower(row)
	for _, s := range []string{"bearer ", "basic ", `"eyj`, "=eyj", "-----begin"} {
		if bytes.Contains(low, []byte(s)) {
			return true
		}
	}
	return false
}

// isCode tells " CODE ".
func isCode(b []byte) bool {
	code, _, ok := bytes.Cut(bytes.TrimPrefix(b, []byte(" ")), []byte(" "))
	return ok && len(code) > 0 && len(code) < 4 && b[0] == ' ' && len(bytes.Trim(code, "0123456789")) == 0
}

// cutRequest cuts the path of METHOD PATH PROTOCOL, which may hold blanks.
func cutRequest(b []byte) []byte {
	q, end := bytes.IndexByte(b, '?'), bytes.LastIndexByte(b, ' ')
	if q < 0 || end < q {
		return b
	}
	return append(append(append(make([]byte, 0, len(b)+4), b[:q]...), "?..."...), b[end:]...)
}

// cutQueries cuts what follows a ? up to a blank or a quote, wherever it stands:
// another address in the row, as that of a referer, has a query of its own.
func cutQueries(b []byte) []byte {
	var out []byte
	for {
		q := bytes.IndexByte(b, '?')
		if q < 0 {
			return append(out, b...)
		}
		out = append(append(out, b[:q]...), "?..."...)
		end := bytes.IndexAny(b[q:], "\" \t")
		if end < 0 {
			return out
		}
		b = b[q+end:]
	}
}

// jsonRow tells an object that is an access row of Istio, Envoy or ztunnel.
func jsonRow(row []byte) []byte {
	if row[len(row)-1] != '}' {
		return nil
	}
	f := newFilter(bytes.NewReader(row), secrets)
	envoy, tunnel := false, 0
	f.text = func(_ *object, key string, raw []byte) []byte {
		switch key {
		case "downstream_remote_address", "downstream_local_address", "upstream_host", "upstream_cluster":
			envoy = true
		case "src.addr", "dst.addr":
			tunnel++
		case "user_agent", "user-agent":
			return raw
		}
		for _, mark := range []string{"?", `\u003f`, `\u003F`} {
			if q := bytes.Index(raw, []byte(mark)); q >= 0 {
				raw = append(raw[:q:q], "?..."...)
			}
		}
		return raw
	}
	out, err := io.ReadAll(f)
	if err != nil || !envoy && tunnel < 2 {
		return nil
	}
	return out
}

// ztunnelRow tells TIME LEVEL access connection ....
func ztunnelRow(b []byte) bool {
	n := timestamp(b)
	f := bytes.Fields(b[n:min(len(b), n+200)])
	return n > 0 && len(f) > 3 && string(f[1]) == "access" && string(f[2]) == "connection"
}
