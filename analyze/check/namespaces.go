package check

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"whichbackend/analyze/record"
)

// space is what the listings say of the TCP sockets of one network namespace.
type space struct {
	scope record.Scope
	name  string
	ends  []end // one for each pair of addresses, in the order of the addresses
	index map[record.Tuple]int
	// locals and remotes are the endpoints of all its connections, and listens
	// the ports on which it takes them.
	locals, remotes map[netip.AddrPort]bool
	listens         map[uint16]bool
	listings        []listing // that show every TCP socket of it, by time
}

// end is one socket, however many listings show it.
type end struct {
	local, remote netip.AddrPort
	program       string
	rows          []sighting
}

// sighting is what one listing shows of a socket.
type sighting struct {
	state string
	at    record.Pos
}

// listing is a whole listing of sockets, with the time when it was recorded.
type listing struct {
	section int
	at      time.Time
}

// is tells whether all listings that show a socket give it a state.
func (e *end) is(state string) bool {
	for _, r := range e.rows {
		if r.state != state {
			return false
		}
	}
	return true
}

// in is the state that one listing gives a socket, "" where it does not show it.
func (e *end) in(section int) string {
	for _, r := range e.rows {
		if r.at.Section == section {
			return r.state
		}
	}
	return ""
}

// find returns the socket of a pair of addresses, nil when none is listed.
func (s *space) find(local, remote netip.AddrPort) *end {
	i, ok := s.index[record.Tuple{Source: local, Destination: remote}]
	if !ok {
		return nil
	}
	return &s.ends[i]
}

// namespaces are the spaces whose sockets were listed, by what they are. They
// are read once.
func (k *Case) namespaces() map[record.Scope]*space {
	if k.spaces != nil {
		return k.spaces
	}
	k.spaces = map[record.Scope]*space{}
	connected, cut := map[int]bool{}, map[int]bool{}
	err := k.Load.Store.Sockets(func(x *record.Socket) error {
		if x.Protocol == record.TCP && k.Current(x.Section) {
			cut[x.Section] = cut[x.Section] || x.LocalCut != "" || x.RemoteCut != ""
			connected[x.Section] = connected[x.Section] || x.State != "LISTEN"
			k.space(x.Section).add(x)
		}
		return nil
	})
	if err != nil {
		k.fail(err)
	}
	k.listings(connected, cut)
	for _, s := range k.spaces {
		slices.SortFunc(s.ends, func(a, b end) int { return cmp.Or(a.local.Compare(b.local), a.remote.Compare(b.remote)) })
		for i := range s.ends {
			s.index[record.Tuple{Source: s.ends[i].local, Destination: s.ends[i].remote}] = i
			slices.SortFunc(s.ends[i].rows, func(a, b sighting) int { return k.order(a.at, b.at) })
		}
	}
	return k.spaces
}

// order compares positions as slices.SortFunc wants it.
func (k *Case) order(a, b record.Pos) int {
	switch {
	case k.Less(a, b):
		return -1
	case k.Less(b, a):
		return 1
	}
	return 0
}

func (k *Case) space(section int) *space {
	scope := k.Place(section)
	s := k.spaces[scope]
	if s == nil {
		s = &space{scope: scope, name: k.PlaceName(section), index: map[record.Tuple]int{}, locals: map[netip.AddrPort]bool{}, remotes: map[netip.AddrPort]bool{}, listens: map[uint16]bool{}}
		k.spaces[scope] = s
	}
	return s
}

func (s *space) add(x *record.Socket) {
	if x.State == "LISTEN" {
		s.listens[x.Local.Port()] = true
		return
	}
	if !x.Local.IsValid() || !x.Remote.IsValid() || x.Remote.Port() == 0 {
		return
	}
	s.locals[x.Local], s.remotes[x.Remote] = true, true
	key := record.Tuple{Source: x.Local, Destination: x.Remote}
	i, ok := s.index[key]
	if !ok {
		i = len(s.ends)
		s.index[key] = i
		s.ends = append(s.ends, end{local: x.Local, remote: x.Remote})
	}
	e := &s.ends[i]
	e.program = cmp.Or(e.program, x.Program)
	e.rows = append(e.rows, sighting{x.State, x.Pos})
}

// listings finds which sections list every TCP socket of their namespace at a
// time that a manifest tells: whoever writes a manifest does not filter. Nothing in
// them was cut or not understood. One that shows listeners only, where others show
// connections, may have been asked for no more. /proc/net/tcp has one family only.
func (k *Case) listings(connected, cut map[int]bool) {
	sections, err := k.Load.Store.Sections()
	if err != nil {
		k.fail(err)
	}
	artifacts, err := k.Load.Store.Artifacts()
	if err != nil {
		k.fail(err)
	}
	truncated, busy := map[int]bool{}, map[record.Scope]bool{}
	for id := range connected {
		busy[k.Place(id)] = busy[k.Place(id)] || connected[id]
	}
	for _, a := range artifacts {
		truncated[a.ID] = a.Truncated
	}
	for _, s := range sections {
		whole := (s.Format == "ss" || s.Format == "netstat") && s.Unknown == 0 && !truncated[s.Artifact] && !k.Recorded(s.ID).IsZero()
		if _, tcp := connected[s.ID]; !whole || !tcp || busy[k.Place(s.ID)] && !connected[s.ID] || cut[s.ID] || !k.Current(s.ID) {
			continue
		}
		x := k.space(s.ID)
		x.listings = append(x.listings, listing{s.ID, k.Recorded(s.ID)})
	}
	for _, s := range k.spaces {
		slices.SortStableFunc(s.listings, func(a, b listing) int { return a.at.Compare(b.at) })
	}
}

// spacesByName are all spaces in a fixed order.
func (k *Case) spacesByName() []*space {
	var out []*space
	for _, s := range k.namespaces() {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *space) int { return strings.Compare(a.name, b.name) })
	return out
}
