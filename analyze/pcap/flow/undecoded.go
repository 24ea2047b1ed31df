package flow

import (
	"whichbackend/analyze/pcap/decode"
	"whichbackend/analyze/record"
)

// maxReasons bounds the reasons that are told apart.
const maxReasons = 1024

// reason is why no flow was made of a packet: own, or that of the decoder.
type reason struct {
	own    ownReason
	status decode.Status
	detail uint32
}

type ownReason uint8

const (
	lostFragment ownReason = iota + 1
	tableFull
	lostFault
	manyReasons
	manyProtocols
)

func (r reason) String() string {
	switch r.own {
	case lostFragment:
		return "fragment whose first part is missing"
	case tableFull:
		return "flow table full"
	case lostFault:
		return "more ICMP errors than can be attached"
	case manyReasons:
		return "other reasons"
	case manyProtocols:
		return "other protocols"
	}
	return decode.Reason(r.status, r.detail)
}

func (r reason) known() bool {
	return r.own == manyProtocols || r.own == 0 && r.status.Known()
}

// undecoded counts packets by reason.
type undecoded struct {
	list []undecodedRow // in the order in which they were first seen
	at   map[reason]int
	last int // of the packet before
}

type undecodedRow struct {
	reason  reason
	first   uint32
	packets uint64
}

// count says whether the reason is a known one.
func (u *undecoded) count(number uint32, why reason) bool {
	if u.last < len(u.list) && u.list[u.last].reason == why {
		u.list[u.last].packets++
		return why.known()
	}
	known := why.known()
	i, ok := u.at[why]
	if !ok && len(u.list) >= maxReasons {
		why = reason{own: manyReasons}
		if known {
			why.own = manyProtocols
		}
		i, ok = u.at[why]
	}
	if !ok {
		if u.at == nil {
			u.at = map[reason]int{}
		}
		i = len(u.list)
		u.at[why] = i
		u.list = append(u.list, undecodedRow{reason: why, first: number})
	}
	u.last = i
	u.list[i].packets++
	return known
}

// rows gives one record for each text, in the order of the first packets.
func (u *undecoded) rows() []record.Undecoded {
	type text struct {
		words string
		known bool
	}
	var out []record.Undecoded
	at := map[text]int{}
	for _, r := range u.list {
		k := text{r.reason.String(), r.reason.known()}
		i, ok := at[k]
		if !ok {
			i = len(out)
			at[k] = i
			out = append(out, record.Undecoded{Pos: record.Pos{Packet: int(r.first)}, Reason: k.words, Known: k.known})
		}
		out[i].Packets += r.packets
	}
	return out
}
