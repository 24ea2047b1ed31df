package parse

import (
	"bytes"
	"strings"

	"whichbackend/analyze/record"
)

// Listings of Cilium that say nothing about connections or backends, but
// often lie beside those that do: version, status, map list, tunnel and node
// id list, the programs and maps that bpftool prints. Of the status, readings
// keep the sizes of the datapath's maps.
//
//	Client: 1.14.16 go version go1.26.8 linux/amd64
//	Daemon: 1.14.16 go version go1.26.8 linux/amd64
//
// (cilium 1.14.16)

var ciliumOtherHeads = [][2]string{
	{"KVStore:", " "},
	{"Client: ", " go version "},
	{"Daemon: ", " go version "},
	{"Name ", "Num entries"},
	{"TUNNEL ", "VALUE"},
	{"NODE ID ", "IP ADDRESSES"},
}

func ciliumOtherHead(b []byte) bool {
	if len(b) < 4 {
		return false
	}
	switch b[0] {
	case 'K', 'C', 'D', 'N', 'T':
		for _, h := range ciliumOtherHeads {
			if bytes.HasPrefix(b, []byte(h[0])) && bytes.Contains(b[len(h[0]):], []byte(h[1])) {
				return true
			}
		}
	case 'x':
		return string(b) == "xdp:" // bpftool net
	case 'k':
		return string(b) == "key:" // bpftool map dump
	}
	return ciliumHexRow(b)
}

// ciliumHexRow tells "0a 60 4d 08 0a 00 01 9c  d0 60", a row of bpftool's hex
// dump of more than eight bytes.
func ciliumHexRow(b []byte) bool {
	if len(b) < 27 || b[2] != ' ' || b[5] != ' ' || b[23] != ' ' || b[24] != ' ' {
		return false
	}
	for i, c := range b[:23] {
		if (i%3 == 2) != (c == ' ') || c != ' ' && !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') {
			return false
		}
	}
	return true
}

func ciliumOtherOpen(out *Out) (func([]byte), func()) {
	status, maps := false, false
	return func(raw []byte) {
		b := bytes.TrimSpace(raw)
		head := ciliumOtherHead(b)
		if head {
			status = b[0] == 'K'
		}
		if status && len(raw) > 0 && raw[0] != ' ' {
			maps = bytes.HasPrefix(b, []byte("BPF Map"))
		}
		if status && maps && ciliumMapSize(out, b) {
			return
		}
		ciliumVersion(out, b)
		if ciliumAside(out, b) {
			return
		}
		if head || ciliumOtherLine(raw, b, status) {
			out.Ignore()
		}
	}, nil
}

// ciliumMapSize reads "TCP connection tracking   221723", a row of the sizes
// of the maps below "BPF Maps:" ("BPF Map sizes:" in old versions).
func ciliumMapSize(out *Out, b []byte) bool {
	i := bytes.LastIndexByte(b, ' ')
	if i < 1 {
		return false
	}
	n, ok := ciliumUint32(b[i+1:])
	name := string(bytes.TrimSpace(b[:i]))
	if !ok || name == "" {
		return false
	}
	out.Reading(record.Reading{Subject: "size", Name: name, Value: string(b[i+1:]), Number: int64(n)})
	return true
}

// ciliumOtherLine tells a line that may belong to these listings.
func ciliumOtherLine(raw, b []byte, status bool) bool {
	if status {
		return raw[0] == ' ' || bytes.IndexByte(b, ':') > 0 || bytes.HasPrefix(b, []byte("- "))
	}
	word, rest := ciliumWord(b)
	rest = bytes.TrimSpace(rest)
	if _, ok := ciliumHex(word); ok && len(word) == 2 {
		return true
	}
	switch {
	case bytes.HasPrefix(b, []byte("0x")), bytes.HasPrefix(b, []byte("cilium_")):
		return len(rest) > 0
	case bytes.HasPrefix(b, []byte("Found ")), bytes.HasPrefix(b, []byte("value")):
		return true
	case len(rest) == 0:
		return word[len(word)-1] == ':'
	}
	if _, ok := address(word); ok {
		return true
	}
	return bytes.Contains(b, []byte(" id ")) || bytes.Contains(b, []byte("prog_id"))
}

// ciliumVersion takes the version from "Client: 1.14.16 go version" and from
// the status line "Cilium:  Ok   1.14.2 (v1.14.2-a6748946)".
func ciliumVersion(out *Out, b []byte) {
	word, rest := ciliumWord(b)
	version, rest := ciliumWord(rest)
	switch string(word) {
	case "Client:", "Daemon:":
	case "Cilium:":
		version, _ = ciliumWord(rest)
	default:
		return
	}
	if len(version) > 1 && version[0] >= '0' && version[0] <= '9' {
		out.Tool("cilium " + string(version))
	}
}

// ciliumOtherClaim knows the JSON of map list.
func ciliumOtherClaim(d *Doc) bool {
	if !d.Has("maps") {
		return false
	}
	var maps []struct {
		Path string `json:"path"`
	}
	return d.Get("maps", &maps) && len(maps) > 0 && strings.Contains(maps[0].Path, "/cilium_")
}

func ciliumOtherDoc(*Doc, *Out) {}
