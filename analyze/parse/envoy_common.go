package parse

import (
	"encoding/json"
	"net/netip"
	"sort"
	"strconv"
	"strings"

	"whichbackend/analyze/record"
)

// envoyName is what the name of an Envoy cluster tells.
type envoyName struct {
	cluster            string // without the trailing ";" of Istio 1.23 and later
	mechanism          string
	direction          string // outbound, inbound, inbound-vip; "" when not Istio's
	namespace, service string // of a Kubernetes service
	// open: the hosts are whatever addresses clients dial (ORIGINAL_DST), so
	// that no listing of them is complete.
	open bool
}

// envoyReadName reads Istio's direction|port|subset|host, its SNI form
// direction_.port_.subset_.host, and takes any other name as it is.
func envoyReadName(name string) envoyName {
	n := envoyName{cluster: strings.TrimSuffix(name, ";"), mechanism: "envoy"}
	switch {
	case n.cluster == "BlackHoleCluster":
		n.mechanism = "istio"
		return n
	case n.cluster == "PassthroughCluster", strings.HasPrefix(n.cluster, "InboundPassthroughCluster"):
		n.mechanism, n.open = "istio", true
		return n
	}
	parts := strings.SplitN(n.cluster, "|", 4)
	if len(parts) != 4 {
		parts = strings.SplitN(n.cluster, "_.", 4)
	}
	if len(parts) != 4 || parts[0] != "outbound" && parts[0] != "inbound" && parts[0] != "inbound-vip" {
		return n
	}
	if _, err := strconv.ParseUint(parts[1], 10, 16); err != nil {
		return n
	}
	n.mechanism, n.direction = "istio", parts[0]
	n.open = parts[0] == "inbound"
	n.namespace, n.service = envoyHost(parts[3])
	return n
}

// envoyHost reads service.namespace.svc.DOMAIN.
func envoyHost(host string) (namespace, service string) {
	service, rest, _ := strings.Cut(host, ".")
	namespace, rest, _ = strings.Cut(rest, ".")
	if rest != "svc" && !strings.HasPrefix(rest, "svc.") || namespace == "" {
		return "", ""
	}
	return namespace, service
}

// envoyOwner reads the id of an Istio proxy: TYPE~ADDRESS~POD.NAMESPACE~DOMAIN.
func envoyOwner(id string) (record.Owner, bool) {
	parts := strings.Split(id, "~")
	if len(parts) != 4 {
		return record.Owner{}, false
	}
	addr, ok := address([]byte(parts[1]))
	dot := strings.LastIndexByte(parts[2], '.')
	if !ok || dot <= 0 || dot == len(parts[2])-1 {
		return record.Owner{}, false
	}
	return record.Owner{Address: addr, Kind: record.OwnerPod, Namespace: parts[2][dot+1:], Name: parts[2][:dot]}, true
}

// envoyNodeOwners emits the pod that a node says it runs in, once for each of
// its addresses.
func envoyNodeOwners(node envoyNode, out *Out) {
	id := node.get("id")
	if id.str() == "" {
		return
	}
	o, ok := envoyOwner(id.str())
	if !ok {
		return // not Istio's: the id is anybody's choice
	}
	out.At(id.ptr)
	out.Owner(o)
	ips := node.get("metadata", "INSTANCE_IPS")
	out.At(ips.ptr)
	for _, more := range strings.Split(ips.str(), ",") {
		a, ok := address([]byte(more))
		if !ok || a == o.Address || a.IsLinkLocalUnicast() {
			continue
		}
		w := o
		w.Address = a
		out.Owner(w)
		o.Address = a // a list may repeat its last address
	}
}

// envoyVersion reads Envoy's own version, COMMIT/VERSION/STATUS/MODE/TLS.
func envoyVersion(s string) string {
	if parts := strings.Split(s, "/"); len(parts) == 5 {
		return "envoy " + parts[1]
	}
	return ""
}

// envoyNode is a value in a JSON document with its pointer. Envoy's admin
// endpoint writes snake_case keys, istioctl camelCase ones: get takes both.
type envoyNode struct {
	v   any
	ptr string
}

func envoyDecode(raw []byte, ptr string) (envoyNode, error) {
	n := envoyNode{ptr: ptr}
	err := json.Unmarshal(raw, &n.v)
	return n, err
}

// get follows keys, which are given in snake_case.
func (n envoyNode) get(path ...string) envoyNode {
	for _, key := range path {
		m, _ := n.v.(map[string]any)
		v, ok := m[key]
		if !ok && m != nil {
			if camel := envoyCamel(key); camel != key {
				if v, ok = m[camel]; ok {
					key = camel
				}
			}
		}
		if !ok {
			return envoyNode{ptr: n.ptr}
		}
		n = envoyNode{v, n.ptr + "/" + pointerToken(key)}
	}
	return n
}

func envoyCamel(key string) string {
	if strings.IndexByte(key, '_') < 0 {
		return key
	}
	b := make([]byte, 0, len(key))
	for i := 0; i < len(key); i++ {
		if key[i] == '_' && i+1 < len(key) && key[i+1] >= 'a' && key[i+1] <= 'z' {
			i++
			b = append(b, key[i]-'a'+'A')
			continue
		}
		b = append(b, key[i])
	}
	return string(b)
}

func (n envoyNode) str() string {
	s, _ := n.v.(string)
	return s
}

// integer reads a number that is written as one or as a string.
func (n envoyNode) integer() (int64, bool) {
	switch v := n.v.(type) {
	case float64:
		// The bound is exact in float64, and what is above it is no count.
		if v != float64(int64(v)) || v < -1<<53 || v > 1<<53 {
			return 0, false
		}
		return int64(v), true
	case string:
		i, err := strconv.ParseInt(v, 10, 64)
		return i, err == nil
	}
	return 0, false
}

func (n envoyNode) list() []envoyNode {
	l, _ := n.v.([]any)
	out := make([]envoyNode, len(l))
	for i, v := range l {
		out[i] = envoyNode{v, n.ptr + "/" + strconv.Itoa(i)}
	}
	return out
}

// envoyList is a list, and a problem when the value is another thing.
func envoyList(out *Out, n envoyNode) []envoyNode {
	if _, ok := n.v.([]any); !ok && !n.missing() {
		envoyProblem(out, n, "expected a list")
	}
	return n.list()
}

// envoyElements are the elements of a list or the members of an object, and a
// problem when the value is neither.
func envoyElements(out *Out, n envoyNode) []envoyNode {
	switch n.v.(type) {
	case nil, []any, map[string]any:
	default:
		envoyProblem(out, n, "expected a list or an object")
	}
	return n.elements()
}

// members are the members of an object in the order of their keys.
func (n envoyNode) members() []envoyNode {
	m, _ := n.v.(map[string]any)
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	out := make([]envoyNode, len(keys))
	for i, k := range keys {
		out[i] = envoyNode{m[k], n.ptr + "/" + pointerToken(k)}
	}
	return out
}

// elements are the elements of a list or the members of an object.
func (n envoyNode) elements() []envoyNode {
	if _, ok := n.v.([]any); ok {
		return n.list()
	}
	return n.members()
}

func (n envoyNode) missing() bool { return n.v == nil }

// addressPort reads an Address message. A pipe, an internal address or a
// host name is not ok.
func (n envoyNode) addressPort() (netip.AddrPort, bool) {
	sock := n.get("socket_address")
	a, ok := address([]byte(sock.get("address").str()))
	if !ok {
		return netip.AddrPort{}, false
	}
	p, ok := sock.get("port_value").integer()
	if sock.get("port_value").missing() {
		p, ok = 0, true // a default is not rendered
	}
	if !ok || p < 0 || p > 65535 {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(a, uint16(p)), true
}

// isAddress tells whether the message is any of Envoy's addresses, with what
// it should have. An IP address is one only with a port.
func (n envoyNode) isAddress() bool {
	if host := n.get("socket_address", "address").str(); host != "" {
		_, isIP := address([]byte(host))
		_, ok := n.addressPort()
		return ok || !isIP
	}
	return !n.get("pipe").missing() || !n.get("envoy_internal_address").missing()
}

// envoyProblem reports an element of a document.
func envoyProblem(out *Out, n envoyNode, why string) {
	out.At(n.ptr)
	text, _ := json.Marshal(n.v)
	out.problem(record.Pos{Line: out.line, Pointer: n.ptr}, string(clip(text)), why)
}

// envoyWords turns /failed_active_hc/failed_eds_health into a state. Flags
// that do not take a host out of the choice stand alone.
func envoyWords(words []string) string {
	if len(words) == 0 {
		return ""
	}
	s := strings.Join(words, ", ")
	for _, w := range words {
		switch w {
		case "degraded_active_hc", "degraded_eds_health", "failed_active_degraded_check", "failed_degraded_outlier_detection",
			"eds_degraded", "pending_dynamic_removal":
		default:
			return "unhealthy: " + s
		}
	}
	return s
}

// envoyHealth turns a HealthStatus of EDS into a state.
func envoyHealth(s string) string {
	switch s {
	case "", "HEALTHY", "UNKNOWN":
		return ""
	}
	return strings.ToLower(s)
}
