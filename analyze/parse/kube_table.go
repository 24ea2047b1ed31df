package parse

// NAMESPACE   NAME                     READY   STATUS    RESTARTS      AGE   IP           NODE     NOMINATED NODE   READINESS GATES
// shop        api-9dd4f94cb-njmvs      2/2     Running   3 (5m ago)    22s   10.244.2.2   knode2   <none>           <none>
//
// kubectl 1.34.1, kubectl get pods -A -o wide. Columns are three blanks apart;
// a table that was pasted may have one blank only. From the second five
// hundred rows on, columns may be wider than under the header.

import (
	"bytes"
	"strings"
)

// kubeKind is the kind of object that a table lists.
type kubeKind uint8

const (
	kubeOther kubeKind = iota // known to be kubectl's, says nothing that is needed
	kubePods
	kubeServices
	kubeEndpointsKind
	kubeSlices
	kubeNodes
	kubeCiliumEndpoints
	kubeCiliumNodes
)

// kubePrefixes are the kinds in the names of kubectl get all and -o name.
var kubePrefixes = map[string]kubeKind{
	"pod": kubePods, "service": kubeServices, "endpoints": kubeEndpointsKind, "endpointslice.discovery.k8s.io": kubeSlices,
	"node": kubeNodes, "ciliumendpoint.cilium.io": kubeCiliumEndpoints, "ciliumnode.cilium.io": kubeCiliumNodes,
	"deployment.apps": kubeOther, "replicaset.apps": kubeOther, "daemonset.apps": kubeOther, "statefulset.apps": kubeOther,
	"job.batch": kubeOther, "cronjob.batch": kubeOther, "configmap": kubeOther, "event": kubeOther, "namespace": kubeOther,
	"ciliumidentity.cilium.io": kubeOther,
}

// kubeColumn is a column and where it begins, in characters of the line.
type kubeColumn struct {
	name  string
	start int
}

// kubeHeader is a header line.
type kubeHeader struct {
	kind   kubeKind
	cols   []kubeColumn
	padded bool // the padding of the columns is there
}

// kubeRow is one row, cut into cells.
type kubeRow struct {
	cols  []kubeColumn
	cells []string
}

// get returns the cell of the first column of that name: kubectl get -L may
// add another NAME.
func (r kubeRow) get(name string) string {
	for i, c := range r.cols {
		if c.name == name && i < len(r.cells) {
			return r.cells[i]
		}
	}
	return ""
}

func (r kubeRow) has(name string) bool {
	for _, c := range r.cols {
		if c.name == name {
			return true
		}
	}
	return false
}

// kubeTwoWords are column names with a blank in them, for headers that lost
// their padding.
var kubeTwoWords = map[string]string{
	"NOMINATED": "NODE", "READINESS": "GATES", "IDENTITY": "ID", "SECURITY": "IDENTITY", "INGRESS": "ENFORCEMENT",
	"EGRESS": "ENFORCEMENT", "VISIBILITY": "POLICY", "LAST": "SEEN", "FIRST": "SEEN", "CREATED": "AT",
}

// kubeReadHeader reads a header line; nil when it is none.
func kubeReadHeader(line string) *kubeHeader {
	trimmed := strings.TrimSpace(line)
	if !strings.HasPrefix(trimmed, "NAME") && !strings.HasPrefix(trimmed, "LAST SEEN ") || len(trimmed) > 2000 {
		return nil
	}
	h := &kubeHeader{padded: strings.Contains(trimmed, "  ")}
	end := -1 // of the word before
	for i := 0; i < len(line); {
		if line[i] == ' ' || line[i] == '\t' {
			i++
			continue
		}
		start := i
		for i < len(line) && line[i] != ' ' && line[i] != '\t' {
			if line[i] >= 0x80 {
				return nil
			}
			i++
		}
		word := line[start:i]
		if n := len(h.cols); n > 0 && start == end+1 && line[end] == ' ' && kubeJoins(h.padded, h.cols[n-1].name, word) {
			h.cols[n-1].name += " " + word
		} else {
			h.cols = append(h.cols, kubeColumn{word, start})
		}
		end = i
	}
	if !h.classify() {
		return nil
	}
	return h
}

// kubeJoins tells whether a word that follows another after one blank belongs
// to the same column name.
func kubeJoins(padded bool, before, word string) bool {
	return padded || kubeTwoWords[before] == word || before == "ENDPOINT" && (word == "ID" || word == "STATE")
}

// classify tells which kind of table a header begins, and false when it is
// not plainly kubectl's.
func (h *kubeHeader) classify() bool {
	names := make([]string, 0, len(h.cols))
	for _, c := range h.cols {
		if !kubeColumnName(c.name) {
			return false
		}
		names = append(names, c.name)
	}
	if names[0] == "NAMESPACE" {
		names = names[1:]
	}
	if len(names) < 2 {
		return false
	}
	has := kubeRow{cols: h.cols}.has
	if names[0] != "NAME" {
		return names[0] == "LAST SEEN" && has("REASON")
	}
	switch {
	case has("READY") && has("STATUS") && has("RESTARTS"), kubeCustomPods(has):
		h.kind = kubePods
	case (has("CLUSTER-IP") || has("CLUSTER_IP")) && has("PORT(S)"):
		h.kind = kubeServices
	case has("ADDRESSTYPE") && has("ENDPOINTS"):
		h.kind = kubeSlices
	case names[1] == "ENDPOINTS" && (len(names) == 2 || names[2] == "AGE"):
		h.kind = kubeEndpointsKind
	case names[1] == "STATUS" && has("AGE") && (has("ROLES") || has("VERSION") || has("INTERNAL-IP")):
		h.kind = kubeNodes
	case has("IPV4") && (has("ENDPOINT STATE") || has("ENDPOINT ID")):
		h.kind = kubeCiliumEndpoints
	case has("CILIUMINTERNALIP"):
		h.kind = kubeCiliumNodes
	default:
		return has("AGE") || has("CREATED AT") || has("APIVERSION") && has("KIND") || has("CPU(cores)") ||
			has("STATUS") && has("MESSAGE") && has("ERROR")
	}
	return true
}

// kubeCustomPods knows a table of pods that was made with -o custom-columns.
// A custom resource has an age, and ztunnel's workloads have a protocol.
func kubeCustomPods(has func(string) bool) bool {
	return has("IP") && has("NODE") && !has("AGE") && !has("PROTOCOL") && !has("WAYPOINT")
}

// kubeColumnName tells whether a word may name a column: capitals, apart from
// what stands in parentheses.
func kubeColumnName(s string) bool {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '(':
			depth++
		case c == ')':
			depth--
		case depth == 0 && c >= 'a' && c <= 'z', c == ':', c == ',', c == '"':
			return false
		}
	}
	return true
}

// cut cuts a row into cells: by the header's offsets; where the row does not
// fit them, by its gaps; where the padding is lost, by its words.
func (h *kubeHeader) cut(line string) (kubeRow, bool) {
	r := kubeRow{cols: h.cols}
	ok := false
	if h.padded {
		if r.cells, ok = h.byOffset([]rune(line)); ok {
			return r, true
		}
		if r.cells = kubeGaps(line); len(r.cells) == len(h.cols) {
			return r, true
		}
	}
	r.cells, ok = h.byWord(strings.Fields(line))
	return r, ok
}

// byOffset cuts where the header's columns begin, if two blanks stand before
// each of them, no cell begins with one, and none holds two.
func (h *kubeHeader) byOffset(line []rune) ([]string, bool) {
	if first := min(h.cols[0].start, len(line)); strings.TrimSpace(string(line[:first])) != "" {
		return nil, false
	}
	cells := make([]string, len(h.cols))
	for i, c := range h.cols {
		if c.start >= len(line) {
			break
		}
		if i > 0 && (line[c.start-1] != ' ' || line[c.start-2] != ' ') {
			return nil, false
		}
		end := len(line)
		if i+1 < len(h.cols) {
			end = min(end, h.cols[i+1].start)
		}
		cell := string(line[c.start:end])
		cells[i] = strings.TrimSpace(cell)
		if cells[i] != "" && cell[0] == ' ' || strings.Contains(cells[i], "  ") {
			return nil, false
		}
	}
	return cells, true
}

// kubeGaps cuts at runs of two or more blanks.
func kubeGaps(line string) []string {
	var cells []string
	for _, c := range strings.Split(strings.ReplaceAll(line, "\t", "  "), "  ") {
		if c = strings.TrimSpace(c); c != "" {
			cells = append(cells, c)
		}
	}
	return cells
}

// byWord gives each column its words. It fails where that is ambiguous: when
// the words do not come out even.
func (h *kubeHeader) byWord(words []string) ([]string, bool) {
	cells := make([]string, len(h.cols))
	for i, c := range h.cols {
		if c.name == "OS-IMAGE" {
			return cells, len(words) > 0 // free text, and nothing after it is needed
		}
		if len(words) == 0 {
			return cells, c.name == "IPV6" && i == len(h.cols)-1
		}
		if c.name == "NAMESPACE" && i == 0 && strings.Contains(words[0], "/") {
			continue // node/worker has no namespace
		}
		if _, isAddress := address([]byte(words[0])); c.name == "VERSION" && (isAddress || words[0][0] == '<') {
			continue // a node without a kubelet says none
		}
		n := kubeWords(c.name, words)
		cells[i] = strings.Join(words[:n], " ")
		words = words[n:]
	}
	return cells, len(words) == 0
}

// kubeWords counts the words of the next cell.
func kubeWords(column string, words []string) int {
	switch {
	case column == "RESTARTS" && len(words) > 2 && words[1][0] == '(' && words[2] == "ago)":
		return 3
	case len(words) > 3 && words[1] == "+" && words[3] == "more...": // PORTS, ENDPOINTS
		return 4
	case len(words) > 1 && words[0][0] == '<' && !strings.HasSuffix(words[0], ">") && strings.HasSuffix(words[1], ">"):
		return 2 // <status disabled>
	}
	return 1
}

// kubeTableHead claims headers, rows that nothing else writes, and the few
// lines that kubectl version and cluster-info print.
func kubeTableHead(b []byte) bool {
	if len(b) < 6 {
		return false
	}
	switch c := b[0]; {
	case c == 'N' || c == 'L':
		return (bytes.HasPrefix(b, []byte("NAME")) || bytes.HasPrefix(b, []byte("LAST SEEN "))) && kubeReadHeader(string(b)) != nil
	case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		return kubeRowHead(b)
	case c == 'C' || c == 'K' || c == 'S' || c == 'T':
		return kubeRemark(b)
	}
	return false
}

// kubeRemarks are lines of kubectl version, cluster-info and config.
var kubeRemarks = []string{
	"Client Version: v", "Kustomize Version: v", "Server Version: v", "Kubernetes control plane is running at ",
	"Kubernetes master is running at ", "CoreDNS is running at ", "KubeDNS is running at ",
	"To further debug and diagnose cluster problems, use 'kubectl ", "CURRENT   NAME ",
}

func kubeRemark(b []byte) bool {
	for _, p := range kubeRemarks {
		if len(b) >= len(p) && string(b[:len(p)]) == p {
			return true
		}
	}
	return false
}

// kubeRowHead looks at the second and third word, where every row that can be
// known without a header has a telling one, before it looks closer.
func kubeRowHead(b []byte) bool {
	var words [3][]byte
	n := 0
	for i := 0; i < len(b) && n < len(words); {
		for i < len(b) && b[i] == ' ' {
			i++
		}
		start := i
		for i < len(b) && b[i] != ' ' {
			i++
		}
		if i-start > 320 {
			return false
		}
		words[n] = b[start:i]
		n++
	}
	if n == 1 {
		return kubeNameOnly(b)
	}
	if kubeTelling(words[1]) || kubeTelling(words[2]) || bytes.HasPrefix(words[0], []byte("endpoints/")) || bytes.HasPrefix(words[1], []byte("endpoints/")) {
		_, kind := kubeGuess(strings.Fields(string(b)))
		return kind != kubeOther
	}
	return false
}

// kubeTelling tells whether a word can be the READY, TYPE, ADDRESSTYPE or
// STATUS of a row.
func kubeTelling(w []byte) bool {
	if len(w) < 3 {
		return false
	}
	switch w[0] {
	case 'C', 'E', 'L':
		return string(w) == kubeClusterIP || string(w) == kubeExternalName || string(w) == kubeLoadBalancer
	case 'N':
		return string(w) == kubeNodePort || bytes.HasPrefix(w, []byte("NotReady"))
	case 'I':
		return len(w) == 4 && (string(w) == "IPv4" || string(w) == "IPv6")
	case 'R':
		return bytes.HasPrefix(w, []byte("Ready"))
	}
	return w[0] >= '0' && w[0] <= '9' && len(w) < 10 && bytes.IndexByte(w, '/') > 0
}

// kubeNameOnly tells whether a line is a row of kubectl get -o name.
func kubeNameOnly(b []byte) bool {
	i := bytes.IndexByte(b, '/')
	if i <= 0 {
		return false
	}
	_, ok := kubePrefixes[string(b[:i])]
	return ok && kubeName(string(b[i+1:]))
}

// kubeName tells whether s can be the name of an object.
func kubeName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	return true
}
