package check

import (
	"net/netip"
	"strings"

	"whichbackend/analyze/record"
)

// carriers begin the names of devices that lead on to other namespaces.
var carriers = []string{"veth", "docker", "br-", "cni", "cali", "flannel", "cilium", "kube-", "podman", "virbr"}

// ownSources returns whether what leaves a namespace with an address comes from
// sockets of its own, as the table of a place shows it. That is so of a pod or a
// container that alone holds the address, and of a host in its own table, which
// has an entry before the host's address is put on it. One that carries the
// traffic of others (a node that is a container) may put its address on theirs.
func (k *Case) ownSources() func(seat record.Scope, a netip.Addr, table record.Scope) bool {
	type holder struct {
		seat record.Scope
		a    netip.Addr
	}
	carries, alone := map[record.Scope]bool{}, map[holder]bool{}
	list, err := k.Load.Store.Addresses()
	if err != nil {
		k.fail(err)
	}
	for _, a := range list {
		for _, prefix := range carriers {
			if strings.HasPrefix(a.Device, prefix) {
				carries[k.Place(a.Section)] = true
			}
		}
	}
	return func(seat record.Scope, a netip.Addr, table record.Scope) bool {
		switch seat.Kind {
		case record.ScopePod, record.ScopeContainer:
			if carries[seat] {
				return false
			}
		case record.ScopeHost:
			if table != seat {
				return false
			}
		default:
			return false
		}
		one, asked := alone[holder{seat, a}]
		if !asked {
			holders := k.Holders(a, seat.Host)
			one = !a.IsLoopback() && len(holders) == 1 && holders[0] == seat
			alone[holder{seat, a}] = one
		}
		return one
	}
}
