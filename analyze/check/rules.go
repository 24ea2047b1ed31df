package check

// Rules are all rules, in the order in which findings of one severity are
// listed.
var Rules = []Rule{
	serviceWithoutEndpoints,

	// What tables lead to.
	staleTranslation,
	addressReused,
	backendRemoved,
	backendNotReady,
	backendTerminating,
	untranslatedService,
	unansweredBackend,
	tupleCollision,
	hairpinNotMasqueraded,
	sourcePortsExhausted,

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

	// Sockets, spread and clocks.
	socketWithoutEntry,
	entryWithoutSocket,
	oneSidedConnection,
	closeWaitPile,
	timeWaitPile,
	unevenSpread,
	backendIdle,
	clockSkew,

	// What listings say of the state of tables, neighbours and proxies.
	conntrackFull,
	conntrackInsertFailed,
	conntrackEarlyDrop,
	conntrackInvalid,
	proxyStale,
	neighbourFailed,

	// Cilium.
	ciliumBackendMissing,
	ciliumBackendReused,
	ciliumRevNAT,
	ciliumAgentDatapath,
	ciliumNATExhaustion,
	ciliumNATOrphan,
	ciliumMapFull,
	ciliumAgainstEndpoints,
	ciliumBackendDraining,
	ciliumSocketLBStale,
}
