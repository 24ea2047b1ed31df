package parse

import (
	"bytes"
	"net/netip"
	"strings"

	"whichbackend/analyze/record"
)

// Who holds which address, as Cilium's agent and datapath know it: cilium
// endpoint list, bpf endpoint list, bpf ipcache list, identity list, node list
// and ip list.
//
//	IP ADDRESS        LOCAL ENDPOINT INFO
//	10.0.1.9:0        (localhost)
//	10.0.1.66:0       id=1042  sec_id=36743 flags=0x0000 ifindex=7   mac=86:31:E3:11:E7:0E nodemac=FE:F5:9B:B9:5A:E1
//
//	Name        IPv4 Address    Endpoint CIDR   IPv6 Address   Endpoint CIDR
//	lab/node1   192.168.50.11   10.0.1.0/24
//
// (cilium 1.14.16). Only the JSON of endpoint list and ip list names pods; the
// texts give identities and labels, which many pods share.

type ciliumEndpointTable uint8

const (
	ciliumNoTable ciliumEndpointTable = iota
	ciliumEndpoints
	ciliumBPFEndpoints
	ciliumIPCache
	ciliumIdentities
	ciliumNodes
	ciliumIPs
)

// ciliumEndpointHeader tells the tables by their first line.
func ciliumEndpointHeader(b []byte) ciliumEndpointTable {
	has := func(begin, part string) bool {
		return bytes.HasPrefix(b, []byte(begin)) && bytes.Contains(b[len(begin):], []byte(part))
	}
	switch {
	case has("ENDPOINT ", "POLICY (ingress)"):
		return ciliumEndpoints
	case has("IP ADDRESS ", "LOCAL ENDPOINT INFO"):
		return ciliumBPFEndpoints
	case has("IP PREFIX/ADDRESS ", "IDENTITY"):
		return ciliumIPCache
	case has("ID ", " LABELS") && len(bytes.Fields(b)) == 2:
		return ciliumIdentities
	case has("Name ", "IPv4 Address") && has("Name ", "Endpoint CIDR"):
		return ciliumNodes
	case has("IP ", "IDENTITY ") && has("IP ", " SOURCE"):
		return ciliumIPs
	}
	return ciliumNoTable
}

// ciliumEndpointRow tells rows that only the datapath's two tables have.
func ciliumEndpointRow(b []byte) ciliumEndpointTable {
	i := bytes.IndexByte(b[:min(len(b), 50)], ' ')
	if i < 3 {
		return ciliumNoTable
	}
	rest := bytes.TrimLeft(b[i:], " ")
	switch {
	case b[i-1] == '0' && b[i-2] == ':' && (bytes.HasPrefix(rest, []byte("(localhost)")) || bytes.HasPrefix(rest, []byte("id="))):
		if _, ok := ciliumAddrPort(b[:i]); ok {
			return ciliumBPFEndpoints
		}
	case bytes.HasPrefix(rest, []byte("identity=")) && bytes.IndexByte(b[:i], '/') > 0:
		return ciliumIPCache
	}
	return ciliumNoTable
}

func ciliumEndpointHead(b []byte) bool {
	if len(b) < 8 {
		return false
	}
	switch c := b[0]; {
	case c == 'E' || c == 'I' || c == 'N':
		return ciliumEndpointHeader(b) != ciliumNoTable
	case c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c == '[' || c == ':':
		return ciliumEndpointRow(b) != ciliumNoTable
	}
	return false
}

type ciliumEndpointList struct {
	out   *Out
	table ciliumEndpointTable
}

func ciliumEndpointOpen(out *Out) (func([]byte), func()) {
	p := &ciliumEndpointList{out: out}
	return p.read, nil
}

func (p *ciliumEndpointList) read(b []byte) {
	b = bytes.TrimSpace(b)
	if t := ciliumEndpointHeader(b); t != ciliumNoTable {
		p.table = t
		p.out.Understood()
		return
	}
	if t := ciliumEndpointRow(b); t != ciliumNoTable {
		p.table = t
	}
	if ciliumAside(p.out, b) {
		return
	}
	word, rest := ciliumWord(b)
	if len(bytes.TrimSpace(rest)) == 0 && p.table == ciliumBPFEndpoints {
		p.out.Problem("the row ends after the address")
		return
	}
	p.row(b, word, bytes.TrimSpace(rest))
}

func (p *ciliumEndpointList) row(b, word, rest []byte) {
	var ok bool
	switch p.table {
	case ciliumBPFEndpoints:
		ok = p.bpf(word, rest)
	case ciliumNodes:
		ok = p.node(word, rest)
	case ciliumIPCache:
		ok = ciliumPrefix(word)
	case ciliumIPs:
		ok = ciliumPrefix(word) || ciliumLabel(word)
	case ciliumEndpoints, ciliumIdentities:
		_, isNumber := number(word)
		ok = isNumber || ciliumLabel(word) || bytes.HasPrefix(b, []byte("ENFORCEMENT"))
	}
	if !ok {
		p.out.Problem("expected a row of the table above")
		return
	}
	p.out.Understood()
}

func ciliumPrefix(b []byte) bool {
	i := bytes.IndexByte(b, '/')
	if i < 0 {
		i = len(b)
	}
	_, ok := address(ciliumNoCluster(b[:i]))
	return ok
}

// ciliumLabel tells "k8s:app=nginx" and "reserved:host".
func ciliumLabel(b []byte) bool {
	i := bytes.IndexByte(b, ':')
	return i > 0 && i+1 < len(b)
}

// bpf reads an address of the datapath's endpoint table. The host's own are
// marked; the rest are endpoints without a name.
func (p *ciliumEndpointList) bpf(word, rest []byte) bool {
	a, ok := ciliumAddrPort(word)
	if ok && bytes.HasPrefix(rest, []byte("(localhost)")) {
		p.out.Address(record.Address{Prefix: netip.PrefixFrom(a.Addr(), a.Addr().BitLen()), Device: "lxc"})
	}
	return ok
}

// node reads a row of node list. Cells may be empty, so it is read by what
// the words are: addresses are the node's, prefixes those of its pods.
func (p *ciliumEndpointList) node(word, rest []byte) bool {
	name := ciliumNodeName(string(word))
	var buf [8][]byte
	found := false
	for _, w := range fields(rest, buf[:0]) {
		if a, ok := address(w); ok {
			found = true
			p.out.Owner(record.Owner{Kind: record.OwnerNode, Name: name, Host: name, Address: a})
		}
	}
	return found
}

// ciliumNodeName takes the cluster off "cluster/node".
func ciliumNodeName(s string) string { return s[strings.LastIndexByte(s, '/')+1:] }
