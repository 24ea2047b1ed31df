package check

import (
	"slices"
	"strconv"
	"strings"
)

// listed joins names for a title: the first few in their order, and how many
// more there are.
func listed(names []string) string {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	const most = 3
	if len(names) > most {
		return strings.Join(names[:most], ", ") + " and " + strconv.Itoa(len(names)-most) + " more"
	}
	return strings.Join(names, ", ")
}

// several counts things in a title: "3 connections", "1 connection".
func several(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
