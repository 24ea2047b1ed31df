package resolve

import (
	"net/netip"

	"whichbackend/analyze/record"
)

// Numbered is the backend that a table's own number stands for on a host, and
// the lines that say so. The port is 0 where the listings omit it; the address
// is not valid where no listing names the number, or listings disagree.
func (k *Case) Numbered(host string, number uint32) (netip.AddrPort, []record.Pos) {
	n := k.world.numbers[backendKey{host, number}]
	return n.address, n.at
}

// Truncated tells whether the artifact of a section was cut by the collector,
// or the archive ends in it.
func (k *Case) Truncated(section int) bool {
	s := k.world.sections[section]
	return s != nil && k.world.artifacts[s.Artifact].Truncated
}
