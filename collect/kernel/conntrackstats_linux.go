package kernel

import (
	"io"
	"strconv"

	"golang.org/x/sys/unix"
)

// ctStats names the counters of a CPU by their numbers, CTA_STATS_...; newer
// kernels leave out those that they no longer keep.
var ctStats = [...]string{
	1: "searched=", 2: "found=", 3: "new=", 4: "invalid=", 5: "ignore=", 6: "delete=", 7: "delete_list=", 8: "insert=",
	9: "insert_failed=", 10: "drop=", 11: "early_drop=", 12: "error=", 13: "search_restart=", 14: "clash_resolve=", 15: "chaintoolong=",
}

// ConntrackStats lists what connection tracking has counted on each CPU, in
// this namespace, as conntrack -S does. It needs CAP_NET_ADMIN over it.
func ConntrackStats() (io.ReadCloser, error) {
	d, err := ask(unix.NETLINK_NETFILTER, ctGetStatsCPU, unix.NLM_F_DUMP, make([]byte, nfgenLen))
	if err != nil {
		return nil, err
	}
	return &listing{dump: d, row: conntrackStatsRow}, nil
}

// conntrackStatsRow appends the line of one CPU, whose last space is the tool's.
func conntrackStatsRow(out []byte, _ uint16, body []byte) ([]byte, error) {
	if len(body) < nfgenLen {
		return out, errShort
	}
	var at [len(ctStats)][]byte
	spread(at[:], body[nfgenLen:])
	out = appendPadded(append(out, "cpu="...), strconv.FormatUint(value(body[2:nfgenLen]), 10), 4)
	out = append(out, '\t')
	for i, word := range ctStats {
		out = appendValue(out, word, at[i])
	}
	return append(out, '\n'), nil
}
