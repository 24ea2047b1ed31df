package parse

import (
	"bytes"
	"encoding/json"
	"sort"
)

// Documents of a bug report that tell nothing about a connection: Envoy's
// /certs, /runtime and /memory, and the debug pages of istiod (Istio 1.16):
//
//	[{"cluster_id":"Kubernetes","proxy":"web-0.shop","istio_version":"1.16.1","cluster_sent":"..."}]
//
// They are claimed so that inspect can name them. Only the first, syncz, is
// read: see istio_status.go. The endpoints that istiod
// knows are in its proxies' config dumps and in the cluster's own objects.

func envoyAdminClaim(d *Doc) bool {
	if d.Has("entries", "layers") || d.Has("allocated", "heap_size") {
		return true
	}
	var certs []map[string]json.RawMessage
	if len(d.object) != 1 || !d.Get("certificates", &certs) || len(certs) == 0 {
		return false
	}
	return certs[0]["ca_cert"] != nil || certs[0]["cert_chain"] != nil
}

func istioDebugClaim(d *Doc) bool {
	if f := d.First(); f != nil {
		return f.Has("svc", "ep") || f.Has("Attributes", "hostname") || f.Has("proxy", "cluster_sent") || f.Has("proxy", "istio_version") ||
			f.Has("group", "version", "kind") && len(f.object) == 3
	}
	if d.Has("totalClients") || d.Has("authorization_policies") && len(d.object) == 1 || d.Has("proxyListenPort", "connectTimeout") {
		return true
	}
	return istioShards(d)
}

// istioShards tells /debug/endpointShardz, cachez and instancesz by what their
// first member looks like; its key is a host name or a type.
func istioShards(d *Doc) bool {
	if len(d.object) == 0 || len(d.object) > 1<<20 {
		return false
	}
	keys := make([]string, 0, len(d.object))
	for k := range d.object {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	first := d.object[keys[0]]
	head := first[:min(len(first), 2000)]
	return bytes.Contains(head, []byte(`"Shards"`)) || bytes.HasPrefix([]byte(keys[0]), []byte("type.googleapis.com/envoy.")) ||
		bytes.Contains(head, []byte(`"ServiceRegistry"`))
}

func istioIgnoreDoc(*Doc, *Out) {}
