package parse

import (
	"bytes"
	"math"
	"strings"

	"whichbackend/analyze/record"
)

// IPVS's services and their backends, from ipvsadm 1.31 (ipvsadm -Ln):
//
//	Prot LocalAddress:Port Scheduler Flags
//	  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
//	TCP  10.96.0.100:80 rr persistent 10800
//	  -> 10.244.2.11:8080             Masq    1      2          5
//
// with other columns under --stats, --rate, --thresholds, --persistent-conn and
// --tun-info; in hexadecimal in /proc/net/ip_vs; as commands in ipvsadm -Sn.
// Connections (ipvsadm -Lnc, /proc/net/ip_vs_conn) are in ipvs_conn.go.

// ipvsParser reads one section.
type ipvsParser struct {
	out *Out
	buf [16][]byte
	// columns are the names of a backend's columns after its address.
	columns []string
	// proc says that numbers are as in /proc: ports and marks hexadecimal.
	proc bool
	// headed says that the section began with its header. Rows without one
	// passed through somebody's filter, and some may be missing.
	headed bool
	// counters says that the lines are /proc/net/ip_vs_stats.
	counters bool

	service record.Service // the one whose backends are being read
	state   ipvsState
	rule    string // the service as ipvsadm -Sn names it
}

// ipvsState says what becomes of the backends that follow.
type ipvsState uint8

const (
	ipvsNoService ipvsState = iota
	ipvsInService
	ipvsInBroken // the service's own line was not understood
)

var ipvsDefaultColumns = []string{"Forward", "Weight", "ActiveConn", "InActConn"}

func ipvsHead(b []byte) bool {
	if len(b) < 6 {
		return false
	}
	switch b[0] {
	case 'I':
		if bytes.HasPrefix(b, []byte("IP Virtual Server version ")) || bytes.HasPrefix(b, []byte("IPVS connection entries")) {
			return true
		}
	case 'P', 'p':
		return ipvsIsHeader(b)
	case '-', 'F', 'T', 'U', 'S':
	default:
		return false
	}
	var buf [10][]byte
	if len(b) > 400 {
		return false
	}
	f := fields(b, buf[:0])
	switch {
	case len(f) < 3:
		return len(f) == 2 && string(f[0]) == "->" && string(f[1]) == "RemoteAddress:Port"
	case b[0] == '-' && b[1] == '>':
		return string(f[1]) == "RemoteAddress:Port" || ipvsForward(f[2]) && bytes.IndexByte(f[1], ':') > 0
	case b[0] == '-':
		return ipvsIsRule(f)
	case string(f[0]) == "FWM":
		_, ok := ipvsMark(f[1], true)
		return ok && (ipvsScheduler(f[2]) || len(f) > 3 && string(f[2]) == "IPv6" && ipvsScheduler(f[3]))
	}
	if _, ok := ipvsProtocol(f[0]); !ok {
		return false
	}
	return ipvsIsConn(f) || bytes.IndexByte(f[1], ':') > 0 && ipvsScheduler(f[2])
}

func ipvsIsHeader(b []byte) bool {
	var buf [10][]byte
	f := fields(b[:min(len(b), 200)], buf[:0])
	if len(f) < 2 {
		return false
	}
	switch string(f[0]) + " " + string(f[1]) {
	case "Prot LocalAddress:Port", "pro expire", "Pro FromIP":
		return true
	}
	return false
}

func ipvsOpen(out *Out) (line func(b []byte), end func()) {
	p := &ipvsParser{out: out}
	return p.line, p.flush
}

func (p *ipvsParser) line(b []byte) {
	f := fields(b, p.buf[:0])
	if len(f) == 0 {
		return
	}
	switch string(f[0]) {
	case "IP", "IPVS", "Prot", "pro", "Pro":
		if len(f) < 5 || !ipvsIsConn(f) {
			p.header(f)
			return
		}
		p.flush()
		p.conn(f)
	case "->":
		if len(f) > 1 && string(f[1]) == "RemoteAddress:Port" {
			p.backendHeader(b, f)
			return
		}
		p.backend(f)
	case "-A", "-a":
		p.ruleLine(f)
	case "FWM", "TCP", "UDP", "SCTP":
		p.counters = false
		p.flush()
		if ipvsIsConn(f) {
			p.conn(f)
			return
		}
		p.serviceLine(f)
	default:
		if p.known(f) {
			p.out.Ignore()
		}
	}
}

// known tells the listings of IPVS that say nothing needed: timeouts, daemons
// and totals.
func (p *ipvsParser) known(f [][]byte) bool {
	switch string(f[0]) {
	case "Timeout", "master", "backup":
		return true
	case "Total", "Conns":
		p.counters = true
	}
	return p.counters
}

// header reads the lines above a listing.
func (p *ipvsParser) header(f [][]byte) {
	p.flush()
	p.counters, p.headed = false, true
	switch string(f[0]) {
	case "IP":
		if len(f) > 4 && string(f[3]) == "version" {
			p.out.Tool("ipvs " + string(f[4]))
		}
		p.proc, p.columns = false, nil
	case "Prot":
		// Only the default listing has its columns in the next line.
		p.columns = nil
		if len(f) > 2 && string(f[2]) != "Scheduler" {
			p.columns = ipvsNames(f[2:])
		}
	}
	p.out.Understood()
}

// backendHeader reads the columns of a backend. /proc does not pad the line.
func (p *ipvsParser) backendHeader(b []byte, f [][]byte) {
	if len(f) > 2 {
		p.columns = ipvsNames(f[2:])
		p.proc = !bytes.Contains(bytes.TrimSpace(b), []byte("  "))
	}
	p.out.Understood()
}

func ipvsNames(f [][]byte) []string {
	names := make([]string, len(f))
	for i := range f {
		names[i] = string(f[i])
	}
	return names
}

// flush emits the service, now that all its backends are read.
func (p *ipvsParser) flush() {
	if p.state == ipvsInService {
		p.out.Service(p.service)
	}
	p.state, p.rule = ipvsNoService, ""
}

// begin begins a service that the current line names.
func (p *ipvsParser) begin(s record.Service) {
	s.Source, s.Complete, s.Line = record.FromIPVS, p.headed, p.out.Line()
	p.service, p.state = s, ipvsInService
	p.out.Understood()
}

func (p *ipvsParser) broken(why string) {
	p.state = ipvsInBroken
	p.out.Problem(why)
}

// serviceLine reads PROTOCOL ADDRESS:PORT or FWM MARK, then scheduler and
// flags, or counters.
func (p *ipvsParser) serviceLine(f [][]byte) {
	if len(f) < 2 {
		p.broken("a service has no address")
		return
	}
	var s record.Service
	if string(f[0]) == "FWM" {
		mark, ok := ipvsMark(f[1], p.proc)
		if !ok || mark == 0 {
			p.broken("no firewall mark after FWM")
			return
		}
		s.Mark = mark
	} else {
		s.Protocol, _ = ipvsProtocol(f[0])
		a, proc, ok := ipvsAddressPort(f[1], p.proc)
		if !ok {
			p.broken("no address and port of a service: names need -n")
			return
		}
		s.Address, p.proc = a, proc
	}
	for i, flag := range f[2:] {
		s.Affinity = s.Affinity || string(flag) == "persistent"
		// A mark of IPv6 has its family before the scheduler.
		if i < 2 && s.Scheduler == "" && ipvsScheduler(flag) {
			s.Scheduler = string(flag)
		}
	}
	p.begin(s)
}

// backend reads -> ADDRESS:PORT and its columns.
func (p *ipvsParser) backend(f [][]byte) {
	if p.state == ipvsNoService {
		p.out.Problem("a backend without a service before it")
		return
	}
	if p.state == ipvsInBroken {
		p.out.Problem("the service of this backend was not understood")
		return
	}
	k, why := p.readBackend(f)
	if why != "" {
		p.service.Complete = false
		p.out.Problem(why)
		return
	}
	p.add(k)
}

func (p *ipvsParser) add(k record.Backend) {
	k.Pos.Line = p.out.Line()
	p.service.Backends = append(p.service.Backends, k)
	p.out.Understood()
}

func (p *ipvsParser) readBackend(f [][]byte) (k record.Backend, why string) {
	k.Weight, k.Active = -1, -1
	if len(f) < 2 {
		return k, "a backend has no address"
	}
	a, proc, ok := ipvsAddressPort(f[1], p.proc)
	if !ok {
		return k, "no address and port of a backend: names need -n"
	}
	k.Address, p.proc = a, proc
	values, columns := f[2:], p.columns
	if len(values) > 0 && ipvsForward(values[0]) && (len(columns) == 0 || columns[0] != "Forward") {
		columns = ipvsDefaultColumns
	}
	if len(values) < len(columns) {
		return k, "a backend has fewer columns than the header"
	}
	for i, name := range columns {
		if name != "Weight" && name != "ActiveConn" {
			continue
		}
		n, ok := number(values[i])
		if !ok || n > math.MaxInt32 {
			return k, "weight or connections are no number"
		}
		if name == "Weight" {
			k.Weight = int(n)
		} else {
			k.Active = int64(n)
		}
	}
	return k, ""
}

// ipvsIsRule tells a line of ipvsadm -Sn. iptables-save has a chain after -A,
// conntrack -o save no address after -A -t.
func ipvsIsRule(f [][]byte) bool {
	if len(f) < 3 || string(f[0]) != "-A" && string(f[0]) != "-a" {
		return false
	}
	switch string(f[1]) {
	case "-t", "-u", "--tcp-service", "--udp-service", "--sctp-service":
		return bytes.IndexByte(f[2], ':') > 0
	case "-f", "--fwmark-service":
		_, ok := number(f[2])
		return ok
	}
	return false
}

// ruleLine reads a line of ipvsadm -Sn:
//
//	-A -t 10.96.0.1:443 -s rr -p 10800
//	-a -t 10.96.0.1:443 -r 192.168.50.10:6443 -m -w 1
func (p *ipvsParser) ruleLine(f [][]byte) {
	if !ipvsIsRule(f) {
		return
	}
	rule := string(f[1]) + " " + string(f[2])
	if string(f[0]) == "-A" || rule != p.rule {
		p.flush()
		p.rule = rule
		s, ok := ipvsRuleService(f)
		if !ok {
			p.broken("no address and port of a service: names need -n")
			return
		}
		p.begin(s)
		// A backend whose service is not listed may have siblings that are
		// not listed either.
		p.service.Complete = string(f[0]) == "-A"
	}
	if string(f[0]) == "-A" {
		return
	}
	if p.state == ipvsInBroken {
		p.out.Problem("the service of this backend was not understood")
		return
	}
	k, ok := ipvsRuleBackend(f)
	if !ok {
		p.service.Complete = false
		p.out.Problem("no address and port of a backend: names need -n")
		return
	}
	p.add(k)
}

func ipvsRuleService(f [][]byte) (s record.Service, ok bool) {
	switch string(f[1]) {
	case "-t", "--tcp-service":
		s.Protocol = record.TCP
	case "-u", "--udp-service":
		s.Protocol = record.UDP
	case "--sctp-service":
		s.Protocol = record.SCTP
	default:
		mark, ok := ipvsMark(f[2], false)
		s.Mark = mark
		return s, ok && mark != 0 && ipvsFlags(f, &s)
	}
	s.Address, ok = addressPort(f[2])
	return s, ok && ipvsFlags(f, &s)
}

func ipvsFlags(f [][]byte, s *record.Service) bool {
	for i, flag := range f {
		s.Affinity = s.Affinity || string(flag) == "-p"
		if i > 0 && (string(f[i-1]) == "-s" || string(f[i-1]) == "--scheduler") {
			s.Scheduler = string(flag)
		}
	}
	return true
}

func ipvsRuleBackend(f [][]byte) (k record.Backend, ok bool) {
	k.Weight, k.Active = -1, -1
	for i := 3; i+1 < len(f); i++ {
		switch string(f[i]) {
		case "-r":
			k.Address, ok = addressPort(f[i+1])
		case "-w":
			if n, isNumber := number(f[i+1]); isNumber && n <= math.MaxInt32 {
				k.Weight = int(n)
			}
		}
	}
	return k, ok
}

func ipvsProtocol(b []byte) (record.Protocol, bool) {
	switch string(b) {
	case "TCP":
		return record.TCP, true
	case "UDP":
		return record.UDP, true
	case "SCTP":
		return record.SCTP, true
	case "IP": // only the connections of a firewall mark's template
		return 0, true
	}
	return 0, false
}

func ipvsForward(b []byte) bool {
	switch string(b) {
	case "Masq", "Route", "Tunnel", "Local", "Bypass":
		return true
	}
	return false
}

func ipvsScheduler(b []byte) bool {
	switch strings.ToLower(string(b)) {
	case "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos", "none":
		return true
	}
	return false
}
