package check

// Rules are all rules, in the order in which findings of one severity are
// listed.
var Rules = []Rule{
	serviceWithoutEndpoints,

	ciliumBackendMissing,
	ciliumBackendReused,
	ciliumRevNAT,
	ciliumAgentDatapath,
	ciliumNATExhaustion,
	ciliumNATOrphan,
	ciliumMapFull,
	ciliumAgainstEndpoints,
	ciliumBackendDraining,
}
