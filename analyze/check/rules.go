package check

// Rules are all rules, in the order in which findings of one severity are
// listed.
var Rules = []Rule{
	serviceWithoutEndpoints,

	// IPVS, Swarm, kube-proxy's rules and Envoy against the control plane.
	swarmStaleMember,
	swarmAddressOverlap,
	swarmMarkMismatch,
	rulesBehindEndpoints,
	ipvsStaleConnection,
	ipvsUnknownDestination,
	ipvsMissingDestination,
	ipvsWeightZero,
	envoyHostGone,
	envoyNoHosts,
	envoyBlackhole,
	envoyPassthroughService,
	envoyHostUnhealthy,
	envoyConnectFailures,
	ztunnelErrors,
}
