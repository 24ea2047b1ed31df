package parse

// formats is the table. To add a format, write its file and add its row; the
// order matters only where two Heads could claim one line.
var formats = []Format{
	// Proxies.

	// Proxies end.

	// Cilium.

	// Cilium end.

	// Connection tables of the kernel.
	{Name: "conntrack", Head: conntrackHead, Open: conntrackOpen},
	{Name: "ipvs", Head: ipvsHead, Open: ipvsOpen},

	// Connection tables end.

	// Sockets.

	// Sockets end.

	// Packet filter rules.

	// Packet filter rules end.

	// Kubernetes.

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
	ipNetnsFormat,
	lsnsFormat,
	hostFormat,

	// Containers and addresses end.
}
