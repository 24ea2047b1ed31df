package check

// Rules are all rules, in the order in which findings of one severity are
// listed.
var Rules = []Rule{
	serviceWithoutEndpoints,

	// Sockets, spread and clocks.
	socketWithoutEntry,
	entryWithoutSocket,
	oneSidedConnection,
	closeWaitPile,
	timeWaitPile,
	unevenSpread,
	backendIdle,
	clockSkew,
}
