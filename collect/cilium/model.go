package cilium

// What is kept of the agent's answers: these types have no place for anything
// else. Labels, options, policies, logs and the state of controllers are left out.

// endpoint is an element of GET /endpoint.
type endpoint struct {
	ID     int64 `json:"id"`
	Status struct {
		Identifiers struct {
			Attachment  string `json:"cni-attachment-id,omitempty"`
			ContainerID string `json:"container-id,omitempty"`
			Namespace   string `json:"k8s-namespace,omitempty"`
			K8sPod      string `json:"k8s-pod-name,omitempty"`
			Pod         string `json:"pod-name,omitempty"`
		} `json:"external-identifiers"`
		Identity struct {
			ID int64 `json:"id,omitempty"`
		} `json:"identity"`
		Networking struct {
			Addressing []struct {
				IPv4 string `json:"ipv4,omitempty"`
				IPv6 string `json:"ipv6,omitempty"`
			} `json:"addressing"`
			HostMAC string `json:"host-mac,omitempty"`
			Index   int64  `json:"interface-index,omitempty"`
			Name    string `json:"interface-name,omitempty"`
			MAC     string `json:"mac,omitempty"`
		} `json:"networking"`
		State string `json:"state,omitempty"`
	} `json:"status"`
}

// service is an element of GET /service.
type service struct {
	Spec   *serviceSpec `json:"spec,omitempty"`
	Status *struct {
		Realized *serviceSpec `json:"realized,omitempty"`
	} `json:"status,omitempty"`
}

type serviceSpec struct {
	Backends []backendAddress `json:"backend-addresses"`
	Flags    struct {
		Cluster   string `json:"cluster,omitempty"`
		External  string `json:"extTrafficPolicy,omitempty"`
		Internal  string `json:"intTrafficPolicy,omitempty"`
		Name      string `json:"name,omitempty"`
		Namespace string `json:"namespace,omitempty"`
		NAT       string `json:"natPolicy,omitempty"`
		Policy    string `json:"trafficPolicy,omitempty"`
		Type      string `json:"type,omitempty"`
	} `json:"flags"`
	Frontend struct {
		IP       string `json:"ip,omitempty"`
		Port     uint16 `json:"port,omitempty"`
		Protocol string `json:"protocol,omitempty"`
		Scope    string `json:"scope,omitempty"`
	} `json:"frontend-address"`
	ID int64 `json:"id,omitempty"`
}

type backendAddress struct {
	IP        string `json:"ip,omitempty"`
	Node      string `json:"nodeName,omitempty"`
	Port      uint16 `json:"port,omitempty"`
	Preferred bool   `json:"preferred,omitempty"`
	Protocol  string `json:"protocol,omitempty"`
	State     string `json:"state,omitempty"`
	Weight    *int   `json:"weight,omitempty"`
	Zone      string `json:"zone,omitempty"`
}

// node is one of GET /cluster/nodes.
type node struct {
	Name    string `json:"name"`
	Primary struct {
		IPv4 *nodeAddress `json:"ipv4,omitempty"`
		IPv6 *nodeAddress `json:"ipv6,omitempty"`
	} `json:"primary-address"`
	Secondary []nodeAddress `json:"secondary-addresses,omitempty"`
	Source    string        `json:"source,omitempty"`
}

type nodeAddress struct {
	Type    string `json:"address-type,omitempty"`
	Range   string `json:"alloc-range,omitempty"`
	Enabled bool   `json:"enabled,omitempty"`
	IP      string `json:"ip,omitempty"`
}

// address is an element of GET /ip.
type address struct {
	CIDR     string `json:"cidr"`
	HostIP   string `json:"hostIP,omitempty"`
	Identity int64  `json:"identity"`
	Metadata *struct {
		Name      string `json:"name,omitempty"`
		Namespace string `json:"namespace,omitempty"`
		Source    string `json:"source,omitempty"`
	} `json:"metadata,omitempty"`
}
