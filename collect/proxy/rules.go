package proxy

import (
	"bytes"
	"strings"
)

// shape names the members that are kept; nil keeps all, except secrets.
type shape map[string]shape

func (s shape) rule(_ *object, key string) (verdict, rule) {
	below, ok := s[key]
	switch {
	case !ok:
		return drop, nil
	case below == nil:
		return secrets(nil, key)
	}
	return keep, below.rule
}

// nothing keeps nothing.
func nothing(*object, string) (verdict, rule) { return drop, nil }

// secrets keeps all but what a key calls a secret.
func secrets(_ *object, key string) (verdict, rule) {
	if secretKey(key) {
		return mask, nil
	}
	return keep, secrets
}

// node is who a proxy is. Its metadata has the environment of the proxy in it,
// and whatever else was put there.
var node = shape{
	"id": nil, "cluster": nil, "locality": nil, "user_agent_name": nil, "user_agent_version": nil, "build_version": nil,
	"user_agent_build_version": {"version": nil},
	"metadata": {"ISTIO_VERSION": nil, "INSTANCE_IPS": nil, "NAME": nil, "NAMESPACE": nil, "CLUSTER_ID": nil, "WORKLOAD_NAME": nil,
		"INTERCEPTION_MODE": nil},
}

// serverInfo is what is kept of Envoy's /server_info. The command line has a
// whole configuration in it.
var serverInfo = shape{
	"version": nil, "state": nil, "uptime_current_epoch": nil, "uptime_all_epochs": nil, "hot_restart_version": nil,
	"command_line_options": {"concurrency": nil, "mode": nil, "file_flush_interval": nil, "drain_time": nil, "restart_epoch": nil,
		"service_cluster": nil, "service_node": nil, "service_zone": nil},
	"node": node,
}

// bootstrap is what is kept of the configuration that an Envoy began with. Its
// static listeners and clusters stand in sections of their own.
var bootstrap = shape{"node": node, "admin": {"address": nil}}

// ztunnel is what is kept of ztunnel's /config_dump. Its certificates keep their
// key, by which a reader of dumps knows the document.
func ztunnel(_ *object, key string) (verdict, rule) {
	switch key {
	case "certificates":
		return mask, nil
	case "config":
		return keep, shape{"proxyMetadata": {"ISTIO_VERSION": nil}, "clusterId": nil, "network": nil, "localNode": nil, "proxyMode": nil}.rule
	case "staticConfig", "workloads", "services", "stagedServices", "policies", "workloadState", "version",
		"by_addr", "by_uid", "by_vip", "staged_services", "staged_vips", "workload_to_services":
		return keep, secrets
	}
	return drop, nil
}

// configDump is Envoy's /config_dump: a list of sections.
func configDump(_ *object, key string) (verdict, rule) {
	if key != "configs" {
		return drop, nil
	}
	return keep, section
}

// section keeps of secrets, and of what is not known, only that it was there,
// so that a place in the document has the same pointer as in the proxy's own.
func section(o *object, key string) (verdict, rule) {
	if key == "@type" && o.members == 0 {
		return keep, nil
	}
	switch o.typ {
	case "BootstrapConfigDump":
		if key == "bootstrap" {
			return keep, bootstrap.rule
		}
		if key == "last_updated" {
			return keep, nil
		}
	case "ClustersConfigDump", "ListenersConfigDump", "RoutesConfigDump", "ScopedRoutesConfigDump", "EndpointsConfigDump", "EcdsConfigDump":
		return resource(o, key)
	}
	return drop, nil
}

// kinds are the types whose content is kept; of any other extension, which may
// have secrets under any name, only the type is.
var kinds = map[string]bool{
	"Cluster": true, "Listener": true, "RouteConfiguration": true, "ScopedRouteConfiguration": true, "ClusterLoadAssignment": true,
	"TcpProxy": true, "HttpConnectionManager": true, "HttpProtocolOptions": true, "FileAccessLog": true, "TypedStruct": true,
	"OriginalDst": true, "TlsInspector": true, "HttpInspector": true, "ProxyProtocol": true, "InternalUpstreamTransport": true,
	"TypedExtensionConfig": true,
}

// kindShapes are those of which only some is kept.
var kindShapes = map[string]shape{
	"FileAccessLog":        {"path": nil},
	"UpstreamTlsContext":   {"sni": nil},
	"DownstreamTlsContext": {"require_client_certificate": nil},
}

// oldNames are the filters whose v2 config, which has no type, is kept.
var oldNames = map[string]bool{
	"envoy.tcp_proxy": true, "envoy.http_connection_manager": true, "envoy.filters.network.tcp_proxy": true,
	"envoy.filters.network.http_connection_manager": true,
}

// resource keeps a listener, cluster, route or endpoint and what is in it.
func resource(o *object, key string) (verdict, rule) {
	if s, ok := kindShapes[o.typ]; ok {
		if _, ok := s[key]; !ok {
			return drop, nil
		}
		return keep, secrets
	}
	if o.typ != "" && !kinds[o.typ] && !strings.HasSuffix(o.typ, "ConfigDump") {
		return drop, nil
	}
	switch key {
	case "@type", "type_url":
		return keep, nil
	case "value":
		if o.typ == "TypedStruct" && !kinds[o.url] {
			return mask, nil
		}
	case "typed_config":
		return keep, typed
	case "typed_per_filter_config", "typed_extension_protocol_options", "typed_filter_metadata":
		return keep, typedMap
	case "filter_metadata":
		return keep, metadata
	case "config":
		if !oldNames[o.name] {
			return mask, nil
		}
	}
	if secretKey(key) {
		return mask, nil
	}
	return keep, resource
}

// typed is an Any: without a type nothing of it is kept.
func typed(o *object, key string) (verdict, rule) {
	if o.typ == "" && (key != "@type" || o.members > 0) {
		return drop, nil
	}
	return resource(o, key)
}

// typedMap is an object of Anys by name.
func typedMap(*object, string) (verdict, rule) { return keep, typed }

// metadata is anybody's; these are the mesh's own.
func metadata(_ *object, key string) (verdict, rule) {
	switch key {
	case "istio", "envoy.transport_socket_match", "envoy.lb":
		return keep, secrets
	}
	return mask, nil
}

// secretWords are parts of keys, without their case, dashes and underscores. A
// header that a proxy adds, or looks for, may be one that only its clients know.
var secretWords = []string{"password", "passwd", "passphrase", "token", "secret", "credential", "apikey", "accesskey", "privatekey", "hmac", "jwks",
	"inlinestring", "inlinebytes", "inlinecode", "sourcecode", "header", "initialmetadata", "googlegrpc", "environment",
	"authorization", "certificate", "tlscontext", "sessionticket", "signature", "cookie", "wasm"}

// secretKeys are whole keys.
var secretKeys = map[string]bool{"queryparameters": true, "dynamicmetadata": true, "filterstate": true, "body": true,
	"localreplyconfig": true, "healthchecks": true, "errorstate": true, "perfilterconfig": true, "customtags": true, "tracing": true,
	"descriptorvalue": true, "rawvalue": true, "pem": true, "auth": true, "env": true}

// secretKey tells keys that may hold a secret. Where one is written with
// escapes, which none of a proxy's is, nobody knows.
func secretKey(key string) bool {
	if strings.IndexByte(key, '\\') >= 0 {
		return true
	}
	flat := strings.Map(func(c rune) rune {
		switch c {
		case '_', '-', '.', ':', ' ':
			return -1
		}
		return c
	}, strings.ToLower(key))
	if secretKeys[flat] {
		return true
	}
	for _, w := range secretWords {
		if strings.Contains(flat, w) {
			return !harmless[flat]
		}
	}
	return false
}

// harmless are keys of settings that only sound like secrets.
var harmless = map[string]bool{"requireclientcertificate": true, "tokenbucket": true, "maxtokens": true,
	"clusterheader": true, "headername": true, "hostrewriteheader": true, "maxrequestheaderskb": true, "requestheaderstimeout": true}

var (
	secretBegins = [][]byte{[]byte("eyj"), []byte("bearer "), []byte("basic ")}
	secretParts  = [][]byte{[]byte("-----begin"), []byte(" bearer "), []byte(" basic ")}
)

// secretText tells texts that are a secret whatever their key: a key or
// certificate as PEM, a JSON web token, what a header Authorization has, and an
// address with a password.
func secretText(raw []byte) bool {
	head := bytes.ToLower(raw[:min(len(raw), 2048)])
	for _, p := range secretBegins {
		if len(head) > 16 && bytes.HasPrefix(head, p) {
			return true
		}
	}
	for _, p := range secretParts {
		if bytes.Contains(head, p) {
			return true
		}
	}
	_, rest, ok := bytes.Cut(head, []byte("://"))
	if !ok {
		return false
	}
	if end := bytes.IndexAny(rest, "/? "); end >= 0 {
		rest = rest[:end]
	}
	user, _, ok := bytes.Cut(rest, []byte("@"))
	return ok && bytes.IndexByte(user, ':') >= 0
}
