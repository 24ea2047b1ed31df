package parse

import (
	"bytes"
	"net/netip"
	"strings"

	"whichbackend/analyze/record"
)

// Envoy's /clusters, as the admin endpoint and pilot-agent request GET
// clusters print it (Envoy 1.24, Istio 1.16):
//
//	outbound|80||web.shop.svc.cluster.local::10.1.2.3:8080::cx_active::5
//
// and with ?format=json, or istioctl proxy-config endpoints -o json:
//
//	{"cluster_statuses":[{"name":"...","host_statuses":[{"address":...,"stats":[...]}]}]}
//
// A host may be an IPv6 address, and then the line holds more "::" than four.
// So the line is read from its right end: a key that is known, and before it
// the host.

// The places where a key of /clusters may stand.
const (
	envoyNoKey = iota
	envoyClusterKey
	envoySectionKey // below default_priority, high_priority or outlier
	envoyHostKey
)

func envoyKey(key []byte) int {
	switch string(key) {
	case "cx_active", "cx_connect_fail", "cx_total", "rq_active", "rq_error", "rq_pending_active", "rq_success", "rq_timeout", "rq_total",
		"hostname", "health_flags", "weight", "region", "zone", "sub_zone", "canary", "priority", "success_rate", "local_origin_success_rate":
		return envoyHostKey
	case "added_via_api", "observability_name", "eds_service_name":
		return envoyClusterKey
	case "max_connections", "max_pending_requests", "max_requests", "max_retries", "max_connection_pools",
		"success_rate_average", "success_rate_ejection_threshold", "local_origin_success_rate_average", "local_origin_success_rate_ejection_threshold":
		return envoySectionKey
	}
	return envoyNoKey
}

var envoyColons = []byte("::")

// envoyClusterLine cuts a line into what stands before the key, key and value.
func envoyClusterLine(b []byte) (before, key, value []byte, kind int) {
	end := bytes.LastIndex(b, envoyColons)
	for end > 0 {
		start := bytes.LastIndex(b[:end], envoyColons)
		if start <= 0 {
			break
		}
		if kind = envoyKey(b[start+2 : end]); kind != envoyNoKey {
			return b[:start], b[start+2 : end], b[end+2:], kind
		}
		end = start
	}
	return nil, nil, nil, envoyNoKey
}

// envoyClustersHead claims every row: a listing is often cut by grep.
func envoyClustersHead(b []byte) bool {
	if len(b) < 12 || b[0] == '{' || b[0] == '[' || bytes.Index(b, envoyColons) <= 0 {
		return false
	}
	before, _, _, kind := envoyClusterLine(b)
	switch kind {
	case envoyHostKey:
		cluster, host := envoySplitHost(before)
		return len(cluster) > 0 && envoyHostShape(host)
	case envoySectionKey:
		return bytes.HasSuffix(before, []byte("_priority")) || bytes.HasSuffix(before, []byte("::outlier"))
	case envoyClusterKey:
		return true
	}
	return false
}

// envoySplitHost cuts cluster::host. An IPv6 host is in brackets.
func envoySplitHost(b []byte) (cluster, host []byte) {
	i := -1
	if close := bytes.LastIndex(b, []byte("]:")); close > 0 && bytes.IndexByte(b[close:], '/') < 0 {
		open := bytes.LastIndexByte(b[:close], '[')
		if open >= 2 && bytes.HasSuffix(b[:open], envoyColons) {
			i = open - 2
		}
	}
	if i < 0 {
		i = bytes.LastIndex(b, envoyColons)
	}
	// envoy://listener/[v6]:port
	if scheme := bytes.Index(b, []byte("::envoy://")); scheme > 0 {
		i = scheme
	}
	if i <= 0 {
		return nil, nil
	}
	return b[:i], b[i+2:]
}

// envoyHostShape tells whether a text may be a host: an address with a port,
// a path, or an internal address.
func envoyHostShape(host []byte) bool {
	if len(host) == 0 {
		return false
	}
	if bytes.IndexByte(host, '/') >= 0 || host[0] == '@' {
		return true
	}
	_, ok := addressPort(host)
	return ok
}

// envoyClusterRun gathers the lines of one cluster.
type envoyClusterRun struct {
	out      *Out
	name     []byte
	service  record.Service
	hosts    map[netip.AddrPort]int // place in service.Backends
	lastHost netip.AddrPort
	lastAt   int    // place of lastHost
	leftOut  bool   // a host without an address
	lastKey  string // of the last host line
	level    bool   // a line about the cluster itself was seen
	observed bool   // observability_name: Envoy 1.20 or later, which names EDS clusters
	eds      bool
}

func envoyClustersOpen(out *Out) (func([]byte), func()) {
	c := &envoyClusterRun{out: out}
	return c.line, c.flush
}

func (c *envoyClusterRun) line(b []byte) {
	b = bytes.TrimSpace(b)
	if len(b) == 0 {
		return
	}
	before, key, value, kind := envoyClusterLine(b)
	switch kind {
	case envoyHostKey:
		c.hostLine(before, key, value)
	case envoyClusterKey:
		c.enter(before)
		c.level = true
		c.observed = c.observed || string(key) == "observability_name"
		c.eds = c.eds || string(key) == "eds_service_name"
		c.out.Understood()
	case envoySectionKey:
		if i := bytes.LastIndex(before, envoyColons); i > 0 {
			c.enter(before[:i])
			c.level = true
			c.out.Understood()
			return
		}
		c.out.Problem("expected CLUSTER::default_priority::" + string(clip(key)) + "::VALUE")
	default:
		c.out.Problem("expected CLUSTER::HOST::KEY::VALUE with a key that is known")
	}
}

// enter begins another cluster when the name changes.
func (c *envoyClusterRun) enter(name []byte) {
	if c.service.Line > 0 && bytes.Equal(name, c.name) {
		return
	}
	c.flush()
	n := envoyReadName(string(name))
	*c = envoyClusterRun{out: c.out, name: append(c.name[:0], name...), hosts: map[netip.AddrPort]int{}}
	c.service = envoyClusterService(n)
	c.service.Line = c.out.Line()
}

func envoyClusterService(n envoyName) record.Service {
	return record.Service{Source: record.FromEnvoyCluster, Mechanism: n.mechanism, Protocol: record.TCP,
		Namespace: n.namespace, Name: n.service, Cluster: n.cluster}
}

func (c *envoyClusterRun) hostLine(before, key, value []byte) {
	cluster, host := envoySplitHost(before)
	if len(cluster) == 0 || !envoyHostShape(host) {
		c.out.Problem("expected CLUSTER::ADDRESS:PORT::" + string(key))
		return
	}
	c.enter(cluster)
	c.lastKey = string(key)
	c.out.Understood()
	a, ok := addressPort(host)
	if !ok {
		c.leftOut = true
		return
	}
	if a != c.lastHost || len(c.hosts) == 0 {
		at, seen := c.hosts[a]
		if !seen {
			at = len(c.service.Backends)
			c.hosts[a] = at
			c.service.Backends = append(c.service.Backends, record.Backend{Address: a, Weight: -1, Active: -1, Pos: record.Pos{Line: c.out.Line()}})
		}
		c.lastHost, c.lastAt = a, at
	}
	c.value(&c.service.Backends[c.lastAt], value)
}

// value keeps what a host line says of the host.
func (c *envoyClusterRun) value(h *record.Backend, value []byte) {
	switch c.lastKey {
	case "cx_active":
		n, ok := number(value)
		if !ok || n > 1<<62 {
			c.out.Problem("expected a number of connections")
			return
		}
		h.Active, h.Pos.Line = int64(n), c.out.Line()
	case "weight":
		n, ok := number(value)
		if !ok || n > 1<<31 {
			c.out.Problem("expected a weight")
			return
		}
		h.Weight = int(n)
	case "health_flags":
		if string(value) != "healthy" {
			h.State = envoyWords(strings.FieldsFunc(string(value), func(r rune) bool { return r == '/' || r == ' ' }))
		}
	}
}

func (c *envoyClusterRun) flush() {
	if c.service.Line == 0 {
		return
	}
	ended := len(c.hosts) == 0 && !c.leftOut || strings.HasSuffix(c.lastKey, "success_rate")
	c.service.Complete = c.level && ended && !c.leftOut && envoyComplete(c.service, c.observed, c.eds)
	c.out.Service(c.service)
	c.service = record.Service{}
}

// envoyComplete tells whether a whole listing of a cluster names every host
// that it may choose. An ORIGINAL_DST cluster has no list: it shows a host
// only while a client uses it. /clusters does not say the type, but since
// Envoy 1.20 it names the clusters that get their hosts from EDS.
func envoyComplete(s record.Service, observed, eds bool) bool {
	n := envoyReadName(s.Cluster)
	switch {
	case n.cluster == "BlackHoleCluster":
		return true
	case n.open:
		return false
	case eds:
		return true
	}
	return len(s.Backends) > 0 && !(observed && n.direction != "")
}

// envoyClustersClaim takes Envoy's Clusters message and istioctl's array of
// cluster statuses.
func envoyClustersClaim(d *Doc) bool {
	if d.Has("cluster_statuses") || d.Has("clusterStatuses") {
		return true
	}
	return envoyIsClusterStatus(d) || envoyIsClusterStatus(d.First())
}

func envoyIsClusterStatus(d *Doc) bool {
	return d != nil && d.Has("name") && (d.Has("hostStatuses") || d.Has("host_statuses") || d.Has("addedViaApi") || d.Has("added_via_api"))
}

func envoyClustersDoc(d *Doc, out *Out) {
	root, err := envoyDecode(d.Raw, "")
	if err != nil {
		envoyProblem(out, root, "expected cluster statuses: "+err.Error())
		return
	}
	list := root
	if !d.IsArray() {
		list = root.get("cluster_statuses")
	}
	if list.missing() && envoyIsClusterStatus(d) {
		envoyClusterStatus(root, out)
		return
	}
	if _, ok := list.v.([]any); !ok {
		envoyProblem(out, list, "expected a list of cluster statuses")
		return
	}
	for _, c := range list.list() {
		envoyClusterStatus(c, out)
	}
}

func envoyClusterStatus(c envoyNode, out *Out) {
	name := c.get("name").str()
	if name == "" {
		envoyProblem(out, c, "cluster status without a name")
		return
	}
	s := envoyClusterService(envoyReadName(name))
	leftOut := false
	for _, h := range envoyList(out, c.get("host_statuses")) {
		addr, ok := h.get("address").addressPort()
		if !ok {
			leftOut = true
			if !h.get("address").isAddress() {
				envoyProblem(out, h, "host status without an address")
			}
			continue
		}
		s.Backends = append(s.Backends, envoyHostStatus(h, addr, out.Line()))
	}
	s.Complete = !leftOut && envoyComplete(s, !c.get("observability_name").missing(), !c.get("eds_service_name").missing())
	out.At(c.ptr)
	out.Service(s)
}

func envoyHostStatus(h envoyNode, addr netip.AddrPort, line int) record.Backend {
	b := record.Backend{Address: addr, Weight: -1, Active: -1, Pos: record.Pos{Line: line, Pointer: h.ptr}}
	for _, st := range h.get("stats").list() {
		if st.get("name").str() != "cx_active" {
			continue
		}
		b.Active = 0 // a default is not rendered
		if n, ok := st.get("value").integer(); ok && n >= 0 {
			b.Active = n
		} else if !st.get("value").missing() {
			b.Active = -1
		}
	}
	if w, ok := h.get("weight").integer(); ok && w >= 0 && w < 1<<31 {
		b.Weight = int(w)
	}
	var words []string
	for _, flag := range h.get("health_status").members() {
		word := flag.ptr[strings.LastIndexByte(flag.ptr, '/')+1:]
		if s, ok := flag.v.(string); ok {
			if s = envoyHealth(s); s != "" {
				words = append(words, "eds_"+s)
			}
		} else if flag.v == true {
			words = append(words, envoySnake(word))
		}
	}
	b.State = envoyWords(words)
	return b
}

// envoySnake is the other way of envoyCamel.
func envoySnake(key string) string {
	b := make([]byte, 0, len(key)+4)
	for i := 0; i < len(key); i++ {
		if key[i] >= 'A' && key[i] <= 'Z' {
			b = append(b, '_', key[i]-'A'+'a')
			continue
		}
		b = append(b, key[i])
	}
	return string(b)
}
