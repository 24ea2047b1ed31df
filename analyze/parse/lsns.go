package parse

import (
	"bytes"
	"path"
	"strconv"
	"strings"

	"whichbackend/analyze/record"
)

// lsns, lsns -t net and lsns -J (util-linux 2.38.1):
//
//	        NS TYPE NPROCS   PID USER    NETNSID NSFS                           COMMAND
//	4026532430 net       2   949 root          5 /run/docker/netns/893adf566ad0 nginx: master process /usr/sbin/nginx
//
// It ties a process to its network namespace, by inode and, where it is
// mounted, by name: then one row makes two owners, that of the name and that
// of the inode, since other listings know only one of them.
var lsnsFormat = Format{Name: "lsns", Head: lsnsHead, Open: lsnsOpen, Claim: lsnsClaim, Doc: lsnsDoc}

func lsnsHead(line []byte) bool {
	if len(line) < 12 {
		return false
	}
	if line[0] == 'N' {
		first, second := ipWords(line)
		return string(first) == "NS" && string(second) == "TYPE"
	}
	if line[0] != '4' || line[1] != '0' || line[2] != '2' || line[3] != '6' || line[10] != ' ' {
		return false
	}
	first, second := ipWords(line)
	_, ok := number(first)
	return ok && lsnsType(string(second))
}

func lsnsType(s string) bool {
	switch s {
	case "mnt", "net", "ipc", "user", "pid", "uts", "cgroup", "time":
		return true
	}
	return false
}

func lsnsOpen(out *Out) (func([]byte), func()) {
	var columns []string
	nsfs := -1 // where the column NSFS begins, when the text has its padding
	return func(b []byte) {
		line := bytes.TrimRight(b, " ")
		words := strings.Fields(string(bytes.TrimLeft(line, " │├└─"))) // -T draws a tree
		switch {
		case len(words) == 0:
		case words[0] == "NS" && len(words) > 1 && words[1] == "TYPE":
			columns = words
			nsfs = -1
			if b[0] == ' ' {
				nsfs = bytes.Index(b, []byte("NSFS"))
			}
			out.Understood()
		case len(words) == 1 && words[0][0] == '/':
			out.Understood() // another mount of the namespace above
		default:
			lsnsRow(words, columns, lsnsCell(b, nsfs), nsfs > 0, out)
		}
	}, nil
}

// lsnsCell is the word that begins at a column; "" when the cell is empty or
// there is no such column.
func lsnsCell(line []byte, column int) string {
	if column < 1 || column >= len(line) || line[column-1] != ' ' || line[column] == ' ' {
		return ""
	}
	first, _ := ipWords(line[column:])
	return string(first)
}

// lsnsRow reads a row by its words: NS TYPE NPROCS PID USER [NETNSID [NSFS]]
// COMMAND. Without padding a path below /run is the namespace's, not the
// command's.
func lsnsRow(words, columns []string, nsfs string, padded bool, out *Out) {
	if len(words) < 5 || !lsnsType(words[1]) {
		out.Problem("expected a row of lsns: inode, type, processes, pid, user")
		return
	}
	inode, ok := number([]byte(words[0]))
	pid, ok2 := number([]byte(words[3]))
	if !ok || !ok2 || pid > 1<<31-1 {
		out.Problem("expected the namespace's inode and a pid")
		return
	}
	if words[1] != "net" {
		out.Ignore()
		return
	}
	rest := words[5:]
	if len(columns) == 0 && len(rest) > 1 && (rest[0] == "unassigned" || lsnsIsPath(rest[1])) || indexOf(columns, "NETNSID") >= 0 {
		if len(rest) > 0 {
			rest = rest[1:]
		}
		if len(rest) > 0 && (nsfs == rest[0] || !padded && lsnsIsPath(rest[0])) {
			nsfs, rest = rest[0], rest[1:]
		} else {
			nsfs = ""
		}
	}
	lsnsEmit(inode, int(pid), nsfs, strings.Join(rest, " "), out)
}

func lsnsIsPath(s string) bool {
	return strings.HasPrefix(s, "/run/") || strings.HasPrefix(s, "/var/run/")
}

func lsnsEmit(inode uint64, pid int, nsfs, command string, out *Out) {
	o := record.Owner{Kind: record.OwnerProcess, Name: command, PID: pid, Netns: strconv.FormatUint(inode, 10)}
	out.Owner(o)
	if nsfs != "" {
		o.Netns = path.Base(nsfs)
		out.Owner(o)
	}
}

func lsnsClaim(d *Doc) bool {
	var rows []struct {
		NS   *uint64 `json:"ns"`
		Type string  `json:"type"`
	}
	return d.Has("namespaces") && d.Get("namespaces", &rows) && (len(rows) == 0 || rows[0].NS != nil && lsnsType(rows[0].Type))
}

func lsnsDoc(d *Doc, out *Out) {
	var list struct {
		Namespaces []struct {
			NS      uint64  `json:"ns"`
			Type    string  `json:"type"`
			PID     int     `json:"pid"`
			NSFS    *string `json:"nsfs"`
			Command string  `json:"command"`
		} `json:"namespaces"`
	}
	dockerDecode(d.Raw, &list, "", out)
	for i, n := range list.Namespaces {
		if n.Type != "net" {
			continue
		}
		out.At("/namespaces/" + strconv.Itoa(i))
		if n.NS == 0 {
			out.Problem("expected the namespace's inode")
			continue
		}
		nsfs := ""
		if n.NSFS != nil {
			nsfs, _, _ = strings.Cut(*n.NSFS, "\n")
		}
		lsnsEmit(n.NS, max(n.PID, 0), nsfs, n.Command, out)
	}
}
