package parse

import (
	"encoding/json"
	"math/bits"
	"net/netip"
	"strconv"

	"whichbackend/analyze/record"
)

// cilium bpf ct list global -o json, cilium bpf nat list -o json:
//
//	[{"Key": {"DestAddr": [10,96,77,8], "SourceAddr": [10,0,1,156], "DestPort": 24784, "SourcePort": 36895, "NextHeader": 6,
//	  "Flags": 4}, "Value": {"RxPackets": 0, "RxBytes": 3, ..., "RevNAT": 1280, ...}}]
//
// (cilium 1.14.16). The structs of the maps as they are: ports and RevNAT are
// in network order (80 is 20480), and the addresses of the connection table
// lie as in the answer's packets, but those of a service entry do not.

// Bits of the flags of a key.
const (
	ciliumKeyIn      = 1
	ciliumKeyRelated = 2
	ciliumKeyService = 4
)

// ciliumIP reads an address as an array of numbers (or as a string).
type ciliumIP struct{ netip.Addr }

// UnmarshalJSON reads either form; an address that is neither is not valid.
func (a *ciliumIP) UnmarshalJSON(b []byte) error {
	a.Addr = netip.Addr{}
	if len(b) > 1 && b[0] == '"' {
		a.Addr, _ = address(b[1 : len(b)-1])
		return nil
	}
	var raw [16]byte
	n, at, digits := 0, 0, false
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			n, digits = n*10+int(c-'0'), true
			if n > 255 || at >= len(raw) {
				return nil
			}
		case digits:
			raw[at] = byte(n)
			n, at, digits = 0, at+1, false
		}
	}
	if at == 4 {
		a.Addr = netip.AddrFrom4([4]byte(raw[:4]))
	} else if at == 16 {
		a.Addr = netip.AddrFrom16(raw).Unmap()
	}
	return nil
}

type ciliumJSONEntry struct {
	Key struct {
		DestAddr, SourceAddr ciliumIP
		DestPort, SourcePort uint16
		NextHeader, Flags    uint8
	}
	Value struct {
		RxPackets, RxBytes, TxPackets, TxBytes *uint64
		Packets, Bytes                         uint64
		BackendID, IfIndex, NatPort            *uint64
		Union0                                 []uint64
		Flags                                  uint64
		RevNAT                                 uint16
		RxFlagsSeen                            *uint64
		TxFlagsSeen                            uint64

		Addr ciliumIP // the NAT table's
		Port uint16
	}
}

// ciliumJSONClaim tells a document of either table by its first element.
func ciliumJSONClaim(d *Doc, key string) bool {
	f := d.First()
	if !f.has("Key", "Value") {
		return false
	}
	var k, v map[string]json.RawMessage
	if !f.Get("Key", &k) || !f.Get("Value", &v) || k["NextHeader"] == nil || k["SourceAddr"] == nil {
		return false
	}
	return v[key] != nil
}

// has is Has for a document that may not exist.
func (d *Doc) has(keys ...string) bool { return d != nil && d.Has(keys...) }

func ciliumCTClaim(d *Doc) bool  { return ciliumJSONClaim(d, "RevNAT") }
func ciliumNATClaim(d *Doc) bool { return ciliumJSONClaim(d, "Addr") }

func ciliumCTDoc(d *Doc, out *Out) {
	told := false
	ciliumJSONEach(d, out, func(j *ciliumJSONEntry) {
		e := j.entry()
		if e.related || e.protocol == record.ICMP || e.protocol == record.ICMPv6 || e.protocol == 0 {
			return
		}
		if !told {
			// One layout served all versions up to 1.15.
			tool := "cilium <=1.15"
			if e.hasBackend {
				tool = e.tool()
			}
			out.Tool(tool)
			told = true
		}
		out.Translation(e.translation())
	})
}

// ciliumJSONEach decodes one element after the other.
func ciliumJSONEach(d *Doc, out *Out, f func(*ciliumJSONEntry)) {
	for i, raw := range d.Elements() {
		out.At("/" + strconv.Itoa(i))
		var j ciliumJSONEntry
		if err := json.Unmarshal(raw, &j); err != nil {
			ciliumElementProblem(out, raw, "expected an entry of the table: "+err.Error())
			continue
		}
		if !j.Key.SourceAddr.IsValid() || !j.Key.DestAddr.IsValid() {
			ciliumElementProblem(out, raw, "expected two addresses in the key")
			continue
		}
		f(&j)
	}
}

// entry reads an element of the connection table.
func (j *ciliumJSONEntry) entry() *ciliumEntry {
	k, v := &j.Key, &j.Value
	dport, sport := bits.ReverseBytes16(k.DestPort), bits.ReverseBytes16(k.SourcePort)
	e := &ciliumEntry{
		protocol: record.Protocol(k.NextHeader), in: k.Flags&ciliumKeyIn != 0, related: k.Flags&ciliumKeyRelated != 0,
		svc: k.Flags&ciliumKeyService != 0, hasRevNAT: true, revNAT: uint64(bits.ReverseBytes16(v.RevNAT)),
		flags: v.Flags, packets: v.Packets, bytes: v.Bytes, hasIfIndex: v.IfIndex != nil, hasNatPort: v.NatPort != nil,
		hasSeen: v.RxFlagsSeen != nil, txSeen: v.TxFlagsSeen,
	}
	e.tuple.Source, e.tuple.Destination = netip.AddrPortFrom(k.DestAddr.Addr, sport), netip.AddrPortFrom(k.SourceAddr.Addr, dport)
	if e.svc {
		e.tuple.Source, e.tuple.Destination = e.tuple.Destination, e.tuple.Source
	}
	if v.RxFlagsSeen != nil {
		e.rxSeen = *v.RxFlagsSeen
	}
	if v.RxPackets != nil {
		e.rxPackets = *v.RxPackets
	}
	if v.TxPackets != nil {
		e.txPackets = *v.TxPackets
	}
	e.packets += e.rxPackets + e.txPackets
	if v.RxBytes != nil {
		e.hasRx, e.rxBytes = true, *v.RxBytes
		e.bytes += *v.RxBytes
	}
	if v.TxBytes != nil {
		e.bytes += *v.TxBytes
	}
	switch {
	case v.BackendID != nil:
		e.hasBackend, e.backend = true, *v.BackendID
	case len(v.Union0) == 2:
		e.hasBackend, e.backend = true, v.Union0[1]
	}
	return e
}

func ciliumNATDoc(d *Doc, out *Out) {
	p := newCiliumNAT(out)
	ciliumJSONEach(d, out, func(j *ciliumJSONEntry) {
		k, v := &j.Key, &j.Value
		if !v.Addr.IsValid() {
			out.Problem("expected the translated address")
			return
		}
		r := ciliumNATRow{protocol: record.Protocol(k.NextHeader), out: k.Flags&ciliumKeyIn == 0}
		r.tuple.Source = netip.AddrPortFrom(k.SourceAddr.Addr, bits.ReverseBytes16(k.SourcePort))
		r.tuple.Destination = netip.AddrPortFrom(k.DestAddr.Addr, bits.ReverseBytes16(k.DestPort))
		r.to = netip.AddrPortFrom(v.Addr.Addr, bits.ReverseBytes16(v.Port))
		p.emit(&r)
	})
	p.end()
}
