package parse

// formats is the table. To add a format, write its file and add its row; the
// order matters only where two Heads could claim one line.
var formats = []Format{
	// Proxies.
	{Name: "envoy-clusters", Head: envoyClustersHead, Open: envoyClustersOpen, Claim: envoyClustersClaim, Doc: envoyClustersDoc},
	{Name: "envoy-config_dump", Claim: envoyConfigDumpClaim, Doc: envoyConfigDumpDoc},
	{Name: "envoy-listeners", Head: envoyListenersHead, Open: envoyListenersOpen, Claim: envoyListenersClaim, Doc: envoyListenersDoc},
	{Name: "envoy-server_info", Claim: envoyServerInfoClaim, Doc: envoyServerInfoDoc},
	{Name: "envoy-stats", Head: envoyStatsHead, Open: envoyStatsOpen, Claim: envoyStatsClaim, Doc: envoyStatsDoc},
	{Name: "envoy-admin", Claim: envoyAdminClaim, Doc: istioIgnoreDoc},
	{Name: "istio-debug", Claim: istioDebugClaim, Doc: istioIgnoreDoc},
	{Name: "istio-access-log", Head: istioAccessHead, Open: istioAccessOpen, Claim: istioAccessClaim, Doc: istioAccessDoc},
	{Name: "ztunnel-access-log", Head: ztunnelAccessHead, Open: ztunnelAccessOpen, Claim: ztunnelAccessClaim, Doc: ztunnelAccessDoc},
	{Name: "istioctl-table", Head: istioctlHead, Open: istioctlOpen},
	{Name: "ztunnel-config_dump", Claim: ztunnelDumpClaim, Doc: ztunnelDumpDoc},
	{Name: "ztunnel-connections", Head: ztunnelTableHead, Open: ztunnelTableOpen, Claim: ztunnelConnectionsClaim, Doc: ztunnelConnectionsDoc},

	// Proxies end.

	// Cilium.

	// Cilium end.

	// Connection tables of the kernel.

	// Connection tables end.

	// Sockets.

	// Sockets end.

	// Packet filter rules.

	// Packet filter rules end.

	// Kubernetes.

	// Kubernetes end.

	// Containers and addresses.

	// Containers and addresses end.
}
