package check

// Rules are all rules, in the order in which findings of one severity are
// listed.
var Rules = []Rule{
	serviceWithoutEndpoints,

	// What listings say of the state of tables, neighbours and proxies.
	conntrackFull,
	conntrackInsertFailed,
	conntrackEarlyDrop,
	conntrackInvalid,
	proxyStale,
	neighbourFailed,
}
