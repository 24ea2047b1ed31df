package parse

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// The tables of the docker client (and of podman, which prints the same with
// an unquoted COMMAND):
//
//	CONTAINER ID   IMAGE          COMMAND             CREATED         STATUS         PORTS     NAMES
//	629ce9160ad6   nginx:1.22.1   "/usr/sbin/nginx"   7 minutes ago   Up 6 minutes   80/tcp    demo_nginx.2.fyvrw8wufatmscq94lhqu446r
//
// docker 20.10.24, docker ps. Columns are padded by runes (COMMAND holds a
// "…"), and COMMAND, CREATED, STATUS, PORTS and ERROR hold blanks. A row of a
// default table is read by its words (anchors such as the quotes, "ago" and
// the state), which needs no padding; a row that this does not explain, as in
// a table of chosen columns, is cut at the columns of the header.
var dockerTableFormat = Format{Name: "docker-table", Head: dockerTableHead, Open: dockerTableOpen}

// dockerCells are the cells of a row by the names of their columns.
type dockerCells map[string]string

// dockerTable is one of the client's tables.
type dockerTable struct {
	columns []string // every column that it may show
	needs   []string // a header without these is another table's
	// words reads a row of the default columns from its words. It is nil
	// where cutting at the header's columns is the only way.
	words func(line []byte) (dockerCells, bool)
	emit  func(c dockerCells, out *Out) (why string)
}

var dockerTables = []dockerTable{
	{
		columns: []string{"CONTAINER ID", "IMAGE", "COMMAND", "CREATED AT", "CREATED", "STATUS", "STATE", "PORTS", "NAMES", "SIZE",
			"NETWORKS", "LABELS", "MOUNTS", "LOCAL VOLUMES", "RUNNING FOR", "POD ID", "PODNAME", "NETWORK"},
		needs: []string{"NAMES"}, words: dockerPsWords, emit: dockerPsEmit,
	},
	{
		columns: []string{"CONTAINER ID", "IMAGE", "COMMAND", "CREATED AT", "CREATED", "STATUS", "STATE", "PORTS", "SIZE", "NETWORKS"},
		needs:   []string{"CONTAINER ID", "STATUS"}, emit: dockerPsEmit,
	},
	{
		columns: []string{"ID", "NAME", "IMAGE", "NODE", "DESIRED STATE", "CURRENT STATE", "ERROR", "PORTS"},
		needs:   []string{"NAME", "NODE", "CURRENT STATE"}, words: dockerTaskWords, emit: dockerTaskEmit,
	},
	{
		columns: []string{"ID", "NAME", "MODE", "REPLICAS", "IMAGE", "PORTS"},
		needs:   []string{"NAME", "MODE", "REPLICAS"}, words: dockerServiceWords, emit: dockerServiceEmit,
	},
	{
		columns: []string{"ID", "HOSTNAME", "STATUS", "AVAILABILITY", "MANAGER STATUS", "ENGINE VERSION", "TLS STATUS"},
		needs:   []string{"HOSTNAME", "STATUS", "AVAILABILITY"}, words: dockerNodeWords, emit: dockerNodeEmit,
	},
	{
		columns: []string{"NETWORK ID", "NAME", "DRIVER", "SCOPE", "VERSION", "PLUGINS"},
		needs:   []string{"NETWORK ID", "NAME"}, words: dockerNetworkWords, emit: dockerNetworkEmit,
	},
}

// dockerHeader is the header of the table being read.
type dockerHeader struct {
	table  *dockerTable
	names  []string
	starts []int // where each column begins, in runes
	padded bool  // the line still has its padding
}

// dockerReadHeader reads a header line of any of the tables.
func dockerReadHeader(line []byte) (dockerHeader, bool) {
	s := strings.TrimSpace(string(line))
	for i := range dockerTables {
		t := &dockerTables[i]
		h := dockerHeader{table: t}
		rest := s
		for rest != "" {
			name := dockerColumn(t.columns, rest)
			if name == "" {
				break
			}
			h.names = append(h.names, name)
			h.starts = append(h.starts, len(s)-len(rest)) // a header is ASCII
			after := rest[len(name):]
			rest = strings.TrimLeft(after, " \t")
			h.padded = h.padded || len(after)-len(rest) > 1 && rest != ""
		}
		if rest == "" && len(h.names) > 1 && h.has(t.needs...) {
			return h, true
		}
	}
	return dockerHeader{}, false
}

// dockerColumn finds the column's name that s begins with.
func dockerColumn(columns []string, s string) string {
	best := ""
	for _, c := range columns {
		if len(c) > len(best) && strings.HasPrefix(s, c) && (len(s) == len(c) || s[len(c)] == ' ' || s[len(c)] == '\t') {
			best = c
		}
	}
	return best
}

func (h *dockerHeader) has(names ...string) bool {
	for _, n := range names {
		found := false
		for _, have := range h.names {
			found = found || have == n
		}
		if !found {
			return false
		}
	}
	return true
}

// cut cuts a row at the columns of the header. It fails when a column would
// begin inside a word: the row has lost its padding.
func (h *dockerHeader) cut(line []byte) (dockerCells, bool) {
	if !h.padded {
		return nil, false
	}
	cells := dockerCells{}
	s := string(line)
	offset, runes := 0, 0
	for i, name := range h.names {
		end := len(s)
		if i+1 < len(h.starts) {
			end = offset
			for ; runes < h.starts[i+1] && end < len(s); runes++ {
				_, n := utf8.DecodeRuneInString(s[end:])
				end += n
			}
			if end < len(s) && end > 0 && s[end-1] != ' ' {
				return nil, false
			}
		}
		cells[name] = strings.TrimSpace(s[offset:end])
		offset = end
	}
	return cells, true
}

// defaults tells whether the header shows the columns that the client shows
// when nobody chose any, so that a row can be read from its words.
func (h *dockerHeader) defaults() bool {
	return h.has("CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES") && (len(h.names) == 7 || len(h.names) == 8 && h.has("SIZE")) ||
		h.has("ID", "NAME", "IMAGE", "NODE", "DESIRED STATE", "CURRENT STATE") || h.has("ID", "NAME", "MODE", "REPLICAS", "IMAGE") ||
		h.has("ID", "HOSTNAME", "STATUS", "AVAILABILITY") || h.has("NETWORK ID")
}

func dockerTableHead(line []byte) bool {
	if len(line) < 10 {
		return false
	}
	switch c := line[0]; {
	case c == 'C' || c == 'I' || c == 'N' || c == 'H':
		for _, first := range []string{"CONTAINER ID", "NAMES", "ID ", "NETWORK ID", "HOSTNAME", "NAME "} {
			if len(line) > len(first) && string(line[:len(first)]) == first {
				_, ok := dockerReadHeader(line)
				return ok
			}
		}
		return false
	case c >= '0' && c <= '9' || c >= 'a' && c <= 'z':
		switch bytes.IndexByte(line, ' ') {
		case 12, 25, 64:
			_, _, ok := dockerRowWords(line)
			return ok
		}
		return c <= '9' && dockerIsPort(line)
	}
	return false
}

// dockerRowWords reads a row whose header was lost, where its words tell to
// which table it belongs.
func dockerRowWords(line []byte) (*dockerTable, dockerCells, bool) {
	id := line[:max(bytes.IndexByte(line, ' '), 0)]
	if len(id) != 12 && len(id) != 25 && len(id) != 64 || !dockerIsID(id) {
		return nil, nil, false
	}
	for i := range dockerTables {
		t := &dockerTables[i]
		if t.words == nil {
			continue
		}
		if c, ok := t.words(line); ok && c["certain"] != "" {
			return t, c, true
		}
	}
	return nil, nil, false
}

// dockerIsID tells whether b has only characters of an id: hexadecimal for
// containers, base 36 for the objects of a swarm.
func dockerIsID(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return len(b) > 0
}

func dockerIsHex(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return s != ""
}

func dockerTableOpen(out *Out) (func([]byte), func()) {
	var h dockerHeader
	return func(b []byte) {
		trimmed := bytes.TrimSpace(b)
		if len(trimmed) == 0 {
			return
		}
		if head, ok := dockerReadHeader(b); ok {
			h = head
			out.Understood()
			return
		}
		if dockerIsPort(trimmed) {
			dockerPortRow(trimmed, out)
			return
		}
		t, cells := h.table, dockerCells(nil)
		ok := false
		if t == nil {
			t, cells, ok = dockerRowWords(trimmed)
		} else {
			cells, ok = h.row(b, trimmed)
		}
		if !ok {
			out.Problem("expected a row of the docker table")
			return
		}
		if why := t.emit(cells, out); why != "" {
			out.Problem(why)
		}
	}, nil
}

func (h *dockerHeader) row(line, trimmed []byte) (dockerCells, bool) {
	if h.table.words != nil && h.defaults() {
		if c, ok := h.table.words(trimmed); ok {
			return c, true
		}
	}
	return h.cut(line)
}
