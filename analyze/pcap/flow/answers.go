package flow

import (
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	portDNS  = 53
	portMDNS = 5353
	// maxNames bounds the names kept of one capture, and maxAnswers the records
	// read of one message.
	maxNames   = 1 << 16
	maxAnswers = 64
)

// Name is a name that a capture gives to an address: in a DNS answer, or in a
// name resolution block, whose Packet is 0.
type Name struct {
	Addr   netip.Addr
	Name   string
	Packet int
}

// answers are the names that DNS answers gave, each pair once.
type answers struct {
	list []Name
	seen map[pair]struct{}
}

type pair struct {
	addr netip.Addr
	name string
}

// take reads an answer as far as it can be read: a DNS message, and the records
// of type A and AAAA in its answer section. They are of the name that was asked
// for, whatever aliases (CNAME) lead from it to the record; mDNS answers
// without a question, and each record speaks for its own name.
func (a *answers) take(number uint32, payload []byte) {
	const response = 0x80
	if len(payload) < 12 || payload[2]&response == 0 || len(a.list) >= maxNames {
		return
	}
	var p dnsmessage.Parser
	h, err := p.Start(payload)
	if err != nil || h.RCode != dnsmessage.RCodeSuccess {
		return
	}
	var asked string
	for n := 0; ; n++ {
		q, err := p.Question()
		if err == dnsmessage.ErrSectionDone {
			break
		}
		if err != nil || n == maxAnswers {
			return
		}
		asked = q.Name.String()
		if n > 0 {
			asked = "" // several: the records say which
		}
	}
	for range maxAnswers {
		r, err := p.AnswerHeader()
		if err != nil {
			return
		}
		addr, ok := address(&p, r.Type)
		if !ok {
			return
		}
		name := asked
		if name == "" {
			name = r.Name.String()
		}
		a.add(addr, name, number)
	}
}

// address reads or skips one record. It is not ok when the message is broken.
func address(p *dnsmessage.Parser, kind dnsmessage.Type) (netip.Addr, bool) {
	switch kind {
	case dnsmessage.TypeA:
		r, err := p.AResource()
		return netip.AddrFrom4(r.A), err == nil
	case dnsmessage.TypeAAAA:
		r, err := p.AAAAResource()
		return netip.AddrFrom16(r.AAAA), err == nil
	}
	return netip.Addr{}, p.SkipAnswer() == nil
}

func (a *answers) add(addr netip.Addr, name string, number uint32) {
	name = strings.TrimSuffix(name, ".")
	if !addr.IsValid() || name == "" || len(a.list) >= maxNames {
		return
	}
	if _, ok := a.seen[pair{addr, name}]; ok {
		return
	}
	if a.seen == nil {
		a.seen = map[pair]struct{}{}
	}
	a.seen[pair{addr, name}] = struct{}{}
	a.list = append(a.list, Name{Addr: addr, Name: name, Packet: int(number)})
}
