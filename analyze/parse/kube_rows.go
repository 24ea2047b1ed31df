package parse

import (
	"net/netip"
	"strings"

	"whichbackend/analyze/record"
)

// kubeTable reads the tables of one section.
type kubeTable struct {
	out       *Out
	namespace string // of tables without the column
	header    *kubeHeader
	ended     bool // a blank line has ended the table
}

func kubeTableOpen(out *Out) (line func([]byte), end func()) {
	t := &kubeTable{out: out, namespace: kubeFlagNamespace(out.Command())}
	return t.line, nil
}

func (t *kubeTable) line(b []byte) {
	text := strings.TrimRight(string(b), " \t")
	trimmed := strings.TrimSpace(text)
	if trimmed == "" {
		t.ended = true
		return
	}
	if h := kubeReadHeader(text); h != nil {
		t.header, t.ended = h, false
		t.out.Understood()
		return
	}
	if kubeRemark([]byte(trimmed)) || kubeNameOnly([]byte(trimmed)) {
		t.out.Ignore()
		return
	}
	why, fits := "not a row of kubectl get, and no header before it", kubeOther
	switch h := t.header; {
	case h == nil:
	case h.kind == kubeOther && !t.ended:
		t.out.Ignore()
		return
	case h.kind == kubeOther:
		why = "text after a table of kubectl get"
	default:
		why = "expected a row with the columns of the header"
		if row, ok := h.cut(text); ok {
			fits = h.kind
			why = t.row(h.kind, row)
		}
		if why == "" {
			return
		}
		if t.ended {
			why = "text after a table of kubectl get"
		}
	}
	// A row of another table, whose header is not there.
	if row, kind := kubeGuess(strings.Fields(text)); kind != kubeOther && kind != fits && t.row(kind, row) == "" {
		return
	}
	t.out.Problem(why)
}

// row reads one row and emits its records. It returns what was expected when
// the row does not hold it, and then has emitted nothing.
func (t *kubeTable) row(kind kubeKind, r kubeRow) (why string) {
	prefix, name, found := strings.Cut(r.get("NAME"), "/")
	if !found {
		name = prefix
	} else if k, ok := kubePrefixes[prefix]; !ok || k != kind {
		t.out.Ignore() // a kind that has the same columns
		return ""
	}
	if !kubeName(name) {
		return "expected the name of an object"
	}
	namespace := t.namespace
	if r.has("NAMESPACE") {
		if namespace = r.get("NAMESPACE"); namespace == "" && kind != kubeNodes && kind != kubeCiliumNodes {
			return "expected a namespace"
		}
	}
	switch kind {
	case kubePods:
		return t.pod(namespace, name, r)
	case kubeServices:
		return t.service(namespace, name, r)
	case kubeEndpointsKind:
		return t.endpoints(namespace, name, r)
	case kubeSlices:
		return t.slice(namespace, name, r)
	case kubeNodes:
		status, _, _ := strings.Cut(r.get("STATUS"), ",")
		if status == "" {
			return "expected a node's status"
		}
		return t.node(record.Owner{Kind: record.OwnerNode, Name: name, Host: name, State: status}, r, "INTERNAL-IP", "EXTERNAL-IP")
	case kubeCiliumNodes:
		return t.node(record.Owner{Kind: record.OwnerNode, Name: name, Host: name}, r, "INTERNALIP", "CILIUMINTERNALIP")
	case kubeCiliumEndpoints:
		w := record.Owner{Kind: record.OwnerPod, Namespace: namespace, Name: name, State: r.get("ENDPOINT STATE")}
		return t.node(w, r, "IPV4", "IPV6")
	}
	return "not a row of kubectl get"
}

func (t *kubeTable) pod(namespace, name string, r kubeRow) string {
	w := record.Owner{
		Kind: record.OwnerPod, Namespace: namespace, Name: name,
		Host: kubeNone(r.get("NODE")), State: r.get("STATUS"), Workload: kubeNone(r.get("APP")),
	}
	if labels := r.get("LABELS"); labels != "" {
		w.Workload = kubeWorkload(kubeLabels(labels))
	}
	var ok bool
	if w.Ready, w.Total, ok = kubeReady(r.get("READY")); r.has("RESTARTS") {
		switch restarts, _, _ := strings.Cut(r.get("RESTARTS"), " "); {
		case !ok:
			return "expected READY as 1/1"
		case w.State == "":
			return "expected a pod's status"
		case !kubeNumber(restarts):
			return "expected a number of restarts"
		}
	}
	if r.has("IP") && r.get("IP") == "" || r.has("NODE") && r.get("NODE") == "" {
		return "the row ends before IP and NODE"
	}
	addrs, ok := kubeAddresses(r.get("IP"))
	if !ok {
		return "expected a pod's IP address"
	}
	t.owners(w, addrs)
	return ""
}

// node emits an owner for the addresses of some columns.
func (t *kubeTable) node(w record.Owner, r kubeRow, columns ...string) string {
	var all []netip.Addr
	for _, c := range columns {
		addrs, ok := kubeAddresses(r.get(c))
		if !ok {
			return "expected an IP address as " + c
		}
		all = append(all, addrs...)
	}
	t.owners(w, all)
	return ""
}

// owners emits one owner for each address, or one without.
func (t *kubeTable) owners(w record.Owner, addrs []netip.Addr) {
	if len(addrs) == 0 {
		t.out.Owner(w)
	}
	for _, a := range addrs {
		w.Address = a
		t.out.Owner(w)
	}
}

func (t *kubeTable) service(namespace, name string, r kubeRow) string {
	s := kubeService{namespace: namespace, name: name, typ: r.get("TYPE")}
	var ok bool
	if s.ports, ok = kubePortList(r.get("PORT(S)")); !ok || r.get("PORT(S)") == "" {
		return "expected PORT(S) as 80:30080/TCP"
	}
	cluster := r.get("CLUSTER-IP") + r.get("CLUSTER_IP")
	switch a, isAddress := address([]byte(cluster)); {
	case isAddress:
		s.vips = append(s.vips, kubeVIP{addr: a, typ: kubeClusterIP})
	case cluster == "None":
		s.typ = kubeHeadless
	case kubeNone(cluster) != "" || cluster == "":
		return "expected an IP address as CLUSTER-IP"
	}
	typ := "" // kubectl before 1.8 does not say
	if s.typ == kubeLoadBalancer {
		typ = kubeLoadBalancer // external IPs of its own cannot be told apart
	} else if s.typ != "" {
		typ = kubeExternalIP
	}
	for _, e := range kubeList(r.get("EXTERNAL-IP") + r.get("EXTERNAL_IP")) {
		if a, ok := address([]byte(e)); ok { // else a host name, or cut short
			s.vips = append(s.vips, kubeVIP{addr: a, typ: typ})
		}
	}
	if kubeTooMany(len(s.ports), len(s.vips)) {
		return kubeTooManyPairs
	}
	t.out.Understood()
	s.emit(t.out)
	return ""
}

func (t *kubeTable) endpoints(namespace, name string, r kubeRow) string {
	cell := r.get("ENDPOINTS")
	list, complete, ok := kubeEndpointList(cell)
	if !ok || cell == "" {
		return "expected ENDPOINTS as 10.0.0.1:80,10.0.0.2:80"
	}
	for _, s := range kubeByPort(namespace, name, kubePort{}, list, complete) {
		t.out.Service(s)
	}
	return ""
}

// slice reads ports and addresses, which are lists of their own: each address
// serves each port. What is not ready is listed too and cannot be told.
func (t *kubeTable) slice(namespace, name string, r kubeRow) string {
	if i := strings.LastIndexByte(name, '-'); i > 0 {
		name = name[:i] // the service's name and a random suffix
	}
	ports, morePorts := kubeMore(r.get("PORTS"))
	cell, more := kubeMore(r.get("ENDPOINTS"))
	if ports == "" || cell == "" {
		return "the row ends before PORTS and ENDPOINTS"
	}
	complete := !more && !morePorts
	var addrs []netip.Addr
	for _, e := range kubeList(cell) {
		a, ok := address([]byte(e))
		if !ok && r.get("ADDRESSTYPE") != "FQDN" {
			return "expected ENDPOINTS as 10.0.0.1,10.0.0.2"
		}
		if complete = complete && ok; ok {
			addrs = append(addrs, a)
		}
	}
	numbers := kubeList(ports)
	if len(numbers) == 0 {
		numbers = []string{"*"}
	}
	if kubeTooMany(len(numbers), len(addrs)) {
		return kubeTooManyPairs
	}
	var records []record.Service
	for _, n := range numbers {
		p, ok := port([]byte(n))
		if !ok {
			return "expected PORTS as 80,443"
		}
		var backends []record.Backend
		for _, a := range addrs {
			backends = append(backends, kubeBackend(a, p))
		}
		records = append(records, kubeEndpoints(namespace, name, kubePort{port: p}, backends, complete))
	}
	for _, s := range records {
		t.out.Service(s)
	}
	return ""
}

// kubeAddresses reads a list of addresses. A word for nothing, or an empty
// cell, is none.
func kubeAddresses(cell string) (addrs []netip.Addr, ok bool) {
	for _, e := range kubeList(cell) {
		a, ok := address([]byte(e))
		if !ok {
			return nil, false
		}
		addrs = append(addrs, a)
	}
	return addrs, true
}

func kubeNumber(s string) bool {
	_, ok := number([]byte(s))
	return ok
}

// kubeStatuses are the words that STATUS of a pod has most often; a row
// without a header is known by them.
var kubeStatuses = map[string]bool{
	"Running": true, "Pending": true, "Completed": true, "Succeeded": true, "Failed": true, "Terminating": true, "Error": true,
	"CrashLoopBackOff": true, "ContainerCreating": true, "PodInitializing": true, "ImagePullBackOff": true, "ErrImagePull": true,
	"NotReady": true, "Unknown": true, "Evicted": true, "OOMKilled": true, "SchedulingGated": true, "NodeLost": true,
	"CreateContainerConfigError": true, "CreateContainerError": true, "RunContainerError": true, "InvalidImageName": true,
	"ContainerStatusUnknown": true, "NodeAffinity": true, "StartError": true,
}

// kubeGuess reads a row without a header. The kind is kubeOther when the row
// is not unmistakable.
func kubeGuess(words []string) (kubeRow, kubeKind) {
	for at := 1; at <= 2; at++ {
		if len(words) < at+2 || !kubeNames(words[:at]) {
			break
		}
		row := kubeRow{}
		if at == 2 {
			row.add("NAMESPACE", words[0])
		}
		row.add("NAME", words[at-1])
		for _, guess := range []func(kubeRow, []string) (kubeRow, kubeKind){kubeGuessPod, kubeGuessService, kubeGuessEndpoints, kubeGuessNode} {
			if r, kind := guess(row, words[at:]); kind != kubeOther {
				return r, kind
			}
		}
	}
	return kubeRow{}, kubeOther
}

func (r *kubeRow) add(name, cell string) {
	r.cols = append(r.cols, kubeColumn{name: name})
	r.cells = append(r.cells, cell)
}

// kubeNames tells whether words are [NAMESPACE] NAME, the name perhaps with
// its kind before it.
func kubeNames(words []string) bool {
	last := words[len(words)-1]
	if kind, name, found := strings.Cut(last, "/"); found {
		if _, ok := kubePrefixes[kind]; !ok {
			return false
		}
		last = name
	}
	return kubeName(last) && (len(words) == 1 || kubeName(words[0]) && !strings.Contains(words[0], "."))
}

// kubeGuessPod reads READY STATUS RESTARTS AGE [IP NODE ...].
func kubeGuessPod(row kubeRow, w []string) (kubeRow, kubeKind) {
	if len(w) < 4 || !kubeNumber(w[2]) || !kubeStatuses[w[1]] && !strings.HasPrefix(w[1], "Init:") {
		return row, kubeOther
	}
	n := kubeWords("RESTARTS", w[2:])
	age := 2 + n
	if _, _, ok := kubeReady(w[0]); !ok || len(w) <= age || !kubeAge(w[age]) {
		return row, kubeOther
	}
	row.add("READY", w[0])
	row.add("STATUS", w[1])
	row.add("RESTARTS", w[2])
	if rest := w[age+1:]; len(rest) >= 2 {
		if _, ok := kubeAddresses(rest[0]); ok {
			row.add("IP", rest[0])
			row.add("NODE", rest[1])
		}
	}
	return row, kubePods
}

var kubeTypes = map[string]bool{kubeClusterIP: true, kubeNodePort: true, kubeLoadBalancer: true, kubeExternalName: true}

// kubeGuessService reads TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE.
func kubeGuessService(row kubeRow, w []string) (kubeRow, kubeKind) {
	if len(w) < 5 || !kubeTypes[w[0]] || !kubeAge(w[4]) {
		return row, kubeOther
	}
	_, ports := kubePortList(w[3])
	if _, isAddress := address([]byte(w[1])); !ports || !isAddress && w[1] != "None" && w[1] != "<none>" {
		return row, kubeOther
	}
	for i, name := range []string{"TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)"} {
		row.add(name, w[i])
	}
	return row, kubeServices
}

// kubeGuessEndpoints reads ENDPOINTS AGE behind endpoints/NAME, and
// ADDRESSTYPE PORTS ENDPOINTS AGE.
func kubeGuessEndpoints(row kubeRow, w []string) (kubeRow, kubeKind) {
	columns, kind := []string{"ENDPOINTS"}, kubeEndpointsKind
	if w[0] == "IPv4" || w[0] == "IPv6" {
		columns, kind = []string{"ADDRESSTYPE", "PORTS", "ENDPOINTS"}, kubeSlices
	} else if !strings.HasPrefix(row.get("NAME"), "endpoints/") {
		return row, kubeOther
	}
	for _, c := range columns {
		if len(w) < 2 {
			return row, kubeOther
		}
		n := kubeWords(c, w)
		row.add(c, strings.Join(w[:n], " "))
		w = w[n:]
	}
	if len(w) == 0 || !kubeAge(w[0]) {
		return row, kubeOther
	}
	return row, kind
}

// kubeGuessNode reads STATUS ROLES AGE VERSION [INTERNAL-IP EXTERNAL-IP].
func kubeGuessNode(row kubeRow, w []string) (kubeRow, kubeKind) {
	if len(w) < 4 || !strings.HasPrefix(w[0], "Ready") && !strings.HasPrefix(w[0], "NotReady") || !kubeAge(w[2]) || !strings.HasPrefix(w[3], "v1.") {
		return row, kubeOther
	}
	row.add("STATUS", w[0])
	if len(w) > 5 {
		row.add("INTERNAL-IP", w[4])
		row.add("EXTERNAL-IP", w[5])
	}
	return row, kubeNodes
}
