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
}
