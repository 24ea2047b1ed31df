package parse

import (
	"encoding/json"
	"strconv"
	"strings"

	"whichbackend/analyze/record"
)

// Envoy's /config_dump (Envoy 1.24, Istio 1.16), whole or in part, as JSON or
// YAML, and what istioctl proxy-config -o json cuts out of it:
//
//	{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.ClustersConfigDump","dynamic_active_clusters":[...]}]}
//
// It is what the proxy was told, not what it does: hosts carry no connections
// here. Secrets are not looked at. Warming, draining and refused resources
// serve no new connection and are left out.

// envoySections are the lists of a dump, each with the way from an element to
// its resource, in the order in which they are read.
var envoySections = []struct {
	list string
	path []string
	read func(*envoyDump, envoyNode)
}{
	{"static_clusters", []string{"cluster"}, (*envoyDump).cluster},
	{"dynamic_active_clusters", []string{"cluster"}, (*envoyDump).cluster},
	{"static_endpoint_configs", []string{"endpoint_config"}, (*envoyDump).endpoints},
	{"dynamic_endpoint_configs", []string{"endpoint_config"}, (*envoyDump).endpoints},
	{"static_listeners", []string{"listener"}, (*envoyDump).listener},
	{"dynamic_active_listeners", []string{"listener"}, (*envoyDump).listener},
	{"dynamic_listeners", []string{"active_state", "listener"}, (*envoyDump).listener},
	{"static_route_configs", []string{"route_config"}, (*envoyDump).routes},
	{"dynamic_route_configs", []string{"route_config"}, (*envoyDump).routes},
}

// envoySkipped are the lists that tell nothing about backends in use.
var envoySkipped = []string{"dynamic_warming_clusters", "dynamic_warming_listeners", "dynamic_draining_listeners", "ecds_filters",
	"static_secrets", "dynamic_active_secrets", "dynamic_warming_secrets", "inline_scoped_route_configs", "dynamic_scoped_route_configs"}

type envoyDump struct {
	out   *Out
	istio bool // the proxy's own id is Istio's
	// types are the types of the clusters read so far; a dump has them before
	// the endpoints.
	types map[string]string
}

func envoyConfigDumpClaim(d *Doc) bool {
	if d.Has("configs") {
		return true
	}
	f := d.First()
	if f == nil {
		return false
	}
	has := func(snake string) bool { return f.Has(snake) || f.Has(envoyCamel(snake)) }
	return has("cluster_name") && has("endpoints") ||
		has("name") && (has("filter_chains") || has("virtual_hosts") || has("traffic_direction") && has("address")) ||
		has("name") && has("connect_timeout") && (has("type") || has("load_assignment") || has("cluster_type"))
}

func envoyConfigDumpDoc(d *Doc, out *Out) {
	dump := &envoyDump{out: out, types: map[string]string{}}
	if d.IsArray() {
		for i, raw := range d.Elements() {
			dump.config(raw, "/"+strconv.Itoa(i))
		}
		return
	}
	var configs []json.RawMessage
	if !d.Get("configs", &configs) {
		envoyProblem(out, envoyNode{v: d.object["configs"], ptr: "/configs"}, "expected a list of configs")
		return
	}
	for i, raw := range configs {
		dump.config(raw, "/configs/"+strconv.Itoa(i))
	}
}

// config reads one element of a dump. A list is cut into its elements before
// any is decoded: a large mesh has tens of thousands of them.
func (d *envoyDump) config(raw json.RawMessage, ptr string) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(raw, &m); err != nil {
		envoyProblem(d.out, envoyNode{v: raw, ptr: ptr}, "expected an object")
		return
	}
	member := func(key string) (json.RawMessage, string) {
		if r, ok := m[key]; ok {
			return r, ptr + "/" + key
		}
		camel := envoyCamel(key)
		return m[camel], ptr + "/" + camel
	}
	known := false
	for _, key := range envoySkipped {
		r, _ := member(key)
		known = known || r != nil
	}
	if r, p := member("bootstrap"); r != nil {
		known = true
		d.bootstrap(r, p)
	}
	for _, s := range envoySections {
		r, p := member(s.list)
		if r == nil {
			continue
		}
		known = true
		var list []json.RawMessage
		if err := json.Unmarshal(r, &list); err != nil {
			envoyProblem(d.out, envoyNode{v: r, ptr: p}, "expected a list")
			continue
		}
		for i, e := range list {
			n, _ := envoyDecode(e, p+"/"+strconv.Itoa(i))
			if n = n.get(s.path...); !n.missing() {
				s.read(d, n)
			}
		}
	}
	if !known {
		d.resource(raw, ptr)
	}
}

// bootstrap reads who the proxy is.
func (d *envoyDump) bootstrap(raw json.RawMessage, ptr string) {
	var b struct {
		Node json.RawMessage `json:"node"`
	}
	if json.Unmarshal(raw, &b) != nil || b.Node == nil {
		return
	}
	n, _ := envoyDecode(b.Node, ptr+"/node")
	_, d.istio = envoyOwner(n.get("id").str())
	envoyTool(n, "", d.out)
	envoyNodeOwners(n, d.out)
}

// envoyTool says which proxy wrote a dump.
func envoyTool(node envoyNode, version string, out *Out) {
	if v := node.get("metadata", "ISTIO_VERSION").str(); v != "" {
		out.Tool("istio-proxy " + v)
		return
	}
	if v := envoyVersion(version); v != "" {
		out.Tool(v)
		return
	}
	v := node.get("user_agent_build_version", "version")
	if part := func(k string) string { n, _ := v.get(k).integer(); return strconv.FormatInt(n, 10) }; !v.missing() {
		out.Tool("envoy " + part("major_number") + "." + part("minor_number") + "." + part("patch"))
	}
}

// resource reads an element that ?resource= or ?mask= cut out of a dump, or
// one that istioctl wrote.
func (d *envoyDump) resource(raw json.RawMessage, ptr string) {
	n, _ := envoyDecode(raw, ptr)
	for _, s := range envoySections {
		if e := n.get(s.path...); !e.missing() && e.str() == "" {
			s.read(d, e)
			return
		}
	}
	typ := n.get("@type").str()
	typ = typ[strings.LastIndexByte(typ, '.')+1:]
	has := func(key string) bool { return !n.get(key).missing() }
	switch {
	case typ == "Listener", has("filter_chains"), has("traffic_direction"):
		d.listener(n)
	case typ == "RouteConfiguration", has("virtual_hosts"):
		d.routes(n)
	case typ == "ClusterLoadAssignment", has("cluster_name") && has("endpoints"):
		d.endpoints(n)
	case typ == "Cluster", has("connect_timeout"), has("load_assignment"):
		d.cluster(n)
	case typ == "Secret", strings.HasSuffix(typ, "Secret"), strings.HasSuffix(typ, "ConfigDump"), typ == "EcdsFilterConfig",
		typ == "DynamicListener", has("warming_state"), has("draining_state"), has("error_state"), has("tls_certificate"):
		// An empty section, or one that says nothing about backends.
	default:
		envoyProblem(d.out, n, "an element of a config dump of a type that is not known")
	}
}

// cluster reads a cluster with hosts of its own. One that gets them from EDS
// names none here.
func (d *envoyDump) cluster(n envoyNode) {
	name := n.get("name").str()
	if name == "" {
		envoyProblem(d.out, n, "cluster without a name")
		return
	}
	typ := n.get("type").str()
	if typ == "" && n.get("cluster_type").missing() {
		typ = "STATIC" // a default is not rendered
	}
	d.types[name] = typ
	switch typ {
	case "EDS", "ORIGINAL_DST":
		return
	case "", "STATIC", "STRICT_DNS", "LOGICAL_DNS":
	default:
		envoyProblem(d.out, n.get("type"), "a cluster type that is not known")
		return
	}
	if !n.get("cluster_type").missing() {
		return
	}
	s := envoyClusterService(envoyReadName(name))
	hosts := d.hosts(n.get("load_assignment", "endpoints"), &s)
	for _, h := range envoyList(d.out, n.get("hosts")) { // v2 before 1.10
		hosts = d.host(h, envoyNode{}, &s) && hosts
	}
	s.Complete = hosts && (typ == "STATIC" || typ == "STRICT_DNS" && len(s.Backends) > 0)
	d.out.At(n.ptr)
	d.out.Service(s)
}

// endpoints reads a ClusterLoadAssignment: what EDS said.
func (d *envoyDump) endpoints(n envoyNode) {
	name := n.get("cluster_name").str()
	if name == "" {
		// Envoy leaves it out where the cluster does not name its EDS service
		// (Consul): hosts of no cluster tell nothing, and /clusters has them.
		return
	}
	s := envoyClusterService(envoyReadName(name))
	s.Complete = d.hosts(n.get("endpoints"), &s) && d.whole(name, len(s.Backends))
	d.out.At(n.ptr)
	d.out.Service(s)
}

// whole tells whether the hosts that EDS names, or none, are all that the
// cluster may choose. The dump lists there also clusters that do not get their
// hosts so: those of DNS before it answered, and ORIGINAL_DST ones.
func (d *envoyDump) whole(cluster string, hosts int) bool {
	switch d.types[cluster] {
	case "EDS", "STATIC":
		return true
	case "ORIGINAL_DST", "LOGICAL_DNS":
		return false
	}
	return hosts > 0 && !envoyReadName(cluster).open
}

// hosts reads LocalityLbEndpoints and tells whether each has an address.
func (d *envoyDump) hosts(localities envoyNode, s *record.Service) bool {
	all := true
	for _, l := range envoyList(d.out, localities) {
		for _, e := range envoyList(d.out, l.get("lb_endpoints")) {
			all = d.host(e.get("endpoint", "address"), e, s) && all
		}
	}
	return all
}

func (d *envoyDump) host(addr, e envoyNode, s *record.Service) bool {
	a, ok := addr.addressPort()
	if !ok {
		if !addr.isAddress() {
			envoyProblem(d.out, e, "endpoint without an address")
		}
		return false
	}
	b := record.Backend{Address: a, Weight: -1, Active: -1, Pos: record.Pos{Line: d.out.Line(), Pointer: addr.ptr}}
	if !e.missing() {
		b.Pos.Pointer = e.ptr
	}
	if w, ok := e.get("load_balancing_weight").integer(); ok && w >= 0 && w < 1<<31 {
		b.Weight = int(w)
	}
	b.State = envoyHealth(e.get("health_status").str())
	// NAME;NAMESPACE;CANONICAL;REVISION;CLUSTER names the workload, whose pods
	// are many: only the namespace is the pod's too.
	workload := e.get("metadata", "filter_metadata", "istio", "workload").str()
	if parts := strings.Split(workload, ";"); len(parts) >= 2 {
		b.Namespace = parts[1]
	}
	s.Backends = append(s.Backends, b)
	return true
}
