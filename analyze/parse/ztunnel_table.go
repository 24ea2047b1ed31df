package parse

import (
	"bytes"
	"net/netip"

	"whichbackend/analyze/record"
)

// Tables of istioctl ztunnel-config (istioctl 1.24), one by one and all of
// them together:
//
//	WORKLOAD           DIRECTION LOCAL               REMOTE              REMOTE TARGET      PROTOCOL
//	shop-web-0.shop    Outbound  10.233.97.129:35380 10.233.97.136:15008 10.233.25.246:9080 HBONE
//
// No column of those that are used holds a blank, and at most one of them is
// empty, so rows are read by their words. LOCAL, REMOTE and REMOTE TARGET are
// src, actualDst and originalDst of an outbound connection, and actualDst, src
// and the service of an inbound one. Without --raw the addresses are replaced
// by names, and then a row tells no connection.

type ztunnelKind uint8

const (
	ztunnelNone ztunnelKind = iota
	ztunnelConnections
	ztunnelWorkloads
	ztunnelServices
	ztunnelOther
)

var ztunnelHeaders = map[string]ztunnelKind{
	"WORKLOAD DIRECTION LOCAL REMOTE REMOTE TARGET PROTOCOL":                     ztunnelConnections,
	"NAMESPACE POD NAME ADDRESS NODE WAYPOINT PROTOCOL":                          ztunnelWorkloads,
	"NAMESPACE POD NAME IP NODE WAYPOINT PROTOCOL":                               ztunnelWorkloads,
	"NAME NAMESPACE IP NODE WAYPOINT PROTOCOL":                                   ztunnelOther,
	"NAMESPACE SERVICE NAME SERVICE VIP WAYPOINT ENDPOINTS":                      ztunnelServices,
	"NAMESPACE POLICY NAME ACTION SCOPE":                                         ztunnelOther,
	"CERTIFICATE NAME TYPE STATUS VALID CERT SERIAL NUMBER NOT AFTER NOT BEFORE": ztunnelOther,
	"------ WORKLOAD INFO ------":                                                ztunnelOther,
	"------ SERVICE INFO ------":                                                 ztunnelOther,
	"------ POLICY INFO ------":                                                  ztunnelOther,
	"------ SECRET INFO ------":                                                  ztunnelOther,
	"------ CERTIFICATE INFO ------":                                             ztunnelOther,
	"------ CONNECTIONS INFO ------":                                             ztunnelOther,
	"------ CONNECTION INFO ------":                                              ztunnelOther,
}

func ztunnelHeader(b []byte) ztunnelKind {
	if len(b) < 20 || len(b) > 1000 {
		return ztunnelNone
	}
	switch {
	case bytes.HasPrefix(b, []byte("NAME")), bytes.HasPrefix(b, []byte("WORKLOAD")), bytes.HasPrefix(b, []byte("CERTIFICATE")), bytes.HasPrefix(b, []byte("------ ")):
		return ztunnelHeaders[istioctlFold(b)]
	}
	return ztunnelNone
}

func ztunnelTableHead(b []byte) bool {
	return ztunnelHeader(b) != ztunnelNone || ztunnelConnectionRow(b)
}

// ztunnelConnectionRow tells WORKLOAD Inbound|Outbound LOCAL REMOTE [TARGET] PROTOCOL.
func ztunnelConnectionRow(b []byte) bool {
	if len(b) < 30 || len(b) > 1000 || !bytes.HasSuffix(b, []byte("HBONE")) && !bytes.HasSuffix(b, []byte("TCP")) {
		return false
	}
	var buf [8][]byte
	f := fields(b, buf[:0])
	return (len(f) == 5 || len(f) == 6) && (string(f[1]) == "Inbound" || string(f[1]) == "Outbound")
}

func ztunnelTableOpen(out *Out) (func([]byte), func()) {
	kind := ztunnelNone
	z := &ztunnelDump{out: out}
	line := func(b []byte) {
		b = bytes.TrimSpace(b)
		if len(b) == 0 {
			kind = ztunnelNone
			return
		}
		if k := ztunnelHeader(b); k != ztunnelNone {
			kind = k
			out.Understood()
			return
		}
		var buf [12][]byte
		f := fields(b, buf[:0])
		switch {
		case ztunnelConnectionRow(b):
			z.tableConnection(f)
		case kind == ztunnelConnections:
			out.Problem("expected WORKLOAD DIRECTION LOCAL REMOTE [REMOTE TARGET] PROTOCOL")
		case kind == ztunnelWorkloads:
			z.tableWorkload(f)
		case kind == ztunnelServices:
			z.tableService(f)
		case kind == ztunnelOther:
			out.Ignore()
		}
	}
	return line, nil
}

const ztunnelNames = "names instead of addresses: record it with --raw"

func (z *ztunnelDump) tableConnection(f [][]byte) {
	t := record.Translation{Via: record.ViaZtunnel, Protocol: record.TCP, Timeout: -1}
	local, ok1 := addressPort(f[2])
	remote, ok2 := addressPort(f[3])
	if !ok1 || !ok2 {
		z.out.Problem(ztunnelNames)
		return
	}
	if string(f[1]) == "Inbound" {
		t.Ingress = true
		t.Before = record.Tuple{Source: remote, Destination: local}
		t.After = t.Before
		if i := bytes.LastIndexByte(f[0], '.'); i > 0 {
			t.Peer = string(f[0][i+1:]) + "/" + string(f[0][:i])
		}
		z.out.Translation(t)
		return
	}
	if len(f) != 6 {
		z.out.Problem("expected a REMOTE TARGET")
		return
	}
	target, ok := addressPort(f[4])
	if !ok {
		z.out.Problem(ztunnelNames)
		return
	}
	t.Before = record.Tuple{Source: local, Destination: target}
	z.outbound(&t, remote, string(f[5]))
	z.out.Translation(t)
}

// tableWorkload reads NAMESPACE, POD NAME, ADDRESS, NODE, WAYPOINT, PROTOCOL.
// A workload that is no pod may have no node.
func (z *ztunnelDump) tableWorkload(f [][]byte) {
	if len(f) < 5 || len(f) > 6 {
		z.out.Problem("expected NAMESPACE, POD NAME, ADDRESS, NODE, WAYPOINT and PROTOCOL")
		return
	}
	z.out.Understood()
	o := record.Owner{Kind: record.OwnerPod, Namespace: string(f[0]), Name: string(f[1])}
	if len(f) == 6 {
		o.Host = string(f[3])
	}
	for _, a := range ztunnelList(f[2]) {
		o.Address = a
		z.out.Owner(o)
	}
}

// tableService reads NAMESPACE, SERVICE NAME, SERVICE VIP, WAYPOINT, ENDPOINTS.
// It tells whose an address is, and none of its ports and endpoints.
func (z *ztunnelDump) tableService(f [][]byte) {
	if len(f) < 3 || len(f) > 5 {
		z.out.Problem("expected NAMESPACE, SERVICE NAME, SERVICE VIP, WAYPOINT and ENDPOINTS")
		return
	}
	z.out.Understood()
	for _, a := range ztunnelList(f[2]) {
		z.out.Service(record.Service{Source: record.FromZtunnel, Mechanism: "istio", Protocol: record.TCP, Namespace: string(f[0]), Name: string(f[1]),
			Address: netip.AddrPortFrom(a, 0)})
	}
}

// ztunnelList reads ADDRESS[,ADDRESS].
func ztunnelList(b []byte) []netip.Addr {
	var out []netip.Addr
	for _, w := range bytes.Split(b, []byte(",")) {
		if a, ok := address(w); ok {
			out = append(out, a)
		}
	}
	return out
}
