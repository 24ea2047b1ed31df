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

	{Name: "iptables-save", Head: iptablesSaveHead, Open: openIptablesSave},
	{Name: "iptables-list", Head: iptablesListHead, Open: openIptablesList},
	{Name: "nft", Head: nftHead, Open: openNft, Claim: nftClaim, Doc: nftDoc},

	// Packet filter rules end.

	// Kubernetes.

	// Kubernetes end.

	// Containers and addresses.

	// Containers and addresses end.
}
