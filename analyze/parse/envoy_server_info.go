package parse

// Envoy's /server_info (Envoy 1.24, Istio 1.16). Its node id says in which pod
// the proxy runs:
//
//	{"version":"db8a88da/1.24.2-dev/Clean/RELEASE/BoringSSL","state":"LIVE","node":{"id":"sidecar~10.244.0.7~web-0.shop~shop.svc.cluster.local"}}

func envoyServerInfoClaim(d *Doc) bool {
	return d.Has("version", "state") && (d.Has("command_line_options") || d.Has("commandLineOptions") || d.Has("hot_restart_version") || d.Has("node"))
}

func envoyServerInfoDoc(d *Doc, out *Out) {
	root, _ := envoyDecode(d.Raw, "")
	if root.get("version").str() == "" {
		envoyProblem(out, root.get("version"), "expected a version")
	}
	envoyTool(root.get("node"), root.get("version").str(), out)
	envoyNodeOwners(root.get("node"), out)
}
