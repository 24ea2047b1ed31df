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
	{Name: "istio-debug", Claim: istioDebugClaim, Doc: istioDebugDoc},
	{Name: "istio-access-log", Head: istioAccessHead, Open: istioAccessOpen, Claim: istioAccessClaim, Doc: istioAccessDoc},
	{Name: "ztunnel-access-log", Head: ztunnelAccessHead, Open: ztunnelAccessOpen, Claim: ztunnelAccessClaim, Doc: ztunnelAccessDoc},
	{Name: "istioctl-table", Head: istioctlHead, Open: istioctlOpen},
	{Name: "ztunnel-config_dump", Claim: ztunnelDumpClaim, Doc: ztunnelDumpDoc},
	{Name: "ztunnel-connections", Head: ztunnelTableHead, Open: ztunnelTableOpen, Claim: ztunnelConnectionsClaim, Doc: ztunnelConnectionsDoc},

	// Proxies end.

	// Cilium.
	{Name: "cilium-ct", Head: ciliumCTHead, Open: ciliumCTOpen, Claim: ciliumCTClaim, Doc: ciliumCTDoc},
	{Name: "cilium-nat", Head: ciliumNATHead, Open: ciliumNATOpen, Claim: ciliumNATClaim, Doc: ciliumNATDoc},
	{Name: "cilium-lb", Head: ciliumLBHead, Open: ciliumLBOpen, Claim: ciliumLBClaim, Doc: ciliumLBDoc},
	{Name: "cilium-service", Head: ciliumServiceHead, Open: ciliumServiceOpen, Claim: ciliumServiceClaim, Doc: ciliumServiceDoc},
	{Name: "cilium-maps-dump", Head: ciliumMapsHead, Open: ciliumMapsOpen},
	{Name: "cilium-endpoint", Head: ciliumEndpointHead, Open: ciliumEndpointOpen, Claim: ciliumEndpointClaim, Doc: ciliumEndpointDoc},
	{Name: "cilium-other", Head: ciliumOtherHead, Open: ciliumOtherOpen, Claim: ciliumOtherClaim, Doc: ciliumOtherDoc},

	// Cilium end.

	// Connection tables of the kernel.
	{Name: "conntrack", Head: conntrackHead, Open: conntrackOpen},
	conntrackStatsFormat,
	{Name: "ipvs", Head: ipvsHead, Open: ipvsOpen},

	// Connection tables end.

	// Sockets.
	{Name: "netstat", Head: netstatHead, Open: netstatOpen},
	{Name: "ss", Head: ssHead, Open: ssOpen},
	{Name: "proc-net-tcp", Head: procNetHead, Open: procNetOpen},
	// Sockets end.

	// Packet filter rules.

	{Name: "iptables-save", Head: iptablesSaveHead, Open: openIptablesSave},
	{Name: "iptables-list", Head: iptablesListHead, Open: openIptablesList},
	{Name: "nft", Head: nftHead, Open: openNft, Claim: nftClaim, Doc: nftDoc},

	// Packet filter rules end.

	// Kubernetes.
	{Name: "kubectl-table", Head: kubeTableHead, Open: kubeTableOpen},
	{Name: "kubectl-describe", Head: kubeDescribeHead, Open: kubeDescribeOpen},
	{Name: "kubernetes", Claim: kubeClaim, Doc: kubeDoc},

	// Kubernetes end.

	// Containers and addresses.

	dockerTableFormat,
	dockerFormat,
	dockerInfoFormat,
	crictlFormat,
	containerdFormat,
	ipAddrFormat,
	ifconfigFormat,
	ipNeighFormat,
	ipRouteFormat,
	ipRuleFormat,
	ipNetnsFormat,
	lsnsFormat,
	hostFormat,
	sysctlFormat,
	kernelLogFormat,

	// Containers and addresses end.
}
