package parse

// formats is the table. To add a format, write its file and add its row; the
// order matters only where two Heads could claim one line.
var formats = []Format{
	// Proxies.

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
	{Name: "kubectl-table", Head: kubeTableHead, Open: kubeTableOpen},
	{Name: "kubectl-describe", Head: kubeDescribeHead, Open: kubeDescribeOpen},
	{Name: "kubernetes", Claim: kubeClaim, Doc: kubeDoc},

	// Kubernetes end.

	// Containers and addresses.

	// Containers and addresses end.
}
