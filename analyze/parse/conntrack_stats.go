package parse

import (
	"bytes"
	"path"
	"strconv"
	"strings"

	"whichbackend/analyze/record"
)

// What connection tracking has counted. conntrack -S (conntrack 1.4.7), one
// line a CPU:
//
//	cpu=0   	found=0 invalid=0 insert=10 insert_failed=0 drop=0 early_drop=0 error=0 search_restart=0 clash_resolve=0 chaintoolong=0
//
// the sums that an older conntrack -S prints when it may not ask the kernel:
//
//	insert_failed       		3
//
// /proc/net/stat/nf_conntrack, whose numbers are hexadecimal, one row a CPU,
// and whose first column is the number of entries in the whole table, on each
// row the same:
//
//	entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error  expect_new ...
//	0000001b  00000000 00000000 00000000 ...
//
// and conntrack -C, one bare number, where the command is known. A format of
// its own, since a place where only this was recorded has no connection table.
var conntrackStatsFormat = Format{Name: "conntrack-stats", Head: conntrackStatsHead, Open: conntrackStatsOpen, Prints: conntrackStatsPrints}

// conntrackCounters are the names of what is counted, and whether no other
// tool uses the word.
var conntrackCounters = map[string]bool{
	"entries": false, "searched": false, "clashres": true, "found": false, "new": false, "invalid": false, "ignore": false,
	"delete": false, "delete_list": true, "chainlength": true, "insert": false, "insert_failed": true, "drop": false,
	"early_drop": true, "error": false, "icmp_error": true, "expect_new": true, "expect_create": true, "expect_delete": true,
	"search_restart": true, "clash_resolve": true, "chaintoolong": true,
}

func conntrackStatsHead(b []byte) bool {
	if len(b) < 8 || b[0] < 'a' || b[0] > 's' {
		return false
	}
	switch {
	case bytes.HasPrefix(b, []byte("cpu=")):
		return bytes.Contains(b[:min(len(b), 512)], []byte("insert_failed="))
	case len(b) > 100:
		return bytes.HasPrefix(b, []byte("entries ")) && bytes.Contains(b[:min(len(b), 512)], []byte(" insert_failed "))
	case len(b) > 60:
		return false
	}
	i := bytes.IndexAny(b, " \t")
	if i < 0 {
		return false
	}
	own, known := conntrackCounters[string(b[:i])]
	if !known {
		return false
	}
	_, ok := number(bytes.TrimSpace(b[i:]))
	return ok && (own || bytes.Contains(b, []byte("\t\t")) || bytes.Contains(b, []byte("        ")))
}

func conntrackStatsPrints(words []string, line []byte) bool {
	if path.Base(words[0]) != "conntrack" || len(words) < 2 || words[1] != "-C" && words[1] != "--count" {
		return false
	}
	_, ok := number(line)
	return ok
}

// conntrackStats is the state of a section.
type conntrackStats struct {
	out    *Out
	header []string // of /proc/net/stat/nf_conntrack
	cpu    int      // rows read below the header
}

func conntrackStatsOpen(out *Out) (func([]byte), func()) {
	s := &conntrackStats{out: out}
	return s.line, nil
}

func (s *conntrackStats) line(raw []byte) {
	b := bytes.TrimSpace(raw)
	if len(b) == 0 {
		return
	}
	var buf [40][]byte
	f := fields(b, buf[:0])
	switch {
	case bytes.HasPrefix(b, []byte("cpu=")):
		s.perCPU(f)
	case len(f) > 2 && string(f[0]) == "entries":
		s.header, s.cpu = s.header[:0], 0
		for _, w := range f {
			s.header = append(s.header, string(w))
		}
		s.out.Understood()
	case len(f) == 2:
		s.sum(f)
	case len(f) == 1:
		s.count(f[0])
	case s.header != nil:
		s.procRow(f)
	}
}

func (s *conntrackStats) emit(subject, name string, n uint64) {
	s.out.Reading(record.Reading{Subject: subject, Name: name, Value: strconv.FormatUint(n, 10), Number: readingNumber(n)})
}

// readingNumber is a number as readings keep it; one beyond that is none.
func readingNumber(n uint64) int64 { return max(int64(n), 0) }

// perCPU reads a line whose words are NAME=NUMBER, all of them or none.
func (s *conntrackStats) perCPU(f [][]byte) {
	values := make([]uint64, len(f))
	for i, w := range f {
		eq := bytes.IndexByte(w, '=')
		if eq <= 0 {
			s.out.Problem("expected NAME=NUMBER")
			return
		}
		n, ok := number(w[eq+1:])
		if !ok {
			s.out.Problem("expected a number after " + string(clip(w[:eq+1])))
			return
		}
		values[i] = n
	}
	for i, w := range f[1:] {
		s.emit("cpu "+strconv.FormatUint(values[0], 10), string(w[:bytes.IndexByte(w, '=')]), values[i+1])
	}
	s.out.Understood()
}

// sum reads a line of the list that is of all CPUs.
func (s *conntrackStats) sum(f [][]byte) {
	n, ok := number(f[1])
	if _, known := conntrackCounters[string(f[0])]; !ok || !known {
		s.out.Problem("expected a counter and its number")
		return
	}
	s.emit("", string(f[0]), n)
}

// count reads what conntrack -C prints.
func (s *conntrackStats) count(b []byte) {
	if n, ok := number(b); ok && strings.Contains(s.out.Command(), "conntrack") {
		s.emit("", "entries", n)
	}
}

// procRow reads a row of /proc/net/stat/nf_conntrack. The column of entries is
// told once, as of the whole.
func (s *conntrackStats) procRow(f [][]byte) {
	if len(f) != len(s.header) {
		s.out.Problem("expected " + strconv.Itoa(len(s.header)) + " numbers, as the header has columns")
		return
	}
	values := make([]uint64, len(f))
	for i, w := range f {
		n, err := strconv.ParseUint(string(w), 16, 64)
		if err != nil {
			s.out.Problem("expected hexadecimal numbers")
			return
		}
		values[i] = n
	}
	for i, name := range s.header {
		switch {
		case name != "entries":
			s.emit("cpu "+strconv.Itoa(s.cpu), name, values[i])
		case s.cpu == 0:
			s.emit("", name, values[i])
		}
	}
	s.cpu++
	s.out.Understood()
}
