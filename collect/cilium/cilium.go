// Package cilium lists what Cilium's datapath on this node knows of connections,
// services and endpoints, as the maps that it pins in /sys/fs/bpf/tc/globals hold
// it, and what only its agent knows: the names of pods, services and nodes. It
// writes what cilium-dbg of the same version prints, so that a reader cannot
// tell them apart, and so that neither the tool nor a shell in the agent's
// container is needed.
//
// It only ever looks: maps are opened for reading alone, no entry is changed,
// nothing is created, pinned or mounted, and the agent gets no request but GET.
// Of the agent's answers only what names an address is kept.
package cilium

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrUnknown tells that a map is there, but not laid out as any version of
// Cilium that this package knows has it.
var ErrUnknown = errors.New("not laid out as any version of Cilium that is known here")

// ErrChanged ends a listing of a map that changed faster than it could be read,
// so that entries may be missing or stand there twice.
var ErrChanged = errors.New("the map changed while it was read")

// ErrTooLarge ends a table that had more rows than are held in memory.
var ErrTooLarge = errors.New("more rows than are listed")

// The versions of Cilium, 1.x, with which a listing or the meaning of a value
// changes. They are the value of release.
const (
	oldest = 10
	newest = 19
)

// release is the x of Cilium 1.x.
type release int

// parseRelease reads "1.16.15 (v1.16.15-47c65e6d)". A version beyond those known
// counts as the nearest.
func parseRelease(s string) (release, bool) {
	s, _, _ = strings.Cut(strings.TrimPrefix(strings.TrimSpace(s), "v"), " ")
	major, rest, ok := strings.Cut(s, ".")
	minor, _, _ := strings.Cut(rest, ".")
	minor, _, _ = strings.Cut(minor, "-")
	n, err := strconv.Atoi(minor)
	if !ok || err != nil || major != "1" || n < 0 {
		return 0, false
	}
	return release(min(max(n, oldest), newest)), true
}

// byNames tells the release from the names of the pinned maps, where no agent
// does: the oldest that has these.
func byNames(names []string) release {
	has := func(prefix string) bool {
		for _, n := range names {
			if strings.HasPrefix(n, prefix) {
				return true
			}
		}
		return false
	}
	switch {
	case has("cilium_ipcache_v2"):
		return 19
	case has("cilium_policy_v2_"):
		return 17
	case has("cilium_skip_lb4"), has("cilium_skip_lb6"):
		return 16
	case has("cilium_lb4_backends_v3"), has("cilium_lb6_backends_v3"):
		return 14
	case has("cilium_lb4_backends_v2"), has("cilium_lb6_backends_v2"):
		return 12
	}
	return 11
}

// format is how the listings of this node look, and what its values mean.
type format struct {
	release release
	uptime  uint64 // of the host, in seconds
	now     uint64 // on the clock of the datapath; 0 when it is not known which that is
}

// layout is how a map holds one kind of entry. The sizes, in bytes, tell it.
type layout struct {
	key, value int
	v6         bool
}

// find tells which of several layouts a map has.
func find(layouts []layout, name string, key, value int) (layout, error) {
	for _, l := range layouts {
		if l.key == key && l.value == value {
			return l, nil
		}
	}
	return layout{}, fmt.Errorf("map %s has keys of %d and values of %d bytes: %w; record it with cilium-dbg in the agent's pod", name, key, value, ErrUnknown)
}
